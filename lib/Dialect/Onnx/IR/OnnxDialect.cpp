// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Dialect/Onnx/IR/Onnx.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace lathe::onnx;

#include "lathe/Dialect/Onnx/IR/OnnxDialect.cpp.inc"

#define GET_TYPEDEF_CLASSES
#include "lathe/Dialect/Onnx/IR/OnnxTypes.cpp.inc"

#define GET_OP_CLASSES
#include "lathe/Dialect/Onnx/IR/OnnxOps.cpp.inc"

void OnnxDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "lathe/Dialect/Onnx/IR/OnnxOps.cpp.inc"
      >();
  registerTypes();
}

void OnnxDialect::registerTypes() {
  addTypes<
#define GET_TYPEDEF_LIST
#include "lathe/Dialect/Onnx/IR/OnnxTypes.cpp.inc"
      >();
}

LogicalResult NodeOp::verify() {
  if (getOutputs().size() != getNumResults()) {
    return emitOpError() << "expects one name per result, " << getNumResults() << ", but there are "
                         << getOutputs().size();
  }
  size_t names = getSubgraphs() ? getSubgraphs()->size() : 0;
  if (names != getNumRegions()) {
    return emitOpError() << "expects one name per subgraph, " << getNumRegions() << ", but there are "
                         << names;
  }
  for (Region &body : getBodies()) {
    if (body.front().empty() || !isa<YieldOp>(body.front().back())) {
      return emitOpError() << "expects subgraphs to end with onnx.yield";
    }
  }
  return success();
}

Value NodeOp::getInput(unsigned index) {
  if (index >= getInputs().size() || isa<NoneType>(getInputs()[index].getType())) {
    return {};
  }
  return getInputs()[index];
}

int64_t NodeOp::getInt(StringRef name, int64_t otherwise) {
  auto attr = getNodeAttrOf<IntegerAttr>(name);
  return attr ? attr.getInt() : otherwise;
}

float NodeOp::getFloat(StringRef name, float otherwise) {
  auto attr = getNodeAttrOf<FloatAttr>(name);
  return attr ? float(attr.getValueAsDouble()) : otherwise;
}

StringRef NodeOp::getString(StringRef name, StringRef otherwise) {
  auto attr = getNodeAttrOf<StringAttr>(name);
  return attr ? attr.getValue() : otherwise;
}

std::optional<ArrayRef<int64_t>> NodeOp::getInts(StringRef name) {
  auto attr = getNodeAttrOf<DenseI64ArrayAttr>(name);
  return attr ? std::optional(attr.asArrayRef()) : std::nullopt;
}

Region *NodeOp::getSubgraph(StringRef name) {
  std::optional<ArrayAttr> names = getSubgraphs();
  for (size_t position = 0; names && position < names->size(); ++position) {
    if (cast<StringAttr>((*names)[position]).getValue() == name) {
      return &getBodies()[position];
    }
  }
  return nullptr;
}

StringRef NodeOp::getOutputName(unsigned index) { return cast<StringAttr>(getOutputs()[index]).getValue(); }
