// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Strings. A tensor of strings is one of i64 numbers of texts: those that the model names are numbered here,
/// a session numbers those of its inputs and those that its runs make. Equal texts have equal numbers, so
/// that what moves and compares strings works on integers; what looks into them is a service of the runtime's
/// component "text".

#ifndef LATHE_CONVERSION_ONNXTONN_STRINGS_H
#define LATHE_CONVERSION_ONNXTONN_STRINGS_H

#include "Legalizer.h"

#include "lathe/Dialect/Onnx/IR/Onnx.h"

namespace lathe::onnx {

/// The texts that a model names, numbered in the order in which they are asked for.
class Texts {
public:
  int64_t number(llvm::StringRef text);
  llvm::ArrayRef<std::string> get() const { return texts; }

private:
  std::vector<std::string> texts;
  llvm::StringMap<int64_t> numbers;
};

/// The value of a constant of strings, or one that is not known.
LegalValue bindStrings(mlir::OpBuilder &builder, Texts &texts, ConstantOp constant);

/// The numbers of some texts.
llvm::SmallVector<int64_t> numberTexts(LegalizeContext &c, llvm::ArrayRef<std::string> list);

/// Operands without strings: in their place stand numbers.
class StringOperands {
public:
  explicit StringOperands(llvm::SmallVectorImpl<LegalValue *> &operands);
  /// Whether there are any.
  explicit operator bool() const { return !numbers.empty(); }

private:
  std::vector<std::unique_ptr<LegalValue>> numbers;
};

/// Makes strings of the numbers in `value`.
void makeStrings(LegalizeContext &c, LegalValue &value);

/// Result `i` is a tensor of strings.
llvm::LogicalResult setStrings(LegalizeContext &c, unsigned i, mlir::Value numbers);

/// What service `name` makes of `inputs`, strings as numbers.
mlir::Value buildService(LegalizeContext &c, llvm::StringRef name, mlir::ValueRange inputs,
                         mlir::Type element, llvm::ArrayRef<Size> dims, llvm::StringRef argument = "");

/// Equal of two tensors of strings.
llvm::LogicalResult compareStrings(LegalizeContext &c);

/// The numbers of type `type` that strings `x` say, and numbers as strings.
mlir::Value parseStrings(LegalizeContext &c, mlir::Value x, mlir::Type type);
mlir::Value printNumbers(LegalizeContext &c, mlir::Value x);

/// Casts from and to strings.
llvm::LogicalResult castFromStrings(LegalizeContext &c, mlir::Type type);
llvm::LogicalResult castToStrings(LegalizeContext &c);

} // namespace lathe::onnx

#endif // LATHE_CONVERSION_ONNXTONN_STRINGS_H
