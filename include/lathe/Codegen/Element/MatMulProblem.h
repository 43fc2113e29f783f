// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// A matrix product, of floats or of bytes, or a convolution that is one, as [batch, m, k] times [batch, k,
/// n].

#ifndef LATHE_CODEGEN_ELEMENT_MATMULPROBLEM_H
#define LATHE_CODEGEN_ELEMENT_MATMULPROBLEM_H

#include "lathe/Codegen/Element/ElementEmitter.h"

namespace lathe::codegen {

/// What a kernel with a matmul or a convolution as its root computes. Made from shapes alone.
struct MatMulProblem {
  mlir::Operation *root = nullptr;
  mlir::Value lhs, rhs, result;
  /// The zero points of a product of bytes, null where they are 0.
  mlir::Value lhsZero, rhsZero;
  kernel::OutputOp output;
  /// The leading dimensions of the result, each element of which is a product of its own.
  llvm::SmallVector<mlir::OpFoldResult> batch;
  mlir::OpFoldResult m, n, k;
  /// If all leading dimensions are rows of one product: these dimensions, the last of them the matrix' own.
  llvm::SmallVector<mlir::OpFoldResult> flattened;
  /// Whether everything that the epilogue reads at row (i, j, ...) can be addressed as row (0, ..., 0, m).
  bool flatIndex = false;

  /// The index into the result of a column of row `row`.
  llvm::SmallVector<mlir::Value> resultIndex(mlir::OpBuilder &builder, mlir::Location loc,
                                             llvm::ArrayRef<mlir::OpFoldResult> batchIndex, mlir::Value row,
                                             mlir::Value column) const;
};

/// Finds the root of a kernel; emits a diagnostic if there is none that can be emitted.
llvm::FailureOr<MatMulProblem> analyzeMatMul(ElementContext &context);

/// A convolution of one group as the product of its windows, a row for each element of the result without its
/// channels, and its filter, a row for each element of a window. What the left-hand side is, is the
/// emitter's.
llvm::FailureOr<MatMulProblem> analyzeWindows(ElementContext &context);

/// The index into leading dimensions of `sizes` that broadcast to those of a batch.
llvm::SmallVector<mlir::OpFoldResult> broadcastBatchIndex(mlir::OpBuilder &builder, mlir::Location loc,
                                                          llvm::ArrayRef<mlir::OpFoldResult> sizes,
                                                          llvm::ArrayRef<mlir::OpFoldResult> batchIndex);
/// Where the matrix of an operand at an index of the batch begins.
mlir::OpFoldResult getBatchOffset(mlir::OpBuilder &builder, mlir::Location loc, const StridedView &view,
                                  llvm::ArrayRef<mlir::OpFoldResult> batchIndex);

} // namespace lathe::codegen

#endif // LATHE_CODEGEN_ELEMENT_MATMULPROBLEM_H
