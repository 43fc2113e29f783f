// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "DeviceOps.h"

#include "lathe/Codegen/Element/IndexMath.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cuda;

void cuda::emitBarrier(OpBuilder &builder, Location loc) { NVVM::Barrier0Op::create(builder, loc); }

/// The same of an i32.
static Value exchangeWord(OpBuilder &builder, Location loc, Value word, int64_t distance) {
  auto i32 = [&](int32_t value) -> Value {
    return arith::ConstantIntOp::create(builder, loc, builder.getI32Type(), value);
  };
  return NVVM::ShflOp::create(builder, loc, builder.getI32Type(), i32(-1), word, i32(int32_t(distance)),
                              i32(kWarp - 1), NVVM::ShflKind::bfly, UnitAttr());
}

Value cuda::emitExchange(OpBuilder &builder, Location loc, Value value, int64_t distance) {
  Type type = value.getType(), i32 = builder.getI32Type();
  unsigned width = type.getIntOrFloatBitWidth();
  Type bits = builder.getIntegerType(width);
  Value word = type == bits ? value : arith::BitcastOp::create(builder, loc, bits, value).getResult();
  if (width < 32) {
    word = arith::ExtUIOp::create(builder, loc, i32, word);
    word = exchangeWord(builder, loc, word, distance);
    word = arith::TruncIOp::create(builder, loc, bits, word);
  } else if (width == 32) {
    word = exchangeWord(builder, loc, word, distance);
  } else {
    Value half = arith::ConstantIntOp::create(builder, loc, bits, 32);
    Value low = arith::TruncIOp::create(builder, loc, i32, word);
    Value high = arith::TruncIOp::create(builder, loc, i32, arith::ShRUIOp::create(builder, loc, word, half));
    low = arith::ExtUIOp::create(builder, loc, bits, exchangeWord(builder, loc, low, distance));
    high = arith::ExtUIOp::create(builder, loc, bits, exchangeWord(builder, loc, high, distance));
    word = arith::OrIOp::create(builder, loc, low, arith::ShLIOp::create(builder, loc, high, half));
  }
  return type == bits ? word : arith::BitcastOp::create(builder, loc, type, word).getResult();
}

Value cuda::emitRead(OpBuilder &builder, Location loc, Value word, Value lane) {
  Type i32 = builder.getI32Type();
  Value all = arith::ConstantIntOp::create(builder, loc, i32, -1);
  Value last = arith::ConstantIntOp::create(builder, loc, i32, kWarp - 1);
  return NVVM::ShflOp::create(builder, loc, i32, all, word,
                              arith::IndexCastOp::create(builder, loc, i32, lane), last, NVVM::ShflKind::idx,
                              UnitAttr());
}

Value cuda::emitIsInside(IndexMath math, OpFoldResult position, OpFoldResult end, int64_t tile) {
  if (isMultipleOf(end, tile)) {
    return {};
  }
  return arith::CmpIOp::create(math.builder, math.loc, arith::CmpIPredicate::ult, math.value(position),
                               math.value(end));
}

Value cuda::emitBoth(OpBuilder &builder, Location loc, Value lhs, Value rhs) {
  return !lhs ? rhs : !rhs ? lhs : arith::AndIOp::create(builder, loc, lhs, rhs).getResult();
}

Value cuda::makeMemRef(OpBuilder &builder, Location loc, Value ptr, MemRefType type) {
  Type i64 = builder.getI64Type();
  auto one = LLVM::LLVMArrayType::get(i64, 1);
  auto descriptor =
      LLVM::LLVMStructType::getLiteral(builder.getContext(), {ptr.getType(), ptr.getType(), i64, one, one});
  Value value = LLVM::PoisonOp::create(builder, loc, descriptor);
  auto insert = [&](Value part, ArrayRef<int64_t> at) {
    value = LLVM::InsertValueOp::create(builder, loc, value, part, at);
  };
  auto constant = [&](int64_t number) -> Value {
    return LLVM::ConstantOp::create(builder, loc, i64, builder.getI64IntegerAttr(number));
  };
  insert(ptr, {0});
  insert(ptr, {1});
  insert(constant(0), {2});
  // Its size is never asked for.
  insert(constant(INT64_MAX), {3, 0});
  insert(constant(1), {4, 0});
  return UnrealizedConversionCastOp::create(builder, loc, type, value).getResult(0);
}

SmallVector<Value> cuda::loadShared(OpBuilder &builder, Location loc, Value memory, Value place) {
  auto type = VectorType::get({kSharedVector}, cast<MemRefType>(memory.getType()).getElementType());
  Value vector = vector::LoadOp::create(builder, loc, type, memory, place, /*nontemporal=*/false,
                                        llvm::Align(kSharedAlignment));
  SmallVector<Value> elements;
  for (int64_t i = 0; i < kSharedVector; ++i) {
    elements.push_back(vector::ExtractOp::create(builder, loc, vector, i));
  }
  return elements;
}

Value EmitContext::allocateShared(int64_t bytes) {
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointAfterValue(shared);
  int64_t offset = llvm::alignTo(sharedBytes, kSharedAlignment);
  sharedBytes = offset + bytes;
  return LLVM::GEPOp::create(builder, kernel.getLoc(), sharedStart.getType(), builder.getI8Type(),
                             sharedStart, ArrayRef<LLVM::GEPArg>{int32_t(offset)});
}

Value EmitContext::allocateShared(Location loc, Type element, int64_t count) {
  IndexMath math{builder, loc};
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointAfterValue(shared);
  auto type = MemRefType::get({ShapedType::kDynamic}, element, MemRefLayoutAttrInterface(),
                              builder.getI64IntegerAttr(3));
  int64_t offset = llvm::alignTo(sharedBytes, kSharedAlignment);
  sharedBytes = offset + count * int64_t(llvm::divideCeil(element.getIntOrFloatBitWidth(), 8));
  return memref::ViewOp::create(builder, loc, type, shared, math.value(math.constant(offset)),
                                ValueRange{math.value(math.constant(count))});
}

Value EmitContext::getScratch(int64_t bytes) {
  if (!scratch) {
    scratch = kernel.getBody().front().addArgument(LLVM::LLVMPointerType::get(builder.getContext()),
                                                   kernel.getLoc());
  }
  scratchBytes = std::max(scratchBytes, bytes);
  return scratch;
}

LogicalResult EmitContext::emitEither(Location loc, Value condition,
                                      llvm::function_ref<LogicalResult()> first,
                                      llvm::function_ref<LogicalResult()> second) {
  auto branch = scf::IfOp::create(builder, loc, condition, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(builder);
  int64_t before = sharedBytes, most = before;
  for (auto [block, emit] : {std::pair(branch.thenBlock(), first), std::pair(branch.elseBlock(), second)}) {
    builder.setInsertionPointToStart(block);
    sharedBytes = before;
    if (failed(emit())) {
      return failure();
    }
    most = std::max(most, sharedBytes);
  }
  sharedBytes = most;
  return success();
}
