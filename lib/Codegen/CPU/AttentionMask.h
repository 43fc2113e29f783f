// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What attention kernels work on, and the masks of their logits.

#ifndef LATHE_LIB_CODEGEN_CPU_ATTENTIONMASK_H
#define LATHE_LIB_CODEGEN_CPU_ATTENTIONMASK_H

#include "lathe/Codegen/CPU/Emitters.h"
#include "lathe/Codegen/Element/AttentionProblem.h"
#include "lathe/Codegen/Element/ElementEmitter.h"
#include "lathe/Codegen/Element/IndexMath.h"

namespace lathe::cpu {

/// The sizes of an attention and its division into tasks: the queries of one head, `queryBlock` at a time.
struct AttentionProblem : codegen::AttentionProblem {
  /// Whether products are made by matrix registers, of bf16.
  bool onMatrices = false;
  int64_t queryBlock = 0;
  mlir::OpFoldResult queryBlocks = {}, tasks = {}, grain = {};
};

/// Of the keys that a query sees, those of one block: what is added to its logits, in units of log2(e).
class AttentionMask {
public:
  AttentionMask(EmitContext &context, const AttentionProblem &problem, ElementEmitter &elements,
                int64_t lanes)
      : context(context), builder(context.builder), loc(context.kernel.getLoc()), problem(problem),
        elements(elements), lanes(lanes) {}

  /// How a mask varies, and so how it reaches the logits.
  enum class Form { None, PerKey, PerQueryAndKey };

  llvm::LogicalResult analyze();
  Form getForm() const { return form; }

  /// The query that a row of the mask is of.
  struct Row {
    mlir::OpFoldResult batch, head, query;
  };
  /// Stores what a row holds for keys [firstKey, firstKey + keys) in a buffer of f32 from `place` on, in
  /// whole vectors.
  llvm::LogicalResult emitRow(const Row &row, mlir::Value firstKey, mlir::OpFoldResult keys,
                              mlir::Value buffer, mlir::OpFoldResult place);

private:
  IndexMath math() { return {builder, loc}; }
  mlir::FailureOr<mlir::Value> evaluate(const Row &row, mlir::OpFoldResult key, mlir::Value lanesMask);
  mlir::Value toLogit(mlir::Value mask);

  EmitContext &context;
  mlir::OpBuilder &builder;
  mlir::Location loc;
  const AttentionProblem &problem;
  ElementEmitter &elements;
  int64_t lanes;
  Form form = Form::None;
  /// The dimensions of the mask, and whether its keys are evidently those of K.
  llvm::SmallVector<mlir::OpFoldResult> dims;
  enum class Keys { One, All, Unknown } keysOfMask = Keys::All;
};

} // namespace lathe::cpu

#endif // LATHE_LIB_CODEGEN_CPU_ATTENTIONMASK_H
