// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Verifiers of symbols: sizes, weights and layers.

#include "VerifyUtils.h"

#include "lathe/Dialect/NN/IR/Builders.h"
#include "lathe/Dialect/NN/IR/NNControl.h"

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

RankedTensorType lathe::nn::getLogicalType(Type type) {
  auto packed = dyn_cast<PackedTypeInterface>(type);
  return packed ? packed.getTensorType() : dyn_cast<RankedTensorType>(type);
}

LogicalResult WeightOp::verify() {
  RankedTensorType type = getTensorType();
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
    if (type.getRank() < 2 || columns == 0) {
      return emitOpError() << "expects a matrix for its panel, but it is " << type;
    }
    if (panel.getSums() && !type.getElementType().isInteger(8)) {
      return emitOpError() << "expects integers of 8 bits for a panel with sums, but it is " << type;
    }
    if (columns % panel.getGroups() != 0) {
      return emitOpError() << "expects a multiple of " << panel.getGroups()
                           << " columns for the groups of its panel, but it is " << type;
    }
  }
  if (bool(getValueAttr()) == isComputed()) {
    return emitOpError() << "expects a value or a body that computes it";
  }
  if (isa<PackedTypeInterface>(getType()) && !isComputed()) {
    return emitOpError() << "expects a body that computes it, because it is " << getType();
  }
  if (isComputed()) {
    return success();
  }
  auto elements = dyn_cast<ElementsAttr>(getValueAttr());
  if (!elements) {
    return emitOpError() << "expects elements as its value, but it is " << getValueAttr();
  }
  if (elements.getType() != type) {
    return emitOpError() << "expects a value of type " << type << ", but it has " << elements.getType();
  }
  // A resource without a blob is one whose text was left out.
  if (auto resource = dyn_cast<DenseResourceElementsAttr>(getValueAttr())) {
    AsmResourceBlob *blob = resource.getRawHandle().getBlob();
    if (blob && int64_t(blob->getData().size()) != *bytes) {
      return emitOpError() << "expects " << *bytes << " bytes for " << type << ", but the resource has "
                           << blob->getData().size();
    }
  }
  return success();
}

LogicalResult WeightOp::verifyRegions() {
  if (!isComputed()) {
    return success();
  }
  Block &block = getBody().front();
  if (block.getNumArguments() != 0) {
    return emitOpError() << "expects a body without arguments, but it has " << block.getNumArguments();
  }
  auto yield = dyn_cast<YieldOp>(block.back());
  if (!yield || yield->getOperandTypes() != TypeRange(getType())) {
    return emitOpError() << "expects a body that yields one value of its type, " << getType();
  }
  for (Operation &op : block.without_terminator()) {
    if (!isPure(&op) || op.getNumRegions() != 0 || op.getNumResults() != 1) {
      return op.emitOpError() << "cannot compute a weight";
    }
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
