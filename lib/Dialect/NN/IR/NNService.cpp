// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Dialect/NN/IR/NNService.h"

#include "VerifyUtils.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::nn;
using namespace lathe::nn::detail;

#define GET_OP_CLASSES
#include "lathe/Dialect/NN/IR/NNServiceOps.cpp.inc"

void ServiceOp::build(OpBuilder &builder, OperationState &state, Type element, StringRef name,
                      ValueRange inputs, StringRef argument, ArrayRef<OpFoldResult> dims) {
  SmallVector<Value> dynamic;
  SmallVector<int64_t> fixed;
  for (OpFoldResult dim : dims) {
    std::optional<int64_t> number = getConstantIntValue(dim);
    fixed.push_back(number.value_or(ShapedType::kDynamic));
    if (!number) {
      dynamic.push_back(cast<Value>(dim));
    }
  }
  build(builder, state, RankedTensorType::get(fixed, element), name, inputs, argument, dynamic, fixed);
}

FailureOr<SmallVector<SmallVector<OpFoldResult>>>
ServiceOp::inferDims(OpBuilder &builder, ArrayRef<SmallVector<OpFoldResult>> operandDims) {
  return SmallVector<SmallVector<OpFoldResult>>{getMixedValues(getStaticDims(), getDims(), getContext())};
}

LogicalResult ServiceOp::verify() {
  StringRef component = getName().split('.').first;
  if (!llvm::is_contained(kComponents, component) || component.size() == getName().size()) {
    return emitOpError() << "expects the name to begin with that of a component and a dot, but it is \""
                         << getName() << "\"";
  }
  if (getInputs().empty() || getInputs().size() > kMaxServiceOperands) {
    return emitOpError() << "expects 1 to " << kMaxServiceOperands << " operands, but there are "
                         << getInputs().size();
  }
  if (failed(verifyTensors(*this)) || failed(verifyMixed(*this, "sizes", getDims(), getStaticDims()))) {
    return failure();
  }
  return verifyResultShapes(*this);
}
