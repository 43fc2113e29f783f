// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What emitters of kernels that build their own loops share.

#ifndef LATHE_CODEGEN_ELEMENT_LOOPEMITTER_H
#define LATHE_CODEGEN_ELEMENT_LOOPEMITTER_H

#include "lathe/Codegen/Element/IndexMath.h"

#include "mlir/IR/BuiltinTypes.h"

namespace lathe::codegen {

/// Loops and branches whose bodies are emitted with the builder of the kernel.
class LoopEmitter {
protected:
  LoopEmitter(mlir::OpBuilder &builder, mlir::Location loc) : builder(builder), loc(loc) {}

  IndexMath math() { return {builder, loc}; }
  void emitLoop(mlir::OpFoldResult begin, mlir::OpFoldResult end, int64_t step,
                llvm::function_ref<void(mlir::Value)> body);
  /// `body` takes and gives the carried values.
  llvm::SmallVector<mlir::Value>
  emitLoop(mlir::OpFoldResult begin, mlir::OpFoldResult end, int64_t step,
           llvm::ArrayRef<mlir::Value> carried,
           llvm::function_ref<llvm::SmallVector<mlir::Value>(mlir::Value, mlir::ValueRange)> body);
  void emitIf(mlir::Value condition, llvm::function_ref<void()> then,
              llvm::function_ref<void()> otherwise = {});

  mlir::OpBuilder &builder;
  mlir::Location loc;
};

/// The same with vectors of `vectorType`, in registers and in buffers of their elements.
class VectorEmitter : protected LoopEmitter {
protected:
  VectorEmitter(mlir::OpBuilder &builder, mlir::Location loc, mlir::VectorType vectorType)
      : LoopEmitter(builder, loc), vectorType(vectorType) {}

  mlir::Value constant(double value);
  mlir::Value splat(mlir::Value number);
  mlir::Value load(mlir::Value buffer, mlir::OpFoldResult index);
  void store(mlir::Value value, mlir::Value buffer, mlir::OpFoldResult index);
  mlir::Value loadNumber(mlir::Value buffer, mlir::OpFoldResult index);
  void storeNumber(mlir::Value value, mlir::Value buffer, mlir::OpFoldResult index);
  /// One instruction; the second operand if one is NaN.
  mlir::Value larger(mlir::Value lhs, mlir::Value rhs);

  mlir::VectorType vectorType;
};

} // namespace lathe::codegen

#endif // LATHE_CODEGEN_ELEMENT_LOOPEMITTER_H
