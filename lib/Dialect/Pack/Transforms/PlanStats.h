// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What a plan says that depends on what the model reads while it runs.

#ifndef LATHE_LIB_DIALECT_PACK_TRANSFORMS_PLANSTATS_H
#define LATHE_LIB_DIALECT_PACK_TRANSFORMS_PLANSTATS_H

#include "lathe/Dialect/NN/Evaluate/Evaluator.h"
#include "lathe/Dialect/Pack/IR/Pack.h"
#include "lathe/Plan/Plan.h"
#include "lathe/Plan/Stats.h"

#include "mlir/IR/BuiltinOps.h"

namespace lathe::pack {

/// What was measured of what an op multiplies with its weight; null if nothing was.
const TensorStats *findTensorStats(const Stats &stats, mlir::Operation *op, nn::WeightOp weight,
                                   const mlir::SymbolTable &symbols);

class StatsApplier {
public:
  /// `stats` may be null.
  StatsApplier(mlir::ModuleOp module, const Plan &plan, const Stats *stats)
      : module(module), symbols(module), evaluator(module), plan(plan), stats(stats) {}

  /// Sets what an op whose weight is to be stored in a format has to know beside it: the attributes
  /// `pack.range`, `pack.migrate` and `pack.gram`. `entries` are those of the plan for its weights. Returns a
  /// reason why it cannot be stored so, which is empty if there is none; failure after an error, at `place`.
  llvm::FailureOr<std::string> apply(mlir::Operation *op, nn::WeightOp weight,
                                     llvm::ArrayRef<const PlanEntry *> entries, FormatAttrInterface format,
                                     mlir::Location place);

private:
  /// One product and what is known of it.
  struct Product {
    mlir::Operation *op;
    nn::WeightOp weight;
    llvm::ArrayRef<const PlanEntry *> entries;
    FormatAttrInterface format;
    const TensorStats *tensor;
    std::string reason = {};
  };

  /// A factor for each channel, all powers of two, so that nothing but what is rounded differs; empty, and a
  /// reason, if there are none.
  std::vector<float> findFactors(Product &product, double strength);
  std::optional<std::array<float, 2>> findRange(Product &product, llvm::ArrayRef<float> factors);
  /// The sums of products as a weight, which no kernel reads.
  mlir::FlatSymbolRefAttr getGram(Product &product, mlir::Location place);

  mlir::ModuleOp module;
  mlir::SymbolTable symbols;
  nn::Evaluator evaluator;
  const Plan &plan;
  const Stats *stats;
  llvm::DenseMap<const TensorStats *, mlir::FlatSymbolRefAttr> grams;
};

} // namespace lathe::pack

#endif // LATHE_LIB_DIALECT_PACK_TRANSFORMS_PLANSTATS_H
