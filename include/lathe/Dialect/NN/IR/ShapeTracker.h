// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The size of every dimension of every tensor as a constant or an index value.

#ifndef LATHE_DIALECT_NN_IR_SHAPETRACKER_H
#define LATHE_DIALECT_NN_IR_SHAPETRACKER_H

#include "lathe/Dialect/NN/IR/NN.h"

#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/DenseSet.h"

namespace lathe::nn {

/// Follows sizes through a function: from the symbols of its arguments (`nn.dims`) through every op's
/// `inferDims`. Equal sizes come out as the same value wherever that is evident, so callers compare
/// `OpFoldResult`s. Index arithmetic that does not exist yet is built as early as its operands allow and is
/// reused; none of it may be erased while the tracker lives. Arguments without names are measured by
/// `tensor.dim`.
///
/// Does not recurse over the graph; amortized constant time per value.
class ShapeTracker {
public:
  /// `builder` is used for all new arithmetic; its insertion point is restored after each call.
  explicit ShapeTracker(mlir::OpBuilder &builder) : builder(builder) {}

  /// The dimensions of `tensor`, or failure if an op on the way has no known shape function.
  /// The reference stays valid until the next call.
  llvm::FailureOr<llvm::ArrayRef<mlir::OpFoldResult>> getDims(mlir::Value tensor);

  /// The same, all as values (constants are built at the insertion point `builder` has).
  llvm::FailureOr<llvm::SmallVector<mlir::Value>> getDynamicSizes(mlir::Value tensor);

  /// States the dimensions of a value, instead of following its definition.
  void setDims(mlir::Value tensor, llvm::ArrayRef<mlir::OpFoldResult> dims);

private:
  /// Tells ops apart by what they compute.
  struct ArithmeticInfo : llvm::DenseMapInfo<mlir::Operation *> {
    static unsigned getHashValue(const mlir::Operation *op);
    static bool isEqual(const mlir::Operation *lhs, const mlir::Operation *rhs);
  };

  /// Computes the dims of `tensor`, whose operands' are known.
  llvm::LogicalResult compute(mlir::Value tensor);
  llvm::LogicalResult infer(ShapeOpInterface op);

  mlir::OpBuilder &builder;
  llvm::DenseMap<mlir::Value, llvm::SmallVector<mlir::OpFoldResult>> dims;
  /// The index arithmetic built so far, each op at the earliest place where its operands are known.
  llvm::DenseSet<mlir::Operation *, ArithmeticInfo> arithmetic;
};

/// The `nn.dim_symbol` of `name` in the entry block of the function around `builder`, made if there is none.
mlir::Value getDimSymbol(mlir::OpBuilder &builder, mlir::Block &entry, llvm::StringRef name);

} // namespace lathe::nn

#endif // LATHE_DIALECT_NN_IR_SHAPETRACKER_H
