// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Resize and Upsample. Every resized dimension gets a table of positions and weights, made of nn ops:
/// constants fold, and sizes that are not known yet need nothing special. All coordinates are f32, like ONNX
/// Runtime's, for `nearest` is at the mercy of their rounding.

#include "Windows.h"

#include "lathe/Dialect/NN/IR/NNSpatial.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/IR/Matchers.h"

#include <cmath>

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::BinaryKind;
using nn::CompareKind;
using nn::SampleKind;
using nn::UnaryKind;

namespace {

/// One resized dimension, the `number`th that the model names.
struct Axis {
  int64_t dim, number;
  Size from, to;
  /// The scale as a number, if the model gives one; else it is `scaleTo / scaleFrom`.
  std::optional<float> scale;
  Size scaleFrom, scaleTo;
};

struct Options {
  SampleKind kind = SampleKind::Nearest;
  StringRef coordinates = "half_pixel", nearest = "round_prefer_floor";
  double cubic = -0.75, extrapolation = 0;
  bool antialias = false, excludeOutside = false;
};

/// Builds the tables of one dimension.
class TableBuilder {
public:
  TableBuilder(LegalizeContext &c, const Options &options, const Axis &axis, Type real)
      : c(c), options(options), axis(axis), real(real) {}

  /// Positions [size, taps] of i64, weights of `real` (null for `nearest`), and a bool for each position of
  /// the result that lies outside (null if none can).
  void build(Value roiStart, Value roiEnd, Value &positions, Value &weights, Value &outside);

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
  const Options &options;
  const Axis &axis;
  Type real;
};

} // namespace

Value TableBuilder::getScale() {
  return axis.scale ? number(double(*axis.scale)) : div(number(axis.scaleTo), number(axis.scaleFrom));
}

Value TableBuilder::getLength() {
  return axis.scale ? c.mul(number(axis.from), getScale()) : number(axis.to);
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
  // ceil(support * from / to), and at least the support.
  Size to = c.sizes.max(axis.scaleTo, c.one());
  Size scaled = c.sizes.mul(axis.scaleFrom, c.b.getIndexAttr(support));
  Size reach = c.sizes.div(c.sizes.add(scaled, c.sizes.sub(to, c.one())), to, /*floor=*/true);
  return c.sizes.max(reach, c.b.getIndexAttr(support));
}

void TableBuilder::build(Value roiStart, Value roiEnd, Value &positions, Value &weights, Value &outside) {
  Value x = getCoordinates(roiStart, roiEnd);
  Value last = sub(number(axis.from), number(1.0));
  if (options.coordinates == "tf_crop_and_resize") {
    outside = binary(BinaryKind::Or, c.compare(CompareKind::Less, x, number(0.0)),
                     c.compare(CompareKind::Greater, x, last));
  }
  x = c.reshape(x, {axis.to, c.one()});
  if (options.kind == SampleKind::Nearest) {
    positions = c.cast(getNearest(x), c.b.getI64Type());
    return;
  }
  Size reach = getReach(options.kind == SampleKind::Linear ? 1 : 2);
  Size taps = c.sizes.mul(reach, c.b.getIndexAttr(2));
  Value first = sub(c.unary(UnaryKind::Floor, x), sub(number(reach), number(1.0)));
  Value places = c.add(first, range(taps));
  Value distance = c.unary(UnaryKind::Abs, sub(places, x));
  if (options.antialias) {
    distance = c.mul(distance, binary(BinaryKind::Min, getScale(), number(1.0)));
  }
  weights = getWeights(distance);
  if (options.excludeOutside) {
    Value isOutside = binary(BinaryKind::Or, c.compare(CompareKind::Less, places, number(0.0)),
                             c.compare(CompareKind::Greater, places, last));
    weights = c.select(isOutside, number(0.0), weights);
  }
  if (options.excludeOutside || options.antialias) {
    weights = div(weights, c.reduce(nn::ReduceKind::Sum, weights, {1}, /*keepDims=*/true));
  }
  positions = c.cast(places, c.b.getI64Type());
}

//===----------------------------------------------------------------------===//
// Sizes
//===----------------------------------------------------------------------===//

/// The floats of operand `i`, which must be a small constant.
static std::optional<SmallVector<float>> getFloats(LegalizeContext &c, unsigned i, StringRef name) {
  DenseElementsAttr elements;
  if (matchPattern(c.operand(i), m_Constant(&elements)) && elements.getElementType().isF32() &&
      elements.getNumElements() <= kMaxScalars) {
    return llvm::to_vector(elements.getValues<float>());
  }
  (void)c.dataDependent(name + " is computed");
  return std::nullopt;
}

/// `size * scale`, rounded down.
static Size scaleSize(LegalizeContext &c, Size size, float scale) {
  if (std::optional<int64_t> known = getConstantIntValue(size)) {
    return c.b.getIndexAttr(int64_t(scale * float(*known)));
  }
  // The simplest fraction that is this float: 0.7f times 10 shall be 7.
  for (int64_t denominator = 1; denominator <= 1024; ++denominator) {
    auto numerator = int64_t(std::llround(double(scale) * double(denominator)));
    if (float(double(numerator) / double(denominator)) == scale) {
      return c.sizes.div(c.sizes.mul(size, c.b.getIndexAttr(numerator)), c.b.getIndexAttr(denominator),
                         /*floor=*/true);
    }
  }
  int exponent;
  auto mantissa = int64_t(std::ldexp(std::frexp(scale, &exponent), 24));
  int shift = std::clamp(24 - exponent, 0, 62);
  return c.sizes.div(c.sizes.mul(size, c.b.getIndexAttr(mantissa)), c.b.getIndexAttr(int64_t(1) << shift),
                     /*floor=*/true);
}

static LogicalResult checkScales(LegalizeContext &c, ArrayRef<float> scales, size_t count) {
  if (scales.size() != count) {
    return c.error("E0307", llvm::formatv("there are {0} scales, must be {1}", scales.size(), count).str());
  }
  for (float scale : scales) {
    if (!(scale > 0) || scale > 65536) {
      return c.error("E0307",
                     llvm::formatv("a scale is {0}, must be above 0 and at most 65536", scale).str());
    }
  }
  return success();
}

static SmallVector<Axis> applyScales(LegalizeContext &c, ArrayRef<int64_t> dims, ArrayRef<float> scales) {
  SmallVector<Axis> axes;
  Sizes shape = c.shapeOf(0);
  if (failed(checkScales(c, scales, dims.size()))) {
    return axes;
  }
  for (auto [dim, scale] : llvm::zip_equal(dims, scales)) {
    axes.push_back({dim, int64_t(axes.size()), shape[dim], scaleSize(c, shape[dim], scale), scale, {}, {}});
  }
  return axes;
}

static SmallVector<Axis> applySizes(LegalizeContext &c, ArrayRef<int64_t> dims, ArrayRef<Size> wanted) {
  SmallVector<Axis> axes;
  Sizes shape = c.shapeOf(0);
  StringRef policy = c.stringAttr("keep_aspect_ratio_policy").value_or("stretch");
  if (wanted.size() != dims.size()) {
    (void)c.error("E0307",
                  llvm::formatv("there are {0} sizes, must be {1}", wanted.size(), dims.size()).str());
    return axes;
  }
  for (auto [dim, size] : llvm::zip_equal(dims, wanted)) {
    std::optional<int64_t> number = getConstantIntValue(size);
    if (number && (*number < 0 || *number > nn::kMaxDim)) {
      (void)c.error("E0307", llvm::formatv("the size of dimension {0} is {1}", dim, *number).str());
      return axes;
    }
    axes.push_back({dim, int64_t(axes.size()), shape[dim], size, std::nullopt, shape[dim], size});
  }
  if (policy == "stretch" || axes.empty()) {
    return axes;
  }
  if (policy != "not_larger" && policy != "not_smaller") {
    (void)c.error("E0304", "keep_aspect_ratio_policy is \"" + policy + "\"", "keep_aspect_ratio_policy");
    return axes;
  }
  // All dimensions take the smallest, or the largest, of their scales.
  SizeArith &sizes = c.sizes;
  Size to = axes.front().to, from = axes.front().from;
  for (const Axis &axis : ArrayRef(axes).drop_front()) {
    Size mine = sizes.mul(axis.to, from), best = sizes.mul(to, axis.from);
    Size wins = policy == "not_larger" ? sizes.compare(CompareKind::Less, mine, best)
                                       : sizes.compare(CompareKind::Greater, mine, best);
    to = sizes.select(wins, axis.to, to);
    from = sizes.select(wins, axis.from, from);
  }
  for (Axis &axis : axes) {
    // Rounded to the nearest, halves up.
    Size doubled = sizes.add(sizes.mul(sizes.mul(axis.from, to), c.b.getIndexAttr(2)), from);
    axis.to = sizes.div(doubled, sizes.max(sizes.mul(from, c.b.getIndexAttr(2)), c.one()), /*floor=*/true);
    axis.scaleFrom = from;
    axis.scaleTo = to;
  }
  return axes;
}

//===----------------------------------------------------------------------===//
// The operators
//===----------------------------------------------------------------------===//

/// Moves channels to the end, so that the last dimension is not resized; adds one of size 1 if all are.
static Value resample(LegalizeContext &c, ArrayRef<Axis> axes, const Options &options, Value roi) {
  Value x = c.operand(0);
  int64_t rank = nn::getRank(x);
  Type element = nn::getElementType(x), real = element.isF64() ? element : Type(c.b.getF32Type());
  auto resizes = [&](int64_t dim) { return llvm::any_of(axes, [&](const Axis &a) { return a.dim == dim; }); };
  bool isLast = !resizes(rank - 1), isSecond = !isLast && rank >= 3 && !resizes(1);
  bool interpolates = options.kind != SampleKind::Nearest;
  if (interpolates && !isa<FloatType>(element)) {
    x = c.cast(x, real);
  }
  if (isSecond) {
    x = toChannelsLast(c, x);
  } else if (!isLast) {
    Sizes dims = c.shapeOf(x);
    dims.push_back(c.one());
    x = c.reshape(x, dims);
  }
  SmallVector<int64_t> dims;
  SmallVector<Value> positions, weights;
  Value outside;
  for (const Axis &axis : axes) {
    int64_t dim = isSecond && axis.dim > 1 ? axis.dim - 1 : axis.dim;
    Value start, end, axisPositions, axisWeights, axisOutside;
    if (roi) {
      // All starts stand before all ends.
      auto at = [&](int64_t i) {
        return c.cast(c.reshape(c.slice(roi, 0, c.b.getIndexAttr(i), c.one()), {}), real);
      };
      start = at(axis.number);
      end = at(axis.number + int64_t(axes.size()));
    }
    TableBuilder(c, options, axis, real).build(start, end, axisPositions, axisWeights, axisOutside);
    dims.push_back(dim);
    positions.push_back(axisPositions);
    if (axisWeights) {
      weights.push_back(axisWeights);
    }
    if (axisOutside) {
      Sizes shape(nn::getRank(x), c.one());
      shape[dim] = axis.to;
      axisOutside = c.reshape(axisOutside, shape);
      outside = outside ? c.binary(BinaryKind::Or, outside, axisOutside) : axisOutside;
    }
  }
  Value y =
      nn::createInferred<nn::ResampleOp>(c.b, c.loc, nn::getElementType(x), x, positions, weights, dims);
  if (outside) {
    y = c.select(outside, c.scalar(options.extrapolation, y), y);
  }
  if (isSecond) {
    y = toChannelsSecond(c, y);
  } else if (!isLast) {
    Sizes shape = c.shapeOf(y);
    shape.pop_back();
    y = c.reshape(y, shape);
  }
  return c.cast(y, element);
}

static LogicalResult finish(LegalizeContext &c, SmallVector<Axis> axes, const Options &options, Value roi) {
  if (c.hasFailed()) {
    return failure();
  }
  if (!roi) {
    llvm::erase_if(axes, [&](const Axis &axis) {
      return axis.scale ? *axis.scale == 1.0f : c.sizes.isSame(axis.from, axis.to);
    });
  }
  for (const Axis &axis : axes) {
    std::optional<int64_t> to = getConstantIntValue(axis.to);
    if (getConstantIntValue(axis.from) == 0 && to != 0) {
      return c.error("E0307", llvm::formatv("dimension {0} has no elements to resize", axis.dim).str());
    }
  }
  if (axes.empty()) {
    return c.forward(0);
  }
  llvm::sort(axes, [](const Axis &lhs, const Axis &rhs) { return lhs.dim < rhs.dim; });
  return c.set(resample(c, axes, options, roi));
}

static std::optional<SampleKind> getKind(LegalizeContext &c) {
  StringRef mode = c.stringAttr("mode").value_or("nearest");
  std::optional<SampleKind> kind = nn::symbolizeSampleKind(mode == "bilinear" ? "linear" : mode);
  if (!kind) {
    (void)c.error("E0304", "mode is \"" + mode + "\"", "mode");
  }
  return kind;
}

/// Upsample, and Resize of version 10, which have no other attributes.
static LogicalResult legalizeUpsample(LegalizeContext &c) {
  std::optional<SampleKind> kind = getKind(c);
  std::optional<SmallVector<float>> scales;
  if (c.has(1)) {
    scales = getFloats(c, 1, "scales");
  } else if (auto list = dyn_cast_or_null<ArrayAttr>(c.node.attributes.get("scales"))) {
    scales.emplace();
    for (Attribute scale : list) {
      auto number = dyn_cast<FloatAttr>(scale);
      scales->push_back(number ? float(number.getValueAsDouble()) : 0);
    }
  } else if (auto dense = dyn_cast_or_null<DenseF32ArrayAttr>(c.node.attributes.get("scales"))) {
    scales = llvm::to_vector(dense.asArrayRef());
  } else {
    (void)c.error("E0303", "scales is missing", "scales");
  }
  if (!kind || !scales || c.hasFailed()) {
    return failure();
  }
  Options options;
  options.kind = *kind;
  options.coordinates = "asymmetric";
  options.nearest = c.node.opType == "Upsample" ? "floor" : "simple";
  SmallVector<int64_t> dims = llvm::to_vector(llvm::seq<int64_t>(0, c.rank(0)));
  return finish(c, applyScales(c, dims, *scales), options, Value());
}

static bool isOneOf(LegalizeContext &c, StringRef name, StringRef value, ArrayRef<StringRef> known) {
  if (llvm::is_contained(known, value)) {
    return true;
  }
  (void)c.error("E0304", name + " is \"" + value + "\"", name);
  return false;
}

static LogicalResult legalizeResize(LegalizeContext &c) {
  if (c.node.version < 11) {
    return legalizeUpsample(c);
  }
  std::optional<SampleKind> kind = getKind(c);
  Options options;
  options.kind = kind.value_or(SampleKind::Nearest);
  options.coordinates = c.stringAttr("coordinate_transformation_mode").value_or("half_pixel");
  options.nearest = c.stringAttr("nearest_mode").value_or("round_prefer_floor");
  options.cubic = c.floatAttr("cubic_coeff_a", -0.75);
  options.extrapolation = c.floatAttr("extrapolation_value", 0);
  options.antialias = c.intAttr("antialias", 0) != 0 && options.kind != SampleKind::Nearest;
  options.excludeOutside = c.intAttr("exclude_outside", 0) != 0 && options.kind != SampleKind::Nearest;
  if (!isOneOf(c, "coordinate_transformation_mode", options.coordinates,
               {"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
                "tf_crop_and_resize", "tf_half_pixel_for_nn"}) ||
      !isOneOf(c, "nearest_mode", options.nearest,
               {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil"})) {
    return failure();
  }
  SmallVector<int64_t> dims = c.intsAttr("axes").value_or(llvm::to_vector(llvm::seq<int64_t>(0, c.rank(0))));
  if (!kind || c.hasFailed() || !c.normalizeAxes(dims, c.rank(0))) {
    return failure();
  }
  bool isCrop = options.coordinates == "tf_crop_and_resize";
  if (isCrop && !c.has(1)) {
    return c.error("E0305", "input 1, the region, is absent");
  }
  if (isCrop && getConstantIntValue(c.shapeOf(1)[0]) != int64_t(2 * dims.size())) {
    return c.error("E0307", llvm::formatv("roi must have {0} elements", 2 * dims.size()).str());
  }
  // An empty tensor stands for scales that are left out.
  bool hasScales = c.has(2) && getConstantIntValue(c.sizes.product(c.shapeOf(2))) != 0;
  SmallVector<Axis> axes;
  if (hasScales) {
    if (std::optional<SmallVector<float>> scales = getFloats(c, 2, "scales")) {
      axes = applyScales(c, dims, *scales);
    }
  } else if (!c.has(3)) {
    return c.error("E0305", "neither scales nor sizes are there");
  } else if (const Scalars *sizes = c.scalars(3)) {
    axes = applySizes(c, dims, sizes->elements);
  } else {
    return c.dataDependent("sizes is computed from data");
  }
  Value roi = isCrop ? c.operand(1) : Value();
  return finish(c, std::move(axes), options, roi);
}

void lathe::onnx::registerResize(LegalizerRegistry &registry) {
  registry.add("Resize", 1, 4, legalizeResize);
  registry.add("Upsample", 1, 2, legalizeUpsample);
}
