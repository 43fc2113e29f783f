// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Whether a plan was made for the model at hand, and the plan as the compiler understood it.

#ifndef LATHE_LIB_COMPILER_CHECKPLAN_H
#define LATHE_LIB_COMPILER_CHECKPLAN_H

#include "lathe/Plan/Plan.h"
#include "lathe/Plan/Stats.h"

#include "mlir/IR/BuiltinOps.h"

namespace lathe {

/// Checks fingerprints and names against the model as it was imported: later, weights and nodes have become
/// parts of others.
llvm::Error checkPlan(const Plan &plan, mlir::ModuleOp model);

/// Checks that statistics are of the model as it was imported.
llvm::Error checkStats(const Stats &stats, mlir::ModuleOp model);

/// Whether the model has a node of this name: an error with those that may be meant if not.
llvm::Error checkNode(llvm::StringRef node, mlir::ModuleOp model);

/// The hash of a weight's bytes; empty for one that is computed or whose data is not there.
std::string fingerprintOf(mlir::Operation *weight);

/// What `plan` came to, weight by weight and layer by layer: `module` is what pack-apply-plan has left, which
/// was given `stats`.
Plan resolvePlan(const Plan &plan, const Stats *stats, mlir::ModuleOp module);

} // namespace lathe

#endif // LATHE_LIB_COMPILER_CHECKPLAN_H
