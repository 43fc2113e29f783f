// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Single elements read and written by index.

#include "Legalizer.h"

#include "lathe/Dialect/NN/IR/NNScatter.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/IR/Matchers.h"
#include "llvm/ADT/StringSwitch.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::CompareKind;

static LogicalResult legalizeGatherElements(LegalizeContext &c) {
  int64_t axis = c.intAttr("axis", 0);
  if (!c.normalizeAxis(axis, c.rank(0))) {
    return failure();
  }
  Value x = c.operand(0);
  return c.set(
      nn::createInferred<nn::GatherElementsOp>(c.b, c.loc, nn::getElementType(x), x, c.operand(1), axis));
}

static std::optional<nn::ScatterKind> getReduction(LegalizeContext &c) {
  StringRef name = c.stringAttr("reduction").value_or("none");
  std::optional<nn::ScatterKind> kind = nn::symbolizeScatterKind(name);
  if (!kind) {
    (void)c.error("E0304",
                  llvm::formatv("reduction is \"{0}\", must be none, add, mul, max or min", name).str(),
                  "reduction");
  }
  return kind;
}

/// ScatterElements, and Scatter as it was called before.
static LogicalResult legalizeScatterElements(LegalizeContext &c) {
  int64_t axis = c.intAttr("axis", 0);
  std::optional<nn::ScatterKind> kind = getReduction(c);
  if (!kind || !c.normalizeAxis(axis, c.rank(0))) {
    return failure();
  }
  Value x = c.operand(0);
  return c.set(nn::createInferred<nn::ScatterElementsOp>(c.b, c.loc, nn::getElementType(x), *kind, x,
                                                         c.operand(1), c.operand(2), axis));
}

static LogicalResult legalizeScatterND(LegalizeContext &c) {
  std::optional<nn::ScatterKind> kind = getReduction(c);
  if (!kind) {
    return failure();
  }
  Value x = c.operand(0), indices = c.operand(1), updates = c.operand(2);
  Sizes dims = c.shapeOf(indices);
  if (!dims.empty() && !getConstantIntValue(dims.back())) {
    // The length of a tuple follows from the ranks.
    int64_t tuple = nn::getRank(indices) - 1 + nn::getRank(x) - nn::getRank(updates);
    if (tuple < 1 || tuple > nn::getRank(x)) {
      return c.error(
          "E0307",
          llvm::formatv("the operands have {0}, {1} and {2} dimensions, which fit no tuple of indices",
                        nn::getRank(x), nn::getRank(indices), nn::getRank(updates))
              .str());
    }
    dims.back() = c.b.getIndexAttr(tuple);
    indices = c.reshape(indices, dims);
  }
  return c.set(
      nn::createInferred<nn::ScatterNDOp>(c.b, c.loc, nn::getElementType(x), *kind, x, indices, updates));
}

static LogicalResult legalizeTensorScatter(LegalizeContext &c) {
  int64_t axis = c.intAttr("axis", -2);
  StringRef mode = c.stringAttr("mode").value_or("linear");
  if (!c.normalizeAxis(axis, c.rank(0))) {
    return failure();
  }
  if (axis == 0) {
    return c.error("E0304", "axis is that of the batch, must be another", "axis");
  }
  if (mode != "linear" && mode != "circular") {
    return c.error("E0304", llvm::formatv("mode is \"{0}\", must be linear or circular", mode).str(), "mode");
  }
  Value cache = c.operand(0);
  return c.set(nn::createInferred<nn::UpdateCacheOp>(c.b, c.loc, nn::getElementType(cache), cache,
                                                     c.operand(1), c.operandOrNull(2),
                                                     /*rows=*/Value(), axis, mode == "circular"));
}

//===----------------------------------------------------------------------===//
// OneHot
//===----------------------------------------------------------------------===//

/// The depth, whose type may be any number's.
static std::optional<Size> getDepth(LegalizeContext &c) {
  if (!isa<FloatType>(c.elementType(1))) {
    std::optional<Size> depth = c.elementOrRead(1, "depth");
    return depth ? std::optional(c.checkedSize(*depth)) : std::nullopt;
  }
  DenseElementsAttr elements;
  if (!matchPattern(c.operand(1), m_Constant(&elements)) || elements.getNumElements() != 1) {
    return toSize(c, c.reshape(c.operand(1), {}));
  }
  double depth = cast<FloatAttr>(*elements.value_begin<Attribute>()).getValueAsDouble();
  if (depth >= 0 && depth < double(nn::kMaxDim)) {
    return c.b.getIndexAttr(int64_t(depth));
  }
  (void)c.error("E0307", llvm::formatv("depth is {0}, must be a size", depth).str());
  return std::nullopt;
}

/// A comparison of every index with 0 to depth - 1; what is no index of that range has no one.
static LogicalResult legalizeOneHot(LegalizeContext &c) {
  std::optional<Size> depth = getDepth(c);
  if (!depth) {
    return failure();
  }
  int64_t axis = c.intAttr("axis", -1), rank = c.rank(0) + 1;
  if (!c.normalizeAxis(axis, rank)) {
    return failure();
  }
  if (c.rank(2) != 1) {
    return c.error("E0307", llvm::formatv("values has {0} dimensions, must have 1", c.rank(2)).str());
  }
  std::optional<int64_t> count = getConstantIntValue(c.shapeOf(c.operand(2)).front());
  if (count && *count != 2) {
    return c.error("E0307", llvm::formatv("values has {0} elements, must have 2", *count).str());
  }
  Type i64 = c.b.getI64Type();
  Value indices = c.cast(c.operand(0), i64);
  Sizes dims = c.shapeOf(indices), rangeDims(rank, c.one());
  dims.insert(dims.begin() + axis, c.one());
  rangeDims[axis] = *depth;
  indices = c.reshape(indices, dims);
  Value zero = nn::buildScalar(c.b, c.loc, i64, 0);
  Value size = nn::buildFromScalars(c.b, c.loc, *depth, i64, /*scalar=*/true);
  indices = c.select(c.compare(CompareKind::Less, indices, zero), c.add(indices, size), indices);
  Value range = nn::buildRange(c.b, c.loc, zero, nn::buildScalar(c.b, c.loc, i64, 1), *depth);
  Value isHot = c.compare(CompareKind::Equal, indices, c.reshape(range, rangeDims));
  Value off = c.reshape(c.slice(c.operand(2), 0, c.b.getIndexAttr(0), c.one()), {});
  Value on = c.reshape(c.slice(c.operand(2), 0, c.one(), c.one()), {});
  return c.set(c.select(isHot, on, off));
}

void lathe::onnx::registerScatter(LegalizerRegistry &registry) {
  registry.add("GatherElements", 2, 2, legalizeGatherElements);
  registry.add("Scatter", 3, 3, legalizeScatterElements);
  registry.add("ScatterElements", 3, 3, legalizeScatterElements);
  registry.add("ScatterND", 3, 3, legalizeScatterND);
  registry.add("TensorScatter", 2, 3, legalizeTensorScatter);
  registry.add("OneHot", 3, 3, legalizeOneHot);
}
