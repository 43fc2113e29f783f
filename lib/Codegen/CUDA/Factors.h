// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What products and convolutions multiply, and in what type.

#ifndef LATHE_LIB_CODEGEN_CUDA_FACTORS_H
#define LATHE_LIB_CODEGEN_CUDA_FACTORS_H

#include "lathe/Codegen/Element/ElementEmitter.h"

namespace lathe::cuda {

/// Factors of a product: floats as f32, with sums of f32; bytes less their zero points as i32.
class Factors {
public:
  Factors(mlir::OpBuilder &builder, mlir::Location loc, codegen::ElementEmitter &elements, mlir::Type element)
      : builder(builder), loc(loc), elements(elements), isOnBytes(element.isInteger(8)) {}

  /// The type of factors and sums.
  mlir::Type getType() const { return isOnBytes ? mlir::Type(builder.getI32Type()) : builder.getF32Type(); }
  mlir::Value getZero() const;
  /// The element of `operand` at `index`, less that of `zero`, which may be null, as a factor.
  llvm::FailureOr<mlir::Value> load(mlir::Value operand, mlir::Value zero, llvm::ArrayRef<mlir::Value> index);
  /// The element of a zero point of `operand` at `index`, as a factor.
  llvm::FailureOr<mlir::Value> loadZero(mlir::Value operand, mlir::Value zero,
                                        llvm::ArrayRef<mlir::Value> index);
  /// An element of type `element` as a factor.
  mlir::Value widen(mlir::Value value, mlir::Type element);
  mlir::Value multiplyAdd(mlir::Value lhs, mlir::Value rhs, mlir::Value sum);
  /// A sum as an element of a result.
  mlir::Value narrow(mlir::Value sum, mlir::Type element);

private:
  mlir::OpBuilder &builder;
  mlir::Location loc;
  codegen::ElementEmitter &elements;
  bool isOnBytes;
};

/// What `body` gives where `condition` holds, else `otherwise`; a failure of `body` is passed on.
llvm::FailureOr<mlir::Value> emitWhere(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value condition,
                                       mlir::Value otherwise,
                                       llvm::function_ref<llvm::FailureOr<mlir::Value>()> body);

} // namespace lathe::cuda

#endif // LATHE_LIB_CODEGEN_CUDA_FACTORS_H
