// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Evaluates the nn ops of a kernel at a position, as scalars or vectors, without storing what lies between.

#ifndef LATHE_CODEGEN_ELEMENT_ELEMENTEMITTER_H
#define LATHE_CODEGEN_ELEMENT_ELEMENTEMITTER_H

#include "lathe/Codegen/Element/ElementContext.h"

#include "llvm/ADT/DenseMap.h"

#include <functional>

namespace lathe::codegen {

/// `lanes` consecutive elements of a tensor along its last dimension, from `index` on; one element if `lanes`
/// is 0 (a scalar). With `mask` (vector<lanes x i1>) only those lanes are touched in memory.
struct Tile {
  llvm::SmallVector<mlir::Value> index;
  int64_t lanes = 0;
  mlir::Value mask;
};

/// A tensor as memory: `base` (a memref<?xT> of the whole buffer) and, for element i, j, ...: `base[offset +
/// i * strides[0] + j * strides[1] + ...]`. Views by reshape, transpose, slice and expand (stride 0) of a
/// kernel's input.
struct StridedView {
  mlir::Value base;
  mlir::OpFoldResult offset;
  llvm::SmallVector<mlir::OpFoldResult> sizes, strides;
  /// The type of an element in registers.
  mlir::Type element;
  /// What the address of the buffer is known to be a multiple of, in bytes; 0: nothing more than an element.
  int64_t alignment = 0;
};

/// The type of an element in registers (signless) and in memory (an i8 if it is narrower than a byte).
mlir::Type getRegisterType(mlir::Type elementType);
mlir::Type getMemoryType(mlir::Type elementType);

/// Follows reshape, transpose, slice and expand from `tensor` to a `kernel.input`; failure (without a
/// diagnostic) if something else computes it, if the input lies in panels, or a reshape splits what is not
/// contiguous. Index arithmetic is built at the builder's insertion point.
llvm::FailureOr<StridedView> getStridedView(ElementContext &context, mlir::Value tensor);

/// The memory of a `kernel.output`, dense and row-major.
StridedView getOutputView(ElementContext &context, kernel::OutputOp output);

/// `sizes` dense, row-major elements, of `element` in registers, at the start of `base`.
StridedView getDenseView(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value base,
                         llvm::ArrayRef<mlir::OpFoldResult> sizes, mlir::Type element);

/// The view with each range [first, second) of dimensions, which must lie like one, made one.
StridedView mergeDims(mlir::OpBuilder &builder, mlir::Location loc, const StridedView &view,
                      llvm::ArrayRef<std::pair<int64_t, int64_t>> groups);

/// Loads or stores a tile of a view. Memory that is evidently aligned to the tile, or to 16 bytes of it, is
/// accessed as such. Contiguous tiles are loaded as vectors, uniform ones (size 1 or stride 0
/// along the last dimension) as a scalar that is broadcast, others are gathered. A bool, or any element
/// narrower than a byte, takes one in memory, whose other bits are 0; signed and unsigned integers are
/// signless in registers.
mlir::Value loadTile(mlir::OpBuilder &builder, mlir::Location loc, const StridedView &view, const Tile &tile);
void storeTile(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value value, const StridedView &view,
               const Tile &tile);

/// Loads lanes `positions` (a vector of index) further along the last dimension than the tile's index says.
mlir::Value gatherTile(mlir::OpBuilder &builder, mlir::Location loc, const StridedView &view,
                       const Tile &tile, mlir::Value positions);

/// A value as a vector of `lanes` elements: a scalar is broadcast; with 0 lanes nothing changes.
mlir::Value toLanes(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value value, int64_t lanes);

/// Emits the value of any tensor of a kernel at a tile: leaves are loaded (contiguous, broadcast, or gathered
/// when the last dimension is strided), pointwise ops are inlined, views only change the index, `nn.gather`
/// loads and checks its index, `nn.range` and `nn.from_scalars` are computed. Values of one tile are computed
/// once.
class ElementEmitter {
public:
  explicit ElementEmitter(ElementContext &context) : context(context) {}

  /// The value of `tensor` at `tile`, at the builder's insertion point; emits a diagnostic when an op cannot
  /// be evaluated pointwise. What was computed is reused until `reset`, so it must dominate all that is
  /// evaluated before: leave a region through a `Scope`.
  llvm::FailureOr<mlir::Value> evaluate(mlir::Value tensor, const Tile &tile);

  /// States the value of a tensor that a root has computed at the tile being worked on; a scalar holds for
  /// all lanes. Valid until `reset`.
  void setValue(mlir::Value tensor, mlir::Value value) { roots[tensor] = value; }
  /// Forgets the value that `setValue` stated.
  void clearValue(mlir::Value tensor) { roots.erase(tensor); }
  void reset() {
    roots.clear();
    memo.clear();
  }

  /// States where a tensor lies, so that it is loaded instead of computed. Outlives `reset`.
  void setView(mlir::Value tensor, StridedView view) { views[tensor] = std::move(view); }
  /// States how a tensor that a root computes follows from its position. Outlives `reset`.
  void setFunction(mlir::Value tensor, std::function<llvm::FailureOr<mlir::Value>(const Tile &)> function) {
    functions[tensor] = std::move(function);
  }

  /// The value of `operand`, broadcast to the dimensions of `result`, at a tile of the latter.
  llvm::FailureOr<mlir::Value> evaluateBroadcast(mlir::Value operand, mlir::Value result, const Tile &tile);

  /// Forgets at its end what was evaluated since its beginning.
  class Scope {
  public:
    explicit Scope(ElementEmitter &emitter) : emitter(emitter), roots(emitter.roots), memo(emitter.memo) {}
    ~Scope() {
      emitter.roots = std::move(roots);
      emitter.memo = std::move(memo);
    }
    Scope(const Scope &) = delete;
    Scope &operator=(const Scope &) = delete;

  private:
    ElementEmitter &emitter;
    llvm::DenseMap<mlir::Value, mlir::Value> roots;
    llvm::DenseMap<mlir::Value, llvm::SmallVector<std::pair<Tile, mlir::Value>, 1>> memo;
  };

  /// Whether `evaluate` knows `op`.
  static bool canEvaluate(mlir::Operation *op);
  /// Whether `evaluate` knows all ops from `tensor` up to inputs and to `roots`.
  static bool canEvaluate(mlir::Value tensor, llvm::ArrayRef<mlir::Value> roots = {});

private:
  using Result = llvm::FailureOr<mlir::Value>;

  Result compute(mlir::Value tensor, const Tile &tile);
  Result computeConstant(mlir::Operation *op, mlir::DenseElementsAttr elements, const Tile &tile);
  Result computePointwise(nn::PointwiseOpInterface op, const Tile &tile);
  Result computeReshape(nn::ReshapeOp op, const Tile &tile);
  Result computeTranspose(nn::TransposeOp op, const Tile &tile);
  Result computeSlice(nn::SliceOp op, const Tile &tile);
  Result computeConcat(nn::ConcatOp op, const Tile &tile);
  Result computeGather(nn::GatherOp op, const Tile &tile);
  Result computeGatherND(nn::GatherNDOp op, const Tile &tile);
  Result computeRange(nn::RangeOp op, const Tile &tile);
  Result computeFromScalars(nn::FromScalarsOp op, const Tile &tile);

  /// Memory that holds the elements of a constant.
  mlir::Value makeTable(mlir::Location loc, mlir::DenseElementsAttr elements);
  /// Lane by lane.
  Result scalarize(mlir::Value tensor, const Tile &tile);
  /// One of two computations of values of `type`, by a condition known at run time only.
  Result branch(mlir::Value condition, mlir::Type type, llvm::function_ref<Result()> onTrue,
                llvm::function_ref<Result()> onFalse);
  /// An integer of a tensor of indices as a position in a dimension of size `size`: negative ones count from
  /// the end; out of bounds ones fault. Returns the position and whether it lies within bounds.
  std::pair<mlir::Value, mlir::Value> checkIndex(mlir::Location loc, mlir::Value index,
                                                 mlir::Type elementType, mlir::OpFoldResult size,
                                                 mlir::Value mask);
  /// Notes a fault where `condition` holds; of lanes, where it holds for any that `mask` does not leave out.
  void trapWhere(mlir::Location loc, mlir::Value condition, mlir::Value mask, int32_t fault);
  /// `type` or a vector of it.
  mlir::Type getTileType(mlir::Value tensor, const Tile &tile);
  llvm::FailureOr<llvm::SmallVector<mlir::OpFoldResult>> getDims(mlir::Value tensor);

  ElementContext &context;
  llvm::DenseMap<mlir::Value, mlir::Value> roots;
  llvm::DenseMap<mlir::Value, llvm::SmallVector<std::pair<Tile, mlir::Value>, 1>> memo;
  llvm::DenseMap<mlir::Value, StridedView> views;
  llvm::DenseMap<mlir::Value, std::function<Result(const Tile &)>> functions;
  /// Where the constants that are not splats lie: on the stack, written once for each call, or in the module.
  llvm::DenseMap<mlir::Operation *, mlir::Value> tables;
};

} // namespace lathe::codegen

#endif // LATHE_CODEGEN_ELEMENT_ELEMENTEMITTER_H
