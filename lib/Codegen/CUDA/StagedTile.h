// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Operands of tensor cores on their way through shared memory.

#ifndef LATHE_LIB_CODEGEN_CUDA_STAGEDTILE_H
#define LATHE_LIB_CODEGEN_CUDA_STAGEDTILE_H

#include "TensorOps.h"
#include "lathe/Codegen/CUDA/LinearLayout.h"
#include "lathe/Codegen/Element/ElementEmitter.h"
#include "lathe/Codegen/Element/LoopEmitter.h"

namespace lathe::cuda {

/// A chunk that is copied: its first element, as an offset to the base of a view, and whether it is there.
struct TileChunk {
  mlir::OpFoldResult offset;
  mlir::Value exists; ///< null: it is
};
/// Emits what finds the chunk at a place of a line.
using ChunkFinder = std::function<TileChunk(mlir::Value place)>;

/// What a tile is filled with: a matrix of `lines` lines of `length` elements.
struct TileSource {
  mlir::OpFoldResult lines, length;
  /// Its memory, if it can be copied chunk by chunk.
  std::optional<StridedView> memory;
  /// Where that is no matrix: emits what depends on a line alone.
  std::function<ChunkFinder(mlir::Value line)> findLine;
  /// Otherwise: emits the `unit` elements from a place, a multiple of it, of a line on, as f32 of a format of
  /// such. 0: there is nothing like that.
  int64_t unit = 0;
  std::function<llvm::SmallVector<mlir::Value>(mlir::Value line, mlir::Value place)> units;
  /// Otherwise: the element of a line, as f32 or in the format's type.
  std::function<llvm::FailureOr<mlir::Value>(mlir::Value line, mlir::Value place)> element;
};

/// Whether a matrix, the last two dimensions of `view`, can be copied by chunks of 16 bytes: neighbours lie
/// side by side, and all lines begin, and end, at a multiple of 16 bytes.
bool isCopiable(const StridedView &view, MatrixFormat format);

/// The tile of one operand in shared memory, once for each stage of a pipeline: `size` rows of the left-hand
/// side, or columns of the right-hand side, and `depth` elements of each. Its lines are what lies side by
/// side in memory: `alongDepth`, or across it.
class StagedTile : LoopEmitter {
public:
  enum Side { Lhs, Rhs };

  /// `pairsDepths`: the second element of the depth that a lane has is the next one, not the fourth next one.
  /// Only where it reads single words.
  StagedTile(EmitContext &context, mlir::Location loc, MatrixFormat format, Side side, bool alongDepth,
             int64_t size, int64_t depth, bool pairsDepths = false);

  bool isAlongDepth() const { return alongDepth; }
  int64_t getBytes() const { return shape.getBytes(); }
  /// States where the first stage lies, and how far behind it the next ones do.
  void place(mlir::Value first, int64_t distance);

  /// States that all stages have the same lines of `source`, from `line` on: what depends on them is emitted
  /// here. Where the source has findLine, it must be stated.
  void keepLines(const TileSource &source, mlir::Value line, int64_t threads);
  /// Fills stage `stage`, an i32, with what begins at `line` and `place`. `threads` threads take part. What
  /// is not there is 0. Copies are begun, not waited for.
  llvm::LogicalResult fill(const TileSource &source, ElementEmitter &elements, mlir::Value stage,
                           mlir::Value line, mlir::Value place, int64_t threads);

  /// States that this warp reads `size` rows, or columns, from `first` on, a multiple of `size`.
  void beginAt(mlir::Value lane, mlir::Value first, int64_t size);
  /// States that this warp reads all rows, or columns, of `size` elements of the depth from `first` on, a
  /// multiple of `size`. Only of a tile whose lines lie across the depth.
  void beginAtDepth(mlir::Value lane, mlir::Value first, int64_t size);
  /// States that this thread reads from byte `first` of the tile on, an i32, line by line, of which it may be
  /// any with no bits but those of `bits`.
  void beginAtByte(mlir::Value first, uint64_t bits);
  /// The address of what lies so many bytes further, which have no bits in common with where reading begins.
  mlir::Value getAddress(mlir::Value stage, int64_t bytes);
  /// The bytes of a line.
  int64_t getLineBytes() const { return shape.chunks * kChunkBytes; }
  /// The registers of 16 rows or columns, number `block` from the beginning, at step `step` of the depth:
  /// four of the left-hand side; twice two of the right-hand side, of 8 columns each.
  llvm::SmallVector<mlir::Value> load(mlir::Value stage, int64_t block, int64_t step);

private:
  llvm::LogicalResult copy(const TileSource &source, mlir::Value to, mlir::Value line, mlir::Value place,
                           int64_t threads);
  void fillUnits(const TileSource &source, mlir::Value to, mlir::Value line, mlir::Value place,
                 int64_t threads);
  llvm::LogicalResult evaluate(const TileSource &source, ElementEmitter &elements, mlir::Value to,
                               mlir::Value line, mlir::Value place, int64_t threads);
  mlir::Value getStage(mlir::Value stage);
  /// Whether matrices are read by single words: ldmatrix transposes 16 bits only.
  bool readsWords() const { return !alongDepth && format == MatrixFormat::TF32; }
  /// The second of the four matrices of a load is behind the first one along the lines.
  bool hasLinesFirst() const { return (side == Lhs) == alongDepth; }
  /// From the number of a byte, line by line, to its place.
  LinearLayout getByteLayout() const;
  /// What this lane reads first, before the lines and chunks of a load are added.
  LinearLayout getLaneLayout() const;
  mlir::Value number(uint64_t value);

  EmitContext &context;
  MatrixFormat format;
  Side side;
  bool alongDepth;
  SharedTileShape shape;
  mlir::Value start;
  int64_t distance = 0;
  /// The place of this lane in a stage, and which bits it may have.
  mlir::Value lanePlace;
  uint64_t laneBits = 0;
  /// Of the chunks of this thread, if all stages have the same lines.
  llvm::SmallVector<ChunkFinder> finders;
};

} // namespace lathe::cuda

#endif // LATHE_LIB_CODEGEN_CUDA_STAGEDTILE_H
