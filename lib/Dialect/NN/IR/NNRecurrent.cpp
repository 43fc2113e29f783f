// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Dialect/NN/IR/NNRecurrent.h"

#include "VerifyUtils.h"
#include "lathe/Dialect/NN/IR/Builders.h"
#include "lathe/Dialect/NN/IR/ShapeArith.h"

using namespace mlir;
using namespace lathe::nn;
using namespace lathe::nn::detail;

#define GET_OP_CLASSES
#include "lathe/Dialect/NN/IR/NNRecurrentOps.cpp.inc"

int64_t RecurrentOp::getGateCount() {
  return getKind() == RecurrentKind::RNN ? 1 : getKind() == RecurrentKind::GRU ? 3 : 4;
}

int64_t RecurrentOp::getActivationCount() {
  return getKind() == RecurrentKind::RNN ? 1 : getKind() == RecurrentKind::GRU ? 2 : 3;
}

bool RecurrentOp::isActivation(StringRef name) {
  static constexpr StringLiteral kNames[] = {"affine",   "elu",     "hardsigmoid",    "leakyrelu",
                                             "relu",     "sigmoid", "scaledtanh",     "softplus",
                                             "softsign", "tanh",    "thresholdedrelu"};
  return llvm::is_contained(kNames, name);
}

static ArrayRef<int64_t> getShape(Value tensor) {
  return cast<RankedTensorType>(tensor.getType()).getShape();
}

/// Checks the shape of an operand; `kDynamic` is any size.
static LogicalResult verifyShape(Operation *op, StringRef name, Value tensor, ArrayRef<int64_t> shape) {
  if (succeeded(verifyCompatibleShape(getShape(tensor), shape))) {
    return success();
  }
  return op->emitOpError() << "expects " << name << " of shape " << formatShape(shape) << ", but it is "
                           << tensor.getType();
}

LogicalResult RecurrentOp::verify() {
  if (failed(verifyTensors(*this)) ||
      failed(verifyElements(*this, "products", getProducts(), ElementSet::Float)) ||
      failed(verifyRank(*this, "products", getProducts(), 4)) ||
      failed(verifyRank(*this, "weights", getWeights(), 3))) {
    return failure();
  }
  int64_t directions = getReverse().size(), gates = getGateCount();
  int64_t units = getShape(getWeights())[1], batch = getShape(getProducts())[1];
  if (directions != 1 && directions != 2) {
    return emitOpError() << "expects 1 or 2 directions, but there are " << directions;
  }
  if (ShapedType::isDynamic(units) || units < 1) {
    return emitOpError() << "expects a known number of units above 0, but weights is "
                         << getWeights().getType();
  }
  if (failed(verifyShape(*this, "products", getProducts(),
                         {ShapedType::kDynamic, ShapedType::kDynamic, directions, gates * units})) ||
      failed(verifyShape(*this, "weights", getWeights(), {directions, units, gates * units}))) {
    return failure();
  }
  int64_t activations = directions * getActivationCount();
  if (int64_t(getActivations().size()) != activations || int64_t(getAlpha().size()) != activations ||
      int64_t(getBeta().size()) != activations) {
    return emitOpError() << "expects " << activations
                         << " activations, each with alpha and beta, but there are "
                         << getActivations().size();
  }
  for (StringAttr name : getActivations().getAsRange<StringAttr>()) {
    if (!isActivation(name)) {
      return emitOpError() << "expects activations of RNN, GRU or LSTM, but there is " << name;
    }
  }
  struct Optional {
    StringRef name;
    Value tensor;
    SmallVector<int64_t> shape;
  };
  for (const Optional &operand :
       {Optional{"recurrent_bias", getRecurrentBias(), {directions, units}},
        Optional{"initial_h", getInitialH(), {directions, batch, units}},
        Optional{"initial_c", getInitialC(), {directions, batch, units}},
        Optional{"peepholes", getPeepholes(), {directions, 3 * units}},
        Optional{"weight_scales", getWeightScales(), {directions, gates * units}}}) {
    if (operand.tensor &&
        (failed(verifySameElements(*this, operand.name, operand.tensor, "products", getProducts())) ||
         failed(verifyShape(*this, operand.name, operand.tensor, operand.shape)))) {
      return failure();
    }
  }
  if (getLengths() && (failed(verifyElements(*this, "lengths", getLengths(), ElementSet::Index)) ||
                       failed(verifyShape(*this, "lengths", getLengths(), {batch})))) {
    return failure();
  }
  if (!getWeightScales()) {
    if (getWeightZeros()) {
      return emitOpError() << "expects weight_zeros only beside weight_scales";
    }
    if (failed(verifySameElements(*this, "weights", getWeights(), "products", getProducts()))) {
      return failure();
    }
    return verifyResultShapes(*this);
  }
  if (!getElementType(getWeights()).isInteger(8)) {
    return emitOpError() << "expects weights of 8 bits beside weight_scales, but they are "
                         << getWeights().getType();
  }
  if (getWeightZeros() &&
      (failed(verifySameElements(*this, "weight_zeros", getWeightZeros(), "weights", getWeights())) ||
       failed(verifyShape(*this, "weight_zeros", getWeightZeros(), {directions, gates * units})))) {
    return failure();
  }
  return verifyResultShapes(*this);
}

FailureOr<SmallVector<Dims>> RecurrentOp::inferDims(OpBuilder &builder, ArrayRef<Dims> operandDims) {
  const Dims &products = operandDims[0], &weights = operandDims[1];
  if (products.size() != 4 || weights.size() != 3) {
    return failure();
  }
  OpFoldResult directions = builder.getIndexAttr(getReverse().size());
  Dims state{directions, products[1], weights[1]};
  OpFoldResult step = weights[2];
  if (getWeightScales()) {
    step =
        addSizes(builder, getLoc(), addSizes(builder, getLoc(), step, weights[1]), builder.getIndexAttr(1));
  }
  return SmallVector<Dims>{
      {products[0], directions, products[1], weights[1]}, state, state, {directions, products[1], step}};
}

OpFoldResult RecurrentOp::getPartCount(OpBuilder &builder, ArrayRef<Dims> operandDims, ArrayRef<Dims>) {
  return mulSizes(builder, getLoc(), builder.getIndexAttr(getReverse().size()), operandDims[0][1]);
}
