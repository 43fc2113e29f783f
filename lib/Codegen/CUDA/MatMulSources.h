// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What the tiles of a product are filled with.

#ifndef LATHE_LIB_CODEGEN_CUDA_MATMULSOURCES_H
#define LATHE_LIB_CODEGEN_CUDA_MATMULSOURCES_H

#include "MatMulBlocks.h"
#include "StagedTile.h"
#include "Windows.h"

namespace lathe::cuda {

/// The operands of a block of a product, of a convolution's windows, too, as sources of tiles.
class MatMulSources : protected MatMulBlocks {
protected:
  MatMulSources(EmitContext &context, const MatMulProblem &problem, MatrixFormat format);

  /// Finds out where operands lie, before anything else.
  llvm::LogicalResult findSources();
  /// What the tiles of an operand are filled with, once the block is known, and whether their lines lie along
  /// the depth.
  std::pair<TileSource, bool> getSource(StagedTile::Side side);

  MatrixFormat format;

private:
  /// The matrix of this block's product that an operand has in memory, if it is there.
  std::optional<StridedView> getMatrix(mlir::Value tensor);
  std::pair<TileSource, bool> getFloatSource(StagedTile::Side side);
  std::pair<TileSource, bool> getByteSource(StagedTile::Side side);
  /// The right-hand side in panels of columns, if that is how it is stored.
  std::optional<TileSource> getPanelSource();
  /// The same, in panels of a format.
  TileSource getPackedSource();
  /// An element of a convolution's filter, of which all dimensions but the last are rows.
  llvm::FailureOr<mlir::Value> loadFilter(mlir::Value row, mlir::Value column);

  /// Of a convolution that is no product of matrices.
  std::optional<Windows> windows;
};

} // namespace lathe::cuda

#endif // LATHE_LIB_CODEGEN_CUDA_MATMULSOURCES_H
