// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "PlanWishes.h"

#include "PlanLayers.h"

#include "lathe/Dialect/NN/Transforms/Remarks.h"
#include "lathe/Dialect/Pack/Transforms/WeightSources.h"
#include "lathe/Support/Diagnostics.h"
#include "lathe/Support/Text.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::pack;

llvm::SmallVector<std::string> pack::getSourceNames(nn::WeightOp weight, const SymbolTable &symbols) {
  return llvm::map_to_vector(getSources(weight, symbols),
                             [](nn::WeightOp source) { return source.getOnnxName().value_or("").str(); });
}

FailureOr<PlanWish> PlanWishes::agree(Operation *op, nn::WeightOp weight, const PlanSubject &subject,
                                      ArrayRef<std::string> names, StringRef kind, Finder find) const {
  auto text = [&](StringRef wish) {
    return wish.empty() || wish == keptFormat ? "as it is" : (subject.phrase + " " + wish).str();
  };
  std::optional<PlanWish> common;
  StringRef commonName;
  bool hasEntry = false;
  for (const std::string &name : names) {
    const PlanEntry *entry = find(name);
    if (entry && (entry->*subject.field).empty()) {
      entry = nullptr; // it speaks of something else
    }
    hasEntry |= entry != nullptr;
    PlanWish wish{entry ? StringRef(entry->*subject.field) : subject.common, entry};
    if (common && common->text != wish.text) {
      refuse(op, weight, (text(common->text) + ", " + text(wish.text)),
             "the " + kind + "s " + quoteText(commonName) + " and " + quoteText(name) +
                 " have become one, of which the first is to be stored " + text(common->text) +
                 ", the second " + text(wish.text));
      return failure();
    }
    if (!common || wish.entry) {
      common = wish;
      commonName = name;
    }
  }
  return hasEntry ? *common : PlanWish();
}

FailureOr<std::optional<PlanWish>> PlanWishes::find(Operation *op, nn::WeightOp weight,
                                                    const PlanSubject &subject, Finder findWeight,
                                                    Finder findNode) const {
  SmallVector<std::string> sources = getSourceNames(weight, symbols), nodes;
  // A product that was several has their nodes; those of other operators have become part of it.
  std::vector<NodeOrigin> origins = originsOf(op->getLoc());
  for (const NodeOrigin &origin : origins) {
    const PlanEntry *entry = findNode(origin.name);
    if (origin.opType == origins.front().opType || (entry && !(entry->*subject.field).empty())) {
      nodes.push_back(origin.name);
    }
  }
  FailureOr<PlanWish> byWeight = agree(op, weight, subject, sources, "weight", findWeight);
  FailureOr<PlanWish> byNode = agree(op, weight, subject, nodes, "node", findNode);
  if (failed(byWeight) || failed(byNode)) {
    return std::optional<PlanWish>();
  }
  if (!byNode->entry || !byWeight->entry) {
    return std::optional(byNode->entry ? *byNode : *byWeight);
  }
  if (byNode->text != byWeight->text) {
    return emitError(placeOf(plan, byNode->entry->position, op->getLoc()))
           << "[E0805] the weight " << quoteText(byWeight->entry->name) << " of node "
           << quoteText(byNode->entry->name) << " is to be stored " << subject.phrase << " both "
           << byWeight->text << " and " << byNode->text;
  }
  return std::optional(*byNode);
}

void PlanWishes::refuse(Operation *op, nn::WeightOp weight, StringRef requested, const Twine &reason) const {
  nn::remarkMissed(op, pass, reason);
  if (!refused) {
    return;
  }
  RefusedRequest &request = refused->emplace_back();
  request.requested = requested.str();
  request.reason = reason.str();
  for (NodeOrigin &origin : originsOf(op->getLoc())) {
    request.nodes.push_back(std::move(origin.name));
  }
  RankedTensorType type = weight.getTensorType();
  request.bytes = type.getNumElements() * nn::getElementBytes(type.getElementType());
  if (auto packed = dyn_cast<PackedTensorType>(weight.getType())) {
    request.became = formatText(packed.getFormat());
  } else {
    llvm::raw_string_ostream(request.became) << type.getElementType();
  }
  for (nn::WeightOp source : getSources(weight, symbols)) {
    request.names.push_back(source.getOnnxName().value_or(source.getSymName()).str());
    request.symbols.push_back(source.getSymName().str());
  }
}
