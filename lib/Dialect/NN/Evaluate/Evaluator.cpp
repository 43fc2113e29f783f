// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Dialect/NN/Evaluate/Evaluator.h"

#include "lathe/Dialect/NN/Evaluate/EvaluableOp.h"
#include "lathe/Dialect/NN/Evaluate/ScalarProgram.h"
#include "lathe/Dialect/NN/IR/Division.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/DialectResourceBlobManager.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/MathExtras.h"

#include <cstring>

using namespace mlir;
using namespace lathe::nn;
using llvm::Expected;

#include "lathe/Dialect/NN/Evaluate/EvaluableOp.cpp.inc"

/// Weights that are made of each other form a tree of a few levels; a bound keeps a cycle from being
/// followed.
static constexpr unsigned kMaxDepth = 16;

bool lathe::nn::isView(Operation *op) { return isa<ReshapeOp, TransposeOp, ExpandOp, SliceOp, ConcatOp>(op); }

static bool isStatic(Type type) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  return tensor && tensor.hasStaticShape() && tensor.getElementType().isIntOrFloat();
}

bool lathe::nn::canEvaluate(Operation *op) {
  if (op->getNumResults() != 1 || !isStatic(op->getResult(0).getType()) ||
      !llvm::all_of(op->getOperandTypes(), isStatic)) {
    return false;
  }
  // The run reports a division by zero.
  if (getUncertainDivisor(op)) {
    return false;
  }
  // What is static in its types alone may have a start that only the run tells, which is an operand.
  if (isView(op) || isa<GatherOp>(op)) {
    return true;
  }
  auto pointwise = dyn_cast<PointwiseOpInterface>(op);
  return pointwise && ScalarProgram::build(pointwise);
}

/// Elements of 2 to 7 bits, which lie side by side in a model's file, from the low bits on: a byte each.
static Expected<ConstantTensor> unpack(RankedTensorType type, ArrayRef<char> packed, const Twine &name) {
  size_t bits = type.getElementTypeBitWidth(), count = type.getNumElements();
  size_t size = llvm::divideCeil(count * bits, 8);
  if (packed.size() != size) {
    return llvm::createStringError(name + " needs " + Twine(size) + " bytes, its data has " +
                                   Twine(packed.size()));
  }
  auto owner = std::make_shared<std::string>(count, '\0');
  for (size_t i = 0; i < count; ++i) {
    size_t at = i * bits, byte = at / 8, shift = at % 8;
    unsigned pair = uint8_t(packed[byte]);
    if (shift + bits > 8) {
      pair |= unsigned(uint8_t(packed[byte + 1])) << 8;
    }
    (*owner)[i] = char(pair >> shift & ((1u << bits) - 1));
  }
  return ConstantTensor::makeDense(type, owner->data(), owner);
}

/// The elements of a weight or constant that holds data.
static Expected<ConstantTensor> readElements(Attribute value, const Twine &name) {
  auto typed = dyn_cast_or_null<ElementsAttr>(value);
  auto type = typed ? dyn_cast<RankedTensorType>(typed.getType()) : RankedTensorType();
  if (!type) {
    return llvm::createStringError(name + " has no data");
  }
  size_t size = type.getNumElements() * getElementBytes(type.getElementType());
  if (auto resource = dyn_cast<DenseResourceElementsAttr>(value)) {
    AsmResourceBlob *blob = resource.getRawHandle().getBlob();
    if (unsigned bits = type.getElementTypeBitWidth(); blob && bits > 1 && bits < 8) {
      return unpack(type, blob->getData(), name);
    }
    if (!blob || blob->getData().size() != size) {
      return llvm::createStringError(name + " needs " + Twine(size) + " bytes, its data has " +
                                     Twine(blob ? blob->getData().size() : 0));
    }
    return ConstantTensor::makeDense(type, blob->getData().data());
  }
  auto dense = dyn_cast<DenseElementsAttr>(value);
  if (!dense) {
    return llvm::createStringError(name + " has no data");
  }
  bool isBool = type.getElementType().isInteger(1);
  if (dense.isSplat()) {
    char flag = isBool && dense.getSplatValue<bool>();
    return ConstantTensor::makeSplat(type, isBool ? ArrayRef(flag) : dense.getRawData());
  }
  if (!isBool) {
    return ConstantTensor::makeDense(type, dense.getRawData().data());
  }
  auto owner = std::make_shared<std::string>(size, '\0');
  for (auto [position, flag] : llvm::enumerate(dense.getValues<bool>())) {
    (*owner)[position] = flag;
  }
  return ConstantTensor::makeDense(type, owner->data(), owner);
}

/// Runs a pointwise op chunk after chunk.
static ConstantTensor evaluatePointwise(PointwiseOpInterface op, ArrayRef<ConstantTensor> operands) {
  auto type = cast<RankedTensorType>(op->getResult(0).getType());
  std::unique_ptr<ScalarProgram> program = ScalarProgram::build(op);
  SmallVector<ConstantTensor, 0> inputs;
  SmallVector<std::string> chunks;
  for (const ConstantTensor &operand : operands) {
    inputs.push_back(operand.expand(type.getShape()));
    chunks.emplace_back(ScalarProgram::kChunk * getElementBytes(operand.getType().getElementType()), '\0');
  }
  int64_t bytes = getElementBytes(type.getElementType()), elements = type.getNumElements();
  auto owner = std::make_shared<std::string>(elements * bytes, '\0');
  auto pointers =
      llvm::map_to_vector(chunks, [](std::string &chunk) -> const char * { return chunk.data(); });
  for (int64_t first = 0; first < elements; first += ScalarProgram::kChunk) {
    int64_t count = std::min(ScalarProgram::kChunk, elements - first);
    for (auto [input, chunk] : llvm::zip_equal(inputs, chunks)) {
      input.copy(first, count, chunk.data());
    }
    program->run(pointers, owner->data() + first * bytes, count);
  }
  return ConstantTensor::makeDense(type, owner->data(), owner);
}

SmallVector<int64_t> lathe::nn::readIndices(const ConstantTensor &tensor) {
  ConstantTensor dense = tensor.toDense();
  SmallVector<int64_t> indices(dense.getType().getNumElements());
  if (dense.getType().getElementType().getIntOrFloatBitWidth() == 64) {
    memcpy(indices.data(), dense.getData(), indices.size() * sizeof(int64_t));
    return indices;
  }
  for (auto [position, index] : llvm::enumerate(indices)) {
    int32_t narrow;
    memcpy(&narrow, dense.getData() + position * sizeof narrow, sizeof narrow);
    index = narrow;
  }
  return indices;
}

static Expected<ConstantTensor> evaluateGather(GatherOp op, ConstantTensor x, const ConstantTensor &indices) {
  auto type = cast<RankedTensorType>(op.getType());
  x = x.toDense();
  SmallVector<int64_t> positions = readIndices(indices);
  ArrayRef<int64_t> shape = x.getType().getShape();
  int64_t size = shape[op.getAxis()], outer = ShapedType::getNumElements(shape.take_front(op.getAxis()));
  int64_t row =
      ShapedType::getNumElements(shape.drop_front(op.getAxis() + 1)) * getElementBytes(type.getElementType());
  auto owner =
      std::make_shared<std::string>(type.getNumElements() * getElementBytes(type.getElementType()), '\0');
  char *to = owner->data();
  for (int64_t i = 0; i < outer; ++i) {
    for (int64_t position : positions) {
      int64_t index = position + (position < 0 ? size : 0);
      if (index < 0 || index >= size) {
        return llvm::createStringError("index " + Twine(position) + " lies outside of dimension " +
                                       Twine(op.getAxis()) + " of size " + Twine(size));
      }
      memcpy(to, x.getData() + (i * size + index) * row, row);
      to += row;
    }
  }
  return ConstantTensor::makeDense(type, owner->data(), owner);
}

/// What an op of tensors makes of them.
static Expected<ConstantTensor> evaluateTensors(Operation *op, ArrayRef<ConstantTensor> operands) {
  using Result = Expected<ConstantTensor>;
  return llvm::TypeSwitch<Operation *, Result>(op)
      .Case([&](arith::ConstantOp constant) { return readElements(constant.getValue(), "a constant"); })
      .Case([&](ReshapeOp reshape) { return operands[0].reshape(reshape.getStaticDims()); })
      .Case([&](ExpandOp expand) { return operands[0].expand(expand.getStaticDims()); })
      .Case([&](TransposeOp transpose) { return operands[0].transpose(transpose.getPerm()); })
      .Case([&](SliceOp slice) {
        return operands[0].slice(slice.getStaticOffsets(), slice.getStaticSizes(), slice.getStaticStrides());
      })
      .Case([&](ConcatOp concat) { return ConstantTensor::concat(operands, concat.getAxis()); })
      .Case([&](GatherOp gather) { return evaluateGather(gather, operands[0], operands[1]); })
      .Case([&](PointwiseOpInterface pointwise) { return evaluatePointwise(pointwise, operands); })
      .Default([](Operation *unknown) -> Result {
        return llvm::createStringError("weights cannot be made by " + unknown->getName().getStringRef());
      });
}

/// The only part of a value that is a tensor.
static Expected<ConstantTensor> getTensor(Expected<ConstantParts> parts) {
  if (!parts) {
    return parts.takeError();
  }
  return std::move(parts->front());
}

Expected<ConstantTensor> Evaluator::read(WeightOp weight) { return getTensor(readParts(weight)); }

Expected<ConstantTensor> Evaluator::evaluate(ArrayRef<Operation *> ops, Value result) {
  return getTensor(evaluate(ops, result, /*depth=*/0));
}

Expected<ConstantParts> Evaluator::read(WeightOp weight, unsigned depth) {
  if (depth > kMaxDepth) {
    return llvm::createStringError("weight @" + weight.getSymName() + " is made of others more than " +
                                   Twine(kMaxDepth) + " deep");
  }
  if (weight.getBody().empty()) {
    Expected<ConstantTensor> elements = readElements(weight.getValueAttr(), "weight @" + weight.getSymName());
    return elements ? Expected<ConstantParts>(ConstantParts{*elements}) : elements.takeError();
  }
  Block &body = weight.getBody().front();
  auto ops = llvm::map_to_vector(body.without_terminator(), [](Operation &op) { return &op; });
  return evaluate(ops, body.getTerminator()->getOperand(0), depth);
}

Expected<ConstantParts> Evaluator::evaluate(Operation *op, ArrayRef<ConstantParts> operands, unsigned depth) {
  if (auto use = dyn_cast<WeightUseOp>(op)) {
    auto weight = symbols.lookup<WeightOp>(use.getWeight());
    return weight ? read(weight, depth + 1)
                  : llvm::createStringError("there is no weight @" + use.getWeight());
  }
  if (auto evaluable = dyn_cast<EvaluableOpInterface>(op)) {
    return evaluable.evaluate(operands);
  }
  SmallVector<ConstantTensor, 0> tensors;
  for (const ConstantParts &operand : operands) {
    tensors.push_back(operand.front());
  }
  Expected<ConstantTensor> result = evaluateTensors(op, tensors);
  return result ? Expected<ConstantParts>(ConstantParts{*result}) : result.takeError();
}

Expected<ConstantParts> Evaluator::evaluate(ArrayRef<Operation *> ops, Value result, unsigned depth) {
  llvm::DenseMap<Value, ConstantParts> values;
  llvm::DenseMap<Value, size_t> lastUse;
  for (auto [position, op] : llvm::enumerate(ops)) {
    for (Value operand : op->getOperands()) {
      lastUse[operand] = position;
    }
  }
  lastUse[result] = ops.size();
  for (auto [position, op] : llvm::enumerate(ops)) {
    SmallVector<ConstantParts, 0> operands;
    for (Value operand : op->getOperands()) {
      operands.push_back(values.at(operand));
    }
    Expected<ConstantParts> value = evaluate(op, operands, depth);
    if (!value) {
      return value.takeError();
    }
    if (lastUse.contains(op->getResult(0))) {
      values.insert({op->getResult(0), std::move(*value)});
    }
    for (Value operand : op->getOperands()) {
      if (lastUse[operand] == position) {
        values.erase(operand);
      }
    }
  }
  return values.at(result);
}
