// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "FusionUtils.h"

#include "lathe/Dialect/NN/Transforms/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/PatternMatch.h"

using namespace mlir;
using namespace lathe::nn;

namespace lathe::nn {
#define GEN_PASS_DEF_FUSENORMPASS
#include "lathe/Dialect/NN/Transforms/Passes.h.inc"
} // namespace lathe::nn

/// `value` as a mean over trailing dimensions that stay with size 1, or null.
static ReduceOp getTrailingMean(Value value) {
  auto mean = value.getDefiningOp<ReduceOp>();
  if (!mean || mean.getKind() != ReduceKind::Mean || !mean.getKeepDims() || mean.getAxes().empty()) {
    return ReduceOp();
  }
  int64_t rank = getRank(mean.getX());
  for (auto [i, axis] : llvm::enumerate(mean.getAxes())) {
    if (axis != rank - int64_t(mean.getAxes().size()) + int64_t(i)) {
      return ReduceOp();
    }
  }
  return mean;
}

/// The x of x * x or pow(x, 2).
static Value getSquared(Value value) {
  if (BinaryOp mul = getBinary(value, BinaryKind::Mul)) {
    return mul.getLhs() == mul.getRhs() ? mul.getLhs() : Value();
  }
  if (BinaryOp pow = getBinary(value, BinaryKind::Pow)) {
    return getSplatNumber(pow.getRhs()) == 2.0 ? pow.getLhs() : Value();
  }
  return Value();
}

/// The other operand of the only op that uses `value`, if it is a binary op of `kind`; sets `user`.
static Value getPartner(Value value, BinaryKind kind, BinaryOp &user) {
  if (!value.hasOneUse()) {
    return Value();
  }
  user = dyn_cast<BinaryOp>(*value.user_begin());
  if (!user || user.getKind() != kind) {
    return Value();
  }
  return user.getLhs() == value ? user.getRhs() : user.getLhs();
}

/// Whether `value` may scale or shift the last `count` dimensions only.
static bool isOverTrailing(Value value, int64_t count) {
  return getRank(value) <= count && getRank(value) > 0;
}

/// The quotient `x / root`, where `root` is a square root, or the product with its reciprocal; null if there
/// is none. `centered` is what must be divided.
static BinaryOp findQuotient(Operation *root, Value centered) {
  for (Operation *user : root->getUsers()) {
    if (auto reciprocal = dyn_cast<UnaryOp>(user);
        reciprocal && reciprocal.getKind() == UnaryKind::Reciprocal) {
      if (BinaryOp found = findQuotient(reciprocal, centered)) {
        return found;
      }
    }
    auto op = dyn_cast<BinaryOp>(user);
    if (!op) {
      continue;
    }
    Value value = root->getResult(0);
    bool isRoot = isa<UnaryOp>(root) && cast<UnaryOp>(root).getKind() == UnaryKind::Sqrt;
    if (isRoot ? op.getKind() == BinaryKind::Div && op.getRhs() == value && op.getLhs() == centered
               : op.getKind() == BinaryKind::Mul &&
                     (op.getLhs() == value ? op.getRhs() : op.getLhs()) == centered) {
      return op;
    }
    // 1 / sqrt(...), written as a division.
    if (isRoot && op.getKind() == BinaryKind::Div && op.getRhs() == value &&
        getSplatNumber(op.getLhs()) == 1.0) {
      for (Operation *next : op->getUsers()) {
        auto product = dyn_cast<BinaryOp>(next);
        if (product && product.getKind() == BinaryKind::Mul &&
            (product.getLhs() == op.getResult() ? product.getRhs() : product.getLhs()) == centered) {
          return product;
        }
      }
    }
  }
  return BinaryOp();
}

/// Fuses the norm around `root`, which computes sqrt, 1 / sqrt or pow(, -0.5) of a variance.
static void fuseAround(Operation *root, RewriterBase &rewriter) {
  BinaryOp shifted = getBinary(root->getOperand(0), BinaryKind::Add);
  if (!shifted) {
    return;
  }
  std::optional<double> epsilon = getSplatNumber(shifted.getRhs());
  Value variance = shifted.getLhs();
  if (!epsilon) {
    epsilon = getSplatNumber(shifted.getLhs());
    variance = shifted.getRhs();
  }
  auto mean = variance.getDefiningOp<ReduceOp>();
  Value centered = mean ? getSquared(mean.getX()) : Value();
  if (!epsilon || !centered || mean.getKind() != ReduceKind::Mean) {
    return;
  }
  auto missed = [&](const Twine &reason) { remarkMissed(root, "nn-fuse-norm", reason); };
  if (!getTrailingMean(variance)) {
    return missed("the mean is not over the last dimensions, kept with size 1");
  }
  BinaryOp quotient = findQuotient(root, centered);
  if (!quotient) {
    return missed("what is divided is not what was squared");
  }
  int64_t count = mean.getAxes().size(), axis = mean.getAxes().front();
  // With x - mean(x) it is a layer norm.
  Value x = centered;
  bool isLayerNorm = false;
  if (BinaryOp difference = getBinary(centered, BinaryKind::Sub)) {
    if (ReduceOp center = getTrailingMean(difference.getRhs());
        center && center.getX() == difference.getLhs() && center.getAxes() == mean.getAxes()) {
      x = difference.getLhs();
      isLayerNorm = true;
    }
  }
  auto type = cast<RankedTensorType>(x.getType());
  Value last = quotient.getResult(), scale, bias;
  BinaryOp user;
  if (Value partner = getPartner(last, BinaryKind::Mul, user);
      partner && isOverTrailing(partner, count) && user.getType() == x.getType()) {
    scale = partner;
    last = user;
  }
  if (isLayerNorm && scale) {
    if (Value partner = getPartner(last, BinaryKind::Add, user);
        partner && isOverTrailing(partner, count) && user.getType() == x.getType()) {
      bias = partner;
      last = user;
    }
  }
  Operation *final = last.getDefiningOp();
  rewriter.setInsertionPoint(final);
  if (!scale) {
    if (type.isDynamicDim(type.getRank() - 1)) {
      return missed("there is no scale, and the last dimension has no fixed size");
    }
    auto scaleType = RankedTensorType::get({type.getShape().back()}, type.getElementType());
    scale = arith::ConstantOp::create(
        rewriter, root->getLoc(),
        DenseElementsAttr::get(scaleType, rewriter.getFloatAttr(type.getElementType(), 1)));
  }
  SmallVector<Value> leaves{x, scale};
  if (bias) {
    leaves.push_back(bias);
  }
  Location loc = getReplacedLoc(final, leaves);
  remarkPassed(root, "nn-fuse-norm", isLayerNorm ? "fused layer norm" : "fused root-mean-square norm");
  rewriter.replaceOp(final, isLayerNorm ? buildLayerNorm(rewriter, loc, x, scale, bias, axis, *epsilon)
                                        : buildRMSNorm(rewriter, loc, x, scale, axis, *epsilon));
}

namespace {

struct FuseNormPass : lathe::nn::impl::FuseNormPassBase<FuseNormPass> {
  void runOnOperation() override {
    SmallVector<Operation *> roots;
    getOperation().walk([&](Operation *op) {
      if (auto unary = dyn_cast<UnaryOp>(op)) {
        if (unary.getKind() == UnaryKind::Sqrt || unary.getKind() == UnaryKind::Rsqrt) {
          roots.push_back(op);
        }
      } else if (auto pow = dyn_cast<BinaryOp>(op); pow && pow.getKind() == BinaryKind::Pow) {
        if (getSplatNumber(pow.getRhs()) == -0.5) {
          roots.push_back(op);
        }
      }
    });
    IRRewriter rewriter(&getContext());
    for (Operation *root : roots) {
      fuseAround(root, rewriter);
    }
    eraseDeadOps(getOperation());
  }
};

} // namespace
