// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Codegen/Math/Emitter.h"

#include "lathe/Codegen/Math/SmallFloats.h"

#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;

namespace lathe {

Type withElement(Type like, Type element) {
  if (auto vector = dyn_cast<VectorType>(like)) {
    return VectorType::get(vector.getShape(), element, vector.getScalableDims());
  }
  return element;
}

static Value splat(OpBuilder &b, Location loc, Type type, TypedAttr value) {
  if (auto vector = dyn_cast<VectorType>(type)) {
    value = DenseElementsAttr::get(vector, Attribute(value));
  }
  return arith::ConstantOp::create(b, loc, type, value);
}

static bool isFloat(Value x) { return isa<FloatType>(getElementTypeOrSelf(x.getType())); }

Value Emitter::real(Type type, double value) {
  return splat(b, loc, type, b.getFloatAttr(getElementTypeOrSelf(type), value));
}

Value Emitter::integer(Type type, int64_t value) {
  auto element = getElementTypeOrSelf(type);
  if (isa<IndexType>(element)) {
    return splat(b, loc, type, b.getIndexAttr(value));
  }
  APInt bits = APInt(64, uint64_t(value)).zextOrTrunc(element.getIntOrFloatBitWidth());
  return splat(b, loc, type, IntegerAttr::get(element, bits));
}

Value Emitter::zero(Type type) {
  return isa<FloatType>(getElementTypeOrSelf(type)) ? real(type, 0) : integer(type, 0);
}

Value Emitter::infinity(Type type, bool negative) {
  auto element = cast<FloatType>(getElementTypeOrSelf(type));
  return splat(b, loc, type, FloatAttr::get(element, APFloat::getInf(element.getFloatSemantics(), negative)));
}

Value Emitter::nan(Type type) {
  auto element = cast<FloatType>(getElementTypeOrSelf(type));
  return splat(b, loc, type, FloatAttr::get(element, APFloat::getQNaN(element.getFloatSemantics())));
}

Value Emitter::add(Value x, Value y) {
  return isFloat(x) ? Value(arith::AddFOp::create(b, loc, x, y)) : Value(arith::AddIOp::create(b, loc, x, y));
}
Value Emitter::sub(Value x, Value y) {
  return isFloat(x) ? Value(arith::SubFOp::create(b, loc, x, y)) : Value(arith::SubIOp::create(b, loc, x, y));
}
Value Emitter::mul(Value x, Value y) {
  return isFloat(x) ? Value(arith::MulFOp::create(b, loc, x, y)) : Value(arith::MulIOp::create(b, loc, x, y));
}
Value Emitter::div(Value x, Value y) { return arith::DivFOp::create(b, loc, x, y); }
Value Emitter::fma(Value x, Value y, Value z) { return math::FmaOp::create(b, loc, x, y, z); }
Value Emitter::neg(Value x) {
  return isFloat(x) ? Value(arith::NegFOp::create(b, loc, x)) : sub(zero(x.getType()), x);
}
Value Emitter::abs(Value x) { return math::AbsFOp::create(b, loc, x); }
Value Emitter::copysign(Value magnitude, Value sign) {
  return math::CopySignOp::create(b, loc, magnitude, sign);
}
Value Emitter::sqrt(Value x) { return math::SqrtOp::create(b, loc, x); }
Value Emitter::floor(Value x) { return math::FloorOp::create(b, loc, x); }
Value Emitter::ceil(Value x) { return math::CeilOp::create(b, loc, x); }
Value Emitter::trunc(Value x) { return math::TruncOp::create(b, loc, x); }
Value Emitter::roundEven(Value x) { return math::RoundEvenOp::create(b, loc, x); }

Value Emitter::compare(CmpF predicate, Value x, Value y) {
  return arith::CmpFOp::create(b, loc, predicate, x, y);
}
Value Emitter::compare(CmpI predicate, Value x, Value y) {
  return arith::CmpIOp::create(b, loc, predicate, x, y);
}
Value Emitter::select(Value condition, Value x, Value y) {
  return arith::SelectOp::create(b, loc, condition, x, y);
}

Value Emitter::clampAbove(Value x, double high) {
  // With this order of operands x86's minps does it all, NaN included.
  Value bound = real(x.getType(), high);
  return select(compare(CmpF::OLT, bound, x), bound, x);
}
Value Emitter::clampBelow(Value x, double low) {
  Value bound = real(x.getType(), low);
  return select(compare(CmpF::OGT, bound, x), bound, x);
}

Value Emitter::bitAnd(Value x, Value y) { return arith::AndIOp::create(b, loc, x, y); }
Value Emitter::bitOr(Value x, Value y) { return arith::OrIOp::create(b, loc, x, y); }
Value Emitter::bitXor(Value x, Value y) { return arith::XOrIOp::create(b, loc, x, y); }
Value Emitter::shiftLeft(Value x, Value by) { return arith::ShLIOp::create(b, loc, x, by); }
Value Emitter::shiftLeft(Value x, int64_t by) { return shiftLeft(x, integer(x.getType(), by)); }
Value Emitter::shiftRight(Value x, Value by) { return arith::ShRUIOp::create(b, loc, x, by); }
Value Emitter::shiftRight(Value x, int64_t by) { return shiftRight(x, integer(x.getType(), by)); }
Value Emitter::shiftRightSigned(Value x, int64_t by) {
  return arith::ShRSIOp::create(b, loc, x, integer(x.getType(), by));
}

Value Emitter::bits(Value x) {
  unsigned width = getElementTypeOrSelf(x.getType()).getIntOrFloatBitWidth();
  return arith::BitcastOp::create(b, loc, withElement(x.getType(), b.getIntegerType(width)), x);
}
Value Emitter::fromBits(Value x, Type element) {
  return arith::BitcastOp::create(b, loc, withElement(x.getType(), element), x);
}

Value Emitter::toFloat(Value x, Type element) {
  auto from = cast<FloatType>(getElementTypeOrSelf(x.getType())), to = cast<FloatType>(element);
  Type type = withElement(x.getType(), element);
  if (from == to) {
    return x;
  }
  if (isSmallFloat(from)) {
    return toFloat(buildFromSmallFloat(b, loc, x), element);
  }
  if (isSmallFloat(to)) {
    return buildToSmallFloat(b, loc, toFloat(x, b.getF32Type()), element);
  }
  if (from.getWidth() < to.getWidth()) {
    return arith::ExtFOp::create(b, loc, type, x);
  }
  if (from.getWidth() > to.getWidth()) {
    return arith::TruncFOp::create(b, loc, type, x);
  }
  // Between f16 and bf16.
  return toFloat(toFloat(x, b.getF32Type()), element);
}
Value Emitter::signedToFloat(Value x, Type element) {
  return arith::SIToFPOp::create(b, loc, withElement(x.getType(), element), x);
}
Value Emitter::extendUnsigned(Value x, Type element) {
  return arith::ExtUIOp::create(b, loc, withElement(x.getType(), element), x);
}

Value Emitter::polynomial(Value x, ArrayRef<double> coefficients) {
  Value result = real(x.getType(), coefficients.back());
  for (double c : llvm::reverse(coefficients.drop_back())) {
    result = fma(result, x, c);
  }
  return result;
}

} // namespace lathe
