// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "FusionUtils.h"

#include "lathe/Dialect/NN/Transforms/Passes.h"

#include "mlir/IR/PatternMatch.h"

#include <cmath>

using namespace mlir;
using namespace lathe::nn;

namespace lathe::nn {
#define GEN_PASS_DEF_FUSEGELUPASS
#include "lathe/Dialect/NN/Transforms/Passes.h.inc"
} // namespace lathe::nn

/// Deeper formulas of x than this are no gelu.
static constexpr int kMaxDepth = 8;

/// The coefficients of a polynomial in x of degree at most 3.
using Polynomial = std::array<double, 4>;

static std::optional<Polynomial> multiply(const Polynomial &lhs, const Polynomial &rhs) {
  Polynomial product{};
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 4; ++j) {
      if (lhs[i] * rhs[j] == 0) {
        continue;
      }
      if (i + j > 3) {
        return std::nullopt;
      }
      product[i + j] += lhs[i] * rhs[j];
    }
  }
  return product;
}

/// `value` as a polynomial in `x`, if it is one.
static std::optional<Polynomial> getPolynomial(Value value, Value x, int depth = 0) {
  if (value == x) {
    return Polynomial{0, 1, 0, 0};
  }
  if (std::optional<double> number = getSplatNumber(value)) {
    return Polynomial{*number, 0, 0, 0};
  }
  auto op = value.getDefiningOp<BinaryOp>();
  if (!op || depth > kMaxDepth) {
    return std::nullopt;
  }
  std::optional<Polynomial> lhs = getPolynomial(op.getLhs(), x, depth + 1);
  std::optional<Polynomial> rhs = getPolynomial(op.getRhs(), x, depth + 1);
  if (!lhs || !rhs) {
    return std::nullopt;
  }
  bool isRightConstant = (*rhs)[1] == 0 && (*rhs)[2] == 0 && (*rhs)[3] == 0;
  switch (op.getKind()) {
  case BinaryKind::Add:
  case BinaryKind::Sub:
    for (int i = 0; i < 4; ++i) {
      (*lhs)[i] += op.getKind() == BinaryKind::Add ? (*rhs)[i] : -(*rhs)[i];
    }
    return lhs;
  case BinaryKind::Mul:
    return multiply(*lhs, *rhs);
  case BinaryKind::Div:
    if (!isRightConstant || (*rhs)[0] == 0) {
      return std::nullopt;
    }
    for (double &coefficient : *lhs) {
      coefficient /= (*rhs)[0];
    }
    return lhs;
  case BinaryKind::Pow: {
    if (!isRightConstant || ((*rhs)[0] != 2 && (*rhs)[0] != 3)) {
      return std::nullopt;
    }
    std::optional<Polynomial> power = multiply(*lhs, *lhs);
    return power && (*rhs)[0] == 3 ? multiply(*power, *lhs) : power;
  }
  default:
    return std::nullopt;
  }
}

static bool isNear(const Polynomial &lhs, const Polynomial &rhs) {
  return llvm::all_of(llvm::zip_equal(lhs, rhs),
                      [](auto pair) { return isClose(std::get<0>(pair), std::get<1>(pair)); });
}

/// The values from which `value` is computed by constants and binary ops, itself first.
static void collectCandidates(Value value, SmallVectorImpl<Value> &candidates, int depth = 0) {
  if (getSplatNumber(value) || llvm::is_contained(candidates, value)) {
    return;
  }
  candidates.push_back(value);
  if (auto op = value.getDefiningOp<BinaryOp>(); op && depth < kMaxDepth) {
    collectCandidates(op.getLhs(), candidates, depth + 1);
    collectCandidates(op.getRhs(), candidates, depth + 1);
  }
}

/// The op that computes x / 2 * (1 + inner), from `inner` on along single uses; null if there is none.
static BinaryOp findProduct(Value inner, Value x) {
  if (!inner.hasOneUse()) {
    return BinaryOp();
  }
  auto plusOne = dyn_cast<BinaryOp>(*inner.user_begin());
  if (!plusOne || plusOne.getKind() != BinaryKind::Add) {
    return BinaryOp();
  }
  Value other = plusOne.getLhs() == inner ? plusOne.getRhs() : plusOne.getLhs();
  if (getSplatNumber(other) != 1.0) {
    return BinaryOp();
  }
  // What is multiplied so far: it ends at x / 2.
  Polynomial factor{1, 0, 0, 0};
  Value value = plusOne;
  for (int steps = 0; steps < 3; ++steps) {
    if (!value.hasOneUse()) {
      return BinaryOp();
    }
    auto op = dyn_cast<BinaryOp>(*value.user_begin());
    if (!op || op.getType() != x.getType()) {
      return BinaryOp();
    }
    Value other = op.getLhs() == value ? op.getRhs() : op.getLhs();
    std::optional<Polynomial> next = getPolynomial(other, x);
    if (!next) {
      return BinaryOp();
    }
    if (op.getKind() == BinaryKind::Div && op.getLhs() == value && (*next)[0] != 0 && (*next)[1] == 0) {
      next = Polynomial{1 / (*next)[0], 0, 0, 0};
    } else if (op.getKind() != BinaryKind::Mul) {
      return BinaryOp();
    }
    next = multiply(factor, *next);
    if (!next) {
      return BinaryOp();
    }
    factor = *next;
    if (isNear(factor, {0, 0.5, 0, 0})) {
      return op;
    }
    value = op;
  }
  return BinaryOp();
}

/// Replaces a gelu around `inner`, an erf or a tanh.
static void fuseAround(UnaryOp inner, RewriterBase &rewriter) {
  bool isErf = inner.getKind() == UnaryKind::Erf;
  double root = std::sqrt(2 / M_PI);
  Polynomial wanted = isErf ? Polynomial{0, std::sqrt(0.5), 0, 0} : Polynomial{0, root, 0, 0.044715 * root};
  SmallVector<Value> candidates;
  collectCandidates(inner.getX(), candidates);
  for (Value x : candidates) {
    std::optional<Polynomial> argument = getPolynomial(inner.getX(), x);
    if (!argument || !isNear(*argument, wanted)) {
      continue;
    }
    BinaryOp product = findProduct(inner, x);
    if (!product) {
      remarkMissed(inner, "nn-fuse-gelu",
                   "the factors around it are not x / 2 and 1 + " + Twine(isErf ? "erf" : "tanh") +
                       ", each used once");
      return;
    }
    remarkPassed(inner, "nn-fuse-gelu", "fused gelu");
    rewriter.setInsertionPoint(product);
    rewriter.replaceOp(product, buildUnary(rewriter, getReplacedLoc(product, x),
                                           isErf ? UnaryKind::Gelu : UnaryKind::GeluTanh, x));
    return;
  }
}

namespace {

struct FuseGeluPass : lathe::nn::impl::FuseGeluPassBase<FuseGeluPass> {
  void runOnOperation() override {
    SmallVector<UnaryOp> roots;
    getOperation().walk([&](UnaryOp op) {
      if (op.getKind() == UnaryKind::Erf || op.getKind() == UnaryKind::Tanh) {
        roots.push_back(op);
      }
    });
    IRRewriter rewriter(&getContext());
    for (UnaryOp root : roots) {
      fuseAround(root, rewriter);
    }
    eraseDeadOps(getOperation());
  }
};

} // namespace
