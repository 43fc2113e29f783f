// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Which ops can be computed row by row together, on every target: asked when kernels are formed, and by
/// their emitters.

#ifndef LATHE_DIALECT_KERNEL_TRANSFORMS_ROWSANALYSIS_H
#define LATHE_DIALECT_KERNEL_TRANSFORMS_ROWSANALYSIS_H

#include "lathe/Dialect/NN/IR/ShapeTracker.h"

#include "llvm/ADT/DenseMap.h"

#include <string>

namespace lathe::kernel {

/// How a tensor lies in the space that all roots of a kernel share.
enum class RowsExtent {
  Independent, ///< No root has a part in it.
  Full,        ///< All dimensions.
  Kept,        ///< One element per row, reduced dimensions have size 1.
  Dropped      ///< One element per row, reduced dimensions are gone.
};

/// The iteration space of a kernel of roots that reduce the same dimensions of tensors of one shape.
struct RowsSpace {
  llvm::SmallVector<mlir::OpFoldResult> dims;
  llvm::SmallVector<bool> isReduced;
  /// In program order.
  llvm::SmallVector<mlir::Operation *> roots;
  llvm::DenseMap<mlir::Value, RowsExtent> extents;

  /// Whether the last dimension is reduced: rows are contiguous.
  bool isTrailing() const { return isReduced.back(); }
  /// The dimensions that are reduced, or those that are not.
  llvm::SmallVector<int64_t> getDims(bool reduced) const;
  /// The sizes of these.
  llvm::SmallVector<mlir::OpFoldResult> getSizes(bool reduced) const;
  RowsExtent getExtent(mlir::Value value) const { return extents.lookup(value); }
};

/// Analyzes `ops`, which must lie in one block, as one kernel that gives `outputs`. On failure `why` says
/// what is in the way.
llvm::FailureOr<RowsSpace> analyzeRows(llvm::ArrayRef<mlir::Operation *> ops,
                                       llvm::ArrayRef<mlir::Value> outputs, nn::ShapeTracker &shapes,
                                       std::string &why);

} // namespace lathe::kernel

#endif // LATHE_DIALECT_KERNEL_TRANSFORMS_ROWSANALYSIS_H
