// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Verifiers of the ops that compute: pointwise, reductions, norms, products.

#include "VerifyUtils.h"

#include "lathe/Dialect/NN/IR/Builders.h"

using namespace mlir;
using namespace lathe::nn;
using namespace lathe::nn::detail;

static ArrayRef<int64_t> getShape(Value tensor) {
  return cast<RankedTensorType>(tensor.getType()).getShape();
}

//===----------------------------------------------------------------------===//
// Pointwise
//===----------------------------------------------------------------------===//

static ElementSet getOperandSet(UnaryKind kind) {
  switch (kind) {
  case UnaryKind::Not:
    return ElementSet::Bool;
  case UnaryKind::Abs:
  case UnaryKind::Neg:
  case UnaryKind::Sign:
  case UnaryKind::Relu:
    return ElementSet::Numeric;
  default:
    return ElementSet::Float;
  }
}

LogicalResult UnaryOp::verify() {
  if (failed(verifyTensors(*this)) || failed(verifyElements(*this, "x", getX(), getOperandSet(getKind())))) {
    return failure();
  }
  if (getKind() == UnaryKind::Neg && getElementType(getX()).isUnsignedInteger()) {
    return emitOpError() << "expects neg of signed elements, but x is " << getX().getType();
  }
  bool isPredicate = getKind() == UnaryKind::IsNaN || getKind() == UnaryKind::IsInf;
  if (isPredicate ? failed(verifyElements(*this, "the result", getResult(), ElementSet::Bool))
                  : failed(verifySameElements(*this, "the result", getResult(), "x", getX()))) {
    return failure();
  }
  bool takesParameters = getKind() == UnaryKind::HardSigmoid;
  if (getAlpha().has_value() != takesParameters || getBeta().has_value() != takesParameters) {
    return emitOpError() << "expects " << (takesParameters ? "both alpha and beta" : "neither alpha nor beta")
                         << " with " << stringifyUnaryKind(getKind());
  }
  return verifyResultShapes(*this);
}

LogicalResult BinaryOp::verify() {
  bool isBitwise = llvm::is_contained(
      {BinaryKind::And, BinaryKind::Or, BinaryKind::Xor, BinaryKind::ShiftLeft, BinaryKind::ShiftRight},
      getKind());
  if (failed(verifyTensors(*this)) ||
      failed(verifyElements(*this, "lhs", getLhs(), isBitwise ? ElementSet::Integer : ElementSet::Numeric)) ||
      failed(verifySameElements(*this, "rhs", getRhs(), "lhs", getLhs())) ||
      failed(verifySameElements(*this, "the result", getResult(), "lhs", getLhs()))) {
    return failure();
  }
  return verifyResultShapes(*this);
}

LogicalResult CompareOp::verify() {
  bool isEquality = getKind() == CompareKind::Equal || getKind() == CompareKind::NotEqual;
  if (failed(verifyTensors(*this)) ||
      failed(verifyElements(*this, "lhs", getLhs(), isEquality ? ElementSet::Any : ElementSet::Numeric)) ||
      failed(verifySameElements(*this, "rhs", getRhs(), "lhs", getLhs())) ||
      failed(verifyElements(*this, "the result", getResult(), ElementSet::Bool))) {
    return failure();
  }
  return verifyResultShapes(*this);
}

LogicalResult SelectOp::verify() {
  if (failed(verifyTensors(*this)) ||
      failed(verifyElements(*this, "the condition", getCondition(), ElementSet::Bool)) ||
      failed(verifySameElements(*this, "rhs", getRhs(), "lhs", getLhs())) ||
      failed(verifySameElements(*this, "the result", getResult(), "lhs", getLhs()))) {
    return failure();
  }
  return verifyResultShapes(*this);
}

LogicalResult CastOp::verify() {
  return failure(failed(verifyTensors(*this)) || failed(verifyResultShapes(*this)));
}

/// Bits of an element in memory.
static unsigned getStoredBits(Type element) {
  return element.isInteger(1) ? 8 : element.getIntOrFloatBitWidth();
}

LogicalResult BitCastOp::verify() {
  if (failed(verifyTensors(*this))) {
    return failure();
  }
  unsigned from = getStoredBits(getElementType(getX())), to = getStoredBits(getElementType(getResult()));
  if (from != to) {
    return emitOpError() << "expects elements of one width, but x has " << from << " bits and the result "
                         << to;
  }
  return verifyResultShapes(*this);
}

//===----------------------------------------------------------------------===//
// Reductions and norms
//===----------------------------------------------------------------------===//

LogicalResult ReduceOp::verify() {
  bool isLogical = getKind() == ReduceKind::All || getKind() == ReduceKind::Any;
  if (failed(verifyTensors(*this)) ||
      failed(verifyElements(*this, "x", getX(), isLogical ? ElementSet::Bool : ElementSet::Numeric)) ||
      failed(verifySameElements(*this, "the result", getResult(), "x", getX()))) {
    return failure();
  }
  for (int64_t axis : getAxes()) {
    if (failed(verifyAxis(*this, axis, getX()))) {
      return failure();
    }
  }
  for (auto [axis, next] : llvm::zip(getAxes(), getAxes().drop_front(getAxes().empty() ? 0 : 1))) {
    if (axis >= next) {
      return emitOpError() << "expects axes in ascending order, but there is " << next << " after " << axis;
    }
  }
  return verifyResultShapes(*this);
}

LogicalResult ArgReduceOp::verify() {
  if (failed(verifyTensors(*this)) || failed(verifyElements(*this, "x", getX(), ElementSet::Numeric)) ||
      failed(verifyAxis(*this, getAxis(), getX()))) {
    return failure();
  }
  if (!getElementType(getResult()).isSignlessInteger(64)) {
    return emitOpError() << "expects a result of i64 elements, but it is " << getResult().getType();
  }
  return verifyResultShapes(*this);
}

LogicalResult SoftmaxOp::verify() {
  if (failed(verifyTensors(*this)) || failed(verifyElements(*this, "x", getX(), ElementSet::Float)) ||
      failed(verifySameElements(*this, "the result", getResult(), "x", getX())) ||
      failed(verifyAxis(*this, getAxis(), getX()))) {
    return failure();
  }
  return verifyResultShapes(*this);
}

/// What both norms demand of `scale` or `bias`.
static LogicalResult verifyNormParameter(Operation *op, StringRef name, Value parameter, Value x,
                                         int64_t axis) {
  return failure(failed(verifySameElements(op, name, parameter, "x", x)) ||
                 failed(verifyBroadcastTo(op, name, parameter, "the normalized dimensions of x",
                                          getShape(x).drop_front(axis))));
}

template <typename NormOp>
static LogicalResult verifyNorm(NormOp op) {
  return failure(failed(verifyTensors(op)) || failed(verifyElements(op, "x", op.getX(), ElementSet::Float)) ||
                 failed(verifyAxis(op, op.getAxis(), op.getX())) ||
                 failed(verifyNormParameter(op, "scale", op.getScale(), op.getX(), op.getAxis())) ||
                 failed(verifySameElements(op, "the result", op.getResult(), "x", op.getX())));
}

LogicalResult LayerNormOp::verify() {
  if (failed(verifyNorm(*this)) ||
      (getBias() && failed(verifyNormParameter(*this, "bias", getBias(), getX(), getAxis())))) {
    return failure();
  }
  return verifyResultShapes(*this);
}

LogicalResult RMSNormOp::verify() {
  return failure(failed(verifyNorm(*this)) || failed(verifyResultShapes(*this)));
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

/// Checks the element type of a product: that of its operands, or the one in which f16 and bf16 are summed
/// up.
static LogicalResult verifySums(Operation *op, StringRef name, Value operand) {
  Type element = getElementTypeOrSelf(operand.getType());
  if ((element.isF16() || element.isBF16()) && getElementTypeOrSelf(op->getResult(0).getType()).isF32()) {
    return success();
  }
  return verifySameElements(op, "the result", op->getResult(0), name, operand);
}

LogicalResult MatMulOp::verify() {
  if (failed(verifyTensors(*this)) || failed(verifyElements(*this, "lhs", getLhs(), ElementSet::Numeric)) ||
      failed(verifySameElements(*this, "rhs", getRhs(), "lhs", getLhs())) ||
      failed(verifySums(*this, "lhs", getLhs()))) {
    return failure();
  }
  for (Value operand : getOperands()) {
    if (getRank(operand) < 2) {
      return emitOpError() << "expects operands of rank 2 or more, but there is " << operand.getType();
    }
  }
  if (failed(verifySameSize(*this, "the last size of lhs", getShape(getLhs()).back(),
                            "the second to last of rhs", getShape(getRhs()).drop_back().back()))) {
    return failure();
  }
  return verifyResultShapes(*this);
}

/// Checks the number of `values` of a convolution and that each is at least `lowest`.
static LogicalResult verifyWindow(Operation *op, StringRef name, ArrayRef<int64_t> values, int64_t count,
                                  int64_t lowest) {
  if (int64_t(values.size()) != count) {
    return op->emitOpError() << "expects " << count << " " << name << ", but there are " << values.size();
  }
  for (int64_t value : values) {
    if (value < lowest || value > kMaxDim) {
      return op->emitOpError() << "expects " << name << " from " << lowest << " to " << kMaxDim
                               << ", but there is " << value;
    }
  }
  return success();
}

LogicalResult lathe::nn::detail::verifyConvolution(Operation *op, Value x, Value filter,
                                                   ArrayRef<int64_t> strides, ArrayRef<int64_t> pads,
                                                   ArrayRef<int64_t> dilations, int64_t groups) {
  int64_t rank = getRank(x);
  if (rank < 3) {
    return op->emitOpError() << "expects x to have rank 3 or more, but it is " << x.getType();
  }
  if (failed(verifyRank(op, "filter", filter, rank)) ||
      failed(verifyWindow(op, "strides", strides, rank - 2, 1)) ||
      failed(verifyWindow(op, "dilations", dilations, rank - 2, 1)) ||
      failed(verifyWindow(op, "pads", pads, 2 * (rank - 2), 0))) {
    return failure();
  }
  int64_t channels = getShape(x).back();
  int64_t perGroup = getShape(filter).drop_back().back(), filters = getShape(filter).back();
  if (groups < 1 || groups > kMaxDim) {
    return op->emitOpError() << "expects groups from 1 to " << kMaxDim << ", but there are " << groups;
  }
  if (!ShapedType::isDynamic(filters) && filters % groups != 0) {
    return op->emitOpError() << "expects the number of filters to be a multiple of the groups, " << groups
                             << ", but it is " << filters;
  }
  if (!ShapedType::isDynamic(channels) && channels % groups != 0) {
    return op->emitOpError() << "expects the channels of x to be a multiple of the groups, " << groups
                             << ", but they are " << channels;
  }
  if (!ShapedType::isDynamic(channels) &&
      failed(verifySameSize(op, "the channels of filter", perGroup, "those of x in each group",
                            channels / groups))) {
    return failure();
  }
  return verifyResultShapes(op);
}

LogicalResult ConvOp::verify() {
  if (failed(verifyTensors(*this)) || failed(verifyElements(*this, "x", getX(), ElementSet::Numeric)) ||
      failed(verifySameElements(*this, "filter", getFilter(), "x", getX())) ||
      failed(verifySums(*this, "x", getX()))) {
    return failure();
  }
  return verifyConvolution(*this, getX(), getFilter(), getStrides(), getPads(), getDilations(), getGroups());
}

bool ConvOp::isProduct() {
  auto isOne = [](int64_t value) { return value == 1; };
  auto isZero = [](int64_t value) { return value == 0; };
  return getGroups() == 1 && llvm::all_of(getShape(getFilter()).drop_back(2), isOne) &&
         llvm::all_of(getStrides(), isOne) && llvm::all_of(getPads(), isZero);
}

bool ConvOp::isDepthwise() {
  ArrayRef<int64_t> filter = getShape(getFilter());
  return filter.drop_back().back() == 1 && uint64_t(filter.back()) == getGroups();
}

LogicalResult AttentionOp::verify() {
  if (failed(verifyTensors(*this)) || failed(verifyElements(*this, "q", getQ(), ElementSet::Float)) ||
      failed(verifySameElements(*this, "k", getK(), "q", getQ())) ||
      failed(verifySameElements(*this, "v", getV(), "q", getQ())) ||
      failed(verifySameElements(*this, "the result", getResult(), "q", getQ())) ||
      failed(verifyRank(*this, "q", getQ(), 4)) || failed(verifyRank(*this, "k", getK(), 4)) ||
      failed(verifyRank(*this, "v", getV(), 4))) {
    return failure();
  }
  ArrayRef<int64_t> q = getShape(getQ()), k = getShape(getK()), v = getShape(getV());
  if (failed(verifySameSize(*this, "the batch size of k", k[0], "that of q", q[0])) ||
      failed(verifySameSize(*this, "the batch size of v", v[0], "that of q", q[0])) ||
      failed(verifySameSize(*this, "the sequence length of v", v[1], "that of k", k[1])) ||
      failed(verifySameSize(*this, "the number of heads of v", v[2], "that of k", k[2])) ||
      failed(verifySameSize(*this, "the head size of k", k[3], "that of q", q[3]))) {
    return failure();
  }
  bool areHeadsKnown = !ShapedType::isDynamic(q[2]) && !ShapedType::isDynamic(k[2]);
  if (areHeadsKnown && (k[2] == 0 || q[2] % k[2] != 0)) {
    return emitOpError() << "expects the heads of q to be a multiple of those of k, " << k[2]
                         << ", but there are " << q[2];
  }
  if (getSoftcap() && !(getSoftcap()->convertToFloat() > 0)) {
    return emitOpError() << "expects a softcap above 0, but it is " << getSoftcapAttr();
  }
  if (Value mask = getMask()) {
    bool isComputed = getElementType(mask).isF32() && getElementType(getQ()).getIntOrFloatBitWidth() < 32;
    if (!getElementType(mask).isInteger(1) && !isComputed &&
        failed(verifySameElements(*this, "the mask", mask, "q", getQ()))) {
      return failure();
    }
    if (failed(verifyBroadcastTo(*this, "the mask", mask, "the logits", {q[0], q[2], q[1], k[1]}))) {
      return failure();
    }
  }
  return verifyResultShapes(*this);
}
