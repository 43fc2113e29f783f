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

namespace {
/// What bf16 and f16 have in common: each element is rounded to 16 bits.
struct Halves {
  Type element;
  uint16_t (*round)(float);
  float limit;

  SmallVector<RankedTensorType> getComponents(RankedTensorType type) const {
    return {RankedTensorType::get(type.getShape(), element)};
  }
  nn::ConstantParts encode(const nn::ConstantTensor &tensor) const;
};
} // namespace

nn::ConstantParts Halves::encode(const nn::ConstantTensor &tensor) const {
  RankedTensorType type = getComponents(tensor.getType()).front();
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

static Halves halvesOf(BF16Attr attr) {
  // Half a step above the largest bf16 lies infinity.
  return {BFloat16Type::get(attr.getContext()), roundToBF16, llvm::bit_cast<float>(0x7f7f7fff)};
}

static Halves halvesOf(F16Attr attr) { return {Float16Type::get(attr.getContext()), roundToF16, 65504}; }

#define LATHE_HALF_FORMAT(Attr)                                                                              \
  LogicalResult Attr::verifyTensor(function_ref<InFlightDiagnostic()>, RankedTensorType) const {             \
    return success();                                                                                        \
  }                                                                                                          \
  SmallVector<RankedTensorType> Attr::getComponents(RankedTensorType type) const {                           \
    return halvesOf(*this).getComponents(type);                                                              \
  }                                                                                                          \
  float Attr::getLimit() const { return halvesOf(*this).limit; }                                             \
  nn::ConstantParts Attr::encode(const nn::ConstantTensor &tensor) const {                                   \
    return halvesOf(*this).encode(tensor);                                                                   \
  }                                                                                                          \
  Value Attr::buildDecode(OpBuilder &builder, Location loc, RankedTensorType type, ValueRange components)    \
      const {                                                                                                \
    return nn::buildCast(builder, loc, components.front(), type.getElementType());                           \
  }                                                                                                          \
  std::optional<PanelLayout> Attr::getPanelLayout(RankedTensorType type) const { return getLayout(type); }

LATHE_HALF_FORMAT(BF16Attr)
LATHE_HALF_FORMAT(F16Attr)
#undef LATHE_HALF_FORMAT

//===----------------------------------------------------------------------===//
// In kernels
//===----------------------------------------------------------------------===//

/// A vector of the same bits everywhere, of the type of `like`.
static Value buildSplat(OpBuilder &builder, Location loc, Value like, uint32_t bits) {
  auto type = cast<VectorType>(like.getType());
  return arith::ConstantOp::create(builder, loc, DenseElementsAttr::get(type, APInt(32, bits)));
}

Value BF16Attr::buildCode(OpBuilder &builder, Location loc, ValueRange words, int64_t position, Value) const {
  Value word = words.front();
  Value bits = position == 0
                   ? arith::ShLIOp::create(builder, loc, word, buildSplat(builder, loc, word, 16)).getResult()
                   : arith::AndIOp::create(builder, loc, word, buildSplat(builder, loc, word, 0xffff0000));
  auto type = cast<VectorType>(word.getType()).clone(builder.getF32Type());
  return arith::BitcastOp::create(builder, loc, type, bits);
}

Value F16Attr::buildCode(OpBuilder &builder, Location loc, ValueRange words, int64_t position, Value) const {
  Value word = words.front();
  auto type = cast<VectorType>(word.getType());
  if (position == 1) {
    word = arith::ShRUIOp::create(builder, loc, word, buildSplat(builder, loc, word, 16));
  }
  Value half = arith::TruncIOp::create(builder, loc, type.clone(builder.getI16Type()), word);
  half = arith::BitcastOp::create(builder, loc, type.clone(builder.getF16Type()), half);
  return arith::ExtFOp::create(builder, loc, type.clone(builder.getF32Type()), half);
}
