// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What the verifiers of the nn ops share. Every check emits its own error.

#ifndef LATHE_DIALECT_NN_IR_VERIFYUTILS_H
#define LATHE_DIALECT_NN_IR_VERIFYUTILS_H

#include "lathe/Dialect/NN/IR/NN.h"
#include "lathe/Dialect/NN/IR/ShapeArith.h"

namespace lathe::nn::detail {

/// Sets of element types.
enum class ElementSet { Any, Numeric, Float, Integer, Bool, Index };

/// Whether tensors of the dialect may hold elements of this type.
bool isSupportedElement(mlir::Type type);

/// Checks that every tensor of the op has supported element types and sizes up to kMaxDim.
llvm::LogicalResult verifyTensors(mlir::Operation *op);

/// Checks that the elements of `tensor`, called `name` in errors, are in `set`.
llvm::LogicalResult verifyElements(mlir::Operation *op, llvm::StringRef name, mlir::Value tensor,
                                   ElementSet set);

/// Checks that two tensors have the same element type.
llvm::LogicalResult verifySameElements(mlir::Operation *op, llvm::StringRef name, mlir::Value tensor,
                                       llvm::StringRef otherName, mlir::Value other);

/// Checks that `axis` names a dimension of `x`.
llvm::LogicalResult verifyAxis(mlir::Operation *op, int64_t axis, mlir::Value x);

llvm::LogicalResult verifyRank(mlir::Operation *op, llvm::StringRef name, mlir::Value tensor, int64_t rank);

/// Checks that two sizes of operands, described by `name` and `otherName`, are equal unless one is unknown.
llvm::LogicalResult verifySameSize(mlir::Operation *op, llvm::StringRef name, int64_t size,
                                   llvm::StringRef otherName, int64_t other);

/// Checks that the shape of `tensor` broadcasts to `shape`, which stands for `target` in errors.
llvm::LogicalResult verifyBroadcastTo(mlir::Operation *op, llvm::StringRef name, mlir::Value tensor,
                                      llvm::StringRef target, llvm::ArrayRef<int64_t> shape);

/// Checks that the shapes of the results do not contradict what follows from the operands; they may say more
/// or less.
llvm::LogicalResult verifyResultShapes(mlir::Operation *op);

/// Checks a list of numbers and values: as many values as places for them, and no negative number.
llvm::LogicalResult verifyMixed(mlir::Operation *op, llvm::StringRef name, mlir::ValueRange values,
                                llvm::ArrayRef<int64_t> numbers);

/// The number of elements of a shape, `kDynamic` if a size is unknown, nothing if it exceeds 63 bits.
std::optional<int64_t> countElements(llvm::ArrayRef<int64_t> shape);

/// Whether a slice stays within `shape`, as far as the numbers are known; `kDynamic` is unknown.
bool isSliceWithin(llvm::ArrayRef<int64_t> shape, llvm::ArrayRef<int64_t> offsets,
                   llvm::ArrayRef<int64_t> sizes, llvm::ArrayRef<int64_t> strides);

/// Checks the window, channels and groups of a convolution, and the shape of its result.
llvm::LogicalResult verifyConvolution(mlir::Operation *op, mlir::Value x, mlir::Value filter,
                                      llvm::ArrayRef<int64_t> strides, llvm::ArrayRef<int64_t> pads,
                                      llvm::ArrayRef<int64_t> dilations, int64_t groups);

/// `inferDims` of all products and convolutions: of the first two operands.
llvm::FailureOr<llvm::SmallVector<Dims>> inferMatMulDims(mlir::OpBuilder &builder, mlir::Location loc,
                                                         llvm::ArrayRef<Dims> operandDims);
llvm::FailureOr<llvm::SmallVector<Dims>> inferConvDims(mlir::OpBuilder &builder, mlir::Location loc,
                                                       llvm::ArrayRef<Dims> operandDims,
                                                       llvm::ArrayRef<int64_t> strides,
                                                       llvm::ArrayRef<int64_t> pads,
                                                       llvm::ArrayRef<int64_t> dilations);

/// A size in an error: a number or `?`.
std::string formatSize(int64_t size);

/// A shape in an error: `[2, ?, 3]`.
std::string formatShape(llvm::ArrayRef<int64_t> shape);

} // namespace lathe::nn::detail

#endif // LATHE_DIALECT_NN_IR_VERIFYUTILS_H
