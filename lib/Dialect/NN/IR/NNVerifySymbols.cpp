// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Verifiers of symbols: sizes, weights and layers.

#include "VerifyUtils.h"

#include "lathe/Dialect/NN/IR/Builders.h"

#include "mlir/Dialect/Utils/IndexingUtils.h"
#include "mlir/IR/DialectResourceBlobManager.h"
#include "mlir/Interfaces/FunctionInterfaces.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace lathe::nn;
using namespace lathe::nn::detail;

LogicalResult DimSymbolOp::verify() {
  if (getName().empty()) {
    return emitOpError() << "expects a name";
  }
  int64_t min = getMin(), max = getMax();
  if (min < 0 || max < min || max > kMaxDim) {
    return emitOpError() << "expects bounds with 0 <= min <= max <= " << kMaxDim << ", but they are " << min
                         << " and " << max;
  }
  return success();
}

//===----------------------------------------------------------------------===//
// Weights
//===----------------------------------------------------------------------===//

/// The bytes that `count` elements take in a blob: one for a bool, half a byte for a nibble.
static std::optional<int64_t> getBlobBytes(Type elementType, int64_t count) {
  int64_t bits = elementType.isInteger(1) ? 8 : elementType.getIntOrFloatBitWidth();
  int64_t total;
  if (llvm::MulOverflow(count, bits, total)) {
    return std::nullopt;
  }
  return llvm::divideCeilSigned(total, 8);
}

LogicalResult WeightOp::verify() {
  auto type = dyn_cast<RankedTensorType>(getType());
  if (!type || !type.hasStaticShape()) {
    return emitOpError() << "expects a ranked tensor of static shape, but it is " << getType();
  }
  if (!isSupportedElement(type.getElementType())) {
    return emitOpError() << "expects bool, signless or unsigned integer or float elements, but it is "
                         << type;
  }
  std::optional<int64_t> count = countElements(type.getShape());
  std::optional<int64_t> bytes = count ? getBlobBytes(type.getElementType(), *count) : std::nullopt;
  if (!bytes) {
    return emitOpError() << "expects less than 2^63 bits, but it is " << type;
  }
  if (PanelAttr panel = getPanelAttr()) {
    // All dimensions but the last are the rows: the filter of a convolution is such a matrix too.
    int64_t columns = type.getRank() ? type.getShape().back() : 0;
    if (type.getRank() < 2 || columns == 0 || *count / columns % panel.getInterleave() != 0) {
      return emitOpError() << "expects a matrix with a multiple of " << panel.getInterleave()
                           << " rows for its panel, but it is " << type;
    }
    if (columns % panel.getGroups() != 0) {
      return emitOpError() << "expects a multiple of " << panel.getGroups()
                           << " columns for the groups of its panel, but it is " << type;
    }
  }
  if (isa<WeightSourceAttr>(getValue())) {
    // Sizes are checked with the symbols.
    return success();
  }
  auto elements = dyn_cast<ElementsAttr>(getValue());
  if (!elements) {
    return emitOpError() << "expects elements or a source as its value, but it is " << getValue();
  }
  if (elements.getType() != type) {
    return emitOpError() << "expects a value of type " << type << ", but it has " << elements.getType();
  }
  // A resource without a blob is one whose text was left out.
  if (auto resource = dyn_cast<DenseResourceElementsAttr>(getValue())) {
    AsmResourceBlob *blob = resource.getRawHandle().getBlob();
    if (blob && int64_t(blob->getData().size()) != *bytes) {
      return emitOpError() << "expects " << *bytes << " bytes for " << type << ", but the resource has "
                           << blob->getData().size();
    }
  }
  return success();
}

/// The shape that `source` gives, or failure with an error at `op`.
static FailureOr<SmallVector<int64_t>> getSourceShape(WeightOp op, WeightSourceAttr source,
                                                      ArrayRef<RankedTensorType> operands) {
  SmallVector<int64_t> shape(operands.front().getShape());
  if (source.getKind() == "transpose") {
    if (source.getIndices().size() != shape.size()) {
      return op.emitOpError() << "expects a source that permutes " << shape.size()
                              << " dimensions, but it permutes " << source.getIndices().size();
    }
    return applyPermutation(shape, source.getIndices());
  }
  if (source.getKind() == "reshape") {
    std::optional<int64_t> from = countElements(shape), to = countElements(source.getIndices());
    if (!from || from != to) {
      return op.emitOpError() << "expects a source of the elements of " << operands.front()
                              << ", but its shape is " << formatShape(source.getIndices());
    }
    return llvm::to_vector(source.getIndices());
  }
  int64_t axis = source.getIndices().front();
  if (axis >= int64_t(shape.size())) {
    return op.emitOpError() << "expects a source along an axis below the rank, " << shape.size()
                            << ", but it is " << axis;
  }
  for (RankedTensorType operand : operands.drop_front()) {
    if (operand.getRank() != int64_t(shape.size())) {
      return op.emitOpError() << "expects sources of one rank, " << shape.size() << ", but there is "
                              << operand;
    }
    if (llvm::AddOverflow(shape[axis], operand.getDimSize(axis), shape[axis])) {
      return op.emitOpError() << "expects sources of less than 2^63 elements along axis " << axis;
    }
  }
  for (RankedTensorType operand : operands) {
    for (auto [position, size, other] : llvm::enumerate(shape, operand.getShape())) {
      if (int64_t(position) != axis && size != other) {
        return op.emitOpError() << "expects sources of one shape but along axis " << axis
                                << ", but there are " << operands.front() << " and " << operand;
      }
    }
  }
  return shape;
}

LogicalResult WeightOp::verifySymbolUses(SymbolTableCollection &symbolTable) {
  auto source = dyn_cast<WeightSourceAttr>(getValue());
  if (!source) {
    return success();
  }
  SmallVector<RankedTensorType> operands;
  for (FlatSymbolRefAttr name : source.getOperands()) {
    auto weight = symbolTable.lookupNearestSymbolFrom<WeightOp>(*this, name);
    if (!weight) {
      return emitOpError() << "does not find the weight " << name;
    }
    // That weight may not be verified yet.
    auto type = dyn_cast<RankedTensorType>(weight.getType());
    if (!type || !type.hasStaticShape()) {
      return weight.emitOpError() << "expects a ranked tensor of static shape, but it is "
                                  << weight.getType();
    }
    operands.push_back(type);
    if (type.getElementType() != getTensorType().getElementType()) {
      return emitOpError() << "expects sources of its own elements, " << getTensorType().getElementType()
                           << ", but " << name << " is " << type;
    }
  }
  FailureOr<SmallVector<int64_t>> shape = getSourceShape(*this, source, operands);
  if (failed(shape)) {
    return failure();
  }
  if (ArrayRef(*shape) != getTensorType().getShape()) {
    return emitOpError() << "expects the shape of its source, " << formatShape(*shape) << ", but it is "
                         << getTensorType();
  }
  return success();
}

LogicalResult WeightUseOp::verifySymbolUses(SymbolTableCollection &symbolTable) {
  auto weight = symbolTable.lookupNearestSymbolFrom<WeightOp>(*this, getWeightAttr());
  if (!weight) {
    return emitOpError() << "does not find the weight " << getWeightAttr();
  }
  if (weight.getType() != getResult().getType()) {
    return emitOpError() << "expects the type of " << getWeightAttr() << ", " << weight.getType()
                         << ", but it is " << getResult().getType();
  }
  return success();
}

//===----------------------------------------------------------------------===//
// Layers
//===----------------------------------------------------------------------===//

LogicalResult LayerCallOp::verify() {
  if (int64_t(getRow()) < 0) {
    return emitOpError() << "expects a row that is not negative, but it is " << int64_t(getRow());
  }
  return success();
}

/// Checks that `types` are those of the layer.
static LogicalResult verifyLayerTypes(LayerCallOp op, StringRef what, TypeRange types, TypeRange expected) {
  if (types.size() != expected.size()) {
    return op.emitOpError() << "expects the " << expected.size() << " " << what << "s of "
                            << op.getLayerAttr() << ", but there are " << types.size();
  }
  for (auto [position, type, wanted] : llvm::enumerate(types, expected)) {
    if (type != wanted) {
      return op.emitOpError() << "expects " << what << " " << position << " to be " << wanted << " as in "
                              << op.getLayerAttr() << ", but it is " << type;
    }
  }
  return success();
}

LogicalResult LayerCallOp::verifySymbolUses(SymbolTableCollection &symbolTable) {
  auto layer = symbolTable.lookupNearestSymbolFrom<FunctionOpInterface>(*this, getLayerAttr());
  if (!layer) {
    return emitOpError() << "does not find the layer " << getLayerAttr();
  }
  return failure(failed(verifyLayerTypes(*this, "operand", getOperandTypes(), layer.getArgumentTypes())) ||
                 failed(verifyLayerTypes(*this, "result", getResultTypes(), layer.getResultTypes())));
}
