// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Codegen/Math/SmallFloats.h"

#include "lathe/Codegen/Math/Emitter.h"

#include <cmath>
#include <optional>

using namespace mlir;
using namespace lathe;

using CmpF = Emitter::CmpF;
using CmpI = Emitter::CmpI;

bool lathe::isSmallFloat(Type element) {
  auto type = dyn_cast<FloatType>(element);
  return type && type.getWidth() <= 8;
}

/// f32's exponent of 0, where its mantissa begins, and its infinity.
static constexpr int kBias = 127;
static constexpr unsigned kMantissa = 23;
static constexpr int64_t kInfinity = 0x7f800000;

namespace {
/// A signed type: a sign, an exponent, a mantissa without its leading one.
struct Format {
  explicit Format(FloatType type) : width(type.getWidth()) {
    const llvm::fltSemantics &semantics = type.getFloatSemantics();
    mantissa = APFloat::semanticsPrecision(semantics) - 1;
    bias = 1 - APFloat::semanticsMinExponent(semantics);
    auto codeOf = [](const APFloat &number) { return int64_t(number.bitcastToAPInt().getZExtValue()); };
    largest = codeOf(APFloat::getLargest(semantics));
    if (APFloat::semanticsHasInf(semantics)) {
      infinity = codeOf(APFloat::getInf(semantics));
    }
    if (APFloat::semanticsHasNaN(semantics)) {
      nan = codeOf(APFloat::getQNaN(semantics));
    }
  }

  int64_t getSign() const { return int64_t(1) << (width - 1); }
  /// The only NaN is where -0 would be.
  bool hasNoNegativeZero() const { return nan == getSign(); }
  /// What f32's exponent is larger by, in place.
  int64_t getRebias(unsigned mantissaBits) const { return int64_t(kBias - bias) << mantissaBits; }
  double getSmallest() const { return std::ldexp(1.0, 1 - bias - int(mantissa)); }

  unsigned width, mantissa;
  int bias;
  int64_t largest;
  std::optional<int64_t> infinity, nan;
};
} // namespace

//===----------------------------------------------------------------------===//
// To f32
//===----------------------------------------------------------------------===//

static Value decodePower(Emitter &e, Value code) {
  Type f32 = e.builder().getF32Type();
  // 2^-127 is no normal number in f32.
  Value smallest = e.integer(code.getType(), int64_t(1) << (kMantissa - 1));
  Value bits = e.select(e.compare(CmpI::eq, code, int64_t(0)), smallest, e.shiftLeft(code, kMantissa));
  Value isNaN = e.compare(CmpI::eq, code, int64_t(255));
  return e.fromBits(e.select(isNaN, e.integer(code.getType(), kInfinity | (1 << 22)), bits), f32);
}

static Value decode(Emitter &e, Value code, const Format &format) {
  Type i32 = code.getType(), f32 = e.builder().getF32Type();
  Value sign = e.shiftLeft(e.bitAnd(code, format.getSign()), 32 - format.width);
  Value magnitude = e.bitAnd(code, format.getSign() - 1);
  Value bits =
      e.add(e.shiftLeft(magnitude, kMantissa - format.mantissa), e.integer(i32, format.getRebias(kMantissa)));
  // Below the first normal number the code counts the smallest one.
  Value denormal = e.bits(e.mul(e.signedToFloat(magnitude, f32), format.getSmallest()));
  bits = e.select(e.compare(CmpI::slt, magnitude, int64_t(1) << format.mantissa), denormal, bits);
  if (format.infinity) {
    Value isInfinite = e.compare(CmpI::eq, magnitude, *format.infinity);
    bits = e.select(isInfinite, e.integer(i32, kInfinity), bits);
  }
  Value quiet = e.integer(i32, kInfinity | (1 << 22));
  if (format.nan && !format.hasNoNegativeZero()) {
    int64_t last = format.infinity.value_or(format.largest);
    bits = e.select(e.compare(CmpI::sgt, magnitude, last), quiet, bits);
  }
  bits = e.bitOr(bits, sign);
  if (format.hasNoNegativeZero()) {
    bits = e.select(e.compare(CmpI::eq, code, *format.nan), quiet, bits);
  }
  return e.fromBits(bits, f32);
}

Value lathe::buildFromSmallFloat(OpBuilder &b, Location loc, Value x) {
  Emitter e(b, loc);
  auto type = cast<FloatType>(getElementTypeOrSelf(x.getType()));
  Value code = e.extendUnsigned(e.bits(x), b.getI32Type());
  return isa<Float8E8M0FNUType>(type) ? decodePower(e, code) : decode(e, code, Format(type));
}

//===----------------------------------------------------------------------===//
// From f32
//===----------------------------------------------------------------------===//

/// `bits` are those of a magnitude.
static Value encodePower(Emitter &e, Value bits, const SmallFloatOptions &options) {
  Type i32 = bits.getType();
  auto number = [&](int64_t value) { return e.integer(i32, value); };
  Value exponent = e.shiftRight(bits, kMantissa);
  Value fraction = e.bitAnd(bits, (1 << kMantissa) - 1);
  Value isDenormal = e.compare(CmpI::eq, exponent, int64_t(0));
  Value code = exponent;
  if (options.rounding != PowerRounding::Down) {
    // The first fraction that goes up. Below 2^-126 there is no leading one: 2^-127 is half the fraction.
    bool isNearest = options.rounding == PowerRounding::Nearest;
    int64_t half = 1 << (kMantissa - 1);
    Value first =
        e.select(isDenormal, number(isNearest ? half + half / 2 : half + 1), number(isNearest ? half : 1));
    Value goesUp = e.compare(CmpI::sge, fraction, first);
    code = e.add(code, e.select(goesUp, number(1), number(0)));
  }
  if (options.saturate) {
    code = e.select(e.compare(CmpI::sgt, code, int64_t(254)), number(254), code);
  } else {
    Value isSmall = e.compare(CmpI::slt, bits, int64_t(1) << (kMantissa - 1));
    Value isLarge = e.compare(CmpI::sgt, code, int64_t(254));
    code = e.select(e.bitOr(isSmall, isLarge), number(255), code);
  }
  return e.select(e.compare(CmpI::sgt, bits, kInfinity), number(255), code);
}

static Value encode(Emitter &e, Value bits, Value sign, const Format &format,
                    const SmallFloatOptions &options) {
  Type i32 = bits.getType(), f32 = e.builder().getF32Type();
  auto number = [&](int64_t value) { return e.integer(i32, value); };
  // Half a unit less 1 is added, and 1 more if the last bit kept is odd: ties go to even ones.
  unsigned shift = kMantissa - format.mantissa;
  Value isOdd = e.bitAnd(e.shiftRight(bits, shift), 1);
  Value rounded = e.add(bits, e.add(isOdd, number((int64_t(1) << (shift - 1)) - 1)));
  Value code = e.sub(e.shiftRight(rounded, shift), number(format.getRebias(format.mantissa)));
  // Added to a number whose last bit is the smallest one of the type, small ones are counted in it.
  double anchor = std::ldexp(format.getSmallest(), kMantissa);
  Value counted = e.bits(e.add(e.fromBits(bits, f32), anchor));
  Value denormal = e.sub(counted, e.bits(e.real(e.fromBits(bits, f32).getType(), anchor)));
  int64_t firstNormal = int64_t(kBias + 1 - format.bias) << kMantissa;
  code = e.select(e.compare(CmpI::slt, bits, firstNormal), denormal, code);

  int64_t beyond =
      options.saturate ? format.largest : format.infinity.value_or(format.nan.value_or(format.largest));
  Value isBeyond = e.compare(CmpI::sgt, code, format.largest);
  code = e.select(isBeyond, number(beyond), code);
  if (format.hasNoNegativeZero()) {
    code = e.select(e.compare(CmpI::eq, code, int64_t(0)), code, e.bitOr(code, sign));
  } else {
    code = e.bitOr(code, sign);
  }
  Value isNaN = e.compare(CmpI::sgt, bits, kInfinity);
  Value nan = number(format.nan.value_or(format.getSign()));
  if (format.nan && !format.hasNoNegativeZero()) {
    nan = e.bitOr(nan, sign);
  }
  return e.select(isNaN, nan, code);
}

Value lathe::buildToSmallFloat(OpBuilder &b, Location loc, Value x, Type element,
                               const SmallFloatOptions &options) {
  Emitter e(b, loc);
  auto type = cast<FloatType>(element);
  Value bits = e.bits(x), magnitude = e.bitAnd(bits, 0x7fffffff), code;
  if (isa<Float8E8M0FNUType>(type)) {
    code = encodePower(e, magnitude, options);
  } else {
    Format format(type);
    Value sign = e.bitAnd(e.shiftRight(bits, 32 - format.width), format.getSign());
    code = encode(e, magnitude, sign, format, options);
  }
  Type narrow = withElement(x.getType(), b.getIntegerType(type.getWidth()));
  return e.fromBits(arith::TruncIOp::create(b, loc, narrow, code), element);
}
