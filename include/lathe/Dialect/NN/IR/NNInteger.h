// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The nn ops on integers of 8 bits and their zero points.

#ifndef LATHE_DIALECT_NN_IR_NNINTEGER_H
#define LATHE_DIALECT_NN_IR_NNINTEGER_H

#include "lathe/Dialect/NN/IR/NN.h"

#define GET_OP_CLASSES
#include "lathe/Dialect/NN/IR/NNIntegerOps.h.inc"

namespace lathe::nn {

/// Products of integers of 8 bits of any sign, exact in i32. Zero points may be null.
mlir::Value buildIntegerMatMul(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value lhs, mlir::Value rhs,
                               mlir::Value lhsZero, mlir::Value rhsZero);
mlir::Value buildIntegerConv(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value x, mlir::Value filter,
                             mlir::Value zero, mlir::Value filterZero, llvm::ArrayRef<int64_t> strides,
                             llvm::ArrayRef<int64_t> pads, llvm::ArrayRef<int64_t> dilations, int64_t groups);

} // namespace lathe::nn

#endif // LATHE_DIALECT_NN_IR_NNINTEGER_H
