// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#ifndef LATHE_DIALECT_PACK_TRANSFORMS_REFUSESLOW_H
#define LATHE_DIALECT_PACK_TRANSFORMS_REFUSESLOW_H

#include "lathe/Plan/Latencies.h"

#include "mlir/Pass/Pass.h"

#include <memory>

namespace lathe::pack {

/// pack-refuse-slow for a table that is read already.
std::unique_ptr<mlir::Pass> createRefuseSlowPass(LatencyTable table, bool force);

} // namespace lathe::pack

#endif // LATHE_DIALECT_PACK_TRANSFORMS_REFUSESLOW_H
