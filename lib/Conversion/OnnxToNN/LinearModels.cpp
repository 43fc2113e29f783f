// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Linear models of ai.onnx.ml.

#include "Learned.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::CompareKind;

/// `x` times the transposed coefficients [outputs, features] plus the intercepts.
static Value buildScores(LegalizeContext &c, Value x, int64_t outputs) {
  ArrayRef<float> coefficients = c.floatsAttr("coefficients").value_or(ArrayRef<float>());
  std::optional<ArrayRef<float>> intercepts = c.floatsAttr("intercepts");
  int64_t count = coefficients.size();
  std::optional<int64_t> features = getConstantIntValue(c.shapeOf(x)[1]);
  if (outputs < 1 || count == 0 || count % outputs != 0 || (features && *features * outputs != count)) {
    (void)c.error(
        "E0304",
        llvm::formatv("there are {0} coefficients, must be one for each of {1} outputs and {2} features",
                      count, outputs, features ? std::to_string(*features) : "the")
            .str(),
        "coefficients");
    return x;
  }
  int64_t depth = count / outputs;
  // Features by outputs: the product reads rows.
  SmallVector<float> transposed;
  for (int64_t feature = 0; feature < depth; ++feature) {
    for (int64_t output = 0; output < outputs; ++output) {
      transposed.push_back(coefficients[output * depth + feature]);
    }
  }
  Type element = c.b.getF32Type();
  Value scores = nn::buildMatMul(c.b, c.loc, x, buildTable(c, transposed, {depth, outputs}, element));
  if (!intercepts || intercepts->empty()) {
    return scores;
  }
  if (int64_t(intercepts->size()) != outputs) {
    (void)c.error("E0304",
                  llvm::formatv("there are {0} intercepts, must be {1}", intercepts->size(), outputs).str(),
                  "intercepts");
    return scores;
  }
  return c.add(scores, buildTable(c, *intercepts, {outputs}, element));
}

static LogicalResult legalizeLinearRegressor(LegalizeContext &c) {
  std::optional<ScoreTransform> transform = getScoreTransform(c);
  Value scores = buildScores(c, getFeatureRows(c), c.intAttr("targets", 1));
  return c.set(transform ? transformScores(c, *transform, scores) : scores);
}

static LogicalResult legalizeLinearClassifier(LegalizeContext &c) {
  std::optional<ScoreTransform> transform = getScoreTransform(c);
  std::optional<ClassLabels> labels = getClassLabels(c, "classlabels_ints");
  if (!transform || !labels) {
    return failure();
  }
  // One row of coefficients decides between two classes.
  std::optional<ArrayRef<float>> intercepts = c.floatsAttr("intercepts");
  int64_t outputs = intercepts && !intercepts->empty() ? intercepts->size() : labels->size();
  bool isBinary = outputs == 1 && labels->size() == 2;
  if (!isBinary && outputs != labels->size()) {
    return c.error("E0304",
                   llvm::formatv("there are {0} intercepts for {1} classes", outputs, labels->size()).str(),
                   "intercepts");
  }
  Value x = getFeatureRows(c), scores = buildScores(c, x, outputs);
  if (c.hasFailed()) {
    return failure();
  }
  if (isBinary) {
    Value isSecond = c.compare(CompareKind::Greater, scores, c.scalar(0, scores));
    Value classes = c.reshape(c.cast(isSecond, c.b.getI64Type()), {c.shapeOf(x)[0]});
    return failure(failed(setLabels(c, *labels, classes)) ||
                   failed(c.set(1, transformBinaryScore(c, *transform, scores, /*isProbability=*/true))));
  }
  Value classes =
      nn::buildArgReduce(c.b, c.loc, nn::ArgReduceKind::Max, scores, /*axis=*/1, /*keepDims=*/false,
                         /*selectLast=*/false);
  return failure(failed(setLabels(c, *labels, classes)) ||
                 failed(c.set(1, transformScores(c, *transform, scores))));
}

void lathe::onnx::registerLinearModels(LegalizerRegistry &registry) {
  registry.add("LinearRegressor", 1, 1, legalizeLinearRegressor, kMachineLearning);
  registry.add("LinearClassifier", 1, 1, legalizeLinearClassifier, kMachineLearning);
}
