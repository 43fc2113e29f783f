// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Elements in other places, and tensors that mark places.

#include "Windows.h"

#include "lathe/Dialect/NN/IR/NNScatter.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::BinaryKind;
using nn::CompareKind;

/// 0, 1, 2, ... as i64, in dimension `axis` of a tensor of `rank` dimensions.
static Value countAlong(LegalizeContext &c, Size size, int64_t axis, int64_t rank) {
  Type i64 = c.b.getI64Type();
  Sizes dims(rank, c.one());
  dims[axis] = size;
  Value range = nn::buildRange(c.b, c.loc, nn::buildScalar(c.b, c.loc, i64, 0),
                               nn::buildScalar(c.b, c.loc, i64, 1), size);
  return c.reshape(range, dims);
}

//===----------------------------------------------------------------------===//
// Depth and space
//===----------------------------------------------------------------------===//

/// Whether the channels of a block are counted before those of its elements; nothing after an error.
static std::optional<bool> readMode(LegalizeContext &c) {
  if (c.rank(0) != 4) {
    (void)c.error("E0307", llvm::formatv("the operand has {0} dimensions, must have 4", c.rank(0)).str());
    return std::nullopt;
  }
  int64_t block = c.intAttr("blocksize", 0);
  if (block < 1 || block > kMaxWindow) {
    (void)c.error("E0304", llvm::formatv("blocksize is {0}, must be from 1 to {1}", block, kMaxWindow).str(),
                  "blocksize");
    return std::nullopt;
  }
  StringRef mode = c.stringAttr("mode").value_or("DCR");
  if (mode != "DCR" && mode != "CRD") {
    (void)c.error("E0304", "mode is \"" + mode + "\", must be \"DCR\" or \"CRD\"", "mode");
    return std::nullopt;
  }
  return mode == "CRD";
}

/// `size` divided by `by`, which must divide it.
static Size divide(LegalizeContext &c, Size size, int64_t by, StringRef what) {
  Size divisor = c.b.getIndexAttr(by);
  c.require(
      c.sizes.compare(CompareKind::Equal, c.sizes.mod(size, divisor, /*floor=*/true), c.b.getIndexAttr(0)),
      llvm::formatv("{0} must be a multiple of {1}", what, by).str());
  return c.sizes.div(size, divisor, /*floor=*/true);
}

static LogicalResult legalizeDepthToSpace(LegalizeContext &c) {
  std::optional<bool> channelsFirst = readMode(c);
  if (!channelsFirst) {
    return failure();
  }
  int64_t number = c.intAttr("blocksize", 0);
  Sizes dims = c.shapeOf(0);
  Size block = c.b.getIndexAttr(number),
       depth = divide(c, dims[1], number * number, "the number of channels");
  if (c.hasFailed()) {
    return failure();
  }
  Sizes split = *channelsFirst ? Sizes{dims[0], depth, block, block, dims[2], dims[3]}
                               : Sizes{dims[0], block, block, depth, dims[2], dims[3]};
  SmallVector<int64_t> perm =
      *channelsFirst ? SmallVector<int64_t>{0, 1, 4, 2, 5, 3} : SmallVector<int64_t>{0, 3, 4, 1, 5, 2};
  Value blocks = c.transpose(c.reshape(c.operand(0), split), perm);
  return c.set(c.reshape(blocks, {dims[0], depth, c.sizes.mul(dims[2], block), c.sizes.mul(dims[3], block)}));
}

static LogicalResult legalizeSpaceToDepth(LegalizeContext &c) {
  std::optional<bool> channelsFirst = readMode(c);
  if (!channelsFirst) {
    return failure();
  }
  int64_t number = c.intAttr("blocksize", 0);
  Sizes dims = c.shapeOf(0);
  Size block = c.b.getIndexAttr(number), height = divide(c, dims[2], number, "the height"),
       width = divide(c, dims[3], number, "the width");
  if (c.hasFailed()) {
    return failure();
  }
  SmallVector<int64_t> perm =
      *channelsFirst ? SmallVector<int64_t>{0, 1, 3, 5, 2, 4} : SmallVector<int64_t>{0, 3, 5, 1, 2, 4};
  Value blocks = c.reshape(c.operand(0), {dims[0], dims[1], height, block, width, block});
  Size depth = c.sizes.mul(dims[1], c.b.getIndexAttr(number * number));
  return c.set(c.reshape(c.transpose(blocks, perm), {dims[0], depth, height, width}));
}

//===----------------------------------------------------------------------===//
// Centers and windows
//===----------------------------------------------------------------------===//

/// What is cut off or added is split in two halves, of which the one at the end has the odd element.
static LogicalResult legalizeCenterCropPad(LegalizeContext &c) {
  Sizes dims = c.shapeOf(0);
  int64_t rank = dims.size();
  SmallVector<int64_t> axes = c.intsAttr("axes").value_or(llvm::to_vector(llvm::seq<int64_t>(0, rank)));
  if (c.hasFailed() || !c.normalizeAxes(axes, rank)) {
    return failure();
  }
  std::optional<Scalars> shape = c.listOrRead(1, axes.size());
  if (!shape) {
    return c.dataDependent("the shape has an unknown number of elements");
  }
  if (shape->elements.size() != axes.size()) {
    return c.error("E0307", llvm::formatv("shape has {0} elements, but there are {1} axes",
                                          shape->elements.size(), axes.size())
                                .str());
  }
  SizeArith &sizes = c.sizes;
  Size zero = c.b.getIndexAttr(0), two = c.b.getIndexAttr(2);
  Value x = c.operand(0);
  Sizes before(rank, zero), after(rank, zero);
  for (auto [axis, element] : llvm::zip_equal(axes, shape->elements)) {
    Size wanted = c.checkedSize(element), kept = sizes.min(wanted, dims[axis]);
    if (!sizes.isSame(kept, dims[axis])) {
      x = c.slice(x, axis, sizes.div(sizes.sub(dims[axis], kept), two, /*floor=*/true), kept);
    }
    Size missing = sizes.sub(wanted, kept);
    std::tie(before[axis], after[axis]) = splitPads(c, missing, /*oddToEnd=*/true);
  }
  if (c.hasFailed()) {
    return failure();
  }
  bool isPadded = llvm::any_of(after, [](Size size) { return getConstantIntValue(size) != 0; });
  return c.set(isPadded ? buildPad(c, nn::PadKind::Constant, x, c.scalar(0, x), before, after) : x);
}

/// Col2Im: blocks in columns, added up where they overlap.
static LogicalResult legalizeCol2Im(LegalizeContext &c) {
  if (c.rank(0) != 3) {
    return c.error("E0307", llvm::formatv("the operand has {0} dimensions, must have 3", c.rank(0)).str());
  }
  int64_t declared = c.declaredRank(0).value_or(4) - 2;
  std::optional<Scalars> image = c.listOrRead(1, declared), block = c.listOrRead(2, declared);
  if (!image || !block) {
    return c.dataDependent("image_shape and block_shape have an unknown number of elements");
  }
  size_t count = image->elements.size();
  if (count < 1 || block->elements.size() != count) {
    return c.error("E0307", llvm::formatv("image_shape has {0} elements, block_shape has {1}", count,
                                          block->elements.size())
                                .str());
  }
  SmallVector<int64_t> strides = getWindowAttr(c, "strides", count, 1, 1),
                       dilations = getWindowAttr(c, "dilations", count, 1, 1),
                       pads = getWindowAttr(c, "pads", 2 * count, 0, 0);
  Sizes dims = c.shapeOf(0), windows, steps, before, outputs;
  SizeArith &sizes = c.sizes;
  for (size_t i = 0; i < count; ++i) {
    Size output = c.checkedSize(image->elements[i]), window = c.checkedSize(block->elements[i]);
    Size reach = sizes.mul(sizes.sub(window, c.one()), c.b.getIndexAttr(dilations[i]));
    Size room = sizes.sub(sizes.add(output, c.b.getIndexAttr(pads[i] + pads[count + i] - 1)), reach);
    c.require(sizes.compare(CompareKind::GreaterOrEqual, room, c.b.getIndexAttr(0)),
              "a block is larger than the image with its pads");
    steps.push_back(
        c.checkedSize(sizes.add(sizes.div(room, c.b.getIndexAttr(strides[i]), /*floor=*/true), c.one())));
    windows.push_back(window);
    outputs.push_back(output);
    before.push_back(c.b.getIndexAttr(pads[i]));
  }
  Size area = c.checkedProduct(windows);
  c.require(sizes.compare(CompareKind::GreaterOrEqual, area, c.one()), "a block has no elements");
  Size depth = sizes.div(dims[1], sizes.max(area, c.one()), /*floor=*/true);
  if (c.hasFailed()) {
    return failure();
  }
  // [N, C, window..., steps...] to [N, steps..., window..., C].
  Sizes split{dims[0], depth};
  llvm::append_range(split, windows);
  llvm::append_range(split, steps);
  SmallVector<int64_t> perm{0};
  llvm::append_range(perm, llvm::seq<int64_t>(2 + count, 2 + 2 * count));
  llvm::append_range(perm, llvm::seq<int64_t>(2, 2 + count));
  perm.push_back(1);
  Value x = c.transpose(c.reshape(c.operand(0), split), perm);
  MixedSizes low(before), size(outputs);
  Value sums = nn::createInferred<nn::SumWindowsOp>(c.b, c.loc, nn::getElementType(x), x, strides, dilations,
                                                    low.values, size.values, low.numbers, size.numbers);
  return c.set(toChannelsSecond(c, sums));
}

/// MaxUnpool: each element goes where its index, one into the whole result, says. A larger output_shape has
/// zeros after them.
static LogicalResult legalizeMaxUnpool(LegalizeContext &c) {
  if (!checkSpatial(c)) {
    return failure();
  }
  if (!c.hasAttr("kernel_shape")) {
    return c.error("E0303", "kernel_shape is missing", "kernel_shape");
  }
  Sizes dims = c.shapeOf(0), shape(dims);
  size_t count = dims.size() - 2;
  SmallVector<int64_t> window = getWindowAttr(c, "kernel_shape", count, 1, 1),
                       strides = getWindowAttr(c, "strides", count, 1, 1),
                       pads = getWindowAttr(c, "pads", 2 * count, 0, 0);
  SizeArith &sizes = c.sizes;
  for (size_t i = 0; i < count; ++i) {
    Size last = sizes.mul(sizes.sub(dims[2 + i], c.one()), c.b.getIndexAttr(strides[i]));
    shape[2 + i] = c.checkedSize(sizes.add(last, c.b.getIndexAttr(window[i] - pads[i] - pads[count + i])));
  }
  std::optional<Scalars> wanted = c.has(2) ? c.listOrRead(2, dims.size()) : std::nullopt;
  if (c.has(2) && (!wanted || wanted->elements.size() != dims.size())) {
    return c.error("E0307", llvm::formatv("output_shape must have {0} elements", dims.size()).str());
  }
  if (c.hasFailed()) {
    return failure();
  }
  Value x = c.operand(0);
  Size elements = sizes.product(dims);
  Value zeros = c.expand(c.scalar(0, x), {sizes.product(shape)});
  Value indices = c.reshape(c.operand(1), {elements});
  Value result =
      nn::createInferred<nn::ScatterElementsOp>(c.b, c.loc, nn::getElementType(x), nn::ScatterKind::None,
                                                zeros, indices, c.reshape(x, {elements}), /*axis=*/0);
  result = c.reshape(result, shape);
  if (!wanted) {
    return c.set(result);
  }
  Sizes before(dims.size(), c.b.getIndexAttr(0)), after;
  for (auto [size, given] : llvm::zip_equal(shape, wanted->elements)) {
    Size missing = sizes.sub(given, size);
    c.require(sizes.compare(CompareKind::GreaterOrEqual, missing, c.b.getIndexAttr(0)),
              "output_shape is smaller than what the windows cover");
    after.push_back(c.checkedSize(missing));
  }
  if (c.hasFailed()) {
    return failure();
  }
  return c.set(buildPad(c, nn::PadKind::Constant, result, c.scalar(0, x), before, after));
}

//===----------------------------------------------------------------------===//
// Marks
//===----------------------------------------------------------------------===//

static LogicalResult legalizeEyeLike(LegalizeContext &c) {
  Type type = c.typeAttr("dtype", c.elementType(0));
  if (!type) {
    return failure();
  }
  Sizes dims = c.shapeOf(0);
  if (dims.size() != 2) {
    return c.error("E0307", llvm::formatv("the operand has {0} dimensions, must have 2", dims.size()).str());
  }
  Value rows = countAlong(c, dims[0], 0, 2), columns = countAlong(c, dims[1], 1, 2);
  rows = c.add(rows, c.scalar(double(c.intAttr("k", 0)), rows));
  return c.set(c.cast(c.compare(CompareKind::Equal, rows, columns), type));
}

/// Hardmax: 1 at the first largest element. Before version 13 all dimensions from the axis on are one.
static LogicalResult legalizeHardmax(LegalizeContext &c) {
  bool flattens = c.node.version < 13;
  int64_t axis = c.intAttr("axis", flattens ? 1 : -1);
  Sizes dims = c.shapeOf(0), flat(dims);
  int64_t rank = dims.size();
  if (!c.normalizeAxis(axis, rank)) {
    return failure();
  }
  if (flattens) {
    flat.assign(dims.begin(), dims.begin() + axis);
    flat.push_back(c.sizes.product(ArrayRef<Size>(dims).drop_front(axis)));
  }
  Value x = c.reshape(c.operand(0), flat);
  Value largest = nn::buildArgReduce(c.b, c.loc, nn::ArgReduceKind::Max, x, axis, /*keepDims=*/true,
                                     /*selectLast=*/false);
  Value marks = c.compare(CompareKind::Equal, largest, countAlong(c, flat[axis], axis, flat.size()));
  return c.set(c.reshape(c.cast(marks, nn::getElementType(x)), dims));
}

void lathe::onnx::registerRearrange(LegalizerRegistry &registry) {
  registry.add("DepthToSpace", 1, 1, legalizeDepthToSpace);
  registry.add("SpaceToDepth", 1, 1, legalizeSpaceToDepth);
  registry.add("CenterCropPad", 2, 2, legalizeCenterCropPad);
  registry.add("Col2Im", 3, 3, legalizeCol2Im);
  registry.add("MaxUnpool", 2, 3, legalizeMaxUnpool);
  registry.add("EyeLike", 1, 1, legalizeEyeLike);
  registry.add("Hardmax", 1, 1, legalizeHardmax);
}
