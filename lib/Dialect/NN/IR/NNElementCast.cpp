// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What casts compute for one element.
///
/// ONNX leaves floats beyond an integer type's range open; here they give its nearest number and NaN gives 0,
/// on every processor. Integers of fewer than 8 bits keep the last bits of an i32.

#include "lathe/Codegen/Math/Emitter.h"
#include "lathe/Codegen/Math/SmallFloats.h"
#include "lathe/Dialect/NN/IR/NN.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/Matchers.h"

#include <cmath>

using namespace mlir;

namespace lathe::nn {

using CmpF = Emitter::CmpF;
using CmpI = Emitter::CmpI;

namespace {
/// A number, rounded to the nearest integer, and an integer that is added then.
struct Rounded {
  Value x;
  double added = 0;
};
} // namespace

/// Matches what casts of quantized numbers get, f32 that are integers.
static std::optional<Rounded> matchRounded(Value x) {
  constexpr double kMostAdded = 1 << 15;
  Rounded rounded;
  if (auto sum = x.getDefiningOp<arith::AddFOp>()) {
    Value number = sum.getRhs();
    if (auto broadcast = number.getDefiningOp<vector::BroadcastOp>()) {
      number = broadcast.getSource();
    }
    APFloat value(0.0f);
    if (!matchPattern(number, m_ConstantFloat(&value)) || !value.isInteger() ||
        std::abs(value.convertToDouble()) > kMostAdded) {
      return std::nullopt;
    }
    rounded.added = value.convertToDouble();
    x = sum.getLhs();
  }
  auto round = x.getDefiningOp<math::RoundEvenOp>();
  if (!round || !getElementTypeOrSelf(x).isF32()) {
    return std::nullopt;
  }
  rounded.x = round.getOperand();
  return rounded;
}

/// Truncates f32 or f64 to an integer, with saturation.
static Value floatToInteger(Emitter &e, Value x, IntegerType to, bool isUnsigned) {
  OpBuilder &b = e.builder();
  Location loc = e.location();
  Type type = withElement(x.getType(), to);
  unsigned width = to.getWidth();
  if (width < 8) {
    // Of numbers beyond, the last bits stay, as of integers: so ONNX's own tests have it.
    return arith::TruncIOp::create(b, loc, type, floatToInteger(e, x, b.getI32Type(), /*isUnsigned=*/false));
  }
  if (width < 32) {
    // Through i32, which has vector instructions, from between the least and the greatest number, both exact
    // in every float type. Each comparison is one instruction with its selection.
    double most = std::ldexp(1.0, isUnsigned ? width : width - 1) - 1, least = isUnsigned ? 0 : -most - 1;
    std::optional<Rounded> rounded = matchRounded(x);
    double added = rounded ? rounded->added : 0;
    x = rounded ? rounded->x : x;
    if (!isUnsigned) {
      x = e.select(e.compare(CmpF::ORD, x, x), x, e.real(x.getType(), -added));
    }
    // Of unsigned numbers NaN gives the least, 0, here.
    x = e.select(e.compare(CmpF::OGT, x, least - added), x, e.real(x.getType(), least - added));
    x = e.select(e.compare(CmpF::OLT, x, most - added), x, e.real(x.getType(), most - added));
    Type i32 = withElement(x.getType(), b.getI32Type());
    if (!rounded) {
      return arith::TruncIOp::create(b, loc, type, arith::FPToSIOp::create(b, loc, i32, x));
    }
    // What rounds is the addition of 1.5 * 2^23: the integer is in the low bits then.
    Value bits = e.bits(e.add(x, e.real(x.getType(), 12582912.0)));
    if (added != 0) {
      bits = e.add(bits, e.integer(i32, int64_t(added)));
    }
    return arith::TruncIOp::create(b, loc, type, bits);
  }
  // Everything from `high` up and below `low` lies outside; both are powers of two, so exact in every float
  // type.
  double high = std::ldexp(1.0, isUnsigned ? width : width - 1);
  double low = isUnsigned ? 0 : -high;
  APInt largest = isUnsigned ? APInt::getMaxValue(width) : APInt::getSignedMaxValue(width);
  APInt smallest = isUnsigned ? APInt::getZero(width) : APInt::getSignedMinValue(width);
  Value isHigh = e.compare(CmpF::OGE, x, high);
  Value isLow = e.compare(CmpF::OLT, x, low);
  Value isInside = e.bitAnd(e.compare(CmpF::OLT, x, high), e.compare(CmpF::OGE, x, low));
  // The conversion itself sees only numbers that fit: it has no other defined result.
  Value safe = e.select(isInside, x, e.zero(x.getType()));
  Value result = isUnsigned ? Value(arith::FPToUIOp::create(b, loc, type, safe))
                            : Value(arith::FPToSIOp::create(b, loc, type, safe));
  result = e.select(isHigh, e.integer(type, largest.getZExtValue()), result);
  return e.select(isLow, e.integer(type, smallest.getZExtValue()), result);
}

/// f64 to f32 rounded to odd, to be rounded again to a narrower type: rounding twice to nearest would be
/// wrong at ties.
static Value roundToOdd(Emitter &e, Value x) {
  OpBuilder &b = e.builder();
  Value rounded = e.toFloat(x, b.getF32Type());
  Value back = e.toFloat(rounded, b.getF64Type());
  Value bits = e.bits(rounded);
  Value isOdd = e.compare(CmpI::ne, e.bitAnd(bits, 1), int64_t(0));
  // Towards x: a float's bits grow with its magnitude.
  Value isSmaller = e.compare(CmpF::OLT, e.abs(back), e.abs(x));
  Value isLarger = e.compare(CmpF::OGT, e.abs(back), e.abs(x));
  Type type = bits.getType();
  Value step = e.select(isSmaller, e.integer(type, 1), e.zero(type));
  step = e.select(isLarger, e.integer(type, -1), step);
  step = e.select(isOdd, e.zero(type), step);
  return e.fromBits(e.add(bits, step), b.getF32Type());
}

/// A finite f32 to bf16, by its bits: arith would fold a truncation into the conversion from an integer
/// before it, which LLVM has no instruction for.
static Value roundToBF16(Emitter &e, Value x) {
  OpBuilder &b = e.builder();
  Value bits = e.bits(x);
  Value isOdd = e.bitAnd(e.shiftRight(bits, 16), 1);
  Value rounded = e.add(bits, e.add(isOdd, e.integer(bits.getType(), 0x7fff)));
  Type i16 = withElement(x.getType(), b.getI16Type());
  Value high = arith::TruncIOp::create(b, e.location(), i16, e.shiftRight(rounded, 16));
  return e.fromBits(high, b.getBF16Type());
}

/// A float of any width, which is not rounded yet but for a step to odd, to the small floats that `op` gives.
static Value toSmallFloat(Emitter &e, Value x, CastOp op) {
  SmallFloatOptions options;
  options.saturate = op.getSaturate();
  static_assert(int(PowerRoundingKind::Down) == int(PowerRounding::Down) &&
                int(PowerRoundingKind::Nearest) == int(PowerRounding::Nearest));
  options.rounding = PowerRounding(op.getRounding());
  x = e.toFloat(x, e.builder().getF32Type());
  return buildToSmallFloat(e.builder(), e.location(), x, getElementTypeOrSelf(op.getType()), options);
}

Value BitCastOp::buildElement(OpBuilder &builder, Location loc, ValueRange operands) {
  Emitter e(builder, loc);
  Value x = operands[0];
  Type from = getElementTypeOrSelf(x.getType()), to = getElementTypeOrSelf(getResult().getType());
  if (isa<IntegerType>(to)) {
    to = builder.getIntegerType(to.getIntOrFloatBitWidth());
  }
  if (from == to) {
    return x;
  }
  if (to.isInteger(1)) {
    return e.compare(CmpI::ne, x, int64_t(0));
  }
  if (from.isInteger(1)) {
    x = e.extendUnsigned(x, builder.getI8Type());
  }
  Type type = withElement(x.getType(), to);
  return x.getType() == type ? x : arith::BitcastOp::create(builder, loc, type, x);
}

Value CastOp::buildElement(OpBuilder &builder, Location loc, ValueRange operands) {
  Emitter e(builder, loc);
  Value x = operands[0];
  Type declaredFrom = getElementTypeOrSelf(getX().getType());
  Type declaredTo = getElementTypeOrSelf(getResult().getType());
  Type from = getElementTypeOrSelf(x.getType());
  bool fromUnsigned = declaredFrom.isUnsignedInteger() || from.isInteger(1);

  if (auto toFloat = dyn_cast<FloatType>(declaredTo)) {
    if (auto fromFloat = dyn_cast<FloatType>(from)) {
      bool twice = fromFloat.getWidth() == 64 && toFloat.getWidth() < 32;
      x = twice ? roundToOdd(e, x) : x;
      return isSmallFloat(toFloat) ? toSmallFloat(e, x, *this) : e.toFloat(x, toFloat);
    }
    // Narrow types through f32: no processor converts to them, and LLVM would call a function.
    Type wide = toFloat.getWidth() < 32 ? builder.getF32Type() : Type(toFloat);
    Type type = withElement(x.getType(), wide);
    Value result = fromUnsigned ? Value(arith::UIToFPOp::create(builder, loc, type, x))
                                : Value(arith::SIToFPOp::create(builder, loc, type, x));
    if (isSmallFloat(toFloat)) {
      return toSmallFloat(e, result, *this);
    }
    return toFloat.isBF16() ? roundToBF16(e, result) : e.toFloat(result, toFloat);
  }

  auto to = IntegerType::get(builder.getContext(), declaredTo.getIntOrFloatBitWidth());
  Type type = withElement(x.getType(), to);
  if (isa<FloatType>(from)) {
    if (from.getIntOrFloatBitWidth() < 32) {
      x = e.toFloat(x, builder.getF32Type());
    }
    if (to.getWidth() == 1) {
      return e.compare(CmpF::UNE, x, 0.0);
    }
    return floatToInteger(e, x, to, declaredTo.isUnsignedInteger());
  }
  unsigned fromWidth = from.getIntOrFloatBitWidth();
  if (to.getWidth() == 1) {
    return fromWidth == 1 ? x : e.compare(CmpI::ne, x, int64_t(0));
  }
  if (fromWidth == to.getWidth()) {
    return x;
  }
  if (fromWidth > to.getWidth()) {
    return arith::TruncIOp::create(builder, loc, type, x);
  }
  return fromUnsigned ? Value(arith::ExtUIOp::create(builder, loc, type, x))
                      : Value(arith::ExtSIOp::create(builder, loc, type, x));
}

} // namespace lathe::nn
