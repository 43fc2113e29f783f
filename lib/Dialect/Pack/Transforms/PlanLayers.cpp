// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "PlanLayers.h"

#include "lathe/Dialect/NN/Transforms/Layers.h"
#include "lathe/Support/Diagnostics.h"
#include "lathe/Support/Text.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/Support/FormatVariadic.h"

#include <cmath>

using namespace mlir;
using namespace lathe;
using namespace lathe::pack;

Location pack::placeOf(const Plan &plan, StringRef position, Location beside) {
  auto [line, column] = position.split(':');
  unsigned lineNumber = 0, columnNumber = 0;
  if (line.getAsInteger(10, lineNumber) || column.getAsInteger(10, columnNumber)) {
    return beside;
  }
  MLIRContext *context = beside.getContext();
  // The plan first: that is what is to be changed.
  return FusedLoc::get(context, {FileLineColLoc::get(context, plan.file, lineNumber, columnNumber), beside});
}

static bool isIn(const nn::Layer &layer, StringRef node) {
  return llvm::any_of(layer.ops, [&](Operation *op) {
    return llvm::any_of(originsOf(op->getLoc()), [&](const NodeOrigin &o) { return o.name == node; });
  });
}

static LogicalResult checkLayer(const Plan &plan, const PlanLayer &layer, ArrayRef<nn::Layer> layers,
                                MLIRContext *context) {
  Location loc = placeOf(plan, layer.position, UnknownLoc::get(context));
  if (layer.layer >= int64_t(layers.size())) {
    return emitError(loc) << "[E0804] the model has no layer " << layer.layer << ", it has " << layers.size()
                          << ", counted from 0";
  }
  for (const std::string &node : layer.nodes) {
    if (isIn(layers[layer.layer], node)) {
      continue;
    }
    InFlightDiagnostic error = emitError(loc)
                               << "[E0804] node " << quoteText(node) << " is not in layer " << layer.layer;
    for (auto [number, other] : llvm::enumerate(layers)) {
      if (isIn(other, node)) {
        error.attachNote() << "it is in layer " << number;
      }
    }
    return error;
  }
  return success();
}

/// Of `candidates` those that change what they get least, if that was measured for all of them; else evenly.
static SmallVector<int64_t> chooseAmong(ArrayRef<int64_t> candidates, size_t wanted, const Stats *stats) {
  std::vector<std::pair<double, int64_t>> byCosine;
  for (int64_t number : candidates) {
    std::optional<double> cosine = stats ? stats->findCosine(number) : std::nullopt;
    if (cosine) {
      byCosine.emplace_back(-*cosine, number);
    }
  }
  SmallVector<int64_t> chosen;
  if (byCosine.size() == candidates.size()) {
    llvm::sort(byCosine);
    for (auto [cosine, number] : ArrayRef(byCosine).take_front(wanted)) {
      chosen.push_back(number);
    }
    return chosen;
  }
  for (size_t i = 0; i < wanted; ++i) {
    chosen.push_back(candidates[(2 * i + 1) * candidates.size() / (2 * wanted)]);
  }
  return chosen;
}

/// Layers that are left out for a speed-up are as many as it needs if all time goes to layers, and never the
/// first or the last.
static LogicalResult chooseLayers(const Plan &plan, const Stats *stats, ArrayRef<nn::Layer> layers,
                                  MLIRContext *context, SmallVectorImpl<PlanLayer> &chosen) {
  int64_t count = layers.size();
  SmallVector<int64_t> candidates;
  std::string obstacle;
  for (int64_t number = 0; number < count; ++number) {
    if (!layers[number].obstacle.empty()) {
      obstacle = layers[number].obstacle;
    } else if (number > 0 && number + 1 < count) {
      candidates.push_back(number);
    }
  }
  // What a rounding error makes of a whole number is that number.
  int64_t wanted = count - int64_t(std::floor(double(count) / *plan.speedup + 1e-9)),
          most = candidates.size();
  if (count == 0 || wanted > most) {
    InFlightDiagnostic error = emitError(UnknownLoc::get(context))
                               << "[E0808] the model has " << count << " layers, of which " << most
                               << " can be left out";
    if (count > 0) {
      error << "; for a speed-up of " << llvm::formatv("{0}", *plan.speedup).str() << " it has to be "
            << wanted;
    }
    if (!obstacle.empty()) {
      error.attachNote() << "a layer stays: " << obstacle;
    }
    return error;
  }
  for (int64_t number : chooseAmong(candidates, wanted, stats)) {
    chosen.emplace_back().layer = number;
  }
  return success();
}

LogicalResult pack::applyToLayers(func::FuncOp main, const Plan &plan, const Stats *stats,
                                  llvm::DenseMap<Operation *, int64_t> &skipped) {
  MLIRContext *context = main.getContext();
  if (plan.layers.empty() && !plan.speedup) {
    return success();
  }
  SmallVector<nn::Layer> layers = nn::findLayers(main);
  SmallVector<PlanLayer> chosen(plan.layers.begin(), plan.layers.end());
  for (const PlanLayer &layer : plan.layers) {
    if (failed(checkLayer(plan, layer, layers, context))) {
      return failure();
    }
  }
  if (plan.speedup && failed(chooseLayers(plan, stats, layers, context, chosen))) {
    return failure();
  }
  Builder builder(context);
  NamedAttrList request;
  for (SkippedPart part : {SkippedPart::All, SkippedPart::Attention, SkippedPart::FeedForward}) {
    SmallVector<int64_t> numbers;
    for (const PlanLayer &layer : chosen) {
      if (layer.skip == part) {
        numbers.push_back(layer.layer);
      }
    }
    if (!numbers.empty()) {
      llvm::sort(numbers);
      request.append(skippedPartName(part), builder.getDenseI64ArrayAttr(numbers));
    }
  }
  main->setAttr(nn::kSkipAttr, request.getDictionary(context));
  for (const PlanLayer &layer : chosen) {
    if (layer.skip == SkippedPart::All && layers[layer.layer].obstacle.empty()) {
      for (Operation *op : layers[layer.layer].ops) {
        skipped[op] = layer.layer;
      }
    }
  }
  return success();
}
