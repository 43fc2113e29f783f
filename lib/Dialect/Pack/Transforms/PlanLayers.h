// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What a plan says of layers.

#ifndef LATHE_LIB_DIALECT_PACK_TRANSFORMS_PLANLAYERS_H
#define LATHE_LIB_DIALECT_PACK_TRANSFORMS_PLANLAYERS_H

#include "lathe/Plan/Plan.h"
#include "lathe/Plan/Stats.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/DenseMap.h"

namespace lathe::pack {

/// Where an entry stands in the plan, and what it is about.
mlir::Location placeOf(const Plan &plan, llvm::StringRef position, mlir::Location beside);

/// Lets `main` ask for the layers to be left out that the plan names or wants; `stats` may be null. The ops
/// of those that go as a whole are added to `skipped`, with the number of their layer.
mlir::LogicalResult applyToLayers(mlir::func::FuncOp main, const Plan &plan, const Stats *stats,
                                  llvm::DenseMap<mlir::Operation *, int64_t> &skipped);

} // namespace lathe::pack

#endif // LATHE_LIB_DIALECT_PACK_TRANSFORMS_PLANLAYERS_H
