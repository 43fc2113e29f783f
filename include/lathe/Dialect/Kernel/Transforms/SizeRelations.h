// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Which of the sizes that a kernel is given are maxima or minima of others. Shapes that broadcast are equal
/// because of that: a kernel to which all sizes are just arguments would not know what the function knew
/// when the kernel was formed.

#ifndef LATHE_DIALECT_KERNEL_TRANSFORMS_SIZERELATIONS_H
#define LATHE_DIALECT_KERNEL_TRANSFORMS_SIZERELATIONS_H

#include "mlir/IR/Builders.h"
#include "llvm/ADT/SetVector.h"

namespace lathe::kernel {

/// Adds what the broadcast sizes and minima among `sizes` are made of.
void addRelatedSizes(llvm::SetVector<mlir::Value> &sizes);

/// Prints which of `sizes` are broadcasts and minima of which others: code differs with that.
void printSizeRelations(mlir::ValueRange sizes, llvm::raw_ostream &os);

/// The sizes of a kernel that takes `sizes` as `arguments`: broadcasts and minima are computed from the
/// others again, with `builder`.
llvm::SmallVector<mlir::Value> relateSizes(mlir::ValueRange sizes, mlir::ValueRange arguments,
                                           mlir::OpBuilder &builder);

} // namespace lathe::kernel

#endif // LATHE_DIALECT_KERNEL_TRANSFORMS_SIZERELATIONS_H
