// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Operators that read images at computed positions: grids, deformed windows, regions.

#include "Products.h"

#include "lathe/Dialect/NN/IR/NNSampling.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::BorderKind;
using nn::SampleKind;

static LogicalResult legalizeGridSample(LegalizeContext &c) {
  if (!checkSpatial(c)) {
    return failure();
  }
  StringRef mode = c.stringAttr("mode").value_or("linear");
  std::optional<SampleKind> kind = nn::symbolizeSampleKind(mode == "bilinear"  ? "linear"
                                                           : mode == "bicubic" ? "cubic"
                                                                               : mode);
  if (!kind) {
    return c.error("E0304", "mode is \"" + mode + "\"", "mode");
  }
  StringRef padding = c.stringAttr("padding_mode").value_or("zeros");
  std::optional<BorderKind> border = nn::symbolizeBorderKind(padding == "border" ? "clamp" : padding);
  if (!border) {
    return c.error("E0304", "padding_mode is \"" + padding + "\"", "padding_mode");
  }
  Value x = c.operand(0), grid = c.operand(1);
  Type element = nn::getElementType(x);
  bool isWhole = *kind != SampleKind::Nearest && !isa<FloatType>(element);
  Value last = toChannelsLast(c, isWhole ? c.cast(x, c.b.getF32Type()) : x);
  Value result = nn::createInferred<nn::GridSampleOp>(c.b, c.loc, nn::getElementType(last), *kind, last, grid,
                                                      *border, c.intAttr("align_corners", 0) != 0);
  return c.set(c.cast(toChannelsSecond(c, result), element));
}

static LogicalResult legalizeDeformConv(LegalizeContext &c) {
  Value x = c.operand(0), filter = c.operand(1), offsets = c.operand(2);
  Sizes dims = c.shapeOf(x), filterDims = c.shapeOf(filter);
  if (dims.size() != 4 || filterDims.size() != 4 || c.rank(2) != 4 || (c.has(4) && c.rank(4) != 4)) {
    return c.unsupported("a deformable convolution over other than two spatial dimensions");
  }
  std::optional<SmallVector<int64_t>> window = getConstantIntValues(takeWindow(c, filter));
  if (!window) {
    return c.dataDependent(
        "without kernel_shape, the size of the window is that of a filter of unknown size");
  }
  SmallVector<int64_t> strides = getWindowAttr(c, "strides", 2, 1, 1),
                       dilations = getWindowAttr(c, "dilations", 2, 1, 1),
                       pads = getWindowAttr(c, "pads", 4, 0, 0);
  int64_t groups = c.intAttr("group", 1), offsetGroups = c.intAttr("offset_group", 1);
  std::optional<int64_t> channels = getConstantIntValue(dims[1]), maps = getConstantIntValue(filterDims[0]),
                         depth = getConstantIntValue(filterDims[1]);
  if (c.hasFailed()) {
    return failure();
  }
  if (groups < 1 || (maps && *maps % groups != 0) || (channels && depth && *channels != *depth * groups)) {
    return c.error("E0304",
                   llvm::formatv("group is {0}, which does not fit {1} channels and a filter of {2} by {3}",
                                 groups, channels.value_or(0), maps.value_or(0), depth.value_or(0))
                       .str(),
                   "group");
  }
  if (offsetGroups < 1 || (channels && *channels % offsetGroups != 0)) {
    return c.error(
        "E0304",
        llvm::formatv("offset_group is {0}, must divide the {1} channels", offsetGroups, channels.value_or(0))
            .str(),
        "offset_group");
  }
  Value last = toChannelsLast(c, x), mask = c.has(4) ? toChannelsLast(c, c.operand(4)) : Value();
  Value windows = nn::createInferred<nn::DeformWindowsOp>(
      c.b, c.loc, nn::getElementType(x), last, toChannelsLast(c, offsets), mask, *window, strides, dilations,
      ArrayRef<int64_t>(pads).take_front(2), offsetGroups);
  Value result = multiplyWindows(c, windows, filter, groups);
  if (c.has(3)) {
    result = c.add(result, c.operand(3));
  }
  return c.set(toChannelsSecond(c, result));
}

/// A size of bins.
static int64_t getBins(LegalizeContext &c, StringRef name, std::optional<int64_t> bins) {
  if (bins && *bins >= 1 && *bins <= kMaxWindow) {
    return *bins;
  }
  (void)c.error("E0304",
                llvm::formatv("{0} is {1}, must be from 1 to {2}", name, bins.value_or(0), kMaxWindow), name);
  return 1;
}

static bool checkImages(LegalizeContext &c) {
  if (c.rank(0) == 4 && c.rank(1) == 2) {
    return true;
  }
  (void)c.error("E0307", llvm::formatv("the operands have {0} and {1} dimensions, must have 4 and 2",
                                       c.rank(0), c.rank(1))
                             .str());
  return false;
}

static LogicalResult legalizeRoiAlign(LegalizeContext &c) {
  StringRef mode = c.stringAttr("mode").value_or("avg");
  StringRef transformation = c.stringAttr("coordinate_transformation_mode")
                                 .value_or(c.node.version < 16 ? "output_half_pixel" : "half_pixel");
  if (!mode.equals_insensitive("avg") && !mode.equals_insensitive("max")) {
    return c.error("E0304", "mode is \"" + mode + "\"", "mode");
  }
  if (transformation != "half_pixel" && transformation != "output_half_pixel") {
    return c.error("E0304", "coordinate_transformation_mode is \"" + transformation + "\"",
                   "coordinate_transformation_mode");
  }
  int64_t height = getBins(c, "output_height", c.intAttr("output_height", 1));
  int64_t width = getBins(c, "output_width", c.intAttr("output_width", 1));
  int64_t samples = c.intAttr("sampling_ratio", 0);
  if (samples < 0 || samples > kMaxWindow) {
    return c.error("E0304", llvm::formatv("sampling_ratio is {0}", samples).str(), "sampling_ratio");
  }
  if (!checkImages(c) || c.hasFailed()) {
    return failure();
  }
  Value x = c.operand(0);
  Value regions = c.cast(c.operand(1), nn::getElementType(x));
  return c.set(toChannelsSecond(
      c, nn::createInferred<nn::RoiAlignOp>(c.b, c.loc, nn::getElementType(x), toChannelsLast(c, x), regions,
                                            c.operand(2), height, width, samples,
                                            APFloat(float(c.floatAttr("spatial_scale", 1))),
                                            transformation == "half_pixel", mode.equals_insensitive("max"))));
}

static LogicalResult legalizeMaxRoiPool(LegalizeContext &c) {
  std::optional<SmallVector<int64_t>> bins = c.intsAttr("pooled_shape");
  if (!bins || bins->size() != 2) {
    return c.error("E0303", "pooled_shape must have 2 elements", "pooled_shape");
  }
  int64_t height = getBins(c, "pooled_shape", (*bins)[0]), width = getBins(c, "pooled_shape", (*bins)[1]);
  if (!checkImages(c) || c.hasFailed()) {
    return failure();
  }
  Value x = c.operand(0);
  return c.set(toChannelsSecond(c, nn::createInferred<nn::RoiPoolOp>(
                                       c.b, c.loc, nn::getElementType(x), toChannelsLast(c, x), c.operand(1),
                                       height, width, APFloat(float(c.floatAttr("spatial_scale", 1))))));
}

/// The centers (or with `align`, from border to border) of `size` cells between -1 and 1.
static Value buildCenters(LegalizeContext &c, Size size, bool align, Type type) {
  Type i64 = c.b.getI64Type();
  Value zero = nn::buildScalar(c.b, c.loc, i64, 0), step = nn::buildScalar(c.b, c.loc, i64, 2);
  Size cells = align ? c.sizes.max(c.sizes.sub(size, c.one()), c.one()) : size;
  Value count = c.cast(nn::buildFromScalars(c.b, c.loc, {cells}, i64, /*scalar=*/true), type);
  Value numbers = c.cast(nn::buildRange(c.b, c.loc, zero, step, size), type);
  numbers = align ? numbers : c.add(numbers, c.scalar(1, numbers));
  Value scaled = c.binary(nn::BinaryKind::Div, numbers, count);
  return c.binary(nn::BinaryKind::Sub, scaled, c.scalar(1, scaled));
}

/// AffineGrid: every position of an image or a volume, the last dimension first, times an affine matrix.
static LogicalResult legalizeAffineGrid(LegalizeContext &c) {
  std::optional<Scalars> size = c.listOrRead(1, c.declaredRank(0).value_or(4));
  if (!size) {
    return c.dataDependent("size has an unknown number of elements");
  }
  int64_t count = int64_t(size->elements.size()) - 2;
  if ((count != 2 && count != 3) || c.rank(0) != 3) {
    return c.error("E0307",
                   llvm::formatv("theta has {0} dimensions and size {1} elements, must have 3, and 4 or 5",
                                 c.rank(0), size->elements.size())
                       .str());
  }
  Value theta = c.operand(0);
  Type type = nn::getElementType(theta);
  Sizes spatial;
  for (Size element : ArrayRef<Size>(size->elements).drop_front(2)) {
    spatial.push_back(c.checkedSize(element));
  }
  Sizes cells(spatial);
  cells.push_back(c.one());
  SmallVector<Value> columns;
  for (int64_t dim = count; dim-- > 0;) {
    Sizes beside(count + 1, c.one());
    beside[dim] = spatial[dim];
    Value centers = buildCenters(c, spatial[dim], c.intAttr("align_corners", 0) != 0, type);
    columns.push_back(c.expand(c.reshape(centers, beside), cells));
  }
  columns.push_back(c.expand(nn::buildScalar(c.b, c.loc, type, 1), cells));
  Size positions = c.checkedProduct(spatial), batch = c.checkedSize(size->elements[0]);
  Value grid =
      c.reshape(nn::buildConcat(c.b, c.loc, columns, count), {positions, c.b.getIndexAttr(count + 1)});
  theta = c.reshape(theta, {batch, c.b.getIndexAttr(count), c.b.getIndexAttr(count + 1)});
  Sizes dims{batch};
  llvm::append_range(dims, spatial);
  dims.push_back(c.b.getIndexAttr(count));
  return c.set(c.reshape(nn::buildMatMul(c.b, c.loc, grid, c.transpose(theta, {0, 2, 1})), dims));
}

void lathe::onnx::registerSampling(LegalizerRegistry &registry) {
  registry.add("GridSample", 2, 2, legalizeGridSample);
  registry.add("GridSample", 2, 2, legalizeGridSample, kMicrosoft);
  registry.add("AffineGrid", 2, 2, legalizeAffineGrid);
  registry.add("DeformConv", 3, 5, legalizeDeformConv);
  registry.add("RoiAlign", 3, 3, legalizeRoiAlign);
  registry.add("MaxRoiPool", 2, 2, legalizeMaxRoiPool);
}
