// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What a model computes from its weights alone is computed once, when the artifact is written: the ops move
/// into the body of a new weight, as many at a time as belong together.

#include "FusionUtils.h"

#include "lathe/Dialect/NN/Evaluate/Evaluator.h"
#include "lathe/Dialect/NN/IR/NNControl.h"
#include "lathe/Dialect/NN/IR/NNInteger.h"
#include "lathe/Dialect/NN/Transforms/Passes.h"
#include "lathe/Support/Text.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/SymbolTable.h"

using namespace mlir;
using namespace lathe::nn;

namespace lathe::nn {
#define GEN_PASS_DEF_FOLDWEIGHTSPASS
#include "lathe/Dialect/NN/Transforms/Passes.h.inc"
} // namespace lathe::nn

static constexpr llvm::StringLiteral kPass = "nn-fold-weights";

/// The most ops of one expression, each counted as often as it is needed.
static constexpr unsigned kMaxOps = 1024;

static int64_t countBytes(Value value) {
  auto type = cast<RankedTensorType>(value.getType());
  return type.getNumElements() * getElementBytes(type.getElementType());
}

namespace {

class WeightFolder {
public:
  WeightFolder(ModuleOp module, uint64_t budget)
      : module(module), symbols(module), evaluator(module), left(budget) {}

  void run();

private:
  /// A use of a weight, or a constant tensor.
  bool isLeaf(Operation *op);
  /// Whether `op` can be computed when the artifact is written.
  bool isConstant(Operation *op);
  bool isIndexInBounds(GatherOp gather);
  /// The constant ops that `root` needs, itself last, each behind those it uses, with their leaves.
  SmallVector<Operation *> getExpression(Operation *root);
  /// Whether a weight of its own serves the users of `op` better than the op.
  bool isWanted(Operation *op, ArrayRef<Operation *> expression);
  /// Finds what is wanted of `root` and what it is made of.
  void findTargets(Operation *root);
  /// Makes `op` a weight if the budget allows.
  bool fold(Operation *op);
  void makeWeight(Operation *op, ArrayRef<Operation *> expression);

  ModuleOp module;
  SymbolTable symbols;
  Evaluator evaluator;
  /// Bytes that may still be computed.
  uint64_t left;
  /// Constant ops that are no leaves, in the order of the program.
  llvm::SetVector<Operation *> constants;
  /// How many ops each of them takes, itself included.
  llvm::DenseMap<Operation *, unsigned> sizes;
  /// Those that are to become weights, and those that need not be looked at again.
  llvm::DenseSet<Operation *> targets, visited;
};

struct FoldWeightsPass : lathe::nn::impl::FoldWeightsPassBase<FoldWeightsPass> {
  using FoldWeightsPassBase::FoldWeightsPassBase;

  void runOnOperation() override { WeightFolder(getOperation(), budget).run(); }
};

} // namespace

bool WeightFolder::isLeaf(Operation *op) {
  if (isa<arith::ConstantOp>(op)) {
    return isa<RankedTensorType>(op->getResult(0).getType());
  }
  auto use = dyn_cast<WeightUseOp>(op);
  auto weight = use ? symbols.lookup<WeightOp>(use.getWeight()) : WeightOp();
  // A weight that is arranged for a kernel already is not what its type says.
  return weight && !weight.getPanel();
}

bool WeightFolder::isConstant(Operation *op) {
  if (op->getNumOperands() == 0 || !llvm::all_of(op->getOperands(), [&](Value operand) {
        Operation *def = operand.getDefiningOp();
        return def && (constants.contains(def) || isLeaf(def));
      })) {
    return false;
  }
  if (!canEvaluate(op)) {
    if (isa<NNDialect>(op->getDialect()) && op->getNumResults() == 1 && !isa<YieldOp, LayerCallOp>(op)) {
      remarkMissed(op, kPass, op->getName().getStringRef() + " of weights is not computed in advance");
    }
    return false;
  }
  unsigned size = 1;
  for (Value operand : op->getOperands()) {
    size += sizes.lookup(operand.getDefiningOp());
  }
  if (size > kMaxOps) {
    remarkMissed(op, kPass, "more than " + Twine(kMaxOps) + " ops compute it from weights");
    return false;
  }
  auto gather = dyn_cast<GatherOp>(op);
  if (gather && !isIndexInBounds(gather)) {
    return false;
  }
  sizes[op] = size;
  return true;
}

bool WeightFolder::isIndexInBounds(GatherOp gather) {
  // Indices are few, and known to be what they are only once they are read.
  constexpr int64_t kMaxIndices = 1 << 20;
  int64_t count = cast<RankedTensorType>(gather.getIndices().getType()).getNumElements();
  if (count > kMaxIndices) {
    remarkMissed(gather, kPass, "its " + Twine(count) + " indices are too many to be read in advance");
    return false;
  }
  SmallVector<Operation *> expression = getExpression(gather.getIndices().getDefiningOp());
  llvm::Expected<ConstantTensor> indices = evaluator.evaluate(expression, gather.getIndices());
  if (!indices) {
    remarkMissed(gather, kPass, llvm::toString(indices.takeError()));
    return false;
  }
  // The run reports an index that is none, with its place in the model.
  int64_t size = cast<RankedTensorType>(gather.getX().getType()).getDimSize(gather.getAxis());
  SmallVector<int64_t> values = readIndices(*indices);
  return llvm::all_of(values, [&](int64_t index) { return index >= -size && index < size; });
}

SmallVector<Operation *> WeightFolder::getExpression(Operation *root) {
  // Depth first, without recursion: chains may be long.
  SmallVector<Operation *> expression;
  llvm::DenseSet<Operation *> seen{root};
  SmallVector<std::pair<Operation *, unsigned>> stack{{root, 0}};
  while (!stack.empty()) {
    auto &[op, next] = stack.back();
    if (next == op->getNumOperands()) {
      expression.push_back(op);
      stack.pop_back();
      continue;
    }
    Operation *def = op->getOperand(next++).getDefiningOp();
    if (seen.insert(def).second) {
      stack.push_back({def, 0});
    }
  }
  return expression;
}

bool WeightFolder::isWanted(Operation *op, ArrayRef<Operation *> expression) {
  // A kernel broadcasts as it reads: more elements than went in only take memory.
  constexpr int64_t kSmallBytes = 64 << 10;
  auto countElements = [](Operation *part) {
    return cast<RankedTensorType>(part->getResult(0).getType()).getNumElements();
  };
  bool chooses = llvm::any_of(expression, [](Operation *part) { return isa<GatherOp>(part); });
  bool isLarge = !chooses && countBytes(op->getResult(0)) > kSmallBytes &&
                 llvm::all_of(expression, [&](Operation *part) {
                   return !isLeaf(part) || countElements(part) < countElements(op);
                 });
  if (isa<ExpandOp>(op) || isLarge) {
    return false;
  }
  if (!isa<ReshapeOp>(op)) {
    return true;
  }
  // Others are another name for the same bytes, which any number of kernels may read.
  auto isProduct = [](Operation *user) {
    return isa<MatMulOp, ConvOp, IntegerMatMulOp, IntegerConvOp>(user);
  };
  return llvm::any_of(expression.drop_back(), [&](Operation *part) { return !isLeaf(part); }) ||
         llvm::all_of(op->getUsers(), isProduct);
}

void WeightFolder::makeWeight(Operation *op, ArrayRef<Operation *> expression) {
  WeightOp last;
  std::string name, onnxName;
  for (Operation *part : expression) {
    if (auto use = dyn_cast<WeightUseOp>(part)) {
      auto weight = symbols.lookup<WeightOp>(use.getWeight());
      last = !last || last->isBeforeInBlock(weight) ? weight : last;
      if (name.empty()) {
        name = (use.getWeight() + (isa<TransposeOp>(op) ? "_t" : isa<ReshapeOp>(op) ? "_r" : "_f")).str();
        onnxName = weight.getOnnxName().value_or("");
      }
    }
  }
  OpBuilder builder(module.getContext());
  builder.setInsertionPointToStart(module.getBody());
  if (last) {
    builder.setInsertionPointAfter(last);
  }
  IRMapping mapping;
  auto weight = WeightOp::create(builder, op->getLoc(), name.empty() ? "constant_f" : name, onnxName,
                                 [&](OpBuilder &body, Location) {
                                   for (Operation *part : expression) {
                                     body.clone(*part, mapping);
                                   }
                                   return mapping.lookup(op->getResult(0));
                                 });
  symbols.insert(weight);
  builder.setInsertionPoint(op);
  op->getResult(0).replaceAllUsesWith(WeightUseOp::create(builder, op->getLoc(), op->getResult(0).getType(),
                                                          FlatSymbolRefAttr::get(weight.getSymNameAttr())));
}

void WeightFolder::findTargets(Operation *root) {
  SmallVector<Operation *> worklist{root};
  while (!worklist.empty()) {
    Operation *op = worklist.pop_back_val();
    if (!constants.contains(op) || !visited.insert(op).second) {
      continue;
    }
    if (isWanted(op, getExpression(op))) {
      targets.insert(op);
      continue;
    }
    for (Value operand : op->getOperands()) {
      worklist.push_back(operand.getDefiningOp());
    }
  }
}

bool WeightFolder::fold(Operation *op) {
  SmallVector<Operation *> expression = getExpression(op);
  // Views cost nothing but what they multiply.
  uint64_t bytes = 0, read = 0;
  unsigned computed = 0;
  for (Operation *part : expression) {
    uint64_t partBytes = countBytes(part->getResult(0));
    if (isLeaf(part)) {
      read += partBytes;
    } else if (!isView(part)) {
      bytes += partBytes;
      ++computed;
    }
  }
  uint64_t resultBytes = countBytes(op->getResult(0));
  bytes = std::max(bytes, resultBytes > read ? resultBytes : 0);
  if (bytes > left) {
    remarkMissed(op, kPass,
                 "computing it in advance takes " + lathe::formatBytes(bytes) + ", of the budget " +
                     lathe::formatBytes(left) + " are left (--fold-budget)");
    return false;
  }
  left -= bytes;
  if (computed) {
    remarkPassed(op, kPass,
                 "computed " + Twine(computed) + (computed == 1 ? " op" : " ops") +
                     " of weights in advance, " + lathe::formatBytes(bytes));
  }
  makeWeight(op, expression);
  return true;
}

void WeightFolder::run() {
  SmallVector<Operation *> roots;
  for (auto function : module.getOps<func::FuncOp>()) {
    function.walk<WalkOrder::PreOrder>([&](Operation *op) {
      if (isConstant(op)) {
        constants.insert(op);
      }
    });
  }
  for (Operation *op : constants) {
    if (llvm::any_of(op->getUsers(), [&](Operation *user) { return !constants.contains(user); })) {
      roots.push_back(op);
    }
  }
  for (Operation *root : roots) {
    findTargets(root);
  }
  // In the order of the program, so that whoever needs a target uses its weight. What a target that does not
  // fit is made of comes before it.
  while (!targets.empty()) {
    for (Operation *op : constants) {
      if (targets.erase(op) && !fold(op)) {
        for (Value operand : op->getOperands()) {
          findTargets(operand.getDefiningOp());
        }
      }
    }
  }
  // Whoever uses an op comes behind it.
  for (Operation *op : llvm::reverse(constants)) {
    if (op->use_empty()) {
      op->erase();
    }
  }
  for (auto function : module.getOps<func::FuncOp>()) {
    eraseDeadOps(function);
  }
}
