// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Dialect/Pack/IR/Pack.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "llvm/Support/Format.h"

#include <cmath>

using namespace mlir;
using namespace lathe;
using namespace lathe::pack;

#define GET_OP_CLASSES
#include "lathe/Dialect/Pack/IR/PackOps.cpp.inc"

using InferredDims = FailureOr<SmallVector<SmallVector<OpFoldResult>>>;
using Parts = nn::ConstantParts;

/// Checks that `tensor` is what `packed` stands for.
static LogicalResult verifyTensor(Operation *op, Type tensor, PackedTensorType packed) {
  if (tensor != packed.getTensorType()) {
    return op->emitOpError() << "expects the tensor to be " << packed.getTensorType() << " as in " << packed
                             << ", but it is " << tensor;
  }
  return success();
}

//===----------------------------------------------------------------------===//
// encode
//===----------------------------------------------------------------------===//

LogicalResult EncodeOp::verify() {
  if (failed(verifyTensor(*this, getX().getType(), getType()))) {
    return failure();
  }
  if (!getGram()) {
    return success();
  }
  RankedTensorType type = getType().getTensorType();
  int64_t columns = type.getRank() ? type.getShape().back() : 1;
  int64_t rows = columns ? type.getNumElements() / columns : 0;
  auto wanted = RankedTensorType::get({rows, rows}, type.getElementType());
  if (getGram().getType() != wanted) {
    return emitOpError() << "expects " << wanted << " as sums of products of " << rows
                         << " channels, but it is " << getGram().getType();
  }
  if (!getType().getFormat().canCompensate()) {
    return emitOpError() << "has sums of products, but nothing is rounded to " << getType().getFormat()
                         << " by them";
  }
  return success();
}

OpFoldResult EncodeOp::fold(FoldAdaptor) {
  auto decode = getX().getDefiningOp<DecodeOp>();
  return decode && decode.getX().getType() == getType() ? decode.getX() : Value();
}

llvm::Expected<Parts> EncodeOp::evaluate(ArrayRef<Parts> operands) {
  const nn::ConstantTensor &tensor = operands.front().front();
  FormatAttrInterface format = getType().getFormat();
  if (std::optional<std::string> why = findUnencodable(format, tensor)) {
    return llvm::createStringError("a weight cannot be stored as " + llvm::Twine(toText(format)) + ": " +
                                   *why);
  }
  if (operands.size() == 1) {
    return format.encode(tensor);
  }
  const nn::ConstantTensor &gram = operands[1].front();
  std::vector<float> sums(gram.getType().getNumElements());
  gram.copy(0, sums.size(), reinterpret_cast<char *>(sums.data()));
  if (!llvm::all_of(sums, [](float sum) { return std::isfinite(sum); })) {
    return llvm::createStringError("a weight cannot be rounded by sums of products that are not finite");
  }
  return format.encodeCompensated(tensor, sums);
}

std::string pack::toText(Attribute format) {
  std::string text;
  llvm::raw_string_ostream(text) << format;
  return text;
}

/// The largest magnitude of f32 elements, and how many are not finite.
static std::pair<float, int64_t> measure(const nn::ConstantTensor &tensor) {
  constexpr int64_t kChunk = 4096;
  std::vector<float> chunk(kChunk);
  int64_t elements = tensor.getType().getNumElements(), notFinite = 0;
  float largest = 0;
  for (int64_t first = 0; first < elements; first += kChunk) {
    int64_t count = std::min(kChunk, elements - first);
    tensor.copy(first, count, reinterpret_cast<char *>(chunk.data()));
    for (float value : llvm::ArrayRef(chunk).take_front(count)) {
      notFinite += !std::isfinite(value);
      largest = std::max(largest, std::fabs(value));
    }
  }
  return {largest, notFinite};
}

static std::optional<std::string> describeNotFinite(const nn::ConstantTensor &tensor, int64_t count) {
  if (count == 0) {
    return std::nullopt;
  }
  return std::to_string(count) + " of its " + std::to_string(tensor.getType().getNumElements()) +
         " elements are not finite";
}

std::optional<std::string> pack::findNotFinite(const nn::ConstantTensor &tensor) {
  return describeNotFinite(tensor, measure(tensor).second);
}

std::optional<std::string> pack::findUnencodable(FormatAttrInterface format,
                                                 const nn::ConstantTensor &tensor) {
  if (!tensor.getType().getElementType().isF32()) {
    return format.findObstacle(tensor);
  }
  auto [largest, count] = measure(tensor);
  if (std::optional<std::string> notFinite = describeNotFinite(tensor, count)) {
    return notFinite;
  }
  if (largest > format.getLimit()) {
    std::string text;
    llvm::raw_string_ostream(text) << "its largest magnitude is " << llvm::format("%.9g", largest)
                                   << ", the limit is " << llvm::format("%.9g", format.getLimit());
    return text;
  }
  return format.findObstacle(tensor);
}

//===----------------------------------------------------------------------===//
// decode
//===----------------------------------------------------------------------===//

LogicalResult DecodeOp::verify() { return verifyTensor(*this, getType(), getX().getType()); }

InferredDims DecodeOp::inferDims(OpBuilder &builder, ArrayRef<SmallVector<OpFoldResult>>) {
  return SmallVector<SmallVector<OpFoldResult>>{
      getAsIndexOpFoldResult(getContext(), cast<RankedTensorType>(getType()).getShape())};
}

//===----------------------------------------------------------------------===//
// compose
//===----------------------------------------------------------------------===//

LogicalResult ComposeOp::verify() {
  SmallVector<RankedTensorType> types = getType().getComponents();
  if (getComponents().size() != types.size()) {
    return emitOpError() << "expects " << types.size() << " components for " << getType()
                         << ", but there are " << getComponents().size();
  }
  for (auto [position, type, component] : llvm::enumerate(types, getComponents())) {
    if (component.getType() != type) {
      return emitOpError() << "expects component " << position << " to be " << type << " for " << getType()
                           << ", but it is " << component.getType();
    }
  }
  return success();
}

llvm::Expected<Parts> ComposeOp::evaluate(ArrayRef<Parts> operands) {
  return llvm::map_to_vector<1>(operands, [](const Parts &parts) { return parts.front(); });
}

//===----------------------------------------------------------------------===//
// component
//===----------------------------------------------------------------------===//

LogicalResult ComponentOp::verify() {
  SmallVector<RankedTensorType> types = getX().getType().getComponents();
  if (getIndex() >= types.size()) {
    return emitOpError() << "expects an index below " << types.size() << " for " << getX().getType()
                         << ", but it is " << int64_t(getIndex());
  }
  if (getType() != types[getIndex()]) {
    return emitOpError() << "expects component " << getIndex() << " of " << getX().getType() << " to be "
                         << types[getIndex()] << ", but it is " << getType();
  }
  return success();
}

OpFoldResult ComponentOp::fold(FoldAdaptor) {
  auto compose = getX().getDefiningOp<ComposeOp>();
  return compose ? compose.getComponents()[getIndex()] : Value();
}

llvm::Expected<Parts> ComponentOp::evaluate(ArrayRef<Parts> operands) {
  return Parts{operands.front()[getIndex()]};
}

//===----------------------------------------------------------------------===//
// prune
//===----------------------------------------------------------------------===//

LogicalResult PruneOp::verify() {
  auto type = cast<RankedTensorType>(getX().getType());
  if (!type.getElementType().isF32() || type.getRank() < 2) {
    return emitOpError() << "expects a matrix of f32, but it is " << type;
  }
  if (int64_t(getRows()) < 1 || int64_t(getColumns()) < 1) {
    return emitOpError() << "expects blocks of at least one element, but they are " << int64_t(getRows())
                         << " x " << int64_t(getColumns());
  }
  if (Value norms = getNorms()) {
    auto expected = RankedTensorType::get({getMatrixRows(type)}, type.getElementType());
    if (norms.getType() != expected) {
      return emitOpError() << "expects norms of type " << expected << " for " << type << ", but they are "
                           << norms.getType();
    }
  }
  return success();
}

llvm::Expected<Parts> PruneOp::evaluate(ArrayRef<Parts> operands) {
  Pruning pruning{getSparsity(), int64_t(getRows()), int64_t(getColumns()), {}};
  if (operands.size() > 1) {
    pruning.norms.resize(operands[1].front().getType().getNumElements());
    operands[1].front().copy(0, pruning.norms.size(), reinterpret_cast<char *>(pruning.norms.data()));
  }
  return Parts{prune(operands.front().front(), pruning)};
}
