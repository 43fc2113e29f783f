// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Resize and Upsample. Every resized dimension gets a table of positions and weights, made of nn ops:
/// constants fold, and sizes that are not known yet need nothing special. All coordinates are f32, like ONNX
/// Runtime's, for `nearest` is at the mercy of their rounding.

#include "ResizeTables.h"

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

//===----------------------------------------------------------------------===//
// Sizes
//===----------------------------------------------------------------------===//

namespace {
/// Scales: numbers, or tensors of rank 0 that only the run knows.
struct Scales {
  SmallVector<float> numbers;
  SmallVector<Value> data;
};
} // namespace

/// The `count` scales that operand `i` holds.
static std::optional<Scales> getScales(LegalizeContext &c, unsigned i, size_t count) {
  Scales scales;
  DenseElementsAttr elements;
  if (!c.elementType(i).isF32() || c.rank(i) != 1 || count > size_t(kMaxReads)) {
    (void)c.error("E0306", llvm::formatv("scales must be a list of f32, at most {0}", kMaxReads).str());
    return std::nullopt;
  }
  if (matchPattern(c.operand(i), m_Constant(&elements)) && elements.getNumElements() <= kMaxScalars) {
    scales.numbers = llvm::to_vector(elements.getValues<float>());
    return scales;
  }
  Value list = c.reshape(c.operand(i), {c.b.getIndexAttr(int64_t(count))});
  for (size_t k = 0; k < count; ++k) {
    scales.data.push_back(c.reshape(c.slice(list, 0, c.b.getIndexAttr(int64_t(k)), c.one()), {}));
  }
  return scales;
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

static SmallVector<ResizedAxis> applyScales(LegalizeContext &c, ArrayRef<int64_t> dims,
                                            const Scales &scales) {
  SmallVector<ResizedAxis> axes;
  Sizes shape = c.shapeOf(0);
  if (scales.data.empty() && failed(checkScales(c, scales.numbers, dims.size()))) {
    return axes;
  }
  for (auto [i, dim] : llvm::enumerate(dims)) {
    ResizedAxis axis{dim, int64_t(i), shape[dim], {}, std::nullopt, {}, {}, {}};
    if (scales.data.empty()) {
      axis.scale = scales.numbers[i];
      axis.to = scaleSize(c, shape[dim], scales.numbers[i]);
    } else {
      axis.scaleData = scales.data[i];
      Value size = nn::buildFromScalars(c.b, c.loc, {shape[dim]}, c.b.getI64Type(), /*scalar=*/true);
      axis.to = toSize(c, c.unary(UnaryKind::Floor, c.mul(c.cast(size, c.b.getF32Type()), axis.scaleData)));
    }
    axes.push_back(axis);
  }
  return axes;
}

static SmallVector<ResizedAxis> applySizes(LegalizeContext &c, ArrayRef<int64_t> dims,
                                           ArrayRef<Size> wanted) {
  SmallVector<ResizedAxis> axes;
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
    Size to = c.checkedSize(size);
    axes.push_back({dim, int64_t(axes.size()), shape[dim], to, std::nullopt, {}, shape[dim], to});
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
  for (const ResizedAxis &axis : ArrayRef(axes).drop_front()) {
    Size mine = sizes.mul(axis.to, from), best = sizes.mul(to, axis.from);
    Size wins = policy == "not_larger" ? sizes.compare(CompareKind::Less, mine, best)
                                       : sizes.compare(CompareKind::Greater, mine, best);
    to = sizes.select(wins, axis.to, to);
    from = sizes.select(wins, axis.from, from);
  }
  for (ResizedAxis &axis : axes) {
    // Rounded to the nearest, halves up.
    Size doubled = sizes.add(sizes.mul(sizes.mul(axis.from, to), c.b.getIndexAttr(2)), from);
    axis.to = c.checkedSize(
        sizes.div(doubled, sizes.max(sizes.mul(from, c.b.getIndexAttr(2)), c.one()), /*floor=*/true));
    axis.scaleFrom = from;
    axis.scaleTo = to;
  }
  return axes;
}

//===----------------------------------------------------------------------===//
// The operators
//===----------------------------------------------------------------------===//

/// Moves channels to the end, so that the last dimension is not resized; adds one of size 1 if all are.
static Value resample(LegalizeContext &c, ArrayRef<ResizedAxis> axes, const ResizeOptions &options,
                      Value roi) {
  Value x = c.operand(0);
  int64_t rank = nn::getRank(x);
  Type element = nn::getElementType(x), real = element.isF64() ? element : Type(c.b.getF32Type());
  auto resizes = [&](int64_t dim) {
    return llvm::any_of(axes, [&](const ResizedAxis &a) { return a.dim == dim; });
  };
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
  for (const ResizedAxis &axis : axes) {
    int64_t dim = isSecond && axis.dim > 1 ? axis.dim - 1 : axis.dim;
    // The middle between two elements is one only where the ratio of two sizes is not rounded to f32.
    bool isRatio = !axis.scale && !axis.scaleData;
    Type own = isRatio && !interpolates ? c.b.getF64Type() : real;
    Value start, end;
    if (roi) {
      // All starts stand before all ends.
      auto at = [&](int64_t i) {
        return c.cast(c.reshape(c.slice(roi, 0, c.b.getIndexAttr(i), c.one()), {}), own);
      };
      start = at(axis.number);
      end = at(axis.number + int64_t(axes.size()));
    }
    ResizeTable table = buildResizeTable(c, options, axis, own, start, end);
    dims.push_back(dim);
    positions.push_back(table.positions);
    if (table.weights) {
      weights.push_back(table.weights);
    }
    if (table.outside) {
      Sizes shape(nn::getRank(x), c.one());
      shape[dim] = axis.to;
      Value isOutside = c.reshape(table.outside, shape);
      outside = outside ? c.binary(BinaryKind::Or, outside, isOutside) : isOutside;
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

static LogicalResult finish(LegalizeContext &c, SmallVector<ResizedAxis> axes, const ResizeOptions &options,
                            Value roi) {
  if (c.hasFailed()) {
    return failure();
  }
  if (!roi) {
    llvm::erase_if(axes, [&](const ResizedAxis &axis) {
      return axis.scale ? *axis.scale == 1.0f : !axis.scaleData && c.sizes.isSame(axis.from, axis.to);
    });
  }
  for (const ResizedAxis &axis : axes) {
    Size zero = c.b.getIndexAttr(0), isEmpty = c.sizes.compare(CompareKind::Equal, axis.to, zero);
    c.require(c.sizes.max(isEmpty, c.sizes.compare(CompareKind::Greater, axis.from, zero)),
              llvm::formatv("dimension {0} has no elements to resize", axis.dim).str());
  }
  if (axes.empty() && !c.hasFailed()) {
    return c.forward(0);
  }
  llvm::sort(axes, [](const ResizedAxis &lhs, const ResizedAxis &rhs) { return lhs.dim < rhs.dim; });
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
  SmallVector<int64_t> dims = llvm::to_vector(llvm::seq<int64_t>(0, c.rank(0)));
  std::optional<Scales> scales;
  if (c.has(1)) {
    scales = getScales(c, 1, dims.size());
  } else if (auto list = dyn_cast_or_null<ArrayAttr>(c.node.attributes.get("scales"))) {
    scales.emplace();
    for (Attribute scale : list) {
      auto number = dyn_cast<FloatAttr>(scale);
      scales->numbers.push_back(number ? float(number.getValueAsDouble()) : 0);
    }
  } else if (auto dense = dyn_cast_or_null<DenseF32ArrayAttr>(c.node.attributes.get("scales"))) {
    scales = Scales{llvm::to_vector(dense.asArrayRef()), {}};
  } else {
    (void)c.error("E0303", "scales is missing", "scales");
  }
  if (!kind || !scales || c.hasFailed()) {
    return failure();
  }
  ResizeOptions options;
  options.kind = *kind;
  options.coordinates = "asymmetric";
  options.nearest = c.node.opType == "Upsample" ? "floor" : "simple";
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
  ResizeOptions options;
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
  Size ends = c.b.getIndexAttr(int64_t(2 * dims.size()));
  if (isCrop && (c.rank(1) != 1 || nn::areDifferentSizes(c.shapeOf(1)[0], ends))) {
    return c.error("E0307", llvm::formatv("roi must have {0} elements", 2 * dims.size()).str());
  }
  // An empty tensor stands for scales that are left out, and so does one of any size beside sizes.
  std::optional<int64_t> given = c.has(2) ? getConstantIntValue(c.sizes.product(c.shapeOf(2))) : 0;
  bool hasScales = given ? *given != 0 : !c.has(3);
  SmallVector<ResizedAxis> axes;
  if (hasScales) {
    if (std::optional<Scales> scales = getScales(c, 2, dims.size())) {
      axes = applyScales(c, dims, *scales);
    }
  } else if (!c.has(3)) {
    return c.error("E0305", "neither scales nor sizes are there");
  } else if (std::optional<Scalars> sizes = c.listOrRead(3, dims.size())) {
    if (!given) {
      c.require(c.sizes.compare(CompareKind::Equal, c.sizes.product(c.shapeOf(2)), c.b.getIndexAttr(0)),
                "there are both scales and sizes");
    }
    axes = applySizes(c, dims, sizes->elements);
  } else {
    return c.unsupported(llvm::formatv("sizes is no list of integers, at most {0}", kMaxReads));
  }
  Value roi = isCrop ? c.reshape(c.operand(1), {ends}) : Value();
  return finish(c, std::move(axes), options, roi);
}

void lathe::onnx::registerResize(LegalizerRegistry &registry) {
  registry.add("Resize", 1, 4, legalizeResize);
  registry.add("Upsample", 1, 2, legalizeUpsample);
}
