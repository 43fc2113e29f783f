// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Builders of nn ops that work out the result's type from the operands. What does not fit together is still
/// built, with some result type, and the verifier says what is wrong: legalization may lean on that.

#ifndef LATHE_DIALECT_NN_IR_BUILDERS_H
#define LATHE_DIALECT_NN_IR_BUILDERS_H

#include "lathe/Dialect/NN/IR/NN.h"

namespace lathe::nn {

/// The element type of a ranked tensor.
mlir::Type getElementType(mlir::Value tensor);

/// The rank of a ranked tensor.
int64_t getRank(mlir::Value tensor);

/// Sets the sizes of the results of `op`, which is in no block yet, to what follows from its operands;
/// element types stay. Results whose sizes do not follow become tensors of rank 0, which the verifier
/// refuses.
void setInferredTypes(mlir::Operation *op);

/// Creates an `OpTy` from an element type and the arguments of its builder after the result type.
template <typename OpTy, typename... Args>
OpTy createInferred(mlir::OpBuilder &builder, mlir::Location loc, mlir::Type elementType, Args &&...args) {
  mlir::OperationState state(loc, OpTy::getOperationName());
  // Some op's dialect may not be loaded in the context of a hand-made builder.
  builder.getContext()->getOrLoadDialect<NNDialect>();
  OpTy::build(builder, state, mlir::RankedTensorType::get({}, elementType), std::forward<Args>(args)...);
  mlir::Operation *op = mlir::Operation::create(state);
  setInferredTypes(op);
  return mlir::cast<OpTy>(builder.insert(op));
}

/// The same for ops of several results.
template <typename OpTy, typename... Args>
OpTy createInferred(mlir::OpBuilder &builder, mlir::Location loc, llvm::ArrayRef<mlir::Type> elementTypes,
                    Args &&...args) {
  mlir::OperationState state(loc, OpTy::getOperationName());
  builder.getContext()->getOrLoadDialect<NNDialect>();
  llvm::SmallVector<mlir::Type> types;
  for (mlir::Type elementType : elementTypes) {
    types.push_back(mlir::RankedTensorType::get({}, elementType));
  }
  OpTy::build(builder, state, mlir::TypeRange(types), std::forward<Args>(args)...);
  mlir::Operation *op = mlir::Operation::create(state);
  setInferredTypes(op);
  return mlir::cast<OpTy>(builder.insert(op));
}

mlir::Value buildUnary(mlir::OpBuilder &builder, mlir::Location loc, UnaryKind kind, mlir::Value x);
/// A unary op with parameters: `hard_sigmoid`.
mlir::Value buildUnary(mlir::OpBuilder &builder, mlir::Location loc, UnaryKind kind, mlir::Value x,
                       float alpha, float beta);
mlir::Value buildBinary(mlir::OpBuilder &builder, mlir::Location loc, BinaryKind kind, mlir::Value lhs,
                        mlir::Value rhs);
mlir::Value buildCompare(mlir::OpBuilder &builder, mlir::Location loc, CompareKind kind, mlir::Value lhs,
                         mlir::Value rhs);
mlir::Value buildSelect(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value condition, mlir::Value lhs,
                        mlir::Value rhs);
/// `x` itself if it has that element type.
mlir::Value buildCast(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value x, mlir::Type elementType);

/// `axes` may be in any order and negative; a reduction over no axes is still built.
mlir::Value buildReduce(mlir::OpBuilder &builder, mlir::Location loc, ReduceKind kind, mlir::Value x,
                        llvm::ArrayRef<int64_t> axes, bool keepDims);
mlir::Value buildArgReduce(mlir::OpBuilder &builder, mlir::Location loc, ArgReduceKind kind, mlir::Value x,
                           int64_t axis, bool keepDims, bool selectLast);
mlir::Value buildSoftmax(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value x, int64_t axis,
                         bool log = false);
/// `bias` may be null.
mlir::Value buildLayerNorm(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value x, mlir::Value scale,
                           mlir::Value bias, int64_t axis, float epsilon);
mlir::Value buildRMSNorm(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value x, mlir::Value scale,
                         int64_t axis, float epsilon);

mlir::Value buildMatMul(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value lhs, mlir::Value rhs);
mlir::Value buildConv(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value x, mlir::Value filter,
                      llvm::ArrayRef<int64_t> strides, llvm::ArrayRef<int64_t> pads,
                      llvm::ArrayRef<int64_t> dilations, int64_t groups);
/// `mask` may be null; a `softcap` of 0 is none.
mlir::Value buildAttention(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value q, mlir::Value k,
                           mlir::Value v, mlir::Value mask, float scale, bool causal = false,
                           bool guardEmpty = false, float softcap = 0);

/// `x` itself if its shape is evidently `dims` already.
mlir::Value buildReshape(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value x,
                         llvm::ArrayRef<mlir::OpFoldResult> dims);
mlir::Value buildExpand(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value x,
                        llvm::ArrayRef<mlir::OpFoldResult> dims);
mlir::Value buildTranspose(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value x,
                           llvm::ArrayRef<int64_t> perm);
mlir::Value buildSlice(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value x,
                       llvm::ArrayRef<mlir::OpFoldResult> offsets, llvm::ArrayRef<mlir::OpFoldResult> sizes,
                       llvm::ArrayRef<int64_t> strides);
mlir::Value buildConcat(mlir::OpBuilder &builder, mlir::Location loc, mlir::ValueRange inputs, int64_t axis);
mlir::Value buildGather(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value x, mlir::Value indices,
                        int64_t axis);
mlir::Value buildGatherND(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value x, mlir::Value indices,
                          int64_t batchDims);
/// `size` elements `start + i * step`, where `start` and `step` have rank 0.
mlir::Value buildRange(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value start, mlir::Value step,
                       mlir::OpFoldResult size);
/// A tensor of rank 1, or of rank 0 if `scalar` (then there is one element).
mlir::Value buildFromScalars(mlir::OpBuilder &builder, mlir::Location loc,
                             llvm::ArrayRef<mlir::OpFoldResult> elements, mlir::Type elementType,
                             bool scalar = false);

/// An `arith.constant` tensor of rank 0. The number is rounded to `elementType`, a float or an integer type.
mlir::Value buildScalar(mlir::OpBuilder &builder, mlir::Location loc, mlir::Type elementType, double value);

} // namespace lathe::nn

#endif // LATHE_DIALECT_NN_IR_BUILDERS_H
