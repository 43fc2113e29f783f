// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What each kind of reduction accumulates, and how.

#include "lathe/Codegen/Element/RowsEmitter.h"

#include "lathe/Codegen/Math/Emitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::codegen;
using kernel::RowsExtent;

using Term = std::function<FailureOr<Value>(const Tile &)>;
using Combine = std::function<Value(Value, Value)>;

Type lathe::codegen::getAccumulatorType(Type elementType) {
  Type type = getRegisterType(elementType);
  return type.isF16() || type.isBF16() ? Float32Type::get(type.getContext()) : type;
}

Value lathe::codegen::widen(OpBuilder &builder, Location loc, Value value) {
  Type elementType = getElementTypeOrSelf(value.getType());
  Type wide = getAccumulatorType(elementType);
  return wide == elementType ? value
                             : arith::ExtFOp::create(builder, loc, withElement(value.getType(), wide), value);
}

Value lathe::codegen::narrow(OpBuilder &builder, Location loc, Value value, Type elementType) {
  Type type = getRegisterType(elementType);
  return type == getElementTypeOrSelf(value.getType())
             ? value
             : arith::TruncFOp::create(builder, loc, withElement(value.getType(), type), value);
}

Value lathe::codegen::reduceLanes(OpBuilder &builder, Location loc, Value vector,
                                  const Reduction &reduction) {
  for (int64_t length = cast<VectorType>(vector.getType()).getNumElements(); length > 1; length /= 2) {
    SmallVector<int64_t> positions = llvm::to_vector(llvm::seq<int64_t>(0, length));
    Value low =
        vector::ShuffleOp::create(builder, loc, vector, vector, ArrayRef(positions).take_front(length / 2));
    Value high =
        vector::ShuffleOp::create(builder, loc, vector, vector, ArrayRef(positions).drop_front(length / 2));
    vector = reduction.combine(low, high);
  }
  return vector::ExtractOp::create(builder, loc, vector, int64_t(0));
}

Reduction lathe::codegen::getSum(ElementContext &context, Location loc, Type type, Term term) {
  OpBuilder &builder = context.builder;
  Combine add = [&builder, loc](Value lhs, Value rhs) -> Value {
    return arith::AddFOp::create(builder, loc, lhs, rhs);
  };
  return {type, builder.getFloatAttr(type, 0.0), std::move(term), add, add};
}

/// Adds the square of a term.
static Combine getSquareAccumulation(OpBuilder &builder, Location loc) {
  return [&builder, loc](Value accumulator, Value term) -> Value {
    if (isa<FloatType>(getElementTypeOrSelf(term.getType()))) {
      return math::FmaOp::create(builder, loc, term, term, accumulator);
    }
    Value square = arith::MulIOp::create(builder, loc, term, term);
    return arith::AddIOp::create(builder, loc, accumulator, square);
  };
}

Reduction lathe::codegen::getSumOfSquares(ElementContext &context, Location loc, Type type, Term term) {
  Reduction reduction = getSum(context, loc, type, std::move(term));
  reduction.accumulate = getSquareAccumulation(context.builder, loc);
  return reduction;
}

Reduction lathe::codegen::getMaximum(ElementContext &context, Location loc, Type type, Term term) {
  OpBuilder &builder = context.builder;
  Combine max = [&builder, loc](Value lhs, Value rhs) -> Value {
    Value isGreater = arith::CmpFOp::create(builder, loc, arith::CmpFPredicate::OGT, rhs, lhs);
    return arith::SelectOp::create(builder, loc, isGreater, rhs, lhs);
  };
  auto lowest = APFloat::getInf(cast<FloatType>(type).getFloatSemantics(), /*Negative=*/true);
  return {type, builder.getFloatAttr(type, lowest), std::move(term), max, max};
}

/// The combination of a kind for floats.
static Combine getFloatCombine(OpBuilder &builder, Location loc, nn::ReduceKind kind) {
  return [&builder, loc, kind](Value lhs, Value rhs) -> Value {
    switch (kind) {
    case nn::ReduceKind::Max:
      return arith::MaximumFOp::create(builder, loc, lhs, rhs);
    case nn::ReduceKind::Min:
      return arith::MinimumFOp::create(builder, loc, lhs, rhs);
    case nn::ReduceKind::Prod:
      return arith::MulFOp::create(builder, loc, lhs, rhs);
    default:
      return arith::AddFOp::create(builder, loc, lhs, rhs);
    }
  };
}

/// The larger of two magnitudes, NaN if one is: floats without a sign are ordered as their bits are, NaN
/// above all.
static Combine getMagnitudeCombine(OpBuilder &builder, Location loc) {
  return [&builder, loc](Value lhs, Value rhs) -> Value {
    lathe::Emitter e(builder, loc);
    Value larger = arith::MaxSIOp::create(builder, loc, e.bits(lhs), e.bits(rhs));
    return e.fromBits(larger, getElementTypeOrSelf(lhs.getType()));
  };
}

static Combine getIntegerCombine(OpBuilder &builder, Location loc, nn::ReduceKind kind, bool isUnsigned) {
  return [&builder, loc, kind, isUnsigned](Value lhs, Value rhs) -> Value {
    switch (kind) {
    case nn::ReduceKind::Max:
      return isUnsigned ? Value(arith::MaxUIOp::create(builder, loc, lhs, rhs))
                        : Value(arith::MaxSIOp::create(builder, loc, lhs, rhs));
    case nn::ReduceKind::Min:
      return isUnsigned ? Value(arith::MinUIOp::create(builder, loc, lhs, rhs))
                        : Value(arith::MinSIOp::create(builder, loc, lhs, rhs));
    case nn::ReduceKind::Prod:
      return arith::MulIOp::create(builder, loc, lhs, rhs);
    case nn::ReduceKind::All:
      return arith::AndIOp::create(builder, loc, lhs, rhs);
    case nn::ReduceKind::Any:
      return arith::OrIOp::create(builder, loc, lhs, rhs);
    default:
      return arith::AddIOp::create(builder, loc, lhs, rhs);
    }
  };
}

static TypedAttr getFloatIdentity(OpBuilder &builder, FloatType type, nn::ReduceKind kind) {
  bool isMax = kind == nn::ReduceKind::Max;
  if (isMax || kind == nn::ReduceKind::Min) {
    return builder.getFloatAttr(type, APFloat::getInf(type.getFloatSemantics(), /*Negative=*/isMax));
  }
  return builder.getFloatAttr(type, kind == nn::ReduceKind::Prod ? 1.0 : 0.0);
}

static TypedAttr getIntegerIdentity(OpBuilder &builder, IntegerType type, nn::ReduceKind kind,
                                    bool isUnsigned) {
  unsigned width = type.getWidth();
  switch (kind) {
  case nn::ReduceKind::Max:
    return builder.getIntegerAttr(type,
                                  isUnsigned ? APInt::getMinValue(width) : APInt::getSignedMinValue(width));
  case nn::ReduceKind::Min:
    return builder.getIntegerAttr(type,
                                  isUnsigned ? APInt::getMaxValue(width) : APInt::getSignedMaxValue(width));
  case nn::ReduceKind::Prod:
    return builder.getIntegerAttr(type, APInt(width, 1));
  case nn::ReduceKind::All:
    return builder.getIntegerAttr(type, APInt::getAllOnes(width));
  default:
    return builder.getIntegerAttr(type, APInt::getZero(width));
  }
}

Reduction lathe::codegen::getReduction(ElementContext &context, nn::ReduceOp reduce, Term term) {
  OpBuilder &builder = context.builder;
  Location loc = reduce.getLoc();
  Type elementType = cast<RankedTensorType>(reduce.getX().getType()).getElementType();
  Type type = getAccumulatorType(elementType);
  nn::ReduceKind kind = reduce.getKind();
  Reduction reduction{type, {}, std::move(term), {}, {}};
  bool isFloat = isa<FloatType>(type);
  if (isFloat) {
    reduction.identity = getFloatIdentity(builder, cast<FloatType>(type), kind);
    auto unary = reduce.getX().getDefiningOp<nn::UnaryOp>();
    bool isMagnitude = kind == nn::ReduceKind::Max && unary && unary.getKind() == nn::UnaryKind::Abs;
    reduction.combine = isMagnitude ? getMagnitudeCombine(builder, loc) : getFloatCombine(builder, loc, kind);
  } else {
    bool isUnsigned = elementType.isUnsignedInteger() || elementType.isInteger(1);
    reduction.identity = getIntegerIdentity(builder, cast<IntegerType>(type), kind, isUnsigned);
    reduction.combine = getIntegerCombine(builder, loc, kind, isUnsigned);
  }
  reduction.accumulate = reduction.combine;
  if (kind == nn::ReduceKind::SumSquare) {
    reduction.accumulate = getSquareAccumulation(builder, loc);
  }
  return reduction;
}

Value lathe::codegen::finishReduction(ElementContext &context, nn::ReduceOp reduce, Value total,
                                      ArrayRef<OpFoldResult> reducedSizes) {
  OpBuilder &builder = context.builder;
  Location loc = reduce.getLoc();
  if (reduce.getKind() == nn::ReduceKind::Mean) {
    IndexMath math{builder, loc};
    Type type = getElementTypeOrSelf(total.getType());
    Value count = arith::IndexCastOp::create(builder, loc, builder.getI64Type(),
                                             math.value(math.product(reducedSizes)));
    count = arith::UIToFPOp::create(builder, loc, type, count);
    auto vector = dyn_cast<VectorType>(total.getType());
    total = arith::DivFOp::create(builder, loc, total,
                                  toLanes(builder, loc, count, vector ? vector.getNumElements() : 0));
  }
  Type elementType = cast<RankedTensorType>(reduce.getType()).getElementType();
  return isa<FloatType>(elementType) ? narrow(builder, loc, total, elementType) : total;
}
