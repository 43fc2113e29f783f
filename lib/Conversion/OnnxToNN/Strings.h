// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Strings, which compiled models do not have: tensors of strings are positions in lists that are known. A
/// string of an input that the model names nowhere is only known to be another one.

#ifndef LATHE_CONVERSION_ONNXTONN_STRINGS_H
#define LATHE_CONVERSION_ONNXTONN_STRINGS_H

#include "Legalizer.h"

#include "lathe/Dialect/Onnx/IR/Onnx.h"

namespace lathe::onnx {

/// All strings that a model names, sorted: in constants, and in the attributes of its nodes.
class Vocabulary {
public:
  explicit Vocabulary(mlir::Operation *main);
  std::shared_ptr<const std::vector<std::string>> get() const { return words; }
  /// The value of a constant of strings, or one that is not known.
  LegalValue bind(mlir::OpBuilder &builder, ConstantOp constant) const;

private:
  std::shared_ptr<const std::vector<std::string>> words;
};

/// What the positions that a node moves stand for.
struct StringList {
  std::shared_ptr<const std::vector<std::string>> words;
  bool isOpen = false;
  /// The operands without their words.
  std::vector<std::unique_ptr<LegalValue>> positions;

  /// Makes strings of the positions in `value`.
  void give(LegalizeContext &c, LegalValue &value) const;
};

/// Puts positions in the place of operands that are strings, if all of these have the same list; of others,
/// positions (of a Gather) are numbers anyway. Nothing if there are no strings, or several lists.
std::optional<StringList> takeStrings(llvm::SmallVectorImpl<LegalValue *> &operands);

/// Where each element of `x`, strings, stands in `list` (the last of those that are equal), as i64; behind
/// its end where it does not.
mlir::Value findWords(LegalizeContext &c, const LegalValue &x, llvm::ArrayRef<std::string> list);

/// Equal of two tensors of strings.
llvm::LogicalResult compareStrings(LegalizeContext &c);

} // namespace lathe::onnx

#endif // LATHE_CONVERSION_ONNXTONN_STRINGS_H
