// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Numbers that are rounded to integers of 8 bits and back again stay floats.

#include "FusionUtils.h"

#include "lathe/Dialect/NN/Transforms/Passes.h"

#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

using namespace mlir;
using namespace lathe::nn;

namespace lathe::nn {
#define GEN_PASS_DEF_KEEPROUNDEDPASS
#include "lathe/Dialect/NN/Transforms/Passes.h.inc"
} // namespace lathe::nn

namespace {

/// `value` less or plus a number; 0 if it is no such sum.
double takeNumber(Value &value, BinaryKind kind) {
  BinaryOp binary = getBinary(value, kind);
  std::optional<double> number = binary ? getSplatNumber(binary.getRhs()) : std::nullopt;
  if (!number || !binary->hasOneUse()) {
    return 0;
  }
  value = binary.getLhs();
  return *number;
}

/// `cast(cast(cast(round(x) + zero)) - zero)`, f32 to 8 bits to i32 to f32, is `round(x)` between the least
/// and the greatest number that the 8 bits leave it.
struct StayFloat : OpRewritePattern<CastOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(CastOp op, PatternRewriter &rewriter) const override {
    Value value = op.getX();
    Type f32 = rewriter.getF32Type();
    double subtracted = takeNumber(value, BinaryKind::Sub);
    auto bytes = value.getDefiningOp<CastOp>();
    if (bytes && getElementType(bytes.getResult()).isInteger(32) && bytes->hasOneUse()) {
      bytes = bytes.getX().getDefiningOp<CastOp>();
    }
    if (getElementType(op.getResult()) != f32 || !bytes || !getElementType(bytes.getResult()).isInteger(8) ||
        !bytes->hasOneUse() || getElementType(bytes.getX()) != f32) {
      return rewriter.notifyMatchFailure(op, "no integers of 8 bits that become floats again");
    }
    Value rounded = bytes.getX();
    double added = takeNumber(rounded, BinaryKind::Add);
    auto round = rounded.getDefiningOp<UnaryOp>();
    if (added != subtracted || !round || round.getKind() != UnaryKind::Round) {
      return rewriter.notifyMatchFailure(op,
                                         "what becomes 8 bits is no rounded number and the same zero point");
    }
    Location loc = op.getLoc();
    bool isUnsigned = getElementType(bytes.getResult()).isUnsignedInteger();
    double least = isUnsigned ? 0 : -128, most = least + 255;
    auto bound = [&](double number) { return buildScalar(rewriter, loc, f32, number - added); };
    auto keep = [&](CompareKind kind, Value other, Value instead) {
      Value stays = buildCompare(rewriter, loc, kind, rounded, other);
      rounded = buildSelect(rewriter, loc, stays, rounded, instead);
    };
    // NaN becomes code 0; of unsigned numbers that is the least, which the comparison gives it.
    if (!isUnsigned) {
      keep(CompareKind::Equal, rounded, bound(0));
    }
    keep(CompareKind::Greater, bound(least), bound(least));
    keep(CompareKind::Less, bound(most), bound(most));
    rewriter.replaceOp(op, rounded);
    return success();
  }
};

struct KeepRoundedPass : lathe::nn::impl::KeepRoundedPassBase<KeepRoundedPass> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<StayFloat>(&getContext());
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns)))) {
      signalPassFailure();
    }
  }
};

} // namespace
