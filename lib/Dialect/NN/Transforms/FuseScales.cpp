// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Less arithmetic between exact sums and the integers that they are rounded to.

#include "FusionUtils.h"

#include "lathe/Dialect/NN/IR/NNInteger.h"
#include "lathe/Dialect/NN/Transforms/Passes.h"

#include "mlir/IR/Matchers.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

#include <cmath>

using namespace mlir;
using namespace lathe::nn;

namespace lathe::nn {
#define GEN_PASS_DEF_FUSESCALESPASS
#include "lathe/Dialect/NN/Transforms/Passes.h.inc"
} // namespace lathe::nn

namespace {

bool isRounding(Operation *op) {
  auto unary = dyn_cast<UnaryOp>(op);
  return unary && unary.getKind() == UnaryKind::Round;
}

/// Whether `value` is computed of weights and constants alone, in a few steps: when the artifact is written.
bool isOfWeights(Value value, int depth = 0) {
  constexpr int kMaxSteps = 8;
  Operation *op = value.getDefiningOp();
  if (!op || depth > kMaxSteps) {
    return false;
  }
  if (isa<WeightUseOp>(op) || matchPattern(op, m_Constant())) {
    return true;
  }
  return isa<BinaryOp, CastOp, ReshapeOp, TransposeOp>(op) &&
         llvm::all_of(op->getOperands(), [&](Value operand) { return isOfWeights(operand, depth + 1); });
}

/// The factor of a product that is known when the artifact is written; null if neither is.
OpOperand *getKnownFactor(BinaryOp product) {
  for (OpOperand &factor : product->getOpOperands()) {
    if (isOfWeights(factor.get())) {
      return &factor;
    }
  }
  return nullptr;
}

/// Whether a factor can be moved from behind `value`, which nothing else reads, into what is known.
bool takesFactor(Value value) {
  if (isOfWeights(value)) {
    return true;
  }
  Operation *op = value.getDefiningOp();
  if (!op || !op->hasOneUse()) {
    return false;
  }
  if (auto unary = dyn_cast<UnaryOp>(op)) {
    return unary.getKind() == UnaryKind::Relu && takesFactor(unary.getX());
  }
  auto binary = dyn_cast<BinaryOp>(op);
  if (!binary) {
    return false;
  }
  return binary.getKind() == BinaryKind::Mul   ? getKnownFactor(binary) != nullptr
         : binary.getKind() == BinaryKind::Add ? takesFactor(binary.getLhs()) && takesFactor(binary.getRhs())
                                               : false;
}

Value buildScaled(OpBuilder &builder, Value value, double factor) {
  Location loc = value.getLoc();
  auto multiply = [&](Value known) -> Value {
    if (std::optional<double> number = getSplatNumber(known); number && getRank(known) == 0) {
      return buildScalar(builder, loc, getElementType(known), *number * factor);
    }
    return buildBinary(builder, loc, BinaryKind::Mul, known,
                       buildScalar(builder, loc, getElementType(known), factor));
  };
  if (isOfWeights(value)) {
    return multiply(value);
  }
  if (auto unary = value.getDefiningOp<UnaryOp>()) {
    return buildUnary(builder, loc, unary.getKind(), buildScaled(builder, unary.getX(), factor));
  }
  auto binary = value.getDefiningOp<BinaryOp>();
  if (binary.getKind() == BinaryKind::Add) {
    Value lhs = buildScaled(builder, binary.getLhs(), factor);
    return buildBinary(builder, loc, BinaryKind::Add, lhs, buildScaled(builder, binary.getRhs(), factor));
  }
  OpOperand *known = getKnownFactor(binary);
  Value other = binary->getOperand(1 - known->getOperandNumber());
  return buildBinary(builder, loc, BinaryKind::Mul, other, multiply(known->get()));
}

/// What may lie between exact sums and what is rounded.
bool isStep(Operation *op) { return isa<UnaryOp, BinaryOp, CastOp>(op); }

/// `relu(x * s + b) * f`, which is rounded, is `relu(x * (s * f) + b * f)`: both are within the rounding of
/// f32.
struct MoveFactor : OpRewritePattern<BinaryOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(BinaryOp op, PatternRewriter &rewriter) const override {
    std::optional<double> factor = getSplatNumber(op.getRhs());
    if (op.getKind() != BinaryKind::Mul || !factor || !std::isnormal(float(*factor)) || *factor < 0 ||
        !getElementType(op.getResult()).isF32() || !llvm::all_of(op->getUsers(), isRounding)) {
      return rewriter.notifyMatchFailure(op, "no factor before a rounding");
    }
    if (isOfWeights(op.getLhs()) || !takesFactor(op.getLhs()) || !comesFromExactSums(op.getLhs(), isStep)) {
      return rewriter.notifyMatchFailure(op, "nothing known to take the factor");
    }
    rewriter.replaceOp(op, buildScaled(rewriter, op.getLhs(), *factor));
    return success();
  }
};

/// What is rounded to unsigned integers is at least 0 in any case.
struct DropRelu : OpRewritePattern<UnaryOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(UnaryOp op, PatternRewriter &rewriter) const override {
    auto relu = op.getX().getDefiningOp<UnaryOp>();
    auto isUnsigned = [](Operation *user) {
      auto cast = dyn_cast<CastOp>(user);
      return cast && getElementType(cast.getResult()).isUnsignedInteger() &&
             getElementType(cast.getResult()).getIntOrFloatBitWidth() >= 8;
    };
    if (!isRounding(op) || !relu || relu.getKind() != UnaryKind::Relu || !relu->hasOneUse() ||
        !llvm::all_of(op->getUsers(), isUnsigned)) {
      return rewriter.notifyMatchFailure(op, "no relu before a cast to unsigned integers");
    }
    rewriter.modifyOpInPlace(op, [&] { op.getXMutable().assign(relu.getX()); });
    return success();
  }
};

struct FuseScalesPass : lathe::nn::impl::FuseScalesPassBase<FuseScalesPass> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<MoveFactor, DropRelu>(&getContext());
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns)))) {
      signalPassFailure();
    }
  }
};

} // namespace
