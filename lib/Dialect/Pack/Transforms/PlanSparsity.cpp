// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What a plan says of zeros in weights, as attributes of the products that read them.

#include "PlanSparsity.h"

#include "PlanStats.h"
#include "PlanWishes.h"

#include "lathe/Dialect/NN/Evaluate/Evaluator.h"
#include "lathe/Dialect/NN/Transforms/Remarks.h"
#include "lathe/Dialect/Pack/Transforms/WeightSources.h"
#include "lathe/Plan/Sparsity.h"
#include "lathe/Support/Diagnostics.h"
#include "lathe/Support/Text.h"

#include "llvm/ADT/STLExtras.h"

#include <cmath>

using namespace mlir;
using namespace lathe;
using namespace lathe::pack;

static constexpr llvm::StringLiteral kPass = "pack-prune-weights";

namespace {

class SparsityApplier {
public:
  SparsityApplier(ModuleOp module, const Plan &plan, const Stats *stats, std::vector<RefusedRequest> *refused)
      : module(module), symbols(module), plan(plan), stats(stats), wishes(symbols, plan, kPass, refused) {}

  LogicalResult applyTo(Operation *op, nn::WeightOp weight);

private:
  /// A weight of the norms of what the rows of `weight` are multiplied with; null if they are not known.
  FlatSymbolRefAttr getNorms(Operation *op, nn::WeightOp weight);

  ModuleOp module;
  SymbolTable symbols;
  const Plan &plan;
  const Stats *stats;
  PlanWishes wishes;
};

} // namespace

FlatSymbolRefAttr SparsityApplier::getNorms(Operation *op, nn::WeightOp weight) {
  const TensorStats *tensor = stats ? findTensorStats(*stats, op, weight, symbols) : nullptr;
  RankedTensorType type = weight.getTensorType();
  if (!tensor || type.getRank() < 2 || tensor->getChannels() != getMatrixRows(type)) {
    return {};
  }
  std::vector<float> norms(tensor->getChannels());
  auto factors = op->getAttrOfType<DenseF32ArrayAttr>(PackDialect::kMigrateAttr);
  for (auto [channel, norm] : llvm::enumerate(norms)) {
    // What scales are moved into a weight its other operand is divided by.
    norm = float(tensor->getNorm(channel)) / (factors ? factors[channel] : 1);
    if (!std::isfinite(norm)) {
      return {};
    }
  }
  OpBuilder builder(op->getContext());
  builder.setInsertionPointToStart(module.getBody());
  auto normsType = RankedTensorType::get({int64_t(norms.size())}, builder.getF32Type());
  auto result = nn::WeightOp::create(builder, op->getLoc(), "norms", normsType,
                                     DenseElementsAttr::get(normsType, ArrayRef(norms)));
  result.setSymVisibility("private");
  symbols.insert(result);
  return FlatSymbolRefAttr::get(result.getSymNameAttr());
}

LogicalResult SparsityApplier::applyTo(Operation *op, nn::WeightOp weight) {
  auto findIn = [](ArrayRef<PlanEntry> entries) {
    return [entries](StringRef name) {
      const auto *entry = llvm::find_if(entries, [&](const PlanEntry &e) { return e.name == name; });
      return entry == entries.end() ? nullptr : entry;
    };
  };
  PlanSubject subject{&PlanEntry::sparsity, plan.sparsity, "pruned to"};
  FailureOr<std::optional<PlanWish>> found =
      wishes.find(op, weight, subject, findIn(plan.weights), findIn(plan.nodes));
  if (failed(found) || !*found) {
    return failure(failed(found));
  }
  StringRef wish = (*found)->entry ? (*found)->text : StringRef(plan.sparsity);
  if (wish.empty() || wish == keptFormat) {
    return success();
  }
  std::string why;
  std::optional<PlanSparsity> sparsity = PlanSparsity::parse(wish, why);
  if (!sparsity) {
    return op->emitError() << "[E0801] " << why << ", found " << quoteText(wish);
  }
  auto attribute = SparsityAttr::get(op->getContext(), ZeroPattern(sparsity->pattern), sparsity->zeros);
  op->setAttr(PackDialect::kSparsityAttr, attribute);
  if (FlatSymbolRefAttr norms = getNorms(op, weight)) {
    op->setAttr(PackDialect::kNormsAttr, norms);
  }
  return success();
}

LogicalResult pack::applySparsity(ModuleOp module, const Plan &plan, const Stats *stats,
                                  llvm::function_ref<bool(Operation *)> skipped,
                                  std::vector<RefusedRequest> *refused) {
  auto wantsSparsity = [](const PlanEntry &entry) { return !entry.sparsity.empty(); };
  if (plan.sparsity.empty() && llvm::none_of(plan.weights, wantsSparsity) &&
      llvm::none_of(plan.nodes, wantsSparsity)) {
    return success();
  }
  SymbolTable symbols(module);
  SparsityApplier applier(module, plan, stats, refused);
  WalkResult walked = module.walk([&](Operation *op) {
    nn::WeightOp weight = isProduct(op) && !skipped(op) ? getWeight(op, symbols) : nn::WeightOp();
    return weight && failed(applier.applyTo(op, weight)) ? WalkResult::interrupt() : WalkResult::advance();
  });
  return failure(walked.wasInterrupted());
}
