// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Pools, over windows and over everything.

#include "Quantize.h"
#include "Windows.h"

#include "lathe/Dialect/NN/IR/NNSpatial.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::BinaryKind;
using nn::PoolKind;
using nn::ReduceKind;
using nn::UnaryKind;

/// The windows of a pool over operand 0; its `kernel_shape` must be there.
static std::optional<Windows> getPoolWindows(LegalizeContext &c) {
  if (!checkSpatial(c)) {
    return std::nullopt;
  }
  if (!c.hasAttr("kernel_shape")) {
    (void)c.error("E0303", "kernel_shape is missing", "kernel_shape");
    return std::nullopt;
  }
  Sizes dims = c.shapeOf(0);
  SmallVector<int64_t> window = getWindowAttr(c, "kernel_shape", dims.size() - 2, 1, 1);
  Windows windows =
      getWindows(c, ArrayRef<Size>(dims).drop_front(2), getAsIndexOpFoldResult(c.b.getContext(), window));
  return c.hasFailed() ? std::nullopt : std::optional(windows);
}

/// A pool of `x`, which has its channels last already.
static Value buildPool(LegalizeContext &c, PoolKind kind, Value x, const Windows &w, bool countPads = false) {
  MixedSizes before(w.before), after(w.after), sizes(w.outputs);
  Type element = kind == PoolKind::ArgMax ? c.b.getI64Type() : nn::getElementType(x);
  return nn::createInferred<nn::PoolOp>(c.b, c.loc, element, kind, x, *getConstantIntValues(w.window),
                                        w.strides, w.dilations, before.values, after.values, sizes.values,
                                        before.numbers, after.numbers, sizes.numbers, countPads);
}

/// A size as an i64 tensor of rank 0.
static Value asTensor(LegalizeContext &c, Size size) {
  return nn::buildFromScalars(c.b, c.loc, {size}, c.b.getI64Type(), /*scalar=*/true);
}

/// From positions in the spatial dimensions (channels second) to those in the whole of operand 0.
static Value toFlatIndices(LegalizeContext &c, Value positions, bool columnMajor) {
  Sizes dims = c.shapeOf(0);
  auto spatial = ArrayRef<Size>(dims).drop_front(2);
  auto binary = [&](BinaryKind kind, Value lhs, Size rhs) { return c.binary(kind, lhs, asTensor(c, rhs)); };
  if (columnMajor) {
    // The first dimension is the one that runs fastest.
    Value rest = positions, result;
    for (size_t d = spatial.size(); d-- > 0;) {
      Value digit = d ? binary(BinaryKind::Mod, rest, spatial[d]) : rest;
      Value term = binary(BinaryKind::Mul, digit, c.sizes.product(spatial.take_front(d)));
      result = result ? c.add(result, term) : term;
      rest = d ? binary(BinaryKind::Div, rest, spatial[d]) : rest;
    }
    positions = result;
  }
  Type i64 = c.b.getI64Type();
  Value planes = nn::buildRange(c.b, c.loc, nn::buildScalar(c.b, c.loc, i64, 0),
                                asTensor(c, c.sizes.product(spatial)), c.sizes.mul(dims[0], dims[1]));
  Sizes shape(dims.size(), c.one());
  shape[0] = dims[0];
  shape[1] = dims[1];
  return c.add(positions, c.reshape(planes, shape));
}

static LogicalResult legalizeMaxPool(LegalizeContext &c) {
  std::optional<Windows> windows = getPoolWindows(c);
  if (!windows) {
    return failure();
  }
  Value x = toChannelsLast(c, c.operand(0));
  if (c.isUsed(1)) {
    Value positions = toChannelsSecond(c, buildPool(c, PoolKind::ArgMax, x, *windows));
    (void)c.set(1, toFlatIndices(c, positions, c.intAttr("storage_order", 0) == 1));
  }
  return c.set(toChannelsSecond(c, buildPool(c, PoolKind::Max, x, *windows)));
}

static LogicalResult legalizeAveragePool(LegalizeContext &c) {
  std::optional<Windows> windows = getPoolWindows(c);
  if (!windows) {
    return failure();
  }
  bool countPads = c.intAttr("count_include_pad", 0) != 0;
  Value x = toChannelsLast(c, c.operand(0));
  return c.set(toChannelsSecond(c, buildPool(c, PoolKind::Mean, x, *windows, countPads)));
}

/// com.microsoft QLinearAveragePool and QLinearGlobalAveragePool, by floats: what stands for them is
/// averaged.
static LogicalResult legalizeQuantizedPool(LegalizeContext &c, bool isGlobal) {
  bool isLast = c.intAttr("channels_last", 0) != 0;
  Quantization from = getQuantization(c, c.operand(0), 1, 2, 0),
               to = getQuantization(c, c.operand(0), 3, 4, 0);
  if (c.hasFailed() || (isGlobal && !checkSpatial(c))) {
    return failure();
  }
  if (isLast && !isGlobal) {
    return c.unsupported("channels_last");
  }
  Value x = dequantize(c, c.operand(0), from, c.b.getF32Type());
  if (isGlobal) {
    int64_t first = isLast ? 1 : 2;
    auto axes = llvm::to_vector(llvm::seq<int64_t>(first, first + nn::getRank(x) - 2));
    return c.set(quantize(c, c.reduce(ReduceKind::Mean, x, axes, /*keepDims=*/true), to, c.elementType(0)));
  }
  std::optional<Windows> windows = getPoolWindows(c);
  if (!windows) {
    return failure();
  }
  bool countPads = c.intAttr("count_include_pad", 0) != 0;
  Value means = buildPool(c, PoolKind::Mean, toChannelsLast(c, x), *windows, countPads);
  return c.set(toChannelsSecond(c, quantize(c, means, to, c.elementType(0))));
}

/// `(sum |x|^p)^(1/p)`, where `sum` adds up what it is given.
static Value buildNorm(LegalizeContext &c, Value x, double p, llvm::function_ref<Value(Value)> sum) {
  if (p == 1) {
    return sum(c.unary(UnaryKind::Abs, x));
  }
  if (p == 2) {
    return c.unary(UnaryKind::Sqrt, sum(c.mul(x, x)));
  }
  Value powers = c.binary(BinaryKind::Pow, c.unary(UnaryKind::Abs, x), c.scalar(p, x));
  return c.binary(BinaryKind::Pow, sum(powers), c.scalar(1 / p, x));
}

/// The order of a norm: a float in version 1, an integer later.
static double getOrder(LegalizeContext &c) {
  double p = c.node.version < 2 ? c.floatAttr("p", 2) : double(c.intAttr("p", 2));
  if (!(p > 0)) {
    (void)c.error("E0304", llvm::formatv("p is {0}, must be positive", p).str(), "p");
    return 2;
  }
  return p;
}

static LogicalResult legalizeLpPool(LegalizeContext &c) {
  std::optional<Windows> windows = getPoolWindows(c);
  double p = getOrder(c);
  if (!windows || c.hasFailed()) {
    return failure();
  }
  Value result = buildNorm(c, toChannelsLast(c, c.operand(0)), p,
                           [&](Value x) { return buildPool(c, PoolKind::Sum, x, *windows); });
  return c.set(toChannelsSecond(c, result));
}

/// Over all spatial dimensions.
static Value reduceSpatial(LegalizeContext &c, ReduceKind kind, Value x) {
  return c.reduce(kind, x, llvm::to_vector(llvm::seq<int64_t>(2, nn::getRank(x))), /*keepDims=*/true);
}

static LogicalResult legalizeGlobalPool(LegalizeContext &c, ReduceKind kind) {
  return checkSpatial(c) ? c.set(reduceSpatial(c, kind, c.operand(0))) : failure();
}

static LogicalResult legalizeGlobalLpPool(LegalizeContext &c) {
  double p = getOrder(c);
  if (!checkSpatial(c) || c.hasFailed()) {
    return failure();
  }
  return c.set(buildNorm(c, c.operand(0), p, [&](Value x) { return reduceSpatial(c, ReduceKind::Sum, x); }));
}

void lathe::onnx::registerPooling(LegalizerRegistry &registry) {
  registry.add(
      "QLinearAveragePool", 4, 5,
      [](LegalizeContext &c) { return legalizeQuantizedPool(c, /*isGlobal=*/false); }, kMicrosoft);
  registry.add(
      "QLinearGlobalAveragePool", 4, 5,
      [](LegalizeContext &c) { return legalizeQuantizedPool(c, /*isGlobal=*/true); }, kMicrosoft);
  registry.add("MaxPool", 1, 1, legalizeMaxPool);
  registry.add("AveragePool", 1, 1, legalizeAveragePool);
  registry.add("LpPool", 1, 1, legalizeLpPool);
  registry.add("GlobalMaxPool", 1, 1,
               [](LegalizeContext &c) { return legalizeGlobalPool(c, ReduceKind::Max); });
  registry.add("GlobalAveragePool", 1, 1,
               [](LegalizeContext &c) { return legalizeGlobalPool(c, ReduceKind::Mean); });
  registry.add("GlobalLpPool", 1, 1, legalizeGlobalLpPool);
}
