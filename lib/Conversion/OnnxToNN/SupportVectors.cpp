// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Support vector machines of ai.onnx.ml.

#include "Learned.h"

#include "lathe/Dialect/NN/IR/NNLearned.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::BinaryKind;
using nn::CompareKind;
using nn::UnaryKind;

/// The number of features that vectors in `numbers` have; reports if there are not `count` of them.
static std::optional<int64_t> getDepth(LegalizeContext &c, Value x, StringRef name, ArrayRef<float> numbers,
                                       int64_t count) {
  std::optional<int64_t> features = getConstantIntValue(c.shapeOf(x)[1]);
  int64_t size = numbers.size();
  if (count < 1 || size == 0 || size % count != 0 || (features && *features * count != size)) {
    (void)c.error("E0304",
                  llvm::formatv("{0} has {1} numbers, must have one for each of {2} vectors and {3} features",
                                name, size, count, features ? std::to_string(*features) : "the")
                      .str(),
                  name);
    return std::nullopt;
  }
  return size / count;
}

static SmallVector<float> transpose(ArrayRef<float> matrix, int64_t rows, int64_t columns) {
  SmallVector<float> result;
  for (int64_t column = 0; column < columns; ++column) {
    for (int64_t row = 0; row < rows; ++row) {
      result.push_back(matrix[row * columns + column]);
    }
  }
  return result;
}

/// The kernel function of every row of `x` and every one of `count` vectors: [rows, count].
static Value buildKernels(LegalizeContext &c, Value x, StringRef name, int64_t count) {
  ArrayRef<float> vectors = c.floatsAttr(name).value_or(ArrayRef<float>());
  ArrayRef<float> parameters = c.floatsAttr("kernel_params").value_or(ArrayRef<float>());
  StringRef kind = c.stringAttr("kernel_type").value_or("LINEAR");
  std::optional<int64_t> depth = getDepth(c, x, name, vectors, count);
  if (!depth) {
    return x;
  }
  if (!parameters.empty() && parameters.size() != 3) {
    (void)c.error("E0304",
                  llvm::formatv("kernel_params has {0} numbers, must have 3: gamma, coef0 and degree",
                                parameters.size())
                      .str(),
                  "kernel_params");
    return x;
  }
  double gamma = parameters.empty() ? 0 : parameters[0], offset = parameters.empty() ? 0 : parameters[1];
  double degree = parameters.empty() ? 0 : parameters[2];
  Type element = c.b.getF32Type();
  if (kind == "RBF") {
    // The square of the difference, not the difference of squares: that would lose digits.
    Value rows = c.reshape(x, {c.shapeOf(x)[0], c.one(), c.b.getIndexAttr(*depth)});
    Value difference = c.binary(BinaryKind::Sub, rows, buildTable(c, vectors, {count, *depth}, element));
    Value distance = c.reduce(nn::ReduceKind::SumSquare, difference, {2}, /*keepDims=*/false);
    return c.unary(UnaryKind::Exp, c.mul(distance, c.scalar(-gamma, x)));
  }
  Value product = nn::buildMatMul(c.b, c.loc, x,
                                  buildTable(c, transpose(vectors, count, *depth), {*depth, count}, element));
  if (kind == "LINEAR") {
    return product;
  }
  Value scaled = c.add(c.mul(product, c.scalar(gamma, x)), c.scalar(offset, x));
  if (kind == "SIGMOID") {
    return c.unary(UnaryKind::Tanh, scaled);
  }
  if (kind == "POLY") {
    return c.binary(BinaryKind::Pow, scaled, c.scalar(degree, x));
  }
  (void)c.error("E0304", "kernel_type is \"" + kind + "\", must be LINEAR, POLY, RBF or SIGMOID",
                "kernel_type");
  return x;
}

static LogicalResult legalizeRegressor(LegalizeContext &c) {
  std::optional<ScoreTransform> transform = getScoreTransform(c);
  ArrayRef<float> rho = c.floatsAttr("rho").value_or(ArrayRef<float>());
  ArrayRef<float> coefficients = c.floatsAttr("coefficients").value_or(ArrayRef<float>());
  int64_t count = c.intAttr("n_supports", 0);
  if (!transform) {
    return failure();
  }
  if (rho.empty()) {
    return c.error("E0303", "rho is missing", "rho");
  }
  Value x = getFeatureRows(c), scores;
  if (count > 0) {
    if (int64_t(coefficients.size()) != count) {
      return c.error(
          "E0304",
          llvm::formatv("there are {0} coefficients for {1} support vectors", coefficients.size(), count)
              .str(),
          "coefficients");
    }
    scores = nn::buildMatMul(c.b, c.loc, buildKernels(c, x, "support_vectors", count),
                             buildTable(c, coefficients, {count, 1}, c.b.getF32Type()));
  } else {
    scores = buildKernels(c, x, "coefficients", 1);
  }
  scores = c.add(scores, c.scalar(rho[0], scores));
  if (c.intAttr("one_class", 0) != 0) {
    Value isInside = c.compare(CompareKind::Greater, scores, c.scalar(0, scores));
    return c.set(c.expand(c.select(isInside, c.scalar(1, scores), c.scalar(-1, scores)), c.shapeOf(scores)));
  }
  return c.set(transformScores(c, *transform, scores));
}

namespace {
/// How a machine for many classes decides between every two of them: scores are kernels times `weights`
/// [vectors, pairs]; a positive one is a vote for `firsts`, others for `seconds`.
struct Pairs {
  SmallVector<float> weights;
  SmallVector<int64_t> firsts, seconds;
};
} // namespace

static Pairs makePairs(ArrayRef<float> coefficients, ArrayRef<int64_t> counts) {
  int64_t classes = counts.size(), vectors = 0;
  SmallVector<int64_t> starts;
  for (int64_t count : counts) {
    starts.push_back(vectors);
    vectors += count;
  }
  int64_t pairs = classes * (classes - 1) / 2;
  Pairs result;
  result.weights.assign(vectors * pairs, 0);
  for (int64_t i = 0; i < classes; ++i) {
    for (int64_t j = i + 1; j < classes; ++j) {
      int64_t pair = result.firsts.size();
      // The coefficients of a class against itself are left out.
      auto copy = [&](int64_t own, int64_t row) {
        for (int64_t k = starts[own]; k < starts[own] + counts[own]; ++k) {
          result.weights[k * pairs + pair] = coefficients[row * vectors + k];
        }
      };
      copy(i, j - 1);
      copy(j, i);
      result.firsts.push_back(i);
      result.seconds.push_back(j);
    }
  }
  return result;
}

/// The class with the most votes, the first of several.
static Value countVotes(LegalizeContext &c, Value scores, const Pairs &pairs, int64_t classes) {
  int64_t count = pairs.firsts.size();
  SmallVector<float> gained(count * classes, 0), base(classes, 0);
  for (int64_t pair = 0; pair < count; ++pair) {
    gained[pair * classes + pairs.firsts[pair]] += 1;
    gained[pair * classes + pairs.seconds[pair]] -= 1;
    base[pairs.seconds[pair]] += 1;
  }
  Type element = c.b.getF32Type();
  Value isFirst = c.cast(c.compare(CompareKind::Greater, scores, c.scalar(0, scores)), element);
  Value votes = c.add(nn::buildMatMul(c.b, c.loc, isFirst, buildTable(c, gained, {count, classes}, element)),
                      buildTable(c, base, {classes}, element));
  return nn::buildArgReduce(c.b, c.loc, nn::ArgReduceKind::Max, votes, /*axis=*/1, /*keepDims=*/false,
                            /*selectLast=*/false);
}

/// The probabilities of all classes by those of every two, 1 / (1 + exp(slope * score + offset)).
static Value buildProbabilities(LegalizeContext &c, Value scores, ArrayRef<float> slopes,
                                ArrayRef<float> offsets, int64_t classes) {
  constexpr double kSmallest = 1e-7;
  int64_t count = slopes.size();
  Type element = c.b.getF32Type();
  Value scaled =
      c.add(c.mul(scores, buildTable(c, slopes, {count}, element)), buildTable(c, offsets, {count}, element));
  Value first = c.unary(UnaryKind::Sigmoid, c.unary(UnaryKind::Neg, scaled));
  first = c.binary(BinaryKind::Max, first, c.scalar(kSmallest, first));
  first = c.binary(BinaryKind::Min, first, c.scalar(1 - kSmallest, first));
  return nn::createInferred<nn::CouplePairsOp>(c.b, c.loc, element, first, classes);
}

static LogicalResult legalizeClassifier(LegalizeContext &c) {
  std::optional<ScoreTransform> transform = getScoreTransform(c);
  std::optional<ClassLabels> labels = getClassLabels(c, "classlabels_ints");
  if (!transform || !labels) {
    return failure();
  }
  int64_t classes = labels->size();
  ArrayRef<float> rho = c.floatsAttr("rho").value_or(ArrayRef<float>());
  ArrayRef<float> coefficients = c.floatsAttr("coefficients").value_or(ArrayRef<float>());
  SmallVector<int64_t> counts = c.intsAttr("vectors_per_class").value_or(SmallVector<int64_t>());
  ArrayRef<float> slopes = c.floatsAttr("prob_a").value_or(ArrayRef<float>());
  ArrayRef<float> offsets = c.floatsAttr("prob_b").value_or(ArrayRef<float>());
  int64_t vectors = 0, pairCount = classes * (classes - 1) / 2;
  for (int64_t count : counts) {
    if (count < 0 || count > nn::kMaxDim) {
      return c.error("E0304", llvm::formatv("vectors_per_class holds {0}", count).str(), "vectors_per_class");
    }
    vectors += count;
  }
  if (vectors == 0) {
    return c.unsupported("there are no support vectors");
  }
  if (classes < 2 || int64_t(counts.size()) != classes || int64_t(rho.size()) != pairCount ||
      int64_t(coefficients.size()) != (classes - 1) * vectors) {
    return c.error(
        "E0304",
        llvm::formatv("{0} classes with {1} support vectors need {0} vectors_per_class, {2} rho and {3} "
                      "coefficients, but there are {4}, {5} and {6}",
                      classes, vectors, pairCount, (classes - 1) * vectors, counts.size(), rho.size(),
                      coefficients.size())
            .str(),
        "coefficients");
  }
  if (slopes.size() != offsets.size() || (!slopes.empty() && int64_t(slopes.size()) != pairCount)) {
    return c.error("E0304",
                   llvm::formatv("prob_a has {0} and prob_b {1} numbers for {2} pairs of classes",
                                 slopes.size(), offsets.size(), pairCount)
                       .str(),
                   "prob_a");
  }
  if (!slopes.empty() && classes > nn::CouplePairsOp::kMaxClasses) {
    return c.unsupported(llvm::formatv("probabilities of {0} classes, the limit is {1}", classes,
                                       nn::CouplePairsOp::kMaxClasses));
  }
  Pairs pairs = makePairs(coefficients, counts);
  Value kernels = buildKernels(c, getFeatureRows(c), "support_vectors", vectors);
  if (c.hasFailed()) {
    return failure();
  }
  Type element = c.b.getF32Type();
  Value scores =
      c.add(nn::buildMatMul(c.b, c.loc, kernels, buildTable(c, pairs.weights, {vectors, pairCount}, element)),
            buildTable(c, rho, {pairCount}, element));
  if (!slopes.empty()) {
    Value probabilities = buildProbabilities(c, scores, slopes, offsets, classes);
    return failure(failed(setLabels(c, *labels, countVotes(c, scores, pairs, classes))) ||
                   failed(c.set(1, transformScores(c, *transform, probabilities))));
  }
  Value transformed = classes == 2
                          ? transformBinaryScore(c, *transform, scores,
                                                 /*isProbability=*/*transform != ScoreTransform::None)
                          : transformScores(c, *transform, scores);
  return failure(failed(setLabels(c, *labels, countVotes(c, scores, pairs, classes))) ||
                 failed(c.set(1, transformed)));
}

void lathe::onnx::registerSupportVectors(LegalizerRegistry &registry) {
  registry.add("SVMRegressor", 1, 1, legalizeRegressor, kMachineLearning);
  registry.add("SVMClassifier", 1, 1, legalizeClassifier, kMachineLearning);
}
