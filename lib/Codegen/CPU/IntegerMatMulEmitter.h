// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What emits matrix products of bytes: see IntegerMatMul.cpp.

#ifndef LATHE_LIB_CODEGEN_CPU_INTEGERMATMULEMITTER_H
#define LATHE_LIB_CODEGEN_CPU_INTEGERMATMULEMITTER_H

#include "ColumnTile.h"
#include "IntegerTile.h"
#include "MatMulProblem.h"
#include "lathe/Codegen/CPU/IndexMath.h"

#include <optional>

namespace lathe::cpu {

/// How much of the reduced dimension is packed at a time, a multiple of MatrixTiles::kDepth.
inline constexpr int64_t kPackedDepth = 512;

class IntegerMatMulEmitter {
public:
  IntegerMatMulEmitter(EmitContext &context, MatMulProblem &problem);

  llvm::LogicalResult emit();

private:
  IndexMath math() { return {builder, loc}; }
  mlir::Value zeroIndex() { return math().value(math().constant(0)); }
  void emitLoop(mlir::OpFoldResult begin, mlir::OpFoldResult end, int64_t step,
                llvm::function_ref<void(mlir::Value)> body);
  void emitIf(mlir::Value condition, llvm::function_ref<void()> then,
              llvm::function_ref<void()> otherwise = {});

  llvm::LogicalResult findLhs();
  llvm::LogicalResult findRhs();
  llvm::LogicalResult findZeros();

  llvm::LogicalResult emitTask(mlir::Value number);
  llvm::LogicalResult emitColumns(const MatMulGrid::Task &task, const ColumnTile &columns);
  /// The sums over `depth` from `firstDepth` on; `isFirst` (null: it is) tells whether anything comes before.
  void emitDepthBlock(const MatMulGrid::Task &task, const ColumnTile &columns, mlir::Value firstDepth,
                      mlir::OpFoldResult depth, mlir::Value isFirst);
  void emitVectorTiles(const MatMulGrid::Task &task, const ColumnTile &columns, const ByteRows &lhsRows,
                       const MatrixRef &rhsRows, mlir::OpFoldResult depth, mlir::Value isFirst);
  void emitVectorTile(const ColumnTile &columns, int64_t height, mlir::Value row, const ByteRows &lhsRows,
                      const MatrixRef &rhsRows, mlir::OpFoldResult depth, mlir::Value isFirst,
                      const PrefetchStream &prefetch);
  /// What tile number `row / rows` fetches: its share of the next panel.
  PrefetchStream getShareOfNext(mlir::Value row, int64_t lines);
  void emitMatrixTiles(const MatMulGrid::Task &task, const ColumnTile &columns, const ByteRows &lhsRows,
                       const MatrixRef &rhsRows, mlir::OpFoldResult depth, mlir::Value isFirst);
  ByteRows getLhs(const MatMulGrid::Task &task, mlir::Value firstDepth);
  MatrixRef getRhs(const MatMulGrid::Task &task, mlir::Value firstDepth);
  void packLhs(const MatMulGrid::Task &task, mlir::Value firstDepth, mlir::OpFoldResult depth);
  void packRhs(const MatMulGrid::Task &task, mlir::Value firstDepth, mlir::OpFoldResult depth);
  /// Elements of a matrix of bytes, 0 where `mask` is false.
  mlir::Value evaluate(mlir::Value tensor, llvm::ArrayRef<mlir::OpFoldResult> dims,
                       const MatMulGrid::Task &task, mlir::OpFoldResult row, mlir::OpFoldResult column,
                       int64_t lanes, mlir::Value mask);
  llvm::LogicalResult emitEpilogue(const MatMulGrid::Task &task, const ColumnTile &columns);
  /// Zero points at a tile of the result as i32, those of the right-hand side less what was taken off it.
  llvm::FailureOr<mlir::Value> getLhsZero(const Tile &tile);
  llvm::FailureOr<mlir::Value> getRhsZero(const Tile &tile);
  mlir::Value loadSums(mlir::Value buffer, mlir::OpFoldResult place);
  mlir::Value splat(mlir::Value number);
  mlir::Value add(mlir::Value lhs, mlir::Value rhs);
  mlir::Value sub(mlir::Value lhs, mlir::Value rhs);
  mlir::Value mul(mlir::Value lhs, mlir::Value rhs);

  EmitContext &context;
  mlir::OpBuilder &builder;
  mlir::Location loc;
  MatMulProblem &problem;
  MatMulTiling tiling, gridTiling;
  MatMulGrid grid;
  mlir::VectorType sumType;
  ElementEmitter elements;
  bool isLhsSigned, isRhsSigned;

  std::optional<MatrixTiles> matrices;
  StridedView lhs;
  llvm::SmallVector<mlir::OpFoldResult> lhsDims, rhsDims;
  /// The panels of the right-hand side: its width, 0 if it is packed here, and its rows.
  int64_t panelWidth = 0, panelRows = 0;
  mlir::Value panels;
  bool evaluatesLhs = false;
  /// Where sums of rows and columns are needed: where the other side's zero point is not 0.
  bool needsRowSums = false, needsColumnSums = false;
  /// One zero point for all rows.
  bool isLhsZeroUniform = true;
  mlir::Value scratch, rowSums, columnSums, corrections, lhsScratch, rhsScratch;
  llvm::LogicalResult status = llvm::success();
};

} // namespace lathe::cpu

#endif // LATHE_LIB_CODEGEN_CPU_INTEGERMATMULEMITTER_H
