// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The nn dialect: its ops, attributes and interfaces. See NNBase.td for its conventions.

#ifndef LATHE_DIALECT_NN_IR_NN_H
#define LATHE_DIALECT_NN_IR_NN_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/PatternMatch.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"
#include "mlir/Interfaces/ViewLikeInterface.h"

#include <cstdint>

namespace lathe::nn {

/// The largest size that any dimension may have.
inline constexpr int64_t kMaxDim = (int64_t(1) << 48) - 1;

/// Components of packed tensors start at multiples of this.
inline constexpr int64_t kComponentAlignment = 64;

namespace detail {
/// `reifyResultShapes` in terms of `ShapeOpInterface`: operand sizes are taken with `tensor.dim`.
llvm::LogicalResult reifyFromInferDims(mlir::Operation *op, mlir::OpBuilder &builder,
                                       mlir::ReifiedRankedShapedTypeDims &dims);
} // namespace detail

/// `NN_TakesPitches`.
template <typename ConcreteOp>
class TakesPitches : public mlir::OpTrait::TraitBase<ConcreteOp, TakesPitches> {};

} // namespace lathe::nn

#include "lathe/Dialect/NN/IR/NNDialect.h.inc"
#include "lathe/Dialect/NN/IR/NNEnums.h.inc"
#include "lathe/Dialect/NN/IR/NNInterfaces.h.inc"
#include "lathe/Dialect/NN/IR/NNPackedType.h.inc"

namespace lathe::nn {

/// The tensor that a value of this type is or, packed, stands for; null for other types.
mlir::RankedTensorType getLogicalType(mlir::Type type);

} // namespace lathe::nn

#define GET_ATTRDEF_CLASSES
#include "lathe/Dialect/NN/IR/NNAttrs.h.inc"

#define GET_OP_CLASSES
#include "lathe/Dialect/NN/IR/NNOps.h.inc"

#endif // LATHE_DIALECT_NN_IR_NN_H
