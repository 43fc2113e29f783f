// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Pointwise arithmetic.

#include "Legalizer.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::BinaryKind;
using nn::CompareKind;
using nn::UnaryKind;

static LogicalResult legalizeUnary(LegalizeContext &c, UnaryKind kind) {
  if (kind == UnaryKind::Neg || kind == UnaryKind::Abs) {
    bool folded = foldScalars(c, c.elementType(0), {0}, [&](ArrayRef<Size> x) {
      Size negative = c.sizes.sub(c.b.getIndexAttr(0), x[0]);
      return kind == UnaryKind::Neg ? negative : c.sizes.max(x[0], negative);
    });
    if (folded) {
      return success();
    }
  }
  return c.set(c.unary(kind, c.operand(0)));
}

/// Size arithmetic for `kind`; null where there is none.
static Size foldBinary(LegalizeContext &c, BinaryKind kind, Size lhs, Size rhs) {
  bool isZeroDivisor = getConstantIntValue(rhs) == 0;
  switch (kind) {
  case BinaryKind::Add:
    return c.sizes.add(lhs, rhs);
  case BinaryKind::Sub:
    return c.sizes.sub(lhs, rhs);
  case BinaryKind::Mul:
    return c.sizes.mul(lhs, rhs);
  case BinaryKind::Div:
    return isZeroDivisor ? Size() : c.sizes.div(lhs, rhs, /*floor=*/false);
  case BinaryKind::Mod:
  case BinaryKind::FMod:
    return isZeroDivisor ? Size() : c.sizes.mod(lhs, rhs, /*floor=*/kind == BinaryKind::Mod);
  case BinaryKind::Max:
  case BinaryKind::Or:
    return c.sizes.max(lhs, rhs);
  case BinaryKind::Min:
  case BinaryKind::And:
    return c.sizes.min(lhs, rhs);
  default:
    return Size();
  }
}

/// Whether size arithmetic stands for `kind` on elements of `type`: the logical kinds only on bools.
static bool isFoldable(BinaryKind kind, Type type) {
  return type.isInteger(1) == (kind == BinaryKind::And || kind == BinaryKind::Or);
}

static LogicalResult legalizeBinary(LegalizeContext &c, BinaryKind kind) {
  if (isFoldable(kind, c.elementType(0)) && c.elementType(0) == c.elementType(1) &&
      foldScalars(c, c.elementType(0), {0, 1},
                  [&](ArrayRef<Size> x) { return foldBinary(c, kind, x[0], x[1]); })) {
    return success();
  }
  return c.set(c.binary(kind, c.operand(0), c.operand(1)));
}

/// Max, Min, Sum and Mean of any number of operands.
static LogicalResult legalizeVariadic(LegalizeContext &c, BinaryKind kind, bool mean) {
  if (c.numInputs() == 2 && !mean) {
    return legalizeBinary(c, kind);
  }
  for (unsigned i = 0; i < c.numInputs(); ++i) {
    if (!c.has(i)) {
      return c.error("E0305", llvm::formatv("input {0} is absent", i).str());
    }
  }
  Value result = c.operand(0);
  for (unsigned i = 1; i < c.numInputs(); ++i) {
    result = c.binary(kind, result, c.operand(i));
  }
  if (mean && c.numInputs() > 1) {
    result = c.binary(BinaryKind::Div, result, c.scalar(c.numInputs(), result));
  }
  return c.set(result);
}

static LogicalResult legalizeMod(LegalizeContext &c) {
  bool fmod = c.intAttr("fmod", 0) != 0;
  return legalizeBinary(c, fmod ? BinaryKind::FMod : BinaryKind::Mod);
}

/// The exponent may have another type than the base, whose type the result has.
static LogicalResult legalizePow(LegalizeContext &c) {
  Value base = c.operand(0), exponent = c.operand(1);
  Type type = nn::getElementType(base), exponentType = nn::getElementType(exponent);
  if (type == exponentType) {
    return c.set(c.binary(BinaryKind::Pow, base, exponent));
  }
  if (isa<FloatType>(type)) {
    return c.set(c.binary(BinaryKind::Pow, base, c.cast(exponent, type)));
  }
  // An integer to the power of a float is computed in the wider of f32 and the exponent's type.
  Type wide = isa<FloatType>(exponentType) ? exponentType : Type(c.b.getF64Type());
  return c.set(c.cast(c.binary(BinaryKind::Pow, c.cast(base, wide), c.cast(exponent, wide)), type));
}

/// Clip: the bounds are attributes before version 11. Where min > max, max wins.
static LogicalResult legalizeClip(LegalizeContext &c) {
  Value result = c.operand(0);
  Value low = c.operandOrNull(1), high = c.operandOrNull(2);
  if (c.node.version < 11) {
    if (std::optional<double> bound = c.floatAttr("min")) {
      low = c.scalar(*bound, result);
    }
    if (std::optional<double> bound = c.floatAttr("max")) {
      high = c.scalar(*bound, result);
    }
  }
  if (low) {
    result = c.binary(BinaryKind::Max, result, low);
  }
  if (high) {
    result = c.binary(BinaryKind::Min, result, high);
  }
  return c.set(result);
}

/// Not of bools is `not`; of integers it flips all bits.
static LogicalResult legalizeBitwiseNot(LegalizeContext &c) {
  Value x = c.operand(0);
  Type type = nn::getElementType(x);
  if (!isa<IntegerType>(type)) {
    return c.error("E0306", "the operand must have an integer type");
  }
  auto allBits = DenseElementsAttr::get(RankedTensorType::get({}, type),
                                        APInt::getAllOnes(type.getIntOrFloatBitWidth()));
  return c.set(c.binary(BinaryKind::Xor, x, arith::ConstantOp::create(c.b, c.loc, allBits)));
}

static LogicalResult legalizeBitShift(LegalizeContext &c) {
  StringRef direction = c.stringAttr("direction").value_or("");
  if (direction != "LEFT" && direction != "RIGHT") {
    return c.error("E0304", "direction is \"" + direction + "\", must be \"LEFT\" or \"RIGHT\"", "direction");
  }
  return c.set(c.binary(direction == "LEFT" ? BinaryKind::ShiftLeft : BinaryKind::ShiftRight, c.operand(0),
                        c.operand(1)));
}

static LogicalResult legalizeBitCast(LegalizeContext &c) {
  Type type = c.typeAttr("to", Type());
  if (!type) {
    return c.hasFailed() ? failure() : c.error("E0303", "to is missing", "to");
  }
  return c.set(nn::createInferred<nn::BitCastOp>(c.b, c.loc, type, c.operand(0)));
}

static LogicalResult legalizeTan(LegalizeContext &c) {
  Value x = c.operand(0);
  return c.set(c.binary(BinaryKind::Div, c.unary(UnaryKind::Sin, x), c.unary(UnaryKind::Cos, x)));
}

void lathe::onnx::registerMath(LegalizerRegistry &registry) {
  static constexpr std::pair<const char *, UnaryKind> unary[] = {
      {"Abs", UnaryKind::Abs},           {"Neg", UnaryKind::Neg},
      {"Sign", UnaryKind::Sign},         {"Ceil", UnaryKind::Ceil},
      {"Floor", UnaryKind::Floor},       {"Round", UnaryKind::Round},
      {"Sqrt", UnaryKind::Sqrt},         {"Reciprocal", UnaryKind::Reciprocal},
      {"Exp", UnaryKind::Exp},           {"Log", UnaryKind::Log},
      {"Sin", UnaryKind::Sin},           {"Cos", UnaryKind::Cos},
      {"Tanh", UnaryKind::Tanh},         {"Sigmoid", UnaryKind::Sigmoid},
      {"Erf", UnaryKind::Erf},           {"Relu", UnaryKind::Relu},
      {"Softplus", UnaryKind::Softplus}, {"Asin", UnaryKind::Asin},
      {"Acos", UnaryKind::Acos},         {"Atan", UnaryKind::Atan},
      {"Sinh", UnaryKind::Sinh},         {"Cosh", UnaryKind::Cosh},
      {"Asinh", UnaryKind::Asinh},       {"Acosh", UnaryKind::Acosh},
      {"Atanh", UnaryKind::Atanh}};
  for (auto [name, kind] : unary) {
    registry.add(name, 1, 1, [kind = kind](LegalizeContext &c) { return legalizeUnary(c, kind); });
  }
  static constexpr std::pair<const char *, BinaryKind> binary[] = {
      {"Add", BinaryKind::Add},       {"Sub", BinaryKind::Sub},        {"Mul", BinaryKind::Mul},
      {"Div", BinaryKind::Div},       {"And", BinaryKind::And},        {"Or", BinaryKind::Or},
      {"Xor", BinaryKind::Xor},       {"BitwiseAnd", BinaryKind::And}, {"BitwiseOr", BinaryKind::Or},
      {"BitwiseXor", BinaryKind::Xor}};
  for (auto [name, kind] : binary) {
    registry.add(name, 2, 2, [kind = kind](LegalizeContext &c) { return legalizeBinary(c, kind); });
  }
  static constexpr std::tuple<const char *, BinaryKind, bool> variadic[] = {{"Max", BinaryKind::Max, false},
                                                                            {"Min", BinaryKind::Min, false},
                                                                            {"Sum", BinaryKind::Add, false},
                                                                            {"Mean", BinaryKind::Add, true}};
  for (auto [name, kind, mean] : variadic) {
    registry.add(name, 1, LegalizerRegistry::kAny,
                 [kind = kind, mean = mean](LegalizeContext &c) { return legalizeVariadic(c, kind, mean); });
  }
  registry.add("Mod", 2, 2, legalizeMod);
  registry.add("Pow", 2, 2, legalizePow);
  registry.add("Clip", 1, 3, legalizeClip);
  registry.add("BitShift", 2, 2, legalizeBitShift);
  registry.add("BitCast", 1, 1, legalizeBitCast);
  registry.add("BitwiseNot", 1, 1, legalizeBitwiseNot);
  registry.add("Tan", 1, 1, legalizeTan);
}
