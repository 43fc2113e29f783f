// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "RepeatedBlocks.h"

#include "lathe/Dialect/NN/IR/NNControl.h"
#include "lathe/Dialect/NN/IR/NNHost.h"
#include "lathe/Dialect/NN/IR/NNService.h"
#include "lathe/Dialect/NN/IR/ShapeTracker.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::nn;

RepeatedBlocks::RepeatedBlocks(func::FuncOp function, Requests requests) {
  for (Operation &op : function.getBody().front()) {
    if (isa<ReferenceOpInterface, LoopsOpInterface>(op)) {
      positions[&op] = ops.size();
      ops.push_back(&op);
    }
  }
  llvm::StringMap<size_t> numbers;
  for (Operation *op : ops) {
    std::string key = canRepeat(op) ? keyOf(op, requests) : "#" + std::to_string(keys.size());
    keys.push_back(numbers.try_emplace(key, numbers.size()).first->second);
  }
  nextKey = numbers.size();
}

bool RepeatedBlocks::isOutside(Operation *op, size_t first, size_t count) const {
  auto at = positions.find(op);
  return at == positions.end() || at->second < first || at->second >= first + count;
}

void RepeatedBlocks::exclude(const Repeat &repeat) {
  for (size_t i = 0; i < repeat.count * repeat.period; ++i) {
    keys[repeat.start + i] = nextKey++;
  }
}

/// Some ops are equal to no other. Those of several results, for instances are wired by their ops' only
/// results; those with sizes that depend on data, for the arena of a layer is a function of symbols; and
/// those that the host program reads, in a body, as a size or for a service: it would have to before the
/// layer is done.
bool RepeatedBlocks::canRepeat(Operation *op) {
  return op->getNumResults() == 1 &&
         llvm::all_of(
             op->getOperands(),
             [](Value operand) { return !operand.getType().isIndex() || isKnownFromSymbols(operand); }) &&
         llvm::all_of(op->getUsers(), [&](Operation *user) {
           return user->getBlock() == op->getBlock() && !isa<ReadIndexOp, IfOp, LoopOp, ServiceOp>(user);
         });
}

/// The formula of an index value over symbols and constants.
static std::string formulaOf(Value value) {
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

std::string RepeatedBlocks::keyOf(Operation *op, Requests requests) const {
  std::string text;
  llvm::raw_string_ostream os(text);
  os << op->getName() << op->getPropertiesAsAttribute();
  if (requests == Requests::Count) {
    os << op->getDiscardableAttrDictionary();
  }
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

SmallVector<Repeat> RepeatedBlocks::findRepeats() const {
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
std::optional<Wiring> RepeatedBlocks::wire(const Repeat &repeat, size_t instance) const {
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

std::optional<Source> RepeatedBlocks::sourceOf(const Repeat &repeat, size_t first, Value operand,
                                               Wiring &wiring) const {
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
  auto at = operand.getDefiningOp() ? positions.find(operand.getDefiningOp()) : positions.end();
  if (at == positions.end() || at->second < repeat.start) {
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

std::optional<RepeatedLayer> RepeatedBlocks::match(const Repeat &repeat) const {
  RepeatedLayer layer;
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
  if (!matchFirst(layer, model)) {
    return std::nullopt;
  }
  collectResults(layer);
  return layer;
}

/// Pairs the operands of the first instance with those of the others.
bool RepeatedBlocks::matchFirst(RepeatedLayer &layer, const Wiring &model) const {
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
void RepeatedBlocks::collectResults(RepeatedLayer &layer) const {
  llvm::SetVector<size_t> results(layer.carried.begin(), layer.carried.end());
  const Repeat &repeat = layer.repeat;
  for (size_t i = 0; i < repeat.count * repeat.period; ++i) {
    size_t first = repeat.start + i / repeat.period * repeat.period;
    for (Operation *user : ops[repeat.start + i]->getUsers()) {
      if (isOutside(user, first, repeat.period)) {
        results.insert(i % repeat.period);
      }
    }
  }
  layer.results = results.takeVector();
  llvm::sort(layer.results);
}

void lathe::nn::hoistShared(Block &block) {
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
