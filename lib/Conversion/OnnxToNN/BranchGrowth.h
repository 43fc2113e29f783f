// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// An `If` whose branches give a result of another rank each. No tensor can be either, but in each branch the
/// rank is known: what reads the result moves into both branches, until what they give is of one rank.

#ifndef LATHE_CONVERSION_ONNXTONN_BRANCHGROWTH_H
#define LATHE_CONVERSION_ONNXTONN_BRANCHGROWTH_H

#include "lathe/Dialect/Onnx/IR/Onnx.h"

namespace lathe::onnx {

/// An `If` whose branches are to grow.
struct BranchGrowth {
  NodeOp choice;
  /// The nodes behind it, in order, up to the last that reads a result in question: those that depend on the
  /// `If`, which move into its branches, and those that do not, which move before it.
  llvm::SmallVector<mlir::Operation *> dependent, others;

  /// What moves in, nodes within nodes included.
  size_t countNodes() const;
};

/// What must grow so that `results` of `choice` are read in its branches alone. Where a branch of another
/// `If` yields them, that one must. Nothing where the model or the body of a loop yields them.
std::optional<BranchGrowth> planGrowth(NodeOp choice, llvm::ArrayRef<unsigned> results);

/// Puts an `If` in the place of the one that is to grow; gives the first op that now stands where it and what
/// followed it stood. What is not needed any more is taken out by `abandon`.
mlir::Operation *growBranches(const BranchGrowth &growth,
                              llvm::function_ref<void(mlir::Operation *)> abandon);

} // namespace lathe::onnx

#endif // LATHE_CONVERSION_ONNXTONN_BRANCHGROWTH_H
