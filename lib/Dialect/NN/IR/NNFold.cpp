// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Folders of the ops that compute. Identities hold for every bit pattern but a NaN's payload.

#include "ConstantElements.h"

#include "lathe/Dialect/NN/IR/Builders.h"
#include "lathe/Dialect/NN/IR/Division.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Matchers.h"

using namespace mlir;
using namespace lathe::nn;
using namespace lathe::nn::detail;

static ArrayRef<int64_t> getShape(Value tensor) {
  return cast<RankedTensorType>(tensor.getType()).getShape();
}

//===----------------------------------------------------------------------===//
// Constants
//===----------------------------------------------------------------------===//

/// Folds a pointwise op on constants by evaluating what its kernel computes.
static OpFoldResult foldPointwise(PointwiseOpInterface op, ArrayRef<Attribute> operands) {
  Value result = op->getResult(0);
  // A division by zero is left to the run, which fails.
  if (!canFoldTo(result.getType()) || getUncertainDivisor(op)) {
    return {};
  }
  SmallVector<SmallVector<Attribute>> inputs;
  SmallVector<Type> types;
  for (auto [attr, value] : llvm::zip_equal(operands, op->getOperands())) {
    std::optional<SmallVector<Attribute>> elements = readElements(attr);
    if (!elements) {
      return {};
    }
    inputs.push_back(std::move(*elements));
    types.push_back(dropSign(getElementType(value)));
  }
  ScalarFunction function(op.getLoc(), types, [&](OpBuilder &builder, ValueRange arguments) {
    return op.buildElement(builder, op.getLoc(), arguments);
  });
  SmallVector<Attribute> elements;
  bool isFolded = true;
  forEachPosition(getShape(result), [&](ArrayRef<int64_t> position) {
    if (!isFolded) {
      return;
    }
    SmallVector<Attribute> arguments;
    for (auto [input, value] : llvm::zip_equal(inputs, op->getOperands())) {
      arguments.push_back(input[linearizeBroadcast(position, getShape(value))]);
    }
    elements.push_back(function.evaluate(arguments));
    isFolded = bool(elements.back());
  });
  return isFolded ? makeElements(result.getType(), elements) : Attribute();
}

//===----------------------------------------------------------------------===//
// Identities
//===----------------------------------------------------------------------===//

/// Whether `x` stands for `result`: it has its type, and broadcasting it against `others` changes no size.
static bool isUnchanged(Value x, Value result, ValueRange others) {
  if (x.getType() != result.getType()) {
    return false;
  }
  return llvm::all_of(others, [&](Value other) {
    ArrayRef<int64_t> shape = getShape(x), otherShape = getShape(other);
    if (other == x) {
      return true;
    }
    if (otherShape.size() > shape.size()) {
      return false;
    }
    for (auto [size, otherSize] : llvm::zip_equal(shape.take_back(otherShape.size()), otherShape)) {
      if (otherSize != 1 && (ShapedType::isDynamic(otherSize) || otherSize != size)) {
        return false;
      }
    }
    return true;
  });
}

/// Whether every element of a constant is this float, its sign included; or this integer.
static bool isSplat(Attribute attr, double real, int64_t integer) {
  auto dense = dyn_cast_or_null<DenseElementsAttr>(attr);
  if (!dense || !dense.isSplat()) {
    return false;
  }
  if (isa<FloatType>(dense.getElementType())) {
    return dense.getSplatValue<APFloat>().isExactlyValue(real);
  }
  APInt value = dense.getSplatValue<APInt>();
  return value == APInt(value.getBitWidth(), integer, /*isSigned=*/true, /*implicitTrunc=*/true);
}

/// Whether `rhs` leaves every lhs as it is.
static bool isRightIdentity(BinaryKind kind, Attribute rhs) {
  switch (kind) {
  case BinaryKind::Add:
    // -0 + 0 is 0, so of floats only -0 will do.
    return isSplat(rhs, -0.0, 0);
  case BinaryKind::Sub:
    return isSplat(rhs, 0.0, 0);
  case BinaryKind::Mul:
  case BinaryKind::Div:
  case BinaryKind::Pow:
    return isSplat(rhs, 1.0, 1);
  case BinaryKind::And:
    return isSplat(rhs, 0.0, -1);
  case BinaryKind::Or:
  case BinaryKind::Xor:
    return isSplat(rhs, 0.0, 0);
  default:
    return false;
  }
}

static bool isCommutative(BinaryKind kind) {
  return llvm::is_contained({BinaryKind::Add, BinaryKind::Mul, BinaryKind::Max, BinaryKind::Min,
                             BinaryKind::And, BinaryKind::Or, BinaryKind::Xor},
                            kind);
}

/// Whether f(x, x) is x.
static bool isIdempotent(BinaryKind kind) {
  return llvm::is_contained({BinaryKind::Max, BinaryKind::Min, BinaryKind::And, BinaryKind::Or}, kind);
}

OpFoldResult BinaryOp::fold(FoldAdaptor adaptor) {
  if (OpFoldResult constant = foldPointwise(*this, adaptor.getOperands())) {
    return constant;
  }
  Value lhs = getLhs(), rhs = getRhs(), result = getResult();
  if (isRightIdentity(getKind(), adaptor.getRhs()) && isUnchanged(lhs, result, rhs)) {
    return lhs;
  }
  if (isCommutative(getKind()) && isRightIdentity(getKind(), adaptor.getLhs()) &&
      isUnchanged(rhs, result, lhs)) {
    return rhs;
  }
  if (lhs == rhs && isIdempotent(getKind()) && isUnchanged(lhs, result, rhs)) {
    return lhs;
  }
  return {};
}

OpFoldResult UnaryOp::fold(FoldAdaptor adaptor) {
  if (OpFoldResult constant = foldPointwise(*this, adaptor.getOperands())) {
    return constant;
  }
  auto inner = getX().getDefiningOp<UnaryOp>();
  if (!inner || inner.getKind() != getKind()) {
    return {};
  }
  switch (getKind()) {
  case UnaryKind::Neg:
  case UnaryKind::Not:
    return inner.getX().getType() == getType() ? inner.getX() : Value();
  case UnaryKind::Abs:
  case UnaryKind::Relu:
  case UnaryKind::Ceil:
  case UnaryKind::Floor:
  case UnaryKind::Round:
    return inner.getType() == getType() ? inner.getResult() : Value();
  default:
    return {};
  }
}

OpFoldResult CompareOp::fold(FoldAdaptor adaptor) { return foldPointwise(*this, adaptor.getOperands()); }

OpFoldResult SelectOp::fold(FoldAdaptor adaptor) {
  if (OpFoldResult constant = foldPointwise(*this, adaptor.getOperands())) {
    return constant;
  }
  Value condition = getCondition(), lhs = getLhs(), rhs = getRhs();
  if (isSplat(adaptor.getCondition(), 1.0, -1) && isUnchanged(lhs, getResult(), {condition, rhs})) {
    return lhs;
  }
  if (isSplat(adaptor.getCondition(), 0.0, 0) && isUnchanged(rhs, getResult(), {condition, lhs})) {
    return rhs;
  }
  if (lhs == rhs && isUnchanged(lhs, getResult(), condition)) {
    return lhs;
  }
  return {};
}

//===----------------------------------------------------------------------===//
// Casts
//===----------------------------------------------------------------------===//

/// Whether every value of `from` is one of `to`.
static bool isLossless(Type from, Type to) {
  if (from == to) {
    return true;
  }
  auto fromFloat = dyn_cast<FloatType>(from), toFloat = dyn_cast<FloatType>(to);
  if (fromFloat && toFloat) {
    return APFloat::isRepresentableBy(fromFloat.getFloatSemantics(), toFloat.getFloatSemantics());
  }
  auto fromInteger = dyn_cast<IntegerType>(from), toInteger = dyn_cast<IntegerType>(to);
  if (!fromInteger) {
    return false;
  }
  bool isUnsigned = fromInteger.isUnsigned() || fromInteger.getWidth() == 1;
  unsigned valueBits = fromInteger.getWidth() - (isUnsigned ? 0 : 1);
  if (toFloat) {
    // The mantissa holds them all, and the exponent of a type with so many bits does not overflow.
    return toFloat.getWidth() >= 16 && valueBits <= APFloat::semanticsPrecision(toFloat.getFloatSemantics());
  }
  if (toInteger.getWidth() == 1) {
    return false;
  }
  unsigned toBits = toInteger.getWidth() - (toInteger.isUnsigned() ? 0 : 1);
  return valueBits <= toBits && (isUnsigned || !toInteger.isUnsigned());
}

/// Whether a cast from `from` to `to` by way of `middle` gives what a direct one does.
static bool isDetour(Type from, Type middle, Type to) {
  if (!isLossless(from, middle)) {
    return false;
  }
  // Back where it came from, an infinity may have become the largest number.
  if (from == to && isa<FloatType>(to) && to.getIntOrFloatBitWidth() <= 8) {
    return false;
  }
  // Out of range, integers wrap but floats saturate.
  bool mayDiffer =
      isa<IntegerType>(from) && isa<FloatType>(middle) && isa<IntegerType>(to) && !to.isInteger(1);
  return !mayDiffer || isLossless(from, to);
}

OpFoldResult BitCastOp::fold(FoldAdaptor adaptor) {
  return getX().getType() == getType() ? OpFoldResult(getX()) : foldPointwise(*this, adaptor.getOperands());
}

OpFoldResult CastOp::fold(FoldAdaptor adaptor) {
  if (getX().getType() == getType()) {
    return getX();
  }
  if (OpFoldResult constant = foldPointwise(*this, adaptor.getOperands())) {
    return constant;
  }
  auto inner = getX().getDefiningOp<CastOp>();
  if (!inner ||
      !isDetour(getElementType(inner.getX()), getElementType(getX()), getElementType(getResult()))) {
    return {};
  }
  if (inner.getX().getType() == getType()) {
    return inner.getX();
  }
  getXMutable().assign(inner.getX());
  return getResult();
}

//===----------------------------------------------------------------------===//
// Reductions
//===----------------------------------------------------------------------===//

/// One step of a reduction. Floats are summed one after the other in their own type, so only those of 32 and
/// 64 bits are folded.
static Value buildStep(OpBuilder &builder, Location loc, ReduceKind kind, Value total, Value x,
                       bool isUnsigned) {
  bool isFloat = isa<FloatType>(x.getType());
  auto square = [&]() -> Value {
    return isFloat ? arith::MulFOp::create(builder, loc, x, x).getResult()
                   : arith::MulIOp::create(builder, loc, x, x).getResult();
  };
  switch (kind) {
  case ReduceKind::SumSquare:
    x = square();
    [[fallthrough]];
  case ReduceKind::Sum:
    return isFloat ? arith::AddFOp::create(builder, loc, total, x).getResult()
                   : arith::AddIOp::create(builder, loc, total, x).getResult();
  case ReduceKind::Prod:
    return isFloat ? arith::MulFOp::create(builder, loc, total, x).getResult()
                   : arith::MulIOp::create(builder, loc, total, x).getResult();
  case ReduceKind::Max:
    return isFloat      ? arith::MaximumFOp::create(builder, loc, total, x).getResult()
           : isUnsigned ? arith::MaxUIOp::create(builder, loc, total, x).getResult()
                        : arith::MaxSIOp::create(builder, loc, total, x).getResult();
  case ReduceKind::Min:
    return isFloat      ? arith::MinimumFOp::create(builder, loc, total, x).getResult()
           : isUnsigned ? arith::MinUIOp::create(builder, loc, total, x).getResult()
                        : arith::MinSIOp::create(builder, loc, total, x).getResult();
  case ReduceKind::All:
    return arith::AndIOp::create(builder, loc, total, x);
  case ReduceKind::Any:
    return arith::OrIOp::create(builder, loc, total, x);
  case ReduceKind::Mean:
    break;
  }
  return {};
}

/// Folds a reduction of a constant over at least one element.
static Attribute foldReduction(ReduceOp op, Attribute attr) {
  std::optional<SmallVector<Attribute>> x = readElements(attr);
  Type type = dropSign(getElementType(op.getX()));
  bool isNarrow = isa<FloatType>(type) && type.getIntOrFloatBitWidth() < 32;
  bool isExtremum = op.getKind() == ReduceKind::Max || op.getKind() == ReduceKind::Min;
  if (!x || x->empty() || !canFoldTo(op.getType()) || (isNarrow && !isExtremum)) {
    return {};
  }
  ArrayRef<int64_t> shape = getShape(op.getX());
  SmallVector<int64_t> kept(shape);
  for (int64_t axis : op.getAxes()) {
    kept[axis] = 1;
  }
  bool isUnsigned = getElementType(op.getX()).isUnsignedInteger();
  ScalarFunction step(op.getLoc(), {type, type}, [&](OpBuilder &builder, ValueRange arguments) {
    return buildStep(builder, op.getLoc(), op.getKind(), arguments[0], arguments[1], isUnsigned);
  });
  // Sums of one element are not trivial for squares, so those start at zero; the others at their first
  // element.
  SmallVector<Attribute> totals(ShapedType::getNumElements(kept));
  Builder builder(op.getContext());
  bool isFolded = true;
  forEachPosition(shape, [&](ArrayRef<int64_t> position) {
    Attribute &total = totals[linearizeBroadcast(position, kept)];
    Attribute element = (*x)[linearize(position, shape)];
    if (!total && op.getKind() != ReduceKind::SumSquare) {
      total = element;
      return;
    }
    total = isFolded ? step.evaluate({total ? total : builder.getZeroAttr(type), element}) : Attribute();
    isFolded = isFolded && total;
  });
  return isFolded ? makeElements(op.getType(), totals) : Attribute();
}

OpFoldResult ReduceOp::fold(FoldAdaptor adaptor) {
  if (getAxes().empty() && getKind() != ReduceKind::SumSquare && getX().getType() == getType()) {
    return getX();
  }
  if (getKind() == ReduceKind::Mean) {
    return {};
  }
  return foldReduction(*this, adaptor.getX());
}
