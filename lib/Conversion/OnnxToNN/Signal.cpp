// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What audio models begin with: windows, filter banks and transforms.

#include "Legalizer.h"

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
  std::optional<Scalars> list = c.scalarsOrRead(i);
  if (!list || list->elements.size() != 1) {
    (void)c.error("E0307", name + " must be an integer");
    return std::nullopt;
  }
  return c.checkedSize(list->elements.front());
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

void lathe::onnx::registerSignal(LegalizerRegistry &registry) {
  registry.add("HannWindow", 1, 1, [](LegalizeContext &c) { return legalizeWindow(c, 0.5, 0.5, 0); });
  registry.add("HammingWindow", 1, 1,
               [](LegalizeContext &c) { return legalizeWindow(c, 25.0 / 46, 21.0 / 46, 0); });
  registry.add("BlackmanWindow", 1, 1, [](LegalizeContext &c) { return legalizeWindow(c, 0.42, 0.5, 0.08); });
  registry.add("MelWeightMatrix", 5, 5, legalizeMelWeightMatrix);
}
