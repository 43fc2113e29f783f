// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// How the sizes of results follow from those of operands. These functions also run on ops that are not
/// verified yet: they look at no result type and check every attribute they use.

#include "VerifyUtils.h"
#include "lathe/Dialect/NN/IR/ShapeArith.h"

#include "mlir/Dialect/Utils/IndexingUtils.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe::nn;

using InferredDims = FailureOr<SmallVector<Dims>>;
using OperandDims = ArrayRef<Dims>;

/// The dimensions of a single result.
static InferredDims single(Dims dims) { return SmallVector<Dims>{std::move(dims)}; }

/// Whether `axis` names one of `rank` dimensions.
static bool isAxis(int64_t axis, size_t rank) { return axis >= 0 && axis < int64_t(rank); }

//===----------------------------------------------------------------------===//
// Pointwise
//===----------------------------------------------------------------------===//

static InferredDims inferBroadcast(OpBuilder &builder, Location loc, OperandDims operandDims) {
  Dims dims = operandDims.front();
  for (const Dims &other : operandDims.drop_front()) {
    FailureOr<Dims> merged = broadcastDims(builder, loc, dims, other);
    if (failed(merged)) {
      return failure();
    }
    dims = std::move(*merged);
  }
  return single(dims);
}

InferredDims UnaryOp::inferDims(OpBuilder &builder, OperandDims operandDims) {
  return single(operandDims[0]);
}
InferredDims CastOp::inferDims(OpBuilder &builder, OperandDims operandDims) { return single(operandDims[0]); }
InferredDims BitCastOp::inferDims(OpBuilder &builder, OperandDims operandDims) {
  return single(operandDims[0]);
}
InferredDims BinaryOp::inferDims(OpBuilder &builder, OperandDims operandDims) {
  return inferBroadcast(builder, getLoc(), operandDims);
}
InferredDims CompareOp::inferDims(OpBuilder &builder, OperandDims operandDims) {
  return inferBroadcast(builder, getLoc(), operandDims);
}
InferredDims SelectOp::inferDims(OpBuilder &builder, OperandDims operandDims) {
  return inferBroadcast(builder, getLoc(), operandDims);
}

//===----------------------------------------------------------------------===//
// Reductions and norms
//===----------------------------------------------------------------------===//

static InferredDims inferReduction(OpBuilder &builder, ArrayRef<OpFoldResult> x, ArrayRef<int64_t> axes,
                                   bool keepDims) {
  if (!llvm::all_of(axes, [&](int64_t axis) { return isAxis(axis, x.size()); })) {
    return failure();
  }
  Dims dims;
  for (auto [axis, dim] : llvm::enumerate(x)) {
    if (!llvm::is_contained(axes, int64_t(axis))) {
      dims.push_back(dim);
    } else if (keepDims) {
      dims.push_back(builder.getIndexAttr(1));
    }
  }
  return single(dims);
}

InferredDims ReduceOp::inferDims(OpBuilder &builder, OperandDims operandDims) {
  return inferReduction(builder, operandDims[0], getAxes(), getKeepDims());
}
InferredDims ArgReduceOp::inferDims(OpBuilder &builder, OperandDims operandDims) {
  return inferReduction(builder, operandDims[0], int64_t(getAxis()), getKeepDims());
}
InferredDims SoftmaxOp::inferDims(OpBuilder &builder, OperandDims operandDims) {
  return single(operandDims[0]);
}
InferredDims LayerNormOp::inferDims(OpBuilder &builder, OperandDims operandDims) {
  return single(operandDims[0]);
}
InferredDims RMSNormOp::inferDims(OpBuilder &builder, OperandDims operandDims) {
  return single(operandDims[0]);
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

InferredDims lathe::nn::detail::inferMatMulDims(OpBuilder &builder, Location loc, OperandDims operandDims) {
  ArrayRef<OpFoldResult> lhs = operandDims[0], rhs = operandDims[1];
  if (lhs.size() < 2 || rhs.size() < 2 || areDifferentSizes(lhs.back(), rhs.drop_back().back())) {
    return failure();
  }
  FailureOr<Dims> dims = broadcastDims(builder, loc, lhs.drop_back(2), rhs.drop_back(2));
  if (failed(dims)) {
    return failure();
  }
  dims->push_back(lhs.drop_back().back());
  dims->push_back(rhs.back());
  return single(*dims);
}

InferredDims MatMulOp::inferDims(OpBuilder &builder, OperandDims operandDims) {
  return detail::inferMatMulDims(builder, getLoc(), operandDims);
}

InferredDims lathe::nn::detail::inferConvDims(OpBuilder &builder, Location loc, OperandDims operandDims,
                                              ArrayRef<int64_t> strides, ArrayRef<int64_t> pads,
                                              ArrayRef<int64_t> dilations) {
  ArrayRef<OpFoldResult> x = operandDims[0], filter = operandDims[1];
  if (x.size() < 3 || filter.size() != x.size()) {
    return failure();
  }
  size_t spatial = x.size() - 2;
  if (strides.size() != spatial || dilations.size() != spatial || pads.size() != 2 * spatial) {
    return failure();
  }
  Dims dims{x.front()};
  for (size_t i = 0; i < spatial; ++i) {
    int64_t padding;
    if (strides[i] <= 0 || dilations[i] <= 0 || llvm::AddOverflow(pads[i], pads[spatial + i], padding)) {
      return failure();
    }
    // The window covers dilation * (size - 1) + 1 elements.
    OpFoldResult reach = mulSizes(builder, loc, subSizes(builder, loc, filter[i], builder.getIndexAttr(1)),
                                  builder.getIndexAttr(dilations[i]));
    // With steps of one nothing is divided, and a window that is padded keeps the size itself.
    bool isStep = strides[i] != 1;
    OpFoldResult room = subSizes(builder, loc, builder.getIndexAttr(padding - (isStep ? 1 : 0)), reach);
    OpFoldResult size = addSizes(builder, loc, x[i + 1], room);
    if (isStep) {
      size = addSizes(builder, loc, floorDivSize(builder, loc, size, strides[i]), builder.getIndexAttr(1));
    }
    if (std::optional<int64_t> number = getConstantIntValue(size); number && *number < 0) {
      return failure();
    }
    dims.push_back(size);
  }
  dims.push_back(filter.back());
  return single(dims);
}

InferredDims ConvOp::inferDims(OpBuilder &builder, OperandDims operandDims) {
  return detail::inferConvDims(builder, getLoc(), operandDims, getStrides(), getPads(), getDilations());
}

InferredDims AttentionOp::inferDims(OpBuilder &builder, OperandDims operandDims) {
  const Dims &q = operandDims[0], &v = operandDims[2];
  if (q.size() != 4 || v.size() != 4) {
    return failure();
  }
  return single({q[0], q[1], q[2], v[3]});
}

//===----------------------------------------------------------------------===//
// Data movement
//===----------------------------------------------------------------------===//

InferredDims ReshapeOp::inferDims(OpBuilder &builder, OperandDims operandDims) {
  return single(getMixedDims());
}
InferredDims ExpandOp::inferDims(OpBuilder &builder, OperandDims operandDims) {
  return single(getMixedDims());
}
InferredDims SliceOp::inferDims(OpBuilder &builder, OperandDims operandDims) {
  return single(getMixedSizes());
}

InferredDims TransposeOp::inferDims(OpBuilder &builder, OperandDims operandDims) {
  if (getPerm().size() != operandDims[0].size() || !isPermutationVector(getPerm())) {
    return failure();
  }
  return single(llvm::map_to_vector(getPerm(), [&](int64_t dim) { return operandDims[0][dim]; }));
}

InferredDims ConcatOp::inferDims(OpBuilder &builder, OperandDims operandDims) {
  if (operandDims.empty() || !isAxis(getAxis(), operandDims[0].size())) {
    return failure();
  }
  Dims dims = operandDims[0];
  for (const Dims &other : operandDims.drop_front()) {
    if (other.size() != dims.size()) {
      return failure();
    }
    for (auto [axis, dim, otherDim] : llvm::enumerate(dims, other)) {
      if (axis == uint64_t(getAxis())) {
        dim = addSizes(builder, getLoc(), dim, otherDim);
      } else if (areDifferentSizes(dim, otherDim)) {
        return failure();
      } else if (getConstantIntValue(otherDim)) {
        // All are equal, and a number says more than a value.
        dim = otherDim;
      }
    }
  }
  return single(dims);
}

InferredDims GatherOp::inferDims(OpBuilder &builder, OperandDims operandDims) {
  ArrayRef<OpFoldResult> x = operandDims[0];
  if (!isAxis(getAxis(), x.size())) {
    return failure();
  }
  Dims dims(x.take_front(getAxis()));
  llvm::append_range(dims, operandDims[1]);
  llvm::append_range(dims, x.drop_front(getAxis() + 1));
  return single(dims);
}

InferredDims GatherNDOp::inferDims(OpBuilder &builder, OperandDims operandDims) {
  ArrayRef<OpFoldResult> x = operandDims[0], indices = operandDims[1];
  int64_t batchDims = getBatchDims();
  if (indices.empty() || batchDims < 0 || batchDims >= int64_t(indices.size())) {
    return failure();
  }
  std::optional<int64_t> tuple = getConstantIntValue(indices.back());
  if (!tuple || *tuple < 1 || *tuple > int64_t(x.size()) - batchDims) {
    return failure();
  }
  Dims dims(indices.drop_back());
  for (int64_t i = 0; i < batchDims; ++i) {
    if (areDifferentSizes(x[i], indices[i])) {
      return failure();
    }
    if (getConstantIntValue(x[i])) {
      dims[i] = x[i];
    }
  }
  llvm::append_range(dims, x.drop_front(batchDims + *tuple));
  return single(dims);
}

InferredDims RangeOp::inferDims(OpBuilder &builder, OperandDims operandDims) {
  return single({getAsOpFoldResult(getSize())});
}

InferredDims FromScalarsOp::inferDims(OpBuilder &builder, OperandDims operandDims) {
  // Rank 0 and rank 1 with one element differ by nothing but the result's type.
  auto type = dyn_cast<RankedTensorType>(getType());
  if (type && type.getRank() == 0 && operandDims.size() == 1) {
    return single({});
  }
  return single({builder.getIndexAttr(operandDims.size())});
}
