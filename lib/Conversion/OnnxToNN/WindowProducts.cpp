// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Convolutions as products of windows that stand side by side.

#include "Products.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;

Sizes lathe::onnx::takeWindow(LegalizeContext &c, Value &filter) {
  Sizes dims = c.shapeOf(filter), window(ArrayRef<Size>(dims).drop_front(2));
  if (!c.hasAttr("kernel_shape")) {
    for (auto [i, size] : llvm::enumerate(window)) {
      if (!getConstantIntValue(size)) {
        c.require(c.sizes.compare(nn::CompareKind::GreaterOrEqual, size, c.one()),
                  llvm::formatv("dimension {0} of the filter is 0, a window has at least 1", i + 2).str());
      }
    }
    return window;
  }
  std::optional<SmallVector<int64_t>> given = c.intsAttr("kernel_shape"), own = getConstantIntValues(window);
  if (given && own && *given != *own) {
    (void)c.error("E0304",
                  llvm::formatv("kernel_shape is [{0}], but the filter's window is [{1}]",
                                llvm::make_range(given->begin(), given->end()),
                                llvm::make_range(own->begin(), own->end()))
                      .str(),
                  "kernel_shape");
    return window;
  }
  for (auto [size, wanted] : llvm::zip_equal(window, getWindowAttr(c, "kernel_shape", window.size(), 1, 1))) {
    c.require(c.sizes.compare(nn::CompareKind::Equal, size, c.b.getIndexAttr(wanted)),
              "the filter has another window than kernel_shape");
    size = c.b.getIndexAttr(wanted);
  }
  Sizes shape(ArrayRef<Size>(dims).take_front(2));
  llvm::append_range(shape, window);
  filter = c.reshape(filter, shape);
  return window;
}

Value lathe::onnx::multiplyWindows(LegalizeContext &c, Value windows, Value filter, int64_t groups) {
  Sizes dims = c.shapeOf(windows), filterDims = c.shapeOf(filter);
  ArrayRef<Size> leading = ArrayRef<Size>(dims).drop_back(2);
  Size rows = c.sizes.product(leading), area = dims[dims.size() - 2], depth = filterDims[1];
  Size groupSize = c.b.getIndexAttr(groups), maps = c.sizes.div(filterDims[0], groupSize, /*floor=*/true);
  Size length = c.sizes.mul(area, depth);
  Value lhs = c.transpose(c.reshape(windows, {rows, area, groupSize, depth}), {2, 0, 1, 3});
  Value rhs = c.transpose(c.reshape(filter, {groupSize, maps, depth, area}), {0, 3, 2, 1});
  Value product = nn::buildMatMul(c.b, c.loc, c.reshape(lhs, {groupSize, rows, length}),
                                  c.reshape(rhs, {groupSize, length, maps}));
  Sizes result(leading);
  result.push_back(filterDims[0]);
  return c.reshape(c.transpose(product, {1, 0, 2}), result);
}

Value lathe::onnx::convolveOpenWindows(LegalizeContext &c, Value x, Value filter, const Windows &w,
                                       int64_t groups) {
  int64_t count = w.window.size();
  auto range = [&](Size size, int64_t step) {
    Type i64 = c.b.getI64Type();
    return nn::buildRange(c.b, c.loc, nn::buildScalar(c.b, c.loc, i64, 0),
                          nn::buildScalar(c.b, c.loc, i64, double(step)), size);
  };
  Sizes dims = c.shapeOf(x), split{dims.front()};
  for (int64_t i = 0; i < count; ++i) {
    // Along each dimension all elements of the first window, then all of the second.
    Size output = c.checkedSize(w.outputs[i]), window = w.window[i];
    Value positions =
        c.add(c.reshape(range(output, w.strides[i]), {output, c.one()}), range(window, w.dilations[i]));
    positions = c.reshape(positions, {c.sizes.mul(output, window)});
    x = nn::buildGather(c.b, c.loc, x, positions, i + 1);
    split.append({output, window});
  }
  split.push_back(dims.back());
  // [N, steps and windows in turns, C] to [N, steps..., windows in one, C].
  SmallVector<int64_t> perm{0};
  Sizes result{dims.front()};
  for (int64_t first : {1, 2}) {
    for (int64_t i = 0; i < count; ++i) {
      perm.push_back(first + 2 * i);
    }
  }
  for (int64_t i = 0; i < count; ++i) {
    result.push_back(split[1 + 2 * i]);
  }
  perm.push_back(2 * count + 1);
  result.append({c.sizes.product(w.window), dims.back()});
  x = c.reshape(c.transpose(c.reshape(x, split), perm), result);
  return multiplyWindows(c, x, filter, groups);
}
