// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The division of a matrix product into tasks.

#ifndef LATHE_LIB_CODEGEN_CPU_MATMULGRID_H
#define LATHE_LIB_CODEGEN_CPU_MATMULGRID_H

#include "lathe/Codegen/CPU/Emitters.h"
#include "lathe/Codegen/CPU/MicroKernel.h"
#include "lathe/Codegen/Element/MatMulProblem.h"

namespace lathe::cpu {

/// The tasks of a product: one column of tiles by up to `blockRows` rows each. Tasks are ordered such that as
/// many rows as half of the second-level cache holds are done for one column of tiles after the other; one
/// block of rows after the other where a quarter of that cache holds the right-hand side.
struct MatMulGrid {
  /// A task that does not pay has less than `grainOperations` operations.
  MatMulGrid(EmitContext &context, const MatMulProblem &problem, const MatMulTiling &tiling,
             int64_t grainOperations, int64_t elementBytes);

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

/// The emitter of products of bytes; see getMatMulEmitter.
llvm::FailureOr<TaskSplit> splitIntegerMatMul(EmitContext &context, MatMulProblem &problem);
llvm::LogicalResult emitIntegerMatMul(EmitContext &context, MatMulProblem &problem);

} // namespace lathe::cpu

#endif // LATHE_LIB_CODEGEN_CPU_MATMULGRID_H
