// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Operators for which the order of elements along a dimension matters.

#include "Legalizer.h"

#include "lathe/Dialect/NN/IR/NNOrder.h"

#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;

/// CumSum and CumProd; the axis is an operand of rank 0, or of one element.
static LogicalResult legalizeCumulate(LegalizeContext &c, nn::CumulateKind kind) {
  Value x = c.operand(0), axisFrom;
  const Scalars *scalars = c.scalars(1);
  std::optional<int64_t> axis = scalars && scalars->elements.size() == 1
                                    ? getConstantIntValue(scalars->elements.front())
                                    : std::nullopt;
  if (axis) {
    if (!c.normalizeAxis(*axis, c.rank(0))) {
      return failure();
    }
  } else {
    axisFrom = c.reshape(c.operand(1), {});
  }
  return c.set(nn::createInferred<nn::CumulateOp>(c.b, c.loc, nn::getElementType(x), kind, x, axisFrom,
                                                  axis ? c.b.getI64IntegerAttr(*axis) : IntegerAttr(),
                                                  c.intAttr("exclusive", 0) != 0,
                                                  c.intAttr("reverse", 0) != 0));
}

/// TopK; version 1 has k as an attribute, later ones as an operand. Unsorted results may have any order, so
/// they are sorted, too.
static LogicalResult legalizeTopK(LegalizeContext &c) {
  int64_t axis = c.intAttr("axis", -1);
  if (!c.normalizeAxis(axis, c.rank(0))) {
    return failure();
  }
  Size k;
  if (c.node.version < 10) {
    k = c.b.getIndexAttr(c.intAttr("k", -1));
  } else if (!c.has(1)) {
    return c.error("E0305", "k is absent");
  } else {
    std::optional<Size> given = c.elementOrRead(1, "k");
    if (!given) {
      return failure();
    }
    k = *given;
  }
  std::optional<int64_t> number = getConstantIntValue(k), size = getConstantIntValue(c.shapeOf(0)[axis]);
  if (number && (*number < 0 || (size && *number > *size))) {
    return c.error("E0304", llvm::formatv("k is {0}, must be from 0 to the size of dimension {1}, {2}",
                                          *number, axis, size ? std::to_string(*size) : "?")
                                .str());
  }
  k = c.checkedSize(k);
  Value x = c.operand(0);
  auto op = nn::createInferred<nn::TopKOp>(
      c.b, c.loc, ArrayRef<Type>{nn::getElementType(x), c.b.getI64Type()}, x,
      getValueOrCreateConstantIndexOp(c.b, c.loc, k), axis, c.intAttr("largest", 1) != 0);
  (void)c.set(0, op.getValues());
  return c.set(1, op.getIndices());
}

static LogicalResult legalizeReverseSequence(LegalizeContext &c) {
  int64_t batch = c.intAttr("batch_axis", 1), time = c.intAttr("time_axis", 0);
  if (batch + time != 1 || batch < 0 || time < 0) {
    return c.error(
        "E0304",
        llvm::formatv("batch_axis and time_axis are {0} and {1}, must be 0 and 1", batch, time).str(),
        "batch_axis");
  }
  Value x = c.operand(0);
  return c.set(nn::createInferred<nn::ReverseSequenceOp>(c.b, c.loc, nn::getElementType(x), x, c.operand(1),
                                                         time == 0));
}

void lathe::onnx::registerOrder(LegalizerRegistry &registry) {
  registry.add("CumSum", 2, 2, [](LegalizeContext &c) { return legalizeCumulate(c, nn::CumulateKind::Sum); });
  registry.add("CumProd", 2, 2,
               [](LegalizeContext &c) { return legalizeCumulate(c, nn::CumulateKind::Prod); });
  registry.add("TopK", 1, 2, legalizeTopK);
  registry.add("ReverseSequence", 2, 2, legalizeReverseSequence);
}
