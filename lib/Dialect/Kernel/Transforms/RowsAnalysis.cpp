// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Dialect/Kernel/Transforms/RowsAnalysis.h"

#include "lathe/Dialect/Kernel/Transforms/RootRules.h"
#include "lathe/Dialect/NN/IR/ShapeArith.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::kernel;

SmallVector<int64_t> RowsSpace::getDims(bool reduced) const {
  SmallVector<int64_t> result;
  for (auto [dim, dimIsReduced] : llvm::enumerate(isReduced)) {
    if (dimIsReduced == reduced) {
      result.push_back(int64_t(dim));
    }
  }
  return result;
}

SmallVector<OpFoldResult> RowsSpace::getSizes(bool reduced) const {
  return llvm::map_to_vector(getDims(reduced), [&](int64_t dim) { return dims[dim]; });
}

/// The dimensions that a root reduces.
static SmallVector<bool> getReducedDims(Operation *root) {
  int64_t rank = cast<RankedTensorType>(root->getOperand(0).getType()).getRank();
  SmallVector<bool> isReduced(rank, false);
  if (auto reduce = dyn_cast<nn::ReduceOp>(root)) {
    for (int64_t axis : reduce.getAxes()) {
      isReduced[axis] = true;
    }
    return isReduced;
  }
  int64_t axis = rank - 1;
  if (auto norm = dyn_cast<nn::LayerNormOp>(root)) {
    axis = norm.getAxis();
  } else if (auto norm = dyn_cast<nn::RMSNormOp>(root)) {
    axis = norm.getAxis();
  }
  std::fill(isReduced.begin() + axis, isReduced.end(), true);
  return isReduced;
}

static bool isRowsRoot(Operation *op) {
  return isa<nn::ReduceOp, nn::SoftmaxOp, nn::LayerNormOp, nn::RMSNormOp>(op);
}

namespace {
/// Classifies the values of a would-be kernel.
class Analyzer {
public:
  Analyzer(nn::ShapeTracker &shapes, std::string &why) : shapes(shapes), why(why) {}

  FailureOr<RowsSpace> analyze(SmallVector<Operation *> ops, ArrayRef<Value> outputs);

private:
  LogicalResult refuse(Operation *op, const Twine &reason) {
    why = (op->getName().getStringRef() + " " + reason).str();
    return failure();
  }
  LogicalResult addRoot(Operation *op);
  LogicalResult addElementwise(Operation *op);
  FailureOr<SmallVector<OpFoldResult>> getDims(Value value);
  /// How a tensor of sizes `sizes` lies in the space; `Independent` if it does not.
  RowsExtent classify(ArrayRef<OpFoldResult> sizes);

  nn::ShapeTracker &shapes;
  std::string &why;
  RowsSpace space;
};
} // namespace

FailureOr<SmallVector<OpFoldResult>> Analyzer::getDims(Value value) {
  FailureOr<ArrayRef<OpFoldResult>> dims = shapes.getDims(value);
  if (failed(dims)) {
    why = "the sizes of an operand are not known";
    return failure();
  }
  return SmallVector<OpFoldResult>(*dims);
}

static bool areEqualShapes(ArrayRef<OpFoldResult> lhs, ArrayRef<OpFoldResult> rhs) {
  return lhs.size() == rhs.size() && llvm::all_of(llvm::zip_equal(lhs, rhs), [](auto pair) {
           return nn::areSameSize(std::get<0>(pair), std::get<1>(pair));
         });
}

RowsExtent Analyzer::classify(ArrayRef<OpFoldResult> sizes) {
  if (areEqualShapes(sizes, space.dims)) {
    return RowsExtent::Full;
  }
  if (areEqualShapes(sizes, space.getSizes(false))) {
    return RowsExtent::Dropped;
  }
  SmallVector<OpFoldResult> kept = space.dims;
  for (int64_t dim : space.getDims(true)) {
    kept[dim] = Builder(space.roots.front()->getContext()).getIndexAttr(1);
  }
  return areEqualShapes(sizes, kept) ? RowsExtent::Kept : RowsExtent::Independent;
}

LogicalResult Analyzer::addRoot(Operation *op) {
  std::string whyNot;
  if (getRootKind(op, whyNot) != RootKind::Rows) {
    return refuse(op, "is no reduction of rows");
  }
  FailureOr<SmallVector<OpFoldResult>> dims = getDims(op->getOperand(0));
  if (failed(dims)) {
    return failure();
  }
  SmallVector<bool> isReduced = getReducedDims(op);
  for (auto [dim, reduced] : llvm::zip_equal(*dims, isReduced)) {
    // With and without it a tensor would have the same shape.
    if (reduced && isConstantIntValue(dim, 1)) {
      return refuse(op, "reduces a dimension of one element");
    }
  }
  if (space.roots.empty()) {
    space.dims = *dims;
    space.isReduced = isReduced;
  } else if (!areEqualShapes(*dims, space.dims) || isReduced != space.isReduced) {
    return refuse(op, "does not reduce the same dimensions as the roots before it");
  }
  if (space.getExtent(op->getOperand(0)) != RowsExtent::Independent &&
      space.getExtent(op->getOperand(0)) != RowsExtent::Full) {
    return refuse(op, "reduces what has been reduced");
  }
  for (Value operand : op->getOperands().drop_front()) {
    if (space.getExtent(operand) != RowsExtent::Independent) {
      return refuse(op, "has a scale or a bias that depends on a reduction");
    }
  }
  space.roots.push_back(op);
  auto reduce = dyn_cast<nn::ReduceOp>(op);
  space.extents[op->getResult(0)] = !reduce                ? RowsExtent::Full
                                    : reduce.getKeepDims() ? RowsExtent::Kept
                                                           : RowsExtent::Dropped;
  return success();
}

LogicalResult Analyzer::addElementwise(Operation *op) {
  auto depends = [&](Value operand) { return space.getExtent(operand) != RowsExtent::Independent; };
  if (llvm::none_of(op->getOperands(), depends)) {
    return success();
  }
  FailureOr<SmallVector<OpFoldResult>> dims = getDims(op->getResult(0));
  if (failed(dims)) {
    return failure();
  }
  RowsExtent extent = classify(*dims);
  if (extent == RowsExtent::Independent) {
    return refuse(op, "has another shape than the rows");
  }
  bool isPointwise = isa<nn::PointwiseOpInterface>(op);
  if (!isPointwise && !isa<nn::ReshapeOp, nn::ExpandOp>(op)) {
    return refuse(op, "moves the result of a reduction");
  }
  for (Value operand : llvm::make_filter_range(op->getOperands(), depends)) {
    RowsExtent from = space.getExtent(operand);
    bool isAligned = from == extent || (from == RowsExtent::Kept && extent == RowsExtent::Full);
    // Between [rows] and [rows, 1], element i stays element i.
    isAligned |= isa<nn::ReshapeOp>(op) && from != RowsExtent::Full && extent != RowsExtent::Full;
    if (!isAligned) {
      return refuse(op, "takes elements of other rows");
    }
  }
  space.extents[op->getResult(0)] = extent;
  return success();
}

FailureOr<RowsSpace> Analyzer::analyze(SmallVector<Operation *> ops, ArrayRef<Value> outputs) {
  llvm::sort(ops, [](Operation *lhs, Operation *rhs) { return lhs->isBeforeInBlock(rhs); });
  for (Operation *op : ops) {
    if (failed(isRowsRoot(op) ? addRoot(op) : addElementwise(op))) {
      return failure();
    }
  }
  if (space.roots.empty()) {
    why = "there is no reduction";
    return failure();
  }
  if (!space.isTrailing()) {
    for (auto [value, extent] : space.extents) {
      if (extent == RowsExtent::Full && llvm::is_contained(outputs, value)) {
        why = "a reduction of other than the last dimension has a result for every element";
        return failure();
      }
    }
    for (Operation *root : space.roots) {
      if (!isa<nn::ReduceOp>(root)) {
        return refuse(root, "does not reduce the last dimension");
      }
    }
  }
  for (Value output : outputs) {
    FailureOr<SmallVector<OpFoldResult>> dims = getDims(output);
    if (failed(dims)) {
      return failure();
    }
    RowsExtent extent = classify(*dims);
    if (extent == RowsExtent::Independent || (extent == RowsExtent::Full && !space.isTrailing())) {
      why = "an output has another shape than the rows";
      return failure();
    }
    space.extents.try_emplace(output, extent);
  }
  return space;
}

FailureOr<RowsSpace> kernel::analyzeRows(ArrayRef<Operation *> ops, ArrayRef<Value> outputs,
                                         nn::ShapeTracker &shapes, std::string &why) {
  return Analyzer(shapes, why).analyze(SmallVector<Operation *>(ops), outputs);
}
