// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Dialect/NN/Transforms/Layers.h"

#include "RepeatedBlocks.h"

#include "lathe/Support/Diagnostics.h"
#include "lathe/Support/Text.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::nn;

/// Whether one of `ops` adds something that they compute to `hidden`.
static bool isAddedTo(Value hidden, ArrayRef<Operation *> ops) {
  return llvm::any_of(hidden.getUsers(), [&](Operation *user) {
    auto add = dyn_cast<BinaryOp>(user);
    if (!add || add.getKind() != BinaryKind::Add || !llvm::is_contained(ops, user)) {
      return false;
    }
    Value other = add.getLhs() == hidden ? add.getRhs() : add.getLhs();
    return other.getDefiningOp() && llvm::is_contained(ops, other.getDefiningOp());
  });
}

static std::string nameOf(Operation *op) {
  std::vector<NodeOrigin> origins = originsOf(op->getLoc());
  return origins.empty() || origins.front().name.empty() ? op->getName().getStringRef().str()
                                                         : quoteText(origins.front().name);
}

static std::string typeText(Value value) {
  std::string text;
  llvm::raw_string_ostream(text) << value.getType();
  return text;
}

/// Finds out where the hidden state passes within a layer: after an op whose result is all that is read
/// behind it of what came before, and to which something is added there.
static SmallVector<Sublayer> splitLayer(const Layer &layer) {
  SmallVector<Sublayer> parts;
  llvm::DenseMap<Value, size_t> lastUse; // of the input and of the results, among the layer's own ops
  for (auto [number, op] : llvm::enumerate(layer.ops)) {
    for (Value operand : op->getOperands()) {
      lastUse[operand] = number;
    }
  }
  Value input = layer.input;
  size_t first = 0, live = lastUse.lookup(input); // the last op that reads what came before `number`
  for (auto [number, op] : llvm::enumerate(layer.ops)) {
    Value result = op->getResult(0);
    bool isLast = result == layer.output;
    ArrayRef<Operation *> rest = ArrayRef(layer.ops).drop_front(number + 1);
    bool isCut = live <= number && result.getType() == input.getType() && (isLast || isAddedTo(result, rest));
    ArrayRef<Operation *> own = ArrayRef(layer.ops).slice(first, number + 1 - first);
    if (isCut && isAddedTo(input, own)) {
      bool isAttention = llvm::any_of(own, [](Operation *o) { return isa<AttentionOp>(o); });
      parts.push_back({input, result, isAttention});
      input = result;
      first = number + 1;
    }
    live = std::max(live, lastUse.lookup(result));
  }
  // Something is left behind the last place, or all is one part.
  bool isWhole = !parts.empty() && parts.back().output == layer.output && parts.size() > 1;
  return isWhole ? parts : SmallVector<Sublayer>();
}

/// What keeps one instance from being left out.
static std::string findObstacle(const Layer &layer) {
  if (layer.input.getType() != layer.output.getType()) {
    return "it makes " + typeText(layer.output) + " of " + typeText(layer.input);
  }
  if (!isAddedTo(layer.input, layer.ops)) {
    return "what it computes is not added to what it gets";
  }
  for (Operation *op : layer.ops) {
    bool isReadOutside =
        llvm::any_of(op->getUsers(), [&](Operation *user) { return !llvm::is_contained(layer.ops, user); });
    if (op->getResult(0) != layer.output && isReadOutside) {
      return "the result of " + nameOf(op) + " is read outside of it";
    }
  }
  return "";
}

static Layer makeLayer(const RepeatedBlocks &blocks, const RepeatedLayer &repeated, size_t instance) {
  const Repeat &repeat = repeated.repeat;
  size_t first = repeat.start + instance * repeat.period;
  Layer layer;
  for (size_t i = 0; i < repeat.period; ++i) {
    layer.ops.push_back(blocks.getOp(first + i));
  }
  if (repeated.carried.size() != 1) {
    layer.obstacle = (Twine(repeated.carried.size()) + " tensors pass from layer to layer").str();
    return layer;
  }
  size_t passed = repeated.carried.front();
  layer.input =
      instance == 0 ? repeated.entering.front() : blocks.getOp(first - repeat.period + passed)->getResult(0);
  layer.output = layer.ops[passed]->getResult(0);
  layer.obstacle = findObstacle(layer);
  if (layer.obstacle.empty()) {
    layer.sublayers = splitLayer(layer);
  }
  return layer;
}

SmallVector<Layer> lathe::nn::findLayers(func::FuncOp main) {
  hoistShared(main.getBody().front());
  RepeatedBlocks blocks(main, RepeatedBlocks::Requests::DoNotCount);
  std::vector<std::pair<size_t, SmallVector<Layer>>> groups;
  while (true) {
    // Of the places where a layer may begin, the first at which most instances can be left out.
    std::optional<RepeatedLayer> best;
    SmallVector<Layer> bestLayers;
    size_t fewest = SIZE_MAX;
    SmallVector<Repeat> repeats = blocks.findRepeats();
    for (const Repeat &repeat : repeats) {
      std::optional<RepeatedLayer> repeated = blocks.match(repeat);
      if (!repeated) {
        continue;
      }
      SmallVector<Layer> layers;
      for (size_t i = 0; i < repeat.count; ++i) {
        layers.push_back(makeLayer(blocks, *repeated, i));
      }
      size_t obstacles = llvm::count_if(layers, [](const Layer &l) { return !l.obstacle.empty(); });
      if (obstacles < fewest) {
        fewest = obstacles;
        bestLayers = std::move(layers);
        best = std::move(repeated);
      }
    }
    if (repeats.empty()) {
      break;
    }
    if (best) {
      groups.emplace_back(best->repeat.start, std::move(bestLayers));
      blocks.exclude(best->repeat);
    } else {
      // What repeats but is not wired alike is no layer, and hides what repeats less.
      blocks.exclude(repeats.front());
    }
  }
  llvm::sort(groups, [](const auto &a, const auto &b) { return a.first < b.first; });
  SmallVector<Layer> all;
  for (auto &[start, layers] : groups) {
    llvm::append_range(all, std::move(layers));
  }
  return all;
}
