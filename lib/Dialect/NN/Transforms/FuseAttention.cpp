// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "FusionUtils.h"

#include "lathe/Dialect/NN/IR/ShapeArith.h"
#include "lathe/Dialect/NN/IR/ShapeTracker.h"
#include "lathe/Dialect/NN/Transforms/Passes.h"

#include "mlir/IR/PatternMatch.h"

#include <cmath>

using namespace mlir;
using namespace lathe::nn;

namespace lathe::nn {
#define GEN_PASS_DEF_FUSEATTENTIONPASS
#include "lathe/Dialect/NN/Transforms/Passes.h.inc"
} // namespace lathe::nn

namespace {

/// The parts of `softmax(scale * q @ kt + mask) @ v`.
struct Match {
  /// The products before and after the softmax.
  MatMulOp scores, context;
  Value q, kt;
  double scale = 1;
  /// An addend, or a condition that keeps where it is true.
  Value mask;
  bool guardEmpty = false;
};

class Fusion {
public:
  Fusion(func::FuncOp function) : rewriter(function.getContext()), tracker(rewriter) {}

  void run(SoftmaxOp softmax);

private:
  /// Follows the logits back to a product. Null, and no remark, where there is none.
  Value findScores(Value logits, Match &match);
  /// Follows the weights on to the second product; sets the reason if that fails.
  bool findContext(SoftmaxOp softmax, Match &match);
  bool haveSameDims(Value lhs, Value rhs, int64_t leading);
  /// A factor of `x`, also of what `x` transposes, goes into `factor`.
  Value stripFactors(Value x, double &factor);
  /// [batch, heads, sequence, features] to [batch, sequence, heads, features] by `perm`, after a dimension of
  /// one head was put into `x` if it has none.
  Value arrange(Value x, ArrayRef<int64_t> perm, int64_t headAxis);
  bool missed(const Twine &why) {
    reason = why.str();
    return false;
  }

  IRRewriter rewriter;
  ShapeTracker tracker;
  std::string reason;
};

} // namespace

bool Fusion::haveSameDims(Value lhs, Value rhs, int64_t leading) {
  FailureOr<ArrayRef<OpFoldResult>> found = tracker.getDims(lhs);
  if (failed(found)) {
    return false;
  }
  // The list lives until the next question only.
  SmallVector<OpFoldResult> left(*found);
  found = tracker.getDims(rhs);
  if (failed(found) || int64_t(left.size()) < leading || int64_t(found->size()) < leading) {
    return false;
  }
  return llvm::all_of(llvm::seq<int64_t>(0, leading),
                      [&](int64_t i) { return areSameSize(left[i], (*found)[i]); });
}

Value Fusion::findScores(Value logits, Match &match) {
  // Each step goes through one op; exporters write no more than a scale, a mask and a selection.
  for (int steps = 0; steps < 8; ++steps) {
    if (auto product = logits.getDefiningOp<MatMulOp>()) {
      match.scores = product;
      return product;
    }
    if (!logits.hasOneUse()) {
      return Value();
    }
    double factor = 1;
    if (Value rest = stripFactor(logits, factor)) {
      // A factor outside of a mask would scale the mask, too: then `scale` is not 1 where the mask is met.
      match.scale *= factor;
      logits = rest;
      continue;
    }
    if (BinaryOp add = getBinary(logits, BinaryKind::Add)) {
      if (match.mask || match.scale != 1) {
        return Value();
      }
      // The side that leads to a product is the scores, the other the mask.
      for (bool isLeft : {true, false}) {
        Match inner = match;
        inner.mask = isLeft ? add.getRhs() : add.getLhs();
        Value side = isLeft ? add.getLhs() : add.getRhs();
        if (getElementType(side) == getElementType(logits) && findScores(side, inner)) {
          match = inner;
          return match.scores;
        }
      }
      return Value();
    }
    if (auto select = logits.getDefiningOp<SelectOp>()) {
      std::optional<double> low = getSplatNumber(select.getRhs());
      if (match.mask || match.scale != 1 || !low) {
        return Value();
      }
      if (*low == -std::numeric_limits<double>::infinity()) {
        match.mask = select.getCondition();
      } else if (*low <= -1e30) {
        // A finite lowest number absorbs the score when it is added: the same logit, also in a row without
        // keys.
        rewriter.setInsertionPoint(select);
        Value zero = buildScalar(rewriter, select.getLoc(), getElementType(logits), 0);
        Value lowest = buildScalar(rewriter, select.getLoc(), getElementType(logits), *low);
        match.mask = buildSelect(rewriter, select.getLoc(), select.getCondition(), zero, lowest);
      } else {
        return Value();
      }
      logits = select.getLhs();
      continue;
    }
    return Value();
  }
  return Value();
}

bool Fusion::findContext(SoftmaxOp softmax, Match &match) {
  Value weights = softmax.getResult();
  // select(is_nan(w), 0, w): a query without keys gives 0.
  SelectOp guard;
  for (Operation *user : weights.getUsers()) {
    auto select = dyn_cast<SelectOp>(user);
    auto test = select ? select.getCondition().getDefiningOp<UnaryOp>() : UnaryOp();
    if (test && test.getKind() == UnaryKind::IsNaN && test.getX() == weights && select.getRhs() == weights &&
        getSplatNumber(select.getLhs()) == 0.0 && select.getType() == weights.getType()) {
      guard = select;
    }
  }
  if (guard) {
    bool isOnlyGuarded = llvm::all_of(weights.getUsers(), [&](Operation *user) {
      return user == guard || user == guard.getCondition().getDefiningOp();
    });
    if (!isOnlyGuarded) {
      return missed("the weights are used beside the guard of rows that are NaN");
    }
    match.guardEmpty = true;
    weights = guard.getResult();
  }
  if (!weights.hasOneUse()) {
    return missed("the attention weights have other uses than the product with the values");
  }
  match.context = dyn_cast<MatMulOp>(*weights.user_begin());
  if (!match.context || match.context.getLhs() != weights) {
    return missed("the attention weights are not the left side of a product");
  }
  return true;
}

Value Fusion::stripFactors(Value x, double &factor) {
  SmallVector<TransposeOp> transposes;
  double found = 1;
  Value value = x;
  bool isStripped = false;
  for (int steps = 0; steps < 4; ++steps) {
    if (Value rest = stripFactor(value, found)) {
      value = rest;
      isStripped = true;
    } else if (auto transpose = value.getDefiningOp<TransposeOp>()) {
      transposes.push_back(transpose);
      value = transpose.getX();
    } else {
      break;
    }
  }
  if (!isStripped) {
    return x;
  }
  for (TransposeOp transpose : llvm::reverse(transposes)) {
    value = rewriter.createOrFold<TransposeOp>(transpose.getLoc(), transpose.getType(), value,
                                               transpose.getPerm());
  }
  factor *= found;
  return value;
}

Value Fusion::arrange(Value x, ArrayRef<int64_t> perm, int64_t headAxis) {
  Location loc = x.getLoc();
  if (getRank(x) == 3) {
    SmallVector<OpFoldResult> dims(*tracker.getDims(x));
    dims.insert(dims.begin() + headAxis, rewriter.getIndexAttr(1));
    x = buildReshape(rewriter, loc, x, dims);
  }
  Value transposed = buildTranspose(rewriter, loc, x, perm);
  // With the transpose of the exporter it becomes one or none.
  SmallVector<Value> folded;
  if (succeeded(rewriter.tryFold(transposed.getDefiningOp(), folded)) && !folded.empty()) {
    return folded.front();
  }
  return transposed;
}

void Fusion::run(SoftmaxOp softmax) {
  reason.clear();
  Match match;
  int64_t rank = getRank(softmax.getX());
  if (!findScores(softmax.getX(), match)) {
    return;
  }
  auto fuse = [&]() {
    if (softmax.getLog() || int64_t(softmax.getAxis()) != rank - 1) {
      return missed("the softmax is not over the keys");
    }
    if (!findContext(softmax, match)) {
      return false;
    }
    if (rank != 3 && rank != 4) {
      return missed("the products have " + Twine(rank) + " dimensions; only 3 and 4 fuse");
    }
    Value v = match.context.getRhs();
    match.q = match.scores.getLhs();
    match.kt = match.scores.getRhs();
    if (getRank(match.q) != rank || getRank(match.kt) != rank || getRank(v) != rank) {
      return missed("the operands of the products have different numbers of dimensions");
    }
    if (!haveSameDims(softmax.getX(), match.scores, rank)) {
      return missed("the mask broadcasts the scores");
    }
    // Heads of keys and values may be shared, batches not.
    if (!haveSameDims(match.q, match.kt, rank - 2) || !haveSameDims(match.q, v, rank - 2)) {
      return missed("batches or heads of queries, keys and values differ");
    }
    if (match.mask && getRank(match.mask) > rank) {
      return missed("the mask has " + Twine(getRank(match.mask)) + " dimensions, the scores " + Twine(rank));
    }
    SmallVector<Value> leaves{match.q, match.kt, v};
    if (match.mask) {
      leaves.push_back(match.mask);
      if (auto select = match.mask.getDefiningOp<SelectOp>()) {
        leaves.push_back(select.getCondition());
      }
    }
    Location loc = getReplacedLoc(match.context, leaves);
    rewriter.setInsertionPoint(match.context);
    match.q = stripFactors(match.q, match.scale);
    match.kt = stripFactors(match.kt, match.scale);
    // q is [B, H, Sq, D], kt [B, H, D, Sk], v [B, H, Sk, Dv]; one head is put in where there is none.
    Value q = arrange(match.q, {0, 2, 1, 3}, 1), k = arrange(match.kt, {0, 3, 1, 2}, 1),
          values = arrange(v, {0, 2, 1, 3}, 1);
    Value mask = match.mask;
    if (mask && rank == 3 && getRank(mask) == 3) {
      SmallVector<OpFoldResult> dims(*tracker.getDims(mask));
      dims.insert(dims.begin() + 1, rewriter.getIndexAttr(1));
      mask = buildReshape(rewriter, mask.getLoc(), mask, dims);
    }
    Value result =
        buildAttention(rewriter, loc, q, k, values, mask, match.scale, /*causal=*/false, match.guardEmpty);
    result = buildTranspose(rewriter, loc, result, {0, 2, 1, 3});
    if (rank == 3) {
      SmallVector<OpFoldResult> dims(*tracker.getDims(match.context));
      result = buildReshape(rewriter, loc, result, dims);
    }
    rewriter.replaceOp(match.context, result);
    remarkPassed(softmax, "nn-fuse-attention", "fused attention");
    return true;
  };
  if (!fuse()) {
    remarkMissed(softmax, "nn-fuse-attention", reason);
  }
}

namespace {

struct FuseAttentionPass : lathe::nn::impl::FuseAttentionPassBase<FuseAttentionPass> {
  void runOnOperation() override {
    SmallVector<SoftmaxOp> roots;
    getOperation().walk([&](SoftmaxOp op) { roots.push_back(op); });
    {
      Fusion fusion(getOperation());
      for (SoftmaxOp root : roots) {
        fusion.run(root);
      }
    }
    eraseDeadOps(getOperation());
  }
};

} // namespace
