// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// How legalizers read the attributes of their node.

#include "Legalizer.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;

bool LegalizeContext::hasAttr(StringRef name) const { return bool(node.attributes.get(name)); }

std::optional<int64_t> LegalizeContext::intAttr(StringRef name) {
  Attribute attribute = node.attributes.get(name);
  if (!attribute) {
    return std::nullopt;
  }
  if (auto integer = dyn_cast<IntegerAttr>(attribute)) {
    return integer.getValue().getSExtValue();
  }
  (void)error("E0303", name + " is not an integer", name);
  return std::nullopt;
}

std::optional<double> LegalizeContext::floatAttr(StringRef name) {
  Attribute attribute = node.attributes.get(name);
  if (!attribute) {
    return std::nullopt;
  }
  if (auto number = dyn_cast<FloatAttr>(attribute)) {
    return number.getValueAsDouble();
  }
  (void)error("E0303", name + " is not a float", name);
  return std::nullopt;
}

std::optional<StringRef> LegalizeContext::stringAttr(StringRef name) {
  Attribute attribute = node.attributes.get(name);
  if (!attribute) {
    return std::nullopt;
  }
  if (auto text = dyn_cast<StringAttr>(attribute)) {
    return text.getValue();
  }
  (void)error("E0303", name + " is not a string", name);
  return std::nullopt;
}

std::optional<SmallVector<int64_t>> LegalizeContext::intsAttr(StringRef name) {
  Attribute attribute = node.attributes.get(name);
  if (!attribute) {
    return std::nullopt;
  }
  if (auto array = dyn_cast<DenseI64ArrayAttr>(attribute)) {
    return llvm::to_vector(array.asArrayRef());
  }
  if (auto array = dyn_cast<ArrayAttr>(attribute)) {
    SmallVector<int64_t> values;
    for (Attribute element : array) {
      if (auto integer = dyn_cast<IntegerAttr>(element)) {
        values.push_back(integer.getValue().getSExtValue());
      }
    }
    if (values.size() == array.size()) {
      return values;
    }
  }
  (void)error("E0303", name + " is not a list of integers", name);
  return std::nullopt;
}

std::optional<ArrayRef<float>> LegalizeContext::floatsAttr(StringRef name) {
  Attribute attribute = node.attributes.get(name);
  auto floats = dyn_cast_or_null<DenseF32ArrayAttr>(attribute);
  if (attribute && !floats) {
    (void)error("E0303", name + " is not a list of floats", name);
  }
  return floats ? std::optional(floats.asArrayRef()) : std::nullopt;
}

std::optional<std::vector<std::string>> LegalizeContext::stringsAttr(StringRef name) {
  Attribute attribute = node.attributes.get(name);
  if (!attribute) {
    return std::nullopt;
  }
  std::vector<std::string> texts;
  auto array = dyn_cast<ArrayAttr>(attribute);
  for (Attribute element : array ? array.getValue() : ArrayRef<Attribute>()) {
    if (auto text = dyn_cast<StringAttr>(element)) {
      texts.push_back(text.str());
    }
  }
  if (!array || texts.size() != array.size()) {
    (void)error("E0303", name + " is not a list of strings", name);
    return std::nullopt;
  }
  return texts;
}

ElementsAttr LegalizeContext::tensorAttr(StringRef name) {
  Attribute attribute = node.attributes.get(name);
  auto elements = dyn_cast_or_null<ElementsAttr>(attribute);
  if (attribute && !elements) {
    (void)error("E0303", name + " is not a tensor", name);
  }
  return elements;
}

std::optional<SmallVector<int64_t>> LegalizeContext::intsAttrOrInput(StringRef name, unsigned i) {
  if (hasAttr(name) || !has(i)) {
    return intsAttr(name);
  }
  const Scalars *list = scalars(i);
  SmallVector<int64_t> values;
  for (Size element : list ? ArrayRef<Size>(list->elements) : ArrayRef<Size>()) {
    if (std::optional<int64_t> number = getConstantIntValue(element)) {
      values.push_back(*number);
    }
  }
  if (!list || values.size() != list->elements.size()) {
    (void)unsupported(llvm::formatv("{0} is computed by the model", name));
    return std::nullopt;
  }
  return values;
}

bool LegalizeContext::normalizeAxis(int64_t &axis, int64_t rank, StringRef attribute) {
  if (axis < -rank || axis >= rank) {
    (void)error("E0304",
                llvm::formatv("{0} is {1}, but the operand has {2} dimensions", attribute, axis, rank).str(),
                attribute);
    axis = 0;
    return false;
  }
  axis += axis < 0 ? rank : 0;
  return true;
}

bool LegalizeContext::normalizeAxes(SmallVectorImpl<int64_t> &axes, int64_t rank) {
  llvm::SmallDenseSet<int64_t> seen;
  for (int64_t &axis : axes) {
    if (!normalizeAxis(axis, rank, "axes")) {
      return false;
    }
    if (!seen.insert(axis).second) {
      (void)error("E0304", llvm::formatv("axes names dimension {0} twice", axis).str(), "axes");
      return false;
    }
  }
  return true;
}
