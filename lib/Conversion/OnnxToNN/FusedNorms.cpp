// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// com.microsoft normalizations that add something first, and embeddings that are normalized. Sums of narrow
/// types are not rounded before they are normalized.

#include "Norms.h"
#include "Windows.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::ReduceKind;
using nn::UnaryKind;

/// The type in which operands of `type` are added and normalized.
static Type computedType(LegalizeContext &c, Type type) { return type.isF64() ? type : c.b.getF32Type(); }

//===----------------------------------------------------------------------===//
// SkipLayerNormalization, SkipSimplifiedLayerNormalization
//===----------------------------------------------------------------------===//

/// The mean and one over the deviation of rows of `sum`, where they are results. `simplified`: of a norm
/// whose mean is 0.
static void setStatistics(LegalizeContext &c, Value sum, bool simplified, double epsilon) {
  if (!c.isUsed(1) && !c.isUsed(2)) {
    return;
  }
  SmallVector<int64_t> axes{nn::getRank(sum) - 1};
  Type f32 = c.b.getF32Type();
  Value mean = c.reduce(ReduceKind::Mean, sum, axes, /*keepDims=*/true);
  Value centered = simplified ? sum : c.binary(nn::BinaryKind::Sub, sum, mean);
  Value variance = c.reduce(ReduceKind::Mean, c.mul(centered, centered), axes, /*keepDims=*/true);
  (void)c.set(1, c.cast(mean, f32));
  (void)c.set(2, c.cast(c.unary(UnaryKind::Rsqrt, c.add(variance, c.scalar(epsilon, sum))), f32));
}

/// A norm of the sum of two streams and a bias, and that sum.
static LogicalResult legalizeSkipNorm(LegalizeContext &c, bool simplified) {
  Sizes dims = c.shapeOf(0);
  if (dims.size() != 2 && dims.size() != 3) {
    return c.error("E0307",
                   llvm::formatv("the operand has {0} dimensions, must have 2 or 3", dims.size()).str());
  }
  if (c.shapeOf(1).size() > dims.size()) {
    return c.error("E0307",
                   llvm::formatv("the skip has {0} dimensions, must have at most the {1} of the operand",
                                 c.shapeOf(1).size(), dims.size())
                       .str());
  }
  unsigned bias = simplified ? 3 : 4;
  for (unsigned i = 2; i <= bias; ++i) {
    StringRef what = i == bias ? "the bias" : i == 2 ? "gamma" : "beta";
    if (c.has(i) && failed(requireVector(c, i, dims.back(), what))) {
      return failure();
    }
  }
  // The skip may be one for all batches.
  requireBroadcast(c, c.shapeOf(1), dims);
  if (c.hasFailed()) {
    return failure();
  }
  Type type = c.elementType(0), wide = computedType(c, type);
  Value sum = c.add(c.cast(c.operand(0), wide), c.cast(c.operand(1), wide));
  if (c.has(bias)) {
    sum = c.add(sum, c.cast(c.operand(bias), wide));
  }
  (void)c.set(3, c.cast(sum, type));
  double epsilon = c.floatAttr("epsilon", 1e-12);
  setStatistics(c, sum, simplified, epsilon);
  Value gamma = c.cast(c.operand(2), wide);
  Value beta = !simplified && c.has(3) ? c.cast(c.operand(3), wide) : Value();
  Value result = simplified ? nn::buildRMSNorm(c.b, c.loc, sum, gamma, dims.size() - 1, epsilon)
                            : nn::buildLayerNorm(c.b, c.loc, sum, gamma, beta, dims.size() - 1, epsilon);
  return c.set(c.cast(result, type));
}

//===----------------------------------------------------------------------===//
// EmbedLayerNormalization
//===----------------------------------------------------------------------===//

/// The embeddings of words, positions and segments, and what is said of the mask: how many words there are.
static LogicalResult legalizeEmbedNorm(LegalizeContext &c) {
  for (unsigned i : {0u, 1u, 2u, 3u, 4u, 7u, 8u}) {
    if (c.has(i) && c.rank(i) != 2) {
      return c.error("E0307", llvm::formatv("input {0} has {1} dimensions, must have 2", i, c.rank(i)).str());
    }
  }
  for (unsigned i : {2u, 3u, 5u, 6u}) {
    if (!c.has(i)) {
      return c.error("E0305", llvm::formatv("input {0} is absent", i).str());
    }
  }
  if (c.has(1) != c.has(4)) {
    return c.error("E0305", "one of segment_ids and segment_embedding is absent");
  }
  Sizes dims = c.shapeOf(0);
  Size width = c.shapeOf(2)[1];
  if (failed(requireVector(c, 5, width, "gamma")) || failed(requireVector(c, 6, width, "beta"))) {
    return failure();
  }
  Type type = c.elementType(2), wide = computedType(c, type);
  auto look = [&](unsigned table, Value positions) {
    return c.cast(nn::buildGather(c.b, c.loc, c.operand(table), positions, /*axis=*/0), wide);
  };
  Value positions;
  if (c.has(8)) {
    positions = look(3, c.operand(8));
  } else {
    c.require(c.sizes.compare(nn::CompareKind::LessOrEqual, dims[1], c.shapeOf(3)[0]),
              "there are fewer positions than words");
    if (c.hasFailed()) {
      return failure();
    }
    positions = c.cast(c.slice(c.operand(3), 0, c.b.getIndexAttr(0), dims[1]), wide);
  }
  Value sum = c.add(look(2, c.operand(0)), positions);
  if (c.has(1)) {
    sum = c.add(sum, look(4, c.operand(1)));
  }
  Sizes wanted{dims[0], dims[1], width};
  for (auto [size, other] : llvm::zip_equal(c.shapeOf(sum), wanted)) {
    if (!c.sizes.isSame(size, other)) {
      c.require(c.sizes.compare(nn::CompareKind::Equal, size, other), "the embeddings do not fit the words");
    }
  }
  if (c.isUsed(1)) {
    Value count = c.expand(nn::buildScalar(c.b, c.loc, c.b.getI32Type(), 0), {dims[0]});
    if (c.has(7)) {
      Value mask = c.operand(7);
      Value isOne = c.compare(nn::CompareKind::Equal, mask, c.scalar(1, mask));
      count = c.reduce(ReduceKind::Sum, c.cast(isOne, c.b.getI32Type()), {1}, /*keepDims=*/false);
    }
    (void)c.set(1, count);
  }
  (void)c.set(2, c.cast(sum, type));
  Value result = nn::buildLayerNorm(c.b, c.loc, sum, c.cast(c.operand(5), wide), c.cast(c.operand(6), wide),
                                    2, c.floatAttr("epsilon", 1e-12));
  return c.set(c.cast(result, type));
}

//===----------------------------------------------------------------------===//
// GroupNorm, SkipGroupNorm
//===----------------------------------------------------------------------===//

/// `x`, whose channels are last, normalized in groups, then scaled, moved and activated.
static Value groupNorm(LegalizeContext &c, Value x, int64_t groups, double epsilon, bool activates) {
  Sizes dims = c.shapeOf(x);
  Size perGroup = c.sizes.div(dims.back(), c.b.getIndexAttr(groups), /*floor=*/false);
  Size area = c.sizes.product(ArrayRef<Size>(dims).drop_front().drop_back());
  Value split = c.reshape(x, {dims[0], area, c.b.getIndexAttr(groups), perGroup});
  Value result = c.reshape(normalize(c, split, {1, 3}, epsilon), dims);
  Type wide = nn::getElementType(x);
  result = c.add(c.mul(result, c.cast(c.operand(1), wide)), c.cast(c.operand(2), wide));
  return activates ? c.unary(UnaryKind::Silu, result) : result;
}

/// GroupNorm, and SkipGroupNorm of the sum with a skip and a bias.
static LogicalResult legalizeGroupNorm(LegalizeContext &c, bool skips) {
  Sizes dims = c.shapeOf(0);
  if (dims.size() < 3) {
    return c.error("E0307",
                   llvm::formatv("the operand has {0} dimensions, must have at least 3", dims.size()).str());
  }
  int64_t groups = c.intAttr("groups", 0), activation = c.intAttr("activation", 0);
  bool isLast = c.intAttr("channels_last", 1) != 0;
  Size channels = isLast ? dims.back() : dims[1];
  std::optional<int64_t> known = getConstantIntValue(channels);
  if (groups < 1 || (known && *known % groups != 0)) {
    return c.error(
        "E0304",
        llvm::formatv("groups is {0}, must divide the {1} channels", groups, known.value_or(0)).str(),
        "groups");
  }
  if (activation != 0 && activation != 1) {
    return c.error("E0304", llvm::formatv("activation is {0}, must be 0 or 1", activation).str(),
                   "activation");
  }
  if (failed(requireVector(c, 1, channels, "gamma")) || failed(requireVector(c, 2, channels, "beta")) ||
      (c.has(4) && failed(requireVector(c, 4, channels, "the bias")))) {
    return failure();
  }
  Type type = c.elementType(0), wide = computedType(c, type);
  auto arrange = [&](Value x) { return isLast ? x : toChannelsLast(c, x); };
  auto restore = [&](Value x) { return c.cast(isLast ? x : toChannelsSecond(c, x), type); };
  Value x = c.cast(arrange(c.operand(0)), wide);
  if (skips) {
    Value skip = c.operand(3);
    Sizes own = c.shapeOf(skip), lastDims = c.shapeOf(x);
    if (own.size() == 2) {
      // One for all pixels.
      Sizes pixel(dims.size(), c.one());
      pixel.front() = own[0];
      pixel.back() = own[1];
      skip = c.reshape(skip, pixel);
    } else if (own.size() == dims.size()) {
      skip = arrange(skip);
    } else {
      return c.error(
          "E0307",
          llvm::formatv("the skip has {0} dimensions, must have 2 or {1}", own.size(), dims.size()).str());
    }
    requireBroadcast(c, c.shapeOf(skip), lastDims);
    x = c.add(x, c.cast(skip, wide));
    if (c.has(4)) {
      x = c.add(x, c.cast(c.operand(4), wide));
    }
    (void)c.set(1, restore(x));
  }
  return c.set(restore(groupNorm(c, x, groups, c.floatAttr("epsilon", 1e-5), activation == 1)));
}

void lathe::onnx::registerFusedNorms(LegalizerRegistry &registry) {
  registry.add(
      "SkipLayerNormalization", 3, 5,
      [](LegalizeContext &c) { return legalizeSkipNorm(c, /*simplified=*/false); }, kMicrosoft);
  registry.add(
      "SkipSimplifiedLayerNormalization", 3, 4,
      [](LegalizeContext &c) { return legalizeSkipNorm(c, /*simplified=*/true); }, kMicrosoft);
  registry.add("EmbedLayerNormalization", 1, 9, legalizeEmbedNorm, kMicrosoft);
  registry.add(
      "GroupNorm", 3, 3, [](LegalizeContext &c) { return legalizeGroupNorm(c, /*skips=*/false); },
      kMicrosoft);
  registry.add(
      "SkipGroupNorm", 4, 5, [](LegalizeContext &c) { return legalizeGroupNorm(c, /*skips=*/true); },
      kMicrosoft);
}
