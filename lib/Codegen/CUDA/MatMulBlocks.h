// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What all emitters of matrix products share: how blocks divide the result, and where operands lie.

#ifndef LATHE_LIB_CODEGEN_CUDA_MATMULBLOCKS_H
#define LATHE_LIB_CODEGEN_CUDA_MATMULBLOCKS_H

#include "Factors.h"
#include "lathe/Codegen/CUDA/Emitters.h"
#include "lathe/Codegen/Element/LoopEmitter.h"
#include "lathe/Codegen/Element/MatMulProblem.h"

namespace lathe::cuda {

/// Tiles of `rows` x `columns` of a result, one by each block.
struct MatMulGrid {
  mlir::OpFoldResult rowTiles, columnTiles, blocks;

  MatMulGrid(IndexMath math, const MatMulProblem &problem, int64_t rows, int64_t columns);
};

/// Emits what one block does of a product.
class MatMulBlocks : protected LoopEmitter {
public:
  MatMulBlocks(EmitContext &context, const MatMulProblem &problem);

protected:
  static mlir::Type getElement(mlir::Value tensor) {
    return mlir::cast<mlir::RankedTensorType>(tensor.getType()).getElementType();
  }

  llvm::LogicalResult findOperands();
  /// Finds out which tile this block has.
  void decodeBlock(int64_t rows, int64_t columns);
  /// Where the element of an operand lies at a row of the result, or a column, and a depth.
  llvm::SmallVector<mlir::Value> getLhsIndex(mlir::Value row, mlir::OpFoldResult k);
  llvm::SmallVector<mlir::Value> getRhsIndex(mlir::OpFoldResult k, mlir::Value column);
  /// That element as a factor.
  llvm::FailureOr<mlir::Value> loadLhs(mlir::Value row, mlir::Value k);
  llvm::FailureOr<mlir::Value> loadRhs(mlir::Value k, mlir::Value column);
  /// Whether the result has such an element; null if that is evident, as it is divided into whole tiles.
  mlir::Value isInResult(mlir::Value row, int64_t rows, mlir::Value column, int64_t columns);
  /// Emits `body` where `condition`, which may be null, holds.
  llvm::LogicalResult emitInside(mlir::Value condition, llvm::function_ref<llvm::LogicalResult()> body);

  EmitContext &context;
  const MatMulProblem &problem;
  ElementEmitter elements;
  Factors factors;
  /// Null or the left-hand side with all its rows along one dimension.
  std::optional<StridedView> flatLhs;
  llvm::SmallVector<mlir::OpFoldResult> lhsDims, rhsDims;
  llvm::SmallVector<mlir::OpFoldResult> batchIndex;
  mlir::Value firstRow, firstColumn;
};

} // namespace lathe::cuda

#endif // LATHE_LIB_CODEGEN_CUDA_MATMULBLOCKS_H
