// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The state of an attention kernel while it is emitted.

#ifndef LATHE_LIB_CODEGEN_CPU_ATTENTIONKERNEL_H
#define LATHE_LIB_CODEGEN_CPU_ATTENTIONKERNEL_H

#include "AttentionEmitter.h"

namespace lathe::cpu {

/// Lanes hold queries. For one block of queries and one block of keys after the other:
///
///   logits[key, query] = K Qt + mask, and the running maximum of every query;
///   weights[key, query] = 2^(logits - maximum), in place, and their running sum;
///   result[query, :] = result * 2^(old maximum - maximum) + weights V.
///
/// So softmax needs no reduction across lanes, and the weights already lie as the product reads them. Queries
/// are packed transposed and scaled by scale * log2(e). Queries that do not exist repeat the last one and are
/// not stored.
class AttentionKernel : AttentionEmitter {
public:
  AttentionKernel(EmitContext &context, const AttentionProblem &problem);
  llvm::LogicalResult emit();

  /// Two vectors of queries a task.
  static constexpr int64_t kVectors = 2;

private:
  void makeBuffers();
  void emitTask(Value number);
  /// With causal attention, finds the last key that each query sees.
  void findLastKeys(const Task &task);
  /// Row `query` of the block, or the last query there is.
  OpFoldResult clampQuery(const Task &task, OpFoldResult query);
  void packQueries(const Task &task);

  /// Evaluates the mask for keys [firstKey, firstKey + keys).
  llvm::LogicalResult emitMask(const Task &task, Value firstKey, OpFoldResult keys);
  void transposeMask(OpFoldResult keys);

  /// The logits of `rows` keys at a time from `begin` to `end` of a block; returns the maxima.
  llvm::SmallVector<Value> emitLogits(const Task &task, int64_t rows, Value firstKey, OpFoldResult begin,
                                      OpFoldResult end, llvm::ArrayRef<Value> maxima);
  /// What a block of keys makes of the maxima and the sums. One that no query sees is skipped.
  llvm::SmallVector<Value> emitKeyBlock(const Task &task, Value firstKey, mlir::ValueRange carried);
  llvm::SmallVector<Value> emitSeenKeys(const Task &task, Value firstKey, OpFoldResult keys,
                                        mlir::ValueRange carried);
  void emitValueProduct(const Task &task, Value firstKey, OpFoldResult keys);
  void emitResult(const Task &task, llvm::ArrayRef<Value> maxima, llvm::ArrayRef<Value> sums);

  int64_t queryBlock, keyBlock;
  /// With causal attention, for each vector of queries.
  llvm::SmallVector<Value> lastKeys;
  /// [depth, queryBlock], [keyBlock, queryBlock], [queryBlock, valueVectors * lanes], [queryBlock].
  Value queryBuffer, logitBuffer, resultBuffer, factorBuffer;
  /// [keyBlock] or [queryBlock, keyBlock], rows padded to `maskStride`.
  Value maskBuffer;
  int64_t maskStride = 0;
};

} // namespace lathe::cpu

#endif // LATHE_LIB_CODEGEN_CPU_ATTENTIONKERNEL_H
