// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Verification and sizes of the ops that read a tensor at computed positions.

#include "lathe/Dialect/NN/IR/NNSampling.h"

#include "VerifyUtils.h"
#include "lathe/Dialect/NN/IR/ShapeArith.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::nn;
using namespace lathe::nn::detail;

#define GET_OP_CLASSES
#include "lathe/Dialect/NN/IR/NNSamplingOps.cpp.inc"

using InferredDims = FailureOr<SmallVector<Dims>>;

static ArrayRef<int64_t> getShape(Value tensor) {
  return cast<RankedTensorType>(tensor.getType()).getShape();
}

/// All rows of a result: [..., columns, C].
static OpFoldResult countRows(OpBuilder &builder, Location loc, ArrayRef<OpFoldResult> dims, size_t inner) {
  return productOfSizes(builder, loc, dims.drop_back(inner));
}

static LogicalResult verifyAtLeast(Operation *op, StringRef name, int64_t value, int64_t lowest) {
  if (value < lowest || value > kMaxDim) {
    return op->emitOpError() << "expects " << name << " from " << lowest << " to " << kMaxDim
                             << ", but it is " << value;
  }
  return success();
}

//===----------------------------------------------------------------------===//
// GridSampleOp
//===----------------------------------------------------------------------===//

LogicalResult GridSampleOp::verify() {
  int64_t rank = getShape(getX()).size();
  if (rank < 3) {
    return emitOpError() << "expects x to have rank 3 or more, but it is " << getX().getType();
  }
  bool isNearest = getKind() == SampleKind::Nearest;
  if (failed(verifyTensors(*this)) ||
      failed(verifyElements(*this, "x", getX(), isNearest ? ElementSet::Any : ElementSet::Float)) ||
      failed(verifyElements(*this, "grid", getGrid(), ElementSet::Float)) ||
      failed(verifySameElements(*this, "the result", getResult(), "x", getX())) ||
      failed(verifyRank(*this, "grid", getGrid(), rank)) ||
      failed(verifySameSize(*this, "the last size of grid", getShape(getGrid()).back(),
                            "the number of spatial dimensions of x", rank - 2)) ||
      failed(verifySameSize(*this, "the batch size of grid", getShape(getGrid()).front(), "that of x",
                            getShape(getX()).front()))) {
    return failure();
  }
  return verifyResultShapes(*this);
}

InferredDims GridSampleOp::inferDims(OpBuilder &builder, ArrayRef<Dims> operandDims) {
  if (operandDims[0].size() < 3 || operandDims[1].size() != operandDims[0].size()) {
    return failure();
  }
  Dims dims = operandDims[1];
  dims.back() = operandDims[0].back();
  return SmallVector<Dims>{dims};
}

OpFoldResult GridSampleOp::getPartCount(OpBuilder &builder, ArrayRef<Dims>, ArrayRef<Dims> resultDims) {
  return countRows(builder, getLoc(), resultDims.front(), /*inner=*/2);
}

//===----------------------------------------------------------------------===//
// DeformWindowsOp
//===----------------------------------------------------------------------===//

LogicalResult DeformWindowsOp::verify() {
  if (failed(verifyTensors(*this)) || failed(verifyElements(*this, "x", getX(), ElementSet::Float)) ||
      failed(verifySameElements(*this, "offsets", getOffsets(), "x", getX())) ||
      failed(verifySameElements(*this, "the result", getResult(), "x", getX())) ||
      failed(verifyRank(*this, "x", getX(), 4)) || failed(verifyRank(*this, "offsets", getOffsets(), 4)) ||
      failed(verifyAtLeast(*this, "groups", getGroups(), 1))) {
    return failure();
  }
  auto verifyPair = [&](StringRef name, ArrayRef<int64_t> values, int64_t lowest) -> LogicalResult {
    if (values.size() != 2) {
      return emitOpError() << "expects 2 " << name << ", but there are " << values.size();
    }
    return failure(failed(verifyAtLeast(*this, name, values[0], lowest)) ||
                   failed(verifyAtLeast(*this, name, values[1], lowest)));
  };
  if (failed(verifyPair("window", getWindow(), 1)) || failed(verifyPair("strides", getStrides(), 1)) ||
      failed(verifyPair("dilations", getDilations(), 1)) || failed(verifyPair("before", getBefore(), 0))) {
    return failure();
  }
  int64_t channels = getShape(getX()).back(), places = getWindow()[0] * getWindow()[1] * getGroups();
  if (!ShapedType::isDynamic(channels) && channels % getGroups() != 0) {
    return emitOpError() << "expects the channels of x to be a multiple of the groups, " << getGroups()
                         << ", but they are " << channels;
  }
  if (failed(verifySameSize(*this, "the last size of offsets", getShape(getOffsets()).back(),
                            "two for each element of a window", 2 * places))) {
    return failure();
  }
  if (Value mask = getMask();
      mask && (failed(verifySameElements(*this, "the mask", mask, "x", getX())) ||
               failed(verifyRank(*this, "the mask", mask, 4)) ||
               failed(verifySameSize(*this, "the last size of the mask", getShape(mask).back(),
                                     "one for each element of a window", places)))) {
    return failure();
  }
  return verifyResultShapes(*this);
}

InferredDims DeformWindowsOp::inferDims(OpBuilder &builder, ArrayRef<Dims> operandDims) {
  const Dims &x = operandDims[0], &offsets = operandDims[1];
  if (x.size() != 4 || offsets.size() != 4 || getWindow().size() != 2) {
    return failure();
  }
  return SmallVector<Dims>{
      {offsets[0], offsets[1], offsets[2], builder.getIndexAttr(getWindow()[0] * getWindow()[1]), x[3]}};
}

OpFoldResult DeformWindowsOp::getPartCount(OpBuilder &builder, ArrayRef<Dims>, ArrayRef<Dims> resultDims) {
  return countRows(builder, getLoc(), resultDims.front(), /*inner=*/3);
}

//===----------------------------------------------------------------------===//
// RoiAlignOp, RoiPoolOp
//===----------------------------------------------------------------------===//

template <typename OpTy>
static LogicalResult verifyBoxes(OpTy op, int64_t numbers) {
  if (failed(verifyTensors(op)) || failed(verifyElements(op, "x", op.getX(), ElementSet::Float)) ||
      failed(verifySameElements(op, "boxes", op.getBoxes(), "x", op.getX())) ||
      failed(verifySameElements(op, "the result", op.getResult(), "x", op.getX())) ||
      failed(verifyRank(op, "x", op.getX(), 4)) || failed(verifyRank(op, "boxes", op.getBoxes(), 2)) ||
      failed(verifySameSize(op, "the last size of boxes", getShape(op.getBoxes()).back(),
                            "the numbers of a box", numbers)) ||
      failed(verifyAtLeast(op, "height", op.getHeight(), 1)) ||
      failed(verifyAtLeast(op, "width", op.getWidth(), 1))) {
    return failure();
  }
  return verifyResultShapes(op);
}

template <typename OpTy>
static InferredDims inferRegions(OpTy op, OpBuilder &builder, ArrayRef<Dims> operandDims) {
  if (operandDims[0].size() != 4 || operandDims[1].size() != 2) {
    return failure();
  }
  return SmallVector<Dims>{{operandDims[1][0], builder.getIndexAttr(op.getHeight()),
                            builder.getIndexAttr(op.getWidth()), operandDims[0][3]}};
}

LogicalResult RoiAlignOp::verify() {
  if (failed(verifyElements(*this, "images", getImages(), ElementSet::Index)) ||
      failed(verifyRank(*this, "images", getImages(), 1)) ||
      failed(verifyAtLeast(*this, "samples", getSamples(), 0)) ||
      failed(verifyRank(*this, "boxes", getBoxes(), 2)) ||
      failed(verifySameSize(*this, "the number of images", getShape(getImages())[0], "that of boxes",
                            getShape(getBoxes())[0]))) {
    return failure();
  }
  return verifyBoxes(*this, 4);
}

InferredDims RoiAlignOp::inferDims(OpBuilder &builder, ArrayRef<Dims> operandDims) {
  return inferRegions(*this, builder, operandDims);
}

OpFoldResult RoiAlignOp::getPartCount(OpBuilder &builder, ArrayRef<Dims>, ArrayRef<Dims> resultDims) {
  return countRows(builder, getLoc(), resultDims.front(), /*inner=*/2);
}

LogicalResult RoiPoolOp::verify() { return verifyBoxes(*this, 5); }

InferredDims RoiPoolOp::inferDims(OpBuilder &builder, ArrayRef<Dims> operandDims) {
  return inferRegions(*this, builder, operandDims);
}

OpFoldResult RoiPoolOp::getPartCount(OpBuilder &builder, ArrayRef<Dims>, ArrayRef<Dims> resultDims) {
  return countRows(builder, getLoc(), resultDims.front(), /*inner=*/2);
}
