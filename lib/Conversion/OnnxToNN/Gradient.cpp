// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Gradient of ai.onnx.preview.training: the derivatives of a value of the graph by others, node by node
/// backwards from it.

#include "Products.h"

#include "lathe/Dialect/Onnx/IR/Onnx.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::BinaryKind;
using nn::CompareKind;
using nn::UnaryKind;

namespace {
/// One node on the way, with tensors for its operands, its result, and the derivative by it.
struct Step {
  LegalizeContext &c;
  SmallVector<Value> x;
  Value y, dy;

  Value mul(Value lhs, Value rhs) const { return c.mul(lhs, rhs); }
  Value div(Value lhs, Value rhs) const { return c.binary(BinaryKind::Div, lhs, rhs); }
  Value sub(Value lhs, Value rhs) const { return c.binary(BinaryKind::Sub, lhs, rhs); }
  Value neg(Value value) const { return c.unary(UnaryKind::Neg, value); }
  Value one() const { return c.scalar(1, y); }
};

/// The derivatives by the operands of a node.
using Rule = SmallVector<Value> (*)(const Step &);

class GradientBuilder {
public:
  explicit GradientBuilder(LegalizeContext &c) : c(c) {}
  LogicalResult build();

private:
  /// The nodes that `y` needs and that depend on an input, in the order of the graph; null in place of `y` if
  /// there is no such value.
  LogicalResult collect(StringRef name, ValueRange inputs);
  LogicalResult goBack(NodeOp node);
  Value tensorOf(Value value);
  /// The sum of `dx` over what an operand of these dimensions was broadcast along.
  Value sumBroadcast(Value dx, Value x);
  void add(Value value, Value derivative);

  LegalizeContext &c;
  llvm::SetVector<NodeOp> nodes;
  Value y;
  DenseMap<Value, Value> derivatives;
  llvm::DenseSet<Value> dependent;
};
} // namespace

static const llvm::StringMap<Rule> &getRules() {
  static const llvm::StringMap<Rule> rules = {
      {"Identity", [](const Step &s) -> SmallVector<Value> { return {s.dy}; }},
      {"Add", [](const Step &s) -> SmallVector<Value> { return {s.dy, s.dy}; }},
      {"Sub", [](const Step &s) -> SmallVector<Value> { return {s.dy, s.neg(s.dy)}; }},
      {"Mul", [](const Step &s) -> SmallVector<Value> { return {s.mul(s.dy, s.x[1]), s.mul(s.dy, s.x[0])}; }},
      {"Div",
       [](const Step &s) -> SmallVector<Value> {
         Value quotient = s.div(s.dy, s.x[1]);
         return {quotient, s.neg(s.mul(quotient, s.y))};
       }},
      {"Neg", [](const Step &s) -> SmallVector<Value> { return {s.neg(s.dy)}; }},
      {"Exp", [](const Step &s) -> SmallVector<Value> { return {s.mul(s.dy, s.y)}; }},
      {"Log", [](const Step &s) -> SmallVector<Value> { return {s.div(s.dy, s.x[0])}; }},
      {"Sqrt",
       [](const Step &s) -> SmallVector<Value> { return {s.div(s.dy, s.mul(s.y, s.c.scalar(2, s.y)))}; }},
      {"Tanh",
       [](const Step &s) -> SmallVector<Value> { return {s.mul(s.dy, s.sub(s.one(), s.mul(s.y, s.y)))}; }},
      {"Sigmoid",
       [](const Step &s) -> SmallVector<Value> { return {s.mul(s.dy, s.mul(s.y, s.sub(s.one(), s.y)))}; }},
      {"Relu",
       [](const Step &s) -> SmallVector<Value> {
         Value zero = s.c.scalar(0, s.y);
         return {s.c.select(s.c.compare(CompareKind::Greater, s.x[0], zero), s.dy, zero)};
       }},
      {"MatMul",
       [](const Step &s) -> SmallVector<Value> {
         if (nn::getRank(s.x[0]) != 2 || nn::getRank(s.x[1]) != 2) {
           (void)s.c.unsupported("the derivative of a MatMul that is no product of two matrices");
           return {s.x[0], s.x[1]};
         }
         return {matmul(s.c, s.dy, s.c.transpose(s.x[1], {1, 0})),
                 matmul(s.c, s.c.transpose(s.x[0], {1, 0}), s.dy)};
       }},
      {"Sin",
       [](const Step &s) -> SmallVector<Value> { return {s.mul(s.dy, s.c.unary(UnaryKind::Cos, s.x[0]))}; }},
      {"Cos",
       [](const Step &s) -> SmallVector<Value> {
         return {s.neg(s.mul(s.dy, s.c.unary(UnaryKind::Sin, s.x[0])))};
       }},
  };
  return rules;
}

LogicalResult GradientBuilder::collect(StringRef name, ValueRange inputs) {
  dependent.insert(inputs.begin(), inputs.end());
  for (Operation &op : *c.node.op->getBlock()) {
    auto node = dyn_cast<NodeOp>(op);
    if (&op == c.node.op) {
      break;
    }
    for (unsigned i = 0; node && i < node.getNumResults(); ++i) {
      y = node.getOutputName(i) == name ? node.getResult(i) : y;
    }
    if (node && llvm::any_of(node.getInputs(), [&](Value input) { return dependent.contains(input); })) {
      nodes.insert(node);
      dependent.insert(node.result_begin(), node.result_end());
    }
  }
  return y ? success()
           : c.error("E0304", "y is \"" + name + "\", which no node before this one computes", "y");
}

Value GradientBuilder::tensorOf(Value value) {
  LegalValue *known = c.bodies->find(value);
  if (!known) {
    (void)c.error("E0307", "a value on the way to y is not known");
    return nn::buildScalar(c.b, c.loc, c.b.getF32Type(), 0);
  }
  return c.asTensor(*known);
}

Value GradientBuilder::sumBroadcast(Value dx, Value x) {
  Sizes from = c.shapeOf(dx), to = c.shapeOf(x);
  SmallVector<int64_t> axes;
  int64_t added = int64_t(from.size()) - int64_t(to.size());
  for (int64_t i = 0; i < int64_t(from.size()); ++i) {
    if (i < added || (getConstantIntValue(to[i - added]) == 1 && getConstantIntValue(from[i]) != 1)) {
      axes.push_back(i);
    } else if (!c.sizes.isSame(from[i], to[i - added])) {
      (void)c.unsupported("the derivative by an operand of which only the run tells whether it is broadcast");
    }
  }
  Value sum = axes.empty() ? dx : c.reduce(nn::ReduceKind::Sum, dx, axes, /*keepDims=*/true);
  return axes.empty() ? sum : c.reshape(sum, to);
}

void GradientBuilder::add(Value value, Value derivative) {
  Value &sum = derivatives[value];
  sum = sum ? c.add(sum, derivative) : derivative;
}

LogicalResult GradientBuilder::goBack(NodeOp node) {
  auto derivative = derivatives.find(node.getResult(0));
  if (derivative == derivatives.end()) {
    return success(); // y does not need it
  }
  auto rule = node.getCanonicalDomain().empty() ? getRules().find(node.getOpType()) : getRules().end();
  if (rule == getRules().end()) {
    return c.unsupported("the derivative of " + node.getOpType() +
                         "; export the graph of a training step, in which derivatives are nodes");
  }
  Step step{c, {}, tensorOf(node.getResult(0)), derivative->second};
  for (Value input : node.getInputs()) {
    step.x.push_back(tensorOf(input));
  }
  SmallVector<Value> parts = rule->second(step);
  for (auto [i, input] : llvm::enumerate(node.getInputs())) {
    if (dependent.contains(input)) {
      add(input, sumBroadcast(parts[i], step.x[i]));
    }
  }
  return success(!c.hasFailed());
}

LogicalResult GradientBuilder::build() {
  std::optional<std::vector<std::string>> xs = c.stringsAttr("xs");
  std::optional<StringRef> name = c.stringAttr("y");
  auto node = dyn_cast<NodeOp>(c.node.op);
  if (!xs || !name || !node || xs->size() > node.getInputs().size()) {
    return c.error("E0303", "xs and y must be there, with an input for each of xs", "xs");
  }
  ValueRange inputs = node.getInputs().take_front(xs->size());
  if (failed(collect(*name, inputs))) {
    return failure();
  }
  Value result = tensorOf(y);
  add(y, c.expand(c.scalar(1, result), c.shapeOf(result)));
  for (NodeOp step : llvm::reverse(nodes)) {
    if (failed(goBack(step)) || !c.unsupportedReason().empty()) {
      return failure();
    }
  }
  for (auto [i, input] : llvm::enumerate(inputs)) {
    Value x = tensorOf(input), derivative = derivatives.lookup(input);
    (void)c.set(i, derivative ? derivative : c.expand(c.scalar(0, x), c.shapeOf(x)));
  }
  return success(!c.hasFailed());
}

void lathe::onnx::registerGradient(LegalizerRegistry &registry) {
  registry.add(
      "Gradient", 1, LegalizerRegistry::kAny, [](LegalizeContext &c) { return GradientBuilder(c).build(); },
      kTraining);
}
