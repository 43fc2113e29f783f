// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Convolution and its transpose. ONNX has channels second, nn has them last: transposes stand around, which
/// PropagateTransposes removes.

#include "Activations.h"
#include "Products.h"
#include "Quantize.h"
#include "Windows.h"

#include "lathe/Dialect/NN/IR/NNInteger.h"
#include "lathe/Dialect/NN/IR/NNSpatial.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;

static bool checkConvolution(LegalizeContext &c, ArrayRef<Size> dims, ArrayRef<Size> filterDims) {
  if (dims.size() < 3 || filterDims.size() != dims.size()) {
    (void)c.error(
        "E0307",
        llvm::formatv("input and filter have {0} and {1} dimensions, must both have the same, at least 3",
                      dims.size(), filterDims.size())
            .str());
    return false;
  }
  for (auto [i, dim] : llvm::enumerate(filterDims.drop_front(2))) {
    if (getConstantIntValue(dim) == 0) {
      (void)c.error("E0307",
                    llvm::formatv("dimension {0} of the filter is 0, a window has at least 1", i + 2).str());
      return false;
    }
  }
  return true;
}

/// Adds the bias, if there is one, to a result whose channels are last: one element for each of the `maps`.
static LogicalResult addBias(LegalizeContext &c, Value &result, std::optional<int64_t> maps) {
  if (!c.has(2)) {
    return success();
  }
  Sizes dims = c.shapeOf(c.operand(2));
  if (dims.size() != 1) {
    return c.error("E0307", llvm::formatv("the bias has {0} dimensions, must have 1", dims.size()).str());
  }
  std::optional<int64_t> size = getConstantIntValue(dims.front());
  if (size && maps && *size != *maps) {
    return c.error(
        "E0307",
        llvm::formatv("the bias has {0} elements, but there are {1} feature maps", *size, *maps).str());
  }
  result = c.add(result, c.operand(2));
  return success(!c.hasFailed());
}

/// `border` around the spatial dimensions of `x`, whose channels are last.
static Value padSpatial(LegalizeContext &c, Value x, Value border, const Windows &w) {
  auto between = [&](ArrayRef<Size> spatial) {
    Sizes all{c.b.getIndexAttr(0)};
    llvm::append_range(all, spatial);
    all.push_back(c.b.getIndexAttr(0));
    return all;
  };
  return buildPad(c, nn::PadKind::Constant, x, border, between(w.before), between(w.after));
}

Value lathe::onnx::convolve(LegalizeContext &c, Value x, Value filter, const ZeroPoints *zeros) {
  Sizes dims = c.shapeOf(x), filterDims = c.shapeOf(filter);
  if (!checkConvolution(c, dims, filterDims)) {
    return {};
  }
  size_t count = dims.size() - 2;
  Sizes window = takeWindow(c, filter);
  if (c.hasFailed()) {
    return {};
  }
  int64_t groups = c.intAttr("group", 1);
  if (groups < 1) {
    (void)c.error("E0304", llvm::formatv("group is {0}, must be at least 1", groups).str(), "group");
    return {};
  }
  std::optional<int64_t> channels = getConstantIntValue(dims[1]), depth = getConstantIntValue(filterDims[1]),
                         maps = getConstantIntValue(filterDims[0]);
  // Divided, as the product may overflow.
  if (channels && depth && (*channels % groups != 0 || *channels / groups != *depth)) {
    (void)c.error("E0307",
                  llvm::formatv("the input has {0} channels, but the filter takes {1} in each of {2} groups",
                                *channels, *depth, groups)
                      .str());
    return {};
  }
  if (maps && *maps % groups != 0) {
    (void)c.error("E0304",
                  llvm::formatv("group is {0}, must divide the {1} feature maps", groups, *maps).str(),
                  "group");
    return {};
  }
  Windows w = getWindows(c, ArrayRef<Size>(dims).drop_front(2), window);
  if (c.hasFailed()) {
    return {};
  }
  x = c.fixSize(toChannelsLast(c, x), count + 1, c.sizes.mul(filterDims[1], c.b.getIndexAttr(groups)),
                "the input must have as many channels as the filter takes");
  if (!getConstantIntValues(window)) {
    if (zeros) {
      x = subtractZero(c, x, zeros->lhs);
      Value filterZero = zeros->rhs;
      if (filterZero && nn::getRank(filterZero) > 0) {
        Sizes beside(filterDims.size(), c.one());
        beside.front() = filterDims.front();
        filterZero = c.reshape(filterZero, beside);
      }
      filter = subtractZero(c, filter, filterZero);
    }
    return convolveOpenWindows(c, padSpatial(c, x, c.scalar(0, x), w), filter, w, groups);
  }
  std::optional<SmallVector<int64_t>> before = getConstantIntValues(w.before),
                                      after = getConstantIntValues(w.after);
  if (!before || !after) {
    // The pads that keep a size that is not known yet are a tensor's, not the convolution's.
    x = padSpatial(c, x, zeros && zeros->lhs ? zeros->lhs : c.scalar(0, x), w);
    before = after = SmallVector<int64_t>(count, 0);
  }
  SmallVector<int64_t> pads(*before);
  llvm::append_range(pads, *after);
  // [M, C/g, window...] to [window..., C/g, M].
  SmallVector<int64_t> filterPerm = llvm::to_vector(llvm::seq<int64_t>(2, count + 2));
  filterPerm.append({1, 0});
  filter = c.transpose(filter, filterPerm);
  return zeros ? nn::buildIntegerConv(c.b, c.loc, x, filter, zeros->lhs, zeros->rhs, w.strides, pads,
                                      w.dilations, groups)
               : nn::buildConv(c.b, c.loc, x, filter, w.strides, pads, w.dilations, groups);
}

static LogicalResult legalizeConv(LegalizeContext &c) {
  Value result = convolve(c, c.operand(0), c.operand(1));
  if (!result || failed(addBias(c, result, getConstantIntValue(c.shapeOf(c.operand(1)).front())))) {
    return failure();
  }
  return c.set(toChannelsSecond(c, result));
}

/// The function that the attributes name, if any, of the result.
static Value activateResult(LegalizeContext &c, Value result) {
  StringRef name = c.stringAttr("activation").value_or("");
  std::optional<ArrayRef<float>> numbers = c.floatsAttr("activation_params");
  if (name.empty()) {
    return result;
  }
  auto number = [&](size_t i) {
    return numbers && i < numbers->size() ? std::optional<double>((*numbers)[i]) : std::nullopt;
  };
  return activate(c, name, result, {number(0), number(1), number(2)});
}

/// com.microsoft FusedConv, NhwcConv and NhwcFusedConv: a Conv with an addend and a function; `isLast`: what
/// it takes and gives has its channels last, the filter has not.
static LogicalResult legalizeFusedConv(LegalizeContext &c, bool isLast) {
  Value x = c.operand(0);
  if (nn::getRank(x) < 3) {
    return c.error(
        "E0307", llvm::formatv("the operand has {0} dimensions, must have at least 3", nn::getRank(x)).str());
  }
  Value result = convolve(c, isLast ? toChannelsSecond(c, x) : x, c.operand(1));
  if (!result || failed(addBias(c, result, getConstantIntValue(c.shapeOf(c.operand(1)).front())))) {
    return failure();
  }
  if (c.has(3)) {
    Value addend = c.operand(3);
    if (nn::getRank(addend) != nn::getRank(x)) {
      return c.error("E0307", llvm::formatv("the addend has {0} dimensions, must have the {1} of the result",
                                            nn::getRank(addend), nn::getRank(x))
                                  .str());
    }
    addend = isLast ? addend : toChannelsLast(c, addend);
    requireBroadcast(c, c.shapeOf(addend), c.shapeOf(result));
    result = c.add(result, addend);
  }
  result = activateResult(c, result);
  return c.set(isLast ? result : toChannelsSecond(c, result));
}

//===----------------------------------------------------------------------===//
// ConvTranspose
//===----------------------------------------------------------------------===//

/// Adds the pads of a transposed convolution, which are cut off its result, and the sizes of that.
static void addTransposedSizes(LegalizeContext &c, ArrayRef<Size> spatial, Windows &w) {
  size_t count = spatial.size();
  SizeArith &sizes = c.sizes;
  StringRef autoPad = getAutoPad(c);
  SmallVector<int64_t> pads = getWindowAttr(c, "pads", 2 * count, 0, 0);
  SmallVector<int64_t> extra = getWindowAttr(c, "output_padding", count, 0, 0);
  SmallVector<int64_t> wanted = c.intsAttr("output_shape").value_or(SmallVector<int64_t>());
  if (wanted.size() == count + 2) {
    wanted.erase(wanted.begin(), wanted.begin() + 2);
  }
  if (!wanted.empty() && wanted.size() != count) {
    (void)c.error("E0304",
                  llvm::formatv("output_shape has {0} elements, must have {1}", wanted.size(), count).str(),
                  "output_shape");
    return;
  }
  bool isSame = autoPad == "SAME_UPPER" || autoPad == "SAME_LOWER";
  for (size_t i = 0; i < count; ++i) {
    Size stride = c.b.getIndexAttr(w.strides[i]), zero = c.b.getIndexAttr(0);
    Size full = sizes.add(sizes.mul(sizes.sub(spatial[i], c.one()), stride),
                          sizes.add(c.b.getIndexAttr(extra[i]), getReach(c, w, i)));
    Size before = c.b.getIndexAttr(pads[i]), after = c.b.getIndexAttr(pads[count + i]), output;
    if (!wanted.empty() || isSame) {
      if (!wanted.empty() && (wanted[i] < 0 || wanted[i] > nn::kMaxDim)) {
        (void)c.error("E0304", llvm::formatv("output_shape[{0}] is {1}", i, wanted[i]).str(), "output_shape");
        return;
      }
      output = wanted.empty() ? sizes.mul(spatial[i], stride) : Size(c.b.getIndexAttr(wanted[i]));
      std::tie(before, after) =
          splitPads(c, sizes.max(sizes.sub(full, output), zero), autoPad == "SAME_UPPER");
    } else {
      before = autoPad == "VALID" ? zero : before;
      after = autoPad == "VALID" ? zero : after;
      output = sizes.max(sizes.sub(full, sizes.add(before, after)), zero);
    }
    w.before.push_back(before);
    w.outputs.push_back(output);
  }
}

/// A product makes the windows, which are then added up where they overlap.
static LogicalResult legalizeConvTranspose(LegalizeContext &c) {
  Value x = c.operand(0), filter = c.operand(1);
  Sizes dims = c.shapeOf(x), filterDims = c.shapeOf(filter);
  int64_t rank = dims.size(), count = rank - 2, groups = c.intAttr("group", 1);
  if (!checkConvolution(c, dims, filterDims)) {
    return failure();
  }
  Sizes window = takeWindow(c, filter);
  Windows w{
      window, getWindowAttr(c, "strides", count, 1, 1), getWindowAttr(c, "dilations", count, 1, 1), {}, {},
      {}};
  std::optional<int64_t> channels = getConstantIntValue(dims[1]), depth = getConstantIntValue(filterDims[0]);
  if (!c.hasFailed() && channels && depth && *channels != *depth) {
    return c.error(
        "E0307",
        llvm::formatv("the input has {0} channels, but the filter takes {1}", *channels, *depth).str());
  }
  if (groups < 1 || (depth && *depth % groups != 0)) {
    return c.error(
        "E0304", llvm::formatv("group is {0}, must divide the {1} channels", groups, depth.value_or(0)).str(),
        "group");
  }
  addTransposedSizes(c, ArrayRef<Size>(dims).drop_front(2), w);
  if (c.hasFailed()) {
    return failure();
  }
  // Filter [C, M/g, window...] to [g, C/g, window... * M/g], x to [g, positions, C/g].
  Size groupSize = c.b.getIndexAttr(groups), maps = filterDims[1];
  Size perGroup = c.sizes.div(filterDims[0], groupSize, /*floor=*/true);
  Size area = c.sizes.product(window);
  SmallVector<int64_t> filterPerm = llvm::to_vector(llvm::seq<int64_t>(1, rank));
  filterPerm.front() = 0;
  for (int64_t i = 1; i <= count; ++i) {
    filterPerm[i] = i + 1;
  }
  filterPerm.push_back(1);
  Value matrix = c.transpose(filter, filterPerm);
  Value rows = toChannelsLast(c, x);
  Size positions = c.sizes.mul(dims[0], c.sizes.product(ArrayRef<Size>(dims).drop_front(2)));
  Sizes windows{dims[0]};
  llvm::append_range(windows, ArrayRef<Size>(dims).drop_front(2));
  llvm::append_range(windows, window);
  windows.push_back(c.sizes.mul(maps, groupSize));
  Size columns = c.sizes.mul(area, maps);
  Value product;
  if (groups == 1) {
    product = nn::buildMatMul(c.b, c.loc, c.reshape(rows, {positions, perGroup}),
                              c.reshape(matrix, {perGroup, columns}));
  } else {
    rows = c.transpose(c.reshape(rows, {positions, groupSize, perGroup}), {1, 0, 2});
    product = nn::buildMatMul(c.b, c.loc, rows, c.reshape(matrix, {groupSize, perGroup, columns}));
    product = c.transpose(c.reshape(product, {groupSize, positions, area, maps}), {1, 2, 0, 3});
  }
  MixedSizes before(w.before), sizes(w.outputs);
  Value result = nn::createInferred<nn::SumWindowsOp>(
      c.b, c.loc, nn::getElementType(x), c.reshape(product, windows), w.strides, w.dilations, before.values,
      sizes.values, before.numbers, sizes.numbers);
  if (failed(addBias(c, result, getConstantIntValue(windows.back())))) {
    return failure();
  }
  return c.set(toChannelsSecond(c, result));
}

void lathe::onnx::registerConv(LegalizerRegistry &registry) {
  registry.add("Conv", 2, 3, legalizeConv);
  registry.add("ConvTranspose", 2, 3, legalizeConvTranspose);
  auto add = [&](StringRef name, unsigned maxInputs, bool isLast) {
    registry.add(
        name, 2, maxInputs, [isLast](LegalizeContext &c) { return legalizeFusedConv(c, isLast); },
        kMicrosoft);
  };
  add("FusedConv", 4, /*isLast=*/false);
  add("NhwcConv", 3, /*isLast=*/true);
  add("NhwcFusedConv", 4, /*isLast=*/true);
}
