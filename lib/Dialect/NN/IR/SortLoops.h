// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Sorting in kernels of loops.

#ifndef LATHE_LIB_DIALECT_NN_IR_SORTLOOPS_H
#define LATHE_LIB_DIALECT_NN_IR_SORTLOOPS_H

#include "LoopBuilder.h"

namespace lathe::nn {

/// Builds a stable merge sort of the first `size` elements of `order`, i64 numbers that `isLess` compares (as
/// index values, with an i1 for an answer). `scratch` has room for as many.
void buildStableSort(LoopBuilder &b, mlir::Value order, mlir::Value scratch, mlir::Value size,
                     llvm::function_ref<mlir::Value(mlir::Value, mlir::Value)> isLess);

} // namespace lathe::nn

#endif // LATHE_LIB_DIALECT_NN_IR_SORTLOOPS_H
