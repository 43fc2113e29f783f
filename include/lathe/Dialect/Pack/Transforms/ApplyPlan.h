// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#ifndef LATHE_DIALECT_PACK_TRANSFORMS_APPLYPLAN_H
#define LATHE_DIALECT_PACK_TRANSFORMS_APPLYPLAN_H

#include "lathe/Plan/Plan.h"

#include "mlir/Pass/Pass.h"

namespace lathe::pack {

/// pack-apply-plan for a plan that is read already.
std::unique_ptr<mlir::Pass> createApplyPlanPass(Plan plan);

} // namespace lathe::pack

#endif // LATHE_DIALECT_PACK_TRANSFORMS_APPLYPLAN_H
