// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The state of an attention kernel while it is emitted.

#ifndef LATHE_LIB_CODEGEN_CPU_ATTENTIONKERNEL_H
#define LATHE_LIB_CODEGEN_CPU_ATTENTIONKERNEL_H

#include "AttentionMask.h"
#include "lathe/Codegen/CPU/Emitters.h"
#include "lathe/Codegen/CPU/MicroKernel.h"
#include "lathe/Codegen/Element/LoopEmitter.h"

namespace lathe::cpu {

/// Lanes hold queries. For one block of queries and one block of keys after the other:
///
///   logits[key, query] = K Qt + mask, and the running maximum of every query;
///   weights[key, query] = 2^(logits - maximum), in place, and their running sum;
///   result[query, :] = result * 2^(old maximum - maximum) + weights V.
///
/// So softmax needs no reduction across lanes, and the weights already lie as the product reads them. Queries
/// are packed transposed and scaled by scale * log2(e). Queries that do not exist repeat the last one and are
/// not stored. Operands of bf16 are computed with in f32.
class AttentionKernel : VectorEmitter {
public:
  AttentionKernel(EmitContext &context, const AttentionProblem &problem);
  llvm::LogicalResult emit();

  /// Two vectors of queries a task.
  static constexpr int64_t kVectors = 2;
  /// At most this many keys at a time.
  static constexpr int64_t kKeyBlock = 128;

private:
  using Value = mlir::Value;
  using OpFoldResult = mlir::OpFoldResult;

  /// What one task works on.
  struct Task {
    OpFoldResult batch, head, keyHead, firstQuery, queries;
    /// Of element (0, 0) of the head's matrices.
    OpFoldResult query, key, value;
    /// With causal attention: for each vector, the last key that each query sees.
    llvm::SmallVector<Value> lastKeys;
    OpFoldResult keyEnd;
  };

  /// 2^x for x <= 0, 2^-126 below -126.
  Value buildPower(Value x);

  void findOperands();
  void makeBuffers();
  llvm::LogicalResult emitTask(Value number);
  Task decode(Value number);
  /// Row `query` of the block, or the last query there is.
  OpFoldResult clampQuery(const Task &task, OpFoldResult query);
  void packQueries(const Task &task);
  /// Keys or values [firstKey, firstKey + keys) that no strides describe, rows of `width` padded to whole
  /// vectors.
  void packRows(Value tensor, const Task &task, Value firstKey, OpFoldResult keys, int64_t width,
                Value buffer);
  /// A tile of an operand, in f32; zeros after a failure that has been reported.
  Value evaluate(Value tensor, const Tile &tile);

  /// Evaluates the mask for keys [firstKey, firstKey + keys).
  llvm::LogicalResult emitMask(const Task &task, Value firstKey, OpFoldResult keys);
  void transposeMask(OpFoldResult keys);

  /// The logits of `rows` keys at a time from `begin` to `end` of a block; returns the maxima.
  llvm::SmallVector<Value> emitLogits(const Task &task, int64_t rows, Value firstKey, OpFoldResult begin,
                                      OpFoldResult end, llvm::ArrayRef<Value> maxima);
  llvm::SmallVector<Value> emitKeyBlock(const Task &task, Value firstKey, mlir::ValueRange carried);
  void emitValueProduct(const Task &task, Value firstKey, OpFoldResult keys);
  llvm::LogicalResult emitResult(const Task &task, llvm::ArrayRef<Value> maxima, llvm::ArrayRef<Value> sums);

  EmitContext &context;
  AttentionProblem problem;
  int64_t lanes, queryBlock, tileRows, keyBlock, valueVectors;
  ElementEmitter elements;

  StridedView q, k, v;
  /// Operands that are evaluated into buffers first: no strides describe them, or the features of v lie
  /// apart.
  bool packsQ = false, packsK = false, packsV = false;
  Value keyBuffer, valueBuffer;
  AttentionMask mask;
  /// [depth, queryBlock], [keyBlock, queryBlock], [queryBlock, valueVectors * lanes], [queryBlock].
  Value queryBuffer, logitBuffer, resultBuffer, factorBuffer;
  /// [keyBlock] or [queryBlock, keyBlock], rows padded to `maskStride`.
  Value maskBuffer;
  int64_t maskStride = 0;
  mlir::LogicalResult failed_ = mlir::success();
};

} // namespace lathe::cpu

#endif // LATHE_LIB_CODEGEN_CPU_ATTENTIONKERNEL_H
