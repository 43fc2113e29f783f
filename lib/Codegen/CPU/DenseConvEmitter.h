// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What emits convolutions that mix channels: see DenseConv.cpp.

#ifndef LATHE_LIB_CODEGEN_CPU_DENSECONVEMITTER_H
#define LATHE_LIB_CODEGEN_CPU_DENSECONVEMITTER_H

#include "ColumnTile.h"
#include "ConvSource.h"
#include "MatrixTiles.h"
#include "lathe/Codegen/CPU/Emitters.h"
#include "lathe/Codegen/Element/LoopEmitter.h"

namespace lathe::cpu {

/// A place in the window and the channels from `channel` on that a register tile reduces at once.
struct Run {
  std::array<mlir::OpFoldResult, 3> place;
  mlir::OpFoldResult channel, depth;
};

/// A part of the reduced dimension: the window from dimension `dim` on, or `depth` rows of a run.
struct Chunk {
  size_t dim = 0;
  /// How far behind the first element of the window, and the first row of the filter, it begins.
  mlir::OpFoldResult elements, rows, depth;
  /// Whether it is the first one; null if it is the only one.
  mlir::Value isFirst;
};

class DenseConvEmitter : LoopEmitter {
public:
  DenseConvEmitter(EmitContext &context, ConvProblem &problem, nn::PanelAttr panel);

  llvm::LogicalResult emit();

private:
  llvm::LogicalResult findFilter();
  llvm::LogicalResult emitTask(mlir::Value number, mlir::Value &copied);
  llvm::LogicalResult emitColumns(const ConvGrid::Task &task, const WindowRef &windows,
                                  const ColumnTile &columns);
  /// The same for a filter that is not in panels: run by run, each packed for all pixels.
  llvm::LogicalResult emitPackedRuns(const ConvGrid::Task &task, const WindowRef &windows,
                                     const ColumnTile &columns);
  mlir::Value makePackScratch();
  llvm::LogicalResult packFilter(const ConvGrid::Task &task, const Run &run);
  using TileBody = llvm::function_ref<llvm::SmallVector<mlir::Value>(
      const RegisterTile &, const MatrixRef &, mlir::OpFoldResult number, llvm::SmallVector<mlir::Value>)>;
  /// Emits all register tiles of a block; `body` computes the sums of one, whose left-hand side starts with
  /// the first place of its windows and whose number is one higher than that of its neighbours to the left
  /// and above. Sums are added to those of the scratch buffer unless `isFirst`, which is null if nothing
  /// comes before.
  void emitTiles(const ConvGrid::Task &task, const WindowRef &windows, const ColumnTile &columns,
                 mlir::Value isFirst, TileBody body);
  void emitTile(const ConvGrid::Task &task, const WindowRef &windows, const ColumnTile &columns,
                const RegisterTile &tile, mlir::Value row, mlir::Value column, mlir::Value isFirst,
                TileBody body);
  /// Calls `body` in loops over all chunks of a window, which are what `chunk` begins with from dimension
  /// `dim` on.
  void emitChunks(const WindowRef &windows, size_t dim, const Chunk &chunk,
                  llvm::function_ref<void(const Chunk &)> body);
  /// Calls `body` for each run of places in the window, from dimension `dim` on, with what lies behind its
  /// start in the input, its filters and its length, and the sums so far; returns those after all.
  using RunBody = llvm::function_ref<llvm::SmallVector<mlir::Value>(
      mlir::OpFoldResult ahead, const MatrixRef &rhs, int64_t depth, llvm::SmallVector<mlir::Value> sums)>;
  llvm::SmallVector<mlir::Value> emitWindow(const WindowRef &windows, mlir::OpFoldResult ahead,
                                            const MatrixRef &rhs, size_t dim,
                                            llvm::SmallVector<mlir::Value> sums, RunBody body);
  /// The first row of a task's filters, in panels.
  MatrixRef getFilters(const ConvGrid::Task &task);
  void emitMatrixTile(const ConvGrid::Task &task, const WindowRef &windows, const ColumnTile &columns,
                      llvm::ArrayRef<ConvGrid::Pixels> pixels);
  /// Where the window of a pixel of a block, and its sums in the scratch buffer, begin.
  mlir::OpFoldResult pixelOffset(const WindowRef &windows, mlir::OpFoldResult row, mlir::OpFoldResult column);
  mlir::OpFoldResult sumsOffset(const ConvGrid::Task &task, mlir::OpFoldResult row,
                                mlir::OpFoldResult column);
  /// Fetches what the epilogue of a tile reads and writes.
  void prefetchResults(const ConvGrid::Task &task, const RegisterTile &tile, mlir::Value row,
                       mlir::Value column);
  llvm::LogicalResult emitEpilogue(const ConvGrid::Task &task, const ColumnTile &columns);
  /// Runs the epilogue on the sums of a tile at (row, column) of its block.
  void finishTile(const ConvGrid::Task &task, const ColumnTile &columns, const RegisterTile &tile,
                  mlir::Value row, mlir::Value column, llvm::ArrayRef<mlir::Value> sums);
  llvm::FailureOr<mlir::Value> finishSums(mlir::Value sums);
  /// The index into the result of a task's first filter at pixel (row, column) of its block.
  llvm::SmallVector<mlir::Value> resultIndex(const ConvGrid::Task &task, mlir::Value row, mlir::Value column);
  /// The channels that are reduced in one place of the window, and the rows of the filter that they take.
  int64_t depth() const { return problem.channels * joined; }
  int64_t storedDepth() const { return llvm::alignTo(depth(), group()); }
  /// How many rows of the filter lie together.
  int64_t group() const { return getGroup(tiling.factors); }
  /// Rows of the filter's matrix that one step along dimension `dim` of the window makes.
  int64_t rowsPerPlace(size_t dim) const {
    int64_t rows = storedDepth();
    for (size_t inner = dim + 1; inner < problem.dims.size(); ++inner) {
      rows *= problem.dims[inner].window;
    }
    return rows;
  }
  /// The same of all places from dimension `dim` on.
  int64_t rowsOfPlaces(size_t dim) const {
    return dim == problem.dims.size() ? storedDepth() : rowsPerPlace(dim) * problem.dims[dim].window;
  }
  /// Whether the places of the window from dimension `dim` on follow each other in memory.
  bool isRun(const WindowRef &windows, size_t dim) const {
    return dim == problem.dims.size() ||
           (dim + 1 == problem.dims.size() && problem.dims[dim].dilation == 1 && problem.groups == joined &&
            depth() == storedDepth() && isConstantSize(windows.strides[dim], depth()));
  }
  /// What a run from dimension `dim` on reduces: of the rows of one place those that are channels.
  int64_t depthOfRun(size_t dim) const { return dim == problem.dims.size() ? depth() : rowsOfPlaces(dim); }

  EmitContext &context;
  ConvProblem &problem;
  nn::PanelAttr panel;
  int64_t joined;
  MatMulTiling tiling;
  ConvGrid grid;
  ConvSource source;
  ElementEmitter elements;
  mlir::VectorType sumType;
  std::optional<MatrixTiles> matrices;
  /// Whether a tile has all sums and runs the epilogue on them.
  bool finishesTiles = false;
  llvm::LogicalResult status = llvm::success();
  mlir::Value filter, scratch, packScratch;
  llvm::SmallVector<StridedView> epilogueViews;
};

} // namespace lathe::cpu

#endif // LATHE_LIB_CODEGEN_CPU_DENSECONVEMITTER_H
