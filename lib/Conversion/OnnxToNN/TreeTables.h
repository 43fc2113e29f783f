// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Decision trees as the file has them, and as the tables that nn.tree_ensemble walks.

#ifndef LATHE_CONVERSION_ONNXTONN_TREETABLES_H
#define LATHE_CONVERSION_ONNXTONN_TREETABLES_H

#include "Learned.h"

namespace lathe::onnx {

/// What a node asks of a feature x; the order is that of TreeEnsemble's numbers.
enum class BranchMode { AtMost, Less, AtLeast, Greater, Equal, NotEqual, Member };

/// A node or a leaf, by its number among these.
struct TreePlace {
  bool isLeaf = false;
  int64_t index = 0;
};

struct TreeNode {
  BranchMode mode = BranchMode::AtMost;
  int64_t feature = 0;
  double value = 0;
  /// For Member.
  llvm::SmallVector<double> members;
  TreePlace onTrue, onFalse;
  bool isNaNTrue = false;
};

/// Trees of any form: targets and weights for each leaf.
struct TreeForest {
  std::vector<TreeNode> nodes;
  std::vector<llvm::SmallVector<std::pair<int64_t, double>, 1>> leaves;
  std::vector<TreePlace> roots;
  int64_t targetCount = 1;
  /// Whether features are compared as f64.
  bool isDouble = false;
};

/// The joined weights [rows, targets] of the leaves that the rows of `x` (f32, or f64) reach. Reports what is
/// wrong with the trees, and returns null.
mlir::Value buildForest(LegalizeContext &c, nn::ReduceKind kind, mlir::Value x, const TreeForest &forest);

} // namespace lathe::onnx

#endif // LATHE_CONVERSION_ONNXTONN_TREETABLES_H
