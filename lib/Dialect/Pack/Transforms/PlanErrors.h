// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Which products stay in f32 so that results move by no more than a plan allows.

#ifndef LATHE_LIB_DIALECT_PACK_TRANSFORMS_PLANERRORS_H
#define LATHE_LIB_DIALECT_PACK_TRANSFORMS_PLANERRORS_H

#include "lathe/Dialect/NN/IR/NN.h"
#include "lathe/Plan/Plan.h"
#include "lathe/Plan/Stats.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/SymbolTable.h"
#include "llvm/ADT/MapVector.h"

namespace lathe::pack {

/// Divides the error that a plan allows among products.
///
/// Roundings are independent, so their errors add up as squares do: those of products that were rounded
/// alone, and of what else is rounded. What they add up to for all products is held against what was measured
/// of all, and the share of that is taken for some of them, too. Products that read the same tensor are
/// rounded together. Those stay in f32 first that have the largest square for each of their multiply-adds,
/// which is the time that they would save.
class ErrorBudget {
public:
  /// Allows everything if the plan says nothing of errors. Failure after an error: the statistics, which may
  /// be null, do not say how far results move.
  static llvm::FailureOr<ErrorBudget> find(mlir::ModuleOp module, const Plan &plan, const Stats *stats);

  /// Why a product stays in f32; empty if it does not.
  std::string findReason(mlir::Operation *op, nn::WeightOp weight, const mlir::SymbolTable &symbols) const;

private:
  /// The products that read one tensor.
  struct Share {
    double operations = 0;
    bool isKept = false;
  };

  void divide(const Plan &plan);
  const TensorStats *findTensor(mlir::Operation *op, nn::WeightOp weight,
                                const mlir::SymbolTable &symbols) const;

  const Stats *stats = nullptr;
  double allowed = 0;
  llvm::MapVector<const TensorStats *, Share> shares;
};

} // namespace lathe::pack

#endif // LATHE_LIB_DIALECT_PACK_TRANSFORMS_PLANERRORS_H
