// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Activation functions, those without an op of their own composed of simpler ones.

#include "Activations.h"

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

//===----------------------------------------------------------------------===//
// Functions by name
//===----------------------------------------------------------------------===//

using Parameters = ActivationParameters;

static Value buildLeakyRelu(LegalizeContext &c, Value x, const Parameters &p) {
  return selectNegative(c, x, c.mul(x, c.scalar(p.alpha.value_or(0.01), x)));
}

static Value buildElu(LegalizeContext &c, Value x, const Parameters &p) {
  return selectNegative(c, x, scaledExpm1(c, x, p.alpha.value_or(1)));
}

static Value buildSelu(LegalizeContext &c, Value x, const Parameters &p) {
  Value elu = selectNegative(c, x, scaledExpm1(c, x, p.alpha.value_or(1.67326319217681884765625)));
  return c.mul(elu, c.scalar(p.gamma.value_or(1.05070102214813232421875), x));
}

/// max(0, x) + min(0, alpha * (exp(x / alpha) - 1))
static Value buildCelu(LegalizeContext &c, Value x, const Parameters &p) {
  double alpha = p.alpha.value_or(1);
  if (alpha == 0) {
    (void)c.error("E0304", "alpha is 0, which divides", "alpha");
    return x;
  }
  Value scaled = alpha == 1 ? x : div(c, x, c.scalar(alpha, x));
  Value low = c.binary(BinaryKind::Min, c.scalar(0, x), scaledExpm1(c, scaled, alpha));
  return c.add(c.unary(UnaryKind::Relu, x), low);
}

static Value buildHardSigmoid(LegalizeContext &c, Value x, const Parameters &p) {
  return nn::buildUnary(c.b, c.loc, UnaryKind::HardSigmoid, x, p.alpha.value_or(0.2), p.beta.value_or(0.5));
}

static Value buildSoftsign(LegalizeContext &c, Value x, const Parameters &) {
  return div(c, x, c.add(c.unary(UnaryKind::Abs, x), c.scalar(1, x)));
}

static Value buildThresholdedRelu(LegalizeContext &c, Value x, const Parameters &p) {
  Value above = c.compare(CompareKind::Greater, x, c.scalar(p.alpha.value_or(1), x));
  return c.select(above, x, c.scalar(0, x));
}

/// Clip of fused operators: alpha is the lower bound, beta the upper one.
static Value buildClip(LegalizeContext &c, Value x, const Parameters &p) {
  if (p.alpha) {
    x = c.binary(BinaryKind::Max, x, c.scalar(*p.alpha, x));
  }
  return p.beta ? c.binary(BinaryKind::Min, x, c.scalar(*p.beta, x)) : x;
}

template <UnaryKind kind>
static Value buildKind(LegalizeContext &c, Value x, const Parameters &) {
  return c.unary(kind, x);
}

namespace {
struct Function {
  StringLiteral name;
  Value (*build)(LegalizeContext &, Value, const Parameters &);
  /// Whether the operator of this name is registered here.
  bool isOperator;
};
} // namespace

static constexpr Function functions[] = {
    {"LeakyRelu", buildLeakyRelu, true},
    {"Elu", buildElu, true},
    {"Selu", buildSelu, true},
    {"Celu", buildCelu, true},
    {"HardSigmoid", buildHardSigmoid, true},
    {"HardSwish", buildKind<UnaryKind::HardSwish>, true},
    {"Softsign", buildSoftsign, true},
    {"ThresholdedRelu", buildThresholdedRelu, true},
    {"Relu", buildKind<UnaryKind::Relu>, false},
    {"Tanh", buildKind<UnaryKind::Tanh>, false},
    {"Sigmoid", buildKind<UnaryKind::Sigmoid>, false},
    {"Softplus", buildKind<UnaryKind::Softplus>, false},
    {"Clip", buildClip, false},
};

Value lathe::onnx::activate(LegalizeContext &c, StringRef name, Value x, const Parameters &parameters,
                            StringRef attribute) {
  const auto *function = llvm::find_if(functions, [&](const Function &f) { return f.name == name; });
  if (function == std::end(functions)) {
    (void)c.error("E0304", attribute + " names the unknown function \"" + name + "\"", attribute);
    return x;
  }
  return function->build(c, x, parameters);
}

//===----------------------------------------------------------------------===//
// Operators
//===----------------------------------------------------------------------===//

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

/// The slopes broadcast; before version 7 a list has one for each channel.
static LogicalResult legalizePRelu(LegalizeContext &c) {
  Value x = c.operand(0), slope = c.operand(1);
  if (c.node.version < 7 && nn::getRank(slope) == 1 && nn::getRank(x) > 2) {
    Sizes dims = c.shapeOf(slope);
    dims.append(nn::getRank(x) - 2, c.one());
    slope = c.reshape(slope, dims);
  }
  return c.set(selectNegative(c, x, c.mul(x, slope)));
}

static LogicalResult legalizeMish(LegalizeContext &c) {
  Value x = c.operand(0);
  return c.set(c.mul(x, c.unary(UnaryKind::Tanh, c.unary(UnaryKind::Softplus, x))));
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

//===----------------------------------------------------------------------===//
// com.microsoft
//===----------------------------------------------------------------------===//

/// Operand 0 plus the vector `i`, if it is there, over its last dimension.
static Value withBias(LegalizeContext &c, unsigned i) {
  Value x = c.operand(0);
  if (!c.has(i)) {
    return x;
  }
  Sizes dims = c.shapeOf(x);
  if (dims.empty() || failed(requireVector(c, i, dims.back(), "the bias"))) {
    return x;
  }
  return c.add(x, c.operand(i));
}

/// BiasGelu (exact) and FastGelu (tanh), with an optional bias.
static LogicalResult legalizeBiasGelu(LegalizeContext &c, UnaryKind kind) {
  return c.set(c.unary(kind, withBias(c, 1)));
}

/// BiasAdd: a bias and a residual, in this order.
static LogicalResult legalizeBiasAdd(LegalizeContext &c) {
  Value x = withBias(c, 1);
  requireBroadcast(c, c.shapeOf(2), c.shapeOf(x));
  return c.set(c.add(x, c.operand(2)));
}

/// BiasSplitGelu: the first half of the features, gated by the second one.
static LogicalResult legalizeBiasSplitGelu(LegalizeContext &c) {
  Value x = withBias(c, 1);
  int64_t last = nn::getRank(x) - 1;
  if (last < 0) {
    return c.error("E0307", "the operand has no dimensions");
  }
  Size width = c.shapeOf(x)[last], half = c.sizes.div(width, c.b.getIndexAttr(2), /*floor=*/true);
  c.require(c.sizes.compare(CompareKind::Equal, c.sizes.mul(half, c.b.getIndexAttr(2)), width),
            "the last dimension must be even");
  Value gate = c.unary(UnaryKind::Gelu, c.slice(x, last, half, half));
  return c.set(c.mul(c.slice(x, last, c.b.getIndexAttr(0), half), gate));
}

void lathe::onnx::registerActivations(LegalizerRegistry &registry) {
  for (const Function &function : functions) {
    if (function.isOperator) {
      registry.add(function.name, 1, 1, [build = function.build](LegalizeContext &c) {
        Parameters parameters{c.floatAttr("alpha"), c.floatAttr("beta"), c.floatAttr("gamma")};
        return c.set(build(c, c.operand(0), parameters));
      });
    }
  }
  registry.add("Gelu", 1, 1, legalizeGelu);
  registry.add("Swish", 1, 1, [](LegalizeContext &c) { return legalizeSwish(c, 1); });
  registry.add("SwiGLU", 2, 2, legalizeSwiGLU);
  registry.add("PRelu", 2, 2, legalizePRelu);
  registry.add("Mish", 1, 1, legalizeMish);
  registry.add("Shrink", 1, 1, legalizeShrink);
  registry.add(
      "Gelu", 1, 1, [](LegalizeContext &c) { return legalizeBiasGelu(c, UnaryKind::Gelu); }, kMicrosoft);
  registry.add(
      "BiasGelu", 2, 2, [](LegalizeContext &c) { return legalizeBiasGelu(c, UnaryKind::Gelu); }, kMicrosoft);
  registry.add(
      "FastGelu", 1, 2, [](LegalizeContext &c) { return legalizeBiasGelu(c, UnaryKind::GeluTanh); },
      kMicrosoft);
  registry.add("QuickGelu", 1, 1, [](LegalizeContext &c) { return legalizeSwish(c, 1.702); }, kMicrosoft);
  registry.add("BiasAdd", 3, 3, legalizeBiasAdd, kMicrosoft);
  registry.add("BiasSplitGelu", 2, 2, legalizeBiasSplitGelu, kMicrosoft);
}
