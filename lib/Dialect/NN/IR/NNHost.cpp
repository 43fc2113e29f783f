// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Dialect/NN/IR/NNHost.h"

#include "VerifyUtils.h"
#include "lathe/Dialect/NN/IR/Builders.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Matchers.h"
#include "llvm/ADT/DenseSet.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::nn;
using namespace lathe::nn::detail;

#define GET_OP_CLASSES
#include "lathe/Dialect/NN/IR/NNHostOps.cpp.inc"

bool lathe::nn::isKnownFromSymbols(Value index) {
  llvm::SmallDenseSet<Operation *> seen;
  SmallVector<Value> worklist{index};
  while (!worklist.empty()) {
    Operation *op = worklist.pop_back_val().getDefiningOp();
    if (!op) {
      return false;
    }
    if (isa<DimSymbolOp>(op) || !seen.insert(op).second) {
      continue;
    }
    if (!isa<arith::ArithDialect>(op->getDialect())) {
      return false;
    }
    llvm::append_range(worklist, op->getOperands());
  }
  return true;
}

//===----------------------------------------------------------------------===//
// ReadIndexOp
//===----------------------------------------------------------------------===//

LogicalResult ReadIndexOp::verify() {
  auto type = cast<RankedTensorType>(getX().getType());
  if (failed(verifyTensors(*this)) || failed(verifyElements(*this, "x", getX(), ElementSet::Integer))) {
    return failure();
  }
  if (int64_t(getPosition()) >= type.getNumElements()) {
    return emitOpError() << "expects a position below the number of elements of x, " << type.getNumElements()
                         << ", but it is " << getPosition();
  }
  return success();
}

OpFoldResult ReadIndexOp::fold(FoldAdaptor adaptor) {
  if (auto elements = dyn_cast_or_null<DenseElementsAttr>(adaptor.getX())) {
    APInt value = elements.getValues<APInt>()[getPosition()];
    bool isSigned = !elements.getElementType().isUnsignedInteger() && value.getBitWidth() > 1;
    return IntegerAttr::get(getType(), isSigned ? value.sextOrTrunc(64) : value.zextOrTrunc(64));
  }
  if (auto scalars = getX().getDefiningOp<FromScalarsOp>()) {
    // A narrow element may have lost bits of the value.
    if (getElementType(getX()).isInteger(64)) {
      return scalars.getElements()[getPosition()];
    }
  }
  return {};
}

//===----------------------------------------------------------------------===//
// Sizes
//===----------------------------------------------------------------------===//

OpFoldResult CheckedSizeOp::fold(FoldAdaptor adaptor) {
  if (getValue().getDefiningOp<CheckedSizeOp>()) {
    return getValue();
  }
  auto number = dyn_cast_or_null<IntegerAttr>(adaptor.getValue());
  return number && number.getInt() >= 0 && number.getInt() <= kMaxDim ? OpFoldResult(number) : OpFoldResult();
}

OpFoldResult ElementCountOp::fold(FoldAdaptor adaptor) {
  int64_t product = 1;
  for (Attribute size : adaptor.getSizes()) {
    auto number = dyn_cast_or_null<IntegerAttr>(size);
    if (!number || number.getInt() < 0) {
      return {};
    }
    if (llvm::MulOverflow(product, number.getInt(), product)) {
      product = kTooManyElements;
    }
    product = std::min(product, kTooManyElements);
  }
  return IntegerAttr::get(getType(), product);
}

LogicalResult CheckOp::canonicalize(CheckOp op, PatternRewriter &rewriter) {
  if (!matchPattern(op.getCondition(), m_One())) {
    return rewriter.notifyMatchFailure(op, "the condition is not known to hold");
  }
  rewriter.eraseOp(op);
  return success();
}
