// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Arithmetic on sizes, each a constant or an index value. Whatever is constant is computed at once.

#ifndef LATHE_DIALECT_NN_IR_SHAPEARITH_H
#define LATHE_DIALECT_NN_IR_SHAPEARITH_H

#include "lathe/Dialect/NN/IR/NN.h"

namespace lathe::nn {

/// The dimensions of one tensor.
using Dims = llvm::SmallVector<mlir::OpFoldResult>;

/// Sums, differences, products and floor divisions of sizes. The divisor is positive.
mlir::OpFoldResult addSizes(mlir::OpBuilder &builder, mlir::Location loc, mlir::OpFoldResult lhs,
                            mlir::OpFoldResult rhs);
mlir::OpFoldResult subSizes(mlir::OpBuilder &builder, mlir::Location loc, mlir::OpFoldResult lhs,
                            mlir::OpFoldResult rhs);
mlir::OpFoldResult mulSizes(mlir::OpBuilder &builder, mlir::Location loc, mlir::OpFoldResult lhs,
                            mlir::OpFoldResult rhs);
mlir::OpFoldResult floorDivSize(mlir::OpBuilder &builder, mlir::Location loc, mlir::OpFoldResult lhs,
                                int64_t divisor);

/// The product of `sizes`, 1 if there are none.
mlir::OpFoldResult productOfSizes(mlir::OpBuilder &builder, mlir::Location loc,
                                  llvm::ArrayRef<mlir::OpFoldResult> sizes);

/// Whether two sizes are evidently the same (one value, one constant, or what the same sizes broadcast to);
/// whether they are constants that differ.
bool areSameSize(mlir::OpFoldResult lhs, mlir::OpFoldResult rhs);
bool areDifferentSizes(mlir::OpFoldResult lhs, mlir::OpFoldResult rhs);

/// The size two sizes broadcast to, or failure if they are constants that do not. Of two unknown sizes it is
/// the one that is not 1: a run checks its inputs, so they are equal or one of them is 1.
llvm::FailureOr<mlir::OpFoldResult> broadcastSizes(mlir::OpBuilder &builder, mlir::Location loc,
                                                   mlir::OpFoldResult lhs, mlir::OpFoldResult rhs);

/// The two unknown sizes that `size` is what they broadcast to, if `broadcastSizes` says so.
std::optional<std::pair<mlir::Value, mlir::Value>> getBroadcastSizes(mlir::Value size);

/// The shape two shapes broadcast to like numpy, aligned at their last dimensions.
llvm::FailureOr<Dims> broadcastDims(mlir::OpBuilder &builder, mlir::Location loc,
                                    llvm::ArrayRef<mlir::OpFoldResult> lhs,
                                    llvm::ArrayRef<mlir::OpFoldResult> rhs);

/// The sizes as they stand in a type, `ShapedType::kDynamic` where they are values that are no constants.
llvm::SmallVector<int64_t> getStaticSizes(llvm::ArrayRef<mlir::OpFoldResult> dims);

/// The static shapes of the results of `op` that follow from the types of its operands and from its
/// attributes, by `inferDims`. Creates nothing in the IR around `op`, which need not be in a block.
llvm::FailureOr<llvm::SmallVector<llvm::SmallVector<int64_t>>> inferStaticShapes(mlir::Operation *op);

} // namespace lathe::nn

#endif // LATHE_DIALECT_NN_IR_SHAPEARITH_H
