// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Numbers.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/DialectResourceBlobManager.h"
#include "mlir/IR/Matchers.h"
#include "mlir/IR/SymbolTable.h"

#include <cstring>

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;

/// The most elements that are read.
static constexpr int64_t kMaxNumbers = 1 << 16;

template <typename T>
static SmallVector<double> convert(ArrayRef<char> bytes) {
  SmallVector<double> numbers;
  for (size_t at = 0; at + sizeof(T) <= bytes.size(); at += sizeof(T)) {
    // What a file holds need not be aligned.
    T number;
    std::memcpy(&number, bytes.data() + at, sizeof(T));
    numbers.push_back(double(number));
  }
  return numbers;
}

std::optional<SmallVector<double>> lathe::onnx::readNumbers(Value tensor) {
  auto type = cast<RankedTensorType>(tensor.getType());
  Type element = type.getElementType();
  if (!type.hasStaticShape() || type.getNumElements() > kMaxNumbers ||
      !(element.isF32() || element.isF64())) {
    return std::nullopt;
  }
  Attribute value;
  if (auto use = tensor.getDefiningOp<nn::WeightUseOp>()) {
    auto weight = SymbolTable::lookupNearestSymbolFrom<nn::WeightOp>(use, use.getWeightAttr());
    value = weight ? weight.getValueAttr() : Attribute();
  } else {
    matchPattern(tensor, m_Constant(&value));
  }
  if (auto dense = dyn_cast_or_null<DenseElementsAttr>(value)) {
    return llvm::map_to_vector(dense.getValues<APFloat>(),
                               [](const APFloat &number) { return number.convertToDouble(); });
  }
  auto resource = dyn_cast_or_null<DenseResourceElementsAttr>(value);
  AsmResourceBlob *blob = resource ? resource.getRawHandle().getBlob() : nullptr;
  if (!blob || int64_t(blob->getData().size()) != type.getNumElements() * (element.isF32() ? 4 : 8)) {
    return std::nullopt;
  }
  return element.isF32() ? convert<float>(blob->getData()) : convert<double>(blob->getData());
}

Value lathe::onnx::buildNumbers(LegalizeContext &c, ArrayRef<double> numbers, Type elementType) {
  const llvm::fltSemantics &semantics = cast<FloatType>(elementType).getFloatSemantics();
  SmallVector<APFloat> elements;
  for (double number : numbers) {
    APFloat element(number);
    bool losesInfo;
    element.convert(semantics, APFloat::rmNearestTiesToEven, &losesInfo);
    elements.push_back(element);
  }
  auto type = RankedTensorType::get({int64_t(numbers.size())}, elementType);
  return arith::ConstantOp::create(c.b, c.loc, DenseElementsAttr::get(type, elements));
}
