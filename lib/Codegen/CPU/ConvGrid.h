// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The division of a convolution that is computed by register tiles into tasks.

#ifndef LATHE_LIB_CODEGEN_CPU_CONVGRID_H
#define LATHE_LIB_CODEGEN_CPU_CONVGRID_H

#include "ConvProblem.h"
#include "lathe/Codegen/CPU/MicroKernel.h"

namespace lathe::cpu {

/// The tasks of a convolution: a block of pixels of the result by one column of register tiles. Tasks of the
/// same pixels follow each other, so that what is made of their input is used by all.
struct ConvGrid {
  /// `joined` groups of the convolution are one matrix. A task that does not pay has less than
  /// `grainOperations` operations, which take some 10 microseconds.
  ConvGrid(EmitContext &context, ConvProblem &problem, const MatMulTiling &tiling, int64_t joined,
           int64_t grainOperations = 500000);

  /// Rows and columns of pixels in a block (one plane), and the numbers of blocks.
  mlir::OpFoldResult blockHeight, blockWidth, rowBlocks, columnBlocks;
  /// Columns of register tiles in each matrix, and matrices.
  mlir::OpFoldResult columnTiles, matrices;
  mlir::OpFoldResult tasks, grain;
  /// At most this many pixels are in a block.
  int64_t pixels;
  /// At most this many elements of the input, with all channels, does a block need.
  int64_t patchElements;

  /// The pixels of the result that a task computes.
  struct Block {
    mlir::OpFoldResult image, plane, firstRow, rows, firstColumn, columns;
  };
  struct Task {
    /// The number of the block, the same for all tasks that compute its pixels.
    mlir::OpFoldResult number;
    Block block;
    mlir::OpFoldResult matrix, firstFilter;
  };
  /// Pixels (row, column) of a block and a number of those that follow in the same row.
  struct Pixels {
    mlir::OpFoldResult row, column, count;
  };
  /// Calls `body` for one or two registers of up to MatrixTiles::kRows pixels each, in loops over all pixels
  /// of a block.
  static void emitMatrixTiles(mlir::OpBuilder &builder, mlir::Location loc, const Block &block,
                              llvm::function_ref<void(llvm::ArrayRef<Pixels>)> body);
  Task decode(mlir::OpBuilder &builder, mlir::Location loc, ConvProblem &problem, const MatMulTiling &tiling,
              mlir::Value task) const;
};

} // namespace lathe::cpu

#endif // LATHE_LIB_CODEGEN_CPU_CONVGRID_H
