// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Decision trees of ai.onnx.ml.

#include "TreeTables.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "llvm/ADT/DenseMap.h"
#include "llvm/ADT/StringSwitch.h"
#include <cmath>

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::BinaryKind;
using nn::CompareKind;

namespace {
/// A list of numbers that is an attribute of floats, or a tensor.
struct Numbers {
  SmallVector<double> values;
  bool isDouble = false;
};
} // namespace

/// The numbers of attribute `name`, a tensor or a list of floats, or of the tensor `name`_as_tensor.
static Numbers getNumbers(LegalizeContext &c, StringRef name) {
  std::string asTensor = (name + "_as_tensor").str();
  StringRef tensorName = c.hasAttr(asTensor) ? StringRef(asTensor) : name;
  auto tensor = dyn_cast_or_null<ElementsAttr>(c.node.attributes.get(tensorName));
  if (!tensor || isa<DenseArrayAttr>(c.node.attributes.get(tensorName))) {
    ArrayRef<float> floats = c.floatsAttr(name).value_or(ArrayRef<float>());
    return {SmallVector<double>(floats.begin(), floats.end()), false};
  }
  DenseElementsAttr dense = toDense(tensor);
  if (!dense || !isa<FloatType>(dense.getElementType())) {
    (void)c.error("E0303", tensorName + " is no tensor of floats", tensorName);
    return {};
  }
  Numbers numbers{{}, dense.getElementType().isF64()};
  for (const APFloat &number : dense.getValues<APFloat>()) {
    numbers.values.push_back(number.convertToDouble());
  }
  return numbers;
}

static SmallVector<int64_t> getIntegers(LegalizeContext &c, StringRef name) {
  return c.intsAttr(name).value_or(SmallVector<int64_t>());
}

static bool checkCount(LegalizeContext &c, StringRef name, size_t count, size_t wanted,
                       bool isOptional = false) {
  if (count == wanted || (isOptional && count == 0)) {
    return true;
  }
  (void)c.error("E0304", llvm::formatv("{0} has {1} elements, must have {2}", name, count, wanted).str(),
                name);
  return false;
}

static std::optional<BranchMode> getMode(StringRef name) {
  return llvm::StringSwitch<std::optional<BranchMode>>(name)
      .Case("BRANCH_LEQ", BranchMode::AtMost)
      .Case("BRANCH_LT", BranchMode::Less)
      .Case("BRANCH_GTE", BranchMode::AtLeast)
      .Case("BRANCH_GT", BranchMode::Greater)
      .Case("BRANCH_EQ", BranchMode::Equal)
      .Case("BRANCH_NEQ", BranchMode::NotEqual)
      .Default(std::nullopt);
}

/// The trees of TreeEnsembleRegressor and TreeEnsembleClassifier: nodes and leaves in one list, by their tree
/// and number; the weights are those of attributes `prefix`_*.
static std::optional<TreeForest> readNodeList(LegalizeContext &c, StringRef prefix) {
  SmallVector<int64_t> trees = getIntegers(c, "nodes_treeids"), ids = getIntegers(c, "nodes_nodeids");
  SmallVector<int64_t> features = getIntegers(c, "nodes_featureids");
  SmallVector<int64_t> onTrue = getIntegers(c, "nodes_truenodeids"),
                       onFalse = getIntegers(c, "nodes_falsenodeids");
  SmallVector<int64_t> missing = getIntegers(c, "nodes_missing_value_tracks_true");
  std::vector<std::string> modes = c.stringsAttr("nodes_modes").value_or(std::vector<std::string>());
  Numbers values = getNumbers(c, "nodes_values"), weights = getNumbers(c, (prefix + "_weights").str());
  SmallVector<int64_t> weightTrees = getIntegers(c, (prefix + "_treeids").str());
  SmallVector<int64_t> weightNodes = getIntegers(c, (prefix + "_nodeids").str());
  SmallVector<int64_t> targets = getIntegers(c, (prefix + "_ids").str());
  size_t count = ids.size();
  if (count == 0) {
    (void)c.error("E0303", "nodes_nodeids is missing", "nodes_nodeids");
    return std::nullopt;
  }
  if (!checkCount(c, "nodes_treeids", trees.size(), count) ||
      !checkCount(c, "nodes_modes", modes.size(), count) ||
      !checkCount(c, "nodes_featureids", features.size(), count) ||
      !checkCount(c, "nodes_values", values.values.size(), count) ||
      !checkCount(c, "nodes_truenodeids", onTrue.size(), count) ||
      !checkCount(c, "nodes_falsenodeids", onFalse.size(), count) ||
      !checkCount(c, "nodes_missing_value_tracks_true", missing.size(), count, /*isOptional=*/true) ||
      !checkCount(c, (prefix + "_treeids").str(), weightTrees.size(), targets.size()) ||
      !checkCount(c, (prefix + "_nodeids").str(), weightNodes.size(), targets.size()) ||
      !checkCount(c, (prefix + "_weights").str(), weights.values.size(), targets.size()) || c.hasFailed()) {
    return std::nullopt;
  }
  TreeForest forest;
  forest.isDouble = values.isDouble || weights.isDouble;
  llvm::DenseMap<std::pair<int64_t, int64_t>, TreePlace> places;
  for (size_t i = 0; i < count; ++i) {
    bool isLeaf = modes[i] == "LEAF";
    if (!isLeaf && !getMode(modes[i])) {
      (void)c.error("E0304", "nodes_modes holds \"" + modes[i] + "\", which is no mode", "nodes_modes");
      return std::nullopt;
    }
    TreePlace place{isLeaf, int64_t(isLeaf ? forest.leaves.size() : forest.nodes.size())};
    if (isLeaf) {
      forest.leaves.emplace_back();
    } else {
      forest.nodes.emplace_back();
    }
    if (!places.try_emplace({trees[i], ids[i]}, place).second) {
      (void)c.error("E0304", llvm::formatv("tree {0} has two nodes {1}", trees[i], ids[i]).str(),
                    "nodes_nodeids");
      return std::nullopt;
    }
  }
  llvm::DenseMap<std::pair<int64_t, int64_t>, bool> areChildren;
  for (size_t i = 0; i < count; ++i) {
    TreePlace place = places.lookup({trees[i], ids[i]});
    if (place.isLeaf) {
      continue;
    }
    TreeNode &node = forest.nodes[place.index];
    node.mode = *getMode(modes[i]);
    node.feature = features[i];
    node.value = values.values[i];
    node.isNaNTrue = !missing.empty() && missing[i] != 0;
    for (auto [child, id] : {std::pair(&node.onTrue, onTrue[i]), std::pair(&node.onFalse, onFalse[i])}) {
      auto found = places.find({trees[i], id});
      if (found == places.end()) {
        (void)c.error("E0304", llvm::formatv("node {0} of tree {1} has a child {2}, which does not exist",
                                             ids[i], trees[i], id)
                                   .str());
        return std::nullopt;
      }
      *child = found->second;
      areChildren[{trees[i], id}] = true;
    }
  }
  for (size_t i = 0; i < count; ++i) {
    if (!areChildren.contains({trees[i], ids[i]})) {
      forest.roots.push_back(places.lookup({trees[i], ids[i]}));
    }
  }
  if (forest.roots.empty()) {
    (void)c.error("E0304", "every node is a child of another", "nodes_truenodeids");
    return std::nullopt;
  }
  for (auto [i, target] : llvm::enumerate(targets)) {
    auto found = places.find({weightTrees[i], weightNodes[i]});
    if (found == places.end() || !found->second.isLeaf) {
      (void)c.error("E0304", llvm::formatv("there is a weight for node {0} of tree {1}, which is no leaf",
                                           weightNodes[i], weightTrees[i])
                                 .str());
      return std::nullopt;
    }
    forest.leaves[found->second.index].emplace_back(target, weights.values[i]);
  }
  return forest;
}

/// The rows of features in the type in which they are compared.
static Value getRows(LegalizeContext &c, TreeForest &forest) {
  Value x = getFeatureRows(c, /*keepDouble=*/true);
  forest.isDouble |= nn::getElementType(x).isF64();
  return forest.isDouble ? c.cast(x, c.b.getF64Type()) : x;
}

/// How weights are joined, and whether the sum is divided by the number of trees.
static std::optional<std::pair<nn::ReduceKind, bool>> getAggregate(LegalizeContext &c, StringRef name) {
  auto kind = llvm::StringSwitch<std::optional<std::pair<nn::ReduceKind, bool>>>(name)
                  .Case("SUM", std::pair(nn::ReduceKind::Sum, false))
                  .Case("AVERAGE", std::pair(nn::ReduceKind::Sum, true))
                  .Case("MIN", std::pair(nn::ReduceKind::Min, false))
                  .Case("MAX", std::pair(nn::ReduceKind::Max, false))
                  .Default(std::nullopt);
  if (!kind) {
    (void)c.error("E0304", "aggregate_function is \"" + name + "\", must be SUM, AVERAGE, MIN or MAX",
                  "aggregate_function");
  }
  return kind;
}

static Value buildScores(LegalizeContext &c, TreeForest &forest, std::pair<nn::ReduceKind, bool> aggregate) {
  Value x = getRows(c, forest);
  Value scores = buildForest(c, aggregate.first, x, forest);
  return scores && aggregate.second
             ? c.binary(BinaryKind::Div, scores, c.scalar(double(forest.roots.size()), scores))
             : scores;
}

static LogicalResult legalizeRegressor(LegalizeContext &c) {
  std::optional<ScoreTransform> transform = getScoreTransform(c);
  auto aggregate = getAggregate(c, c.stringAttr("aggregate_function").value_or("SUM"));
  std::optional<TreeForest> forest = readNodeList(c, "target");
  if (!transform || !aggregate || !forest) {
    return failure();
  }
  forest->targetCount = c.intAttr("n_targets", 1);
  if (forest->targetCount < 1 || forest->targetCount > nn::kMaxDim) {
    return c.error("E0304", llvm::formatv("n_targets is {0}, must be at least 1", forest->targetCount).str(),
                   "n_targets");
  }
  Numbers base = getNumbers(c, "base_values");
  if (!checkCount(c, "base_values", base.values.size(), forest->targetCount, /*isOptional=*/true)) {
    return failure();
  }
  Value scores = buildScores(c, *forest, *aggregate);
  if (!scores) {
    return failure();
  }
  if (!base.values.empty()) {
    SmallVector<float> floats(base.values.begin(), base.values.end());
    scores = c.add(scores, buildTable(c, floats, {forest->targetCount}, nn::getElementType(scores)));
  }
  return c.set(transformScores(c, *transform, c.cast(scores, c.b.getF32Type())));
}

/// The only class that has weights, if there is one.
static std::optional<int64_t> getOnlyClass(const TreeForest &forest) {
  std::optional<int64_t> only;
  for (auto &leaf : forest.leaves) {
    for (auto [target, weight] : leaf) {
      if (only && *only != target) {
        return std::nullopt;
      }
      only = target;
    }
  }
  return only;
}

/// Two classes of which one has weights. They are its score if they are probabilities (none is negative),
/// where one half decides; else their sign does.
static LogicalResult classifyByOneScore(LegalizeContext &c, TreeForest &forest, int64_t onlyClass,
                                        ScoreTransform transform, const ClassLabels &labels,
                                        ArrayRef<double> base) {
  bool areProbabilities = true;
  for (auto &leaf : forest.leaves) {
    for (auto &[target, weight] : leaf) {
      areProbabilities &= weight >= 0;
      target = 0;
    }
  }
  if (base.size() > 1 || (onlyClass == 1 && !base.empty())) {
    return c.unsupported("base_values for a class without weights");
  }
  Value sums = buildScores(c, forest, {nn::ReduceKind::Sum, false});
  if (!sums) {
    return failure();
  }
  if (!base.empty()) {
    sums = c.add(sums, c.scalar(base[0], sums));
  }
  Value isSecond = c.compare(CompareKind::Greater, sums, c.scalar(areProbabilities ? 0.5 : 0.0, sums));
  Value classes = c.reshape(c.cast(isSecond, c.b.getI64Type()), {c.shapeOf(sums)[0]});
  Value score = c.cast(sums, c.b.getF32Type());
  Value scores;
  if (onlyClass == 1) {
    // The first class has a score, too.
    Value columns[] = {c.expand(c.scalar(0, score), c.shapeOf(score)), score};
    scores = transformScores(c, transform, nn::buildConcat(c.b, c.loc, columns, /*axis=*/1));
  } else {
    scores = transformBinaryScore(c, transform, score, areProbabilities);
  }
  return failure(failed(setLabels(c, labels, classes)) || failed(c.set(1, scores)));
}

static LogicalResult legalizeClassifier(LegalizeContext &c) {
  std::optional<ScoreTransform> transform = getScoreTransform(c);
  std::optional<ClassLabels> labels = getClassLabels(c, "classlabels_int64s");
  std::optional<TreeForest> forest = readNodeList(c, "class");
  if (!transform || !labels || !forest) {
    return failure();
  }
  int64_t count = labels->size();
  forest->targetCount = count;
  Numbers base = getNumbers(c, "base_values");
  std::optional<int64_t> onlyClass = getOnlyClass(*forest);
  bool hasOneScore = count == 2 && onlyClass && *onlyClass >= 0 && *onlyClass < 2;
  if (!(hasOneScore && base.values.size() == 1) &&
      !checkCount(c, "base_values", base.values.size(), count, /*isOptional=*/true)) {
    return failure();
  }
  if (hasOneScore) {
    forest->targetCount = 1;
    return classifyByOneScore(c, *forest, *onlyClass, *transform, *labels, base.values);
  }
  Value scores = buildScores(c, *forest, {nn::ReduceKind::Sum, false});
  if (!scores) {
    return failure();
  }
  if (!base.values.empty()) {
    SmallVector<float> floats(base.values.begin(), base.values.end());
    scores = c.add(scores, buildTable(c, floats, {count}, nn::getElementType(scores)));
  }
  Value classes =
      nn::buildArgReduce(c.b, c.loc, nn::ArgReduceKind::Max, scores, /*axis=*/1, /*keepDims=*/false,
                         /*selectLast=*/false);
  return failure(failed(setLabels(c, *labels, classes)) ||
                 failed(c.set(1, transformScores(c, *transform, c.cast(scores, c.b.getF32Type())))));
}

/// The members of each node that asks for them: lists that end with NaN.
static bool readMembers(LegalizeContext &c, TreeForest &forest) {
  SmallVector<double> members = getNumbers(c, "membership_values").values;
  ArrayRef<double> rest = members;
  for (TreeNode &node : forest.nodes) {
    if (node.mode != BranchMode::Member) {
      continue;
    }
    const double *end = llvm::find_if(rest, [](double number) { return std::isnan(number); });
    if (end == rest.end()) {
      (void)c.error("E0304", "membership_values has fewer lists than there are nodes that ask for them",
                    "membership_values");
      return false;
    }
    node.members.assign(rest.begin(), end);
    rest = rest.drop_front(end - rest.begin() + 1);
  }
  return true;
}

static std::optional<TreeForest> readTreeEnsemble(LegalizeContext &c) {
  TreeForest forest;
  SmallVector<int64_t> features = getIntegers(c, "nodes_featureids"), roots = getIntegers(c, "tree_roots");
  SmallVector<int64_t> trueIds = getIntegers(c, "nodes_truenodeids"),
                       falseIds = getIntegers(c, "nodes_falsenodeids");
  SmallVector<int64_t> trueLeafs = getIntegers(c, "nodes_trueleafs"),
                       falseLeafs = getIntegers(c, "nodes_falseleafs");
  SmallVector<int64_t> missing = getIntegers(c, "nodes_missing_value_tracks_true");
  SmallVector<int64_t> targets = getIntegers(c, "leaf_targetids");
  Numbers splits = getNumbers(c, "nodes_splits"), weights = getNumbers(c, "leaf_weights");
  ElementsAttr modeTensor = c.tensorAttr("nodes_modes");
  DenseElementsAttr modes = modeTensor ? toDense(modeTensor) : DenseElementsAttr();
  if (!modes || !modes.getElementType().isInteger(8)) {
    (void)c.error("E0303", "nodes_modes is no tensor of uint8", "nodes_modes");
    return std::nullopt;
  }
  size_t count = features.size();
  if (!checkCount(c, "nodes_splits", splits.values.size(), count) ||
      !checkCount(c, "nodes_modes", modes.getNumElements(), count) ||
      !checkCount(c, "nodes_truenodeids", trueIds.size(), count) ||
      !checkCount(c, "nodes_falsenodeids", falseIds.size(), count) ||
      !checkCount(c, "nodes_trueleafs", trueLeafs.size(), count) ||
      !checkCount(c, "nodes_falseleafs", falseLeafs.size(), count) ||
      !checkCount(c, "nodes_missing_value_tracks_true", missing.size(), count, /*isOptional=*/true) ||
      !checkCount(c, "leaf_weights", weights.values.size(), targets.size()) || c.hasFailed()) {
    return std::nullopt;
  }
  forest.isDouble = splits.isDouble || weights.isDouble;
  for (auto [i, mode] : llvm::enumerate(modes.getValues<APInt>())) {
    if (mode.ugt(uint64_t(BranchMode::Member))) {
      (void)c.error("E0304",
                    llvm::formatv("nodes_modes holds {0}, must be 0 to 6", mode.getZExtValue()).str(),
                    "nodes_modes");
      return std::nullopt;
    }
    TreeNode &node = forest.nodes.emplace_back();
    node.mode = BranchMode(mode.getZExtValue());
    node.feature = features[i];
    node.value = splits.values[i];
    node.onTrue = {trueLeafs[i] != 0, trueIds[i]};
    node.onFalse = {falseLeafs[i] != 0, falseIds[i]};
    node.isNaNTrue = !missing.empty() && missing[i] != 0;
  }
  for (auto [target, weight] : llvm::zip_equal(targets, weights.values)) {
    forest.leaves.emplace_back().emplace_back(target, weight);
  }
  for (int64_t root : roots) {
    forest.roots.push_back({false, root});
  }
  if (roots.empty()) {
    (void)c.error("E0303", "tree_roots is missing", "tree_roots");
    return std::nullopt;
  }
  return readMembers(c, forest) ? std::optional(std::move(forest)) : std::nullopt;
}

static LogicalResult legalizeTreeEnsemble(LegalizeContext &c) {
  static constexpr StringLiteral aggregates[] = {"AVERAGE", "SUM", "MIN", "MAX"};
  static constexpr ScoreTransform transforms[] = {ScoreTransform::None, ScoreTransform::Softmax,
                                                  ScoreTransform::Logistic, ScoreTransform::SoftmaxZero,
                                                  ScoreTransform::Probit};
  int64_t aggregate = c.intAttr("aggregate_function", 1), transform = c.intAttr("post_transform", 0);
  if (aggregate < 0 || aggregate > 3) {
    return c.error("E0304", llvm::formatv("aggregate_function is {0}, must be 0 to 3", aggregate).str(),
                   "aggregate_function");
  }
  if (transform < 0 || transform > 4) {
    return c.error("E0304", llvm::formatv("post_transform is {0}, must be 0 to 4", transform).str(),
                   "post_transform");
  }
  std::optional<TreeForest> forest = readTreeEnsemble(c);
  if (!forest) {
    return failure();
  }
  int64_t largest = 0;
  for (auto &leaf : forest->leaves) {
    largest = std::max(largest, leaf.front().first);
  }
  forest->targetCount = c.intAttr("n_targets", largest + 1);
  if (forest->targetCount < 1 || forest->targetCount > nn::kMaxDim) {
    return c.error("E0304", llvm::formatv("n_targets is {0}, must be at least 1", forest->targetCount).str(),
                   "n_targets");
  }
  Type element = c.elementType(0);
  Value scores = buildScores(c, *forest, *getAggregate(c, aggregates[aggregate]));
  return scores ? c.set(c.cast(transformScores(c, transforms[transform], scores), element)) : failure();
}

void lathe::onnx::registerTrees(LegalizerRegistry &registry) {
  registry.add("TreeEnsemble", 1, 1, legalizeTreeEnsemble, kMachineLearning);
  registry.add("TreeEnsembleRegressor", 1, 1, legalizeRegressor, kMachineLearning);
  registry.add("TreeEnsembleClassifier", 1, 1, legalizeClassifier, kMachineLearning);
}
