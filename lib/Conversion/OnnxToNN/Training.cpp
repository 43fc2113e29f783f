// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// ai.onnx.preview.training: steps of optimizers. Operands are the learning rate R, the number T of steps
/// before, then all tensors, all their gradients and all their states.

#include "Legalizer.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::BinaryKind;
using nn::CompareKind;
using nn::UnaryKind;

namespace {

/// One tensor's part of a step.
struct Step {
  Value rate, count, x, gradient;
  SmallVector<Value> states;
};

/// Arithmetic in the type of a tensor.
struct Arithmetic {
  LegalizeContext &c;

  Value number(double value, Value like) { return c.scalar(value, like); }
  Value add(Value x, Value y) { return c.add(x, y); }
  Value sub(Value x, Value y) { return c.binary(BinaryKind::Sub, x, y); }
  Value mul(Value x, Value y) { return c.mul(x, y); }
  Value mul(Value x, double y) { return c.mul(x, c.scalar(y, x)); }
  Value div(Value x, Value y) { return c.binary(BinaryKind::Div, x, y); }
  Value sqrt(Value x) { return c.unary(UnaryKind::Sqrt, x); }
};

} // namespace

/// Runs `update`, which gives the new tensor and its new states, for each tensor.
static LogicalResult legalizeStep(LegalizeContext &c, unsigned numStates,
                                  llvm::function_ref<SmallVector<Value>(Arithmetic &, const Step &)> update) {
  unsigned groups = 2 + numStates, rest = c.numInputs() - 2;
  if (rest == 0 || rest % groups != 0) {
    return c.error(
        "E0305",
        llvm::formatv("there are {0} inputs after R and T, must be a multiple of {1}", rest, groups).str());
  }
  for (unsigned i = 0; i < c.numInputs(); ++i) {
    if (!c.has(i)) {
      return c.error("E0305", llvm::formatv("input {0} is absent", i).str());
    }
  }
  unsigned count = rest / groups;
  Arithmetic a{c};
  for (unsigned i = 0; i < count; ++i) {
    auto tensor = [&](unsigned group) { return c.operand(2 + group * count + i); };
    Type type = nn::getElementType(tensor(0));
    Step step{c.reshape(c.cast(c.operand(0), type), {}),
              c.reshape(c.cast(c.operand(1), type), {}),
              tensor(0),
              tensor(1),
              {}};
    for (unsigned state = 0; state < numStates; ++state) {
      step.states.push_back(tensor(2 + state));
    }
    // The gradient of the regularization norm_coefficient / 2 * x^2 is part of it.
    step.gradient = a.add(a.mul(step.x, c.floatAttr("norm_coefficient", 0)), step.gradient);
    for (auto [result, value] : llvm::enumerate(update(a, step))) {
      (void)c.set(result * count + i, value);
    }
  }
  return success(!c.hasFailed());
}

/// Sums of squared gradients slow their direction down.
static LogicalResult legalizeAdagrad(LegalizeContext &c) {
  double decay = c.floatAttr("decay_factor", 0), epsilon = c.floatAttr("epsilon", 1e-6);
  return legalizeStep(c, 1, [&](Arithmetic &a, const Step &s) -> SmallVector<Value> {
    Value rate = a.div(s.rate, a.add(a.mul(s.count, decay), a.number(1, s.count)));
    Value sums = a.add(s.states[0], a.mul(s.gradient, s.gradient));
    Value scale = a.add(a.sqrt(sums), a.number(epsilon, sums));
    return {a.sub(s.x, a.div(a.mul(s.gradient, rate), scale)), sums};
  });
}

/// Running means of the gradient and its square. Both begin at 0, which the rate makes up for after step 0.
static LogicalResult legalizeAdam(LegalizeContext &c) {
  double alpha = c.floatAttr("alpha", 0.9), beta = c.floatAttr("beta", 0.999),
         epsilon = c.floatAttr("epsilon", 1e-6), decay = c.floatAttr("norm_coefficient_post", 0);
  return legalizeStep(c, 2, [&](Arithmetic &a, const Step &s) -> SmallVector<Value> {
    Value mean = a.add(a.mul(s.states[0], alpha), a.mul(s.gradient, 1 - alpha));
    Value square = a.add(a.mul(s.states[1], beta), a.mul(a.mul(s.gradient, s.gradient), 1 - beta));
    auto missing = [&](double factor) {
      Value power = c.binary(BinaryKind::Pow, a.number(factor, s.count), s.count);
      return a.sub(a.number(1, s.count), power);
    };
    Value corrected = a.div(a.mul(s.rate, a.sqrt(missing(beta))), missing(alpha));
    Value isLater = c.compare(CompareKind::Greater, s.count, a.number(0, s.count));
    Value rate = c.select(isLater, corrected, s.rate);
    Value scale = a.add(a.sqrt(square), a.number(epsilon, square));
    Value x = a.sub(s.x, a.mul(a.div(mean, scale), rate));
    return {decay == 0 ? x : a.mul(x, 1 - decay), mean, square};
  });
}

/// A velocity; `nesterov` looks ahead along it.
static LogicalResult legalizeMomentum(LegalizeContext &c) {
  StringRef mode = c.stringAttr("mode").value_or("");
  if (mode != "standard" && mode != "nesterov") {
    return c.error("E0304", "mode is \"" + mode + "\", must be \"standard\" or \"nesterov\"", "mode");
  }
  double alpha = c.floatAttr("alpha", 0), beta = c.floatAttr("beta", 0);
  return legalizeStep(c, 1, [&](Arithmetic &a, const Step &s) -> SmallVector<Value> {
    // The first gradient counts in full.
    Value isLater = c.compare(CompareKind::Greater, s.count, a.number(0, s.count));
    Value factor = c.select(isLater, a.number(beta, s.x), a.number(1, s.x));
    Value velocity = a.add(a.mul(s.states[0], alpha), a.mul(s.gradient, factor));
    Value direction = mode == "standard" ? velocity : a.add(s.gradient, a.mul(velocity, alpha));
    return {a.sub(s.x, a.mul(direction, s.rate)), velocity};
  });
}

void lathe::onnx::registerTraining(LegalizerRegistry &registry) {
  registry.add("Adagrad", 2, LegalizerRegistry::kAny, legalizeAdagrad, kTraining);
  registry.add("Adam", 2, LegalizerRegistry::kAny, legalizeAdam, kTraining);
  registry.add("Momentum", 2, LegalizerRegistry::kAny, legalizeMomentum, kTraining);
}
