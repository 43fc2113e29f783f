// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The layout of a host function's arena as a function of the symbols.

#include "HostFunction.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::codegen;

/// The layout function: of `@main` as in the ABI; of a layer `(symbols, slots) -> bytes`.
LogicalResult HostFunction::emitLayout() {
  Location loc = source.getLoc();
  builder.setInsertionPoint(source);
  Emit emit{builder, loc};
  SmallVector<Type> types;
  if (isMain) {
    types = {emit.ptr(), emit.i64(), emit.ptr(), emit.ptr(), emit.ptr()};
  } else {
    types = {emit.ptr(), emit.ptr()};
  }
  auto function = func::FuncOp::create(
      builder, loc, layoutName,
      builder.getFunctionType(types, isMain ? TypeRange{builder.getI32Type()} : TypeRange{emit.i64()}));
  function.setVisibility(isMain ? SymbolTable::Visibility::Public : SymbolTable::Visibility::Private);
  builder.setInsertionPointToStart(function.addEntryBlock());
  Value symbolArray = function.getArgument(0), slotArray = function.getArgument(isMain ? 2 : 1);

  IRMapping sizes;
  cloneArithmetic(symbolArray, sizes);
  Value total = emit.constant(0);
  for (auto [position, slot] : llvm::enumerate(plan.getSlots())) {
    emit.store(total, slotArray, firstSlot + position);
    Value bytes;
    for (const Tenant &tenant : slot.tenants) {
      Value size = tenantBytes(emit, tenant, sizes, symbolArray, slotArray);
      bytes = bytes ? Value(LLVM::UMaxOp::create(builder, loc, bytes, size)) : size;
    }
    bytes = LLVM::AddOp::create(builder, loc, bytes, emit.constant(kSlotAlignment - 1));
    bytes = LLVM::AndOp::create(builder, loc, bytes, emit.constant(-kSlotAlignment));
    total = emit.addBytes(total, bytes);
  }
  if (!isMain) {
    func::ReturnOp::create(builder, loc, total);
    return success();
  }
  int64_t position = 0;
  for (ArrayRef<OpFoldResult> dims : resultDims) {
    for (OpFoldResult dim : dims) {
      std::optional<int64_t> size = getConstantIntValue(dim);
      Value known = size ? Value() : sizes.lookupOrNull(cast<Value>(dim));
      emit.store(known ? emit.fromIndex(known) : emit.constant(size.value_or(LATHE_DIM_COMPUTED)),
                 function.getArgument(3), position++);
    }
  }
  emit.store(total, function.getArgument(4), 0);
  Value zero = LLVM::ConstantOp::create(builder, loc, builder.getI32Type(), builder.getI32IntegerAttr(0));
  func::ReturnOp::create(builder, loc, zero);
  return success();
}

/// Copies the index arithmetic that slots and results need, and loads the symbols it starts from. Sizes that
/// depend on data are none of layout's business.
void HostFunction::cloneArithmetic(Value symbolArray, IRMapping &sizes) {
  llvm::DenseSet<Operation *> needed;
  SmallVector<Value> worklist;
  for (const Slot &slot : plan.getSlots()) {
    for (const Tenant &tenant : slot.tenants) {
      worklist.append(tenant.sizes);
    }
  }
  for (ArrayRef<OpFoldResult> dims : resultDims) {
    for (OpFoldResult dim : dims) {
      if (auto value = dyn_cast<Value>(dim); value && nn::isKnownFromSymbols(value)) {
        worklist.push_back(value);
      }
    }
  }
  while (!worklist.empty()) {
    Operation *op = worklist.pop_back_val().getDefiningOp();
    if (op && needed.insert(op).second) {
      llvm::append_range(worklist, op->getOperands());
    }
  }
  // Some of it may stand in bodies of control flow.
  source.walk<WalkOrder::PreOrder>([&](Operation *op) {
    if (!needed.contains(op)) {
      return;
    }
    if (auto symbol = dyn_cast<nn::DimSymbolOp>(op)) {
      Emit emit{builder, op->getLoc()};
      int64_t index = state.symbolIndex.lookup(symbol.getName());
      sizes.map(symbol.getResult(), emit.toIndex(emit.load(emit.i64(), symbolArray, index)));
    } else {
      builder.clone(*op, sizes);
    }
  });
}

Value HostFunction::tenantBytes(Emit &emit, const Tenant &tenant, IRMapping &sizes, Value symbolArray,
                                Value slotArray) {
  if (tenant.layer) {
    return func::CallOp::create(builder, emit.loc, (func::FuncOp(tenant.layer).getName() + ".layout").str(),
                                TypeRange{emit.i64()}, ValueRange{symbolArray, slotArray})
        .getResult(0);
  }
  Value bytes = emit.constant(tenant.factor);
  for (Value size : tenant.sizes) {
    bytes = emit.multiplyBytes(bytes, emit.fromIndex(sizes.lookup(size)));
  }
  return bytes;
}
