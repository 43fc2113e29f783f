// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Turns what a plan says of weights, nodes and layers of the file into attributes of the ops that they have
/// become.

#include "lathe/Dialect/Pack/Transforms/ApplyPlan.h"

#include "PlanErrors.h"
#include "PlanLayers.h"
#include "PlanSparsity.h"
#include "PlanStats.h"
#include "PlanWishes.h"

#include "lathe/Dialect/NN/Evaluate/Evaluator.h"
#include "lathe/Dialect/NN/Transforms/Remarks.h"
#include "lathe/Dialect/Pack/Transforms/Passes.h"
#include "lathe/Dialect/Pack/Transforms/WeightSources.h"
#include "lathe/Support/Diagnostics.h"
#include "lathe/Support/Text.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"

namespace lathe::pack {
#define GEN_PASS_DEF_APPLYPLANPASS
#include "lathe/Dialect/Pack/Transforms/Passes.h.inc"
} // namespace lathe::pack

using namespace mlir;
using namespace lathe;
using namespace lathe::pack;

static constexpr llvm::StringLiteral kPass = "pack-apply-plan";

namespace {

class PlanApplier {
public:
  PlanApplier(ModuleOp module, const Plan &plan, const Stats *stats, std::vector<RefusedRequest> *refused)
      : module(module), symbols(module), main(module.lookupSymbol<func::FuncOp>("main")), plan(plan),
        stats(stats), statistics(module, plan, stats), wishes(symbols, plan, kPass, refused),
        refused(refused) {}

  LogicalResult run();

private:
  LogicalResult readFormats();
  LogicalResult readFormat(StringRef text, StringRef position);

  LogicalResult applyTo(Operation *op, nn::WeightOp weight);
  void applyToAttention(nn::AttentionOp op);
  /// Whether the format can hold the weight; else, an error for an entry and a remark for a default.
  bool fits(Operation *op, nn::WeightOp weight, const PlanWish &wish, FormatAttrInterface format,
            LogicalResult &result);
  /// Asks for what is wished; whether that is of use: there is such a wish, and it fits.
  FailureOr<bool> take(Operation *op, nn::WeightOp weight, const PlanWish &wish);
  /// Asks for the format, and sets what else it has to know; or says why not.
  LogicalResult request(Operation *op, nn::WeightOp weight, const PlanWish &wish, FormatAttrInterface format);
  /// Whether the file stores the weight of a product in a format. It stays there: of what is asked for, only
  /// rounded rows can be had.
  bool applyToPacked(Operation *op);
  void remarkUnfolded(Operation *op);
  void remarkUnused();

  ModuleOp module;
  SymbolTable symbols;
  func::FuncOp main;
  const Plan &plan;
  const Stats *stats;
  StatsApplier statistics;
  ErrorBudget errors;
  PlanWishes wishes;
  std::vector<RefusedRequest> *refused;
  llvm::StringMap<FormatAttrInterface> formats;
  llvm::StringMap<const PlanEntry *> weightEntries, nodeEntries;
  llvm::DenseSet<const PlanEntry *> used;
  /// The ops of layers that are left out, with the number of the layer.
  llvm::DenseMap<Operation *, int64_t> skipped;
};

} // namespace

//===----------------------------------------------------------------------===//
// Formats
//===----------------------------------------------------------------------===//

LogicalResult PlanApplier::readFormat(StringRef text, StringRef position) {
  if (text.empty() || text == keptFormat || formats.contains(text)) {
    return success();
  }
  std::string why;
  FormatAttrInterface format = parseFormat(module.getContext(), text, why);
  if (!format) {
    InFlightDiagnostic error = emitError(placeOf(plan, position, UnknownLoc::get(module.getContext())))
                               << "[E0806] there is no format " << quoteText(text);
    error.attachNote() << why;
    error.attachNote() << "help: docs/reference/pack-dialect.md has all formats with their parameters";
    return error;
  }
  formats[text] = format;
  return success();
}

LogicalResult PlanApplier::readFormats() {
  if (failed(readFormat(plan.format, "")) || failed(readFormat(plan.getFormatOfMath(), ""))) {
    return failure();
  }
  for (auto [entries, byName] :
       {std::pair(&plan.weights, &weightEntries), std::pair(&plan.nodes, &nodeEntries)}) {
    for (const PlanEntry &entry : *entries) {
      (*byName)[entry.name] = &entry;
      if (failed(readFormat(entry.format, entry.position))) {
        return failure();
      }
    }
  }
  return success();
}

//===----------------------------------------------------------------------===//
// Weights and nodes
//===----------------------------------------------------------------------===//

bool PlanApplier::fits(Operation *op, nn::WeightOp weight, const PlanWish &wish, FormatAttrInterface format,
                       LogicalResult &result) {
  std::string reason;
  {
    ScopedDiagnosticHandler handler(module.getContext(), [&](Diagnostic &diagnostic) {
      reason = diagnostic.str();
      return success();
    });
    if (succeeded(format.verifyTensor([&] { return emitError(op->getLoc()); }, weight.getTensorType()))) {
      return true;
    }
  }
  if (wish.entry) {
    result = emitError(placeOf(plan, wish.entry->position, op->getLoc()))
             << "[E0807] the weight " << quoteText(weight.getOnnxName().value_or(weight.getSymName()))
             << " cannot be stored as " << wish.text << ": " << reason;
  } else {
    wishes.refuse(op, weight, wish.text, "not stored as " + wish.text + ": " + reason);
  }
  return false;
}

LogicalResult PlanApplier::request(Operation *op, nn::WeightOp weight, const PlanWish &wish,
                                   FormatAttrInterface format) {
  auto entries = llvm::map_to_vector(getSourceNames(weight, symbols),
                                     [&](const std::string &name) { return weightEntries.lookup(name); });
  Location place = wish.entry ? placeOf(plan, wish.entry->position, op->getLoc()) : op->getLoc();
  FailureOr<std::string> reason = statistics.apply(op, weight, entries, format, place);
  if (failed(reason)) {
    return failure();
  }
  if (reason->empty()) {
    op->setAttr(PackDialect::kFormatAttr, format);
  } else {
    wishes.refuse(op, weight, wish.text, "not stored as " + wish.text + ": " + *reason);
  }
  return success();
}

FailureOr<bool> PlanApplier::take(Operation *op, nn::WeightOp weight, const PlanWish &wish) {
  if (wish.text.empty() || wish.text == keptFormat) {
    return false;
  }
  FormatAttrInterface format = formats.lookup(wish.text);
  LogicalResult result = success();
  if (!fits(op, weight, wish, format, result)) {
    return failed(result) ? FailureOr<bool>(failure()) : false;
  }
  return failed(request(op, weight, wish, format)) ? FailureOr<bool>(failure()) : true;
}

LogicalResult PlanApplier::applyTo(Operation *op, nn::WeightOp weight) {
  auto findIn = [&](const llvm::StringMap<const PlanEntry *> &entries) {
    return [&](StringRef name) {
      const PlanEntry *entry = entries.lookup(name);
      used.insert(entry);
      return entry;
    };
  };
  PlanSubject subject{&PlanEntry::format, plan.format, "as"};
  FailureOr<std::optional<PlanWish>> found =
      wishes.find(op, weight, subject, findIn(weightEntries), findIn(nodeEntries));
  if (failed(found) || !*found) {
    return failure(failed(found));
  }
  PlanWish wish = **found;
  auto layer = skipped.find(op);
  if (wish.entry && wish.text != keptFormat && layer != skipped.end()) {
    return emitError(placeOf(plan, wish.entry->position, op->getLoc()))
           << "[E0805] " << quoteText(wish.entry->name) << " is to be stored as " << wish.text
           << ", but it is in layer " << layer->second << ", which is left out";
  }
  if (layer != skipped.end()) {
    return success();
  }
  bool isDefault = !wish.entry && isProduct(op);
  FailureOr<bool> taken = take(op, weight, isDefault ? PlanWish{plan.format} : wish);
  if (failed(taken) || *taken || !isDefault) {
    return failure(failed(taken));
  }
  // What is stored in no format can still be computed in another type.
  std::string reason = errors.findReason(op, weight, symbols);
  if (!reason.empty()) {
    wishes.refuse(op, weight, plan.math, "not computed in " + plan.math + ": " + reason);
    return success();
  }
  return failure(failed(take(op, weight, {plan.getFormatOfMath()})));
}

/// It has no weight: what the plan says of its nodes counts, else how products are computed.
void PlanApplier::applyToAttention(nn::AttentionOp op) {
  StringRef wanted = plan.getFormatOfMath();
  for (const NodeOrigin &origin : originsOf(op->getLoc())) {
    if (const PlanEntry *entry = nodeEntries.lookup(origin.name)) {
      wanted = entry->format;
      used.insert(entry);
    }
  }
  if (FormatAttrInterface format = formats.lookup(wanted); format && !skipped.contains(op)) {
    op->setAttr(PackDialect::kFormatAttr, format);
  }
}

bool PlanApplier::applyToPacked(Operation *op) {
  nn::WeightOp weight = getPackedWeight(op, symbols);
  if (!weight) {
    return false;
  }
  FormatAttrInterface wanted = formats.lookup(plan.format),
                      stored = cast<PackedTensorType>(weight.getType()).getFormat();
  if (!wanted || skipped.contains(op)) {
    return true;
  }
  FormatAttrInterface rounding = wanted.roundsRows() ? stored.withRoundedRows() : FormatAttrInterface();
  if (!rounding) {
    wishes.refuse(op, weight, plan.format,
                  "not stored as " + plan.format + ": the file stores its weight as " + formatText(stored));
  } else if (rounding != stored) {
    op->setAttr(PackDialect::kFormatAttr, rounding);
  }
  return true;
}

/// A product of a weight that is arranged anew in every run.
void PlanApplier::remarkUnfolded(Operation *op) {
  Operation *source = op->getOperand(1).getDefiningOp(), *last = source;
  while (source && nn::isView(source)) {
    source = source->getOperand(0).getDefiningOp();
  }
  auto use = dyn_cast_or_null<nn::WeightUseOp>(source);
  auto weight = use ? symbols.lookup<nn::WeightOp>(use.getWeight()) : nn::WeightOp();
  if (weight && !plan.format.empty() && plan.format != keptFormat) {
    wishes.refuse(op, weight, plan.format,
                  "not stored as " + plan.format + ": its weight is not folded, but read through " +
                      last->getName().getStringRef());
  }
}

/// Entries that have come to nothing: the weight was folded into others, or no op reads it that could take it
/// in another format.
void PlanApplier::remarkUnused() {
  for (auto [entries, kind] : {std::pair(&plan.weights, "weight"), std::pair(&plan.nodes, "node")}) {
    for (const PlanEntry &entry : *entries) {
      const std::string &requested = entry.format.empty() ? entry.sparsity : entry.format;
      if (!used.contains(&entry) && requested != keptFormat) {
        emitRemark(NameLoc::get(StringAttr::get(module.getContext(), entry.name)))
            << "[" << kPass << "] missed: the " << kind << " is not stored as " << requested
            << ": no product or lookup has come of it";
        if (refused) {
          RefusedRequest &request = refused->emplace_back();
          (StringRef(kind) == "weight" ? request.names : request.nodes) = {entry.name};
          request.requested = requested;
          request.reason = "no product or lookup has come of it";
        }
      }
    }
  }
}

LogicalResult PlanApplier::run() {
  if (failed(readFormats()) || (main && failed(applyToLayers(main, plan, stats, skipped)))) {
    return failure();
  }
  auto isSkipped = [&](Operation *op) { return skipped.contains(op); };
  if (plan.format.empty() && plan.math.empty() && plan.weights.empty() && plan.nodes.empty()) {
    return applySparsity(module, plan, stats, isSkipped, refused);
  }
  FailureOr<ErrorBudget> budget = ErrorBudget::find(module, plan, stats);
  if (failed(budget)) {
    return failure();
  }
  errors = std::move(*budget);
  WalkResult walked = module.walk([&](Operation *op) {
    if (auto attention = dyn_cast<nn::AttentionOp>(op)) {
      applyToAttention(attention);
      return WalkResult::advance();
    }
    nn::WeightOp weight = getWeight(op, symbols);
    if (!weight && isProduct(op) && !applyToPacked(op)) {
      remarkUnfolded(op);
    }
    return weight && failed(applyTo(op, weight)) ? WalkResult::interrupt() : WalkResult::advance();
  });
  remarkUnused();
  return failure(walked.wasInterrupted() || failed(applySparsity(module, plan, stats, isSkipped, refused)));
}

namespace {

struct ApplyPlanPass : pack::impl::ApplyPlanPassBase<ApplyPlanPass> {
  using ApplyPlanPassBase::ApplyPlanPassBase;
  ApplyPlanPass(Plan plan, const Stats *stats, std::vector<RefusedRequest> *refused)
      : known(std::move(plan)), knownStats(stats), refused(refused) {}
  ApplyPlanPass(const ApplyPlanPass &other)
      : ApplyPlanPassBase(other), known(other.known), knownStats(other.knownStats), refused(other.refused) {}

  /// What an option names; none where it names nothing, or after an error.
  template <typename T>
  std::optional<T> read(StringRef path) {
    if (path.empty()) {
      return std::nullopt;
    }
    llvm::Expected<T> read = T::read(path);
    if (read) {
      return std::move(*read);
    }
    for (const ModelError &error : takeModelErrors(read.takeError())) {
      emitError(UnknownLoc::get(&getContext())) << "[" << infoOf(error.code).name << "] " << error.message;
    }
    signalPassFailure();
    return std::nullopt;
  }

  void runOnOperation() override {
    std::optional<Plan> ownPlan = known ? known : read<Plan>(plan);
    std::optional<Stats> ownStats = read<Stats>(stats);
    bool isRead = (known || plan.empty() || ownPlan) && (stats.empty() || ownStats);
    const Stats *measured = ownStats ? &*ownStats : knownStats;
    if (isRead && failed(PlanApplier(getOperation(), ownPlan.value_or(Plan()), measured, refused).run())) {
      signalPassFailure();
    }
  }

  std::optional<Plan> known;
  const Stats *knownStats = nullptr;
  std::vector<RefusedRequest> *refused = nullptr;
};

} // namespace

std::unique_ptr<Pass> pack::createApplyPlanPass(Plan plan, const Stats *stats,
                                                std::vector<RefusedRequest> *refused) {
  return std::make_unique<ApplyPlanPass>(std::move(plan), stats, refused);
}
