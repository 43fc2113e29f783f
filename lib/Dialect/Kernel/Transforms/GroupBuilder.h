// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What becomes one kernel, and the op that it becomes.

#ifndef LATHE_DIALECT_KERNEL_TRANSFORMS_GROUPBUILDER_H
#define LATHE_DIALECT_KERNEL_TRANSFORMS_GROUPBUILDER_H

#include "lathe/Dialect/Kernel/IR/Kernel.h"
#include "lathe/Dialect/NN/IR/ShapeTracker.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/SetVector.h"

namespace lathe::kernel {

/// The ops of one kernel. `last` computes its results (one, except of loops), and `rounded` (null: none)
/// casts that to another type in which it is used, too; the others are used within the kernel alone.
struct Cluster {
  RootKind kind;
  mlir::Operation *last;
  llvm::SetVector<mlir::Operation *> ops;
  mlir::Operation *rounded = nullptr;

  llvm::SmallVector<mlir::Value> getResults() const {
    llvm::SmallVector<mlir::Value> results(last->getResults());
    if (rounded) {
      results.push_back(rounded->getResult(0));
    }
    return results;
  }
};

/// Replaces the ops of clusters by groups.
class GroupBuilder {
public:
  /// `builder` and `shapes` must outlive this.
  GroupBuilder(mlir::func::FuncOp function, mlir::OpBuilder &builder, nn::ShapeTracker &shapes)
      : function(function), builder(builder), shapes(shapes) {}

  /// Makes a group of copies of the cluster's ops, and lets their users read its results. Fails, with an
  /// error, where a shape is not known before it is computed.
  mlir::LogicalResult build(const Cluster &cluster);

private:
  mlir::FailureOr<mlir::DenseI64ArrayAttr> shapeOf(mlir::Value tensor, llvm::SetVector<mlir::Value> &sizes);
  mlir::Value getIndexConstant(int64_t value);
  void setInsertionPointAfter(mlir::Operation *op);

  mlir::func::FuncOp function;
  mlir::OpBuilder &builder;
  nn::ShapeTracker &shapes;
  llvm::DenseMap<int64_t, mlir::Value> constants;
};

} // namespace lathe::kernel

#endif // LATHE_DIALECT_KERNEL_TRANSFORMS_GROUPBUILDER_H
