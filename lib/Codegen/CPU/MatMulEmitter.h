// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What emits matrix products of floats: see MatMul.cpp.

#ifndef LATHE_LIB_CODEGEN_CPU_MATMULEMITTER_H
#define LATHE_LIB_CODEGEN_CPU_MATMULEMITTER_H

#include "PackedPanels.h"
#include "ProductEmitter.h"

namespace lathe::cpu {

/// What the tiles of a product of floats multiply.
Factors getFactors(const MatMulProblem &problem);

class MatMulEmitter : ProductEmitter {
public:
  MatMulEmitter(EmitContext &context, MatMulProblem &problem, Factors factors);

  llvm::LogicalResult emit();

private:
  llvm::LogicalResult findLhs();
  llvm::LogicalResult findRhs();
  llvm::LogicalResult findPanels(nn::PanelAttr panel);
  void chooseDepth();

  llvm::LogicalResult emitColumns(const MatMulGrid::Task &task, const ColumnTile &columns) override;
  /// The sums of a task whose rows the format of the right-hand side has rounded.
  void emitRounded(const MatMulGrid::Task &task);
  void emitSums(const MatMulGrid::Task &task, const ColumnTile &columns);
  /// The sums over `depth` from `firstDepth` on; `isFirst` (null: it is) tells whether anything comes before.
  void emitDepthBlock(const MatMulGrid::Task &task, const ColumnTile &columns, mlir::Value firstDepth,
                      mlir::OpFoldResult depth, mlir::Value isFirst);
  void emitVectorTiles(const MatMulGrid::Task &task, const ColumnTile &columns, const MatrixRef &lhsRows,
                       const MatrixRef &rhsRows, mlir::OpFoldResult depth, mlir::Value isFirst) override;
  /// A result of the product from its sums.
  llvm::FailureOr<mlir::Value> finishSums(mlir::Value sums);
  void emitTile(const MatMulGrid::Task &task, const ColumnTile &columns, int64_t height, mlir::Value row,
                const MatrixRef &lhsRows, const MatrixRef &rhsRows, mlir::OpFoldResult depth,
                mlir::Value isFirst, const PrefetchStream &prefetch);
  /// What tile number `row / rows` fetches: its share of the next panel.
  PrefetchStream getShareOfNext(mlir::Value row, mlir::OpFoldResult depth, const MatrixRef &rhsRows,
                                int64_t lines);
  /// The cache lines of a panel that one unrolled step reads.
  int64_t stepLines() const { return getStepLines(tiling, panelWidth); }

  /// The operands from `firstDepth` on, packed where no tile can read them.
  MatrixRef getLhs(const MatMulGrid::Task &task, mlir::Value firstDepth, mlir::OpFoldResult depth);
  MatrixRef getRhs(const MatMulGrid::Task &task, mlir::Value firstDepth, mlir::OpFoldResult depth);
  void packTransposed(const MatMulGrid::Task &task, const MatrixRef &source, mlir::OpFoldResult depth);
  void packElements(const MatMulGrid::Task &task, const MatrixRef &source, mlir::OpFoldResult depth);
  /// Evaluates rows of the right-hand side, as pairs where tiles multiply such.
  void packRhs(const MatMulGrid::Task &task, mlir::Value firstDepth, mlir::OpFoldResult depth);
  void packLhs(const MatMulGrid::Task &task, mlir::Value firstDepth, mlir::OpFoldResult depth);

  Factors factors;
  StridedView lhs, rhs;
  /// The panels of a format from which the right-hand side is decoded, and whether they are multiplied with
  /// few rows: null if they never are.
  std::optional<PackedPanels> packed;
  mlir::Value isFew;
  /// Where rows are rounded: the first of those that are split now, one index. Else null.
  mlir::Value splitBlock;
  /// The width of the panels of the right-hand side, 0 if it is a matrix with strides, and their rows.
  int64_t panelWidth = 0;
  mlir::OpFoldResult panelRows;
  bool packs = false, readsInPlace = false;
  /// Operands that are no views of inputs: evaluated into scratch buffers.
  bool evaluatesLhs = false, evaluatesRhs = false;
  mlir::OpFoldResult blockDepth;
  bool isBlocked = false;
  /// Whether a tile has all sums and runs the epilogue on them.
  bool finishesTiles = false;
  mlir::Value packScratch, lhsScratch;
  llvm::SmallVector<StridedView> epilogueViews;
};

} // namespace lathe::cpu

#endif // LATHE_LIB_CODEGEN_CPU_MATMULEMITTER_H
