// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What products and convolutions share: columns of tiles, and the epilogue of a row of sums.

#ifndef LATHE_LIB_CODEGEN_CPU_COLUMNTILE_H
#define LATHE_LIB_CODEGEN_CPU_COLUMNTILE_H

#include "lathe/Codegen/CPU/Emitters.h"
#include "lathe/Codegen/CPU/MicroKernel.h"
#include "lathe/Codegen/Element/ElementEmitter.h"

namespace lathe::cpu {

/// Columns of a product that are computed together: `vectors` vectors, each with a mask if not all of its
/// columns exist (no masks: they all do).
struct ColumnTile {
  int64_t vectors;
  llvm::SmallVector<mlir::Value> masks;
};

/// Calls `body` for the columns from `first` on, a multiple of the tiling's columns, out of `columns`: twice,
/// in two branches, where the last tile is known to be narrower than the others.
llvm::LogicalResult emitColumnTile(mlir::OpBuilder &builder, mlir::Location loc, const MatMulTiling &tiling,
                                   mlir::OpFoldResult columns, mlir::OpFoldResult first,
                                   llvm::function_ref<llvm::LogicalResult(const ColumnTile &)> body);

/// Makes the value of a root from its sums at a tile of vector number `vector`.
using FinishSums =
    llvm::function_ref<llvm::FailureOr<mlir::Value>(mlir::Value sums, const Tile &tile, int64_t vector)>;

/// Computes and stores a row of a kernel's output from vectors of sums, which are those of `root` from column
/// `index.back()` on once `finish` has made them so.
llvm::LogicalResult emitRowEpilogue(mlir::OpBuilder &builder, mlir::Location loc, ElementEmitter &elements,
                                    mlir::Value root, kernel::OutputOp output, const StridedView &outputView,
                                    llvm::function_ref<mlir::Value(int64_t vector)> getSums,
                                    llvm::ArrayRef<mlir::Value> index, const ColumnTile &columns,
                                    int64_t lanes, FinishSums finish = {});

/// The same from the sums at `place` of `scratch`.
llvm::LogicalResult emitRowEpilogue(mlir::OpBuilder &builder, mlir::Location loc, ElementEmitter &elements,
                                    mlir::Value root, kernel::OutputOp output, const StridedView &outputView,
                                    mlir::Value scratch, mlir::OpFoldResult place,
                                    llvm::ArrayRef<mlir::Value> index, const ColumnTile &columns,
                                    int64_t lanes, FinishSums finish = {});

/// Whether what makes `output` of `root` is so little code that each register tile may do it with its sums,
/// instead of leaving them in memory for one loop over all rows.
bool hasShortEpilogue(mlir::Value root, kernel::OutputOp output);

/// The memory that the epilogue of `root` reads and writes at a result's own place: the output, and inputs of
/// its shape.
llvm::SmallVector<StridedView> getEpilogueViews(EmitContext &context, mlir::Value root,
                                                kernel::OutputOp output);

/// Fetches what the epilogue will read and write from `index` on, `vectors` of `lanes` each, into the
/// second-level cache: rows of a wide result lie far apart, and the processor does not see the next one come.
void prefetchEpilogue(mlir::OpBuilder &builder, mlir::Location loc, llvm::ArrayRef<StridedView> views,
                      llvm::ArrayRef<mlir::Value> index, int64_t vectors, int64_t lanes);

} // namespace lathe::cpu

#endif // LATHE_LIB_CODEGEN_CPU_COLUMNTILE_H
