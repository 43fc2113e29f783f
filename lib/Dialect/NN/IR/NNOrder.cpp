// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Dialect/NN/IR/NNOrder.h"

#include "LoopBuilder.h"
#include "NNReference.h"
#include "VerifyUtils.h"
#include "lathe/Dialect/NN/IR/ShapeArith.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::nn;
using namespace lathe::nn::detail;

#define GET_OP_CLASSES
#include "lathe/Dialect/NN/IR/NNOrderOps.cpp.inc"

using InferredDims = FailureOr<SmallVector<Dims>>;

//===----------------------------------------------------------------------===//
// CumulateOp
//===----------------------------------------------------------------------===//

LogicalResult CumulateOp::verify() {
  return failure(failed(verifyTensors(*this)) ||
                 failed(verifyElements(*this, "x", getX(), ElementSet::Numeric)) ||
                 failed(verifySameElements(*this, "the result", getResult(), "x", getX())) ||
                 failed(verifyAxis(*this, getAxis(), getX())) || failed(verifyResultShapes(*this)));
}

InferredDims CumulateOp::inferDims(OpBuilder &builder, ArrayRef<Dims> operandDims) {
  return SmallVector<Dims>{operandDims[0]};
}

/// The sizes before and after a dimension, each as one.
static OpFoldResult productWithout(OpBuilder &builder, Location loc, ArrayRef<OpFoldResult> dims,
                                   int64_t axis) {
  OpFoldResult product = builder.getIndexAttr(1);
  for (auto [i, dim] : llvm::enumerate(dims)) {
    if (int64_t(i) != axis) {
      product = mulSizes(builder, loc, product, dim);
    }
  }
  return product;
}

OpFoldResult CumulateOp::getPartCount(OpBuilder &builder, ArrayRef<Dims> operandDims, ArrayRef<Dims>) {
  return productWithout(builder, getLoc(), operandDims[0], getAxis());
}

LogicalResult CumulateOp::buildLoops(OpBuilder &builder, ValueRange inputs, ValueRange outputs, Value begin,
                                     Value end) {
  LoopBuilder b(builder, getLoc());
  Value x = inputs[0], y = outputs[0];
  int64_t axis = getAxis();
  Type element = reference::elementOf(x), computed = reference::getAccumulatorType(element);
  bool isFloat = isa<FloatType>(element), isSum = getKind() == CumulateKind::Sum;
  LoopBuilder::Values sizes = b.sizes(x);
  Value length = sizes[axis];
  sizes.erase(sizes.begin() + axis);
  Value init = isFloat ? b.real(computed, isSum ? 0 : 1) : b.integer(computed, isSum ? 0 : 1);
  b.loop(begin, end, [&](Value part) {
    LoopBuilder::Values at = b.delinearize(part, sizes);
    at.insert(at.begin() + axis, Value());
    b.loop(b.index(0), length, {init}, [&](Value i, ValueRange carried) -> LoopBuilder::Values {
      at[axis] = getReverse() ? b.sub(b.sub(length, i), b.index(1)) : i;
      Value next = b.load(x, at);
      next = isFloat ? b.toFloat(next, computed) : next;
      next = isSum ? b.add(carried[0], next) : b.mul(carried[0], next);
      Value result = getExclusive() ? carried[0] : next;
      b.store(isFloat ? b.toFloat(result, element) : result, y, at);
      return {next};
    });
  });
  return success();
}
