// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Emission of kernels that reduce rows.

#ifndef LATHE_CODEGEN_ELEMENT_ROWSEMITTER_H
#define LATHE_CODEGEN_ELEMENT_ROWSEMITTER_H

#include "lathe/Codegen/Element/PointwiseLoops.h"
#include "lathe/Dialect/Kernel/Transforms/RowsAnalysis.h"

#include "llvm/ADT/SetVector.h"

namespace lathe::codegen {

/// One quantity accumulated over the reduced dimensions. Partial results are combined in a fixed order.
struct Reduction {
  /// The scalar type of the accumulator, and its value before anything is accumulated.
  mlir::Type type;
  mlir::TypedAttr identity;
  /// The term of a tile, in the accumulator's type.
  std::function<llvm::FailureOr<mlir::Value>(const Tile &)> term;
  /// An accumulator with a term added; two accumulators as one.
  std::function<mlir::Value(mlir::Value accumulator, mlir::Value term)> accumulate, combine;
};

/// How `reduce` accumulates terms of its operand, widened.
Reduction getReduction(ElementContext &context, nn::ReduceOp reduce,
                       std::function<llvm::FailureOr<mlir::Value>(const Tile &)> term);
/// The sum of terms of a float type.
Reduction getSum(ElementContext &context, mlir::Location loc, mlir::Type type,
                 std::function<llvm::FailureOr<mlir::Value>(const Tile &)> term);
/// The sum of the squares of terms of a float type.
Reduction getSumOfSquares(ElementContext &context, mlir::Location loc, mlir::Type type,
                          std::function<llvm::FailureOr<mlir::Value>(const Tile &)> term);
/// The maximum of terms of a float type, NaN left out.
Reduction getMaximum(ElementContext &context, mlir::Location loc, mlir::Type type,
                     std::function<llvm::FailureOr<mlir::Value>(const Tile &)> term);
/// The accumulated value as the reduction's result: the mean is divided, f16 and bf16 are rounded.
mlir::Value finishReduction(ElementContext &context, nn::ReduceOp reduce, mlir::Value total,
                            llvm::ArrayRef<mlir::OpFoldResult> reducedSizes);

/// A value in the type in which it is accumulated (f16 and bf16: f32), and back.
mlir::Value widen(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value value);
mlir::Value narrow(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value value, mlir::Type elementType);
mlir::Type getAccumulatorType(mlir::Type elementType);

/// What `reduction` starts with, as a scalar (0 lanes) or a vector.
mlir::Value getIdentity(mlir::OpBuilder &builder, mlir::Location loc, const Reduction &reduction,
                        int64_t lanes);

/// All lanes of a vector as one, halves with halves.
mlir::Value reduceLanes(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value vector,
                        const Reduction &reduction);

/// Emits one rows kernel. How a row is run through, where its values wait for the next pass, and what is done
/// side by side, is the target's.
class RowsEmitter {
public:
  RowsEmitter(ElementContext &context) : context(context), emitter(context) {}
  virtual ~RowsEmitter() = default;

  /// Finds out what the kernel consists of; emits a diagnostic if it is no rows kernel.
  mlir::LogicalResult plan();

protected:
  using Carried = llvm::SmallVector<mlir::Value>;
  using StepBody = llvm::function_ref<mlir::LogicalResult(llvm::ArrayRef<Tile> tiles, Carried &carried)>;

  /// Runs over the row in tiles, through all reduced dimensions, up to `unroll` of them in a step.
  virtual mlir::LogicalResult emitPass(int64_t unroll, Carried &carried, StepBody body) = 0;
  /// Reduces all of `reductions` in one pass over the row.
  virtual llvm::FailureOr<llvm::SmallVector<mlir::Value>> reduceRow(llvm::ArrayRef<Reduction> reductions) = 0;
  /// Memory for one row of elements of `type`, if the row is short enough.
  virtual std::optional<StridedView> allocateRow(mlir::Type type) = 0;
  /// Whether every pass has the same tiles, so that what one has evaluated is still there for the next.
  virtual bool keepsTiles() const { return false; }
  /// Emits what is to be done once a row, where several threads do a row together.
  virtual mlir::LogicalResult emitOnce(llvm::function_ref<mlir::LogicalResult()> body) { return body(); }

  /// Rows along the last dimension: row number `row`.
  mlir::LogicalResult emitRow(mlir::OpFoldResult row);
  /// Reductions of other dimensions: all that depends on `tiles`, which lie along the last dimension, at 0 in
  /// the reduced ones.
  mlir::LogicalResult emitColumns(llvm::ArrayRef<Tile> tiles);

  mlir::Location getLoc() { return context.kernel.getLoc(); }
  IndexMath getMath() { return {context.builder, getLoc()}; }

  ElementContext &context;
  ElementEmitter emitter;
  kernel::RowsSpace space;
  llvm::SmallVector<kernel::OutputOp> outputs;
  ElementCost cost;
  /// The position in the space of the row being emitted; 0 in reduced dimensions.
  llvm::SmallVector<mlir::Value> rowIndex;

private:
  mlir::LogicalResult emitReduces(llvm::ArrayRef<nn::ReduceOp> reduces);
  mlir::LogicalResult emitSoftmax(nn::SoftmaxOp softmax);
  mlir::LogicalResult emitLayerNorm(nn::LayerNormOp norm);
  mlir::LogicalResult emitRMSNorm(nn::RMSNormOp norm);
  mlir::LogicalResult emitOutputs();

  /// The values of a row that `reduces` need and passes after them, too.
  llvm::SmallVector<mlir::Value> getSharedOperands(llvm::ArrayRef<nn::ReduceOp> reduces);
  /// A term that evaluates `x`, keeping it in `view`, if any, on the way.
  std::function<llvm::FailureOr<mlir::Value>(const Tile &)> evaluateAndKeep(mlir::Value x,
                                                                            std::optional<StridedView> view);
  /// Memory in which to keep `x` between passes, if it is worth it and there is some.
  std::optional<StridedView> getRowBuffer(mlir::Value x);
  /// The number of elements of a row as a float.
  mlir::Value getRowLength(mlir::Type type);

  mlir::LogicalResult reduceColumns(llvm::ArrayRef<nn::ReduceOp> reduces, llvm::ArrayRef<Tile> tiles);
  mlir::LogicalResult storeColumns(llvm::ArrayRef<Tile> tiles);

  /// The reduce ops of `space.roots` from `first` on that can share one pass: none depends on another.
  llvm::SmallVector<nn::ReduceOp> getIndependentReduces(size_t first);
  /// The index of a tensor that lies as `extent` at an index of the whole space.
  llvm::SmallVector<mlir::Value> project(llvm::ArrayRef<mlir::Value> index, kernel::RowsExtent extent);

  /// Outputs that a pass has stored already.
  llvm::SmallPtrSet<mlir::Operation *, 4> stored;
};

} // namespace lathe::codegen

#endif // LATHE_CODEGEN_ELEMENT_ROWSEMITTER_H
