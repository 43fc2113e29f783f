// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Dialect/NN/IR/ShapeArith.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace lathe::nn;

/// Creates an index op on two sizes.
template <typename OpTy>
static OpFoldResult createIndexOp(OpBuilder &builder, Location loc, OpFoldResult lhs, OpFoldResult rhs) {
  return builder.createOrFold<OpTy>(loc, getValueOrCreateConstantIndexOp(builder, loc, lhs),
                                    getValueOrCreateConstantIndexOp(builder, loc, rhs));
}

// Constants are folded here and not by `createOrFold`, which would leave their `arith.constant`s behind. A
// sum or product that overflows is left to the run, where it is checked against the largest size.

OpFoldResult lathe::nn::addSizes(OpBuilder &builder, Location loc, OpFoldResult lhs, OpFoldResult rhs) {
  std::optional<int64_t> left = getConstantIntValue(lhs), right = getConstantIntValue(rhs);
  int64_t sum;
  if (left && right && !llvm::AddOverflow(*left, *right, sum)) {
    return builder.getIndexAttr(sum);
  }
  if (left == 0) {
    return rhs;
  }
  if (right == 0) {
    return lhs;
  }
  return createIndexOp<arith::AddIOp>(builder, loc, lhs, rhs);
}

OpFoldResult lathe::nn::subSizes(OpBuilder &builder, Location loc, OpFoldResult lhs, OpFoldResult rhs) {
  std::optional<int64_t> left = getConstantIntValue(lhs), right = getConstantIntValue(rhs);
  int64_t difference;
  if (left && right && !llvm::SubOverflow(*left, *right, difference)) {
    return builder.getIndexAttr(difference);
  }
  if (right == 0) {
    return lhs;
  }
  if (areSameSize(lhs, rhs)) {
    return builder.getIndexAttr(0);
  }
  return createIndexOp<arith::SubIOp>(builder, loc, lhs, rhs);
}

OpFoldResult lathe::nn::mulSizes(OpBuilder &builder, Location loc, OpFoldResult lhs, OpFoldResult rhs) {
  std::optional<int64_t> left = getConstantIntValue(lhs), right = getConstantIntValue(rhs);
  int64_t product;
  if (left && right && !llvm::MulOverflow(*left, *right, product)) {
    return builder.getIndexAttr(product);
  }
  if (left == 0 || right == 0) {
    return builder.getIndexAttr(0);
  }
  if (left == 1) {
    return rhs;
  }
  if (right == 1) {
    return lhs;
  }
  return createIndexOp<arith::MulIOp>(builder, loc, lhs, rhs);
}

OpFoldResult lathe::nn::floorDivSize(OpBuilder &builder, Location loc, OpFoldResult lhs, int64_t divisor) {
  if (divisor == 1) {
    return lhs;
  }
  if (std::optional<int64_t> left = getConstantIntValue(lhs)) {
    return builder.getIndexAttr(llvm::divideFloorSigned(*left, divisor));
  }
  return createIndexOp<arith::FloorDivSIOp>(builder, loc, lhs, builder.getIndexAttr(divisor));
}

OpFoldResult lathe::nn::productOfSizes(OpBuilder &builder, Location loc, ArrayRef<OpFoldResult> sizes) {
  OpFoldResult product = builder.getIndexAttr(1);
  for (OpFoldResult size : sizes) {
    product = mulSizes(builder, loc, product, size);
  }
  return product;
}

std::optional<std::pair<Value, Value>> lathe::nn::getBroadcastSizes(Value size) {
  auto select = size.getDefiningOp<arith::SelectOp>();
  auto isOne = select ? select.getCondition().getDefiningOp<arith::CmpIOp>() : arith::CmpIOp();
  if (!isOne || isOne.getPredicate() != arith::CmpIPredicate::eq ||
      isOne.getLhs() != select.getFalseValue() || getConstantIntValue(isOne.getRhs()) != 1) {
    return std::nullopt;
  }
  return std::pair(select.getFalseValue(), select.getTrueValue());
}

/// The sizes that `size` is what they broadcast to: `size` itself, or those behind `getBroadcastSizes`.
static SmallVector<Value> getBroadcastLeaves(Value size) {
  // Trees of broadcasts grow with the number of operands that meet in a model; a few levels are enough.
  constexpr size_t kLimit = 16;
  SmallVector<Value> pending{size}, leaves;
  while (!pending.empty()) {
    Value value = pending.pop_back_val();
    std::optional<std::pair<Value, Value>> sizes = getBroadcastSizes(value);
    if (sizes && leaves.size() + pending.size() < kLimit) {
      pending.append({sizes->second, sizes->first});
    } else if (!llvm::is_contained(leaves, value)) {
      leaves.push_back(value);
    }
  }
  return leaves;
}

bool lathe::nn::areSameSize(OpFoldResult lhs, OpFoldResult rhs) {
  if (lhs == rhs) {
    return true;
  }
  std::optional<int64_t> left = getConstantIntValue(lhs), right = getConstantIntValue(rhs);
  if (left || right) {
    return left && right && *left == *right;
  }
  // The broadcast of the same sizes, whatever order they met in.
  SmallVector<Value> leaves = getBroadcastLeaves(cast<Value>(lhs)),
                     others = getBroadcastLeaves(cast<Value>(rhs));
  return leaves.size() == others.size() &&
         llvm::all_of(others, [&](Value size) { return llvm::is_contained(leaves, size); });
}

bool lathe::nn::areDifferentSizes(OpFoldResult lhs, OpFoldResult rhs) {
  std::optional<int64_t> left = getConstantIntValue(lhs), right = getConstantIntValue(rhs);
  return left && right && *left != *right;
}

/// Whether `size` evidently broadcasts to one of `others`: it is one of them, or the minimum of one of them
/// and a positive constant. (The minimum with 0 is no size that 1 is.)
static bool broadcastsTo(Value size, ArrayRef<Value> others) {
  if (llvm::is_contained(others, size)) {
    return true;
  }
  Operation *op = size.getDefiningOp();
  return op && isa<arith::MinSIOp, arith::MinUIOp>(op) && llvm::all_of(op->getOperands(), [&](Value operand) {
           return llvm::is_contained(others, operand) || getConstantIntValue(operand).value_or(0) > 0;
         });
}

/// `lhs == 1 ? rhs : lhs`. The larger one would be wrong where one is 1 and the other 0.
static OpFoldResult createBroadcast(OpBuilder &builder, Location loc, Value lhs, Value rhs) {
  Value isOne = builder.createOrFold<arith::CmpIOp>(loc, arith::CmpIPredicate::eq, lhs,
                                                    arith::ConstantIndexOp::create(builder, loc, 1));
  return builder.createOrFold<arith::SelectOp>(loc, isOne, rhs, lhs);
}

FailureOr<OpFoldResult> lathe::nn::broadcastSizes(OpBuilder &builder, Location loc, OpFoldResult lhs,
                                                  OpFoldResult rhs) {
  if (areSameSize(lhs, rhs)) {
    return lhs;
  }
  std::optional<int64_t> left = getConstantIntValue(lhs), right = getConstantIntValue(rhs);
  if (left == 1) {
    return rhs;
  }
  if (right == 1) {
    return lhs;
  }
  if (left && right) {
    return failure();
  }
  if (left || right) {
    return left ? lhs : rhs;
  }
  // Residual connections meet the same sizes again and again; without this the formula would grow in every
  // layer.
  SmallVector<Value> leaves = getBroadcastLeaves(cast<Value>(lhs)),
                     others = getBroadcastLeaves(cast<Value>(rhs));
  if (llvm::all_of(others, [&](Value size) { return broadcastsTo(size, leaves); })) {
    return lhs;
  }
  if (llvm::all_of(leaves, [&](Value size) { return broadcastsTo(size, others); })) {
    return rhs;
  }
  for (Value size : others) {
    if (!broadcastsTo(size, leaves)) {
      lhs = createBroadcast(builder, loc, cast<Value>(lhs), size);
    }
  }
  return lhs;
}

FailureOr<Dims> lathe::nn::broadcastDims(OpBuilder &builder, Location loc, ArrayRef<OpFoldResult> lhs,
                                         ArrayRef<OpFoldResult> rhs) {
  if (lhs.size() < rhs.size()) {
    std::swap(lhs, rhs);
  }
  Dims dims(lhs);
  size_t extra = lhs.size() - rhs.size();
  for (auto [dim, other] : llvm::zip_equal(MutableArrayRef(dims).drop_front(extra), rhs)) {
    FailureOr<OpFoldResult> size = broadcastSizes(builder, loc, dim, other);
    if (failed(size)) {
      return failure();
    }
    dim = *size;
  }
  return dims;
}

SmallVector<int64_t> lathe::nn::getStaticSizes(ArrayRef<OpFoldResult> dims) {
  return llvm::map_to_vector(dims, [](OpFoldResult dim) {
    std::optional<int64_t> number = getConstantIntValue(dim);
    return number && *number >= 0 ? *number : ShapedType::kDynamic;
  });
}

FailureOr<SmallVector<SmallVector<int64_t>>> lathe::nn::inferStaticShapes(Operation *op) {
  auto shapeOp = dyn_cast<ShapeOpInterface>(op);
  if (!shapeOp) {
    return failure();
  }
  // Unknown sizes are arguments of a block that exists only here, all of them distinct.
  Block scratch;
  OpBuilder builder(op->getContext());
  builder.setInsertionPointToStart(&scratch);
  Type index = builder.getIndexType();
  SmallVector<Dims> operandDims;
  for (Type type : op->getOperandTypes()) {
    Dims &dims = operandDims.emplace_back();
    if (auto tensor = dyn_cast<RankedTensorType>(type)) {
      for (int64_t size : tensor.getShape()) {
        dims.push_back(ShapedType::isDynamic(size) ? OpFoldResult(scratch.addArgument(index, op->getLoc()))
                                                   : OpFoldResult(builder.getIndexAttr(size)));
      }
    }
  }
  FailureOr<SmallVector<Dims>> results = shapeOp.inferDims(builder, operandDims);
  if (failed(results)) {
    return failure();
  }
  return llvm::map_to_vector(*results, [](const Dims &dims) { return getStaticSizes(dims); });
}

LogicalResult lathe::nn::detail::reifyFromInferDims(Operation *op, OpBuilder &builder,
                                                    ReifiedRankedShapedTypeDims &dims) {
  SmallVector<Dims> operandDims;
  for (Value operand : op->getOperands()) {
    operandDims.push_back(isa<RankedTensorType>(operand.getType())
                              ? tensor::getMixedSizes(builder, op->getLoc(), operand)
                              : Dims());
  }
  FailureOr<SmallVector<Dims>> results = cast<ShapeOpInterface>(op).inferDims(builder, operandDims);
  if (failed(results) || results->size() != op->getNumResults()) {
    return failure();
  }
  // Callers take an attribute exactly where the type is static.
  for (auto [result, resultDims] : llvm::zip_equal(op->getResults(), *results)) {
    auto type = cast<RankedTensorType>(result.getType());
    if (type.getRank() != int64_t(resultDims.size())) {
      return failure();
    }
    for (auto [size, dim] : llvm::zip_equal(type.getShape(), resultDims)) {
      if (!ShapedType::isDynamic(size)) {
        dim = builder.getIndexAttr(size);
      } else {
        dim = getValueOrCreateConstantIndexOp(builder, op->getLoc(), dim);
      }
    }
  }
  dims = std::move(*results);
  return success();
}
