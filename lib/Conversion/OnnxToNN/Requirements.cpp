// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What must hold between the sizes of an op's operands. Types and symbols say much of it; the rest is
/// checked while the model runs, so that no kernel reads beyond a tensor.

#include "Legalizer.h"

#include "lathe/Dialect/NN/IR/NNInteger.h"
#include "lathe/Dialect/NN/IR/NNOrder.h"
#include "lathe/Dialect/NN/IR/NNRecurrent.h"
#include "lathe/Dialect/NN/IR/NNSampling.h"
#include "lathe/Dialect/NN/IR/NNScatter.h"

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

LogicalResult lathe::onnx::requireVector(LegalizeContext &c, unsigned i, Size size, StringRef what) {
  Sizes dims = c.shapeOf(i);
  if (dims.size() != 1) {
    return c.error("E0307", llvm::formatv("{0} has {1} dimensions, must have 1", what, dims.size()).str());
  }
  std::optional<int64_t> own = getConstantIntValue(dims[0]), wanted = getConstantIntValue(size);
  if (own && wanted && *own != *wanted) {
    return c.error("E0307", llvm::formatv("{0} has {1} elements, must have {2}", what, *own, *wanted).str());
  }
  if (!c.sizes.isSame(dims[0], size)) {
    c.require(c.sizes.compare(CompareKind::Equal, dims[0], size), what + " has a length that does not fit");
  }
  return success(!c.hasFailed());
}

static void requireAtMost(LegalizeContext &c, Size size, Size limit) {
  if (!c.sizes.isSame(size, limit)) {
    c.require(c.sizes.compare(CompareKind::LessOrEqual, size, limit),
              "the operands have dimensions that do not fit");
  }
}

/// An operand, absent if null, has exactly these dimensions.
static void requireDims(LegalizeContext &c, Value operand, ArrayRef<Size> dims) {
  if (operand) {
    for (auto [size, wanted] : llvm::zip_equal(c.shapeOf(operand), dims)) {
      requireEqual(c, size, wanted);
    }
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

template <typename OpTy>
static void requireMatMul(LegalizeContext &c, OpTy op) {
  Sizes lhs = c.shapeOf(op.getLhs()), rhs = c.shapeOf(op.getRhs()), result = c.shapeOf(op.getResult());
  ArrayRef<Size> batch = ArrayRef<Size>(result).drop_back(2);
  requireEqual(c, lhs.back(), rhs[rhs.size() - 2]);
  requireBroadcast(c, ArrayRef<Size>(lhs).drop_back(2), batch);
  requireBroadcast(c, ArrayRef<Size>(rhs).drop_back(2), batch);
}

/// Of a product of bytes: `zero` may be null.
static void requireZero(LegalizeContext &c, Value zero, ArrayRef<Size> dims) {
  if (zero) {
    requireBroadcast(c, c.shapeOf(zero), dims);
  }
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

template <typename OpTy>
static void requireConv(LegalizeContext &c, OpTy op) {
  Sizes filter = c.shapeOf(op.getFilter());
  Size depth = c.sizes.mul(filter[filter.size() - 2], c.b.getIndexAttr(op.getGroups()));
  requireEqual(c, c.shapeOf(op.getX()).back(), depth);
}

static void requireRecurrent(LegalizeContext &c, nn::RecurrentOp op) {
  Sizes products = c.shapeOf(op.getProducts()), weights = c.shapeOf(op.getWeights());
  Size directions = c.b.getIndexAttr(op.getReverse().size()), units = weights[1];
  Sizes state{directions, products[1], units};
  requireEqual(c, products[2], directions);
  requireEqual(c, weights[0], directions);
  requireEqual(c, products[3], weights[2]);
  requireEqual(c, weights[2], c.sizes.mul(units, c.b.getIndexAttr(op.getGateCount())));
  requireDims(c, op.getRecurrentBias(), {directions, units});
  requireDims(c, op.getLengths(), {products[1]});
  requireDims(c, op.getInitialH(), state);
  requireDims(c, op.getInitialC(), state);
  requireDims(c, op.getPeepholes(), {directions, c.sizes.mul(units, c.b.getIndexAttr(3))});
}

/// Indices stand in the place of dimension `axis`; along the others there are no more than in `x`.
static void requireAlong(LegalizeContext &c, Value x, Value indices, uint64_t axis) {
  Sizes sizes = c.shapeOf(x);
  for (auto [dim, count] : llvm::enumerate(c.shapeOf(indices))) {
    if (dim != axis) {
      requireAtMost(c, count, sizes[dim]);
    }
  }
}

static void requireScatterND(LegalizeContext &c, nn::ScatterNDOp op) {
  Sizes x = c.shapeOf(op.getX()), dims = c.shapeOf(op.getIndices());
  std::optional<int64_t> tuple = getConstantIntValue(dims.pop_back_val());
  if (tuple && *tuple <= int64_t(x.size())) {
    dims.append(x.begin() + *tuple, x.end());
    requireDims(c, op.getUpdates(), dims);
  }
}

static void requireUpdateCache(LegalizeContext &c, nn::UpdateCacheOp op) {
  Sizes dims = c.shapeOf(op.getCache());
  for (auto [dim, size] : llvm::enumerate(c.shapeOf(op.getUpdate()))) {
    if (dim != op.getAxis()) {
      requireEqual(c, size, dims[dim]);
    }
  }
  requireDims(c, op.getStart(), {dims[0]});
}

static void requireDeformWindows(LegalizeContext &c, nn::DeformWindowsOp op) {
  Sizes offsets = c.shapeOf(op.getOffsets());
  requireEqual(c, c.shapeOf(op.getX())[0], offsets[0]);
  if (op.getMask()) {
    for (auto [size, wanted] : llvm::zip(c.shapeOf(op.getMask()), ArrayRef<Size>(offsets).take_front(3))) {
      requireEqual(c, size, wanted);
    }
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
  bool hasStaticResults = llvm::all_of(op->getResultTypes(), [](Type type) {
    auto tensor = dyn_cast<RankedTensorType>(type);
    return tensor && tensor.hasStaticShape();
  });
  if (op->getNumResults() == 0 || !isa<RankedTensorType>(op->getResult(0).getType()) ||
      (isStatic && hasStaticResults)) {
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
      .Case<nn::IntegerMatMulOp>([&](auto product) {
        requireMatMul(c, product);
        Sizes rows = c.shapeOf(product.getLhs()), columns = c.shapeOf(product.getRhs());
        rows.back() = columns[columns.size() - 2] = c.one();
        requireZero(c, product.getLhsZero(), rows);
        requireZero(c, product.getRhsZero(), columns);
      })
      .Case<nn::IntegerConvOp>([&](auto conv) {
        requireConv(c, conv);
        requireZero(c, conv.getFilterZero(), {c.shapeOf(conv.getFilter()).back()});
      })
      .Case<nn::GatherNDOp>([&](auto gather) { requireGatherND(c, gather); })
      .Case<nn::AttentionOp>([&](auto attention) { requireAttention(c, attention); })
      .Case<nn::ConvOp>([&](auto conv) { requireConv(c, conv); })
      .Case<nn::RecurrentOp>([&](auto recurrent) { requireRecurrent(c, recurrent); })
      .Case<nn::TopKOp>([&](auto top) {
        requireAtMost(c, getAsOpFoldResult(top.getK()), c.shapeOf(top.getX())[top.getAxis()]);
      })
      .Case<nn::ReverseSequenceOp>([&](auto reverse) {
        requireDims(c, reverse.getLengths(), {c.shapeOf(reverse.getX())[reverse.getTimeMajor() ? 1 : 0]});
      })
      .Case<nn::GatherElementsOp>(
          [&](auto gather) { requireAlong(c, gather.getX(), gather.getIndices(), gather.getAxis()); })
      .Case<nn::ScatterElementsOp>([&](auto scatter) {
        requireAlong(c, scatter.getX(), scatter.getIndices(), scatter.getAxis());
        requireDims(c, scatter.getUpdates(), c.shapeOf(scatter.getIndices()));
      })
      .Case<nn::ScatterNDOp>([&](auto scatter) { requireScatterND(c, scatter); })
      .Case<nn::UpdateCacheOp>([&](auto update) { requireUpdateCache(c, update); })
      .Case<nn::GridSampleOp>(
          [&](auto sample) { requireEqual(c, c.shapeOf(sample.getX())[0], c.shapeOf(sample.getGrid())[0]); })
      .Case<nn::DeformWindowsOp>([&](auto windows) { requireDeformWindows(c, windows); })
      .Case<nn::RoiAlignOp>([&](auto align) {
        requireEqual(c, c.shapeOf(align.getBoxes())[0], c.shapeOf(align.getImages())[0]);
      })
      .Case<nn::LayerNormOp, nn::RMSNormOp>([&](auto norm) { requireNorm(c, norm); })
      .Case<nn::PointwiseOpInterface>([&](auto) {
        Sizes dims = c.shapeOf(op->getResult(0));
        for (Value operand : op->getOperands()) {
          requireBroadcast(c, c.shapeOf(operand), dims);
        }
      });
}
