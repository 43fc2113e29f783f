// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#ifndef LATHE_LIB_CODEGEN_CPU_ATTENTIONFEWQUERIES_H
#define LATHE_LIB_CODEGEN_CPU_ATTENTIONFEWQUERIES_H

#include "AttentionEmitter.h"

namespace lathe::cpu {

/// Attention of few queries, as when a language model writes one word after the other. What bounds it is that
/// all keys and values are read; lanes hold features, then keys. For one query and one block of keys after
/// the other:
///
///   logits[key] = sum over lanes of q * K[key, :], a vector of keys at a time, + mask;
///   weights[key] = 2^(logits - maximum), in place;
///   result = result * 2^(old maximum - maximum) + weights V, in registers.
class FewQueriesAttention : AttentionEmitter {
public:
  /// AttentionKernel, whose lanes hold queries whether there are as many or not, takes less time from more
  /// on.
  static constexpr int64_t kMostQueries = 4;

  FewQueriesAttention(EmitContext &context, const AttentionProblem &problem)
      : AttentionEmitter(context, problem) {}
  llvm::LogicalResult emit();

private:
  /// A query while its keys are gone through.
  struct Row {
    OpFoldResult query;
    llvm::SmallVector<Value> features;
    OpFoldResult keyEnd;
  };

  Row readQuery(const Task &task, Value query);
  void emitQuery(const Task &task, Value query);
  /// `carried` are the maximum and the sum, in all lanes and by lanes, and the vectors of the result. A block
  /// that the query does not see is skipped.
  llvm::SmallVector<Value> emitKeyBlock(const Task &task, const Row &row, Value firstKey,
                                        mlir::ValueRange carried);
  llvm::SmallVector<Value> emitSeenKeys(const Task &task, const Row &row, Value firstKey, OpFoldResult keys,
                                        mlir::ValueRange carried);
  /// The logits of `lanes` keys from `key` of the block on, of which `keys` exist if that is given.
  Value buildLogits(const Task &task, const Row &row, Value firstKey, Value key, OpFoldResult keys);

  /// [keyBlock] each.
  Value logitBuffer, maskBuffer;
};

} // namespace lathe::cpu

#endif // LATHE_LIB_CODEGEN_CPU_ATTENTIONFEWQUERIES_H
