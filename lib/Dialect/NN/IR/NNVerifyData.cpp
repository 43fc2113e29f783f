// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Verifiers of the ops that move data.

#include "VerifyUtils.h"

#include "lathe/Dialect/NN/IR/Builders.h"

#include "mlir/Dialect/Utils/IndexingUtils.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace lathe::nn;
using namespace lathe::nn::detail;

static ArrayRef<int64_t> getShape(Value tensor) {
  return cast<RankedTensorType>(tensor.getType()).getShape();
}

LogicalResult ReshapeOp::verify() {
  if (failed(verifyTensors(*this)) ||
      failed(verifySameElements(*this, "the result", getResult(), "x", getX())) ||
      failed(verifyMixed(*this, "sizes", getDims(), getStaticDims())) || failed(verifyResultShapes(*this))) {
    return failure();
  }
  std::optional<int64_t> from = countElements(getShape(getX())), to = countElements(getStaticDims());
  if (!from || !to) {
    return emitOpError() << "expects shapes of less than 2^63 elements, but it reshapes " << getX().getType()
                         << " to " << formatShape(getStaticDims());
  }
  return verifySameSize(*this, "the number of elements of the result", *to, "that of x", *from);
}

LogicalResult ExpandOp::verify() {
  if (failed(verifyTensors(*this)) ||
      failed(verifySameElements(*this, "the result", getResult(), "x", getX())) ||
      failed(verifyMixed(*this, "sizes", getDims(), getStaticDims())) ||
      failed(verifyBroadcastTo(*this, "x", getX(), "the given sizes", getStaticDims()))) {
    return failure();
  }
  return verifyResultShapes(*this);
}

LogicalResult TransposeOp::verify() {
  if (failed(verifyTensors(*this)) ||
      failed(verifySameElements(*this, "the result", getResult(), "x", getX()))) {
    return failure();
  }
  if (int64_t(getPerm().size()) != getRank(getX()) || !isPermutationVector(getPerm())) {
    return emitOpError() << "expects a permutation of the " << getRank(getX())
                         << " dimensions of x, but it is " << formatShape(getPerm());
  }
  return verifyResultShapes(*this);
}

/// Whether a slice stays within a dimension of `size` elements, as far as the numbers are known.
static bool isWithin(int64_t size, int64_t offset, int64_t count, int64_t stride) {
  // A part of unknown size may be empty.
  if (ShapedType::isDynamic(size) || ShapedType::isDynamic(count) || count == 0) {
    return true;
  }
  bool isOffsetKnown = !ShapedType::isDynamic(offset);
  if (isOffsetKnown && offset >= size) {
    return false;
  }
  int64_t reach, last;
  if (llvm::MulOverflow(count - 1, stride, reach) ||
      llvm::AddOverflow(reach, isOffsetKnown ? offset : int64_t(0), last)) {
    return false;
  }
  return isOffsetKnown ? last >= 0 && last < size : reach < size && reach > -size;
}

bool lathe::nn::detail::isSliceWithin(ArrayRef<int64_t> shape, ArrayRef<int64_t> offsets,
                                      ArrayRef<int64_t> sizes, ArrayRef<int64_t> strides) {
  for (auto [size, offset, count, stride] : llvm::zip_equal(shape, offsets, sizes, strides)) {
    if (!isWithin(size, offset, count, stride)) {
      return false;
    }
  }
  return true;
}

LogicalResult SliceOp::verify() {
  if (failed(verifyTensors(*this)) ||
      failed(verifySameElements(*this, "the result", getResult(), "x", getX())) ||
      failed(verifyMixed(*this, "offsets", getOffsets(), getStaticOffsets())) ||
      failed(verifyMixed(*this, "sizes", getSizes(), getStaticSizes()))) {
    return failure();
  }
  size_t rank = getRank(getX());
  if (getStaticOffsets().size() != rank || getStaticSizes().size() != rank ||
      getStaticStrides().size() != rank) {
    return emitOpError() << "expects one offset, size and stride per dimension of x, " << rank
                         << ", but there are " << getStaticOffsets().size() << ", " << getStaticSizes().size()
                         << " and " << getStaticStrides().size();
  }
  for (size_t axis = 0; axis < rank; ++axis) {
    if (getStaticStrides()[axis] == 0) {
      return emitOpError() << "expects strides that are not zero, but that of dimension " << axis << " is";
    }
    int64_t size = getShape(getX())[axis], offset = getStaticOffsets()[axis], count = getStaticSizes()[axis];
    int64_t stride = getStaticStrides()[axis];
    if (!isWithin(size, offset, count, stride)) {
      return emitOpError() << "expects elements within the " << size << " of dimension " << axis
                           << ", but takes " << formatSize(count) << " from " << formatSize(offset)
                           << " with stride " << stride;
    }
  }
  return verifyResultShapes(*this);
}

LogicalResult ConcatOp::verify() {
  if (getInputs().empty()) {
    return emitOpError() << "expects at least one input";
  }
  Value first = getInputs().front();
  if (failed(verifyTensors(*this)) ||
      failed(verifySameElements(*this, "the result", getResult(), "the inputs", first)) ||
      failed(verifyAxis(*this, getAxis(), first))) {
    return failure();
  }
  for (Value input : getInputs().drop_front()) {
    if (failed(verifySameElements(*this, "an input", input, "the first", first)) ||
        failed(verifyRank(*this, "an input", input, getRank(first)))) {
      return failure();
    }
    for (int64_t axis = 0; axis < getRank(first); ++axis) {
      if (axis != int64_t(getAxis()) &&
          failed(verifySameSize(*this, "a size of an input", getShape(input)[axis], "that of the first",
                                getShape(first)[axis]))) {
        return failure();
      }
    }
  }
  return verifyResultShapes(*this);
}

LogicalResult GatherOp::verify() {
  if (failed(verifyTensors(*this)) ||
      failed(verifySameElements(*this, "the result", getResult(), "x", getX())) ||
      failed(verifyElements(*this, "indices", getIndices(), ElementSet::Index)) ||
      failed(verifyAxis(*this, getAxis(), getX()))) {
    return failure();
  }
  return verifyResultShapes(*this);
}

LogicalResult GatherNDOp::verify() {
  if (failed(verifyTensors(*this)) ||
      failed(verifySameElements(*this, "the result", getResult(), "x", getX())) ||
      failed(verifyElements(*this, "indices", getIndices(), ElementSet::Index))) {
    return failure();
  }
  int64_t batchDims = getBatchDims(), rank = getRank(getX());
  if (batchDims < 0 || batchDims >= std::min(rank, getRank(getIndices()))) {
    return emitOpError() << "expects batch_dims below the ranks of x and indices, " << rank << " and "
                         << getRank(getIndices()) << ", but it is " << batchDims;
  }
  int64_t tuple = getShape(getIndices()).back();
  if (ShapedType::isDynamic(tuple) || tuple < 1 || tuple > rank - batchDims) {
    return emitOpError() << "expects tuples of 1 to " << rank - batchDims << " indices, but indices is "
                         << getIndices().getType();
  }
  for (int64_t axis = 0; axis < batchDims; ++axis) {
    if (failed(verifySameSize(*this, "a batch size of indices", getShape(getIndices())[axis], "that of x",
                              getShape(getX())[axis]))) {
      return failure();
    }
  }
  return verifyResultShapes(*this);
}

LogicalResult RangeOp::verify() {
  if (failed(verifyTensors(*this)) ||
      failed(verifyElements(*this, "start", getStart(), ElementSet::Numeric)) ||
      failed(verifySameElements(*this, "step", getStep(), "start", getStart())) ||
      failed(verifySameElements(*this, "the result", getResult(), "start", getStart())) ||
      failed(verifyRank(*this, "start", getStart(), 0)) || failed(verifyRank(*this, "step", getStep(), 0))) {
    return failure();
  }
  if (std::optional<int64_t> size = getConstantIntValue(getSize()); size && *size < 0) {
    return emitOpError() << "expects a size that is not negative, but it is " << *size;
  }
  return verifyResultShapes(*this);
}

LogicalResult FromScalarsOp::verify() {
  if (failed(verifyTensors(*this))) {
    return failure();
  }
  auto type = cast<RankedTensorType>(getResult().getType());
  if (!type.getElementType().isInteger() || type.getElementTypeBitWidth() < 8) {
    return emitOpError() << "expects a result of integer elements, but it is " << type;
  }
  if (type.getRank() > 1 || type.getNumElements() != int64_t(getElements().size())) {
    return emitOpError() << "expects a result of rank 0 or 1 with " << getElements().size()
                         << " elements, but it is " << type;
  }
  return success();
}
