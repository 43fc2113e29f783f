// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Finds blocks that are equal but for their weights and makes one function of them.
///
/// The tensor ops of `@main`, in order, are a sequence of keys (name, attributes, types, sizes as formulas of
/// the symbols). A run of ops that follows itself with equal keys is a candidate; it is a layer if its
/// instances are also wired alike: an operand is computed in the same instance, is a weight, comes from the
/// instance before, or is the same value for all. Of the possible first ops the one is taken that passes the
/// fewest tensors from one instance to the next; of several such, one that no kernel before it could compute
/// along.

#include "FusionUtils.h"

#include "lathe/Dialect/NN/IR/NNControl.h"
#include "lathe/Dialect/NN/IR/NNHost.h"
#include "lathe/Dialect/NN/IR/NNService.h"
#include "lathe/Dialect/NN/IR/ShapeTracker.h"
#include "lathe/Dialect/NN/Transforms/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/SetVector.h"

namespace lathe::nn {
#define GEN_PASS_DEF_OUTLINELAYERSPASS
#include "lathe/Dialect/NN/Transforms/Passes.h.inc"
} // namespace lathe::nn

using namespace mlir;
using namespace lathe;
using namespace lathe::nn;

namespace {

/// A run of `period` ops that occurs `count` times in a row, first at op `start`.
struct Repeat {
  size_t start = 0, period = 0, count = 0;
};

/// Where an operand of an op of a layer comes from.
struct Source {
  enum Kind { Inside, Weight, Previous, Shared, Index } kind = Shared;
  size_t op = 0;         // Inside, Previous: position within the instance
  unsigned argument = 0; // Weight, Previous, Shared: argument of the layer
  bool operator==(const Source &other) const = default;
};

/// The wiring of one instance: a source for every operand, in order.
struct Wiring {
  SmallVector<Source> sources;
  llvm::SetVector<size_t> carried; // results of the instance before that are read
  llvm::SetVector<Value> shared;   // values from outside all instances
  SmallVector<Value> weights;      // of this instance
};

class LayerOutliner {
public:
  explicit LayerOutliner(func::FuncOp main)
      : main(main), module(main->getParentOfType<ModuleOp>()), builder(main.getContext()), shapes(builder) {}

  /// Outlines the repeat that covers most as function number `number`; false if there is none.
  bool outlineOne(unsigned number) {
    collect();
    std::optional<Layer> best;
    auto costOf = [&](const Layer &layer) {
      return std::pair(layer.carried.size(), isa<PointwiseOpInterface>(ops[layer.repeat.start]));
    };
    for (const Repeat &repeat : findRepeats()) {
      std::optional<Layer> layer = match(repeat);
      if (layer && (!best || costOf(*layer) < costOf(*best))) {
        best = std::move(layer);
      }
    }
    if (!best) {
      return false;
    }
    collectResults(*best);
    func::FuncOp function = buildFunction(*best, number);
    if (!function) {
      return false;
    }
    replaceInstances(*best, function);
    remarkPassed(main, "nn-outline-layers",
                 Twine(best->repeat.count) + " equal layers compiled once, as @" + function.getName());
    return true;
  }

private:
  void collect() {
    ops.clear();
    position.clear();
    for (Operation &op : main.getBody().front()) {
      if (isa<ReferenceOpInterface, LoopsOpInterface>(op)) {
        position[&op] = ops.size();
        ops.push_back(&op);
      }
    }
    llvm::StringMap<unsigned> numbers;
    keys.clear();
    for (Operation *op : ops) {
      std::string key = canRepeat(op) ? keyOf(op) : "#" + std::to_string(keys.size());
      keys.push_back(numbers.try_emplace(key, numbers.size()).first->second);
    }
  }

  /// Some ops are equal to no other. Those of several results, for instances are wired by their ops' only
  /// results; those with sizes that depend on data, for the arena of a layer is a function of symbols; and
  /// those that the host program reads, in a body, as a size or for a service: it would have to before the
  /// layer is done.
  static bool canRepeat(Operation *op) {
    return op->getNumResults() == 1 &&
           llvm::all_of(
               op->getOperands(),
               [](Value operand) { return !operand.getType().isIndex() || isKnownFromSymbols(operand); }) &&
           llvm::all_of(op->getUsers(), [&](Operation *user) {
             return user->getBlock() == op->getBlock() && !isa<ReadIndexOp, IfOp, LoopOp, ServiceOp>(user);
           });
  }

  /// The formula of an index value over symbols and constants.
  std::string formulaOf(Value value) {
    Operation *op = value.getDefiningOp();
    if (!op) {
      return "?";
    }
    if (auto symbol = dyn_cast<DimSymbolOp>(op)) {
      return symbol.getName().str();
    }
    std::string text;
    llvm::raw_string_ostream os(text);
    os << op->getName() << op->getAttrDictionary() << '(';
    for (Value operand : op->getOperands()) {
      os << formulaOf(operand) << ',';
    }
    os << ')';
    return text;
  }

  std::string keyOf(Operation *op) {
    std::string text;
    llvm::raw_string_ostream os(text);
    os << op->getName() << op->getAttrDictionary();
    for (Value operand : op->getOperands()) {
      os << operand.getType() << (operand.getDefiningOp<WeightUseOp>() ? "w" : "");
      if (isa<IndexType>(operand.getType())) {
        os << formulaOf(operand);
      } else if (auto constant = operand.getDefiningOp<arith::ConstantOp>()) {
        os << constant.getValue();
      }
    }
    for (Type type : op->getResultTypes()) {
      os << type;
    }
    return text;
  }

  /// The repeats that cover the most ops, each with all its possible first ops.
  SmallVector<Repeat> findRepeats() {
    SmallVector<Repeat> best;
    size_t covered = 0, size = keys.size();
    for (size_t period = kMinPeriod; period * 2 <= size; ++period) {
      size_t equal = 0; // how many keys in a row equal those one period later
      for (size_t i = 0; i + period <= size; ++i) {
        bool same = i + period < size && keys[i] == keys[i + period];
        if (same) {
          ++equal;
          continue;
        }
        size_t count = equal / period + 1;
        if (count >= 2) {
          size_t first = i - equal, slack = equal % period;
          // A multiple of a shorter period covers no more.
          if (period * count > covered) {
            best.clear();
            covered = period * count;
          }
          if (period * count == covered && (best.empty() || best.front().period == period)) {
            for (size_t shift = 0; shift <= slack; ++shift) {
              best.push_back({first + shift, period, count});
            }
          }
        }
        equal = 0;
      }
    }
    return best;
  }

  /// Follows the operands of one instance; nothing if an operand fits none of the kinds.
  std::optional<Wiring> wire(const Repeat &repeat, size_t instance) {
    Wiring wiring;
    size_t first = repeat.start + instance * repeat.period;
    for (size_t i = 0; i < repeat.period; ++i) {
      for (Value operand : ops[first + i]->getOperands()) {
        std::optional<Source> source = sourceOf(repeat, first, operand, wiring);
        if (!source) {
          return std::nullopt;
        }
        wiring.sources.push_back(*source);
      }
    }
    return wiring;
  }

  std::optional<Source> sourceOf(const Repeat &repeat, size_t first, Value operand, Wiring &wiring) {
    if (isa<IndexType>(operand.getType()) || operand.getDefiningOp<arith::ConstantOp>()) {
      return Source{Source::Index, 0, 0}; // equal by the keys
    }
    if (operand.getDefiningOp<WeightUseOp>()) {
      auto found = llvm::find(wiring.weights, operand);
      unsigned number = found - wiring.weights.begin();
      if (found == wiring.weights.end()) {
        wiring.weights.push_back(operand);
      }
      return Source{Source::Weight, 0, number};
    }
    auto at = operand.getDefiningOp() ? position.find(operand.getDefiningOp()) : position.end();
    if (at == position.end() || at->second < repeat.start) {
      wiring.shared.insert(operand);
      return Source{Source::Shared, 0, unsigned(llvm::find(wiring.shared, operand) - wiring.shared.begin())};
    }
    size_t place = at->second;
    if (place >= first) {
      return Source{Source::Inside, place - first, 0};
    }
    if (place + repeat.period < first) {
      return std::nullopt; // from an instance further back
    }
    size_t within = place + repeat.period - first;
    wiring.carried.insert(within);
    return Source{Source::Previous, within, 0};
  }

  /// How the instances of a repeat are called: for each, the values of `carried` and the weights.
  struct Layer {
    Repeat repeat;
    SmallVector<size_t> carried; // positions whose results pass to the next instance
    SmallVector<Value> entering; // what the first instance gets for them
    SmallVector<Value> shared;
    SmallVector<Wiring> wirings;
    SmallVector<size_t> results; // positions whose results are read outside
  };

  std::optional<Layer> match(const Repeat &repeat) {
    Layer layer;
    layer.repeat = repeat;
    for (size_t i = 0; i < repeat.count; ++i) {
      std::optional<Wiring> wiring = wire(repeat, i);
      if (!wiring) {
        return std::nullopt;
      }
      layer.wirings.push_back(std::move(*wiring));
    }
    // From the second instance on all must be wired alike; the first gets its carried values from outside.
    const Wiring &model = layer.wirings[1];
    for (size_t i = 2; i < repeat.count; ++i) {
      if (layer.wirings[i].sources != model.sources || layer.wirings[i].shared != model.shared ||
          layer.wirings[i].weights.size() != model.weights.size()) {
        return std::nullopt;
      }
    }
    layer.carried.assign(model.carried.begin(), model.carried.end());
    layer.shared.assign(model.shared.begin(), model.shared.end());
    layer.entering.resize(layer.carried.size());
    return matchFirst(layer, model) ? std::optional<Layer>(std::move(layer)) : std::nullopt;
  }

  /// Pairs the operands of the first instance with those of the others.
  bool matchFirst(Layer &layer, const Wiring &model) {
    const Wiring &wiring = layer.wirings[0];
    size_t operand = 0;
    for (size_t i = 0; i < layer.repeat.period; ++i) {
      for (Value value : ops[layer.repeat.start + i]->getOperands()) {
        const Source &mine = wiring.sources[operand], &theirs = model.sources[operand];
        ++operand;
        if (theirs.kind == Source::Previous) {
          size_t number = llvm::find(layer.carried, theirs.op) - layer.carried.begin();
          if (mine.kind != Source::Shared || (layer.entering[number] && layer.entering[number] != value)) {
            return false;
          }
          layer.entering[number] = value;
        } else if (theirs.kind == Source::Shared) {
          if (mine.kind != Source::Shared || value != model.shared[theirs.argument]) {
            return false;
          }
        } else if (!(mine == theirs)) {
          return false;
        }
      }
    }
    return llvm::all_of(layer.entering, [](Value value) { return bool(value); }) &&
           wiring.weights.size() == model.weights.size();
  }

  /// The results that any instance's users outside it read.
  void collectResults(Layer &layer) {
    llvm::SetVector<size_t> results(layer.carried.begin(), layer.carried.end());
    const Repeat &repeat = layer.repeat;
    for (size_t i = 0; i < repeat.count * repeat.period; ++i) {
      size_t first = repeat.start + i / repeat.period * repeat.period;
      for (Operation *user : ops[repeat.start + i]->getUsers()) {
        auto at = position.find(user);
        if (at == position.end() || at->second < first || at->second >= first + repeat.period) {
          results.insert(i % repeat.period);
        }
      }
    }
    layer.results = results.takeVector();
    llvm::sort(layer.results);
  }

  /// The names of a tensor's symbolic sizes, or nothing if a size is no symbol.
  ArrayAttr dimNames(Value tensor) {
    FailureOr<ArrayRef<OpFoldResult>> dims = shapes.getDims(tensor);
    if (failed(dims)) {
      return {};
    }
    SmallVector<Attribute> names;
    auto type = cast<RankedTensorType>(tensor.getType());
    for (auto [index, dim] : llvm::enumerate(*dims)) {
      auto symbol = isa<Value>(dim) ? cast<Value>(dim).getDefiningOp<DimSymbolOp>() : DimSymbolOp();
      if (type.isDynamicDim(index) && !symbol) {
        return {};
      }
      names.push_back(builder.getStringAttr(type.isDynamicDim(index) ? symbol.getName() : ""));
    }
    return builder.getArrayAttr(names);
  }

  func::FuncOp buildFunction(Layer &layer, unsigned number) {
    const Wiring &wiring = layer.wirings[0];
    SmallVector<Value> arguments(layer.entering);
    arguments.append(layer.shared);
    size_t tensors = arguments.size();
    arguments.append(wiring.weights);
    SmallVector<ArrayAttr> names;
    for (Value argument : arguments) {
      names.push_back(dimNames(argument));
    }
    SmallVector<Value> results;
    SmallVector<ArrayAttr> resultNames;
    for (size_t result : layer.results) {
      results.push_back(ops[layer.repeat.start + result]->getResult(0));
      resultNames.push_back(dimNames(results.back()));
    }
    if (!llvm::all_of(names, [](ArrayAttr a) { return bool(a); }) ||
        !llvm::all_of(resultNames, [](ArrayAttr a) { return bool(a); })) {
      remarkMissed(main, "nn-outline-layers", "a repeated block has a tensor whose sizes are no symbols");
      return {};
    }
    builder.setInsertionPointToEnd(module.getBody());
    SmallVector<Location> locations;
    for (size_t i = 0; i < layer.repeat.period * layer.repeat.count; ++i) {
      locations.push_back(ops[layer.repeat.start + i]->getLoc());
    }
    auto function = func::FuncOp::create(
        builder, main.getLoc(), ("layer" + Twine(number)).str(),
        builder.getFunctionType(ValueRange(arguments).getTypes(), ValueRange(results).getTypes()));
    function.setPrivate();
    Block *entry = function.addEntryBlock();
    IRMapping mapping;
    for (auto [index, argument] : llvm::enumerate(arguments)) {
      mapping.map(argument, entry->getArgument(index));
      if (index < tensors) {
        function.setArgAttr(index, NNDialect::kDimsAttr, names[index]);
      }
    }
    for (auto [index, dims] : llvm::enumerate(resultNames)) {
      function.setResultAttr(index, NNDialect::kDimsAttr, dims);
    }
    builder.setInsertionPointToEnd(entry);
    for (size_t i = 0; i < layer.repeat.period; ++i) {
      Operation *op = ops[layer.repeat.start + i];
      for (Value operand : op->getOperands()) {
        cloneInvariant(operand, entry, mapping);
      }
      builder.clone(*op, mapping);
    }
    SmallVector<Value> returned;
    for (Value result : results) {
      returned.push_back(mapping.lookup(result));
    }
    func::ReturnOp::create(builder, main.getLoc(), returned);
    return function;
  }

  /// Brings constants and index arithmetic into the layer.
  void cloneInvariant(Value value, Block *entry, IRMapping &mapping) {
    Operation *op = value.getDefiningOp();
    if (mapping.contains(value) || !op || position.contains(op) || isa<WeightUseOp>(op)) {
      return;
    }
    if (auto symbol = dyn_cast<DimSymbolOp>(op)) {
      OpBuilder::InsertionGuard guard(builder);
      builder.setInsertionPointToStart(entry);
      builder.clone(*op, mapping);
      return;
    }
    for (Value operand : op->getOperands()) {
      cloneInvariant(operand, entry, mapping);
    }
    builder.clone(*op, mapping);
  }

  void replaceInstances(Layer &layer, func::FuncOp function) {
    const Repeat &repeat = layer.repeat;
    SmallVector<Value> carried(layer.entering);
    for (size_t i = 0; i < repeat.count; ++i) {
      size_t first = repeat.start + i * repeat.period;
      SmallVector<Value> operands(carried);
      operands.append(layer.shared);
      operands.append(layer.wirings[i].weights);
      SmallVector<Location> locations;
      for (size_t j = 0; j < repeat.period; ++j) {
        locations.push_back(ops[first + j]->getLoc());
      }
      // After the last op everything the instance reads is there; weights and index values are pure.
      builder.setInsertionPointAfter(ops[first + repeat.period - 1]);
      auto call =
          LayerCallOp::create(builder, FusedLoc::get(main.getContext(), locations), function.getResultTypes(),
                              FlatSymbolRefAttr::get(function), builder.getI64IntegerAttr(i), operands);
      llvm::DenseMap<size_t, Value> results;
      for (auto [index, result] : llvm::enumerate(layer.results)) {
        results[result] = call.getResult(index);
      }
      for (size_t index = 0; index < carried.size(); ++index) {
        carried[index] = results[layer.carried[index]];
      }
      for (auto [result, value] : results) {
        Value old = ops[first + result]->getResult(0);
        old.replaceUsesWithIf(value, [&](OpOperand &use) {
          auto at = position.find(use.getOwner());
          return use.getOwner() != call &&
                 (at == position.end() || at->second < first || at->second >= first + repeat.period);
        });
      }
    }
    for (size_t i = repeat.count * repeat.period; i-- > 0;) {
      ops[repeat.start + i]->erase();
    }
  }

  /// Shorter runs are not worth a function.
  static constexpr size_t kMinPeriod = 4;

  func::FuncOp main;
  ModuleOp module;
  OpBuilder builder;
  ShapeTracker shapes;
  SmallVector<Operation *> ops;
  llvm::DenseMap<Operation *, size_t> position;
  SmallVector<unsigned> keys;
};

/// Brings what depends on no weight to the front of `block`: what all layers share, such as a mask, stands
/// within the first one where an operator of that layer makes it, and would make it another. Nothing moves
/// across a check of what is computed.
void hoistShared(Block &block) {
  llvm::DenseSet<Operation *> shared;
  Operation *front = nullptr;
  for (Operation &op : llvm::make_early_inc_range(block.without_terminator())) {
    bool isCheck = isa<CheckOp>(op);
    if (!isCheck && !isPure(&op)) {
      return;
    }
    bool isShared = op.getNumRegions() == 0 && !isa<WeightUseOp>(op) &&
                    llvm::all_of(op.getOperands(), [&](Value operand) {
                      Operation *source = operand.getDefiningOp();
                      return !source || shared.contains(source);
                    });
    if (isShared) {
      shared.insert(&op);
      if (front) {
        op.moveBefore(front);
      }
    } else if (isCheck) {
      return;
    } else if (!front) {
      front = &op;
    }
  }
}

struct OutlineLayers : nn::impl::OutlineLayersPassBase<OutlineLayers> {
  void runOnOperation() override {
    if (auto main = getOperation().lookupSymbol<func::FuncOp>("main")) {
      hoistShared(main.getBody().front());
      // Outlining changes the sequence, so each layer is looked for anew.
      for (unsigned number = 0; LayerOutliner(main).outlineOne(number); ++number) {
      }
    }
  }
};

} // namespace
