// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Contents.h"

#include "Complex.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;

StringRef lathe::onnx::describe(Content content) {
  switch (content) {
  case Content::Numbers:
    return "numbers";
  case Content::Strings:
    return "strings";
  case Content::ComplexNumbers:
    return "complex numbers";
  }
  return {};
}

Content lathe::onnx::encode(LegalizeContext &c, LegalValue &value) {
  if (std::exchange(value.isString, false)) {
    return Content::Strings;
  }
  if (value.imaginary) {
    value.tensor = joinParts(c, value);
    value.imaginary = Value();
    return Content::ComplexNumbers;
  }
  return Content::Numbers;
}

void lathe::onnx::decode(LegalizeContext &c, Content content, LegalValue &value) {
  value.isString = content == Content::Strings;
  if (content == Content::ComplexNumbers) {
    value = splitParts(c, value.tensor);
  }
}

int64_t lathe::onnx::getRank(Content content, Value numbers) {
  return nn::getRank(numbers) - (content == Content::ComplexNumbers ? 1 : 0);
}
