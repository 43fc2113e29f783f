// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What a host function does: launches, layer calls and the arithmetic of sizes, over pointers.

#include "HostFunction.h"

#include "lathe/Codegen/Host/HostABI.h"
#include "lathe/Codegen/Host/Weights.h"
#include "lathe/Dialect/NN/IR/NNService.h"

#include "mlir/Dialect/ControlFlow/IR/ControlFlowOps.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::codegen;

HostFunction::HostFunction(ModuleState &state, func::FuncOp source)
    : state(state), source(source), builder(source.getContext()), shapes(builder),
      isMain(source.getName() == "main"), name(isMain ? kRunName.str() : (source.getName() + ".run").str()),
      layoutName(isMain ? kLayoutName.str() : (source.getName() + ".layout").str()) {}

LogicalResult HostFunction::lower() {
  FailureOr<ArenaPlan> planned = ArenaPlan::create(source, shapes, state.symbols);
  if (failed(planned)) {
    return failure();
  }
  plan = std::move(*planned);
  if (!isMain && plan.getBufferCount()) {
    return source.emitError("has a tensor whose size depends on data, in a layer");
  }
  // Before anything is cloned: asking for the shapes of results may still build arithmetic in the source.
  for (OpOperand &operand : source.getBody().front().getTerminator()->getOpOperands()) {
    FailureOr<ArrayRef<OpFoldResult>> dims = shapes.getDims(operand.get());
    if (failed(dims)) {
      return source.emitError("the shape of a result is not known");
    }
    // The two parts of complex numbers are no dimension to a caller.
    bool hasParts = bool(source.getResultAttr(operand.getOperandNumber(), nn::kComplexAttr));
    resultDims.emplace_back(hasParts ? dims->drop_back() : *dims);
  }
  firstSlot = state.slotCount;
  state.slotCount += plan.getSlots().size();
  firstBuffer = state.bufferCount;
  state.bufferCount += plan.getBufferCount();
  return failure(failed(emitRun()) || failed(emitLayout()));
}

LogicalResult HostFunction::emitRun() {
  Emit emit{builder, source.getLoc()};
  SmallVector<Type> types(isMain ? 1 : 2 + source.getNumArguments() + source.getNumResults(), emit.ptr());
  builder.setInsertionPoint(source);
  auto function = func::FuncOp::create(builder, source.getLoc(), name,
                                       builder.getFunctionType(types, builder.getI32Type()));
  function.setVisibility(isMain ? SymbolTable::Visibility::Public : SymbolTable::Visibility::Private);
  Block *entry = function.addEntryBlock();
  faultBlock = builder.createBlock(&function.getBody(), function.getBody().end(), builder.getI32Type(),
                                   source.getLoc());
  func::ReturnOp::create(builder, source.getLoc(), faultBlock->getArgument(0));

  builder.setInsertionPointToStart(entry);
  call = entry->getArgument(0);
  bindArguments(emit, entry);
  argumentBuffer = LLVM::AllocaOp::create(builder, source.getLoc(), emit.ptr(), emit.i64(),
                                          emit.constant(std::max<int64_t>(maxArguments(), 1)));
  parallelFor = emit.load(emit.ptr(), call, ParallelFor);
  context = emit.load(emit.ptr(), call, Context);
  return emitBlock(source.getBody().front());
}

/// Pointers of all arguments and results.
void HostFunction::bindArguments(Emit &emit, Block *entry) {
  Value inputs = isMain ? emit.load(emit.ptr(), call, Inputs) : Value();
  Value outputs = isMain ? emit.load(emit.ptr(), call, Outputs) : Value();
  unsigned count = source.getNumArguments();
  for (BlockArgument argument : source.getArguments()) {
    unsigned number = argument.getArgNumber();
    pointers[argument] =
        isMain ? emit.load(emit.ptr(), inputs, number) : Value(entry->getArgument(2 + number));
  }
  for (unsigned i = 0; i < source.getNumResults(); ++i) {
    results.push_back(isMain ? emit.load(emit.ptr(), outputs, i) : Value(entry->getArgument(2 + count + i)));
  }
  arena = isMain ? emit.load(emit.ptr(), call, Arena) : Value(entry->getArgument(1));
  slots = emit.load(emit.ptr(), call, Slots);
  weights = emit.load(emit.ptr(), call, Weights);
  symbolValues = emit.load(emit.ptr(), call, Symbols);
}

int64_t HostFunction::maxArguments() {
  int64_t most = 0;
  source.walk([&](kernel::LaunchOp launch) {
    most = std::max<int64_t>(most, launch.getNumOperands() + launch.getNumResults());
  });
  source.walk([&](nn::ServiceOp op) { most = std::max<int64_t>(most, 2 * (op.getInputs().size() + 1)); });
  return most;
}

LogicalResult HostFunction::emitBlock(Block &block) {
  for (Operation &op : block) {
    if (failed(emitOp(op))) {
      return failure();
    }
  }
  return success();
}

LogicalResult HostFunction::emitOp(Operation &op) {
  Emit emit{builder, op.getLoc()};
  if (auto symbol = dyn_cast<nn::DimSymbolOp>(op)) {
    auto found = state.symbolIndex.find(symbol.getName());
    if (found == state.symbolIndex.end()) {
      return op.emitError() << "symbol '" << symbol.getName() << "' is the size of no input";
    }
    mapping.map(symbol.getResult(), emit.toIndex(emit.load(emit.i64(), symbolValues, found->second)));
    return success();
  }
  if (isa<nn::WeightUseOp, nn::ReshapeOp, kernel::JoinOp, nn::YieldOp>(op)) {
    return success(); // found where they are used
  }
  if (auto launch = dyn_cast<kernel::LaunchOp>(op)) {
    return emitLaunch(launch);
  }
  if (auto layer = dyn_cast<nn::LayerCallOp>(op)) {
    return emitLayerCall(layer);
  }
  if (auto service = dyn_cast<nn::ServiceOp>(op)) {
    return emitService(service);
  }
  if (auto choice = dyn_cast<nn::IfOp>(op)) {
    return emitIf(choice);
  }
  if (auto loop = dyn_cast<nn::LoopOp>(op)) {
    return emitLoop(loop);
  }
  if (auto read = dyn_cast<nn::ReadIndexOp>(op)) {
    return emitReadIndex(read);
  }
  if (auto size = dyn_cast<nn::CheckedSizeOp>(op)) {
    emitCheckedSize(size);
    return success();
  }
  if (auto count = dyn_cast<nn::ElementCountOp>(op)) {
    emitElementCount(count);
    return success();
  }
  if (auto check = dyn_cast<nn::CheckOp>(op)) {
    Value isTrue =
        LLVM::ConstantOp::create(builder, op.getLoc(), builder.getI1Type(), builder.getBoolAttr(true));
    Value bad = LLVM::XOrOp::create(builder, op.getLoc(), mapping.lookup(check.getCondition()), isTrue);
    branchIfBad(op.getLoc(), bad, faultCode(op.getLoc(), LATHE_FAULT_SHAPE, placeOf(op.getLoc())));
    return success();
  }
  if (auto end = dyn_cast<func::ReturnOp>(op)) {
    return emitReturn(end);
  }
  if (isa<arith::ArithDialect>(op.getDialect())) {
    if (!llvm::any_of(op.getResultTypes(), llvm::IsaPred<ShapedType>)) {
      builder.clone(op, mapping);
    }
    return success();
  }
  return op.emitError() << "has no place in a host program";
}

/// Sizes of results that layout() does not know are told at the end.
LogicalResult HostFunction::emitReturn(func::ReturnOp op) {
  Emit emit{builder, op.getLoc()};
  Value array;
  int64_t position = 0;
  for (ArrayRef<OpFoldResult> dims : resultDims) {
    for (OpFoldResult dim : dims) {
      auto value = dyn_cast<Value>(dim);
      if (isMain && value && !nn::isKnownFromSymbols(value)) {
        array = array ? array : emit.load(emit.ptr(), call, OutputDims);
        emit.store(emit.fromIndex(mapping.lookup(value)), array, position);
      }
      ++position;
    }
  }
  Value zero =
      LLVM::ConstantOp::create(builder, op.getLoc(), builder.getI32Type(), builder.getI32IntegerAttr(0));
  func::ReturnOp::create(builder, op.getLoc(), zero);
  return success();
}

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

FailureOr<Value> HostFunction::getPointer(Value tensor) {
  Emit emit{builder, tensor.getLoc()};
  Value root = ArenaPlan::getRoot(tensor);
  if (int64_t offset = ArenaPlan::getOffset(tensor)) {
    FailureOr<Value> whole = getPointer(root);
    return failed(whole) ? whole : FailureOr<Value>(emit.bytesAt(*whole, emit.constant(offset)));
  }
  if (Value pointer = pointers.lookup(root)) {
    return pointer;
  }
  if (int64_t result = plan.getResult(root); result >= 0) {
    return results[result];
  }
  if (int64_t slot = plan.getSlot(root); slot >= 0) {
    return slotPointer(emit, slot);
  }
  if (auto use = root.getDefiningOp<nn::WeightUseOp>()) {
    auto weight = state.symbols.lookup<nn::WeightOp>(use.getWeight());
    auto offset = weight ? weight->getAttrOfType<IntegerAttr>(kOffsetAttr) : IntegerAttr();
    if (!offset) {
      return emitError(tensor.getLoc()) << "weight @" << use.getWeight() << " has no place in the artifact";
    }
    return emit.bytesAt(weights, emit.constant(offset.getInt()));
  }
  return emitError(tensor.getLoc()) << "this tensor is computed by no kernel";
}

Value HostFunction::slotPointer(Emit &emit, int64_t slot) {
  return emit.bytesAt(arena, emit.load(emit.i64(), slots, firstSlot + slot));
}

Value HostFunction::emitReserve(Emit &emit, int64_t buffer, Value bytes, Value keep, int64_t place) {
  Value reserve = emit.load(emit.ptr(), call, Reserve);
  auto type = LLVM::LLVMFunctionType::get(emit.ptr(), {emit.ptr(), emit.i64(), emit.i64(), emit.i64()});
  Value memory = LLVM::CallOp::create(builder, emit.loc, type,
                                      ValueRange{reserve, context, emit.constant(buffer), bytes, keep})
                     .getResult();
  Value null = LLVM::ZeroOp::create(builder, emit.loc, emit.ptr());
  Value bad = LLVM::ICmpOp::create(builder, emit.loc, LLVM::ICmpPredicate::eq, memory, null);
  branchIfBad(emit.loc, bad, faultCode(emit.loc, LATHE_FAULT_MEMORY, place));
  return memory;
}

/// Asks for a result's memory where its size, or that of the output that it is, depends on data.
void HostFunction::emitReserveResult(Emit &emit, Value root, int64_t place) {
  int64_t buffer = plan.getBuffer(root), output = plan.getResult(root);
  bool isOpen = output >= 0 && isMain && llvm::any_of(resultDims[output], [](OpFoldResult dim) {
                  auto value = dyn_cast<Value>(dim);
                  return value && !nn::isKnownFromSymbols(value);
                });
  if (buffer < 0 && !isOpen) {
    return;
  }
  const Tenant &tenant = plan.getTenant(root);
  Value bytes = emit.constant(tenant.factor);
  for (Value size : tenant.sizes) {
    bytes = emit.multiplyBytes(bytes, emit.fromIndex(mapping.lookup(size)));
  }
  pointers[root] = emitReserve(emit, isOpen ? ~output : firstBuffer + buffer, bytes, emit.constant(0), place);
}

//===----------------------------------------------------------------------===//
// Kernels and layers
//===----------------------------------------------------------------------===//

LogicalResult HostFunction::emitLaunch(kernel::LaunchOp launch) {
  Emit emit{builder, launch.getLoc()};
  StringRef callee = launch.getCallee();
  int64_t number = state.kernelIndex.lookup(callee);
  for (Value result : launch.getResults()) {
    emitReserveResult(emit, result, number);
  }
  int64_t position = 0;
  for (Value tensor :
       llvm::concat<Value>(SmallVector<Value>(launch.getInputs()), SmallVector<Value>(launch.getResults()))) {
    FailureOr<Value> pointer = getPointer(tensor);
    if (failed(pointer)) {
      return failure();
    }
    emit.store(*pointer, argumentBuffer, position++);
  }
  SmallVector<Value> sizes;
  for (Value size : launch.getSizes()) {
    sizes.push_back(mapping.lookup(size));
    emit.store(emit.fromIndex(sizes.back()), argumentBuffer, position++);
  }
  Type index = builder.getIndexType();
  auto tasks = func::CallOp::create(builder, launch.getLoc(), (callee + ".tasks").str(),
                                    TypeRange{index, index}, sizes);
  Value entry =
      isOnDevice(state.symbols.lookup<func::FuncOp>(callee))
          ? LLVM::ZeroOp::create(builder, launch.getLoc(), emit.ptr()).getResult()
          : LLVM::AddressOfOp::create(builder, launch.getLoc(), emit.ptr(), (callee + ".entry").str());
  Type i32 = builder.getI32Type();
  auto number32 = LLVM::ConstantOp::create(builder, launch.getLoc(), i32, builder.getI32IntegerAttr(number));
  auto type =
      LLVM::LLVMFunctionType::get(i32, {emit.ptr(), i32, emit.ptr(), emit.ptr(), emit.i64(), emit.i64()});
  Value fault =
      LLVM::CallOp::create(builder, launch.getLoc(), type,
                           ValueRange{parallelFor, context, number32, entry, argumentBuffer,
                                      emit.fromIndex(tasks.getResult(0)), emit.fromIndex(tasks.getResult(1))})
          .getResult();
  auto shifted =
      LLVM::ConstantOp::create(builder, launch.getLoc(), i32, builder.getI32IntegerAttr(number << 8));
  branchOnFault(launch.getLoc(), fault, LLVM::OrOp::create(builder, launch.getLoc(), fault, shifted));
  return success();
}

LogicalResult HostFunction::emitLayerCall(nn::LayerCallOp layer) {
  Emit emit{builder, layer.getLoc()};
  for (Value result : layer.getResults()) {
    emitReserveResult(emit, result, placeOf(layer.getLoc()));
  }
  SmallVector<Value> operands{call, slotPointer(emit, plan.getScratchSlot(layer))};
  for (Value tensor :
       llvm::concat<Value>(SmallVector<Value>(layer.getOperands()), SmallVector<Value>(layer.getResults()))) {
    FailureOr<Value> pointer = getPointer(tensor);
    if (failed(pointer)) {
      return failure();
    }
    operands.push_back(*pointer);
  }
  Value fault = func::CallOp::create(builder, layer.getLoc(), (layer.getLayer() + ".run").str(),
                                     TypeRange{builder.getI32Type()}, operands)
                    .getResult(0);
  branchOnFault(layer.getLoc(), fault, fault);
  return success();
}

/// Hands over the addresses of operands and result, then their numbers of elements.
LogicalResult HostFunction::emitService(nn::ServiceOp op) {
  Emit emit{builder, op.getLoc()};
  int64_t place = placeOf(op.getLoc()), position = 0;
  emitReserveResult(emit, op.getResult(), place);
  SmallVector<Value> tensors(op.getInputs());
  tensors.push_back(op.getResult());
  for (Value tensor : tensors) {
    FailureOr<Value> pointer = getPointer(tensor);
    FailureOr<ArrayRef<OpFoldResult>> dims = shapes.getDims(tensor);
    if (failed(pointer) || failed(dims)) {
      return op.emitError("the shape or the place of an operand is not known");
    }
    Value count = emit.constant(1);
    for (OpFoldResult dim : *dims) {
      std::optional<int64_t> size = getConstantIntValue(dim);
      count = emit.multiplyBytes(count, size ? emit.constant(*size)
                                             : emit.fromIndex(mapping.lookup(cast<Value>(dim))));
    }
    emit.store(*pointer, argumentBuffer, position);
    emit.store(count, argumentBuffer, tensors.size() + position++);
  }
  int64_t next = state.services.size();
  int64_t number =
      state.services.insert({{op.getNameAttr(), op.getArgumentAttr(), op.getInputs().size()}, next})
          .first->second;
  Type i32 = builder.getI32Type();
  auto type = LLVM::LLVMFunctionType::get(i32, {emit.ptr(), emit.i64(), emit.ptr(), emit.ptr()});
  Value fault =
      LLVM::CallOp::create(builder, op.getLoc(), type,
                           ValueRange{emit.load(emit.ptr(), call, Service), context, emit.constant(number),
                                      argumentBuffer, emit.at(argumentBuffer, tensors.size())})
          .getResult();
  auto shifted =
      LLVM::ConstantOp::create(builder, op.getLoc(), i32, builder.getI32IntegerAttr(int32_t(place << 8)));
  branchOnFault(op.getLoc(), fault, LLVM::OrOp::create(builder, op.getLoc(), fault, shifted));
  return success();
}

//===----------------------------------------------------------------------===//
// Data as sizes
//===----------------------------------------------------------------------===//

LogicalResult HostFunction::emitReadIndex(nn::ReadIndexOp op) {
  Emit emit{builder, op.getLoc()};
  FailureOr<Value> pointer = getPointer(op.getX());
  if (failed(pointer)) {
    return failure();
  }
  auto element = cast<IntegerType>(cast<RankedTensorType>(op.getX().getType()).getElementType());
  int64_t bytes = getElementBytes(element);
  Type stored = builder.getIntegerType(bytes * 8);
  Value at = emit.bytesAt(*pointer, emit.constant(int64_t(op.getPosition()) * bytes));
  Value value = LLVM::LoadOp::create(builder, op.getLoc(), stored, at);
  if (bytes < 8) {
    bool isSigned = element.isSignless() && element.getWidth() > 1;
    value = isSigned ? LLVM::SExtOp::create(builder, op.getLoc(), emit.i64(), value).getResult()
                     : LLVM::ZExtOp::create(builder, op.getLoc(), emit.i64(), value).getResult();
  }
  mapping.map(op.getResult(), emit.toIndex(value));
  return success();
}

void HostFunction::emitCheckedSize(nn::CheckedSizeOp op) {
  Emit emit{builder, op.getLoc()};
  Value value = mapping.lookup(op.getValue());
  // As an unsigned number, a negative one is the largest of all.
  Value bad = LLVM::ICmpOp::create(builder, op.getLoc(), LLVM::ICmpPredicate::ugt, emit.fromIndex(value),
                                   emit.constant(nn::kMaxDim));
  branchIfBad(op.getLoc(), bad, faultCode(op.getLoc(), LATHE_FAULT_SHAPE, placeOf(op.getLoc())));
  mapping.map(op.getResult(), value);
}

void HostFunction::emitElementCount(nn::ElementCountOp op) {
  Emit emit{builder, op.getLoc()};
  static_assert(nn::kTooManyElements == kTooManyBytes);
  Value product = emit.constant(1);
  for (Value size : op.getSizes()) {
    product = emit.multiplyBytes(product, emit.fromIndex(mapping.lookup(size)));
  }
  mapping.map(op.getResult(), emit.toIndex(product));
}

//===----------------------------------------------------------------------===//
// Faults
//===----------------------------------------------------------------------===//

int64_t HostFunction::placeOf(Location loc) {
  int64_t next = state.firstPlace + int64_t(state.places.size());
  return state.places.insert({loc, next}).first->second;
}

Value HostFunction::faultCode(Location loc, lathe_fault fault, int64_t place) {
  return LLVM::ConstantOp::create(builder, loc, builder.getI32Type(),
                                  builder.getI32IntegerAttr(int32_t(fault) | int32_t(place << 8)));
}

void HostFunction::branchOnFault(Location loc, Value fault, Value code) {
  Value zero = LLVM::ConstantOp::create(builder, loc, builder.getI32Type(), builder.getI32IntegerAttr(0));
  branchIfBad(loc, LLVM::ICmpOp::create(builder, loc, LLVM::ICmpPredicate::ne, fault, zero), code);
}

void HostFunction::branchIfBad(Location loc, Value bad, Value code) {
  Block *current = builder.getInsertionBlock();
  Block *next = builder.createBlock(faultBlock);
  builder.setInsertionPointToEnd(current);
  cf::CondBranchOp::create(builder, loc, bad, faultBlock, ValueRange{code}, next, ValueRange{});
  builder.setInsertionPointToStart(next);
}
