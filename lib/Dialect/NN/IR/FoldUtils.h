// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What folders and canonicalization patterns share.

#ifndef LATHE_DIALECT_NN_IR_FOLDUTILS_H
#define LATHE_DIALECT_NN_IR_FOLDUTILS_H

#include "lathe/Dialect/NN/IR/NN.h"

namespace lathe::nn::detail {

/// A size in a form that can be compared: a number, the name of a symbol (a string), or a value.
mlir::OpFoldResult normalizeSize(mlir::OpFoldResult size);

/// The size of a dimension in normalized form, as far as a few steps up the graph tell, else null. Builds
/// nothing.
mlir::OpFoldResult findSize(mlir::Value x, int64_t axis);

/// Whether the sizes of `x` are evidently `sizes`: looks a few steps up the graph and builds nothing.
bool hasSizes(mlir::Value x, llvm::ArrayRef<mlir::OpFoldResult> sizes);

} // namespace lathe::nn::detail

#endif // LATHE_DIALECT_NN_IR_FOLDUTILS_H
