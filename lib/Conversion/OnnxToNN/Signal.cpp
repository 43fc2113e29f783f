// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What audio models begin with: windows, filter banks and transforms.

#include "Legalizer.h"

#include "lathe/Dialect/NN/IR/NNNumeric.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"

#include <cmath>

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::BinaryKind;
using nn::CompareKind;
using nn::UnaryKind;

/// first, first + 1, ... as f64.
static Value countFrom(LegalizeContext &c, double first, Size size) {
  Type f64 = c.b.getF64Type();
  return nn::buildRange(c.b, c.loc, nn::buildScalar(c.b, c.loc, f64, first),
                        nn::buildScalar(c.b, c.loc, f64, 1), size);
}

/// The one element of operand `i` as a size, which the run may tell.
static std::optional<Size> readSize(LegalizeContext &c, unsigned i, StringRef name) {
  std::optional<Size> size = c.elementOrRead(i, name);
  return size ? std::optional(c.checkedSize(*size)) : std::nullopt;
}

/// The one element of operand `i` as an f64 tensor of rank 0.
static Value readNumber(LegalizeContext &c, unsigned i) {
  return c.reshape(c.cast(c.operand(i), c.b.getF64Type()), {});
}

//===----------------------------------------------------------------------===//
// Windows
//===----------------------------------------------------------------------===//

/// a0 - a1 cos(t) + a2 cos(2t), where t goes from 0 to 2 pi: up to it, or if periodic to one step before it.
/// Computed in f64, as the cosines nearly cancel.
static LogicalResult legalizeWindow(LegalizeContext &c, double a0, double a1, double a2) {
  Type type = c.typeAttr("output_datatype", c.b.getF32Type());
  std::optional<Size> size = readSize(c, 0, "size");
  if (!type || !size || c.hasFailed()) {
    return failure();
  }
  Size steps = c.intAttr("periodic", 1) != 0 ? *size : c.sizes.sub(*size, c.one());
  Value count = nn::buildFromScalars(c.b, c.loc, {steps}, c.b.getI64Type(), /*scalar=*/true);
  Value t = countFrom(c, 0, *size);
  t = c.binary(BinaryKind::Div, c.mul(t, c.scalar(2 * M_PI, t)), c.cast(count, c.b.getF64Type()));
  Value result = c.add(c.mul(c.unary(UnaryKind::Cos, t), c.scalar(-a1, t)), c.scalar(a0, t));
  if (a2 != 0) {
    Value twice = c.unary(UnaryKind::Cos, c.add(t, t));
    result = c.add(result, c.mul(twice, c.scalar(a2, t)));
  }
  return c.set(c.cast(result, type));
}

//===----------------------------------------------------------------------===//
// MelWeightMatrix
//===----------------------------------------------------------------------===//

/// Triangles over the bins of a spectrum whose corners have equal distances on the mel scale. All in f64: a
/// corner that is rounded down lies at another bin if it is off by one unit.
static LogicalResult legalizeMelWeightMatrix(LegalizeContext &c) {
  Type type = c.typeAttr("output_datatype", c.b.getF32Type());
  std::optional<Size> mels = readSize(c, 0, "num_mel_bins"), length = readSize(c, 1, "dft_length");
  if (!type || !mels || !length || c.hasFailed()) {
    return failure();
  }
  auto sub = [&](Value x, Value y) { return c.binary(BinaryKind::Sub, x, y); };
  auto div = [&](Value x, Value y) { return c.binary(BinaryKind::Div, x, y); };
  auto toMel = [&](Value hertz) {
    Value one = c.scalar(1, hertz);
    Value logarithm = c.unary(UnaryKind::Log, c.add(one, div(hertz, c.scalar(700, hertz))));
    return c.mul(logarithm, c.scalar(2595 / std::log(10), hertz));
  };
  Value sampleRate = readNumber(c, 2), low = toMel(readNumber(c, 3)), high = toMel(readNumber(c, 4));
  Size corners = c.sizes.add(*mels, c.b.getIndexAttr(2));
  auto number = [&](Size size) {
    Value integer = nn::buildFromScalars(c.b, c.loc, {size}, c.b.getI64Type(), /*scalar=*/true);
    return c.cast(integer, c.b.getF64Type());
  };
  Value mel = c.add(c.mul(countFrom(c, 0, corners), div(sub(high, low), number(corners))), low);
  Value hertz = c.unary(UnaryKind::Exp, c.mul(mel, c.scalar(std::log(10) / 2595, mel)));
  hertz = c.mul(sub(hertz, c.scalar(1, hertz)), c.scalar(700, hertz));
  Value bins =
      c.unary(UnaryKind::Floor, div(c.mul(hertz, number(c.sizes.add(*length, c.one()))), sampleRate));
  auto corner = [&](int64_t offset) { return c.slice(bins, 0, c.b.getIndexAttr(offset), *mels); };
  Value left = corner(0), center = corner(1), right = corner(2);
  Size height = c.sizes.add(c.sizes.div(*length, c.b.getIndexAttr(2), /*floor=*/true), c.one());
  Value bin = c.reshape(countFrom(c, 0, height), {height, c.one()});
  Value none = c.scalar(0, bin);
  // A side of no width divides by 0; nothing lies on it then.
  Value rising = div(sub(bin, left), sub(center, left)), falling = div(sub(right, bin), sub(right, center));
  rising = c.select(c.compare(CompareKind::GreaterOrEqual, bin, left), rising, none);
  falling = c.select(c.compare(CompareKind::Less, bin, right), falling, none);
  Value sides = c.select(c.compare(CompareKind::Less, bin, center), rising, falling);
  Value isCenter = c.compare(CompareKind::Equal, bin, center);
  return c.set(c.cast(c.select(isCenter, c.scalar(1, bin), sides), type));
}

//===----------------------------------------------------------------------===//
// Transforms
//===----------------------------------------------------------------------===//

namespace {
/// What a transform is of: `length` elements, of which `bins` are wanted.
struct Spectrum {
  Size length, bins;
  int64_t parts = 2;
  bool inverse = false, hermitian = false;
};
} // namespace

/// Transforms `rows`, [rows, n, 1 or 2], in f32 if they are narrower.
static Value buildTransform(LegalizeContext &c, Value rows, const Spectrum &spectrum) {
  Type type = nn::getElementType(rows), wide = type.isF64() ? type : Type(c.b.getF32Type());
  auto op = nn::createInferred<nn::FourierOp>(
      c.b, c.loc, ArrayRef<Type>{wide, c.b.getF64Type()}, c.cast(rows, wide), c.toValue(spectrum.length),
      c.toValue(spectrum.bins), spectrum.parts, spectrum.inverse, spectrum.hermitian);
  return c.cast(op.getResult(), type);
}

static Size halfSpectrum(LegalizeContext &c, Size length) {
  return c.sizes.add(c.sizes.div(length, c.b.getIndexAttr(2), /*floor=*/true), c.one());
}

/// DFT along an axis that the run may tell: the dimensions before it and after it, whichever they are, are
/// one each.
static LogicalResult legalizeDFT(LegalizeContext &c) {
  Sizes dims = c.shapeOf(0);
  int64_t rank = dims.size();
  if (rank < 2) {
    return c.error("E0307",
                   llvm::formatv("the operand has {0} dimensions, must have at least 2", rank).str());
  }
  SizeArith &sizes = c.sizes;
  Size axis = c.b.getIndexAttr(c.node.version < 20 ? c.intAttr("axis", 1) : -2);
  if (c.has(2)) {
    std::optional<Size> given = c.elementOrRead(2, "axis");
    if (!given) {
      return failure();
    }
    axis = *given;
  }
  axis = c.axisPosition(axis, rank);
  c.require(sizes.compare(CompareKind::Less, axis, c.b.getIndexAttr(rank - 1)),
            "the axis is that of real and imaginary parts");
  Sizes before, after;
  Size size = c.one();
  for (int64_t i = 0; i < rank - 1; ++i) {
    Size dim = dims[i], position = c.b.getIndexAttr(i);
    before.push_back(sizes.select(sizes.compare(CompareKind::Less, position, axis), dim, c.one()));
    after.push_back(sizes.select(sizes.compare(CompareKind::Greater, position, axis), dim, c.one()));
    size = sizes.select(sizes.compare(CompareKind::Equal, position, axis), dim, size);
  }
  size = c.checkedSize(size);
  bool onesided = c.intAttr("onesided", 0) != 0;
  Spectrum spectrum;
  spectrum.inverse = c.intAttr("inverse", 0) != 0;
  spectrum.hermitian = spectrum.inverse && onesided;
  spectrum.parts = spectrum.hermitian ? 1 : 2;
  if (c.has(1)) {
    std::optional<Size> length = readSize(c, 1, "dft_length");
    spectrum.length = length ? *length : c.one();
  } else if (spectrum.hermitian) {
    spectrum.length = c.checkedSize(sizes.mul(sizes.sub(size, c.one()), c.b.getIndexAttr(2)));
  } else {
    spectrum.length = size;
  }
  // Of no elements there are no bins, unless their number is given or one more than half of them.
  if (c.has(1) || onesided) {
    c.require(sizes.compare(CompareKind::GreaterOrEqual, spectrum.length, c.one()),
              "the transform has no elements");
  }
  spectrum.bins = onesided && !spectrum.inverse ? halfSpectrum(c, spectrum.length) : spectrum.length;
  if (c.hasFailed()) {
    return failure();
  }
  Size outer = c.checkedProduct(before), inner = c.checkedProduct(after),
       rows = c.checkedProduct({outer, inner});
  Value x = c.reshape(c.operand(0), {outer, size, inner, dims.back()});
  x = c.reshape(c.transpose(x, {0, 2, 1, 3}), {rows, size, dims.back()});
  Value result = buildTransform(c, x, spectrum);
  Size parts = c.b.getIndexAttr(spectrum.parts);
  result = c.transpose(c.reshape(result, {outer, inner, spectrum.bins, parts}), {0, 2, 1, 3});
  for (int64_t i = 0; i < rank - 1; ++i) {
    Size isAxis = sizes.compare(CompareKind::Equal, c.b.getIndexAttr(i), axis);
    dims[i] = c.checkedSize(sizes.select(isAxis, spectrum.bins, dims[i]));
  }
  dims.back() = parts;
  return c.set(c.reshape(result, dims));
}

/// STFT: transforms of frames that overlap, each times a window.
static LogicalResult legalizeSTFT(LegalizeContext &c) {
  if (c.rank(0) != 3 || (c.has(2) && c.rank(2) != 1)) {
    return c.error("E0307", "the signal must have 3 dimensions, the window 1");
  }
  Sizes dims = c.shapeOf(0);
  SizeArith &sizes = c.sizes;
  std::optional<Size> step = readSize(c, 1, "frame_step");
  std::optional<Size> length = c.has(3)   ? readSize(c, 3, "frame_length")
                               : c.has(2) ? std::optional(c.shapeOf(2)[0])
                                          : std::optional(dims[1]);
  if (!step || !length || c.hasFailed()) {
    return failure();
  }
  c.require(sizes.compare(CompareKind::GreaterOrEqual, *step, c.one()), "frame_step must be positive");
  c.require(sizes.compare(CompareKind::GreaterOrEqual, *length, c.one()), "a frame has no elements");
  c.require(sizes.compare(CompareKind::LessOrEqual, *length, dims[1]), "a frame is longer than the signal");
  if (c.hasFailed()) {
    return failure();
  }
  Size room = sizes.max(sizes.sub(dims[1], *length), c.b.getIndexAttr(0));
  Size frames = sizes.add(sizes.div(room, sizes.max(*step, c.one()), /*floor=*/true), c.one());
  frames = c.checkedSize(frames);
  Type i64 = c.b.getI64Type();
  auto number = [&](Size size) { return nn::buildFromScalars(c.b, c.loc, {size}, i64, /*scalar=*/true); };
  Value zero = nn::buildScalar(c.b, c.loc, i64, 0), one = nn::buildScalar(c.b, c.loc, i64, 1);
  Value starts = c.reshape(nn::buildRange(c.b, c.loc, zero, number(*step), frames), {frames, c.one()});
  Value positions = c.add(starts, nn::buildRange(c.b, c.loc, zero, one, *length));
  Value x = nn::buildGather(c.b, c.loc, c.operand(0), positions, /*axis=*/1);
  if (c.has(2)) {
    x = c.mul(x, c.reshape(c.operand(2), {*length, c.one()}));
  }
  Spectrum spectrum;
  spectrum.length = *length;
  spectrum.bins = c.intAttr("onesided", 1) != 0 ? halfSpectrum(c, *length) : *length;
  Value rows = c.reshape(x, {c.checkedProduct({dims[0], frames}), *length, dims[2]});
  return c.set(
      c.reshape(buildTransform(c, rows, spectrum), {dims[0], frames, spectrum.bins, c.b.getIndexAttr(2)}));
}

void lathe::onnx::registerSignal(LegalizerRegistry &registry) {
  registry.add("HannWindow", 1, 1, [](LegalizeContext &c) { return legalizeWindow(c, 0.5, 0.5, 0); });
  registry.add("HammingWindow", 1, 1,
               [](LegalizeContext &c) { return legalizeWindow(c, 25.0 / 46, 21.0 / 46, 0); });
  registry.add("BlackmanWindow", 1, 1, [](LegalizeContext &c) { return legalizeWindow(c, 0.42, 0.5, 0.08); });
  registry.add("DFT", 1, 3, legalizeDFT);
  registry.add("STFT", 2, 4, legalizeSTFT);
  registry.add("MelWeightMatrix", 5, 5, legalizeMelWeightMatrix);
}
