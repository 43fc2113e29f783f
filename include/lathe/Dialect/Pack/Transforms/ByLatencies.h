// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Passes that decide by a table of latencies, for one that is read already.

#ifndef LATHE_DIALECT_PACK_TRANSFORMS_BYLATENCIES_H
#define LATHE_DIALECT_PACK_TRANSFORMS_BYLATENCIES_H

#include "lathe/Dialect/Pack/Transforms/Passes.h"
#include "lathe/Plan/Latencies.h"

#include "mlir/Pass/Pass.h"

#include <memory>
#include <optional>
#include <string>

namespace lathe::pack {

std::unique_ptr<mlir::Pass> createRefuseSlowPass(LatencyTable table, bool force);
std::unique_ptr<mlir::Pass> createPruneWeightsPass(LatencyTable table,
                                                   const PruneWeightsPassOptions &options);

/// Reads the table that the option `latencies` names into `known`, unless that has one or the option is
/// empty. Emits a diagnostic and fails on a file that is no table.
llvm::LogicalResult readLatencies(mlir::Operation *op, llvm::StringRef latencies, LatencyTable &known);

/// The number of rows that `op` multiplies with its weight, if it is known: the positions of a convolution.
std::optional<int64_t> getProductRows(mlir::Operation *op);

/// "as measured for 128 x 384 x 384".
std::string describeShape(const LatencyTable::Comparison &found);

} // namespace lathe::pack

#endif // LATHE_DIALECT_PACK_TRANSFORMS_BYLATENCIES_H
