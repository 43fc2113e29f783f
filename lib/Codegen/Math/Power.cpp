// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Logarithm, power and remainder.

#include "Coefficients.h"
#include "lathe/Codegen/Math/Emitter.h"
#include "lathe/Codegen/Math/Math.h"

#include <cmath>

using namespace mlir;

namespace lathe::approx {

namespace {

using namespace coefficients;
using CmpF = Emitter::CmpF;
using CmpI = Emitter::CmpI;

/// x = mantissa * 2^exponent with sqrt(1/2) <= mantissa < sqrt(2), for x positive and finite.
struct Split {
  Value mantissa, exponent;
};

Split split(Emitter &e, Value x) {
  Type element = getElementTypeOrSelf(x.getType());
  bool isF32 = element.isF32();
  int width = isF32 ? 23 : 52;
  double smallest = isF32 ? 0x1p-126 : 0x1p-1022;
  Value denormal = e.compare(CmpF::OLT, x, smallest);
  Value normal = e.select(denormal, e.mul(x, std::ldexp(1.0, width)), x);
  Value bits = e.bits(normal);
  Value offset = e.sub(bits, e.integer(bits.getType(), isF32 ? 0x3f3504f3 : 0x3fe6a09e667f3bcd));
  Value k = e.shiftRightSigned(offset, width);
  Value mantissa = e.fromBits(e.sub(bits, e.shiftLeft(k, width)), element);
  Value exponent;
  if (isF32) {
    exponent = e.signedToFloat(k, element);
  } else {
    // k + 1.5 * 2^52 in bits: AVX2 has no conversion from i64.
    Value shifted = e.add(k, e.integer(k.getType(), 0x4338000000000000));
    exponent = e.sub(e.fromBits(shifted, element), 0x1.8p52);
  }
  exponent = e.add(exponent, e.select(denormal, e.real(x.getType(), -width), e.zero(x.getType())));
  return {mantissa, exponent};
}

/// The high and low part of a product or quotient, and what follows from them.
struct Two {
  Value high, low;
};
Two twoProduct(Emitter &e, Value x, Value y) {
  Value high = e.mul(x, y);
  return {high, e.fma(x, y, e.neg(high))};
}
/// x + y where |x| >= |y|.
Two fastSum(Emitter &e, Value x, Value y) {
  Value high = e.add(x, y);
  return {high, e.sub(y, e.sub(high, x))};
}

/// log2 of a positive finite f64 to about 2^-63 of its value or of 1.
Two log2Two(Emitter &e, Value x) {
  Split p = split(e, x);
  Type type = x.getType();
  // log(m) = 2 atanh(s), s = f / (2 + f), with f exact.
  Value f = e.sub(p.mantissa, 1.0);
  Value d = e.add(f, 2.0);
  Value dLow = e.sub(f, e.sub(d, 2.0));
  Value s = e.div(f, d);
  Value remainder = e.fma(e.neg(s), d, f);
  remainder = e.fma(e.neg(s), dLow, remainder);
  Value sLow = e.div(remainder, d);
  Value z = e.mul(s, s);
  // 2 atanh(s) = 2s + s^3 P(s^2); the derivative 2 / (1 - s^2) carries the low part.
  Value tail = e.mul(e.mul(s, z), e.polynomial(z, kAtanh64));
  tail = e.fma(sLow, e.fma(z, 2.0, 2.0), tail);
  Two natural = fastSum(e, e.add(s, s), tail);
  // Times log2(e) = high + low.
  Two scaled = twoProduct(e, natural.high, e.real(type, M_LOG2E));
  Value low = e.fma(natural.high, 0x1.777d0ffda0d24p-56, scaled.low);
  low = e.fma(natural.low, M_LOG2E, low);
  // The exponent is 0 or larger than the rest.
  Two sum = fastSum(e, p.exponent, scaled.high);
  Value zero = e.compare(CmpF::OEQ, p.exponent, 0.0);
  sum.high = e.select(zero, scaled.high, sum.high);
  sum.low = e.select(zero, e.real(type, 0), sum.low);
  return fastSum(e, sum.high, e.add(sum.low, low));
}

/// 2^(high + low) with the power's exponent handled like buildExp2's, in f64.
Value exp2Two(Emitter &e, Value high, Value low) {
  Type element = getElementTypeOrSelf(high.getType());
  high = e.clampBelow(e.clampAbove(high, 1100), -1200);
  double magic = 0x1.8p52 + 2046;
  Value t = e.add(high, magic);
  Value r = e.sub(high, e.sub(t, magic));
  if (low) {
    r = e.add(r, low);
  }
  // r ln(2) in two parts, so that the result is as good as exp.
  Two scaled = twoProduct(e, r, e.real(r.getType(), M_LN2));
  Value s = scaled.high;
  Value q = e.polynomial(s, kExp64);
  Value tail = e.fma(e.mul(s, s), q, e.fma(r, 0x1.abc9e3b39803fp-56, scaled.low));
  Value value = e.add(e.add(s, tail), 1.0);
  Value bits = e.bits(t);
  Value half = e.shiftRight(bits, 1);
  Value rest = e.sub(bits, half);
  value = e.mul(value, e.fromBits(e.shiftLeft(half, 52), element));
  return e.mul(value, e.fromBits(e.shiftLeft(rest, 52), element));
}

/// |x|^y by log2 and exp2, in f64; precise enough for f64.
Value powMagnitude(Emitter &e, Value a, Value y) {
  Type type = a.getType();
  Two l = log2Two(e, a);
  Value isZero = e.compare(CmpF::OEQ, a, 0.0);
  Value inf = e.infinity(type);
  Value notFinite = e.compare(CmpF::UEQ, a, inf);
  l.high = e.select(isZero, e.infinity(type, true), e.select(notFinite, a, l.high));
  // A huge y times a tiny low part is harmless, but infinities have no low part.
  Two p = twoProduct(e, l.high, y);
  Value low = e.fma(l.low, y, p.low);
  Value bounded = e.compare(CmpF::OLT, e.abs(p.high), 2000.0);
  low = e.select(e.bitOr(e.bitOr(isZero, notFinite), e.bitXor(bounded, e.integer(bounded.getType(), 1))),
                 e.real(type, 0), low);
  return exp2Two(e, p.high, low);
}

} // namespace

Value buildLog(OpBuilder &b, Location loc, Value x) {
  Emitter e(b, loc);
  Type type = x.getType();
  bool isF32 = getElementTypeOrSelf(type).isF32();
  Split p = split(e, x);
  Value f = e.sub(p.mantissa, 1.0);
  Value result;
  if (isF32) {
    // f - f^2/2 + f^3 P(f) + exponent ln(2); the high part of ln(2) has few bits, so its product is exact.
    Value z = e.mul(f, f);
    Value y = e.mul(e.mul(f, z), e.polynomial(f, kLog32));
    y = e.fma(p.exponent, -2.12194440e-4, y);
    y = e.fma(z, -0.5, y);
    result = e.fma(p.exponent, 0.693359375, e.add(f, y));
  } else {
    // As fdlibm: with s = f / (2 + f), log(1 + f) = f - (f^2/2 - s (f^2/2 + R)).
    Value s = e.div(f, e.add(f, 2.0));
    Value z = e.mul(s, s);
    Value r = e.mul(z, e.polynomial(z, kAtanh64));
    Value half = e.mul(e.mul(f, f), 0.5);
    Value y = e.fma(p.exponent, 1.90821492927058770002e-10, e.mul(s, e.add(half, r)));
    y = e.sub(e.sub(half, y), f);
    result = e.sub(e.mul(p.exponent, 6.93147180369123816490e-01), y);
  }
  Value inf = e.infinity(type);
  result = e.select(e.compare(CmpF::OEQ, x, inf), inf, result);
  result = e.select(e.compare(CmpF::OEQ, x, 0.0), e.infinity(type, true), result);
  return e.select(e.compare(CmpF::ULT, x, 0.0), e.nan(type), result);
}

Value buildPow(OpBuilder &b, Location loc, Value x, Value y) {
  Emitter e(b, loc);
  Type type = x.getType();
  Type element = getElementTypeOrSelf(type);
  Type f64 = b.getF64Type();
  // In f64 also for f32: the logarithm's error is multiplied by the exponent.
  Value result = e.toFloat(powMagnitude(e, e.toFloat(e.abs(x), f64), e.toFloat(y, f64)), element);

  Value isInteger = e.compare(CmpF::OEQ, e.floor(y), y);
  Value half = e.mul(y, 0.5);
  Value isOdd = e.bitAnd(isInteger, e.compare(CmpF::UNE, e.floor(half), half));
  result = e.select(isOdd, e.copysign(result, x), result);
  // A negative finite number to a power that is no integer.
  Value negative = e.bitAnd(e.compare(CmpF::OLT, x, 0.0), e.compare(CmpF::UNE, x, e.infinity(type, true)));
  Value bad = e.bitAnd(negative, e.compare(CmpF::ONE, e.floor(y), y));
  result = e.select(bad, e.nan(type), result);
  // 1 to any power and anything to the power 0 is 1, NaN included; so is -1 to an infinite power.
  Value one = e.real(type, 1);
  Value infinitePower = e.compare(CmpF::OEQ, e.abs(y), e.infinity(type));
  Value isOne = e.bitOr(e.compare(CmpF::OEQ, x, one), e.compare(CmpF::OEQ, y, 0.0));
  isOne = e.bitOr(isOne, e.bitAnd(infinitePower, e.compare(CmpF::OEQ, x, -1.0)));
  return e.select(isOne, one, result);
}

Value buildFMod(OpBuilder &b, Location loc, Value x, Value y) {
  Emitter e(b, loc);
  Type type = x.getType();
  Type element = getElementTypeOrSelf(type);
  Type f64 = b.getF64Type();
  bool isF32 = element.isF32();
  // Long division: each step subtracts a multiple of y 2^(bits * i), exactly. f32 numbers are divided in f64,
  // where 28 bits of quotient times 24 bits of divisor fit.
  Value a = e.toFloat(e.abs(x), f64), d = e.toFloat(e.abs(y), f64);
  Value remainder = a;
  int bits = isF32 ? 28 : 50;
  // f32: 2^128 / 2^-149; f64: 2^1024 / 2^-1074.
  int steps = isF32 ? 10 : 42;
  for (int i = steps - 1; i >= 0; --i) {
    // In two factors: one would overflow in f64.
    int shift = bits * i;
    Value divisor = e.mul(d, std::ldexp(1.0, std::min(shift, 1000)));
    for (shift -= 1000; shift > 0; shift -= 1000) {
      divisor = e.mul(divisor, std::ldexp(1.0, std::min(shift, 1000)));
    }
    Value quotient = e.trunc(e.div(remainder, divisor));
    // A divisor beyond the largest number goes into nothing; and 0 * inf must not become NaN.
    Value next = e.fma(e.neg(quotient), divisor, remainder);
    if (!isF32) {
      // The quotient may be one too large.
      next = e.select(e.compare(CmpF::OLT, next, 0.0), e.add(next, divisor), next);
    }
    remainder = e.select(e.compare(CmpF::OLT, remainder, divisor), remainder, next);
  }
  // Infinite x or zero y give NaN by themselves; an infinite y leaves a finite x.
  Value result = e.copysign(e.toFloat(remainder, element), x);
  Value isNaN = e.bitOr(e.compare(CmpF::UEQ, e.abs(x), e.infinity(type)), e.compare(CmpF::UEQ, y, 0.0));
  return e.select(isNaN, e.nan(type), result);
}

} // namespace lathe::approx
