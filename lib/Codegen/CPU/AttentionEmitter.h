// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What the attention kernels on vectors share: operands, masks, the division into tasks.

#ifndef LATHE_LIB_CODEGEN_CPU_ATTENTIONEMITTER_H
#define LATHE_LIB_CODEGEN_CPU_ATTENTIONEMITTER_H

#include "AttentionMask.h"
#include "lathe/Codegen/CPU/Emitters.h"
#include "lathe/Codegen/CPU/MicroKernel.h"
#include "lathe/Codegen/Element/LoopEmitter.h"

namespace lathe::cpu {

/// Operands of bf16 are computed with in f32. Logits are in units of log2(e).
class AttentionEmitter : protected VectorEmitter {
public:
  /// At most this many keys at a time.
  static constexpr int64_t kKeyBlock = 128;

protected:
  using Value = mlir::Value;
  using OpFoldResult = mlir::OpFoldResult;

  /// What one task works on.
  struct Task {
    OpFoldResult batch, head, keyHead, firstQuery, queries;
    /// Of element (0, 0) of the head's matrices.
    OpFoldResult query, key, value;
    /// With causal attention, the last key that the first query sees.
    OpFoldResult lastOfFirst;
    /// The end of the keys that any of the queries sees.
    OpFoldResult keyEnd;
  };

  AttentionEmitter(EmitContext &context, const AttentionProblem &problem);

  /// Finds the strides of the operands. If `needsRows`, features that lie apart count as none.
  llvm::LogicalResult analyze(bool needsRows);
  Task decode(Value number);
  /// What queries are multiplied with.
  double getQueryFactor() { return problem.op.getScale().convertToFloat() * M_LOG2E; }

  /// 2^x for x <= 0, 2^-126 below -126.
  Value buildPower(Value x);
  /// A tile of an operand, in f32; zeros after a failure that has been reported.
  Value evaluate(Value tensor, const Tile &tile);
  /// The lanes of a row of `width` features from `feature` on that exist; null for all of them.
  Value maskOfFeatures(int64_t width, int64_t feature);
  /// Keys or values [firstKey, firstKey + keys) that no strides describe, rows of `width` padded to whole
  /// vectors.
  void packRows(Value tensor, const Task &task, Value firstKey, OpFoldResult keys, int64_t width,
                Value buffer);
  /// The tile of weighted values from vector `first` of their columns on: as many of at most `mostRows`
  /// queries as registers allow, and as many vectors as leave at least four of these.
  RegisterTile valueTile(int64_t mostRows, int64_t first);
  /// Masks of vectors of values, none where all are whole.
  llvm::SmallVector<Value> valueMasks(int64_t first, int64_t vectors);
  /// Values from key `firstKey` and column `column` on.
  MatrixRef valuesFrom(const Task &task, Value firstKey, OpFoldResult column);
  /// Whether a mask of `count` elements, in whole vectors, lets anything be seen.
  Value isAnySeen(Value buffer, OpFoldResult count);
  /// What a block of keys makes of the carried values, if it is seen at all.
  llvm::SmallVector<Value> emitIfSeen(Value isSeen, mlir::ValueRange carried,
                                      llvm::function_ref<llvm::SmallVector<Value>()> block);
  /// What a query's weighted values are multiplied with in the end.
  Value buildFinalFactor(Value maximum, Value sum);
  /// Stores vector `vector` of what query `query` of the task's gives.
  void storeResult(const Task &task, OpFoldResult query, int64_t vector, Value value);

  EmitContext &context;
  AttentionProblem problem;
  int64_t lanes, tileRows, valueVectors;
  ElementEmitter elements;
  StridedView q, k, v;
  /// Operands that are evaluated into buffers first.
  bool packsQ = false, packsK = false, packsV = false;
  /// [keyBlock, depth], [keyBlock, valueDepth], rows padded to whole vectors, where they are packed.
  Value keyBuffer, valueBuffer;
  AttentionMask mask;
  llvm::LogicalResult status = llvm::success();
};

} // namespace lathe::cpu

#endif // LATHE_LIB_CODEGEN_CPU_ATTENTIONEMITTER_H
