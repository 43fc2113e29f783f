// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Losses of a classification: what the target's class was given.

#include "Legalizer.h"

#include "lathe/Dialect/NN/IR/NNScatter.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::BinaryKind;
using nn::CompareKind;
using nn::ReduceKind;
using nn::UnaryKind;

/// The loss of `x`, logarithms of probabilities [N, classes, ...], at the classes of operand 1, [N, ...].
static LogicalResult buildLoss(LegalizeContext &c, Value x) {
  int64_t rank = nn::getRank(x);
  StringRef reduction = c.stringAttr("reduction").value_or("mean");
  if (reduction != "none" && reduction != "sum" && reduction != "mean") {
    return c.error("E0304", "reduction is \"" + reduction + "\", must be \"none\", \"sum\" or \"mean\"",
                   "reduction");
  }
  if (rank < 2 || c.rank(1) != rank - 1) {
    return c.error("E0307", llvm::formatv("there are {0} dimensions of scores and {1} of classes, must be at "
                                          "least 2, and one less of classes",
                                          rank, c.rank(1))
                                .str());
  }
  Type type = nn::getElementType(x);
  Value target = c.cast(c.operand(1), c.b.getI64Type()), isIgnored;
  if (std::optional<int64_t> ignored = c.intAttr("ignore_index")) {
    isIgnored = c.compare(CompareKind::Equal, target, c.scalar(double(*ignored), target));
    target = c.select(isIgnored, c.scalar(0, target), target);
  }
  Sizes dims = c.shapeOf(target), indexDims(dims);
  indexDims.insert(indexDims.begin() + 1, c.one());
  Value chosen = nn::createInferred<nn::GatherElementsOp>(c.b, c.loc, type, x, c.reshape(target, indexDims),
                                                          /*axis=*/1);
  Value loss = c.unary(UnaryKind::Neg, c.reshape(chosen, dims)), weights;
  if (c.has(2)) {
    weights = nn::buildGather(c.b, c.loc, c.cast(c.operand(2), type), target, /*axis=*/0);
    loss = c.mul(loss, weights);
  }
  if (isIgnored) {
    Value zero = c.scalar(0, loss);
    // What is ignored may be infinite.
    loss = c.select(isIgnored, zero, loss);
    weights = c.select(isIgnored, zero, weights ? weights : c.scalar(1, loss));
  }
  if (reduction == "none") {
    return c.set(loss);
  }
  SmallVector<int64_t> axes = llvm::to_vector(llvm::seq<int64_t>(0, rank - 1));
  if (reduction == "mean" && !weights) {
    return c.set(c.reduce(ReduceKind::Mean, loss, axes, /*keepDims=*/false));
  }
  Value sum = c.reduce(ReduceKind::Sum, loss, axes, /*keepDims=*/false);
  if (reduction == "mean") {
    sum = c.binary(BinaryKind::Div, sum, c.reduce(ReduceKind::Sum, weights, axes, /*keepDims=*/false));
  }
  return c.set(sum);
}

static LogicalResult legalizeNegativeLogLikelihood(LegalizeContext &c) { return buildLoss(c, c.operand(0)); }

static LogicalResult legalizeSoftmaxCrossEntropy(LegalizeContext &c) {
  if (c.rank(0) < 2) {
    return c.error("E0307",
                   llvm::formatv("the scores have {0} dimensions, must have at least 2", c.rank(0)).str());
  }
  Value logarithms = nn::buildSoftmax(c.b, c.loc, c.operand(0), /*axis=*/1, /*log=*/true);
  if (c.isUsed(1)) {
    (void)c.set(1, logarithms);
  }
  return buildLoss(c, logarithms);
}

void lathe::onnx::registerLosses(LegalizerRegistry &registry) {
  registry.add("NegativeLogLikelihoodLoss", 2, 3, legalizeNegativeLogLikelihood);
  registry.add("SoftmaxCrossEntropyLoss", 2, 3, legalizeSoftmaxCrossEntropy);
}
