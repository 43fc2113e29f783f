// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "PlanWishes.h"

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
                                      ArrayRef<std::string> names, StringRef kind,
                                      llvm::function_ref<const PlanEntry *(StringRef)> find) const {
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
