// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "ResizeTables.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"

#include <cmath>

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::BinaryKind;
using nn::CompareKind;
using nn::SampleKind;
using nn::UnaryKind;

namespace {

/// Builds the tables of one dimension.
class TableBuilder {
public:
  TableBuilder(LegalizeContext &c, const ResizeOptions &options, const ResizedAxis &axis, Type real)
      : c(c), options(options), axis(axis), real(real) {}

  ResizeTable build(Value roiStart, Value roiEnd);

private:
  Value number(double value) { return nn::buildScalar(c.b, c.loc, real, value); }
  Value number(Size size) {
    if (std::optional<int64_t> known = getConstantIntValue(size)) {
      return number(double(*known));
    }
    return c.cast(nn::buildFromScalars(c.b, c.loc, {size}, c.b.getI64Type(), /*scalar=*/true), real);
  }
  Value binary(BinaryKind kind, Value lhs, Value rhs) { return c.binary(kind, lhs, rhs); }
  Value sub(Value lhs, Value rhs) { return binary(BinaryKind::Sub, lhs, rhs); }
  Value div(Value lhs, Value rhs) { return binary(BinaryKind::Div, lhs, rhs); }
  /// 0, 1, ... as floats.
  Value range(Size size) {
    Type i64 = c.b.getI64Type();
    return c.cast(nn::buildRange(c.b, c.loc, nn::buildScalar(c.b, c.loc, i64, 0),
                                 nn::buildScalar(c.b, c.loc, i64, 1), size),
                  real);
  }

  Value getScale();
  /// The length of the result, which is not rounded where a scale is given.
  Value getLength();
  Value getCoordinates(Value roiStart, Value roiEnd);
  Value getNearest(Value x);
  Value getWeights(Value distance);
  /// The number of positions on one side that a widened filter may reach.
  Size getReach(int64_t support);

  LegalizeContext &c;
  const ResizeOptions &options;
  const ResizedAxis &axis;
  Type real;
};

} // namespace

Value TableBuilder::getScale() {
  if (axis.scaleData) {
    return c.cast(axis.scaleData, real);
  }
  return axis.scale ? number(double(*axis.scale)) : div(number(axis.scaleTo), number(axis.scaleFrom));
}

Value TableBuilder::getLength() {
  return axis.scale || axis.scaleData ? c.mul(number(axis.from), getScale()) : number(axis.to);
}

/// Where each position of the result lies in the operand.
Value TableBuilder::getCoordinates(Value roiStart, Value roiEnd) {
  Value i = range(axis.to), half = number(0.5);
  auto halfPixel = [&] { return sub(div(c.add(i, half), getScale()), half); };
  StringRef mode = options.coordinates;
  auto isOne = [&](Value length) { return c.compare(CompareKind::Equal, length, number(1.0)); };
  // A length of one has no distance between its ends to divide by.
  auto steps = [&] {
    Value length = getLength();
    return c.select(isOne(length), number(1.0), sub(length, number(1.0)));
  };
  Value last = sub(number(axis.from), number(1.0));
  if (mode == "asymmetric") {
    return div(i, getScale());
  }
  if (mode == "align_corners") {
    return div(c.mul(i, last), steps());
  }
  if (mode == "pytorch_half_pixel") {
    return c.select(isOne(number(axis.to)), number(0.0), halfPixel());
  }
  if (mode == "tf_half_pixel_for_nn") {
    return div(c.add(i, half), getScale());
  }
  if (mode == "half_pixel_symmetric") {
    // The result is as long as whole numbers allow; what is missing is missing on both sides.
    Value from = number(axis.from);
    Value adjustment = div(number(axis.to), c.mul(getScale(), from));
    Value offset = c.mul(div(from, number(2.0)), sub(number(1.0), adjustment));
    return c.add(offset, halfPixel());
  }
  if (mode == "tf_crop_and_resize") {
    Value width = sub(roiEnd, roiStart);
    Value spread = c.add(c.mul(roiStart, last), div(c.mul(c.mul(i, width), last), steps()));
    Value middle = c.mul(c.mul(half, c.add(roiStart, roiEnd)), last);
    return c.select(isOne(getLength()), middle, spread);
  }
  return halfPixel();
}

Value TableBuilder::getNearest(Value x) {
  if (options.nearest == "floor") {
    return c.unary(UnaryKind::Floor, x);
  }
  if (options.nearest == "ceil") {
    return c.unary(UnaryKind::Ceil, x);
  }
  if (options.nearest == "round_prefer_ceil") {
    return c.unary(UnaryKind::Floor, c.add(x, number(0.5)));
  }
  if (options.nearest == "simple") {
    // Before version 11: down where the tensor grows, up where it shrinks.
    Value shrinks = c.compare(CompareKind::Less, getScale(), number(1.0));
    return c.select(shrinks, c.unary(UnaryKind::Ceil, x), c.unary(UnaryKind::Floor, x));
  }
  return c.unary(UnaryKind::Ceil, sub(x, number(0.5)));
}

/// The filter at a distance that is not negative.
Value TableBuilder::getWeights(Value distance) {
  if (options.kind == SampleKind::Linear) {
    return binary(BinaryKind::Max, sub(number(1.0), distance), number(0.0));
  }
  double a = options.cubic;
  auto polynomial = [&](ArrayRef<double> coefficients) {
    Value result = number(coefficients.front());
    for (double coefficient : coefficients.drop_front()) {
      result = c.add(c.mul(result, distance), number(coefficient));
    }
    return result;
  };
  Value near = polynomial({a + 2, -(a + 3), 0, 1}), far = polynomial({a, -5 * a, 8 * a, -4 * a});
  Value isNear = c.compare(CompareKind::LessOrEqual, distance, number(1.0));
  Value isFar = c.compare(CompareKind::Less, distance, number(2.0));
  return c.select(isNear, near, c.select(isFar, far, number(0.0)));
}

Size TableBuilder::getReach(int64_t support) {
  if (!options.antialias) {
    return c.b.getIndexAttr(support);
  }
  if (axis.scale) {
    return c.b.getIndexAttr(int64_t(std::ceil(support / std::min(*axis.scale, 1.0f))));
  }
  if (axis.scaleData) {
    Value shrunk = binary(BinaryKind::Min, getScale(), number(1.0));
    return toSize(c, c.unary(UnaryKind::Ceil, div(number(double(support)), shrunk)));
  }
  // ceil(support * from / to), and at least the support.
  Size to = c.sizes.max(axis.scaleTo, c.one());
  Size scaled = c.sizes.mul(axis.scaleFrom, c.b.getIndexAttr(support));
  Size reach = c.sizes.div(c.sizes.add(scaled, c.sizes.sub(to, c.one())), to, /*floor=*/true);
  return c.sizes.max(reach, c.b.getIndexAttr(support));
}

ResizeTable TableBuilder::build(Value roiStart, Value roiEnd) {
  ResizeTable table;
  Value x = getCoordinates(roiStart, roiEnd);
  Value last = sub(number(axis.from), number(1.0));
  if (options.coordinates == "tf_crop_and_resize") {
    table.outside = binary(BinaryKind::Or, c.compare(CompareKind::Less, x, number(0.0)),
                           c.compare(CompareKind::Greater, x, last));
  }
  x = c.reshape(x, {axis.to, c.one()});
  if (options.kind == SampleKind::Nearest) {
    table.positions = c.cast(getNearest(x), c.b.getI64Type());
    return table;
  }
  Size reach = getReach(options.kind == SampleKind::Linear ? 1 : 2);
  Size taps = c.sizes.mul(reach, c.b.getIndexAttr(2));
  Value first = sub(c.unary(UnaryKind::Floor, x), sub(number(reach), number(1.0)));
  Value places = c.add(first, range(taps));
  Value distance = c.unary(UnaryKind::Abs, sub(places, x));
  if (options.antialias) {
    distance = c.mul(distance, binary(BinaryKind::Min, getScale(), number(1.0)));
  }
  Value weights = getWeights(distance);
  if (options.excludeOutside) {
    Value isOutside = binary(BinaryKind::Or, c.compare(CompareKind::Less, places, number(0.0)),
                             c.compare(CompareKind::Greater, places, last));
    weights = c.select(isOutside, number(0.0), weights);
  }
  if (options.excludeOutside || options.antialias) {
    weights = div(weights, c.reduce(nn::ReduceKind::Sum, weights, {1}, /*keepDims=*/true));
  }
  table.positions = c.cast(places, c.b.getI64Type());
  table.weights = weights;
  return table;
}

ResizeTable lathe::onnx::buildResizeTable(LegalizeContext &c, const ResizeOptions &options,
                                          const ResizedAxis &axis, Type real, Value roiStart, Value roiEnd) {
  return TableBuilder(c, options, axis, real).build(roiStart, roiEnd);
}
