// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What the emitters of attention share: what a block has of it, and what is done to a logit.

#ifndef LATHE_LIB_CODEGEN_CUDA_ATTENTIONBLOCKS_H
#define LATHE_LIB_CODEGEN_CUDA_ATTENTIONBLOCKS_H

#include "lathe/Codegen/CUDA/Emitters.h"
#include "lathe/Codegen/Element/AttentionProblem.h"
#include "lathe/Codegen/Element/ElementEmitter.h"
#include "lathe/Codegen/Element/LoopEmitter.h"
#include "lathe/Codegen/Math/Emitter.h"

namespace lathe::cuda {

/// How blocks divide attention: some queries of a head each; or, where there are few, all rows that share
/// keys, that is queries of all heads of a group, and a range of these keys. Then the last block of a group
/// combines what all have: decoding reads the keys of a long past with all processors of a device.
struct AttentionGrid {
  /// The most rows of a block that has a range of keys, on all targets.
  static constexpr int64_t kFewRows = 16;
  /// The blocks of a grid where keys are divided, at most: two for each processor of a large device.
  static constexpr int64_t kMostBlocks = 264;
  /// The keys of a range, at least: for fewer a block is not worth its launch.
  static constexpr int64_t kLeastKeys = 128;

  /// By queries, `queries` at a time.
  AttentionGrid(IndexMath math, const AttentionProblem &problem, int64_t queries);
  /// By keys, in ranges of multiples of `keysAtOnce`.
  static AttentionGrid byKeys(IndexMath math, const AttentionProblem &problem, int64_t keysAtOnce);

  mlir::OpFoldResult blocks;
  /// The blocks of a head; or the ranges of a group, the keys of each, and its rows.
  mlir::OpFoldResult parts, keys, rows;

private:
  AttentionGrid() = default;
};

/// Which of the two a kernel does, `hasFew` rows or not, or which one a run.
struct AttentionChoice {
  enum Kind { ByQueries, ByKeys, ByRun } kind;

  /// `mostRows`: with so many rows, and fewer, keys can be divided; 0: there is no code for it.
  AttentionChoice(const AttentionProblem &problem, int64_t mostRows);
  /// The choice of a run.
  mlir::Value hasFew(IndexMath math, const AttentionProblem &problem) const;

  /// The blocks of the grid.
  mlir::OpFoldResult countBlocks(IndexMath math, const AttentionProblem &problem, int64_t queries,
                                 int64_t keysAtOnce) const;
  /// Emits one of them, or a branch with both, which take the same shared memory.
  llvm::LogicalResult emit(EmitContext &context, const AttentionProblem &problem,
                           llvm::function_ref<llvm::LogicalResult()> byQueries,
                           llvm::function_ref<llvm::LogicalResult()> byKeys) const;

private:
  int64_t mostRows;
};

/// Emits what one block does: logits are in units of log2(e), so that weights are powers of 2.
class AttentionBlocks : protected LoopEmitter {
protected:
  AttentionBlocks(EmitContext &context, const AttentionProblem &problem);

  /// A query of a head: one that exists, as rows beyond the last one repeat it, so that all threads stay
  /// together; such rows are not stored.
  struct Row {
    mlir::OpFoldResult head;
    mlir::Value query, exists;
    /// The last key that it sees.
    mlir::Value lastKey;
  };

  /// Finds out which `queries` queries this block has.
  void decodeBlock(int64_t queries);
  /// The same where it has a range of keys, and at most `mostRows` rows.
  void decodeRange(int64_t keysAtOnce, int64_t mostRows);
  /// Row number `number` of the block.
  Row getRow(mlir::OpFoldResult number);
  /// An element of an operand as f32; zero, and a failure, where that cannot be emitted.
  mlir::Value evaluate(mlir::Value tensor, llvm::ArrayRef<mlir::OpFoldResult> index);
  /// The last key that a query sees.
  mlir::Value getLastKey(mlir::Value query);
  /// The logit of a row and a key, if it is seen, from the sum of products: scaled, capped, masked.
  mlir::Value finishLogit(mlir::Value sum, const Row &row, mlir::Value key);
  /// The mask for a row and a key that exist, to be added to a logit.
  mlir::Value evaluateMask(const Row &row, mlir::Value key);
  /// What weights are divided by their sum with: times this; as the op says where no key was seen.
  mlir::Value getNormalization(mlir::Value maximum, mlir::Value sum);
  /// Stores features of a row of the result: vectors, or one element if `lanes` is 0.
  void storeResult(const Row &row, mlir::Value feature, mlir::Value value, int64_t lanes);

  /// Of a range of keys, some threads each have seen a part: of each of `rows` rows they have its result,
  /// before that is divided by the sum of the weights, the largest logit, and that sum, all f32.
  int64_t getPartBytes(int64_t rows) { return rows * getRowBytes(); }
  int64_t getRowBytes() { return (problem.valueDepth + 2) * 4; }
  /// Stores one of these numbers of row `row` in part `part` of those from `parts` on.
  void storeFeature(mlir::Value parts, mlir::OpFoldResult part, mlir::OpFoldResult row,
                    mlir::OpFoldResult feature, mlir::Value value);
  void storeMaximum(mlir::Value parts, mlir::OpFoldResult part, mlir::OpFoldResult row, mlir::Value maximum,
                    mlir::Value sum);
  /// Combines `count` parts that lie in shared memory, and the block that is last combines what all have. All
  /// threads of the block take part.
  llvm::LogicalResult emitRangeResult(mlir::Value parts, int64_t count, int64_t threads);

  mlir::Value negativeInfinity() { return e.infinity(builder.getF32Type(), /*negative=*/true); }

  EmitContext &context;
  AttentionProblem problem;
  lathe::Emitter e;
  ElementEmitter elements;
  mlir::OpFoldResult batch, keyHead;
  /// The keys that any row of the block sees lie there.
  mlir::Value keyBegin, keyEnd;
  /// Of a block with queries of one head.
  mlir::OpFoldResult head, firstQuery;
  llvm::LogicalResult status = llvm::success();

private:
  /// The result of a row and a feature before it is divided, the largest logit, and the sum of weights.
  struct Combined {
    mlir::Value result, maximum, sum;
  };
  /// Emits `body` for the rows and features that this thread has.
  void forEachElement(int64_t threads, llvm::function_ref<void(mlir::OpFoldResult, mlir::OpFoldResult)> body);
  /// The address of a float of a row, in part `part` of those from `parts` on.
  mlir::Value getPlace(mlir::Value parts, mlir::OpFoldResult part, mlir::OpFoldResult row,
                       mlir::OpFoldResult place);
  Combined combine(mlir::Value parts, mlir::OpFoldResult count, mlir::OpFoldResult row,
                   mlir::OpFoldResult feature);
  void storeCombined(const Combined &combined, mlir::OpFoldResult row, mlir::OpFoldResult feature);
  /// Whether this block is the last one of its group: the parts of all others are there. `flag` is a word of
  /// shared memory.
  mlir::Value emitArrival(mlir::Value scratch, mlir::Value flag);

  /// Of a block with a range of keys: the grid, the most rows, and the number of the group that shares keys.
  std::optional<AttentionGrid> ranges;
  int64_t rangeRows = 0;
  mlir::OpFoldResult group;
};

/// Whether tensor cores multiply: operands of f16 or bf16, or f32 that may be taken as TF32, and tiles that
/// fit the shared memory.
bool isTensorAttention(const ElementContext &context, const AttentionProblem &problem);
/// Says why not, where the operands are such as tensor cores multiply.
void remarkOtherAttention(const ElementContext &context, const AttentionProblem &problem);
Launch planTensorAttention(ElementContext &context, const AttentionProblem &problem);
llvm::LogicalResult emitTensorAttention(EmitContext &context, const AttentionProblem &problem);

} // namespace lathe::cuda

#endif // LATHE_LIB_CODEGEN_CUDA_ATTENTIONBLOCKS_H
