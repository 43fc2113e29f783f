// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Activation functions, those without an op of their own composed of simpler ones.

#include "Legalizer.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::BinaryKind;
using nn::CompareKind;
using nn::UnaryKind;

static Value div(LegalizeContext &c, Value lhs, Value rhs) { return c.binary(BinaryKind::Div, lhs, rhs); }

/// `x` where it is positive (or NaN), else `negative`.
static Value selectNegative(LegalizeContext &c, Value x, Value negative) {
  return c.select(c.compare(CompareKind::Less, x, c.scalar(0, x)), negative, x);
}

/// alpha * (exp(x) - 1)
static Value scaledExpm1(LegalizeContext &c, Value x, double alpha) {
  Value expm1 = c.binary(BinaryKind::Sub, c.unary(UnaryKind::Exp, x), c.scalar(1, x));
  return alpha == 1 ? expm1 : c.mul(expm1, c.scalar(alpha, x));
}

static LogicalResult legalizeGelu(LegalizeContext &c) {
  StringRef approximate = c.stringAttr("approximate").value_or("none");
  if (approximate != "none" && approximate != "tanh") {
    return c.error("E0304", "approximate is \"" + approximate + "\", must be \"none\" or \"tanh\"",
                   "approximate");
  }
  return c.set(c.unary(approximate == "tanh" ? UnaryKind::GeluTanh : UnaryKind::Gelu, c.operand(0)));
}

/// Swish: alpha stands inside the sigmoid only.
static Value buildSwish(LegalizeContext &c, Value x, double alpha) {
  if (alpha == 1) {
    return c.unary(UnaryKind::Silu, x);
  }
  return c.mul(x, c.unary(UnaryKind::Sigmoid, c.mul(x, c.scalar(alpha, x))));
}

static LogicalResult legalizeSwish(LegalizeContext &c, double defaultAlpha) {
  return c.set(buildSwish(c, c.operand(0), c.floatAttr("alpha", defaultAlpha)));
}

/// SwiGLU: the second operand, gated by the first. They have one shape: nothing broadcasts.
static LogicalResult legalizeSwiGLU(LegalizeContext &c) {
  Sizes gate = c.shapeOf(0), value = c.shapeOf(1);
  if (gate.size() != value.size()) {
    return c.error("E0307", llvm::formatv("the operands have {0} and {1} dimensions, must have one shape",
                                          gate.size(), value.size())
                                .str());
  }
  for (auto [size, other] : llvm::zip_equal(gate, value)) {
    if (!c.sizes.isSame(size, other)) {
      c.require(c.sizes.compare(CompareKind::Equal, size, other), "the operands must have one shape");
    }
  }
  return c.set(c.mul(buildSwish(c, c.operand(0), c.floatAttr("alpha", 1)), c.operand(1)));
}

static LogicalResult legalizeLeakyRelu(LegalizeContext &c) {
  Value x = c.operand(0);
  return c.set(selectNegative(c, x, c.mul(x, c.scalar(c.floatAttr("alpha", 0.01), x))));
}

static LogicalResult legalizePRelu(LegalizeContext &c) {
  Value x = c.operand(0);
  return c.set(selectNegative(c, x, c.mul(x, c.operand(1))));
}

static LogicalResult legalizeElu(LegalizeContext &c) {
  Value x = c.operand(0);
  return c.set(selectNegative(c, x, scaledExpm1(c, x, c.floatAttr("alpha", 1))));
}

static LogicalResult legalizeSelu(LegalizeContext &c) {
  Value x = c.operand(0);
  Value elu = selectNegative(c, x, scaledExpm1(c, x, c.floatAttr("alpha", 1.67326319217681884765625)));
  return c.set(c.mul(elu, c.scalar(c.floatAttr("gamma", 1.05070102214813232421875), x)));
}

/// max(0, x) + min(0, alpha * (exp(x / alpha) - 1))
static LogicalResult legalizeCelu(LegalizeContext &c) {
  Value x = c.operand(0);
  double alpha = c.floatAttr("alpha", 1);
  if (alpha == 0) {
    return c.error("E0304", "alpha is 0, which divides", "alpha");
  }
  Value scaled = alpha == 1 ? x : div(c, x, c.scalar(alpha, x));
  Value low = c.binary(BinaryKind::Min, c.scalar(0, x), scaledExpm1(c, scaled, alpha));
  return c.set(c.add(c.unary(UnaryKind::Relu, x), low));
}

static LogicalResult legalizeHardSigmoid(LegalizeContext &c) {
  return c.set(nn::buildUnary(c.b, c.loc, UnaryKind::HardSigmoid, c.operand(0), c.floatAttr("alpha", 0.2),
                              c.floatAttr("beta", 0.5)));
}

static LogicalResult legalizeMish(LegalizeContext &c) {
  Value x = c.operand(0);
  return c.set(c.mul(x, c.unary(UnaryKind::Tanh, c.unary(UnaryKind::Softplus, x))));
}

static LogicalResult legalizeSoftsign(LegalizeContext &c) {
  Value x = c.operand(0);
  return c.set(div(c, x, c.add(c.unary(UnaryKind::Abs, x), c.scalar(1, x))));
}

static LogicalResult legalizeThresholdedRelu(LegalizeContext &c) {
  Value x = c.operand(0);
  Value above = c.compare(CompareKind::Greater, x, c.scalar(c.floatAttr("alpha", 1), x));
  return c.set(c.select(above, x, c.scalar(0, x)));
}

/// x + bias where x < -lambd, x - bias where x > lambd, else 0.
static LogicalResult legalizeShrink(LegalizeContext &c) {
  Value x = c.operand(0);
  Value bias = c.scalar(c.floatAttr("bias", 0), x);
  double lambd = c.floatAttr("lambd", 0.5);
  Value above = c.compare(CompareKind::Greater, x, c.scalar(lambd, x));
  Value below = c.compare(CompareKind::Less, x, c.scalar(-lambd, x));
  Value low = c.select(below, c.add(x, bias), c.scalar(0, x));
  return c.set(c.select(above, c.binary(BinaryKind::Sub, x, bias), low));
}

/// com.microsoft BiasGelu (exact) and FastGelu (tanh), with an optional bias.
static LogicalResult legalizeBiasGelu(LegalizeContext &c, UnaryKind kind) {
  Value x = c.operand(0);
  if (c.has(1)) {
    x = c.add(x, c.operand(1));
  }
  return c.set(c.unary(kind, x));
}

void lathe::onnx::registerActivations(LegalizerRegistry &registry) {
  registry.add("Gelu", 1, 1, legalizeGelu);
  registry.add("Swish", 1, 1, [](LegalizeContext &c) { return legalizeSwish(c, 1); });
  registry.add("SwiGLU", 2, 2, legalizeSwiGLU);
  registry.add("LeakyRelu", 1, 1, legalizeLeakyRelu);
  registry.add("PRelu", 2, 2, legalizePRelu);
  registry.add("Elu", 1, 1, legalizeElu);
  registry.add("Selu", 1, 1, legalizeSelu);
  registry.add("Celu", 1, 1, legalizeCelu);
  registry.add("HardSigmoid", 1, 1, legalizeHardSigmoid);
  registry.add("HardSwish", 1, 1,
               [](LegalizeContext &c) { return c.set(c.unary(UnaryKind::HardSwish, c.operand(0))); });
  registry.add("Mish", 1, 1, legalizeMish);
  registry.add("Softsign", 1, 1, legalizeSoftsign);
  registry.add("ThresholdedRelu", 1, 1, legalizeThresholdedRelu);
  registry.add("Shrink", 1, 1, legalizeShrink);
  registry.add(
      "Gelu", 1, 1, [](LegalizeContext &c) { return legalizeBiasGelu(c, UnaryKind::Gelu); }, kMicrosoft);
  registry.add(
      "BiasGelu", 2, 2, [](LegalizeContext &c) { return legalizeBiasGelu(c, UnaryKind::Gelu); }, kMicrosoft);
  registry.add(
      "FastGelu", 1, 2, [](LegalizeContext &c) { return legalizeBiasGelu(c, UnaryKind::GeluTanh); },
      kMicrosoft);
  registry.add("QuickGelu", 1, 1, [](LegalizeContext &c) { return legalizeSwish(c, 1.702); }, kMicrosoft);
}
