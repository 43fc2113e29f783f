// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The nn op that a component of the runtime computes, and what a module says about strings.

#ifndef LATHE_DIALECT_NN_IR_NNSERVICE_H
#define LATHE_DIALECT_NN_IR_NNSERVICE_H

#include "lathe/Dialect/NN/IR/NN.h"

#define GET_OP_CLASSES
#include "lathe/Dialect/NN/IR/NNServiceOps.h.inc"

namespace lathe::nn {

/// Marks arguments and results of `@main` whose elements are numbers of texts.
inline constexpr llvm::StringLiteral kStringAttr = "nn.string";
/// Marks arguments and results of `@main` that are complex numbers: the last dimension, of two, has their
/// parts.
inline constexpr llvm::StringLiteral kComplexAttr = "nn.complex";
/// Of the module: the texts that it numbers, in the order of their numbers.
inline constexpr llvm::StringLiteral kTextsAttr = "nn.texts";
/// The components of the runtime, and the most operands of a service.
inline constexpr llvm::StringLiteral kComponents[] = {"image", "text"};
inline constexpr unsigned kMaxServiceOperands = 16;

} // namespace lathe::nn

#endif // LATHE_DIALECT_NN_IR_NNSERVICE_H
