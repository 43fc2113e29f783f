// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Sine and cosine of any argument.

#include "Coefficients.h"
#include "lathe/Codegen/Math/Emitter.h"
#include "lathe/Codegen/Math/Math.h"

#include "mlir/Dialect/Math/IR/Math.h"

#include <cmath>

using namespace mlir;

namespace lathe::approx {

namespace {

using namespace coefficients;
using CmpF = Emitter::CmpF;
using CmpI = Emitter::CmpI;

/// The bits of 2/pi, 64 before the point and the rest after it.
constexpr uint64_t kTwoOverPi[] = {0,
                                   0xa2f9836e4e441529,
                                   0xfc2757d1f534ddc0,
                                   0xdb6295993c439041,
                                   0xfe5163abdebbc561,
                                   0xb7246e3a424dd2e0,
                                   0x06492eea09d1921c,
                                   0xfe1deb1cb129a73e,
                                   0xe88235f52ebb4484,
                                   0xe99c7026b45f7e41,
                                   0x3991d639835339f4,
                                   0x9c845f8bbdf9283b,
                                   0x1ff897ffde05980f,
                                   0xef2f118b5a0a6d1f,
                                   0x6d367ecf27cb09b7,
                                   0x4f463f669e5fea2d,
                                   0x7527bac7ebe5f17b,
                                   0x3d0739f78a5292ea,
                                   0x6bfb5fb11f8d5d08,
                                   0x56033046fc7b6bab,
                                   0xf0cfbc209af4361d};

/// An angle as quadrant * pi/2 + high + low, the last two in f64. Only the low bits of `quadrant` count.
struct Angle {
  Value quadrant, high, low;
};

/// By multiples of pi/2 in three parts; for a below 2^27 or so.
Angle reduceSmall(Emitter &e, Value a) {
  Value t = e.fma(a, M_2_PI, 0x1.8p52);
  Value n = e.sub(t, 0x1.8p52);
  Value r = e.fma(n, -0x1.921fb54442d18p+0, a);
  Value w = e.mul(n, 0x1.1a62633145c07p-54);
  Value wLow = e.fma(n, 0x1.1a62633145c07p-54, e.neg(w));
  Value high = e.sub(r, w);
  Value low = e.sub(e.sub(e.sub(r, high), w), wLow);
  low = e.fma(n, 0x1.f1976b7ed8fbcp-110, low);
  return {e.bits(t), high, low};
}

/// Word `index + offset` of 2/pi, by a tree of selects over the `indexBits` bits of `index`.
Value tableWord(Emitter &e, Value index, unsigned indexBits, unsigned offset) {
  Type type = index.getType();
  SmallVector<Value> words;
  for (unsigned i = 0; i < 1u << indexBits; ++i) {
    words.push_back(
        e.integer(type, int64_t(kTwoOverPi[std::min<size_t>(i + offset, std::size(kTwoOverPi) - 1)])));
  }
  for (unsigned bit = 0; bit < indexBits; ++bit) {
    Value isSet = e.compare(CmpI::ne, e.bitAnd(index, int64_t(1) << bit), int64_t(0));
    SmallVector<Value> next;
    for (unsigned i = 0; i < words.size(); i += 2) {
      next.push_back(e.select(isSet, words[i + 1], words[i]));
    }
    words = next;
  }
  return words.front();
}

/// By the bits of 2/pi that matter for the size of `a` (Payne and Hanek): a = m 2^k is multiplied with 192
/// bits of 2/pi, those before dropped because they are multiples of 4 quadrants.
Angle reduceLarge(Emitter &e, Value a, unsigned indexBits) {
  OpBuilder &b = e.builder();
  Type i64 = b.getI64Type(), f64 = b.getF64Type();
  Value bits = e.bits(a);
  Type type = bits.getType();
  Value mantissa = e.bitOr(e.bitAnd(bits, 0xfffffffffffff), 0x10000000000000);
  // a = mantissa 2^exponent; the window starts 2 bits before the point of the product.
  Value exponent = e.sub(e.shiftRight(bits, 52), e.integer(type, 1075));
  Value start = e.add(exponent, e.integer(type, 64 - 2));
  // Below this function's range anything will do, so long as no shift is too large.
  start = e.select(e.compare(CmpI::slt, start, int64_t(0)), e.integer(type, 0), start);
  Value word = e.shiftRight(start, 6), shift = e.bitAnd(start, 63);
  Value back = e.sub(e.integer(type, 63), shift);
  Value words[4];
  for (unsigned i = 0; i < 4; ++i) {
    words[i] = tableWord(e, word, indexBits, i);
  }
  Value window[3];
  for (unsigned i = 0; i < 3; ++i) {
    window[i] = e.bitOr(e.shiftLeft(words[i], shift), e.shiftRight(e.shiftRight(words[i + 1], 1), back));
  }
  auto multiply = [&](Value x, Value y) {
    auto op = arith::MulUIExtendedOp::create(b, e.location(), x, y);
    return std::pair<Value, Value>(op.getLow(), op.getHigh());
  };
  auto carry = [&](Value sum, Value addend) {
    return e.extendUnsigned(e.compare(CmpI::ult, sum, addend), i64);
  };
  auto [low1, high1] = multiply(mantissa, window[1]);
  auto [low2, high2] = multiply(mantissa, window[2]);
  Value low = e.add(low1, high2);
  Value high = e.add(e.add(e.mul(mantissa, window[0]), high1), carry(low, low1));
  // Round to the nearest quadrant: 62 bits of fraction in `high`, then those of `low`.
  Value quadrant = e.shiftRight(e.add(high, e.integer(type, int64_t(1) << 61)), 62);
  Value fraction = e.sub(high, e.shiftLeft(quadrant, 62));
  // |fraction|, as 128 bits; normalized so that no bit is lost near a multiple of pi/2.
  Value negative = e.compare(CmpI::slt, fraction, int64_t(0));
  Value zero = e.integer(type, 0);
  Value allOnes = e.select(negative, e.integer(type, -1), zero);
  Value absLow = e.bitXor(low, allOnes), absHigh = e.bitXor(fraction, allOnes);
  Value one = e.select(negative, e.integer(type, 1), zero);
  absLow = e.add(absLow, one);
  Value wrapped = e.bitAnd(negative, e.compare(CmpI::eq, absLow, int64_t(0)));
  absHigh = e.add(absHigh, e.select(wrapped, e.integer(type, 1), zero));
  Value zeros = math::CountLeadingZerosOp::create(b, e.location(), absHigh);
  // absHigh is below 2^62; it is zero with a chance of 2^-62 and for no float.
  zeros = e.bitAnd(zeros, 63);
  Value normal = e.bitOr(e.shiftLeft(absHigh, zeros),
                         e.shiftRight(e.shiftRight(absLow, 1), e.sub(e.integer(type, 63), zeros)));
  // 2^-62 2^-zeros as a float, and `normal` in two halves of 32 bits, each exact.
  Value scale = e.fromBits(e.shiftLeft(e.sub(e.integer(type, 1023 - 62), zeros), 52), f64);
  auto exact = [&](Value x, double unit) {
    Value magic = e.bitOr(x, 0x4330000000000000);
    return e.mul(e.sub(e.fromBits(magic, f64), 0x1p52), unit);
  };
  Value upper = exact(e.shiftRight(normal, 32), 0x1p32), lower = exact(e.bitAnd(normal, 0xffffffff), 1.0);
  Value sum = e.add(upper, lower);
  Value sumLow = e.sub(lower, e.sub(sum, upper));
  // Times pi/2.
  Value product = e.mul(sum, M_PI_2);
  Value productLow = e.fma(sum, M_PI_2, e.neg(product));
  productLow = e.fma(sum, 0x1.1a62633145c07p-54, productLow);
  productLow = e.fma(sumLow, M_PI_2, productLow);
  Value signedScale = e.select(negative, e.neg(scale), scale);
  return {quadrant, e.mul(product, signedScale), e.mul(productLow, signedScale)};
}

Value buildSinCos(OpBuilder &b, Location loc, Value x, bool isCos) {
  Emitter e(b, loc);
  Type type = x.getType(), f64 = b.getF64Type();
  Type element = getElementTypeOrSelf(type);
  bool isF32 = element.isF32();
  Value a = e.toFloat(e.abs(x), f64);
  // An f32 starts in the first three words of the table, an f64 in the first seventeen.
  Angle small = reduceSmall(e, a), large = reduceLarge(e, a, isF32 ? 2 : 5);
  Value isSmall = e.compare(CmpF::OLT, a, 0x1p27);
  Value r = e.select(isSmall, small.high, large.high);
  Value low = e.select(isSmall, small.low, large.low);
  Value quadrant = e.select(isSmall, small.quadrant, large.quadrant);

  Value z = e.mul(r, r);
  ArrayRef<double> sinTerms = isF32 ? ArrayRef<double>(kSin32) : ArrayRef<double>(kSin64);
  ArrayRef<double> cosTerms = isF32 ? ArrayRef<double>(kCos32) : ArrayRef<double>(kCos64);
  Value cube = e.mul(z, r);
  // sin(r + low) = r + (low + r^3 P(r^2) - low r^2/2)
  Value sine = e.fma(cube, e.polynomial(z, sinTerms), e.fma(low, e.mul(z, -0.5), low));
  sine = e.add(r, sine);
  // cos(r + low) = 1 - r^2/2 + (r^4 Q(r^2) - r low), with the error of 1 - r^2/2 added back.
  Value half = e.mul(z, 0.5);
  Value head = e.sub(e.real(z.getType(), 1), half);
  Value rest = e.sub(e.sub(e.real(z.getType(), 1), head), half);
  Value cosine = e.fma(e.mul(z, z), e.polynomial(z, cosTerms), e.fma(e.neg(r), low, rest));
  cosine = e.add(head, cosine);

  if (isCos) {
    quadrant = e.add(quadrant, e.integer(quadrant.getType(), 1));
  }
  Value isOdd = e.compare(CmpI::ne, e.bitAnd(quadrant, 1), int64_t(0));
  Value result = e.select(isOdd, cosine, sine);
  Value sign = e.shiftLeft(e.bitAnd(quadrant, 2), 62);
  result = e.fromBits(e.bitXor(e.bits(result), sign), f64);
  result = e.toFloat(result, element);
  if (!isCos) {
    result = e.select(e.compare(CmpF::OLT, x, 0.0), e.neg(result), result);
    // Keeps -0.
    result = e.select(e.compare(CmpF::OEQ, x, 0.0), x, result);
  }
  Value isFinite = e.compare(CmpF::OLT, e.abs(x), e.infinity(type));
  return e.select(isFinite, result, e.nan(type));
}

} // namespace

Value buildSin(OpBuilder &b, Location loc, Value x) { return buildSinCos(b, loc, x, /*isCos=*/false); }
Value buildCos(OpBuilder &b, Location loc, Value x) { return buildSinCos(b, loc, x, /*isCos=*/true); }

} // namespace lathe::approx
