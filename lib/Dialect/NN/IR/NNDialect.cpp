// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Dialect/NN/IR/NNControl.h"
#include "lathe/Dialect/NN/IR/NNHost.h"
#include "lathe/Dialect/NN/IR/NNInteger.h"
#include "lathe/Dialect/NN/IR/NNLearned.h"
#include "lathe/Dialect/NN/IR/NNNumeric.h"
#include "lathe/Dialect/NN/IR/NNOrder.h"
#include "lathe/Dialect/NN/IR/NNRecurrent.h"
#include "lathe/Dialect/NN/IR/NNSampling.h"
#include "lathe/Dialect/NN/IR/NNScatter.h"
#include "lathe/Dialect/NN/IR/NNSelection.h"
#include "lathe/Dialect/NN/IR/NNService.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Utils/IndexingUtils.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace lathe::nn;

#include "lathe/Dialect/NN/IR/NNDialect.cpp.inc"
#include "lathe/Dialect/NN/IR/NNEnums.cpp.inc"
#include "lathe/Dialect/NN/IR/NNInterfaces.cpp.inc"
#include "lathe/Dialect/NN/IR/NNPackedType.cpp.inc"

#define GET_ATTRDEF_CLASSES
#include "lathe/Dialect/NN/IR/NNAttrs.cpp.inc"

//===----------------------------------------------------------------------===//
// Parts of assembly formats
//===----------------------------------------------------------------------===//

static ParseResult parseVisibility(OpAsmParser &parser, StringAttr &visibility) {
  StringRef keyword;
  if (succeeded(parser.parseOptionalKeyword(&keyword, {"public", "private", "nested"}))) {
    visibility = parser.getBuilder().getStringAttr(keyword);
  }
  return success();
}

static void printVisibility(OpAsmPrinter &printer, Operation *, StringAttr visibility) {
  if (visibility) {
    printer << visibility.getValue();
  }
}

/// `type = value`, where the value does not repeat its type.
static ParseResult parseTypedValue(OpAsmParser &parser, TypeAttr &type, Attribute &value) {
  Type parsed;
  if (parser.parseType(parsed) ||
      (succeeded(parser.parseOptionalEqual()) && parser.parseAttribute(value, parsed))) {
    return failure();
  }
  type = TypeAttr::get(parsed);
  return success();
}

static void printTypedValue(OpAsmPrinter &printer, Operation *, TypeAttr type, Attribute value) {
  printer << type;
  if (!value) {
    return;
  }
  printer << " = ";
  auto typed = dyn_cast<TypedAttr>(value);
  if (typed && typed.getType() == type.getValue()) {
    printer.printAttributeWithoutType(value);
  } else {
    printer.printAttribute(value);
  }
}

#define GET_OP_CLASSES
#include "lathe/Dialect/NN/IR/NNOps.cpp.inc"

void NNDialect::initialize() {
  addOperations<
#define GET_OP_LIST
#include "lathe/Dialect/NN/IR/NNOps.cpp.inc"
      ,
#define GET_OP_LIST
#include "lathe/Dialect/NN/IR/NNControlOps.cpp.inc"
      ,
#define GET_OP_LIST
#include "lathe/Dialect/NN/IR/NNHostOps.cpp.inc"
      ,
#define GET_OP_LIST
#include "lathe/Dialect/NN/IR/NNSelectionOps.cpp.inc"
      ,
#define GET_OP_LIST
#include "lathe/Dialect/NN/IR/NNLearnedOps.cpp.inc"
      ,
#define GET_OP_LIST
#include "lathe/Dialect/NN/IR/NNIntegerOps.cpp.inc"
      ,
#define GET_OP_LIST
#include "lathe/Dialect/NN/IR/NNNumericOps.cpp.inc"
      ,
#define GET_OP_LIST
#include "lathe/Dialect/NN/IR/NNOrderOps.cpp.inc"
      ,
#define GET_OP_LIST
#include "lathe/Dialect/NN/IR/NNSpatialOps.cpp.inc"
      ,
#define GET_OP_LIST
#include "lathe/Dialect/NN/IR/NNSamplingOps.cpp.inc"
      ,
#define GET_OP_LIST
#include "lathe/Dialect/NN/IR/NNRecurrentOps.cpp.inc"
      ,
#define GET_OP_LIST
#include "lathe/Dialect/NN/IR/NNScatterOps.cpp.inc"
      ,
#define GET_OP_LIST
#include "lathe/Dialect/NN/IR/NNServiceOps.cpp.inc"
      >();
  registerAttributes();
}

void NNDialect::registerAttributes() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "lathe/Dialect/NN/IR/NNAttrs.cpp.inc"
      >();
}

Operation *NNDialect::materializeConstant(OpBuilder &builder, Attribute value, Type type, Location loc) {
  return arith::ConstantOp::materialize(builder, value, type, loc);
}

LogicalResult PanelAttr::verify(function_ref<InFlightDiagnostic()> emitError, int64_t width,
                                int64_t interleave, bool sums, int64_t groups, int64_t joined) {
  if (width <= 0 || interleave <= 0) {
    return emitError() << "expects a panel's width and interleave to be positive, but they are " << width
                       << " and " << interleave;
  }
  if (groups <= 0 || joined <= 0 || groups % joined != 0) {
    return emitError() << "expects the number of joined groups to divide that of all groups, but they are "
                       << joined << " and " << groups;
  }
  if (sums && joined != 1) {
    return emitError() << "expects no joined groups beside sums, but there are " << joined;
  }
  return success();
}

int64_t PanelAttr::getStoredRows(RankedTensorType type) const {
  ArrayRef<int64_t> shape = type.getShape();
  int64_t rows = llvm::alignTo(shape[shape.size() - 2], getInterleave()) * getJoined();
  for (int64_t size : shape.drop_back(2)) {
    rows *= size;
  }
  return rows;
}

int64_t PanelAttr::getStoredElements(RankedTensorType type) const {
  int64_t columns = type.getShape().back(), matrices = getGroups() / getJoined();
  if (columns == 0) {
    return 0;
  }
  int64_t rows = getStoredRows(type) + (getSums() ? 4 : 0);
  return matrices * rows * llvm::alignTo(columns / matrices, getWidth());
}

//===----------------------------------------------------------------------===//
// Mixed operands
//===----------------------------------------------------------------------===//

/// Splits sizes into numbers and values; a value that is a constant becomes a number.
static void splitMixed(ArrayRef<OpFoldResult> mixed, SmallVectorImpl<Value> &dynamic,
                       SmallVectorImpl<int64_t> &fixed) {
  for (OpFoldResult size : mixed) {
    if (std::optional<int64_t> number = getConstantIntValue(size);
        number && !ShapedType::isDynamic(*number)) {
      fixed.push_back(*number);
    } else {
      dynamic.push_back(cast<Value>(size));
      fixed.push_back(ShapedType::kDynamic);
    }
  }
}

/// The type of `x` under the sizes `fixed`.
static RankedTensorType getTypeWithShape(Value x, ArrayRef<int64_t> fixed) {
  return RankedTensorType::get(fixed, cast<RankedTensorType>(x.getType()).getElementType());
}

void ReshapeOp::build(OpBuilder &builder, OperationState &state, Value x, ArrayRef<OpFoldResult> dims) {
  SmallVector<Value> dynamic;
  SmallVector<int64_t> fixed;
  splitMixed(dims, dynamic, fixed);
  build(builder, state, getTypeWithShape(x, fixed), x, dynamic, fixed);
}

void ExpandOp::build(OpBuilder &builder, OperationState &state, Value x, ArrayRef<OpFoldResult> dims) {
  SmallVector<Value> dynamic;
  SmallVector<int64_t> fixed;
  splitMixed(dims, dynamic, fixed);
  build(builder, state, getTypeWithShape(x, fixed), x, dynamic, fixed);
}

void SliceOp::build(OpBuilder &builder, OperationState &state, Value x, ArrayRef<OpFoldResult> offsets,
                    ArrayRef<OpFoldResult> sizes, ArrayRef<int64_t> strides) {
  SmallVector<Value> dynamicOffsets, dynamicSizes;
  SmallVector<int64_t> fixedOffsets, fixedSizes;
  splitMixed(offsets, dynamicOffsets, fixedOffsets);
  splitMixed(sizes, dynamicSizes, fixedSizes);
  build(builder, state, getTypeWithShape(x, fixedSizes), x, dynamicOffsets, dynamicSizes, fixedOffsets,
        fixedSizes, strides);
}

void WeightOp::build(OpBuilder &builder, OperationState &state, StringRef name, RankedTensorType type,
                     Attribute value, StringRef onnxName) {
  build(builder, state, builder.getStringAttr(name), builder.getStringAttr("private"), TypeAttr::get(type),
        value, PanelAttr(), onnxName.empty() ? StringAttr() : builder.getStringAttr(onnxName));
}

void WeightOp::build(OpBuilder &builder, OperationState &state, StringRef name, StringRef onnxName,
                     function_ref<Value(OpBuilder &, Location)> makeBody) {
  OpBuilder::InsertionGuard guard(builder);
  Region *body = state.addRegion();
  builder.createBlock(body);
  Value value = makeBody(builder, state.location);
  YieldOp::create(builder, state.location, value);
  Properties &properties = state.getOrAddProperties<Properties>();
  properties.sym_name = builder.getStringAttr(name);
  properties.sym_visibility = builder.getStringAttr("private");
  properties.type = TypeAttr::get(value.getType());
  properties.onnx_name = onnxName.empty() ? StringAttr() : builder.getStringAttr(onnxName);
}

SmallVector<OpFoldResult> ReshapeOp::getMixedDims() {
  return getMixedValues(getStaticDims(), getDims(), getContext());
}
SmallVector<OpFoldResult> ExpandOp::getMixedDims() {
  return getMixedValues(getStaticDims(), getDims(), getContext());
}
SmallVector<OpFoldResult> SliceOp::getMixedOffsets() {
  return getMixedValues(getStaticOffsets(), getOffsets(), getContext());
}
SmallVector<OpFoldResult> SliceOp::getMixedSizes() {
  return getMixedValues(getStaticSizes(), getSizes(), getContext());
}
