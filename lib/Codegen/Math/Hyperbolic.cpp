// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Hyperbolic functions and their inverses; those of f32 are computed in f64. The inverses are logarithms of
/// sums that nearly are 1: sums, roots and quotients are kept in two parts.

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

struct Two {
  Value high, low;
};

/// x + y exactly, whichever is larger.
Two twoSum(Emitter &e, Value x, Value y) {
  Value high = e.add(x, y);
  Value back = e.sub(high, x);
  return {high, e.add(e.sub(x, e.sub(high, back)), e.sub(y, back))};
}

/// x + y, both in two parts.
Two add(Emitter &e, Two x, Two y) {
  Two sum = twoSum(e, x.high, y.high);
  Value low = e.add(sum.low, e.add(x.low, y.low));
  Value high = e.add(sum.high, low);
  return {high, e.sub(low, e.sub(high, sum.high))};
}

Two twoProduct(Emitter &e, Value x, Value y) {
  Value high = e.mul(x, y);
  return {high, e.fma(x, y, e.neg(high))};
}

/// The root of a positive number, 0 of 0.
Two sqrt(Emitter &e, Two x) {
  Value root = e.sqrt(x.high);
  Value low = e.div(e.add(e.fma(e.neg(root), root, x.high), x.low), e.add(root, root));
  return {root, e.select(e.compare(CmpF::OEQ, root, 0.0), e.zero(root.getType()), low)};
}

Two div(Emitter &e, Two x, Two y) {
  Value high = e.div(x.high, y.high);
  Value rest = e.add(e.fma(e.neg(high), y.high, x.high), e.fma(e.neg(high), y.low, x.low));
  return {high, e.div(rest, y.high)};
}

/// log(x) of a normal number, relative to itself even where x is close to 1.
Value log(Emitter &e, Two x) {
  Type element = getElementTypeOrSelf(x.high.getType());
  Value bits = e.bits(x.high);
  Value k = e.shiftRightSigned(e.sub(bits, e.integer(bits.getType(), 0x3fe6a09e667f3bcd)), 52);
  Value mantissa = e.fromBits(e.sub(bits, e.shiftLeft(k, 52)), element);
  // k + 1.5 * 2^52 in bits: AVX2 has no conversion from i64.
  Value shifted = e.add(k, e.integer(k.getType(), 0x4338000000000000));
  Value exponent = e.sub(e.fromBits(shifted, element), 0x1.8p52);
  // log(m) = 2 atanh(s), s = f / (2 + f), with f exact.
  Value f = e.sub(mantissa, 1.0);
  Two s = div(e, {f, e.zero(f.getType())}, twoSum(e, f, e.real(f.getType(), 2)));
  Value z = e.mul(s.high, s.high);
  Value tail = e.mul(e.mul(s.high, z), e.polynomial(z, kAtanh64));
  tail = e.fma(s.low, e.fma(z, 2.0, 2.0), tail);
  tail = e.add(tail, e.div(x.low, x.high));
  // The product with the high part of ln(2), which has few bits, is exact.
  Two sum = twoSum(e, e.mul(exponent, 6.93147180369123816490e-01), e.add(s.high, s.high));
  tail = e.add(e.fma(exponent, 1.90821492927058770002e-10, tail), sum.low);
  return e.add(sum.high, tail);
}

/// Below this, a function that is x + c x^3 + ... is x.
constexpr double kTiny = 0x1p-28;
/// Above this, a^2 + 1 is a^2; far from where a^2 overflows.
constexpr double kHuge = 0x1p60;

/// log(a + root), where root is sqrt(a^2 + sign); log(2a) for a that is huge.
Value logOfSum(Emitter &e, Value a, double sign) {
  Type type = a.getType();
  Value zero = e.zero(type), isHuge = e.compare(CmpF::OGT, a, kHuge);
  Value bounded = e.select(isHuge, e.real(type, 2), a);
  Two root = sqrt(e, add(e, twoProduct(e, bounded, bounded), {e.real(type, sign), zero}));
  Two sum = add(e, {bounded, zero}, root);
  sum = {e.select(isHuge, a, sum.high), e.select(isHuge, zero, sum.low)};
  Value result = log(e, sum);
  result = e.select(isHuge, e.add(result, M_LN2), result);
  return e.select(e.compare(CmpF::OEQ, a, e.infinity(type)), a, result);
}

Value asinh64(Emitter &e, Value x) {
  Value a = e.abs(x);
  Value result = logOfSum(e, a, 1);
  result = e.select(e.compare(CmpF::OLT, a, kTiny), e.fma(e.mul(a, e.mul(a, a)), -1.0 / 6, a), result);
  result = e.select(e.compare(CmpF::UNO, x, x), x, result);
  return e.copysign(result, x);
}

Value acosh64(Emitter &e, Value x) {
  Value result = logOfSum(e, x, -1);
  return e.select(e.compare(CmpF::UGE, x, 1.0), e.select(e.compare(CmpF::UNO, x, x), x, result),
                  e.nan(x.getType()));
}

Value atanh64(Emitter &e, Value x) {
  Type type = x.getType();
  Value a = e.abs(x), one = e.real(type, 1);
  // Half of log((1 + a) / (1 - a)).
  Value bounded = e.select(e.compare(CmpF::OLT, a, one), a, e.zero(type));
  Two quotient = div(e, twoSum(e, one, bounded), twoSum(e, one, e.neg(bounded)));
  Value result = e.mul(log(e, quotient), 0.5);
  result = e.select(e.compare(CmpF::OLT, a, kTiny), e.fma(e.mul(a, e.mul(a, a)), 1.0 / 3, a), result);
  result = e.select(e.compare(CmpF::OEQ, a, one), e.infinity(type), result);
  result = e.select(e.compare(CmpF::UGT, a, one), e.nan(type), result);
  return e.copysign(result, x);
}

/// exp(a) / 2 for 0 <= a, infinite where the half is; and exp(-a) / 2.
Two halfExponentials(Emitter &e, Value a) {
  // exp(a - k ln(2)) is below 1, and 2^(k - 1) two factors.
  Value bounded = e.clampAbove(a, 720);
  Value k = e.roundEven(e.mul(bounded, M_LOG2E));
  Value r = e.fma(k, -0x1.abc9e3b39803fp-56, e.fma(k, -M_LN2, bounded));
  Value value = e.add(e.fma(e.polynomial(r, kExp64), e.mul(r, r), r), 1.0);
  Value back = e.neg(r);
  Value inverse = e.add(e.fma(e.polynomial(back, kExp64), e.mul(back, back), back), 1.0);
  auto power = [&](Value exponent) {
    Value bits = e.bits(e.add(exponent, 0x1.8p52 + 1023));
    return e.fromBits(e.shiftLeft(bits, 52), e.builder().getF64Type());
  };
  Value half = e.floor(e.mul(k, 0.5));
  Value large = e.mul(e.mul(value, power(e.sub(half, 1.0))), power(e.sub(k, half)));
  // Far out it is nothing beside the other.
  Value small = e.mul(inverse, power(e.neg(e.add(e.clampAbove(k, 1000), 1.0))));
  return {large, small};
}

Value sinh64(Emitter &e, Value x) {
  Value a = e.abs(x), z = e.mul(a, a);
  Value small = e.fma(e.mul(a, z), e.polynomial(z, kSinh64), a);
  Two halves = halfExponentials(e, a);
  return e.copysign(e.select(e.compare(CmpF::OLT, a, 1.0), small, e.sub(halves.high, halves.low)), x);
}

Value cosh64(Emitter &e, Value x) {
  Two halves = halfExponentials(e, e.abs(x));
  return e.add(halves.high, halves.low);
}

Value inDouble(OpBuilder &b, Location loc, Value x, function_ref<Value(Emitter &, Value)> build) {
  Emitter e(b, loc);
  return e.toFloat(build(e, e.toFloat(x, b.getF64Type())), getElementTypeOrSelf(x.getType()));
}

} // namespace

Value buildAsinh(OpBuilder &b, Location loc, Value x) { return inDouble(b, loc, x, asinh64); }
Value buildAcosh(OpBuilder &b, Location loc, Value x) { return inDouble(b, loc, x, acosh64); }
Value buildAtanh(OpBuilder &b, Location loc, Value x) { return inDouble(b, loc, x, atanh64); }
Value buildSinh(OpBuilder &b, Location loc, Value x) { return inDouble(b, loc, x, sinh64); }
Value buildCosh(OpBuilder &b, Location loc, Value x) { return inDouble(b, loc, x, cosh64); }

} // namespace lathe::approx
