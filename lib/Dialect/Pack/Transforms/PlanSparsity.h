// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#ifndef LATHE_LIB_DIALECT_PACK_TRANSFORMS_PLANSPARSITY_H
#define LATHE_LIB_DIALECT_PACK_TRANSFORMS_PLANSPARSITY_H

#include "lathe/Dialect/Pack/Transforms/ApplyPlan.h"

#include "mlir/IR/BuiltinOps.h"

namespace lathe::pack {

/// Lets products ask for the zeros that a plan wants in their weights, but for those of `skipped`. With
/// `stats`, if that is not null, they are chosen by what the weights are multiplied with, too. Runs when
/// formats have been applied.
llvm::LogicalResult applySparsity(mlir::ModuleOp module, const Plan &plan, const Stats *stats,
                                  llvm::function_ref<bool(mlir::Operation *)> skipped,
                                  std::vector<RefusedRequest> *refused);

} // namespace lathe::pack

#endif // LATHE_LIB_DIALECT_PACK_TRANSFORMS_PLANSPARSITY_H
