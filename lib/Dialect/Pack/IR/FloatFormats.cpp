// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Formats of floats of 16 bits.

#include "SmallFloats.h"
#include "lathe/Dialect/NN/IR/Builders.h"
#include "lathe/Dialect/Pack/IR/Pack.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

#include <algorithm>
#include <cstring>

using namespace mlir;
using namespace lathe;
using namespace lathe::pack;

static SmallVector<RankedTensorType> getComponent(RankedTensorType type, Type element) {
  return {RankedTensorType::get(type.getShape(), element)};
}

/// Rounds every element.
static nn::ConstantParts encodeEach(const nn::ConstantTensor &tensor, Type element,
                                    uint16_t (*round)(float)) {
  RankedTensorType type = getComponent(tensor.getType(), element).front();
  int64_t elements = type.getNumElements();
  auto codes = std::make_shared<std::string>(elements * sizeof(uint16_t), '\0');
  constexpr int64_t kChunk = 4096;
  std::vector<float> chunk(kChunk);
  for (int64_t first = 0; first < elements; first += kChunk) {
    int64_t count = std::min(kChunk, elements - first);
    tensor.copy(first, count, reinterpret_cast<char *>(chunk.data()));
    for (int64_t i = 0; i < count; ++i) {
      uint16_t code = round(chunk[i]);
      memcpy(codes->data() + (first + i) * sizeof code, &code, sizeof code);
    }
  }
  return {nn::ConstantTensor::makeDense(type, codes->data(), codes)};
}

/// Words of two elements each.
static std::optional<PanelLayout> getLayout(RankedTensorType type) {
  if (type.getRank() != 2 || type.getNumElements() == 0) {
    return std::nullopt;
  }
  return PanelLayout{type.getDimSize(0), type.getDimSize(1), /*bits=*/16, /*group=*/type.getDimSize(0),
                     Type()};
}

/// A vector of the same bits everywhere, of the type of `like`.
static Value buildSplat(OpBuilder &builder, Location loc, Value like, uint32_t bits) {
  auto type = cast<VectorType>(like.getType());
  return arith::ConstantOp::create(builder, loc, DenseElementsAttr::get(type, APInt(32, bits)));
}

//===----------------------------------------------------------------------===//
// bf16
//===----------------------------------------------------------------------===//

LogicalResult BF16Attr::verifyTensor(function_ref<InFlightDiagnostic()>, RankedTensorType) const {
  return success();
}

SmallVector<RankedTensorType> BF16Attr::getComponents(RankedTensorType type) const {
  return getComponent(type, BFloat16Type::get(getContext()));
}

/// Half a step above the largest bf16 lies infinity.
float BF16Attr::getLimit() const { return llvm::bit_cast<float>(0x7f7f7fff); }

nn::ConstantParts BF16Attr::encode(const nn::ConstantTensor &tensor) const {
  return encodeEach(tensor, BFloat16Type::get(getContext()), roundToBF16);
}

Value BF16Attr::buildDecode(OpBuilder &builder, Location loc, RankedTensorType type,
                            ValueRange components) const {
  return nn::buildCast(builder, loc, components.front(), type.getElementType());
}

std::optional<PanelLayout> BF16Attr::getPanelLayout(RankedTensorType type) const { return getLayout(type); }

Value BF16Attr::buildCode(OpBuilder &builder, Location loc, Value words, int64_t position, Value) const {
  Value bits =
      position == 0
          ? arith::ShLIOp::create(builder, loc, words, buildSplat(builder, loc, words, 16)).getResult()
          : arith::AndIOp::create(builder, loc, words, buildSplat(builder, loc, words, 0xffff0000));
  auto type = cast<VectorType>(words.getType()).clone(builder.getF32Type());
  return arith::BitcastOp::create(builder, loc, type, bits);
}

//===----------------------------------------------------------------------===//
// f16
//===----------------------------------------------------------------------===//

LogicalResult F16Attr::verifyTensor(function_ref<InFlightDiagnostic()>, RankedTensorType) const {
  return success();
}

SmallVector<RankedTensorType> F16Attr::getComponents(RankedTensorType type) const {
  return getComponent(type, Float16Type::get(getContext()));
}

float F16Attr::getLimit() const { return 65504; }

nn::ConstantParts F16Attr::encode(const nn::ConstantTensor &tensor) const {
  return encodeEach(tensor, Float16Type::get(getContext()), roundToF16);
}

Value F16Attr::buildDecode(OpBuilder &builder, Location loc, RankedTensorType type,
                           ValueRange components) const {
  return nn::buildCast(builder, loc, components.front(), type.getElementType());
}

std::optional<PanelLayout> F16Attr::getPanelLayout(RankedTensorType type) const { return getLayout(type); }

Value F16Attr::buildCode(OpBuilder &builder, Location loc, Value words, int64_t position, Value) const {
  auto type = cast<VectorType>(words.getType());
  if (position == 1) {
    words = arith::ShRUIOp::create(builder, loc, words, buildSplat(builder, loc, words, 16));
  }
  Value half = arith::TruncIOp::create(builder, loc, type.clone(builder.getI16Type()), words);
  half = arith::BitcastOp::create(builder, loc, type.clone(builder.getF16Type()), half);
  return arith::ExtFOp::create(builder, loc, type.clone(builder.getF32Type()), half);
}
