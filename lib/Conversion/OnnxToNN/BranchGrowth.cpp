// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "BranchGrowth.h"

#include "mlir/IR/IRMapping.h"
#include "llvm/ADT/SmallPtrSet.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;

size_t BranchGrowth::countNodes() const {
  size_t count = 0;
  for (Operation *op : dependent) {
    op->walk([&](Operation *) { ++count; });
  }
  return count;
}

/// Whether `op` or an op in it uses a result of one of `ops`.
static bool dependsOn(Operation *op, const llvm::SmallPtrSetImpl<Operation *> &ops) {
  return op
      ->walk([&](Operation *inner) {
        bool found = llvm::any_of(inner->getOperands(),
                                  [&](Value operand) { return ops.contains(operand.getDefiningOp()); });
        return found ? WalkResult::interrupt() : WalkResult::advance();
      })
      .wasInterrupted();
}

std::optional<BranchGrowth> lathe::onnx::planGrowth(NodeOp choice, ArrayRef<unsigned> results) {
  SmallVector<Value> values =
      llvm::map_to_vector(results, [&](unsigned i) -> Value { return choice->getResult(i); });
  while (true) {
    Block *block = choice->getBlock();
    Operation *terminator = block->getTerminator();
    auto outer = dyn_cast<NodeOp>(block->getParentOp());
    SmallVector<Value> yielded;
    for (OpOperand &operand : terminator->getOpOperands()) {
      if (!llvm::is_contained(values, operand.get())) {
        continue;
      }
      if (!outer || !outer.is("If") || operand.getOperandNumber() >= outer->getNumResults()) {
        return std::nullopt;
      }
      yielded.push_back(outer->getResult(operand.getOperandNumber()));
    }
    if (yielded.empty()) {
      break;
    }
    choice = outer;
    values = std::move(yielded);
  }
  for (Region &body : choice->getRegions()) {
    if (body.front().getTerminator()->getNumOperands() != choice->getNumResults()) {
      return std::nullopt;
    }
  }
  Operation *last = nullptr;
  for (Value value : values) {
    for (Operation *user : value.getUsers()) {
      Operation *reader = choice->getBlock()->findAncestorOpInBlock(*user);
      last = !last || last->isBeforeInBlock(reader) ? reader : last;
    }
  }
  if (!last) {
    return std::nullopt;
  }
  BranchGrowth growth{choice, {}, {}};
  llvm::SmallPtrSet<Operation *, 16> moved{choice};
  for (Operation *op = choice->getNextNode(); op != last->getNextNode(); op = op->getNextNode()) {
    bool depends = dependsOn(op, moved);
    if (depends) {
      moved.insert(op);
    }
    (depends ? growth.dependent : growth.others).push_back(op);
  }
  return growth;
}

Operation *lathe::onnx::growBranches(const BranchGrowth &growth,
                                     llvm::function_ref<void(Operation *)> abandon) {
  NodeOp choice = growth.choice;
  Block *block = choice->getBlock();
  auto moves = [&](OpOperand &use) {
    Operation *user = block->findAncestorOpInBlock(*use.getOwner());
    return llvm::is_contained(growth.dependent, user);
  };
  // What the If and the nodes that move in give to others.
  SmallVector<Value> given;
  SmallVector<Attribute> names;
  SmallVector<Operation *> givers{choice};
  llvm::append_range(givers, growth.dependent);
  for (Operation *op : givers) {
    for (OpResult result : op->getResults()) {
      if (!llvm::all_of(result.getUses(), moves)) {
        given.push_back(result);
        names.push_back(cast<NodeOp>(op).getOutputs()[result.getResultNumber()]);
      }
    }
  }
  for (Operation *op : growth.others) {
    op->moveBefore(choice);
  }
  OpBuilder builder(choice);
  auto grown = NodeOp::create(builder, choice.getLoc(), ValueRange(given).getTypes(), choice.getOpTypeAttr(),
                              choice.getDomainAttr(), choice.getVersionAttr(), choice.getNodeAttrsAttr(),
                              builder.getArrayAttr(names), choice.getSubgraphsAttr(), choice.getInputs(),
                              choice->getNumRegions());
  for (auto [from, to] : llvm::zip_equal(choice->getRegions(), grown->getRegions())) {
    to.takeBody(from);
    Operation *yield = to.front().getTerminator();
    IRMapping mapping;
    mapping.map(choice->getResults(), yield->getOperands());
    builder.setInsertionPoint(yield);
    for (Operation *op : growth.dependent) {
      builder.clone(*op, mapping);
    }
    YieldOp::create(builder, yield->getLoc(),
                    llvm::map_to_vector(given, [&](Value value) { return mapping.lookup(value); }));
    yield->erase();
  }
  for (auto [before, after] : llvm::zip_equal(given, grown->getResults())) {
    before.replaceUsesWithIf(after, [&](OpOperand &use) { return !moves(use); });
  }
  for (Operation *op : llvm::reverse(growth.dependent)) {
    abandon(op);
  }
  abandon(choice);
  return growth.others.empty() ? grown.getOperation() : growth.others.front();
}
