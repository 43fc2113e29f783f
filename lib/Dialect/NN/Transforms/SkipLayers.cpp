// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Leaves out layers, or parts of them: their users read what the layer got instead of what it made of it.

#include "FusionUtils.h"

#include "lathe/Dialect/NN/Transforms/Layers.h"
#include "lathe/Dialect/NN/Transforms/Passes.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/SymbolTable.h"
#include "llvm/ADT/StringSet.h"

using namespace mlir;
using namespace lathe::nn;

namespace lathe::nn {
#define GEN_PASS_DEF_SKIPLAYERSPASS
#include "lathe/Dialect/NN/Transforms/Passes.h.inc"
} // namespace lathe::nn

static constexpr llvm::StringLiteral kPass = "nn-skip-layers";

namespace {

struct SkipLayersPass : lathe::nn::impl::SkipLayersPassBase<SkipLayersPass> {
  void runOnOperation() override {
    auto main = getOperation().lookupSymbol<func::FuncOp>("main");
    auto requests = main ? main->getAttrOfType<DictionaryAttr>(kSkipAttr) : DictionaryAttr();
    if (!requests) {
      return;
    }
    main->removeAttr(kSkipAttr);
    layers = findLayers(main);
    SmallVector<std::pair<int64_t, StringRef>> skipped;
    for (NamedAttribute request : requests) {
      auto numbers = dyn_cast<DenseI64ArrayAttr>(request.getValue());
      for (int64_t number : numbers ? numbers.asArrayRef() : ArrayRef<int64_t>()) {
        skipped.emplace_back(number, request.getName().getValue());
      }
    }
    // From the last: what a layer gets is then still the result of an op that is there.
    llvm::sort(skipped, std::greater<>());
    for (auto [number, part] : skipped) {
      if (number < 0 || number >= int64_t(layers.size())) {
        remarkMissed(main, kPass,
                     "there is no layer " + Twine(number) + ", the model has " + Twine(layers.size()));
      } else {
        skip(number, part);
      }
    }
    eraseDeadOps(main);
    eraseDeadWeights();
  }

private:
  void skip(int64_t number, StringRef part) {
    Layer &layer = layers[number];
    Operation *last = layer.ops.back();
    auto refuse = [&](const Twine &reason) {
      remarkMissed(last, kPass, "layer " + Twine(number) + " stays: " + reason);
    };
    if (!layer.obstacle.empty()) {
      return refuse(layer.obstacle);
    }
    if (part == "all") {
      layer.output.replaceAllUsesWith(layer.input);
      return remarkPassed(last, kPass, "left out layer " + Twine(number));
    }
    bool isAttention = part == "attention";
    SmallVector<Sublayer> parts = llvm::to_vector(llvm::make_filter_range(
        layer.sublayers, [&](const Sublayer &sublayer) { return sublayer.isAttention == isAttention; }));
    if (parts.empty()) {
      return refuse("no part of it is known to be its " +
                    Twine(isAttention ? "attention" : "feed-forward part"));
    }
    for (Sublayer &sublayer : llvm::reverse(parts)) {
      sublayer.output.replaceAllUsesWith(sublayer.input);
    }
    remarkPassed(last, kPass,
                 "left out the " + Twine(isAttention ? "attention" : "feed-forward part") + " of layer " +
                     Twine(number));
  }

  /// The weights that nothing reads any more, and those that only these were computed from.
  void eraseDeadWeights() {
    ModuleOp module = getOperation();
    for (bool changed = true; changed;) {
      changed = false;
      llvm::StringSet<> used;
      module.walk([&](WeightUseOp use) { used.insert(use.getWeight()); });
      for (auto weight : llvm::make_early_inc_range(module.getOps<WeightOp>())) {
        if (weight.isPrivate() && !used.contains(weight.getSymName())) {
          weight.erase();
          changed = true;
        }
      }
    }
  }

  SmallVector<Layer> layers;
};

} // namespace
