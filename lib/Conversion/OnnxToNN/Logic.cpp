// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Comparisons, selections and tests.

#include "Legalizer.h"
#include "Strings.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::BinaryKind;
using nn::CompareKind;
using nn::UnaryKind;

static LogicalResult legalizeCompare(LegalizeContext &c, CompareKind kind) {
  if (foldScalars(c, c.b.getI1Type(), {0, 1},
                  [&](ArrayRef<Size> x) { return c.sizes.compare(kind, x[0], x[1]); })) {
    return success();
  }
  Value lhs = c.operand(0), rhs = c.operand(1);
  if (nn::getElementType(lhs) != nn::getElementType(rhs)) {
    return c.error("E0306", llvm::formatv("the operands have different element types, {0} and {1}",
                                          nn::getElementType(lhs), nn::getElementType(rhs))
                                .str());
  }
  return c.set(c.compare(kind, lhs, rhs));
}

static LogicalResult legalizeWhere(LegalizeContext &c) {
  if (c.elementType(1) == c.elementType(2) &&
      foldScalars(c, c.elementType(1), {0, 1, 2},
                  [&](ArrayRef<Size> x) { return c.sizes.select(x[0], x[1], x[2]); })) {
    return success();
  }
  if (c.elementType(1) != c.elementType(2)) {
    return c.error("E0306", llvm::formatv("the operands have different element types, {0} and {1}",
                                          c.elementType(1), c.elementType(2))
                                .str());
  }
  return c.set(c.select(c.operand(0), c.operand(1), c.operand(2)));
}

static LogicalResult legalizeNot(LegalizeContext &c) {
  if (foldScalars(c, c.b.getI1Type(), {0}, [&](ArrayRef<Size> x) { return c.sizes.sub(c.one(), x[0]); })) {
    return success();
  }
  return c.set(c.unary(UnaryKind::Not, c.operand(0)));
}

static LogicalResult legalizeIsInf(LegalizeContext &c) {
  Value x = c.operand(0);
  bool negative = c.intAttr("detect_negative", 1) != 0, positive = c.intAttr("detect_positive", 1) != 0;
  if (negative && positive) {
    return c.set(c.unary(UnaryKind::IsInf, x));
  }
  if (!negative && !positive) {
    // No infinity is asked for: false everywhere, also for NaN, which is not below itself.
    return c.set(c.compare(CompareKind::Less, x, x));
  }
  double infinity = std::numeric_limits<double>::infinity();
  return c.set(c.compare(CompareKind::Equal, x, c.scalar(positive ? infinity : -infinity, x)));
}

void lathe::onnx::registerLogic(LegalizerRegistry &registry) {
  static constexpr std::pair<const char *, CompareKind> comparisons[] = {
      {"Less", CompareKind::Less},
      {"LessOrEqual", CompareKind::LessOrEqual},
      {"Greater", CompareKind::Greater},
      {"GreaterOrEqual", CompareKind::GreaterOrEqual}};
  for (auto [name, kind] : comparisons) {
    registry.add(name, 2, 2, [kind = kind](LegalizeContext &c) { return legalizeCompare(c, kind); });
  }
  registry.addForAny("Equal", 2, 2, [](LegalizeContext &c) {
    bool areNumbers = c.legal(0).isNumeric() && c.legal(1).isNumeric();
    return areNumbers ? legalizeCompare(c, CompareKind::Equal) : compareStrings(c);
  });
  registry.add("Where", 3, 3, legalizeWhere);
  registry.add("Not", 1, 1, legalizeNot);
  registry.add("IsNaN", 1, 1,
               [](LegalizeContext &c) { return c.set(c.unary(UnaryKind::IsNaN, c.operand(0))); });
  registry.add("IsInf", 1, 1, legalizeIsInf);
}
