// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// A matrix product, or a convolution that is one, as [batch, m, k] times [batch, k, n], and its division
/// into tasks.

#ifndef LATHE_LIB_CODEGEN_CPU_MATMULPROBLEM_H
#define LATHE_LIB_CODEGEN_CPU_MATMULPROBLEM_H

#include "lathe/Codegen/CPU/Emitters.h"
#include "lathe/Codegen/CPU/MicroKernel.h"

namespace lathe::cpu {

/// What a kernel with a matmul or a convolution as its root computes. Made from shapes alone.
struct MatMulProblem {
  mlir::Operation *root = nullptr;
  mlir::Value lhs, rhs, result;
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
llvm::FailureOr<MatMulProblem> analyzeMatMul(EmitContext &context);

/// The tasks of a product: one column of tiles by up to `blockRows` rows each. Tasks are ordered such that as
/// many rows as half of the second-level cache holds are done for one column of tiles after the other.
struct MatMulGrid {
  MatMulGrid(EmitContext &context, const MatMulProblem &problem, const MatMulTiling &tiling);

  mlir::OpFoldResult blockRows, rowBlocks, columnTiles, tasks, grain;
  /// How many blocks of rows are done together.
  mlir::OpFoldResult groupSize;

  struct Task {
    llvm::SmallVector<mlir::OpFoldResult> batchIndex;
    mlir::OpFoldResult firstRow, rows, firstColumn;
  };
  /// Takes the number of a task apart.
  Task decode(mlir::OpBuilder &builder, mlir::Location loc, const MatMulProblem &problem,
              const MatMulTiling &tiling, mlir::Value task) const;
};

} // namespace lathe::cpu

#endif // LATHE_LIB_CODEGEN_CPU_MATMULPROBLEM_H
