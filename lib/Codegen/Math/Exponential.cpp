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

/// exp(x) = value * scale * scale2: two factors because one cannot hold a power below the smallest normal
/// number.
struct Parts {
  Value value, scale, scale2;
};

/// exp(high + low) for high in [-cutoff, 89 or 710]; `low` is a small correction and may be null.
Parts expParts(Emitter &e, Value high, Value low = nullptr) {
  Format f(high);
  Type type = high.getType();
  // Twice the exponent's bias is added in the rounding, so that its half can be cut off by a shift.
  double magic = f.magic + (f.isF32 ? 254 : 2046);
  Value t = e.fma(high, M_LOG2E, magic);
  Value n = e.sub(t, magic);
  Value r = e.fma(n, -f.ln2High, high);
  r = e.fma(n, -f.ln2Low, r);
  if (low) {
    r = e.add(r, low);
  }
  Value q = e.polynomial(r, f.pick(kExp32, kExp64));
  q = e.fma(q, r, 1.0);
  Value value = e.fma(q, r, 1.0);
  Value bits = e.bits(t);
  Value half = e.shiftRight(bits, 1);
  Value rest = e.sub(bits, half);
  Type element = getElementTypeOrSelf(type);
  return {value, e.fromBits(e.shiftLeft(half, f.mantissa), element),
          e.fromBits(e.shiftLeft(rest, f.mantissa), element)};
}

Value product(Emitter &e, const Parts &p) { return e.mul(e.mul(p.value, p.scale), p.scale2); }

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

/// exp(-x) for 0 <= x < 60, and 1 more addition would not fit: single scale.
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

/// exp(t^2/2) Phi(-t) for t >= 0.
Value millsRatio(Emitter &e, Value t) {
  Format f(t);
  constexpr double k = 4;
  Value inverse = e.div(e.real(t.getType(), 1), e.add(t, k));
  Value q = e.mul(e.sub(t, k), inverse);
  return e.mul(e.polynomial(q, f.pick(kMills32, kMills64)), inverse);
}

/// x / (1 + exp(-v)) where v = (high + low) * sign(x) and high >= 0; `factor` is |x|, bounded.
Value timesSigmoid(Emitter &e, Value x, Value factor, const Parts &p) {
  Value denominator = e.add(product(e, p), 1.0);
  // The factor comes before the scale: in the tail the exponential alone is denormal.
  Value tail = e.neg(e.mul(e.mul(e.mul(factor, p.value), p.scale), p.scale2));
  return e.div(e.select(e.compare(CmpF::OLT, x, 0.0), tail, x), denominator);
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
  Value q = e.polynomial(r, f.pick(kExp2_32, kExp2_64));
  Value value = e.fma(q, r, 1.0);
  Value bits = e.bits(t);
  Value half = e.shiftRight(bits, 1);
  Value rest = e.sub(bits, half);
  Type element = getElementTypeOrSelf(x.getType());
  return product(e, {value, e.fromBits(e.shiftLeft(half, f.mantissa), element),
                     e.fromBits(e.shiftLeft(rest, f.mantissa), element)});
}

Value buildTanh(OpBuilder &b, Location loc, Value x) {
  Emitter e(b, loc);
  // tanh(t) = (exp(2t) - 1) / (exp(2t) + 1); the difference is taken before it can cancel.
  Value t = e.clampAbove(e.abs(x), Format(x).isF32 ? 10 : 20);
  auto [scale, m] = expm1Parts(e, e.add(t, t));
  Value numerator = e.fma(scale, m, e.sub(scale, 1.0));
  return e.copysign(e.div(numerator, e.add(numerator, 2.0)), x);
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
    Value mills = millsRatio(e, e.mul(t, M_SQRT2));
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
  return e.div(e.select(e.compare(CmpF::OLT, x, 0.0), u, one), e.add(u, one));
}

Value buildSilu(OpBuilder &b, Location loc, Value x) {
  Emitter e(b, loc);
  Value t = e.clampAbove(e.abs(x), Format(x).cutoff);
  return timesSigmoid(e, x, t, expParts(e, e.neg(t)));
}

Value buildGelu(OpBuilder &b, Location loc, Value x) {
  Emitter e(b, loc);
  // x Phi(x) = max(x, 0) - |x| Phi(-|x|), and Phi(-t) is exp(-t^2/2) times a smooth function.
  Value t = e.clampAbove(e.abs(x), Format(x).isF32 ? 14.5 : 38.7);
  Value s = e.mul(t, t);
  Value low = e.mul(e.fma(t, t, e.neg(s)), -0.5);
  Parts p = expParts(e, e.mul(s, -0.5), low);
  Value tail = e.mul(e.mul(t, millsRatio(e, t)), p.value);
  tail = e.mul(e.mul(tail, p.scale), p.scale2);
  return e.sub(positivePart(e, x), tail);
}

Value buildGeluTanh(OpBuilder &b, Location loc, Value x) {
  Emitter e(b, loc);
  Format f(x);
  // x sigmoid(v), v = c1 x + c3 x^3. In the tail an error of v is one of the result, magnified: v has two
  // parts.
  const double c1 = 2 * std::sqrt(2 / M_PI), c3 = c1 * 0.044715;
  auto head = [&](double c) { return f.isF32 ? double(float(c)) : c; };
  Value t = e.clampAbove(e.abs(x), 30);
  Value s = e.mul(t, t);
  Value sLow = e.fma(t, t, e.neg(s));
  Value a = e.mul(s, c3);
  Value aLow = e.fma(s, c3, e.neg(a));
  aLow = e.fma(sLow, c3, aLow);
  if (f.isF32) {
    aLow = e.add(e.fma(s, c3 - head(c3), aLow), c1 - head(c1));
  }
  // a + c1 and the error of that sum, whichever is larger.
  Value w = e.add(a, c1);
  Value bb = e.sub(w, a);
  Value error = e.add(e.sub(a, e.sub(w, bb)), e.sub(e.real(x.getType(), c1), bb));
  Value wLow = e.add(aLow, error);
  Value v = e.mul(w, t);
  Value vLow = e.fma(wLow, t, e.fma(w, t, e.neg(v)));
  v = e.clampAbove(v, f.cutoff);
  return timesSigmoid(e, x, t, expParts(e, e.neg(v), e.neg(vLow)));
}

Value buildSoftplus(OpBuilder &b, Location loc, Value x) {
  Emitter e(b, loc);
  Format f(x);
  // max(x, 0) + log1p(exp(-|x|)), the latter as 2 atanh(u / (2 + u)).
  Value u = product(e, expOfNegative(e, e.abs(x)));
  Value s = e.div(u, e.add(u, 2.0));
  Value z = e.mul(s, s);
  Value logarithm = e.fma(e.mul(s, z), e.polynomial(z, f.pick(kLog1p32, kLog1p64)), e.add(s, s));
  return e.add(positivePart(e, x), logarithm);
}

} // namespace lathe::approx
