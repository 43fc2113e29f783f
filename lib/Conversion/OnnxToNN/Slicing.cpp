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

namespace {
/// Lists of equal length, which only the run may know: then they are as long as there are dimensions, and
/// those from `length` on take all of no dimension in particular.
struct SliceLists {
  Sizes starts, ends, axes, steps;
  Size length;
};

/// What a slice takes of every dimension, before it is clamped.
struct SliceRequest {
  Sizes starts, ends, steps;
};
} // namespace

/// The lists as attributes, before version 10.
static std::optional<SliceLists> getFixedLists(LegalizeContext &c) {
  std::optional<SmallVector<int64_t>> starts = c.intsAttr("starts"), ends = c.intsAttr("ends");
  if (!starts || !ends) {
    StringRef name = starts ? "ends" : "starts";
    (void)c.error("E0303", name + " is missing", name);
    return std::nullopt;
  }
  SmallVector<int64_t> axes =
      c.intsAttr("axes").value_or(llvm::to_vector(llvm::seq<int64_t>(0, int64_t(starts->size()))));
  MLIRContext *context = c.b.getContext();
  return SliceLists{getAsIndexOpFoldResult(context, *starts), getAsIndexOpFoldResult(context, *ends),
                    getAsIndexOpFoldResult(context, axes), Sizes(starts->size(), c.one()),
                    c.b.getIndexAttr(int64_t(starts->size()))};
}

static std::optional<SliceLists> getLists(LegalizeContext &c, int64_t rank) {
  if (c.node.version < 10) {
    return getFixedLists(c);
  }
  static constexpr const char *names[] = {"", "starts", "ends", "axes", "steps"};
  // One list of known length tells that of all.
  std::optional<int64_t> count;
  Size length;
  SmallVector<int64_t> lengths;
  for (unsigned i : {1u, 2u, 3u, 4u}) {
    if (i < 3 && !c.has(i)) {
      (void)c.error("E0305", Twine("the input ") + names[i] + " is absent");
      return std::nullopt;
    }
    if (!c.has(i)) {
      lengths.push_back(count.value_or(ShapedType::kDynamic));
      continue;
    }
    if (c.rank(i) != 1) {
      (void)c.error("E0307", llvm::formatv("{0} has {1} dimensions, must have 1", names[i], c.rank(i)));
      return std::nullopt;
    }
    Size own = c.shapeOf(i).front();
    count = count ? count : getConstantIntValue(own);
    length = length ? length : own;
    lengths.push_back(getConstantIntValue(own).value_or(ShapedType::kDynamic));
    if (!getConstantIntValue(own) || !getConstantIntValue(length)) {
      c.require(c.sizes.compare(CompareKind::Equal, own, length),
                "starts, ends, axes and steps have different numbers of elements");
    }
  }
  if (llvm::none_of(lengths, ShapedType::isDynamic) && !llvm::all_equal(lengths)) {
    (void)c.error("E0307", llvm::formatv("starts, ends, axes and steps have {0}, {1}, {2} and {3} elements",
                                         lengths[0], lengths[1], lengths[2], lengths[3])
                               .str());
    return std::nullopt;
  }
  auto read = [&](unsigned i, int64_t fill) -> std::optional<Sizes> {
    std::optional<Scalars> list =
        count ? c.listOrRead(i, *count) : c.shorterListOrRead(i, rank, fill, LegalizeContext::Side::Behind);
    if (!list) {
      (void)c.unsupported(llvm::formatv("{0} is no list of integers, at most {1}", names[i], kMaxReads));
      return std::nullopt;
    }
    return list->elements;
  };
  std::optional<Sizes> starts = read(1, 0), ends = read(2, nn::kMaxDim);
  if (!starts || !ends || c.hasFailed()) {
    return std::nullopt;
  }
  std::optional<Sizes> axes, steps = Sizes(starts->size(), c.one());
  axes = c.has(3) ? read(3, 0)
                  : getAsIndexOpFoldResult(c.b.getContext(),
                                           llvm::to_vector(llvm::seq<int64_t>(0, int64_t(starts->size()))));
  steps = c.has(4) ? read(4, 1) : steps;
  if (!axes || !steps || c.hasFailed()) {
    return std::nullopt;
  }
  return SliceLists{*starts, *ends, *axes, *steps, count ? Size(c.b.getIndexAttr(*count)) : length};
}

/// Brings starts, ends and steps to the dimensions that the axes name.
static std::optional<SliceRequest> spreadOverAxes(LegalizeContext &c, ArrayRef<Size> dims,
                                                  const SliceLists &lists) {
  int64_t rank = dims.size();
  SliceRequest request{Sizes(rank, c.b.getIndexAttr(0)), Sizes(dims), Sizes(rank, c.one())};
  if (std::optional<SmallVector<int64_t>> fixed = getConstantIntValues(lists.axes)) {
    if (!c.normalizeAxes(*fixed, rank)) {
      return std::nullopt;
    }
    for (auto [axis, start, end, step] : llvm::zip_equal(*fixed, lists.starts, lists.ends, lists.steps)) {
      request.starts[axis] = start;
      request.ends[axis] = end;
      request.steps[axis] = step;
    }
    return request;
  }
  for (auto [i, axis] : llvm::enumerate(lists.axes)) {
    Size isAbsent = c.sizes.compare(CompareKind::GreaterOrEqual, c.b.getIndexAttr(int64_t(i)), lists.length);
    Size position = c.axisPosition(axis, rank, isAbsent);
    for (int64_t dim = 0; dim < rank; ++dim) {
      Size isThis = c.sizes.compare(CompareKind::Equal, position, c.b.getIndexAttr(dim));
      request.starts[dim] = c.sizes.select(isThis, lists.starts[i], request.starts[dim]);
      request.ends[dim] = c.sizes.select(isThis, lists.ends[i], request.ends[dim]);
      request.steps[dim] = c.sizes.select(isThis, lists.steps[i], request.steps[dim]);
    }
  }
  return request;
}

static LogicalResult legalizeSlice(LegalizeContext &c) {
  Sizes dims = c.shapeOf(0);
  std::optional<SliceLists> lists = getLists(c, int64_t(dims.size()));
  if (!lists || c.hasFailed()) {
    return failure();
  }
  size_t count = lists->starts.size();
  if (lists->ends.size() != count || lists->axes.size() != count || lists->steps.size() != count) {
    return c.error("E0307", llvm::formatv("starts, ends, axes and steps have {0}, {1}, {2} and {3} elements",
                                          count, lists->ends.size(), lists->axes.size(), lists->steps.size())
                                .str());
  }
  std::optional<SliceRequest> request = spreadOverAxes(c, dims, *lists);
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
    if (std::optional<Scalars> list = c.hasAttr("split") ? std::nullopt : c.listOrRead(1, count)) {
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
    Size last = c.sizes.sub(dim, c.sizes.mul(part, c.b.getIndexAttr(outputs - 1)));
    c.require(c.sizes.compare(CompareKind::GreaterOrEqual, last, c.b.getIndexAttr(0)),
              "the dimension is too short for that many parts");
    // There may be more parts than outputs, which nobody sees.
    parts.assign(count, part);
    if (outputs == count) {
      parts.back() = last;
    } else {
      parts.push_back(c.sizes.sub(dim, c.sizes.mul(part, c.b.getIndexAttr(count))));
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
  registry.add("Trilu", 1, 2, legalizeTrilu, kMicrosoft);
}
