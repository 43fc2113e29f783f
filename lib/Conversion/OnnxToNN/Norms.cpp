// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Normalizations.

#include "Norms.h"
#include "Numbers.h"
#include "Windows.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"

#include <algorithm>
#include <cmath>

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::BinaryKind;
using nn::ReduceKind;
using nn::UnaryKind;

static Value sub(LegalizeContext &c, Value lhs, Value rhs) { return c.binary(BinaryKind::Sub, lhs, rhs); }

/// 1 / sqrt(x + epsilon)
static Value rsqrt(LegalizeContext &c, Value x, double epsilon) {
  return c.unary(UnaryKind::Rsqrt, c.add(x, c.scalar(epsilon, x)));
}

static SmallVector<int64_t> axesFrom(int64_t first, int64_t rank) {
  return llvm::to_vector(llvm::seq<int64_t>(first, rank));
}

/// LayerNormalization over dimensions `axis` to the last, with its optional results mean and 1 / deviation.
static LogicalResult layerNorm(LegalizeContext &c, Value x, Value scale, Value bias, int64_t axis) {
  if (!c.normalizeAxis(axis, nn::getRank(x))) {
    return failure();
  }
  // A scale of 1 broadcasts; any other tells what is normalized.
  Sizes scaled = c.shapeOf(scale);
  for (int64_t dim = nn::getRank(x) - 1, i = scaled.size() - 1; i >= 0 && dim >= axis; --dim, --i) {
    if (getConstantIntValue(scaled[i]) != 1) {
      x = c.fixSize(x, dim, scaled[i], "the scale must be as large as what is normalized");
    }
  }
  double epsilon = c.floatAttr("epsilon", 1e-5);
  if (c.isUsed(1) || c.isUsed(2)) {
    SmallVector<int64_t> axes = axesFrom(axis, nn::getRank(x));
    Value wide = c.cast(x, c.b.getF32Type());
    Value mean = c.reduce(ReduceKind::Mean, wide, axes, /*keepDims=*/true);
    Value centered = sub(c, wide, mean);
    Value variance = c.reduce(ReduceKind::Mean, c.mul(centered, centered), axes, /*keepDims=*/true);
    (void)c.set(1, mean);
    (void)c.set(2, rsqrt(c, variance, epsilon));
  }
  return c.set(nn::buildLayerNorm(c.b, c.loc, x, c.cast(scale, nn::getElementType(x)),
                                  bias ? c.cast(bias, nn::getElementType(x)) : Value(), axis, epsilon));
}

static LogicalResult legalizeLayerNorm(LegalizeContext &c) {
  return layerNorm(c, c.operand(0), c.operand(1), c.operandOrNull(2), c.intAttr("axis", -1));
}

/// RMSNormalization; SimplifiedLayerNormalization gives the reciprocal root, too.
static LogicalResult legalizeRMSNorm(LegalizeContext &c) {
  Value x = c.operand(0), scale = c.operand(1);
  int64_t axis = c.intAttr("axis", -1);
  if (!c.normalizeAxis(axis, nn::getRank(x))) {
    return failure();
  }
  Type type = nn::getElementType(x);
  double epsilon = c.floatAttr("epsilon", 1e-5);
  if (c.isUsed(1)) {
    Value wide = c.cast(x, type.isF64() ? type : Type(c.b.getF32Type()));
    Value mean = c.reduce(ReduceKind::Mean, c.mul(wide, wide), axesFrom(axis, nn::getRank(x)), true);
    (void)c.set(1, c.cast(rsqrt(c, mean, epsilon), c.b.getF32Type()));
  }
  if (type == nn::getElementType(scale)) {
    return c.set(nn::buildRMSNorm(c.b, c.loc, x, scale, axis, epsilon));
  }
  // The result has the type of the scale.
  Value normalized = nn::buildRMSNorm(c.b, c.loc, x, c.scalar(1, x), axis, epsilon);
  return c.set(c.mul(c.cast(normalized, nn::getElementType(scale)), scale));
}

/// A vector over the channels as [C, 1, 1, ...], to stand beside dimension 1 of `x`.
static Value besideChannels(LegalizeContext &c, Value vector, Value x) {
  Sizes dims(nn::getRank(x) - 1, c.one());
  dims[0] = c.shapeOf(vector)[0];
  return c.reshape(vector, dims);
}

static bool checkChannelVectors(LegalizeContext &c, unsigned first, unsigned last, int64_t minRank) {
  if (c.rank(0) < minRank) {
    (void)c.error(
        "E0307",
        llvm::formatv("the operand has {0} dimensions, must have at least {1}", c.rank(0), minRank).str());
    return false;
  }
  for (unsigned i = first; i <= last; ++i) {
    if (c.rank(i) != 1) {
      (void)c.error("E0307", llvm::formatv("input {0} has {1} dimensions, must have 1", i, c.rank(i)).str());
      return false;
    }
  }
  return true;
}

/// The vectors a and b of BatchNormalization, if all of its parameters are known. They are computed here,
/// because a vector of more than a few channels is a weight, which folding does not look into.
static bool foldBatchNorm(LegalizeContext &c, Type type, double epsilon, Value &factor, Value &offset) {
  SmallVector<double> parameters[4];
  for (unsigned i = 0; i < 4; ++i) {
    std::optional<SmallVector<double>> numbers = readNumbers(c.operand(1 + i));
    if (!numbers || numbers->size() != (i ? parameters[0].size() : numbers->size())) {
      return false;
    }
    parameters[i] = std::move(*numbers);
  }
  auto &[scale, bias, mean, variance] = parameters;
  SmallVector<double> factors, offsets;
  for (auto [s, b, m, v] : llvm::zip_equal(scale, bias, mean, variance)) {
    factors.push_back(s / std::sqrt(v + epsilon));
    offsets.push_back(b - m * factors.back());
  }
  factor = buildNumbers(c, factors, type);
  offset = buildNumbers(c, offsets, type);
  return true;
}

/// BatchNormalization in training: by the mean and the variance of the batch, with which those that the
/// operands hold are brought up to date.
static LogicalResult trainBatchNorm(LegalizeContext &c) {
  Value x = c.operand(0);
  Type type = nn::getElementType(x), wide = type.isF64() ? type : Type(c.b.getF32Type());
  SmallVector<int64_t> axes{0};
  llvm::append_range(axes, llvm::seq<int64_t>(2, nn::getRank(x)));
  double epsilon = c.floatAttr("epsilon", 1e-5), momentum = c.floatAttr("momentum", 0.9);
  x = c.cast(x, wide);
  Value mean = c.reduce(ReduceKind::Mean, x, axes, /*keepDims=*/false);
  Value centered = sub(c, x, besideChannels(c, mean, x));
  Value variance = c.reduce(ReduceKind::Mean, c.mul(centered, centered), axes, /*keepDims=*/false);
  Value factor = c.mul(c.cast(c.operand(1), wide), rsqrt(c, variance, epsilon));
  Value result =
      c.add(c.mul(centered, besideChannels(c, factor, x)), besideChannels(c, c.cast(c.operand(2), wide), x));
  for (auto [i, current] : {std::pair(1u, mean), std::pair(2u, variance)}) {
    Value old = c.cast(c.operand(2 + i), wide);
    Value next = c.add(c.mul(old, c.scalar(momentum, old)), c.mul(current, c.scalar(1 - momentum, current)));
    (void)c.set(i, c.cast(next, c.elementType(2 + i)));
    if (c.node.version < 14) {
      (void)c.set(2 + i, c.cast(current, c.elementType(2 + i))); // as the batch has them
    }
  }
  return c.set(c.cast(result, type));
}

/// BatchNormalization in inference is `x * a + b` with constant a and b for each channel.
static LogicalResult legalizeBatchNorm(LegalizeContext &c) {
  // Before version 14, a node is one of a training step if it has the results that only training gives.
  bool hasStatistics = llvm::any_of(llvm::seq(1u, 5u), [&](unsigned i) { return c.isUsed(i); });
  bool isTraining = c.node.version < 14 ? hasStatistics && c.intAttr("is_test", 0) == 0
                                        : c.intAttr("training_mode", 0) != 0;
  if (!isTraining && hasStatistics) {
    StringRef mode = c.node.version < 14 ? "is_test" : "training_mode";
    return c.error("E0303",
                   "results other than the first are used, which only training has: " + mode + " is " +
                       std::to_string(c.intAttr(mode, 0)),
                   mode);
  }
  if (!checkChannelVectors(c, 1, 4, 2)) {
    return failure();
  }
  Value x = c.operand(0);
  Type type = nn::getElementType(x);
  auto vector = [&](unsigned i) { return c.cast(c.operand(i), type); };
  double epsilon = c.floatAttr("epsilon", 1e-5);
  Value factor, offset;
  if (!isa<FloatType>(type)) {
    return c.error("E0306",
                   llvm::formatv("the operand has elements of type {0}, must have floats", type).str());
  }
  if (isTraining) {
    return trainBatchNorm(c);
  }
  if (!foldBatchNorm(c, type, epsilon, factor, offset)) {
    factor = c.mul(vector(1), rsqrt(c, vector(4), epsilon));
    offset = sub(c, vector(2), c.mul(vector(3), factor));
  }
  return c.set(c.add(c.mul(x, besideChannels(c, factor, x)), besideChannels(c, offset, x)));
}

Value lathe::onnx::normalize(LegalizeContext &c, Value x, ArrayRef<int64_t> axes, double epsilon) {
  Value centered = sub(c, x, c.reduce(ReduceKind::Mean, x, axes, /*keepDims=*/true));
  Value variance = c.reduce(ReduceKind::Mean, c.mul(centered, centered), axes, /*keepDims=*/true);
  return c.mul(centered, rsqrt(c, variance, epsilon));
}

static LogicalResult legalizeInstanceNorm(LegalizeContext &c) {
  if (!checkChannelVectors(c, 1, 2, 3)) {
    return failure();
  }
  Value x = c.operand(0);
  Value normalized = normalize(c, x, axesFrom(2, nn::getRank(x)), c.floatAttr("epsilon", 1e-5));
  return c.set(
      c.add(c.mul(normalized, besideChannels(c, c.operand(1), x)), besideChannels(c, c.operand(2), x)));
}

/// GroupNormalization: scale and bias are per group in version 18, per channel from 21 on.
static LogicalResult legalizeGroupNorm(LegalizeContext &c) {
  if (!checkChannelVectors(c, 1, 2, 3)) {
    return failure();
  }
  Value x = c.operand(0);
  Sizes dims = c.shapeOf(x);
  int64_t groups = c.intAttr("num_groups", 0);
  std::optional<int64_t> channels = getConstantIntValue(dims[1]);
  if (groups < 1 || (channels && *channels % groups != 0)) {
    return c.error(
        "E0304",
        llvm::formatv("num_groups is {0}, must divide the {1} channels", groups, channels.value_or(0)).str(),
        "num_groups");
  }
  Size perGroup = c.sizes.div(dims[1], c.b.getIndexAttr(groups), /*floor=*/false);
  Sizes grouped{dims[0], c.b.getIndexAttr(groups), perGroup};
  llvm::append_range(grouped, ArrayRef<Size>(dims).drop_front(2));
  Value split = c.reshape(x, grouped);
  Value normalized = normalize(c, split, axesFrom(2, grouped.size()), c.floatAttr("epsilon", 1e-5));
  bool isPerGroup = c.node.version < 21;
  if (!isPerGroup) {
    normalized = c.reshape(normalized, dims);
  }
  Value result = c.add(c.mul(normalized, besideChannels(c, c.operand(1), normalized)),
                       besideChannels(c, c.operand(2), normalized));
  return c.set(c.reshape(result, dims));
}

static LogicalResult legalizeLpNorm(LegalizeContext &c) {
  int64_t axis = c.intAttr("axis", -1), p = c.intAttr("p", 2);
  if (!c.normalizeAxis(axis, c.rank(0))) {
    return failure();
  }
  if (p != 1 && p != 2) {
    return c.error("E0304", llvm::formatv("p is {0}, must be 1 or 2", p).str(), "p");
  }
  Value x = c.operand(0);
  Value norm = p == 1
                   ? c.reduce(ReduceKind::Sum, c.unary(UnaryKind::Abs, x), {axis}, /*keepDims=*/true)
                   : c.unary(UnaryKind::Sqrt, c.reduce(ReduceKind::SumSquare, x, {axis}, /*keepDims=*/true));
  // A vector of zeros stays one.
  Value isZero = c.compare(nn::CompareKind::Equal, norm, c.scalar(0, norm));
  return c.set(c.binary(BinaryKind::Div, x, c.select(isZero, c.scalar(1, norm), norm)));
}

/// MeanVarianceNormalization: by the standard deviation and a little more, so that a constant gives 0.
static LogicalResult legalizeMeanVarianceNorm(LegalizeContext &c) {
  SmallVector<int64_t> axes = c.intsAttr("axes").value_or(SmallVector<int64_t>{0, 2, 3});
  if (c.hasFailed() || !c.normalizeAxes(axes, c.rank(0))) {
    return failure();
  }
  Value x = c.operand(0);
  Value centered = sub(c, x, c.reduce(ReduceKind::Mean, x, axes, /*keepDims=*/true));
  Value variance = c.reduce(ReduceKind::Mean, c.mul(centered, centered), axes, /*keepDims=*/true);
  Value deviation = c.add(c.unary(UnaryKind::Sqrt, variance), c.scalar(1e-9, x));
  return c.set(c.binary(BinaryKind::Div, centered, deviation));
}

/// Windows of channels up to this size are written out as sums.
static constexpr int64_t kWrittenOut = 16;

/// The mean square of `size` neighbours along the last dimension, those beyond its ends counting as 0.
static Value meanSquareOfNeighbours(LegalizeContext &c, Value x, ArrayRef<Size> dims, int64_t size) {
  int64_t before = (size - 1) / 2, after = size - 1 - before;
  if (size > kWrittenOut) {
    // A pool for which the channels are the space.
    Value rows =
        c.reshape(c.mul(x, x), {c.sizes.product(ArrayRef<Size>(dims).drop_back()), dims.back(), c.one()});
    MixedSizes sizes{ArrayRef<Size>(dims.back())};
    Value means = nn::createInferred<nn::PoolOp>(
        c.b, c.loc, nn::getElementType(x), nn::PoolKind::Mean, rows, ArrayRef<int64_t>{size},
        ArrayRef<int64_t>{1}, ArrayRef<int64_t>{1}, ValueRange(), ValueRange(), sizes.values,
        ArrayRef<int64_t>{before}, ArrayRef<int64_t>{after}, sizes.numbers, /*count_pads=*/true);
    return c.reshape(means, dims);
  }
  Sizes low(dims.size(), c.b.getIndexAttr(0)), high(low);
  low.back() = c.b.getIndexAttr(before);
  high.back() = c.b.getIndexAttr(after);
  Value padded = size == 1 ? x : buildPad(c, nn::PadKind::Constant, x, c.scalar(0, x), low, high);
  Value sum;
  for (int64_t i = 0; i < size; ++i) {
    Value shifted = c.slice(padded, int64_t(dims.size()) - 1, c.b.getIndexAttr(i), dims.back());
    Value square = c.mul(shifted, shifted);
    sum = sum ? c.add(sum, square) : square;
  }
  return c.mul(sum, c.scalar(1.0 / double(size), x));
}

/// The power of what is not negative; roots for the usual exponents, which take a tenth of the time.
static Value powerOfPositive(LegalizeContext &c, Value base, double exponent) {
  if (exponent == 1) {
    return base;
  }
  if (exponent == 0.5 || exponent == 0.75) {
    Value root = c.unary(UnaryKind::Sqrt, base);
    return exponent == 0.5 ? root : c.mul(root, c.unary(UnaryKind::Sqrt, root));
  }
  return c.binary(BinaryKind::Pow, base, c.scalar(exponent, base));
}

/// LRN: divided by a power of the mean square of the channels around, those beyond the first and the last
/// counting as 0.
static LogicalResult legalizeLocalResponseNorm(LegalizeContext &c) {
  Sizes dims = c.shapeOf(0);
  int64_t size = c.intAttr("size", 0);
  if (size < 1 || size > kMaxWindow) {
    return c.error("E0304", llvm::formatv("size is {0}, must be from 1 to {1}", size, kMaxWindow).str(),
                   "size");
  }
  if (dims.size() < 2) {
    return c.error("E0307",
                   llvm::formatv("the operand has {0} dimensions, must have at least 2", dims.size()).str());
  }
  // Channels last, as convolutions have them.
  Value x = toChannelsLast(c, c.operand(0));
  std::rotate(dims.begin() + 1, dims.begin() + 2, dims.end());
  double alpha = c.floatAttr("alpha", 1e-4), bias = c.floatAttr("bias", 1), beta = c.floatAttr("beta", 0.75);
  Value means = meanSquareOfNeighbours(c, x, dims, size);
  Value base = c.add(c.mul(means, c.scalar(alpha, x)), c.scalar(bias, x));
  bool isPositive = alpha >= 0 && bias > 0;
  Value power =
      isPositive ? powerOfPositive(c, base, beta) : c.binary(BinaryKind::Pow, base, c.scalar(beta, x));
  return c.set(toChannelsSecond(c, c.binary(BinaryKind::Div, x, power)));
}

void lathe::onnx::registerNorms(LegalizerRegistry &registry) {
  registry.add("LayerNormalization", 2, 3, legalizeLayerNorm);
  registry.add("RMSNormalization", 2, 2, legalizeRMSNorm);
  registry.add("BatchNormalization", 5, 5, legalizeBatchNorm);
  registry.add("InstanceNormalization", 3, 3, legalizeInstanceNorm);
  registry.add("GroupNormalization", 3, 3, legalizeGroupNorm);
  registry.add("LpNormalization", 1, 1, legalizeLpNorm);
  registry.add("MeanVarianceNormalization", 1, 1, legalizeMeanVarianceNorm);
  registry.add("LRN", 1, 1, legalizeLocalResponseNorm);
  // Exporters write this one with the default domain, too.
  registry.add("SimplifiedLayerNormalization", 2, 2, legalizeRMSNorm);
  registry.add("SimplifiedLayerNormalization", 2, 2, legalizeRMSNorm, kMicrosoft);
}
