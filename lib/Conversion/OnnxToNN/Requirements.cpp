// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What must hold between the sizes of an op's operands. Types and symbols say much of it; the rest is
/// checked while the model runs, so that no kernel reads beyond a tensor.

#include "Legalizer.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::CompareKind;

static void requireEqual(LegalizeContext &c, Size lhs, Size rhs) {
  if (!c.sizes.isSame(lhs, rhs)) {
    c.require(c.sizes.compare(CompareKind::Equal, lhs, rhs), "the operands have dimensions that do not fit");
  }
}

void lathe::onnx::requireBroadcast(LegalizeContext &c, ArrayRef<Size> from, ArrayRef<Size> to) {
  if (from.size() > to.size()) {
    return; // the verifier's business
  }
  // Each is equal or 1.
  for (auto [size, wanted] : llvm::zip_equal(from, to.take_back(from.size()))) {
    if (getConstantIntValue(size) == 1 || c.sizes.isSame(size, wanted)) {
      continue;
    }
    Size isOne = c.sizes.compare(CompareKind::Equal, size, c.one());
    Size fits = c.sizes.max(isOne, c.sizes.compare(CompareKind::Equal, size, wanted));
    c.require(fits, "the operands have dimensions that do not broadcast");
  }
}

static void requireReshape(LegalizeContext &c, nn::ReshapeOp op) {
  Sizes from = c.shapeOf(op.getX()), to = c.shapeOf(op.getResult());
  if (!c.sizes.isSame(c.sizes.product(from), c.sizes.product(to))) {
    requireEqual(c, c.checkedProduct(from), c.checkedProduct(to));
  }
}

static void requireConcat(LegalizeContext &c, nn::ConcatOp op) {
  Sizes dims = c.shapeOf(op.getResult());
  for (Value input : op.getInputs()) {
    for (auto [axis, size] : llvm::enumerate(c.shapeOf(input))) {
      if (int64_t(axis) != int64_t(op.getAxis())) {
        requireEqual(c, size, dims[axis]);
      }
    }
  }
}

static void requireMatMul(LegalizeContext &c, nn::MatMulOp op) {
  Sizes lhs = c.shapeOf(op.getLhs()), rhs = c.shapeOf(op.getRhs()), result = c.shapeOf(op.getResult());
  ArrayRef<Size> batch = ArrayRef<Size>(result).drop_back(2);
  requireEqual(c, lhs.back(), rhs[rhs.size() - 2]);
  requireBroadcast(c, ArrayRef<Size>(lhs).drop_back(2), batch);
  requireBroadcast(c, ArrayRef<Size>(rhs).drop_back(2), batch);
}

static void requireGatherND(LegalizeContext &c, nn::GatherNDOp op) {
  Sizes x = c.shapeOf(op.getX()), indices = c.shapeOf(op.getIndices());
  for (int64_t i = 0; i < int64_t(op.getBatchDims()); ++i) {
    requireEqual(c, x[i], indices[i]);
  }
}

static void requireAttention(LegalizeContext &c, nn::AttentionOp op) {
  Sizes q = c.shapeOf(op.getQ()), k = c.shapeOf(op.getK()), v = c.shapeOf(op.getV());
  requireEqual(c, q[0], k[0]);
  requireEqual(c, q[0], v[0]);
  requireEqual(c, k[1], v[1]);
  requireEqual(c, k[2], v[2]);
  requireEqual(c, q[3], k[3]);
  if (op.getMask()) {
    requireBroadcast(c, c.shapeOf(op.getMask()), {q[0], q[2], q[1], k[1]});
  }
}

/// Scale and bias of a norm.
static void requireNorm(LegalizeContext &c, Operation *op) {
  Sizes dims = c.shapeOf(op->getResult(0));
  for (Value parameter : op->getOperands().drop_front()) {
    requireBroadcast(c, c.shapeOf(parameter), dims);
  }
}

void lathe::onnx::requireSizes(LegalizeContext &c, Operation *op) {
  bool isStatic = llvm::all_of(op->getOperandTypes(), [](Type type) {
    auto tensor = dyn_cast<RankedTensorType>(type);
    return !tensor || tensor.hasStaticShape();
  });
  auto result =
      op->getNumResults() == 1 ? dyn_cast<RankedTensorType>(op->getResult(0).getType()) : RankedTensorType();
  if (!result || (isStatic && result.hasStaticShape())) {
    return; // all is known, and the verifier has seen it
  }
  OpBuilder::InsertionGuard guard(c.b);
  c.b.setInsertionPoint(op);
  llvm::TypeSwitch<Operation *>(op)
      .Case<nn::ReshapeOp>([&](auto reshape) { requireReshape(c, reshape); })
      .Case<nn::ExpandOp>(
          [&](auto expand) { requireBroadcast(c, c.shapeOf(expand.getX()), c.shapeOf(expand.getResult())); })
      .Case<nn::ConcatOp>([&](auto concat) { requireConcat(c, concat); })
      .Case<nn::MatMulOp>([&](auto product) { requireMatMul(c, product); })
      .Case<nn::GatherNDOp>([&](auto gather) { requireGatherND(c, gather); })
      .Case<nn::AttentionOp>([&](auto attention) { requireAttention(c, attention); })
      .Case<nn::LayerNormOp, nn::RMSNormOp>([&](auto norm) { requireNorm(c, norm); })
      .Case<nn::PointwiseOpInterface>([&](auto) {
        Sizes dims = c.shapeOf(op->getResult(0));
        for (Value operand : op->getOperands()) {
          requireBroadcast(c, c.shapeOf(operand), dims);
        }
      });
}
