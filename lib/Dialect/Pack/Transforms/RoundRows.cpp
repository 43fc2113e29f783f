// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Rounds what is multiplied with weights of formats that say so.
///
/// 32 elements of a row that stand side by side become integers from -127 to 127 times their largest
/// magnitude divided by 127. They stay f32: products are those of the rounded numbers wherever they are
/// computed, and kernels that multiply bytes find the integers again without loss: `pack.rounded` says that
/// there are some.
///
/// Groups whose largest magnitude is less than 2^-100 are rounded as if it were that; NaN and infinities make
/// all products of their row not finite.

#include "lathe/Codegen/CPU/PassTarget.h"
#include "lathe/Dialect/NN/IR/Builders.h"
#include "lathe/Dialect/NN/IR/ShapeTracker.h"
#include "lathe/Dialect/NN/Transforms/Remarks.h"
#include "lathe/Dialect/Pack/IR/Pack.h"
#include "lathe/Dialect/Pack/IR/RowCodes.h"
#include "lathe/Dialect/Pack/Transforms/Passes.h"

#include "mlir/IR/BuiltinOps.h"

namespace lathe::pack {
#define GEN_PASS_DEF_ROUNDROWSPASS
#include "lathe/Dialect/Pack/Transforms/Passes.h.inc"
} // namespace lathe::pack

using namespace mlir;
using namespace lathe;
using namespace lathe::pack;
using nn::BinaryKind;

static constexpr llvm::StringLiteral kPass = "pack-round-rows";

/// Whether the product's weight has a format that rounds rows.
static bool roundsRows(nn::MatMulOp product) {
  auto decode = product.getRhs().getDefiningOp<DecodeOp>();
  return decode && decode.getX().getType().getFormat().roundsRows();
}

/// `x`, [..., depth], rounded where it is computed; null if its sizes are not known.
static Value buildRoundedRows(Value x, int64_t depth) {
  OpBuilder builder(x.getContext());
  builder.setInsertionPointAfterValue(x);
  Location loc = x.getLoc();
  nn::ShapeTracker tracker(builder);
  FailureOr<ArrayRef<OpFoldResult>> dims = tracker.getDims(x);
  if (failed(dims)) {
    return Value();
  }
  SmallVector<OpFoldResult> whole(*dims), split(dims->drop_back());
  split.push_back(builder.getIndexAttr(depth / PanelLayout::kRoundedGroup));
  split.push_back(builder.getIndexAttr(PanelLayout::kRoundedGroup));
  auto number = [&](double value) { return nn::buildScalar(builder, loc, builder.getF32Type(), value); };
  auto binary = [&](BinaryKind kind, Value lhs, Value rhs) {
    return nn::buildBinary(builder, loc, kind, lhs, rhs);
  };
  Value groups = nn::buildReshape(builder, loc, x, split);
  Value magnitudes = nn::buildUnary(builder, loc, nn::UnaryKind::Abs, groups);
  Value largest = nn::buildReduce(builder, loc, nn::ReduceKind::Max, magnitudes, {int64_t(split.size()) - 1},
                                  /*keepDims=*/true);
  largest = binary(BinaryKind::Max, largest, number(kLeastMagnitude));
  Value scaled = binary(BinaryKind::Mul, groups, binary(BinaryKind::Div, number(kLargestCode), largest));
  Value rounded = nn::buildUnary(builder, loc, nn::UnaryKind::Round, scaled);
  rounded = binary(BinaryKind::Mul, rounded, binary(BinaryKind::Mul, largest, number(1.0 / kLargestCode)));
  return nn::buildReshape(builder, loc, rounded, whole);
}

namespace {
struct RoundRowsPass : pack::impl::RoundRowsPassBase<RoundRowsPass> {
  using RoundRowsPassBase::RoundRowsPassBase;

  void runOnOperation() override {
    FailureOr<cpu::TargetSpec> spec = cpu::resolvePassTarget(getOperation(), target);
    if (failed(spec)) {
      return signalPassFailure();
    }
    bool pays = force || spec->hasAVX512VNNI;
    llvm::DenseMap<Value, Value> rounded;
    SmallVector<nn::MatMulOp> products;
    getOperation().walk([&](nn::MatMulOp product) {
      if (roundsRows(product)) {
        products.push_back(product);
      }
    });
    for (nn::MatMulOp product : products) {
      if (!pays) {
        nn::remarkMissed(product, kPass,
                         "its rows are not rounded to 8 bits: " + spec->name +
                             " has no dot products of bytes, which would gain by it");
        continue;
      }
      Value &rows = rounded[product.getLhs()];
      if (!rows) {
        rows = buildRoundedRows(product.getLhs(), product.getRhs().getType().getShape().front());
      }
      if (!rows) {
        nn::remarkMissed(product, kPass, "its rows are not rounded to 8 bits: their sizes are not known");
        continue;
      }
      product.getLhsMutable().assign(rows);
      product->setAttr(PackDialect::kRoundedAttr, UnitAttr::get(product.getContext()));
      nn::remarkPassed(product, kPass, "its rows are rounded to 8 bits");
    }
  }
};
} // namespace
