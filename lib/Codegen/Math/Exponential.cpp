// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// exp and what follows from it: tanh, erf, sigmoid and their kin.

#include "Coefficients.h"
#include "lathe/Codegen/Math/Emitter.h"
#include "lathe/Codegen/Math/Math.h"

#include <cmath>

using namespace mlir;

namespace lathe::approx {

namespace {

using namespace coefficients;
using CmpF = Emitter::CmpF;

/// What differs between f32 and f64.
struct Format {
  bool isF32;
  int mantissa;
  /// 1.5 * 2^mantissa: adding it rounds to an integer that then stands in the lowest bits.
  double magic;
  /// exp(-cutoff) times anything that is multiplied with it here rounds to 0.
  double cutoff;
  double ln2High, ln2Low;

  explicit Format(Value x) : isF32(getElementTypeOrSelf(x.getType()).isF32()) {
    mantissa = isF32 ? 23 : 52;
    magic = std::ldexp(1.5, mantissa);
    cutoff = isF32 ? 110 : 755;
    ln2High = isF32 ? double(float(M_LN2)) : M_LN2;
    ln2Low = isF32 ? M_LN2 - double(float(M_LN2)) : 0x1.abc9e3b39803fp-56;
  }
  ArrayRef<double> pick(ArrayRef<double> f32, ArrayRef<double> f64) const { return isF32 ? f32 : f64; }
};

/// exp(x) = (1 + value) * scale * scale2: two factors because one cannot hold a power below the smallest
/// normal number.
struct Parts {
  Value value, scale, scale2;
};

/// exp(x) for x in [-cutoff, 89 or 710].
Parts expParts(Emitter &e, Value x) {
  Format f(x);
  Type type = x.getType();
  // Twice the exponent's bias is added in the rounding, so that its half can be cut off by a shift.
  double magic = f.magic + (f.isF32 ? 254 : 2046);
  Value t = e.fma(x, M_LOG2E, magic);
  Value n = e.sub(t, magic);
  Value r = e.fma(n, -f.ln2High, x);
  r = e.fma(n, -f.ln2Low, r);
  // r and r^2 Q add up before 1 does: half the error of Horner's rule.
  Value value = e.fma(e.polynomial(r, f.pick(kExp32, kExp64)), e.mul(r, r), r);
  Value bits = e.bits(t);
  Value half = e.shiftRight(bits, 1);
  Value rest = e.sub(bits, half);
  Type element = getElementTypeOrSelf(type);
  return {value, e.fromBits(e.shiftLeft(half, f.mantissa), element),
          e.fromBits(e.shiftLeft(rest, f.mantissa), element)};
}

Value product(Emitter &e, const Parts &p) { return e.mul(e.mul(e.add(p.value, 1.0), p.scale), p.scale2); }

/// exp(-t) for t >= 0 of any size or NaN.
Parts expOfNegative(Emitter &e, Value t) { return expParts(e, e.neg(e.clampAbove(t, Format(t).cutoff))); }

/// 2^n and expm1(r) where x = n ln(2) + r, for 0 <= x < 60.
std::pair<Value, Value> expm1Parts(Emitter &e, Value x) {
  Format f(x);
  double magic = f.magic + (f.isF32 ? 127 : 1023);
  Value t = e.fma(x, M_LOG2E, magic);
  Value n = e.sub(t, magic);
  Value r = e.fma(n, -f.ln2High, x);
  r = e.fma(n, -f.ln2Low, r);
  Value q = e.polynomial(r, f.pick(kExp32, kExp64));
  Value m = e.fma(e.mul(r, r), q, r);
  return {e.fromBits(e.shiftLeft(e.bits(t), f.mantissa), getElementTypeOrSelf(x.getType())), m};
}

/// exp(x) with a single scale: for x from -87 to 88 or -708 to 709. One unit below, it is 0; above, infinite.
Value expSmall(Emitter &e, Value x, Value low = nullptr) {
  Format f(x);
  double magic = f.magic + (f.isF32 ? 127 : 1023);
  Value t = e.fma(x, M_LOG2E, magic);
  Value n = e.sub(t, magic);
  Value r = e.fma(n, -f.ln2High, x);
  r = e.fma(n, -f.ln2Low, r);
  if (low) {
    r = e.add(r, low);
  }
  Value q = e.polynomial(r, f.pick(kExp32, kExp64));
  q = e.fma(q, r, 1.0);
  q = e.fma(q, r, 1.0);
  return e.mul(q, e.fromBits(e.shiftLeft(e.bits(t), f.mantissa), getElementTypeOrSelf(x.getType())));
}

Value positivePart(Emitter &e, Value x) {
  return e.select(e.compare(CmpF::OGT, x, 0.0), x, e.real(x.getType(), 0));
}

/// (t + 4) exp(t^2/2) Phi(-t) for t >= 0, given h = t / (t + 4). The argument of the polynomial comes from h
/// and not from t - 4: it is exact to the last place where t is small, and for large t the error of h in it
/// and that of h as a factor have opposite signs.
Value millsPolynomial(Emitter &e, Value h) {
  return e.polynomial(e.fma(h, 2.0, -1.0), Format(h).pick(kMills32, kMills64));
}

/// x / (1 + exp(-v)) where v has the sign of x. The exponential is infinite where the quotient vanishes
/// beside x; x is finite there.
Value timesSigmoid(Emitter &e, Value x, Value v) {
  bool isF32 = Format(x).isF32;
  Value u = e.clampBelow(e.clampAbove(e.neg(v), isF32 ? 89 : 710), isF32 ? -87 : -708);
  return e.div(x, e.add(expSmall(e, u), 1.0));
}

} // namespace

Value buildExp(OpBuilder &b, Location loc, Value x) {
  Emitter e(b, loc);
  Format f(x);
  return product(e, expParts(e, e.clampBelow(e.clampAbove(x, f.isF32 ? 89 : 710), -f.cutoff)));
}

Value buildExp2(OpBuilder &b, Location loc, Value x) {
  Emitter e(b, loc);
  Format f(x);
  x = e.clampBelow(e.clampAbove(x, f.isF32 ? 128 : 1024), f.isF32 ? -152 : -1077);
  double magic = f.magic + (f.isF32 ? 254 : 2046);
  Value t = e.add(x, magic);
  Value r = e.sub(x, e.sub(t, magic));
  Value value = e.mul(e.polynomial(r, f.pick(kExp2_32, kExp2_64)), r);
  Value bits = e.bits(t);
  Value half = e.shiftRight(bits, 1);
  Value rest = e.sub(bits, half);
  Type element = getElementTypeOrSelf(x.getType());
  return product(e, {value, e.fromBits(e.shiftLeft(half, f.mantissa), element),
                     e.fromBits(e.shiftLeft(rest, f.mantissa), element)});
}

Value buildTanh(OpBuilder &b, Location loc, Value x) {
  Emitter e(b, loc);
  // tanh(t) = (exp(2t) - 1) / (exp(2t) + 1); the difference is taken before it can cancel. Near 0 a
  // polynomial rounds less often.
  Format f(x);
  Value t = e.clampAbove(e.abs(x), f.isF32 ? 10 : 20);
  auto [scale, m] = expm1Parts(e, e.add(t, t));
  Value numerator = e.fma(scale, m, e.sub(scale, 1.0));
  Value large = e.div(numerator, e.add(numerator, 2.0));
  Value z = e.mul(t, t);
  Value small = e.fma(e.mul(z, t), e.polynomial(z, f.pick(kTanh32, kTanh64)), t);
  Value result = e.select(e.compare(CmpF::OLT, t, f.isF32 ? 0.55 : 0.35), small, large);
  return e.copysign(result, x);
}

Value buildErf(OpBuilder &b, Location loc, Value x) {
  Emitter e(b, loc);
  Format f(x);
  Type type = x.getType();
  Value t = e.clampAbove(e.abs(x), f.isF32 ? 4 : 6);
  Value s = e.mul(t, t);
  Value small = e.fma(e.polynomial(s, f.pick(kErf32, kErf64)), t, t);
  Value large;
  if (f.isF32) {
    large = expSmall(e, e.neg(e.fma(e.polynomial(t, kLogErfc32), t, t)));
  } else {
    // erfc(t) = 2 Phi(-sqrt(2) t)
    Value u = e.mul(t, M_SQRT2);
    Value inverse = e.div(e.real(type, 1), e.add(u, 4.0));
    Value mills = e.mul(millsPolynomial(e, e.mul(u, inverse)), inverse);
    Value low = e.neg(e.fma(t, t, e.neg(s)));
    large = e.mul(e.mul(expSmall(e, e.neg(s), low), mills), 2.0);
  }
  large = e.sub(e.real(type, 1), large);
  Value result = e.select(e.compare(CmpF::OGT, t, f.isF32 ? 0.925 : 1.0), large, small);
  return e.copysign(result, x);
}

Value buildSigmoid(OpBuilder &b, Location loc, Value x) {
  Emitter e(b, loc);
  Value u = product(e, expOfNegative(e, e.abs(x)));
  Value one = e.real(x.getType(), 1);
  Value isNegative = e.compare(CmpF::OLT, x, 0.0);
  // For x < 0: u - u * u / (1 + u).
  Value quotient = e.div(e.select(isNegative, u, one), e.add(u, one));
  return e.select(isNegative, e.fma(e.neg(u), quotient, u), quotient);
}

Value buildSilu(OpBuilder &b, Location loc, Value x) {
  Emitter e(b, loc);
  x = e.clampBelow(x, -1000);
  return timesSigmoid(e, x, x);
}

Value buildGelu(OpBuilder &b, Location loc, Value x) {
  Emitter e(b, loc);
  // x Phi(x) = max(x, 0) - |x| Phi(-|x|), and Phi(-t) is exp(-t^2/2) times a smooth function; at the bound of
  // t the exponential's scale is 0.
  Value t = e.clampAbove(e.abs(x), Format(x).isF32 ? 13.27 : 37.66);
  Value exponential = expSmall(e, e.mul(e.mul(t, t), -0.5));
  Value h = e.div(t, e.add(t, 4.0));
  Value tail = e.mul(exponential, e.mul(h, millsPolynomial(e, h)));
  return e.sub(positivePart(e, x), tail);
}

Value buildCoarseGelu(OpBuilder &b, Location loc, Value x) {
  Emitter e(b, loc);
  // max(x, 0) - |x| Phi(-|x|); at the bound of |x| the product is nearly 0. The polynomial's argument lies
  // within -1 and 1, so that its terms do not cancel.
  Value t = e.clampAbove(e.abs(x), 4.5);
  return e.sub(positivePart(e, x), e.mul(t, e.polynomial(e.fma(t, 2 / 4.5, -1.0), kTail16)));
}

Value buildGeluTanh(OpBuilder &b, Location loc, Value x) {
  Emitter e(b, loc);
  // x sigmoid(v), v = 2 sqrt(2/pi) (x + 0.044715 x^3).
  constexpr double c1 = 0x1.9884533d43651p+0, c3 = 0x1.2444f2a4d8b4bp-4;
  x = e.clampBelow(x, -30);
  return timesSigmoid(e, x, e.mul(e.fma(e.mul(x, x), c3, c1), x));
}

Value buildSoftplus(OpBuilder &b, Location loc, Value x) {
  Emitter e(b, loc);
  Format f(x);
  // max(x, 0) + log1p(u), u = exp(-|x|) <= 1: no reduction of the logarithm's argument.
  Value u = product(e, expOfNegative(e, e.abs(x)));
  Value logarithm = e.fma(e.mul(u, u), e.polynomial(u, f.pick(kLog1p32, kLog1p64)), u);
  return e.add(positivePart(e, x), logarithm);
}

} // namespace lathe::approx
