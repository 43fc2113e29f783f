// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "TreeTables.h"

#include "lathe/Dialect/NN/IR/NNLearned.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include <cmath>

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;

/// Four times a place, and 32 rows of features, must fit 32 bits.
static constexpr int64_t kMaxPlaces = int64_t(1) << 28;
static constexpr int64_t kMaxFeatures = int64_t(1) << 26;

static LogicalResult checkPlaces(LegalizeContext &c, const TreeForest &forest) {
  auto exists = [&](TreePlace place) {
    return place.index >= 0 &&
           place.index < int64_t(place.isLeaf ? forest.leaves.size() : forest.nodes.size());
  };
  for (TreePlace root : forest.roots) {
    if (!exists(root)) {
      return c.error("E0304", llvm::formatv("the root of a tree, {0}, does not exist", root.index).str());
    }
  }
  for (auto [i, node] : llvm::enumerate(forest.nodes)) {
    if (!exists(node.onTrue) || !exists(node.onFalse)) {
      return c.error("E0304", llvm::formatv("a child of node {0} does not exist", i).str());
    }
    if (node.feature < 0 || node.feature >= kMaxFeatures) {
      return c.error("E0304", llvm::formatv("node {0} asks for feature {1}, must be from 0 to {2}", i,
                                            node.feature, kMaxFeatures - 1)
                                  .str());
    }
  }
  for (auto &leaf : forest.leaves) {
    for (auto [target, weight] : leaf) {
      if (target < 0 || target >= forest.targetCount) {
        return c.error("E0304", llvm::formatv("a leaf has a weight for target {0}, but there are {1}", target,
                                              forest.targetCount)
                                    .str());
      }
    }
  }
  return success();
}

/// Checks that no path returns to a node: who walks it would never reach a leaf.
static LogicalResult checkAcyclic(LegalizeContext &c, const TreeForest &forest) {
  enum State : char { New, Open, Done };
  std::vector<State> states(forest.nodes.size(), New);
  std::vector<int64_t> path;
  for (int64_t start = 0; start < int64_t(forest.nodes.size()); ++start) {
    path.push_back(start);
    while (!path.empty()) {
      int64_t node = path.back();
      if (states[node] != New) {
        // Its children are done, or it was met twice.
        states[node] = Done;
        path.pop_back();
        continue;
      }
      states[node] = Open;
      for (TreePlace child : {forest.nodes[node].onTrue, forest.nodes[node].onFalse}) {
        if (child.isLeaf || states[child.index] == Done) {
          continue;
        }
        if (states[child.index] == Open) {
          return c.error("E0304", llvm::formatv("node {0} is a child of one below it", child.index).str());
        }
        path.push_back(child.index);
      }
    }
  }
  return success();
}

namespace {
/// Writes the tables: all comparisons become x <= split, with a way for NaN beside.
class TableWriter {
public:
  explicit TableWriter(const TreeForest &forest) : forest(forest) {
    for (const TreeNode &node : forest.nodes) {
      firsts.push_back(nodeCount);
      nodeCount += countNodes(node);
    }
    // One node must be there, even if no tree has any.
    isEmpty = nodeCount == 0;
    nodeCount += isEmpty;
  }

  void write() {
    for (const TreeNode &node : forest.nodes) {
      writeNode(node);
    }
    if (isEmpty) {
      add(0, 0, 0, 0, 0);
    }
  }

  int32_t place(TreePlace place) const {
    return place.isLeaf ? nodeCount + place.index : firsts[place.index];
  }

  int64_t nodeCount = 0;
  SmallVector<int32_t> nodes;
  SmallVector<double> splits;

private:
  static int64_t countNodes(const TreeNode &node) {
    switch (node.mode) {
    case BranchMode::Equal:
    case BranchMode::NotEqual:
      return 2;
    case BranchMode::Member:
      return std::max<int64_t>(2 * node.members.size(), 1);
    default:
      return 1;
    }
  }

  /// The number before, so that at most this is less than `value`.
  double before(double value) const {
    if (std::isinf(value) && value < 0) {
      return NAN; // nothing is less
    }
    constexpr double kLow = -std::numeric_limits<double>::infinity();
    return forest.isDouble ? std::nextafter(value, kLow) : double(std::nextafterf(float(value), float(kLow)));
  }

  void add(int64_t feature, double split, int32_t atMost, int32_t otherwise, int32_t ifNaN) {
    nodes.append({int32_t(feature), atMost, otherwise, ifNaN});
    splits.push_back(split);
  }

  int32_t nextNode() const { return splits.size(); }

  void writeNode(const TreeNode &node) {
    int32_t onTrue = place(node.onTrue), onFalse = place(node.onFalse);
    int32_t ifNaN = node.isNaNTrue ? onTrue : onFalse;
    switch (node.mode) {
    case BranchMode::AtMost:
      return add(node.feature, node.value, onTrue, onFalse, ifNaN);
    case BranchMode::Less:
      return add(node.feature, before(node.value), onTrue, onFalse, ifNaN);
    case BranchMode::AtLeast:
      return add(node.feature, before(node.value), onFalse, onTrue, ifNaN);
    case BranchMode::Greater:
      return add(node.feature, node.value, onFalse, onTrue, ifNaN);
    case BranchMode::Equal:
      return writeEqual(node.feature, node.value, onTrue, onFalse, ifNaN);
    case BranchMode::NotEqual:
      // NaN is equal to nothing.
      return writeEqual(node.feature, node.value, onFalse, onTrue, onTrue);
    case BranchMode::Member: {
      if (node.members.empty()) {
        return add(node.feature, NAN, onFalse, onFalse, ifNaN);
      }
      SmallVector<double> members = node.members;
      llvm::sort(members);
      return writeMembers(node.feature, members, onTrue, onFalse, ifNaN);
    }
    }
  }

  void writeEqual(int64_t feature, double value, int32_t onTrue, int32_t onFalse, int32_t ifNaN) {
    add(feature, value, nextNode() + 1, onFalse, ifNaN);
    add(feature, before(value), onFalse, onTrue, ifNaN);
  }

  /// Halves the members: two nodes for the one in the middle, then those for the ones before and behind.
  void writeMembers(int64_t feature, ArrayRef<double> members, int32_t onTrue, int32_t onFalse,
                    int32_t ifNaN) {
    size_t middle = members.size() / 2;
    ArrayRef<double> left = members.take_front(middle), right = members.drop_front(middle + 1);
    int32_t second = nextNode() + 1;
    int32_t toLeft = left.empty() ? onFalse : second + 1;
    int32_t toRight = right.empty() ? onFalse : second + 1 + int32_t(2 * left.size());
    add(feature, members[middle], second, toRight, ifNaN);
    add(feature, before(members[middle]), toLeft, onTrue, ifNaN);
    if (!left.empty()) {
      writeMembers(feature, left, onTrue, onFalse, ifNaN);
    }
    if (!right.empty()) {
      writeMembers(feature, right, onTrue, onFalse, ifNaN);
    }
  }

  const TreeForest &forest;
  SmallVector<int64_t> firsts;
  bool isEmpty = false;
};
} // namespace

static Value buildConstant(LegalizeContext &c, ArrayRef<int32_t> numbers, ArrayRef<int64_t> shape) {
  auto type = RankedTensorType::get(shape, c.b.getI32Type());
  return arith::ConstantOp::create(c.b, c.loc, DenseElementsAttr::get(type, numbers));
}

static Value buildConstant(LegalizeContext &c, ArrayRef<double> numbers, Type element) {
  int64_t count = numbers.size();
  if (element.isF64()) {
    auto type = RankedTensorType::get({count}, element);
    return arith::ConstantOp::create(c.b, c.loc, DenseElementsAttr::get(type, numbers));
  }
  return buildTable(c, ArrayRef<float>(SmallVector<float>(numbers.begin(), numbers.end())), {count}, element);
}

/// The one weight that those of a leaf make; NaN is none.
static double joinWeights(nn::ReduceKind kind, ArrayRef<std::pair<int64_t, double>> leaf) {
  double joined = kind == nn::ReduceKind::Sum ? 0 : NAN;
  for (auto [target, weight] : leaf) {
    joined = kind == nn::ReduceKind::Sum   ? joined + weight
             : kind == nn::ReduceKind::Min ? std::fmin(joined, weight)
                                           : std::fmax(joined, weight);
  }
  return joined;
}

Value lathe::onnx::buildForest(LegalizeContext &c, nn::ReduceKind kind, Value x, const TreeForest &forest) {
  if (failed(checkPlaces(c, forest)) || failed(checkAcyclic(c, forest))) {
    return Value();
  }
  int64_t featureCount = 0;
  for (const TreeNode &node : forest.nodes) {
    featureCount = std::max(featureCount, node.feature + 1);
  }
  Size features = c.shapeOf(x)[1], needed = c.b.getIndexAttr(featureCount);
  c.require(c.sizes.compare(nn::CompareKind::LessOrEqual, needed, features),
            llvm::formatv("the trees ask for {0} features, but X has {1}", featureCount,
                          getConstantIntValue(features).value_or(0)));
  TableWriter tables(forest);
  if (tables.nodeCount + int64_t(forest.leaves.size()) > kMaxPlaces) {
    (void)c.unsupported(llvm::formatv("the trees have {0} nodes and {1} leaves, the limit is {2}",
                                      tables.nodeCount, forest.leaves.size(), kMaxPlaces));
    return Value();
  }
  tables.write();
  Type element = nn::getElementType(x);
  SmallVector<int32_t> roots;
  for (TreePlace root : forest.roots) {
    roots.push_back(tables.place(root));
  }
  SmallVector<double> weights;
  SmallVector<int32_t> starts{0}, targets;
  for (auto &leaf : forest.leaves) {
    if (forest.targetCount == 1) {
      weights.push_back(joinWeights(kind, leaf));
      continue;
    }
    for (auto [target, weight] : leaf) {
      targets.push_back(target);
      weights.push_back(weight);
    }
    starts.push_back(weights.size());
  }
  if (weights.empty()) {
    // What is never read must still be a table.
    weights.push_back(0);
    targets.push_back(0);
  }
  SmallVector<Value> lists;
  if (forest.targetCount > 1) {
    lists.push_back(buildConstant(c, ArrayRef<int32_t>(starts), {int64_t(starts.size())}));
    lists.push_back(buildConstant(c, ArrayRef<int32_t>(targets), {int64_t(targets.size())}));
  }
  return nn::createInferred<nn::TreeEnsembleOp>(
      c.b, c.loc, element, kind, x, buildConstant(c, ArrayRef<int32_t>(roots), {int64_t(roots.size())}),
      buildConstant(c, tables.nodes, {tables.nodeCount, 4}), buildConstant(c, tables.splits, element),
      buildConstant(c, weights, element), lists, forest.targetCount);
}
