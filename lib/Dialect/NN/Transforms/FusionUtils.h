// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What the fusion passes share: constants, factors, remarks.

#ifndef LATHE_LIB_DIALECT_NN_TRANSFORMS_FUSIONUTILS_H
#define LATHE_LIB_DIALECT_NN_TRANSFORMS_FUSIONUTILS_H

#include "lathe/Dialect/NN/IR/Builders.h"
#include "lathe/Dialect/NN/Transforms/Remarks.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

#include <optional>

namespace lathe::nn {

/// The number of which all elements of a constant are, if it is one.
std::optional<double> getSplatNumber(mlir::Value value);

/// Whether two numbers are the same but for the rounding of an exporter.
bool isClose(double lhs, double rhs);

/// `value` as a binary op of `kind`, or null.
BinaryOp getBinary(mlir::Value value, BinaryKind kind);

/// If `value` is a product with a constant number (or a quotient by one), the other factor; multiplies
/// `factor`. The shape is unchanged. Null if not.
mlir::Value stripFactor(mlir::Value value, double &factor);

/// Whether ops of which `isStep` holds lead from exact sums, those of a product of bytes, to `value`. Looks
/// at few ops.
bool comesFromExactSums(mlir::Value value, llvm::function_ref<bool(mlir::Operation *)> isStep);

/// Where an op comes from that replaces `root` and all that only `root` needs, up to `leaves`: the place of
/// `root`, then those of the others, from the back.
mlir::Location getReplacedLoc(mlir::Operation *root, llvm::ArrayRef<mlir::Value> leaves);

/// Erases the ops of `function` that nobody uses any more, symbols of dimensions excepted.
void eraseDeadOps(mlir::func::FuncOp function);

} // namespace lathe::nn

#endif // LATHE_LIB_DIALECT_NN_TRANSFORMS_FUSIONUTILS_H
