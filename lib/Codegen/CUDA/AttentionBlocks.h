// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What the emitters of attention share: which queries a block has, and what is done to a logit.

#ifndef LATHE_LIB_CODEGEN_CUDA_ATTENTIONBLOCKS_H
#define LATHE_LIB_CODEGEN_CUDA_ATTENTIONBLOCKS_H

#include "lathe/Codegen/CUDA/Emitters.h"
#include "lathe/Codegen/Element/ElementEmitter.h"
#include "lathe/Codegen/Element/LoopEmitter.h"
#include "lathe/Codegen/Math/Emitter.h"

namespace lathe::cuda {

struct AttentionProblem {
  nn::AttentionOp op;
  kernel::OutputOp output;
  mlir::OpFoldResult batch, queryCount, keyCount;
  int64_t heads, keyHeads, depth, valueDepth;

  /// The blocks of a grid, each with so many queries of a head.
  mlir::OpFoldResult countBlocks(IndexMath math, int64_t queries) const;
};

/// Finds the op of a kernel; emits a diagnostic if there is none that can be emitted.
llvm::FailureOr<AttentionProblem> analyzeAttention(ElementContext &context);

/// Emits what one block does: logits are in units of log2(e), so that weights are powers of 2.
class AttentionBlocks : protected LoopEmitter {
protected:
  AttentionBlocks(EmitContext &context, const AttentionProblem &problem);

  /// Finds out which `queries` queries this block has.
  void decodeBlock(int64_t queries);
  /// An element of an operand as f32; zero, and a failure, where that cannot be emitted.
  mlir::Value evaluate(mlir::Value tensor, llvm::ArrayRef<mlir::OpFoldResult> index);
  /// The number of a query, or of the last one if there are not so many.
  mlir::Value clampQuery(mlir::OpFoldResult query);
  /// The last key that a query sees.
  mlir::Value getLastKey(mlir::Value query);
  /// The logit of a query and a key, if it is seen, from the sum of products: scaled, capped, masked.
  mlir::Value finishLogit(mlir::Value sum, mlir::Value query, mlir::Value key);
  /// The mask for a query and a key that exist, to be added to a logit.
  mlir::Value evaluateMask(mlir::Value query, mlir::Value key);
  /// What weights are divided by their sum with: times this; as the op says where no key was seen.
  mlir::Value getNormalization(mlir::Value maximum, mlir::Value sum);
  mlir::Value negativeInfinity() { return e.infinity(builder.getF32Type(), /*negative=*/true); }

  EmitContext &context;
  AttentionProblem problem;
  lathe::Emitter e;
  ElementEmitter elements;
  mlir::OpFoldResult batch, head, keyHead, firstQuery;
  /// Where the keys end that any query of the block sees.
  mlir::Value keyEnd;
  llvm::LogicalResult status = llvm::success();
};

/// Whether tensor cores multiply: operands of f16 or bf16, or f32 that may be taken as TF32, and tiles that
/// fit the shared memory.
bool isTensorAttention(const ElementContext &context, const AttentionProblem &problem);
Launch planTensorAttention(ElementContext &context, const AttentionProblem &problem);
llvm::LogicalResult emitTensorAttention(EmitContext &context, const AttentionProblem &problem);

} // namespace lathe::cuda

#endif // LATHE_LIB_CODEGEN_CUDA_ATTENTIONBLOCKS_H
