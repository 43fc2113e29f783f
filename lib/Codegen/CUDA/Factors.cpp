// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Factors.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::codegen;
using namespace lathe::cuda;

Value Factors::getZero() const {
  return arith::ConstantOp::create(builder, loc, builder.getZeroAttr(getType()));
}

Value Factors::widen(Value value, Type element) {
  if (!isOnBytes) {
    return element.isF32() ? value : arith::ExtFOp::create(builder, loc, getType(), value).getResult();
  }
  return element.isUnsignedInteger() ? arith::ExtUIOp::create(builder, loc, getType(), value).getResult()
                                     : arith::ExtSIOp::create(builder, loc, getType(), value).getResult();
}

FailureOr<Value> Factors::load(Value operand, Value zero, ArrayRef<Value> index) {
  Tile tile{SmallVector<Value>(index), 0, Value()};
  FailureOr<Value> value = elements.evaluate(operand, tile);
  if (failed(value)) {
    return failure();
  }
  Value factor = widen(*value, cast<RankedTensorType>(operand.getType()).getElementType());
  if (!zero) {
    return factor;
  }
  FailureOr<Value> subtracted = loadZero(operand, zero, index);
  if (failed(subtracted)) {
    return failure();
  }
  return arith::SubIOp::create(builder, loc, factor, *subtracted).getResult();
}

FailureOr<Value> Factors::loadZero(Value operand, Value zero, ArrayRef<Value> index) {
  FailureOr<Value> point =
      elements.evaluateBroadcast(zero, operand, Tile{SmallVector<Value>(index), 0, Value()});
  if (failed(point)) {
    return failure();
  }
  return widen(*point, cast<RankedTensorType>(zero.getType()).getElementType());
}

Value Factors::multiplyAdd(Value lhs, Value rhs, Value sum) {
  if (!isOnBytes) {
    return math::FmaOp::create(builder, loc, lhs, rhs, sum);
  }
  return arith::AddIOp::create(builder, loc, sum, arith::MulIOp::create(builder, loc, lhs, rhs));
}

Value Factors::narrow(Value sum, Type element) {
  return element == getType() ? sum : arith::TruncFOp::create(builder, loc, element, sum).getResult();
}

FailureOr<Value> cuda::emitWhere(OpBuilder &builder, Location loc, Value condition, Value otherwise,
                                 llvm::function_ref<FailureOr<Value>()> body) {
  auto branch = scf::IfOp::create(builder, loc, TypeRange{otherwise.getType()}, condition,
                                  /*addThenBlock=*/true, /*addElseBlock=*/true);
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToEnd(branch.elseBlock());
  scf::YieldOp::create(builder, loc, otherwise);
  builder.setInsertionPointToEnd(branch.thenBlock());
  FailureOr<Value> value = body();
  if (failed(value)) {
    return failure();
  }
  scf::YieldOp::create(builder, loc, *value);
  return branch.getResult(0);
}
