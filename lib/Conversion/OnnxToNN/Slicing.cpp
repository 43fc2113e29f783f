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
  Size offset, size, step;
};
} // namespace

/// ONNX's clamping of [start, end) in steps of `step` to a dimension of size `dim`.
static Part clampPart(LegalizeContext &c, Size start, Size end, Size step, Size dim) {
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
  Size isUp = sizes.compare(CompareKind::Greater, step, zero);
  Size low = sizes.select(isUp, zero, minusOne);
  Size high = sizes.select(isUp, dim, sizes.sub(dim, c.one()));
  // A negative step starts at an element that exists.
  Size lowStart = zero;
  start = isFarBelow(start) ? lowStart : sizes.max(sizes.min(fromFront(start), high), lowStart);
  end = isFarBelow(end) ? low : sizes.max(sizes.min(fromFront(end), high), low);
  Size distance = sizes.select(isUp, sizes.sub(end, start), sizes.sub(start, end));
  distance = sizes.max(distance, zero);
  Size width = sizes.select(isUp, step, sizes.sub(zero, step));
  Size count = sizes.div(sizes.add(distance, sizes.sub(width, c.one())), width, /*floor=*/false);
  if (getConstantIntValue(isUp) != 1) {
    // There is none where the dimension is empty.
    count = sizes.min(count, dim);
  }
  return {start, count, step};
}

/// A list of positions from attribute `name` (before version 10) or operand `i`.
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
  if (std::optional<Scalars> list = c.scalarsOrRead(i)) {
    return list->elements;
  }
  (void)c.dataDependent(name + " has an unknown number of elements");
  return std::nullopt;
}

/// The axes of a slice as they are given: all dimensions in order where they are absent.
static std::optional<Sizes> getSliceAxes(LegalizeContext &c, size_t count) {
  if (c.node.version >= 10 && c.has(3)) {
    return getPositions(c, "axes", 3);
  }
  SmallVector<int64_t> axes =
      c.intsAttr("axes").value_or(llvm::to_vector(llvm::seq<int64_t>(0, int64_t(count))));
  return getAsIndexOpFoldResult(c.b.getContext(), axes);
}

namespace {
/// What a slice takes of every dimension, before it is clamped.
struct SliceRequest {
  Sizes starts, ends, steps;
};
} // namespace

/// Brings starts, ends and steps to the dimensions that `axes` name.
static std::optional<SliceRequest> spreadOverAxes(LegalizeContext &c, ArrayRef<Size> dims,
                                                  ArrayRef<Size> starts, ArrayRef<Size> ends,
                                                  ArrayRef<Size> axes, ArrayRef<Size> steps) {
  int64_t rank = dims.size();
  SliceRequest request{Sizes(rank, c.b.getIndexAttr(0)), Sizes(dims), Sizes(rank, c.one())};
  if (std::optional<SmallVector<int64_t>> fixed = getConstantIntValues(axes)) {
    if (!c.normalizeAxes(*fixed, rank)) {
      return std::nullopt;
    }
    for (auto [axis, start, end, step] : llvm::zip_equal(*fixed, starts, ends, steps)) {
      request.starts[axis] = start;
      request.ends[axis] = end;
      request.steps[axis] = step;
    }
    return request;
  }
  for (auto [axis, start, end, step] : llvm::zip_equal(axes, starts, ends, steps)) {
    Size position = c.axisPosition(axis, rank);
    for (int64_t dim = 0; dim < rank; ++dim) {
      Size isThis = c.sizes.compare(CompareKind::Equal, position, c.b.getIndexAttr(dim));
      request.starts[dim] = c.sizes.select(isThis, start, request.starts[dim]);
      request.ends[dim] = c.sizes.select(isThis, end, request.ends[dim]);
      request.steps[dim] = c.sizes.select(isThis, step, request.steps[dim]);
    }
  }
  return request;
}

static LogicalResult legalizeSlice(LegalizeContext &c) {
  Sizes dims = c.shapeOf(0);
  std::optional<Sizes> starts = getPositions(c, "starts", 1);
  std::optional<Sizes> ends = starts ? getPositions(c, "ends", 2) : std::nullopt;
  std::optional<Sizes> axes = ends ? getSliceAxes(c, starts->size()) : std::nullopt;
  if (!axes || c.hasFailed()) {
    return failure();
  }
  std::optional<Sizes> steps = Sizes(starts->size(), c.one());
  if (c.node.version >= 10 && c.has(4)) {
    steps = getPositions(c, "steps", 4);
  }
  if (!steps) {
    return failure();
  }
  if (ends->size() != starts->size() || axes->size() != starts->size() || steps->size() != starts->size()) {
    return c.error("E0307", llvm::formatv("starts, ends, axes and steps have {0}, {1}, {2} and {3} elements",
                                          starts->size(), ends->size(), axes->size(), steps->size())
                                .str());
  }
  std::optional<SliceRequest> request = spreadOverAxes(c, dims, *starts, *ends, *axes, *steps);
  if (!request) {
    return failure();
  }
  Sizes offsets(dims.size(), c.b.getIndexAttr(0)), sizes = dims;
  SmallVector<int64_t> strides(dims.size(), 1);
  SmallVector<std::pair<int64_t, Part>> strided;
  bool isWhole = true;
  for (auto [axis, start, end, given] : llvm::enumerate(request->starts, request->ends, request->steps)) {
    c.require(c.sizes.compare(CompareKind::NotEqual, given, c.b.getIndexAttr(0)),
              llvm::formatv("the step of dimension {0} is 0", axis).str());
    // No dimension is that long, and its negation must exist.
    Size step =
        c.sizes.max(c.sizes.min(given, c.b.getIndexAttr(nn::kMaxDim)), c.b.getIndexAttr(-nn::kMaxDim));
    Part part = clampPart(c, start, end, step, dims[axis]);
    std::optional<int64_t> stride = getConstantIntValue(step);
    isWhole &= stride == 1 && getConstantIntValue(part.offset) == 0 && c.sizes.isSame(part.size, dims[axis]);
    if (stride) {
      offsets[axis] = part.offset;
      sizes[axis] = part.size;
      strides[axis] = *stride;
    } else {
      strided.push_back({int64_t(axis), part});
    }
  }
  if (c.hasFailed()) {
    return failure();
  }
  if (isWhole) {
    return c.forward(0);
  }
  if (const Scalars *list = c.scalars(0); list && strided.empty()) {
    std::optional<SmallVector<int64_t>> first = getConstantIntValues(offsets),
                                        shape = getConstantIntValues(sizes);
    if (first && shape) {
      return c.setScalars(list->pick(*shape, [&](ArrayRef<int64_t> index) {
        SmallVector<int64_t> from;
        for (auto [position, offset, stride] : llvm::zip_equal(index, *first, strides)) {
          from.push_back(offset + position * stride);
        }
        return from;
      }));
    }
  }
  Value x = nn::buildSlice(c.b, c.loc, c.operand(0), offsets, sizes, strides);
  // Steps that data decides: the elements are looked up.
  for (auto &[axis, part] : strided) {
    auto scalar = [&](Size value) {
      return nn::buildFromScalars(c.b, c.loc, {value}, c.b.getI64Type(), true);
    };
    Value indices = nn::buildRange(c.b, c.loc, scalar(part.offset), scalar(part.step), part.size);
    x = nn::buildGather(c.b, c.loc, x, indices, axis);
  }
  return c.set(x);
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
    if (std::optional<Scalars> list = c.hasAttr("split") ? std::nullopt : c.scalarsOrRead(1)) {
      for (Size part : list->elements) {
        parts.push_back(c.checkedSize(part));
      }
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
  Size sum = c.b.getIndexAttr(0);
  for (Size part : parts) {
    sum = c.sizes.add(sum, part);
  }
  c.require(c.sizes.compare(CompareKind::Equal, sum, dim), "the parts are not as long as the dimension");
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
