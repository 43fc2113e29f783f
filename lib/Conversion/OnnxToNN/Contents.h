// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What goes into and out of the bodies of control flow: tensors of numbers, whatever these stand for.

#ifndef LATHE_CONVERSION_ONNXTONN_CONTENTS_H
#define LATHE_CONVERSION_ONNXTONN_CONTENTS_H

#include "Legalizer.h"

namespace lathe::onnx {

/// What the numbers of a tensor stand for.
enum class Content { Numbers, Strings, ComplexNumbers };

llvm::StringRef describe(Content content);

/// Makes `value`, a tensor, one of numbers, and says what they stand for: strings are their numbers already,
/// the parts of complex numbers become a last dimension.
Content encode(LegalizeContext &c, LegalValue &value);
/// The other way round.
void decode(LegalizeContext &c, Content content, LegalValue &value);

/// How many dimensions a tensor has that was encoded as `numbers`.
int64_t getRank(Content content, mlir::Value numbers);

} // namespace lathe::onnx

#endif // LATHE_CONVERSION_ONNXTONN_CONTENTS_H
