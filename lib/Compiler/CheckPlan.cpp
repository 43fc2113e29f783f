// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "CheckPlan.h"

#include "lathe/Dialect/NN/IR/NN.h"
#include "lathe/Dialect/NN/Transforms/Layers.h"
#include "lathe/Dialect/Onnx/IR/Onnx.h"
#include "lathe/Dialect/Pack/Transforms/WeightSources.h"
#include "lathe/Support/Diagnostics.h"
#include "lathe/Support/Error.h"
#include "lathe/Support/Text.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/DialectResourceBlobManager.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/xxhash.h"

using namespace mlir;
using namespace lathe;
using llvm::Error;

namespace {

/// What a plan may name.
struct ModelNames {
  llvm::StringMap<Operation *> weights; // or constants, which are weights of few bytes
  llvm::StringSet<> nodes;

  explicit ModelNames(ModuleOp model) {
    for (auto weight : model.getOps<nn::WeightOp>()) {
      if (weight.getOnnxName()) {
        weights[*weight.getOnnxName()] = weight;
      }
    }
    model.walk([&](Operation *op) {
      if (isa<arith::ConstantOp>(op)) {
        if (auto name = dyn_cast<NameLoc>(op->getLoc())) {
          weights.try_emplace(name.getName().getValue(), op);
        }
        return;
      }
      for (const NodeOrigin &origin : originsOf(op->getLoc())) {
        nodes.insert(origin.name);
      }
    });
  }
};

} // namespace

/// Up to three of `names` that `wanted` may have meant.
template <typename Names>
static std::string suggest(StringRef wanted, const Names &names) {
  size_t most = std::max<size_t>(2, wanted.size() / 4);
  std::vector<std::pair<size_t, StringRef>> near;
  for (const auto &entry : names) {
    StringRef name = entry.getKey();
    size_t distance = wanted.edit_distance(name, /*AllowReplacements=*/true, most);
    // What one is a part of is as near as a typing error or two.
    bool isPart = wanted.size() > 3 && (name.contains(wanted) || wanted.contains(name)) && name.size() > 3;
    if (distance <= most || isPart) {
      near.emplace_back(isPart ? std::min<size_t>(distance, 2) : distance, name);
    }
  }
  llvm::sort(near);
  std::string text;
  for (const auto &[distance, name] : ArrayRef(near).take_front(3)) {
    text += (text.empty() ? "" : ", ") + quoteText(name);
  }
  return text;
}

template <typename Names>
static Error checkNames(const Plan &plan, ArrayRef<PlanEntry> entries, StringRef kind, const Names &names) {
  for (const PlanEntry &entry : entries) {
    if (!names.contains(entry.name)) {
      std::string near = suggest(entry.name, names);
      return modelError(ErrorCode::E0804, "the model has no " + kind + " " + quoteText(entry.name) +
                                              (near.empty() ? "" : ", did you mean " + near + "?"))
          .file(plan.file)
          .position(entry.position);
    }
  }
  return Error::success();
}

Error lathe::checkNode(StringRef node, ModuleOp model) {
  ModelNames names(model);
  if (names.nodes.contains(node)) {
    return Error::success();
  }
  std::string near = suggest(node, names.nodes);
  return modelError(ErrorCode::E0001, "the model has no node " + quoteText(node) +
                                          (near.empty() ? "" : ", did you mean " + near + "?"));
}

std::string lathe::fingerprintOf(Operation *op) {
  auto weight = dyn_cast<nn::WeightOp>(op);
  ArrayRef<char> bytes;
  if (auto constant = dyn_cast<arith::ConstantOp>(op)) {
    if (auto dense = dyn_cast<DenseElementsAttr>(constant.getValue())) {
      bytes = dense.getRawData();
    }
  } else if (auto dense = weight ? dyn_cast_or_null<DenseElementsAttr>(weight.getValueAttr()) : nullptr) {
    bytes = dense.getRawData();
  } else if (auto resource =
                 weight ? dyn_cast_or_null<DenseResourceElementsAttr>(weight.getValueAttr()) : nullptr) {
    AsmResourceBlob *blob = resource.getRawHandle().getBlob();
    bytes = blob ? blob->getData() : bytes;
  }
  if (bytes.empty()) {
    return "";
  }
  return llvm::utohexstr(llvm::xxh3_64bits(StringRef(bytes.data(), bytes.size())), /*LowerCase=*/true,
                         /*Width=*/16);
}

Error lathe::checkPlan(const Plan &plan, ModuleOp model) {
  if (plan.empty() && plan.model.empty()) {
    return Error::success();
  }
  auto fingerprint = model->getAttrOfType<StringAttr>(onnx::OnnxDialect::kFingerprintAttr);
  if (!plan.model.empty() && fingerprint && plan.model != fingerprint.getValue()) {
    return modelError(ErrorCode::E0803, "the plan is for a model of fingerprint " + plan.model +
                                            ", this one's is " + fingerprint.getValue())
        .file(plan.file)
        .help("make the plan again; or, if what it asks for still holds, leave out the field \"model\"");
  }
  ModelNames names(model);
  if (Error error = checkNames(plan, plan.weights, "weight", names.weights)) {
    return error;
  }
  if (Error error = checkNames(plan, plan.nodes, "node", names.nodes)) {
    return error;
  }
  for (const PlanLayer &layer : plan.layers) {
    std::vector<PlanEntry> entries;
    for (const std::string &node : layer.nodes) {
      PlanEntry &entry = entries.emplace_back();
      entry.name = node;
      entry.position = layer.position;
    }
    if (Error error = checkNames(plan, entries, "node", names.nodes)) {
      return error;
    }
  }
  for (const PlanEntry &entry : plan.weights) {
    if (entry.fingerprint.empty()) {
      continue;
    }
    std::string has = fingerprintOf(names.weights.lookup(entry.name));
    if (!has.empty() && has != entry.fingerprint) {
      return modelError(ErrorCode::E0803, "the plan is for a weight " + quoteText(entry.name) +
                                              " of fingerprint " + entry.fingerprint + ", the model's is " +
                                              has)
          .file(plan.file)
          .position(entry.position)
          .help("make the plan again; or, if what it asks for still holds, leave out the fingerprints");
    }
  }
  return Error::success();
}

Error lathe::checkStats(const Stats &stats, ModuleOp model) {
  auto fingerprint = model->getAttrOfType<StringAttr>(onnx::OnnxDialect::kFingerprintAttr);
  if (fingerprint && stats.model != fingerprint.getValue()) {
    return modelError(ErrorCode::E0809, "the statistics are of a model of fingerprint " +
                                            quoteText(stats.model) + ", this one's is " +
                                            fingerprint.getValue())
        .file(stats.file)
        .help("`lathe calibrate` this model");
  }
  return Error::success();
}

/// Why a layer is left out for a speed-up.
static std::string explainChoice(double speedup, std::optional<double> cosine) {
  if (cosine) {
    return llvm::formatv("it changes little, cosine {0:f4}, for a speed-up of {1}", *cosine, speedup);
  }
  return llvm::formatv("evenly, for a speed-up of {0}", speedup);
}

Plan lathe::resolvePlan(const Plan &plan, const Stats *stats, ModuleOp module) {
  Plan resolved;
  resolved.why = plan.why;
  resolved.calibration = plan.calibration;
  if (auto fingerprint = module->getAttrOfType<StringAttr>(onnx::OnnxDialect::kFingerprintAttr)) {
    resolved.model = fingerprint.str();
  }
  // What the plan says in words stays with what it says it of.
  llvm::StringMap<PlanEntry> asked;
  for (const PlanEntry &entry : plan.weights) {
    asked[entry.name] = entry;
  }
  SymbolTable symbols(module);
  llvm::StringSet<> known;
  for (const pack::Request &request : pack::collectRequests(module)) {
    for (nn::WeightOp weight : pack::getSources(request.weight, symbols)) {
      if (!weight.getOnnxName() || !known.insert(*weight.getOnnxName()).second) {
        continue;
      }
      PlanEntry &entry = resolved.weights.emplace_back();
      entry.name = weight.getOnnxName()->str();
      entry.format = pack::formatText(request.format);
      entry.fingerprint = fingerprintOf(weight);
      PlanEntry said = asked.lookup(entry.name);
      entry.why = said.why;
      if (request.op->hasAttr(pack::PackDialect::kMigrateAttr)) {
        entry.migrate = said.migrate ? said.migrate : plan.migrate;
      }
      if (request.op->hasAttr(pack::PackDialect::kGramAttr)) {
        entry.rounding = "compensated";
      }
      if (auto range = request.op->getAttrOfType<DenseF32ArrayAttr>(pack::PackDialect::kRangeAttr)) {
        entry.range = {range[0], range[1]};
      }
    }
  }
  for (const pack::SparsityRequest &request : pack::collectSparsityRequests(module)) {
    for (nn::WeightOp weight : pack::getSources(request.weight, symbols)) {
      if (!weight.getOnnxName()) {
        continue;
      }
      auto same = llvm::find_if(resolved.weights,
                                [&](const PlanEntry &entry) { return entry.name == *weight.getOnnxName(); });
      if (same == resolved.weights.end()) {
        PlanEntry entry;
        entry.name = weight.getOnnxName()->str();
        entry.fingerprint = fingerprintOf(weight);
        entry.why = asked.lookup(entry.name).why;
        same = resolved.weights.insert(resolved.weights.end(), std::move(entry));
      }
      same->sparsity = pack::sparsityText(request.sparsity);
    }
  }
  // What is to be kept out of defaults that are not there any more needs no entry.
  auto main = module.lookupSymbol<func::FuncOp>("main");
  auto skipped = main ? main->getAttrOfType<DictionaryAttr>(nn::kSkipAttr) : DictionaryAttr();
  if (!skipped) {
    return resolved;
  }
  SmallVector<nn::Layer> layers = nn::findLayers(main);
  for (NamedAttribute attribute : skipped) {
    for (int64_t number : cast<DenseI64ArrayAttr>(attribute.getValue()).asArrayRef()) {
      if (number < 0 || number >= int64_t(layers.size())) {
        continue;
      }
      PlanLayer &layer = resolved.layers.emplace_back();
      layer.layer = number;
      layer.skip = parseSkippedPart(attribute.getName()).value_or(SkippedPart::All);
      for (Operation *op : {layers[number].ops.front(), layers[number].ops.back()}) {
        std::vector<NodeOrigin> origins = originsOf(op->getLoc());
        if (!origins.empty() && !origins.front().name.empty()) {
          layer.nodes.push_back(origins.front().name);
        }
      }
      auto listed = llvm::find_if(plan.layers, [&](const PlanLayer &l) { return l.layer == number; });
      layer.why = listed != plan.layers.end() ? listed->why
                  : plan.speedup
                      ? explainChoice(*plan.speedup, stats ? stats->findCosine(number) : std::nullopt)
                      : std::string();
    }
  }
  llvm::sort(resolved.layers, [](const PlanLayer &a, const PlanLayer &b) { return a.layer < b.layer; });
  return resolved;
}
