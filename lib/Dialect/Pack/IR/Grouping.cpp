// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Grouping.h"

#include "Compensation.h"
#include "SmallFloats.h"
#include "lathe/Dialect/NN/IR/Builders.h"

#include <cstring>

using namespace mlir;
using namespace lathe;
using namespace lathe::pack;

Buffer pack::makeBuffer(RankedTensorType type) {
  int64_t bytes = type.getNumElements() * nn::getElementBytes(type.getElementType());
  return std::make_shared<std::string>(bytes, '\0');
}

nn::ConstantTensor pack::makeTensor(RankedTensorType type, const Buffer &buffer) {
  return nn::ConstantTensor::makeDense(type, buffer->data(), buffer);
}

//===----------------------------------------------------------------------===//
// Matrix
//===----------------------------------------------------------------------===//

Matrix::Matrix(const nn::ConstantTensor &tensor)
    : tensor(tensor), columns(tensor.getType().getShape().back()),
      rows(columns ? tensor.getType().getNumElements() / columns : 0) {}

void Matrix::read(int64_t first, int64_t count, float *to) const {
  if (elements.empty()) {
    tensor.copy(first * columns, count * columns, reinterpret_cast<char *>(to));
  } else {
    memcpy(to, elements.data() + first * columns, count * columns * sizeof(float));
  }
}

void Matrix::compensate(ArrayRef<float> gram,
                        function_ref<void(size_t row, MutableArrayRef<float> elements)> round) {
  std::vector<float> rounded(rows * columns);
  read(0, rows, rounded.data());
  Compensation(gram, rows).run(rounded, round);
  elements = std::move(rounded);
}

//===----------------------------------------------------------------------===//
// Groups of rows
//===----------------------------------------------------------------------===//

LogicalResult Grouping::verify(function_ref<InFlightDiagnostic()> emitError) const {
  if (size < 1 || size * bits % 8 != 0) {
    return emitError() << "expects groups that fill bytes with " << bits << " bits each, but they have "
                       << size << " rows";
  }
  if (!scales.isF16() && !scales.isF32()) {
    return emitError() << "expects scales of f16 or f32, but they are " << scales;
  }
  return success();
}

LogicalResult Grouping::verifyTensor(function_ref<InFlightDiagnostic()> emitError,
                                     RankedTensorType type) const {
  if (type.getRank() < 2) {
    return emitError() << "expects a matrix for groups of rows, but it is " << type;
  }
  int64_t rows = type.getDimSize(type.getRank() - 2);
  if (rows % size != 0) {
    return emitError() << "expects a multiple of " << size << " rows for its groups, but there are " << rows;
  }
  return success();
}

SmallVector<RankedTensorType> Grouping::getComponents(RankedTensorType type) const {
  SmallVector<int64_t> codes(type.getShape()), parameters(type.getShape());
  int64_t &rows = *std::prev(codes.end(), 2);
  *std::prev(parameters.end(), 2) = rows / size;
  rows = rows * bits / 8;
  Type byte = IntegerType::get(type.getContext(), 8, IntegerType::Unsigned);
  return {RankedTensorType::get(codes, byte), RankedTensorType::get(parameters, scales)};
}

float Grouping::roundScale(float scale) const { return scales.isF16() ? widenF16(roundToF16(scale)) : scale; }

void Grouping::writeScale(Buffer &buffer, int64_t place, float scale) const {
  if (scales.isF16()) {
    uint16_t half = roundToF16(scale);
    memcpy(buffer->data() + place * sizeof half, &half, sizeof half);
  } else {
    memcpy(buffer->data() + place * sizeof scale, &scale, sizeof scale);
  }
}

void Grouping::writeCode(Buffer &buffer, int64_t row, int64_t column, int64_t columns, uint32_t code) const {
  int64_t bit = row * bits, byte = bit / 8, shift = bit % 8;
  (*buffer)[byte * columns + column] |= char(code << shift);
  if (shift + bits > 8) {
    (*buffer)[(byte + 1) * columns + column] |= char(code >> (8 - shift));
  }
}

Value Grouping::buildScaled(OpBuilder &builder, Location loc, RankedTensorType type, Value numbers,
                            Value scales) const {
  SmallVector<int64_t> shape(type.getShape());
  *std::prev(shape.end(), 2) /= size;
  shape.insert(std::prev(shape.end()), size);
  numbers = buildStaticReshape(builder, loc, numbers, shape);
  scales = nn::buildCast(builder, loc, buildSplitRows(builder, loc, scales), type.getElementType());
  numbers = nn::buildBinary(builder, loc, nn::BinaryKind::Mul, numbers, scales);
  return buildStaticReshape(builder, loc, numbers, type.getShape());
}

Value pack::buildStaticReshape(OpBuilder &builder, Location loc, Value x, ArrayRef<int64_t> shape) {
  auto toIndex = [&](int64_t size) -> OpFoldResult { return builder.getIndexAttr(size); };
  return nn::buildReshape(builder, loc, x, llvm::map_to_vector(shape, toIndex));
}

Value pack::buildSplitRows(OpBuilder &builder, Location loc, Value x) {
  SmallVector<int64_t> shape(cast<RankedTensorType>(x.getType()).getShape());
  shape.insert(std::prev(shape.end()), 1);
  return buildStaticReshape(builder, loc, x, shape);
}
