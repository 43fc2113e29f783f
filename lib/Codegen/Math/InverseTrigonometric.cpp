// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Inverse trigonometric functions; those of f32 are computed in f64, which makes them rare but right.

#include "Coefficients.h"
#include "lathe/Codegen/Math/Emitter.h"
#include "lathe/Codegen/Math/Math.h"

#include <cmath>

using namespace mlir;

namespace lathe::approx {

namespace {

using namespace coefficients;
using CmpF = Emitter::CmpF;

/// What pi/2 has beyond the precision of f64; halved and doubled for pi/4 and pi.
constexpr double kHalfPiLow = 0x1.1a62633145c07p-54;

/// asin(s) for s up to 1/2 in two summands, s itself and the rest. With `low`, s + low is the argument.
Value asinRest(Emitter &e, Value s, Value z) { return e.mul(e.mul(s, z), e.polynomial(z, kAsin64)); }

/// asin of sqrt((1 - a) / 2), of which acos(a) is twice, for 1/2 <= a <= 1; NaN for a above 1.
Value asinOfRoot(Emitter &e, Value a) {
  Value z = e.mul(e.sub(e.real(a.getType(), 1), a), 0.5);
  Value s = e.sqrt(z);
  // The root's own error counts as much as that of the result.
  Value low = e.div(e.fma(e.neg(s), s, z), e.add(s, s));
  low = e.select(e.compare(CmpF::OEQ, z, 0.0), e.zero(z.getType()), low);
  return e.add(s, e.add(asinRest(e, s, z), low));
}

Value asin64(Emitter &e, Value x) {
  Type type = x.getType();
  Value a = e.abs(x);
  Value small = e.add(a, asinRest(e, a, e.mul(a, a)));
  Value large = e.sub(e.real(type, M_PI_2), e.sub(e.mul(asinOfRoot(e, a), 2.0), e.real(type, kHalfPiLow)));
  return e.copysign(e.select(e.compare(CmpF::OLT, a, 0.5), small, large), x);
}

Value acos64(Emitter &e, Value x) {
  Type type = x.getType();
  Value a = e.abs(x);
  // pi/2 - (x + rest), smallest summands first.
  Value rest = e.sub(e.real(type, kHalfPiLow), asinRest(e, x, e.mul(x, x)));
  Value small = e.sub(e.real(type, M_PI_2), e.sub(x, rest));
  Value twice = e.mul(asinOfRoot(e, a), 2.0);
  Value reflected = e.sub(e.real(type, M_PI), e.sub(twice, e.real(type, 2 * kHalfPiLow)));
  Value large = e.select(e.compare(CmpF::OLT, x, 0.0), reflected, twice);
  return e.select(e.compare(CmpF::OLT, a, 0.5), small, large);
}

Value atan64(Emitter &e, Value x) {
  Type type = x.getType();
  Value one = e.real(type, 1), zero = e.zero(type);
  Value a = e.abs(x);
  // atan(a) = base + atan(n / d), where the quotient is at most tan(pi/8).
  Value isLarge = e.compare(CmpF::OGT, a, 2.41421356237309504880),
        isSmall = e.compare(CmpF::OLT, a, 0.41421356237309504880);
  Value n = e.select(isLarge, e.real(type, -1), e.select(isSmall, a, e.sub(a, 1.0)));
  Value d = e.select(isLarge, a, e.select(isSmall, one, e.add(a, 1.0)));
  // In the middle, both sums are rounded; what they lost counts, as does the rest of the quotient.
  Value isMiddle = e.select(e.bitOr(isLarge, isSmall), zero, one);
  Value nLow = e.mul(e.sub(a, e.add(n, 1.0)), isMiddle), dLow = e.mul(e.sub(a, e.sub(d, 1.0)), isMiddle);
  Value y = e.div(n, d);
  Value low = e.add(e.fma(e.neg(y), d, n), e.fma(e.neg(y), dLow, nLow));
  low = e.div(low, d);
  Value isInfinite = e.compare(CmpF::OEQ, a, e.infinity(type));
  low = e.select(e.bitOr(isInfinite, isSmall), zero, low);
  Value z = e.mul(y, y);
  Value rest = e.fma(e.mul(y, z), e.polynomial(z, kAtan64), e.fma(e.neg(z), low, low));
  Value base = e.select(isLarge, e.real(type, M_PI_2), e.select(isSmall, zero, e.real(type, M_PI_4)));
  Value baseLow =
      e.select(isLarge, e.real(type, kHalfPiLow), e.select(isSmall, zero, e.real(type, kHalfPiLow / 2)));
  // base + y is exact where they are of one size, and the low parts follow.
  Value sum = e.add(base, y);
  Value sumLow = e.sub(y, e.sub(sum, base));
  return e.copysign(e.add(sum, e.add(e.add(rest, baseLow), sumLow)), x);
}

Value inDouble(OpBuilder &b, Location loc, Value x, function_ref<Value(Emitter &, Value)> build) {
  Emitter e(b, loc);
  return e.toFloat(build(e, e.toFloat(x, b.getF64Type())), getElementTypeOrSelf(x.getType()));
}

} // namespace

Value buildAsin(OpBuilder &b, Location loc, Value x) { return inDouble(b, loc, x, asin64); }
Value buildAcos(OpBuilder &b, Location loc, Value x) { return inDouble(b, loc, x, acos64); }
Value buildAtan(OpBuilder &b, Location loc, Value x) { return inDouble(b, loc, x, atan64); }

} // namespace lathe::approx
