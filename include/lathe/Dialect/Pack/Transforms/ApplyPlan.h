// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#ifndef LATHE_DIALECT_PACK_TRANSFORMS_APPLYPLAN_H
#define LATHE_DIALECT_PACK_TRANSFORMS_APPLYPLAN_H

#include "lathe/Plan/Plan.h"
#include "lathe/Plan/Stats.h"

#include "mlir/Pass/Pass.h"

#include <memory>
#include <string>
#include <vector>

namespace lathe::pack {

/// What the plan says of a weight or node that no op asks for, and why.
struct RefusedRequest {
  /// The weights of the file, and the same as symbols of the module; the nodes that read them.
  std::vector<std::string> names, symbols, nodes;
  std::string requested, reason;
  /// As it is: its elements' type and its size.
  std::string became;
  int64_t bytes = 0;
};

/// pack-apply-plan for a plan and statistics that are read already; `stats` may be null, and has to outlive
/// the pass. What is refused is added to `refused`, if that is not null.
std::unique_ptr<mlir::Pass> createApplyPlanPass(Plan plan, const Stats *stats,
                                                std::vector<RefusedRequest> *refused = nullptr);

} // namespace lathe::pack

#endif // LATHE_DIALECT_PACK_TRANSFORMS_APPLYPLAN_H
