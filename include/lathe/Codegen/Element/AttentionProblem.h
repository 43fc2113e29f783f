// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The attention of a kernel, on every target.

#ifndef LATHE_CODEGEN_ELEMENT_ATTENTIONPROBLEM_H
#define LATHE_CODEGEN_ELEMENT_ATTENTIONPROBLEM_H

#include "lathe/Codegen/Element/ElementContext.h"
#include "lathe/Dialect/NN/IR/NN.h"

namespace lathe::codegen {

/// What a kernel with `nn.attention` as its root computes. Made from shapes alone.
struct AttentionProblem {
  nn::AttentionOp op;
  kernel::OutputOp output;
  mlir::OpFoldResult batch, queryCount, keyCount;
  int64_t heads = 0, keyHeads = 0, depth = 0, valueDepth = 0;
};

/// Finds the op of a kernel; emits a diagnostic if there is none that can be emitted.
llvm::FailureOr<AttentionProblem> analyzeAttention(ElementContext &context);

} // namespace lathe::codegen

#endif // LATHE_CODEGEN_ELEMENT_ATTENTIONPROBLEM_H
