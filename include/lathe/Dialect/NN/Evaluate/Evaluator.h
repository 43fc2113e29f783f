// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What ops compute from weights, without running code.

#ifndef LATHE_DIALECT_NN_EVALUATE_EVALUATOR_H
#define LATHE_DIALECT_NN_EVALUATE_EVALUATOR_H

#include "lathe/Dialect/NN/Evaluate/ConstantTensor.h"
#include "lathe/Dialect/NN/IR/NN.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/SymbolTable.h"
#include "llvm/Support/Error.h"

namespace lathe::nn {

/// Whether `op` gives the elements of its operand at other places, so that its result takes no memory.
bool isView(mlir::Operation *op);

/// Whether `Evaluator` computes this op if it knows its operands. All sizes must be static.
bool canEvaluate(mlir::Operation *op);

/// The elements, row-major, of a tensor of 32 or 64 bit integers.
llvm::SmallVector<int64_t> readIndices(const ConstantTensor &tensor);

/// Computes weights. Memory is held for the operands of one op at a time and for what later ops still need.
class Evaluator {
public:
  explicit Evaluator(mlir::ModuleOp module) : symbols(module) {}

  /// The contents of a weight. Fails if it has no data, or is made of itself.
  llvm::Expected<ConstantParts> readParts(WeightOp weight) { return read(weight, /*depth=*/0); }

  /// The same for one that is no packed tensor.
  llvm::Expected<ConstantTensor> read(WeightOp weight);

  /// What `result` is after `ops`, each of which comes behind those it uses; all of them can be evaluated or
  /// are constants and uses of weights. The result is no packed tensor.
  llvm::Expected<ConstantTensor> evaluate(llvm::ArrayRef<mlir::Operation *> ops, mlir::Value result);

private:
  llvm::Expected<ConstantParts> read(WeightOp weight, unsigned depth);
  llvm::Expected<ConstantParts> evaluate(llvm::ArrayRef<mlir::Operation *> ops, mlir::Value result,
                                         unsigned depth);
  llvm::Expected<ConstantParts> evaluate(mlir::Operation *op, llvm::ArrayRef<ConstantParts> operands,
                                         unsigned depth);

  mlir::SymbolTable symbols;
};

} // namespace lathe::nn

#endif // LATHE_DIALECT_NN_EVALUATE_EVALUATOR_H
