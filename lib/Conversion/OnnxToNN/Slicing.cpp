// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Parts of tensors: slices, splits, triangles.

#include "Legalizer.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::CompareKind;

namespace {
/// The part of one dimension that is taken.
struct Part {
  Size offset, size;
  int64_t step;
};
} // namespace

/// ONNX's clamping of [start, end) in steps of `step` to a dimension of size `dim`.
static Part clampPart(LegalizeContext &c, Size start, Size end, int64_t step, Size dim) {
  SizeArith &sizes = c.sizes;
  Size zero = c.b.getIndexAttr(0), minusOne = c.b.getIndexAttr(-1);
  auto fromFront = [&](Size position) {
    // A position far beyond the end may be any big number, so nothing is added to it.
    Size isNegative = sizes.compare(CompareKind::Less, position, zero);
    return getConstantIntValue(isNegative) == 0
               ? position
               : sizes.select(isNegative, sizes.add(position, dim), position);
  };
  // The lowest numbers stand for "before the start" and stay so.
  auto isFarBelow = [&](Size position) {
    std::optional<int64_t> number = getConstantIntValue(position);
    return number && *number < -nn::kMaxDim;
  };
  Size low = step > 0 ? zero : minusOne;
  Size high = step > 0 ? dim : sizes.sub(dim, c.one());
  // A negative step starts at an element that exists.
  Size lowStart = zero;
  start = isFarBelow(start) ? lowStart : sizes.max(sizes.min(fromFront(start), high), lowStart);
  end = isFarBelow(end) ? low : sizes.max(sizes.min(fromFront(end), high), low);
  Size distance = step > 0 ? sizes.sub(end, start) : sizes.sub(start, end);
  distance = sizes.max(distance, zero);
  int64_t width = std::abs(step);
  Size count =
      sizes.div(sizes.add(distance, c.b.getIndexAttr(width - 1)), c.b.getIndexAttr(width), /*floor=*/false);
  return {start, count, step};
}

/// A list of `count` positions from attribute `name` (before version 10) or operand `i`.
static std::optional<Sizes> getPositions(LegalizeContext &c, StringRef name, unsigned i) {
  if (c.node.version < 10) {
    std::optional<SmallVector<int64_t>> list = c.intsAttr(name);
    if (!list) {
      (void)c.error("E0303", name + " is missing", name);
      return std::nullopt;
    }
    return getAsIndexOpFoldResult(c.b.getContext(), *list);
  }
  if (!c.has(i)) {
    (void)c.error("E0305", "the input " + name + " is absent");
    return std::nullopt;
  }
  if (const Scalars *list = c.scalars(i)) {
    return list->elements;
  }
  (void)c.dataDependent(name + " is computed from data");
  return std::nullopt;
}

static LogicalResult legalizeSlice(LegalizeContext &c) {
  Sizes dims = c.shapeOf(0);
  std::optional<Sizes> starts = getPositions(c, "starts", 1);
  std::optional<Sizes> ends = starts ? getPositions(c, "ends", 2) : std::nullopt;
  if (!ends) {
    return failure();
  }
  SmallVector<int64_t> axes =
      c.intsAttrOrInput("axes", 3).value_or(llvm::to_vector(llvm::seq<int64_t>(0, starts->size())));
  SmallVector<int64_t> steps =
      c.intsAttrOrInput("steps", 4).value_or(SmallVector<int64_t>(starts->size(), 1));
  if (c.hasFailed() || !c.normalizeAxes(axes, dims.size())) {
    return failure();
  }
  if (ends->size() != starts->size() || axes.size() != starts->size() || steps.size() != starts->size()) {
    return c.error("E0307", llvm::formatv("starts, ends, axes and steps have {0}, {1}, {2} and {3} elements",
                                          starts->size(), ends->size(), axes.size(), steps.size())
                                .str());
  }
  Sizes offsets(dims.size(), c.b.getIndexAttr(0)), sizes = dims;
  SmallVector<int64_t> strides(dims.size(), 1);
  bool isWhole = true;
  for (auto [axis, start, end, step] : llvm::zip_equal(axes, *starts, *ends, steps)) {
    if (step == 0) {
      return c.error("E0304", llvm::formatv("the step of dimension {0} is 0", axis).str());
    }
    // No dimension is that long, and its negation must exist.
    step = std::clamp(step, -nn::kMaxDim, nn::kMaxDim);
    Part part = clampPart(c, start, end, step, dims[axis]);
    isWhole &= step == 1 && getConstantIntValue(part.offset) == 0 && c.sizes.isSame(part.size, dims[axis]);
    offsets[axis] = part.offset;
    sizes[axis] = part.size;
    strides[axis] = step;
  }
  if (isWhole) {
    return c.forward(0);
  }
  if (const Scalars *list = c.scalars(0); list && dims.size() == 1) {
    std::optional<int64_t> offset = getConstantIntValue(offsets[0]), size = getConstantIntValue(sizes[0]);
    if (offset && size) {
      Sizes elements;
      for (int64_t i = 0; i < *size; ++i) {
        elements.push_back(list->elements[*offset + i * strides[0]]);
      }
      return c.setScalars({list->elementType, {*size}, elements});
    }
  }
  return c.set(nn::buildSlice(c.b, c.loc, c.operand(0), offsets, sizes, strides));
}

static LogicalResult legalizeSplit(LegalizeContext &c) {
  int64_t axis = c.intAttr("axis", 0);
  if (!c.normalizeAxis(axis, c.rank(0))) {
    return failure();
  }
  Size dim = c.shapeOf(0)[axis];
  int64_t count = c.node.op->getNumResults();
  Sizes parts;
  if (c.hasAttr("split") || c.has(1)) {
    if (const Scalars *list = c.hasAttr("split") ? nullptr : c.scalars(1)) {
      parts = list->elements;
    } else if (std::optional<SmallVector<int64_t>> fixed = c.intsAttrOrInput("split", 1)) {
      parts = getAsIndexOpFoldResult(c.b.getContext(), *fixed);
    }
  } else {
    int64_t outputs = c.intAttr("num_outputs", count);
    if (outputs < 1 || outputs < count) {
      return c.error("E0304",
                     llvm::formatv("num_outputs is {0}, but there are {1} outputs", outputs, count).str(),
                     "num_outputs");
    }
    // All parts are equal but the last, which may be shorter.
    Size part = c.sizes.div(c.sizes.add(dim, c.b.getIndexAttr(outputs - 1)), c.b.getIndexAttr(outputs),
                            /*floor=*/false);
    parts.assign(outputs, part);
    parts.back() = c.sizes.sub(dim, c.sizes.mul(part, c.b.getIndexAttr(outputs - 1)));
    if (std::optional<int64_t> last = getConstantIntValue(parts.back()); last && *last < 0) {
      return c.error("E0307", "the dimension is too short for that many parts");
    }
  }
  if (c.hasFailed()) {
    return failure();
  }
  if (int64_t(parts.size()) < count) {
    return c.error("E0305",
                   llvm::formatv("there are {0} outputs, but the sizes of {1}", count, parts.size()).str());
  }
  std::optional<SmallVector<int64_t>> fixed = getConstantIntValues(parts);
  if (std::optional<int64_t> whole = getConstantIntValue(dim); fixed && whole) {
    int64_t sum = 0;
    bool bad = false;
    for (int64_t part : *fixed) {
      bad |= part < 0 || llvm::AddOverflow(sum, part, sum);
    }
    if (bad || sum != *whole) {
      return c.error("E0307", llvm::formatv("the parts have {0} elements together, but the dimension has {1}",
                                            sum, *whole)
                                  .str());
    }
  }
  const Scalars *list = c.rank(0) == 1 && fixed ? c.scalars(0) : nullptr;
  Size offset = c.b.getIndexAttr(0);
  for (int64_t i = 0; i < count; ++i) {
    if (list) {
      Sizes elements(ArrayRef<Size>(list->elements).slice(*getConstantIntValue(offset), (*fixed)[i]));
      (void)c.setScalars({list->elementType, {(*fixed)[i]}, elements}, i);
    } else if (c.isUsed(i)) {
      (void)c.set(i, c.slice(c.operand(0), axis, offset, parts[i]));
    }
    offset = c.sizes.add(offset, parts[i]);
  }
  return success(!c.hasFailed());
}

static LogicalResult legalizeTrilu(LegalizeContext &c) {
  Value x = c.operand(0);
  Sizes dims = c.shapeOf(x);
  if (dims.size() < 2) {
    return c.error("E0307",
                   llvm::formatv("the operand has {0} dimensions, must have at least 2", dims.size()).str());
  }
  Type i64 = c.b.getI64Type();
  Value zero = nn::buildScalar(c.b, c.loc, i64, 0), step = nn::buildScalar(c.b, c.loc, i64, 1);
  Value first = c.has(1) ? c.reshape(c.operand(1), {}) : zero;
  Size height = dims[dims.size() - 2], width = dims.back();
  // Element (row, column) lies on the diagonal column - row.
  Value rows = c.reshape(nn::buildRange(c.b, c.loc, first, step, height), {height, c.one()});
  Value columns = nn::buildRange(c.b, c.loc, zero, step, width);
  bool upper = c.intAttr("upper", 1) != 0;
  Value keep = c.compare(upper ? CompareKind::LessOrEqual : CompareKind::GreaterOrEqual, rows, columns);
  return c.set(c.select(keep, x, c.scalar(0, x)));
}

void lathe::onnx::registerSlicing(LegalizerRegistry &registry) {
  registry.add("Slice", 1, 5, legalizeSlice);
  registry.add("Split", 1, 2, legalizeSplit);
  registry.add("Trilu", 1, 2, legalizeTrilu);
}
