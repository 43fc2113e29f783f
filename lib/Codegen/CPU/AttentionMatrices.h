// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Attention in bf16 on matrix registers.

#ifndef LATHE_LIB_CODEGEN_CPU_ATTENTIONMATRICES_H
#define LATHE_LIB_CODEGEN_CPU_ATTENTIONMATRICES_H

#include "AttentionMask.h"
#include "MatrixTiles.h"
#include "lathe/Codegen/CPU/Emitters.h"
#include "lathe/Codegen/Element/LoopEmitter.h"

#include <optional>

namespace lathe::cpu {

/// Sums of both products and softmax are f32. A task is some queries of one head; for one block of keys after
/// the other, these and their values are packed as the right-hand sides of products lie, and of up to two
/// registers of queries at a time
///
///   logits[query, key] = Q Kt;
///   weights[query, key] = 2^(scale logits + mask - maximum), rounded, and their sum;
///   result[query, :] = result * 2^(old maximum - maximum) + weights V.
class MatrixAttention : VectorEmitter {
public:
  MatrixAttention(EmitContext &context, const AttentionProblem &problem);

  /// Whether the heads fill whole registers.
  static bool isSupported(const TargetSpec &target, nn::AttentionOp op);

  llvm::LogicalResult emit();

  /// Queries of a task: their keys are packed once.
  static constexpr int64_t kQueryBlock = 64;

private:
  using Value = mlir::Value;
  using OpFoldResult = mlir::OpFoldResult;

  /// Rows of bf16 of one head, at equal distances, whose elements lie together.
  struct Rows {
    Value base;
    OpFoldResult offset, stride;
  };
  /// What one task works on.
  struct Task {
    OpFoldResult batch, head, keyHead, firstQuery, queries, keyEnd;
    Rows query;
  };
  /// The keys of one block; `padded` fills them up to what registers multiply.
  struct Keys {
    Value first;
    OpFoldResult count, padded;
  };
  /// Up to two registers of queries of a task.
  struct Strip {
    Value first;
    OpFoldResult count;
  };

  using VectorEmitter::emitLoop;
  Value emitLoop(OpFoldResult begin, OpFoldResult end, int64_t step, Value carried,
                 llvm::function_ref<Value(Value, Value)> body);
  /// All lanes as one, halves with halves.
  Value reduce(Value vector, llvm::function_ref<Value(Value, Value)> combine);
  /// 2^x for x <= 0, 2^-126 below -126, as exact as weights in bf16 are.
  Value buildPower(Value x);

  /// Where an operand lies, and the buffer that its rows are evaluated into if it does not lie as rows.
  struct Operand {
    Value tensor;
    StridedView view;
    Value buffer;
    int64_t width;
  };
  Operand findOperand(Value tensor, int64_t width, int64_t rows);
  Rows getRows(const Operand &operand, const Task &task, OpFoldResult head, OpFoldResult first,
               OpFoldResult count);

  void emitTask(Value number);
  void emitKeyBlock(const Task &task, const Keys &keys);
  void packKeys(const Task &task, const Keys &keys);
  void packValues(const Task &task, const Keys &keys);
  /// Calls `body` with the rows of one or two registers that hold a strip.
  void emitRegisters(const Strip &strip,
                     llvm::function_ref<void(llvm::ArrayRef<std::pair<OpFoldResult, OpFoldResult>>)> body);
  void emitLogits(const Task &task, const Keys &keys, const Strip &strip);
  /// What is added to the logits of a query, or of all of a task.
  void emitBias(const Task &task, const Keys &keys, OpFoldResult query);
  void emitWeights(const Task &task, const Keys &keys, const Strip &strip);
  void emitWeightsOfRow(const Task &task, const Keys &keys, OpFoldResult query, OpFoldResult row);
  void emitValueProduct(const Keys &keys, const Strip &strip);
  void emitResult(const Task &task);

  EmitContext &context;
  const AttentionProblem &problem;
  nn::AttentionOp op;
  ElementEmitter elements;
  AttentionMask mask;
  std::optional<MatrixTiles> matrices;
  Operand q, k, v;
  /// In pairs of features [depth / 2, keys, 2], and of keys [keys / 2, valueDepth, 2].
  Value keyBuffer, valueBuffer;
  /// Of a strip [queries, keys]; of a task [queries, valueDepth], [queries], [queries]; [keys].
  Value logitBuffer, weightBuffer, resultBuffer, maximumBuffer, sumBuffer, biasBuffer;
  llvm::LogicalResult status = llvm::success();
};

} // namespace lathe::cpu

#endif // LATHE_LIB_CODEGEN_CPU_ATTENTIONMATRICES_H
