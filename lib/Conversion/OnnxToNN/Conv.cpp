// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Convolution and global pools. ONNX has channels second, nn has them last: transposes stand around, which
/// PropagateTransposes removes.

#include "Legalizer.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;

/// A list of `count` integers, each at least `min`; `fallback` repeated if the attribute is not there.
static SmallVector<int64_t> getWindowAttr(LegalizeContext &c, StringRef name, size_t count, int64_t fallback,
                                          int64_t min) {
  SmallVector<int64_t> values = c.intsAttr(name).value_or(SmallVector<int64_t>(count, fallback));
  if (values.size() != count) {
    (void)c.error("E0304",
                  llvm::formatv("{0} has {1} elements, must have {2}", name, values.size(), count).str(),
                  name);
    return SmallVector<int64_t>(count, fallback);
  }
  for (auto [i, value] : llvm::enumerate(values)) {
    if (value < min || value > nn::kMaxDim) {
      (void)c.error("E0304",
                    llvm::formatv("{0}[{1}] is {2}, must be at least {3}", name, i, value, min).str(), name);
      value = fallback;
    }
  }
  return values;
}

/// The zeros before and after each spatial dimension.
static SmallVector<int64_t> getPads(LegalizeContext &c, ArrayRef<Size> spatial, ArrayRef<int64_t> window,
                                    ArrayRef<int64_t> strides, ArrayRef<int64_t> dilations) {
  size_t count = spatial.size();
  StringRef autoPad = c.stringAttr("auto_pad").value_or("NOTSET");
  if (autoPad == "NOTSET") {
    return getWindowAttr(c, "pads", 2 * count, 0, 0);
  }
  SmallVector<int64_t> pads(2 * count, 0);
  if (autoPad == "VALID") {
    return pads;
  }
  if (autoPad != "SAME_UPPER" && autoPad != "SAME_LOWER") {
    (void)c.error("E0304", "auto_pad is \"" + autoPad + "\"", "auto_pad");
    return pads;
  }
  for (size_t i = 0; i < count; ++i) {
    int64_t reach = (window[i] - 1) * dilations[i] + 1, total = reach - 1;
    if (strides[i] != 1) {
      std::optional<int64_t> size = getConstantIntValue(spatial[i]);
      if (!size) {
        (void)c.unsupported("auto_pad with strides over a dimension of unknown size");
        return pads;
      }
      int64_t steps = (*size + strides[i] - 1) / strides[i];
      total = (steps - 1) * strides[i] + reach - *size;
    }
    total = std::max<int64_t>(total, 0);
    // An odd one goes to the end (upper) or the start (lower).
    pads[i] = autoPad == "SAME_UPPER" ? total / 2 : total - total / 2;
    pads[count + i] = total - pads[i];
  }
  return pads;
}

static LogicalResult legalizeConv(LegalizeContext &c) {
  Value x = c.operand(0), filter = c.operand(1);
  Sizes dims = c.shapeOf(x), filterDims = c.shapeOf(filter);
  if (dims.size() < 3 || filterDims.size() != dims.size()) {
    return c.error(
        "E0307",
        llvm::formatv("input and filter have {0} and {1} dimensions, must both have the same, at least 3",
                      dims.size(), filterDims.size())
            .str());
  }
  size_t count = dims.size() - 2;
  std::optional<SmallVector<int64_t>> window = getConstantIntValues(ArrayRef<Size>(filterDims).drop_front(2));
  if (!window) {
    return c.dataDependent("the size of the window is computed");
  }
  SmallVector<int64_t> strides = getWindowAttr(c, "strides", count, 1, 1);
  SmallVector<int64_t> dilations = getWindowAttr(c, "dilations", count, 1, 1);
  int64_t groups = c.intAttr("group", 1);
  SmallVector<int64_t> kernelShape = c.intsAttr("kernel_shape").value_or(*window);
  if (!c.hasFailed() && kernelShape != *window) {
    return c.error("E0304",
                   llvm::formatv("kernel_shape is [{0}], but the filter's window is [{1}]",
                                 llvm::make_range(kernelShape.begin(), kernelShape.end()),
                                 llvm::make_range(window->begin(), window->end()))
                       .str(),
                   "kernel_shape");
  }
  if (groups < 1) {
    return c.error("E0304", llvm::formatv("group is {0}, must be at least 1", groups).str(), "group");
  }
  std::optional<int64_t> channels = getConstantIntValue(dims[1]), depth = getConstantIntValue(filterDims[1]),
                         maps = getConstantIntValue(filterDims[0]);
  if (channels && depth && *channels != *depth * groups) {
    return c.error("E0307",
                   llvm::formatv("the input has {0} channels, but the filter takes {1} in each of {2} groups",
                                 *channels, *depth, groups)
                       .str());
  }
  if (maps && *maps % groups != 0) {
    return c.error("E0304",
                   llvm::formatv("group is {0}, must divide the {1} feature maps", groups, *maps).str(),
                   "group");
  }
  SmallVector<int64_t> pads = getPads(c, ArrayRef<Size>(dims).drop_front(2), *window, strides, dilations);
  if (c.hasFailed()) {
    return failure();
  }
  // [N, C, spatial...] to [N, spatial..., C], [M, C/g, window...] to [window..., C/g, M], and the result
  // back.
  SmallVector<int64_t> toLast{0}, filterPerm, toSecond{0, int64_t(count) + 1};
  for (size_t i = 0; i < count; ++i) {
    toLast.push_back(i + 2);
    filterPerm.push_back(i + 2);
    toSecond.push_back(i + 1);
  }
  toLast.push_back(1);
  filterPerm.append({1, 0});
  Value result = nn::buildConv(c.b, c.loc, c.transpose(x, toLast), c.transpose(filter, filterPerm), strides,
                               pads, dilations, groups);
  if (c.has(2)) {
    result = c.add(result, c.operand(2));
  }
  return c.set(c.transpose(result, toSecond));
}

static LogicalResult legalizeGlobalPool(LegalizeContext &c, nn::ReduceKind kind) {
  int64_t rank = c.rank(0);
  if (rank < 3) {
    return c.error("E0307",
                   llvm::formatv("the operand has {0} dimensions, must have at least 3", rank).str());
  }
  return c.set(c.reduce(kind, c.operand(0), llvm::to_vector(llvm::seq<int64_t>(2, rank)), /*keepDims=*/true));
}

void lathe::onnx::registerConv(LegalizerRegistry &registry) {
  registry.add("Conv", 2, 3, legalizeConv);
  registry.add("GlobalMaxPool", 1, 1,
               [](LegalizeContext &c) { return legalizeGlobalPool(c, nn::ReduceKind::Max); });
  registry.add("GlobalAveragePool", 1, 1,
               [](LegalizeContext &c) { return legalizeGlobalPool(c, nn::ReduceKind::Mean); });
}
