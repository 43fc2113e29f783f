// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Verification and sizes of the ops that look at neighbours in space.

#include "lathe/Dialect/NN/IR/NNSpatial.h"

#include "VerifyUtils.h"
#include "lathe/Dialect/NN/IR/ShapeArith.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::nn;
using namespace lathe::nn::detail;

#include "lathe/Dialect/NN/IR/NNSpatialEnums.cpp.inc"

#define GET_OP_CLASSES
#include "lathe/Dialect/NN/IR/NNSpatialOps.cpp.inc"

using InferredDims = FailureOr<SmallVector<Dims>>;

/// All rows of a result: what is parallel, but for its last two dimensions.
static OpFoldResult countRows(OpBuilder &builder, Location loc, ArrayRef<Dims> resultDims) {
  return productOfSizes(builder, loc, ArrayRef<OpFoldResult>(resultDims.front()).drop_back(2));
}

static ArrayRef<int64_t> getShape(Value tensor) {
  return cast<RankedTensorType>(tensor.getType()).getShape();
}

/// Checks that there are `count` numbers from `lowest` to kMaxDim; unknown ones are values.
static LogicalResult verifyNumbers(Operation *op, StringRef name, ArrayRef<int64_t> numbers, int64_t count,
                                   int64_t lowest) {
  if (int64_t(numbers.size()) != count) {
    return op->emitOpError() << "expects " << count << " " << name << ", but there are " << numbers.size();
  }
  for (int64_t number : numbers) {
    if (!ShapedType::isDynamic(number) && (number < lowest || number > kMaxDim)) {
      return op->emitOpError() << "expects " << name << " from " << lowest << " to " << kMaxDim
                               << ", but there is " << number;
    }
  }
  return success();
}

/// The same for numbers that are no values.
static LogicalResult verifySteps(Operation *op, StringRef name, ArrayRef<int64_t> numbers, int64_t count) {
  if (llvm::any_of(numbers, ShapedType::isDynamic)) {
    return op->emitOpError() << "expects known " << name;
  }
  return verifyNumbers(op, name, numbers, count, 1);
}

static LogicalResult verifyMixedNumbers(Operation *op, StringRef name, ValueRange values,
                                        ArrayRef<int64_t> numbers, int64_t count) {
  return failure(failed(verifyMixed(op, name, values, numbers)) ||
                 failed(verifyNumbers(op, name, numbers, count, 0)));
}

//===----------------------------------------------------------------------===//
// PoolOp
//===----------------------------------------------------------------------===//

SmallVector<OpFoldResult> PoolOp::getMixedSizes() {
  return getMixedValues(getStaticSizes(), getSizes(), getContext());
}

LogicalResult PoolOp::verify() {
  int64_t rank = getShape(getX()).size(), spatial = rank - 2;
  if (rank < 3) {
    return emitOpError() << "expects x to have rank 3 or more, but it is " << getX().getType();
  }
  bool isArgMax = getKind() == PoolKind::ArgMax;
  bool isSum = getKind() == PoolKind::Mean || getKind() == PoolKind::Sum;
  if (failed(verifyTensors(*this)) ||
      failed(verifyElements(*this, "x", getX(), isSum ? ElementSet::Float : ElementSet::Numeric)) ||
      failed(verifySteps(*this, "window", getWindow(), spatial)) ||
      failed(verifySteps(*this, "strides", getStrides(), spatial)) ||
      failed(verifySteps(*this, "dilations", getDilations(), spatial)) ||
      failed(verifyMixedNumbers(*this, "before", getBefore(), getStaticBefore(), spatial)) ||
      failed(verifyMixedNumbers(*this, "after", getAfter(), getStaticAfter(), spatial)) ||
      failed(verifyMixedNumbers(*this, "sizes", getSizes(), getStaticSizes(), spatial))) {
    return failure();
  }
  Type element = getElementTypeOrSelf(getType());
  if (isArgMax && !element.isSignlessInteger(64)) {
    return emitOpError() << "expects a result of i64 elements, but it is " << getType();
  }
  if (!isArgMax && failed(verifySameElements(*this, "the result", getResult(), "x", getX()))) {
    return failure();
  }
  if (getCountPads() && getKind() != PoolKind::Mean) {
    return emitOpError() << "expects only mean to count pads, but it is " << stringifyPoolKind(getKind());
  }
  return verifyResultShapes(*this);
}

InferredDims PoolOp::inferDims(OpBuilder &builder, ArrayRef<Dims> operandDims) {
  const Dims &x = operandDims[0];
  if (x.size() < 3 || getStaticSizes().size() != x.size() - 2) {
    return failure();
  }
  Dims dims{x.front()};
  llvm::append_range(dims, getMixedSizes());
  dims.push_back(x.back());
  return SmallVector<Dims>{dims};
}

OpFoldResult PoolOp::getPartCount(OpBuilder &builder, ArrayRef<Dims>, ArrayRef<Dims> resultDims) {
  return countRows(builder, getLoc(), resultDims);
}

//===----------------------------------------------------------------------===//
// PadOp
//===----------------------------------------------------------------------===//

SmallVector<OpFoldResult> PadOp::getMixedBefore() {
  return getMixedValues(getStaticBefore(), getBefore(), getContext());
}
SmallVector<OpFoldResult> PadOp::getMixedAfter() {
  return getMixedValues(getStaticAfter(), getAfter(), getContext());
}

LogicalResult PadOp::verify() {
  int64_t rank = getShape(getX()).size();
  if (failed(verifyTensors(*this)) ||
      failed(verifySameElements(*this, "the result", getResult(), "x", getX())) ||
      failed(verifyMixedNumbers(*this, "before", getBefore(), getStaticBefore(), rank)) ||
      failed(verifyMixedNumbers(*this, "after", getAfter(), getStaticAfter(), rank))) {
    return failure();
  }
  if (bool(getValue()) != (getKind() == PadKind::Constant)) {
    return emitOpError() << "expects a value for constant and for nothing else, but it is "
                         << stringifyPadKind(getKind());
  }
  if (getValue() && (failed(verifyRank(*this, "the value", getValue(), 0)) ||
                     failed(verifySameElements(*this, "the value", getValue(), "x", getX())))) {
    return failure();
  }
  return verifyResultShapes(*this);
}

InferredDims PadOp::inferDims(OpBuilder &builder, ArrayRef<Dims> operandDims) {
  Dims dims = operandDims[0], before = getMixedBefore(), after = getMixedAfter();
  if (before.size() != dims.size() || after.size() != dims.size()) {
    return failure();
  }
  for (auto [dim, low, high] : llvm::zip_equal(dims, before, after)) {
    dim = addSizes(builder, getLoc(), dim, addSizes(builder, getLoc(), low, high));
  }
  return SmallVector<Dims>{dims};
}

OpFoldResult PadOp::getPartCount(OpBuilder &builder, ArrayRef<Dims>, ArrayRef<Dims> resultDims) {
  ArrayRef<OpFoldResult> dims = resultDims.front();
  return productOfSizes(builder, getLoc(), dims.drop_back(std::min<size_t>(dims.size(), 2)));
}

//===----------------------------------------------------------------------===//
// ResampleOp
//===----------------------------------------------------------------------===//

LogicalResult ResampleOp::verify() {
  int64_t rank = getShape(getX()).size(), count = getAxes().size();
  if (failed(verifyTensors(*this)) ||
      failed(verifySameElements(*this, "the result", getResult(), "x", getX()))) {
    return failure();
  }
  if (count == 0 || !llvm::is_sorted(getAxes()) ||
      std::adjacent_find(getAxes().begin(), getAxes().end()) != getAxes().end() || getAxes().front() < 0 ||
      getAxes().back() >= rank - 1) {
    return emitOpError() << "expects sorted axes from 0 to " << rank - 2 << ", but they are [" << getAxes()
                         << "]";
  }
  if (int64_t(getPositions().size()) != count ||
      (!getWeights().empty() && int64_t(getWeights().size()) != count)) {
    return emitOpError() << "expects one table of positions, and one or no table of weights, for each of "
                         << count << " axes, but there are " << getPositions().size() << " and "
                         << getWeights().size();
  }
  if (!getWeights().empty() && failed(verifyElements(*this, "x", getX(), ElementSet::Float))) {
    return failure();
  }
  for (auto [i, positions] : llvm::enumerate(getPositions())) {
    if (failed(verifyRank(*this, "positions", positions, 2))) {
      return failure();
    }
    if (!getElementTypeOrSelf(positions.getType()).isSignlessInteger(64)) {
      return emitOpError() << "expects positions of i64 elements, but there is " << positions.getType();
    }
    int64_t taps = getShape(positions)[1];
    if (getWeights().empty()) {
      if (taps != 1) {
        return emitOpError() << "expects one tap where there are no weights, but there is "
                             << positions.getType();
      }
      continue;
    }
    Value weights = getWeights()[i];
    if (failed(verifyRank(*this, "weights", weights, 2)) ||
        failed(verifyElements(*this, "weights", weights, ElementSet::Float)) ||
        failed(verifySameSize(*this, "the rows of weights", getShape(weights)[0], "those of positions",
                              getShape(positions)[0])) ||
        failed(
            verifySameSize(*this, "the taps of weights", getShape(weights)[1], "those of positions", taps))) {
      return failure();
    }
  }
  return verifyResultShapes(*this);
}

InferredDims ResampleOp::inferDims(OpBuilder &builder, ArrayRef<Dims> operandDims) {
  Dims dims = operandDims[0];
  if (getAxes().size() != getPositions().size()) {
    return failure();
  }
  for (auto [i, axis] : llvm::enumerate(getAxes())) {
    const Dims &positions = operandDims[1 + i];
    if (axis < 0 || axis >= int64_t(dims.size()) || positions.size() != 2) {
      return failure();
    }
    dims[axis] = positions.front();
  }
  return SmallVector<Dims>{dims};
}

OpFoldResult ResampleOp::getPartCount(OpBuilder &builder, ArrayRef<Dims>, ArrayRef<Dims> resultDims) {
  return countRows(builder, getLoc(), resultDims);
}

//===----------------------------------------------------------------------===//
// SumWindowsOp
//===----------------------------------------------------------------------===//

SmallVector<OpFoldResult> SumWindowsOp::getMixedSizes() {
  return getMixedValues(getStaticSizes(), getSizes(), getContext());
}

LogicalResult SumWindowsOp::verify() {
  int64_t rank = getShape(getX()).size(), spatial = (rank - 2) / 2;
  if (rank < 4 || rank % 2 != 0) {
    return emitOpError() << "expects x to have an even rank of 4 or more, but it is " << getX().getType();
  }
  if (failed(verifyTensors(*this)) || failed(verifyElements(*this, "x", getX(), ElementSet::Numeric)) ||
      failed(verifySameElements(*this, "the result", getResult(), "x", getX())) ||
      failed(verifySteps(*this, "strides", getStrides(), spatial)) ||
      failed(verifySteps(*this, "dilations", getDilations(), spatial)) ||
      failed(verifyMixedNumbers(*this, "before", getBefore(), getStaticBefore(), spatial)) ||
      failed(verifyMixedNumbers(*this, "sizes", getSizes(), getStaticSizes(), spatial))) {
    return failure();
  }
  return verifyResultShapes(*this);
}

InferredDims SumWindowsOp::inferDims(OpBuilder &builder, ArrayRef<Dims> operandDims) {
  const Dims &x = operandDims[0];
  if (x.size() < 4 || getStaticSizes().size() != (x.size() - 2) / 2) {
    return failure();
  }
  Dims dims{x.front()};
  llvm::append_range(dims, getMixedSizes());
  dims.push_back(x.back());
  return SmallVector<Dims>{dims};
}

OpFoldResult SumWindowsOp::getPartCount(OpBuilder &builder, ArrayRef<Dims>, ArrayRef<Dims> resultDims) {
  return countRows(builder, getLoc(), resultDims);
}
