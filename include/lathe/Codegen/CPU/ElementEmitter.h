// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Evaluates the nn ops of a kernel at a position, as scalars or vectors, without storing what lies between.

#ifndef LATHE_CODEGEN_CPU_ELEMENTEMITTER_H
#define LATHE_CODEGEN_CPU_ELEMENTEMITTER_H

#include "lathe/Codegen/CPU/Emitters.h"

#include "llvm/ADT/DenseMap.h"

namespace lathe::cpu {

/// `lanes` consecutive elements of a tensor along its last dimension, from `index` on; one element if `lanes` is 0
/// (a scalar). With `mask` (vector<lanes x i1>) only those lanes are touched in memory.
struct Tile {
  llvm::SmallVector<mlir::Value> index;
  int64_t lanes = 0;
  mlir::Value mask;
};

/// A tensor as memory: `base` (a memref<?xT> of the whole buffer) and, for element i, j, ...: `base[offset + i *
/// strides[0] + j * strides[1] + ...]`. Views by reshape, transpose, slice and expand (stride 0) of a kernel's input.
struct StridedView {
  mlir::Value base;
  mlir::OpFoldResult offset;
  llvm::SmallVector<mlir::OpFoldResult> sizes, strides;
};

/// Follows reshape, transpose, slice and expand from `tensor` to a `kernel.input`; failure (without a diagnostic) if
/// something else computes it or a reshape splits what is not contiguous.
llvm::FailureOr<StridedView> getStridedView(EmitContext &context, mlir::Value tensor);

/// The memory of a `kernel.output`, dense and row-major.
StridedView getOutputView(EmitContext &context, kernel::OutputOp output);

/// Loads or stores a tile of a view. `bool` lies in memory as one byte per element and is an i1 in registers; signed
/// and unsigned integers are signless in registers.
mlir::Value loadTile(mlir::OpBuilder &builder, mlir::Location loc, const StridedView &view, const Tile &tile);
void storeTile(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value value, const StridedView &view,
               const Tile &tile);

/// Emits the value of any tensor of a kernel at a tile: leaves are loaded (contiguous, broadcast, or gathered when the
/// last dimension is strided), pointwise ops are inlined, views only change the index, `nn.gather` loads and checks its
/// index, `nn.range` and `nn.from_scalars` are computed. Values of one tile are computed once.
class ElementEmitter {
public:
  explicit ElementEmitter(EmitContext &context) : context(context) {}

  /// The value of `tensor` at `tile`, at the builder's insertion point; emits a diagnostic when an op cannot be
  /// evaluated pointwise.
  llvm::FailureOr<mlir::Value> evaluate(mlir::Value tensor, const Tile &tile);

  /// States the value of a tensor that a root has computed at the tile being worked on. Valid until `reset`.
  void setValue(mlir::Value tensor, mlir::Value value);
  void reset() { values.clear(); }

  /// Whether `evaluate` knows all ops from `tensor` up to inputs and to `roots`.
  static bool canEvaluate(mlir::Value tensor, llvm::ArrayRef<mlir::Value> roots = {});

private:
  EmitContext &context;
  llvm::DenseMap<mlir::Value, mlir::Value> values;
};

} // namespace lathe::cpu

#endif // LATHE_CODEGEN_CPU_ELEMENTEMITTER_H
