// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Operators that pick elements by their values: what they find is counted, the count is read as a size, and
/// the result has that size.

#include "Strings.h"

#include "lathe/Dialect/NN/IR/NNSelection.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::CompareKind;

/// The one element of an i64 tensor of rank 0 as a size.
static Size readSize(LegalizeContext &c, Value count) {
  return c.checkedSize(c.readScalars(count)->elements.front());
}

/// The positions of what is true in `mask`, one row a dimension.
static Value buildNonZero(LegalizeContext &c, Value mask) {
  SmallVector<int64_t> axes = llvm::to_vector(llvm::seq<int64_t>(0, nn::getRank(mask)));
  Value count = c.reduce(nn::ReduceKind::Sum, c.cast(mask, c.b.getI64Type()), axes, /*keepDims=*/false);
  return nn::createInferred<nn::NonZeroOp>(c.b, c.loc, c.b.getI64Type(), mask, c.toValue(readSize(c, count)));
}

static LogicalResult legalizeNonZero(LegalizeContext &c) {
  Value x = c.operand(0);
  if (nn::getRank(x) == 0) {
    x = c.reshape(x, {c.one()});
  }
  if (!nn::getElementType(x).isInteger(1)) {
    x = c.compare(CompareKind::NotEqual, x, c.scalar(0, x));
  }
  return c.set(buildNonZero(c, x));
}

static LogicalResult legalizeCompress(LegalizeContext &c) {
  Value x = c.operand(0), condition = c.operand(1);
  if (nn::getRank(condition) != 1 || !nn::getElementType(condition).isInteger(1)) {
    return c.error("E0306", "the condition must be a list of bools");
  }
  int64_t axis = c.intAttr("axis", 0);
  if (!c.hasAttr("axis")) {
    x = c.reshape(x, {c.sizes.product(c.shapeOf(x))});
  }
  if (!c.normalizeAxis(axis, nn::getRank(x))) {
    return failure();
  }
  // What lies behind the end of either counts for nothing.
  Size length = c.sizes.min(c.shapeOf(condition)[0], c.shapeOf(x)[axis]);
  Value found = buildNonZero(c, c.slice(condition, 0, c.b.getIndexAttr(0), length));
  Value indices = c.reshape(found, {c.shapeOf(found)[1]});
  return c.set(nn::buildGather(c.b, c.loc, x, indices, axis));
}

/// Of strings, the order of their bytes is looked up first.
static LogicalResult legalizeUnique(LegalizeContext &c) {
  bool isString = c.legal(0).isString;
  Value x = isString ? c.legal(0).tensor : c.operand(0);
  int64_t axis = c.intAttr("axis", 0);
  if (!c.hasAttr("axis")) {
    x = c.reshape(x, {c.sizes.product(c.shapeOf(x))});
  }
  int64_t rank = nn::getRank(x);
  if (!c.normalizeAxis(axis, rank)) {
    return failure();
  }
  SmallVector<int64_t> perm = llvm::to_vector(llvm::seq<int64_t>(0, rank));
  perm.erase(perm.begin() + axis);
  perm.insert(perm.begin(), axis);
  Value keys = isString ? buildService(c, "text.order", x, c.b.getI64Type(), c.shapeOf(x)) : x;
  Value rows = c.transpose(keys, perm);
  Sizes dims = c.shapeOf(rows);
  rows = c.reshape(rows, {dims.front(), c.sizes.product(ArrayRef<Size>(dims).drop_front())});
  SmallVector<Type> types(6, c.b.getI64Type());
  auto unique = nn::createInferred<nn::UniqueOp>(c.b, c.loc, types, rows, c.intAttr("sorted", 1) != 0);
  Size count = readSize(c, unique.getCount());
  Value first = c.slice(unique.getFirst(), 0, c.b.getIndexAttr(0), count);
  Value distinct = nn::buildGather(c.b, c.loc, x, first, axis);
  (void)(isString ? setStrings(c, 0, distinct) : c.set(0, distinct));
  (void)c.set(1, first);
  (void)c.set(2, unique.getInverse());
  return c.set(3, c.slice(unique.getCounts(), 0, c.b.getIndexAttr(0), count));
}

static LogicalResult legalizeNonMaxSuppression(LegalizeContext &c) {
  Value boxes = c.operand(0), scores = c.operand(1);
  if (!nn::getElementType(boxes).isF32() || !nn::getElementType(scores).isF32()) {
    return c.error("E0306", "boxes and scores must be f32");
  }
  if (nn::getRank(boxes) != 3 || nn::getRank(scores) != 3) {
    return c.error("E0307", llvm::formatv("boxes and scores have {0} and {1} dimensions, must have 3",
                                          nn::getRank(boxes), nn::getRank(scores))
                                .str());
  }
  Sizes boxDims = c.shapeOf(boxes);
  if (!getConstantIntValue(boxDims[2])) {
    boxDims[2] = c.b.getIndexAttr(4);
    boxes = c.reshape(boxes, boxDims);
  }
  Sizes scoreDims = c.shapeOf(scores);
  for (auto [own, other] : {std::pair(boxDims[0], scoreDims[0]), std::pair(boxDims[1], scoreDims[2])}) {
    c.require(c.sizes.compare(CompareKind::Equal, own, other),
              "boxes and scores have different numbers of boxes");
  }
  Size limit = c.b.getIndexAttr(0);
  if (c.has(2)) {
    std::optional<Size> given = c.elementOrRead(2, "max_output_boxes_per_class");
    if (!given) {
      return failure();
    }
    limit = c.sizes.max(c.sizes.min(*given, boxDims[1]), c.b.getIndexAttr(0));
  }
  auto threshold = [&](unsigned i, double otherwise) {
    return c.has(i) ? c.reshape(c.operand(i), {}) : nn::buildScalar(c.b, c.loc, c.b.getF32Type(), otherwise);
  };
  Value iou = threshold(3, 0), score = threshold(4, -std::numeric_limits<double>::infinity());
  Size room = c.checkedProduct({scoreDims[0], scoreDims[1], limit});
  SmallVector<Type> types(4, c.b.getI64Type());
  auto best = nn::createInferred<nn::NonMaxSuppressionOp>(c.b, c.loc, types, boxes, scores, iou, score,
                                                          c.toValue(limit), c.toValue(room),
                                                          c.intAttr("center_point_box", 0) != 0);
  return c.set(c.slice(best.getSelected(), 0, c.b.getIndexAttr(0), readSize(c, best.getCount())));
}

void lathe::onnx::registerSelection(LegalizerRegistry &registry) {
  registry.add("NonZero", 1, 1, legalizeNonZero);
  registry.add("Compress", 2, 2, legalizeCompress);
  registry.addForAny("Unique", 1, 1, legalizeUnique);
  registry.add("NonMaxSuppression", 2, 5, legalizeNonMaxSuppression);
}
