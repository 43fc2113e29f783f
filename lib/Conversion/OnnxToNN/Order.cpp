// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Operators for which the order of elements along a dimension matters.

#include "Legalizer.h"

#include "lathe/Dialect/NN/IR/NNOrder.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;

/// CumSum and CumProd; the axis is an operand of rank 0, or of one element.
static LogicalResult legalizeCumulate(LegalizeContext &c, nn::CumulateKind kind) {
  const Scalars *axisScalars = c.scalars(1);
  std::optional<int64_t> axis = axisScalars && axisScalars->elements.size() == 1
                                    ? getConstantIntValue(axisScalars->elements.front())
                                    : std::nullopt;
  if (!axis) {
    return c.unsupported("the axis is computed");
  }
  if (!c.normalizeAxis(*axis, c.rank(0))) {
    return failure();
  }
  Value x = c.operand(0);
  return c.set(nn::createInferred<nn::CumulateOp>(c.b, c.loc, nn::getElementType(x), kind, x, *axis,
                                                  c.intAttr("exclusive", 0) != 0,
                                                  c.intAttr("reverse", 0) != 0));
}

void lathe::onnx::registerOrder(LegalizerRegistry &registry) {
  registry.add("CumSum", 2, 2, [](LegalizeContext &c) { return legalizeCumulate(c, nn::CumulateKind::Sum); });
  registry.add("CumProd", 2, 2,
               [](LegalizeContext &c) { return legalizeCumulate(c, nn::CumulateKind::Prod); });
}
