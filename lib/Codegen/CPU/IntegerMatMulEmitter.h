// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What emits matrix products of bytes: see IntegerMatMul.cpp.

#ifndef LATHE_LIB_CODEGEN_CPU_INTEGERMATMULEMITTER_H
#define LATHE_LIB_CODEGEN_CPU_INTEGERMATMULEMITTER_H

#include "BlockMatMul.h"
#include "IntegerTile.h"
#include "ProductEmitter.h"

namespace lathe::cpu {

/// How much of the reduced dimension is packed at a time, a multiple of what matrix registers multiply.
inline constexpr int64_t kPackedDepth = 512;

class IntegerMatMulEmitter : ProductEmitter {
public:
  IntegerMatMulEmitter(EmitContext &context, MatMulProblem &problem);

  llvm::LogicalResult emit();

private:
  llvm::LogicalResult findLhs();
  llvm::LogicalResult findRhs();
  llvm::LogicalResult findZeros();

  llvm::LogicalResult emitColumns(const MatMulGrid::Task &task, const ColumnTile &columns) override;
  /// The sums over `depth` from `firstDepth` on; `isFirst` (null: it is) tells whether anything comes before.
  void emitDepthBlock(const MatMulGrid::Task &task, const ColumnTile &columns, mlir::Value firstDepth,
                      mlir::OpFoldResult depth, mlir::Value isFirst);
  void emitVectorTiles(const MatMulGrid::Task &task, const ColumnTile &columns, const MatrixRef &lhsRows,
                       const MatrixRef &rhsRows, mlir::OpFoldResult depth, mlir::Value isFirst) override;
  void emitVectorTile(const ColumnTile &columns, int64_t height, mlir::Value row, const MatrixRef &lhsRows,
                      const MatrixRef &rhsRows, mlir::OpFoldResult depth, mlir::Value isFirst,
                      const PrefetchStream &prefetch);
  /// What tile number `row / rows` fetches: its share of the next panel.
  PrefetchStream getShareOfNext(mlir::Value row, int64_t lines);
  MatrixRef getLhs(const MatMulGrid::Task &task, mlir::Value firstDepth);
  MatrixRef getRhs(const MatMulGrid::Task &task, mlir::Value firstDepth);
  void packLhs(const MatMulGrid::Task &task, mlir::Value firstDepth, mlir::OpFoldResult depth);
  void packRhs(const MatMulGrid::Task &task, mlir::Value firstDepth, mlir::OpFoldResult depth);
  /// The sums of a task's rows over `depth`, where they are needed.
  void sumRows(const MatMulGrid::Task &task, const MatrixRef &lhsRows, mlir::OpFoldResult depth,
               mlir::Value isFirst);
  /// All sums of a task from the blocks of the right-hand side.
  void emitBlockSums(const MatMulGrid::Task &task, const ColumnTile &columns);
  llvm::LogicalResult emitEpilogue(const MatMulGrid::Task &task, const ColumnTile &columns);
  /// Zero points at a tile of the result as i32, those of the right-hand side less what was taken off it.
  llvm::FailureOr<mlir::Value> getLhsZero(const Tile &tile);
  llvm::FailureOr<mlir::Value> getRhsZero(const Tile &tile);
  mlir::Value loadSums(mlir::Value buffer, mlir::OpFoldResult place);
  mlir::Value splat(mlir::Value number);
  mlir::Value add(mlir::Value lhs, mlir::Value rhs);
  mlir::Value sub(mlir::Value lhs, mlir::Value rhs);
  mlir::Value mul(mlir::Value lhs, mlir::Value rhs);

  /// The blocks in which the right-hand side is stored, if it is.
  std::optional<BlockMatrix> blocks;
  bool isLhsSigned, isRhsSigned;
  StridedView lhs;
  /// Elements of a row of the left-hand side that are packed at a time.
  int64_t packedDepth = kPackedDepth;
  /// The panels of the right-hand side: its width, 0 if it is packed here, and its rows.
  int64_t panelWidth = 0, panelRows = 0;
  mlir::Value panels;
  bool evaluatesLhs = false;
  /// Where sums of rows and columns are needed: where the other side's zero point is not 0.
  bool needsRowSums = false, needsColumnSums = false;
  /// One zero point for all rows.
  bool isLhsZeroUniform = true;
  mlir::Value rowSums, columnSums, corrections, lhsScratch, rhsScratch;
};

} // namespace lathe::cpu

#endif // LATHE_LIB_CODEGEN_CPU_INTEGERMATMULEMITTER_H
