// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Ops by which the host program learns from data.

#ifndef LATHE_DIALECT_NN_IR_NNHOST_H
#define LATHE_DIALECT_NN_IR_NNHOST_H

#include "lathe/Dialect/NN/IR/NN.h"

#define GET_OP_CLASSES
#include "lathe/Dialect/NN/IR/NNHostOps.h.inc"

namespace lathe::nn {

/// Products of sizes stop here instead of wrapping around.
inline constexpr int64_t kTooManyElements = int64_t(1) << 62;

/// Whether an index value is a formula of symbols and constants alone, so that it is known before anything is
/// computed. Looks through arith ops.
bool isKnownFromSymbols(mlir::Value index);

} // namespace lathe::nn

#endif // LATHE_DIALECT_NN_IR_NNHOST_H
