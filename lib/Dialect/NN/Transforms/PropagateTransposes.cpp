// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Dialect/NN/IR/Builders.h"
#include "lathe/Dialect/NN/IR/ShapeTracker.h"
#include "lathe/Dialect/NN/Transforms/Passes.h"

#include "mlir/Dialect/Utils/IndexingUtils.h"
#include "mlir/IR/Matchers.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

using namespace mlir;
using namespace lathe::nn;

namespace lathe::nn {
#define GEN_PASS_DEF_PROPAGATETRANSPOSESPASS
#include "lathe/Dialect/NN/Transforms/Passes.h.inc"
} // namespace lathe::nn

/// `value` as a transpose that nobody else uses, so that moving it makes no second one.
static TransposeOp getMovable(Value value) {
  auto transpose = value.getDefiningOp<TransposeOp>();
  return transpose && transpose->hasOneUse() ? transpose : TransposeOp();
}

/// Whether `value` looks the same to every dimension: it has one element.
static bool isOneElement(Value value) {
  auto type = cast<RankedTensorType>(value.getType());
  return type.hasStaticShape() && type.getNumElements() == 1;
}

/// Whether the transpose of `value` is made when the model is compiled.
static bool isFixed(Value value) {
  return value.getDefiningOp<WeightUseOp>() || matchPattern(value, m_Constant());
}

/// Replaces `op` by the transpose of `moved` if that has the type of `op`.
static LogicalResult replaceByTranspose(Operation *op, Value moved, ArrayRef<int64_t> perm,
                                        PatternRewriter &rewriter) {
  Value result = buildTranspose(rewriter, op->getLoc(), moved, perm);
  if (result.getType() != op->getResult(0).getType()) {
    rewriter.eraseOp(result.getDefiningOp());
    rewriter.eraseOp(moved.getDefiningOp());
    return failure();
  }
  rewriter.replaceOp(op, result);
  return success();
}

static LogicalResult moveBehindUnary(UnaryOp op, PatternRewriter &rewriter) {
  TransposeOp transpose = getMovable(op.getX());
  if (!transpose) {
    return failure();
  }
  auto type = cast<RankedTensorType>(transpose.getX().getType()).clone(getElementType(op.getResult()));
  Value moved = UnaryOp::create(rewriter, op.getLoc(), type, op.getKind(), transpose.getX(),
                                op.getAlphaAttr(), op.getBetaAttr());
  return replaceByTranspose(op, moved, transpose.getPerm(), rewriter);
}

static LogicalResult moveBehindCast(CastOp op, PatternRewriter &rewriter) {
  TransposeOp transpose = getMovable(op.getX());
  if (!transpose) {
    return failure();
  }
  Value moved = buildCast(rewriter, op.getLoc(), transpose.getX(), getElementType(op.getResult()));
  return replaceByTranspose(op, moved, transpose.getPerm(), rewriter);
}

/// Both operands are transposed alike, or one is and the other has one element.
static LogicalResult moveBehindBinary(BinaryOp op, PatternRewriter &rewriter) {
  TransposeOp lhs = getMovable(op.getLhs()), rhs = getMovable(op.getRhs());
  if (op.getLhs() == op.getRhs()) {
    lhs = op.getLhs().getDefiningOp<TransposeOp>();
    rhs = lhs && llvm::all_of(lhs->getUsers(), [&](Operation *user) { return user == op; }) ? lhs
                                                                                            : TransposeOp();
    lhs = rhs;
  }
  Value left = op.getLhs(), right = op.getRhs();
  int64_t rank = getRank(op.getResult());
  if (lhs && rhs && lhs.getPerm() == rhs.getPerm()) {
    left = lhs.getX();
    right = rhs.getX();
  } else if (lhs && isOneElement(right) && getRank(right) <= rank && getRank(left) == rank) {
    left = lhs.getX();
  } else if (rhs && isOneElement(left) && getRank(left) <= rank && getRank(right) == rank) {
    right = rhs.getX();
    lhs = rhs;
  } else if (lhs && isFixed(right) && getRank(right) == rank && getRank(left) == rank) {
    left = lhs.getX();
    right = buildTranspose(rewriter, op.getLoc(), right, invertPermutationVector(lhs.getPerm()));
  } else if (rhs && isFixed(left) && getRank(left) == rank && getRank(right) == rank) {
    right = rhs.getX();
    left = buildTranspose(rewriter, op.getLoc(), left, invertPermutationVector(rhs.getPerm()));
    lhs = rhs;
  } else {
    return failure();
  }
  return replaceByTranspose(op, buildBinary(rewriter, op.getLoc(), op.getKind(), left, right), lhs.getPerm(),
                            rewriter);
}

/// The dimensions that a reduction leaves keep their order.
static LogicalResult moveBehindReduce(ReduceOp op, PatternRewriter &rewriter) {
  auto transpose = op.getX().getDefiningOp<TransposeOp>();
  if (!transpose) {
    return failure();
  }
  ArrayRef<int64_t> perm = transpose.getPerm();
  SmallVector<int64_t> axes = llvm::map_to_vector(op.getAxes(), [&](int64_t axis) { return perm[axis]; });
  Value moved = buildReduce(rewriter, op.getLoc(), op.getKind(), transpose.getX(), axes, op.getKeepDims());
  if (op.getKeepDims()) {
    return replaceByTranspose(op, moved, perm, rewriter);
  }
  SmallVector<int64_t> rest;
  for (auto [position, axis] : llvm::enumerate(perm)) {
    if (!llvm::is_contained(op.getAxes(), int64_t(position))) {
      // The number of dimensions before `axis` that are left.
      rest.push_back(axis - llvm::count_if(axes, [&](int64_t reduced) { return reduced < axis; }));
    }
  }
  if (isIdentityPermutation(rest)) {
    rewriter.replaceOp(op, moved);
    return success();
  }
  return replaceByTranspose(op, moved, rest, rewriter);
}

/// A reshape that only drops dimensions of size 1 does so before the transpose as well.
static LogicalResult moveBehindReshape(ReshapeOp op, PatternRewriter &rewriter) {
  TransposeOp transpose = getMovable(op.getX());
  if (!transpose) {
    return failure();
  }
  auto from = cast<RankedTensorType>(transpose.getType()), to = cast<RankedTensorType>(op.getType());
  auto isOne = [](int64_t size) { return size == 1; };
  SmallVector<int64_t> left(from.getShape());
  llvm::erase_if(left, isOne);
  // With one dynamic dimension the number of elements says that it is the same one.
  if (left != to.getShape() || to.getNumDynamicDims() > 1 || from.getNumDynamicDims() > 1) {
    return failure();
  }
  SmallVector<OpFoldResult> kept = op.getMixedDims();
  // The dimensions of `x` that are left, each with its place in the result.
  SmallVector<std::pair<int64_t, int64_t>> places;
  for (auto [position, axis] : llvm::enumerate(transpose.getPerm())) {
    if (from.getDimSize(position) != 1) {
      places.push_back({axis, int64_t(places.size())});
    }
  }
  SmallVector<int64_t> perm(places.size());
  llvm::sort(places);
  SmallVector<OpFoldResult> dims;
  for (auto [i, place] : llvm::enumerate(places)) {
    dims.push_back(kept[place.second]);
    perm[place.second] = i;
  }
  return replaceByTranspose(op, buildReshape(rewriter, op.getLoc(), transpose.getX(), dims), perm, rewriter);
}

/// Where only dimensions of size 1 change places, nothing moves.
static void reshapeInsteadOfTranspose(func::FuncOp function) {
  IRRewriter rewriter(function.getContext());
  ShapeTracker tracker(rewriter);
  function.walk([&](TransposeOp op) {
    auto shape = cast<RankedTensorType>(op.getX().getType()).getShape();
    auto isMoved = [&](int64_t axis) { return shape[axis] != 1; };
    if (!llvm::is_sorted(llvm::filter_to_vector(op.getPerm(), isMoved)) ||
        op.getX().getDefiningOp<WeightUseOp>()) {
      return;
    }
    FailureOr<ArrayRef<OpFoldResult>> dims = tracker.getDims(op.getResult());
    if (succeeded(dims)) {
      SmallVector<OpFoldResult> sizes(*dims);
      rewriter.setInsertionPointAfter(op);
      Value reshape = ReshapeOp::create(rewriter, op.getLoc(), op.getX(), sizes);
      if (reshape.getType() == op.getType()) {
        op.getResult().replaceAllUsesWith(reshape);
      }
    }
  });
}

static LogicalResult moveBehindSoftmax(SoftmaxOp op, PatternRewriter &rewriter) {
  TransposeOp transpose = getMovable(op.getX());
  if (!transpose) {
    return failure();
  }
  Value moved =
      buildSoftmax(rewriter, op.getLoc(), transpose.getX(), transpose.getPerm()[op.getAxis()], op.getLog());
  return replaceByTranspose(op, moved, transpose.getPerm(), rewriter);
}

namespace {

struct PropagateTransposesPass : lathe::nn::impl::PropagateTransposesPassBase<PropagateTransposesPass> {
  void runOnOperation() override {
    reshapeInsteadOfTranspose(getOperation());
    RewritePatternSet patterns(&getContext());
    patterns.add(moveBehindUnary);
    patterns.add(moveBehindCast);
    patterns.add(moveBehindBinary);
    patterns.add(moveBehindReduce);
    patterns.add(moveBehindSoftmax);
    patterns.add(moveBehindReshape);
    // Two transposes in a row fold, and those of dimensions of size 1 become reshapes.
    TransposeOp::getCanonicalizationPatterns(patterns, &getContext());
    ReshapeOp::getCanonicalizationPatterns(patterns, &getContext());
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns)))) {
      signalPassFailure();
    }
  }
};

} // namespace
