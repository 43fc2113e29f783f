// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What the emitters of matrix products of floats and of bytes share: tasks, tiles of all heights, on vector
/// and on matrix registers, and epilogues.

#ifndef LATHE_LIB_CODEGEN_CPU_PRODUCTEMITTER_H
#define LATHE_LIB_CODEGEN_CPU_PRODUCTEMITTER_H

#include "ColumnTile.h"
#include "MatMulGrid.h"
#include "MatrixTiles.h"
#include "lathe/Codegen/CPU/Emitters.h"
#include "lathe/Codegen/Element/IndexMath.h"
#include "lathe/Codegen/Element/LoopEmitter.h"

#include <optional>

namespace lathe::cpu {

/// The panels in which `tensor`, an input, is stored, if it is.
nn::PanelAttr getPanel(EmitContext &context, mlir::Value tensor);

/// The type in which elements of an operand are packed: bf16 as i16, since few processors know vectors of it.
mlir::Type getPackedType(mlir::Value tensor);

/// What `body` gives, of `type`, if `exists`, else 0.
mlir::Value emitIfExists(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value exists, mlir::Type type,
                         llvm::function_ref<mlir::Value()> body);

/// A product whose sums, tile by tile, are collected in a scratch buffer of a block of rows by a column of
/// tiles, before the epilogue runs over them row by row: one copy of its code, for all tile heights, at the
/// price of one load and store per result vector. Short epilogues can be run on the registers of each tile.
class ProductEmitter : protected LoopEmitter {
public:
  virtual ~ProductEmitter() = default;

protected:
  /// `gridTiling` says how the product is divided into tasks, `tiling` how a task is into tiles of vectors.
  ProductEmitter(EmitContext &context, MatMulProblem &problem, const MatMulTiling &tiling,
                 const MatMulTiling &gridTiling, int64_t grainOperations, int64_t elementBytes,
                 mlir::Type sumElement);

  mlir::Value zeroIndex() { return math().value(math().constant(0)); }

  /// Notes the sizes of the operands.
  llvm::LogicalResult findSizes();

  /// Calls `emitColumns` in a loop over all tasks, for whole columns of tiles and for the last one. With
  /// `element`, tiles are on matrix registers where they can be.
  llvm::LogicalResult emitTasks(std::optional<MatrixTiles::Element> element);
  virtual llvm::LogicalResult emitColumns(const MatMulGrid::Task &task, const ColumnTile &columns) = 0;

  /// Emits all tiles of a task over `depth`, of operands from their first row and column on. Sums are added
  /// to those in the scratch buffer unless `isFirst`, which is null if nothing comes before. `group` elements
  /// of a column of the right-hand side lie together, to which `padded` fills up the depth.
  void emitTiles(const MatMulGrid::Task &task, const ColumnTile &columns, const MatrixRef &lhsRows,
                 const MatrixRef &rhsRows, mlir::OpFoldResult depth, mlir::OpFoldResult padded, int64_t group,
                 mlir::Value isFirst);
  /// The part of emitTiles, for those that call it, that is not on matrix registers.
  virtual void emitVectorTiles(const MatMulGrid::Task & /*task*/, const ColumnTile & /*columns*/,
                               const MatrixRef & /*lhsRows*/, const MatrixRef & /*rhsRows*/,
                               mlir::OpFoldResult /*depth*/, mlir::Value /*isFirst*/) {}
  /// Calls `full` for tiles of the full height, and `rest` for one of exactly the height that is left.
  void emitHeights(mlir::OpFoldResult rows, llvm::function_ref<void(mlir::OpFoldResult done)> full,
                   llvm::function_ref<void(int64_t height, mlir::Value row)> rest);
  /// Where the sums of a tile from `row` on lie in the scratch buffer.
  llvm::SmallVector<mlir::Value> getPlaces(const RegisterTile &tile, mlir::OpFoldResult row);
  /// The sums that a tile begins with: none where all are 0.
  llvm::SmallVector<mlir::Value> beginSums(llvm::ArrayRef<mlir::Value> places, mlir::Value isFirst);
  void storeSums(llvm::ArrayRef<mlir::Value> sums, llvm::ArrayRef<mlir::Value> places);

  /// `lanes` elements of an operand along its columns, as they are packed, at a task's index of the batch.
  /// Where `mask` is false bytes and f32 are 0, pairs anything.
  mlir::Value evaluate(mlir::Value tensor, llvm::ArrayRef<mlir::OpFoldResult> dims,
                       const MatMulGrid::Task &task, mlir::OpFoldResult row, mlir::OpFoldResult column,
                       int64_t lanes, mlir::Value mask);

  /// Runs the epilogue on the sums of a tile from `row` on.
  void finishTile(const MatMulGrid::Task &task, const ColumnTile &columns, const RegisterTile &tile,
                  mlir::Value row, llvm::ArrayRef<mlir::Value> sums, FinishSums finish);

  /// The index into the result of the first column of row `row` of a task.
  llvm::SmallVector<mlir::Value> resultIndex(const MatMulGrid::Task &task, mlir::OpFoldResult row);
  /// Runs the epilogue over all rows of a task; `finish` makes results of sums at a tile of row `row`.
  using FinishRow = llvm::function_ref<llvm::FailureOr<mlir::Value>(mlir::Value row, mlir::Value sums,
                                                                    const Tile &tile, int64_t vector)>;
  llvm::LogicalResult emitRows(const MatMulGrid::Task &task, const ColumnTile &columns,
                               FinishRow finish = {});

  EmitContext &context;
  MatMulProblem &problem;
  MatMulTiling tiling, gridTiling;
  MatMulGrid grid;
  mlir::VectorType sumType;
  ElementEmitter elements;

  llvm::SmallVector<mlir::OpFoldResult> lhsDims, rhsDims;
  mlir::Value scratch;
  /// How far behind a panel of the right-hand side, which is as wide as a tile, the next one begins; nothing
  /// if it lies in no such panels.
  std::optional<mlir::OpFoldResult> panelElements;
  /// With at most so many rows, a task has no use for matrix registers.
  int64_t fewRows = 0;
  std::optional<MatrixTiles> matrices;
  llvm::LogicalResult status = llvm::success();

private:
  void emitMatrixTiles(const MatMulGrid::Task &task, const ColumnTile &columns, const MatrixRef &lhsRows,
                       const MatrixRef &rhsRows, mlir::OpFoldResult depth, mlir::Value isFirst);
};

} // namespace lathe::cpu

#endif // LATHE_LIB_CODEGEN_CPU_PRODUCTEMITTER_H
