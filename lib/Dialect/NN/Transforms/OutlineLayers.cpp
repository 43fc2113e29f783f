// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Makes one function of blocks that are equal but for their weights. Of the possible first ops the one is
/// taken that passes the fewest tensors from one instance to the next; of several such, one that no kernel
/// before it could compute along.

#include "FusionUtils.h"
#include "RepeatedBlocks.h"

#include "lathe/Dialect/NN/IR/ShapeTracker.h"
#include "lathe/Dialect/NN/Transforms/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/IRMapping.h"

namespace lathe::nn {
#define GEN_PASS_DEF_OUTLINELAYERSPASS
#include "lathe/Dialect/NN/Transforms/Passes.h.inc"
} // namespace lathe::nn

using namespace mlir;
using namespace lathe;
using namespace lathe::nn;

namespace {

class LayerOutliner {
public:
  explicit LayerOutliner(func::FuncOp main)
      : main(main), module(main->getParentOfType<ModuleOp>()), builder(main.getContext()), shapes(builder),
        blocks(main, RepeatedBlocks::Requests::Count) {}

  /// Outlines the repeat that covers most as function number `number`; false if there is none.
  bool outlineOne(unsigned number) {
    std::optional<RepeatedLayer> best;
    auto costOf = [&](const RepeatedLayer &layer) {
      return std::pair(layer.carried.size(), isa<PointwiseOpInterface>(blocks.getOp(layer.repeat.start)));
    };
    for (const Repeat &repeat : blocks.findRepeats()) {
      std::optional<RepeatedLayer> layer = blocks.match(repeat);
      if (layer && (!best || costOf(*layer) < costOf(*best))) {
        best = std::move(layer);
      }
    }
    if (!best) {
      return false;
    }
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
  /// The names of a tensor's symbolic sizes, or nothing if a size is no symbol.
  ArrayAttr dimNames(Value tensor) {
    FailureOr<ArrayRef<OpFoldResult>> dims = shapes.getDims(tensor);
    if (failed(dims)) {
      return {};
    }
    SmallVector<Attribute> names;
    RankedTensorType type = getLogicalType(tensor.getType());
    for (auto [index, dim] : llvm::enumerate(*dims)) {
      auto symbol = isa<Value>(dim) ? cast<Value>(dim).getDefiningOp<DimSymbolOp>() : DimSymbolOp();
      if (type.isDynamicDim(index) && !symbol) {
        return {};
      }
      names.push_back(builder.getStringAttr(type.isDynamicDim(index) ? symbol.getName() : ""));
    }
    return builder.getArrayAttr(names);
  }

  func::FuncOp buildFunction(const RepeatedLayer &layer, unsigned number) {
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
      results.push_back(blocks.getOp(layer.repeat.start + result)->getResult(0));
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
      locations.push_back(blocks.getOp(layer.repeat.start + i)->getLoc());
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
      Operation *op = blocks.getOp(layer.repeat.start + i);
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
    if (mapping.contains(value) || !op || blocks.contains(op) || isa<WeightUseOp>(op)) {
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

  void replaceInstances(const RepeatedLayer &layer, func::FuncOp function) {
    const Repeat &repeat = layer.repeat;
    SmallVector<Value> carried(layer.entering);
    for (size_t i = 0; i < repeat.count; ++i) {
      size_t first = repeat.start + i * repeat.period;
      SmallVector<Value> operands(carried);
      operands.append(layer.shared);
      operands.append(layer.wirings[i].weights);
      SmallVector<Location> locations;
      for (size_t j = 0; j < repeat.period; ++j) {
        locations.push_back(blocks.getOp(first + j)->getLoc());
      }
      // After the last op everything the instance reads is there; weights and index values are pure.
      builder.setInsertionPointAfter(blocks.getOp(first + repeat.period - 1));
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
        Value old = blocks.getOp(first + result)->getResult(0);
        old.replaceUsesWithIf(value, [&](OpOperand &use) {
          return use.getOwner() != call && blocks.isOutside(use.getOwner(), first, repeat.period);
        });
      }
    }
    for (size_t i = repeat.count * repeat.period; i-- > 0;) {
      blocks.getOp(repeat.start + i)->erase();
    }
  }

  func::FuncOp main;
  ModuleOp module;
  OpBuilder builder;
  ShapeTracker shapes;
  RepeatedBlocks blocks;
};

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
