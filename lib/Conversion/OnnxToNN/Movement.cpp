// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The same elements in another arrangement.

#include "Legalizer.h"

#include "mlir/Dialect/Utils/IndexingUtils.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::CompareKind;

/// Dimensions as a user reads them: "[?, 12, 64]".
static std::string print(ArrayRef<Size> dims) {
  std::string text = "[";
  for (auto [i, dim] : llvm::enumerate(dims)) {
    std::optional<int64_t> number = getConstantIntValue(dim);
    text += (i ? ", " : "") + (number ? std::to_string(*number) : std::string("?"));
  }
  return text + "]";
}

/// Result 0 is operand 0 under `dims`; scalars stay scalars where the shape is fixed.
static LogicalResult setReshaped(LegalizeContext &c, ArrayRef<Size> dims) {
  if (const Scalars *list = c.scalars(0)) {
    std::optional<SmallVector<int64_t>> shape = getConstantIntValues(dims);
    if (shape && ShapedType::getNumElements(*shape) == int64_t(list->elements.size())) {
      return c.setScalars({list->elementType, *shape, list->elements});
    }
  }
  return c.set(c.reshape(c.operand(0), dims));
}

/// A shape that is read while the model runs: 0 copies a dimension, -1 is what is left.
static LogicalResult reshapeByData(LegalizeContext &c, ArrayRef<Size> from, ArrayRef<Size> requested,
                                   bool allowZero) {
  SizeArith &sizes = c.sizes;
  Size zero = c.b.getIndexAttr(0), minusOne = c.b.getIndexAttr(-1), unknowns = zero;
  Sizes target, others;
  for (auto [i, dim] : llvm::enumerate(requested)) {
    Size isUnknown = sizes.compare(CompareKind::Equal, dim, minusOne);
    Size isCopy = allowZero ? zero : sizes.compare(CompareKind::Equal, dim, zero);
    if (i >= from.size()) {
      c.require(sizes.sub(c.one(), isCopy), "the shape has a 0 where the operand has no dimension");
      isCopy = zero;
    }
    Size copied = sizes.select(isCopy, i < from.size() ? from[i] : dim, dim);
    target.push_back(copied);
    others.push_back(c.checkedSize(sizes.select(isUnknown, c.one(), copied)));
    unknowns = sizes.add(unknowns, isUnknown);
  }
  c.require(sizes.compare(CompareKind::LessOrEqual, unknowns, c.one()), "the shape has -1 twice");
  Size rest =
      sizes.div(c.checkedProduct(from), sizes.max(c.checkedProduct(others), c.one()), /*floor=*/false);
  for (auto [dim, other, given] : llvm::zip_equal(target, others, requested)) {
    dim = sizes.select(sizes.compare(CompareKind::Equal, given, minusOne), rest, other);
    dim = c.checkedSize(dim);
  }
  return c.set(c.reshape(c.operand(0), target));
}

static LogicalResult legalizeReshape(LegalizeContext &c) {
  Sizes from = c.shapeOf(0), target;
  bool allowZero = c.intAttr("allowzero", 0) != 0;
  if (c.node.version < 5) {
    target = getAsIndexOpFoldResult(c.b.getContext(), c.intsAttr("shape").value_or(SmallVector<int64_t>()));
  } else if (!c.has(1)) {
    return c.error("E0305", "the input shape is absent");
  } else if (std::optional<Scalars> shape = c.listOrRead(1, c.declaredRank(0).value_or(-1))) {
    if (!llvm::all_of(shape->elements, isKnownFromSymbols)) {
      return reshapeByData(c, from, shape->elements, allowZero);
    }
    target = shape->elements;
  } else {
    return c.dataDependent("the rank of the result is the number of elements of a shape of unknown size");
  }
  std::optional<size_t> unknown;
  Sizes others, requested = target;
  for (auto [i, dim] : llvm::enumerate(target)) {
    std::optional<int64_t> number = getConstantIntValue(dim);
    if (number == 0 && !allowZero) {
      if (i >= from.size()) {
        return c.error(
            "E0307",
            llvm::formatv("dimension {0} of the shape is 0, which copies a dimension that the operand, of "
                          "shape {1}, does not have",
                          i, print(from))
                .str());
      }
      dim = from[i];
    }
    if (number && *number < -1) {
      return c.error("E0307", llvm::formatv("dimension {0} of the shape is {1}", i, *number).str());
    }
    if (number == -1) {
      if (unknown) {
        return c.error("E0307", llvm::formatv("the shape {0} has -1 twice", print(requested)).str());
      }
      unknown = i;
    } else {
      others.push_back(dim);
    }
  }
  auto mismatch = [&]() {
    return c.error("E0307", llvm::formatv("an operand of shape {0} does not fit into the shape {1}",
                                          print(from), print(requested))
                                .str());
  };
  if (unknown) {
    FailureOr<Size> size = c.sizes.divideProducts(from, others);
    if (failed(size)) {
      return mismatch();
    }
    target[*unknown] = *size;
  } else {
    std::optional<SmallVector<int64_t>> own = getConstantIntValues(from),
                                        wanted = getConstantIntValues(target);
    if (own && wanted && ShapedType::getNumElements(*own) != ShapedType::getNumElements(*wanted)) {
      return mismatch();
    }
  }
  return setReshaped(c, target);
}

static LogicalResult legalizeFlatten(LegalizeContext &c) {
  Sizes dims = c.shapeOf(0);
  int64_t rank = dims.size(), axis = c.intAttr("axis", 1);
  // Unlike elsewhere, axis may be the rank.
  if (axis != rank && !c.normalizeAxis(axis, rank)) {
    return failure();
  }
  return setReshaped(c, {c.sizes.product(ArrayRef<Size>(dims).take_front(axis)),
                         c.sizes.product(ArrayRef<Size>(dims).drop_front(axis))});
}

static LogicalResult legalizeTranspose(LegalizeContext &c) {
  int64_t rank = c.rank(0);
  SmallVector<int64_t> perm = llvm::to_vector(llvm::reverse(llvm::seq<int64_t>(0, rank)));
  if (std::optional<SmallVector<int64_t>> given = c.intsAttr("perm")) {
    perm = *given;
    if (int64_t(perm.size()) != rank || !isPermutationVector(perm)) {
      return c.error("E0304",
                     llvm::formatv("perm is [{0}], which does not permute {1} dimensions",
                                   llvm::make_range(perm.begin(), perm.end()), rank)
                         .str(),
                     "perm");
    }
  }
  if (isIdentityPermutation(perm)) {
    return c.forward(0);
  }
  if (const Scalars *list = c.scalars(0)) {
    return c.setScalars(list->pick(applyPermutation(list->shape, perm), [&](ArrayRef<int64_t> index) {
      return applyPermutation(index, invertPermutationVector(perm));
    }));
  }
  return c.set(c.transpose(c.operand(0), perm));
}

/// The axes that operand 1 holds, if only a run tells them. The result has `added` dimensions more than the
/// operand for each of them.
static std::optional<Sizes> readAxes(LegalizeContext &c, int64_t added) {
  if (!c.has(1) || c.scalars(1)) {
    return std::nullopt;
  }
  std::optional<int64_t> rank = c.declaredRank(0);
  std::optional<Scalars> axes = c.listOrRead(1, rank ? (*rank - c.rank(0)) * added : -1);
  return axes ? std::optional(axes->elements) : std::nullopt;
}

/// For each of `rank` dimensions 1 if one of `axes` names it, else 0. No two may name the same.
static Sizes markAxes(LegalizeContext &c, ArrayRef<Size> axes, int64_t rank) {
  Sizes marks(rank, c.b.getIndexAttr(0));
  for (Size axis : axes) {
    Size position = c.axisPosition(axis, rank);
    for (int64_t i = 0; i < rank; ++i) {
      marks[i] = c.sizes.add(marks[i], c.sizes.compare(CompareKind::Equal, position, c.b.getIndexAttr(i)));
    }
  }
  for (Size mark : marks) {
    c.require(c.sizes.compare(CompareKind::LessOrEqual, mark, c.one()), "axes names a dimension twice");
  }
  return marks;
}

/// Element `index` of `list`, which is known while the model runs.
static Size pick(LegalizeContext &c, ArrayRef<Size> list, Size index) {
  Size result = list.back();
  for (int64_t i = int64_t(list.size()) - 1; i-- > 0;) {
    result = c.sizes.select(c.sizes.compare(CompareKind::Equal, index, c.b.getIndexAttr(i)), list[i], result);
  }
  return result;
}

Sizes lathe::onnx::dropMarked(LegalizeContext &c, ArrayRef<Size> dims, ArrayRef<Size> marks, int64_t left) {
  int64_t rank = dims.size();
  Sizes result(left, c.one());
  Size place = c.b.getIndexAttr(0);
  for (int64_t i = 0; i < rank; ++i) {
    Size stays = c.sizes.sub(c.one(), marks[i]);
    for (int64_t k = 0; k < std::min(i + 1, left); ++k) {
      Size isHere = c.sizes.min(stays, c.sizes.compare(CompareKind::Equal, place, c.b.getIndexAttr(k)));
      result[k] = c.sizes.select(isHere, dims[i], result[k]);
    }
    place = c.sizes.add(place, stays);
  }
  return result;
}

/// Squeeze where data names the axes.
static LogicalResult squeezeByData(LegalizeContext &c, ArrayRef<Size> axes) {
  Sizes dims = c.shapeOf(0);
  int64_t rank = dims.size(), left = rank - int64_t(axes.size());
  if (left < 0) {
    return c.error("E0304", llvm::formatv("there are {0} axes, but {1} dimensions", axes.size(), rank).str());
  }
  return c.set(c.reshape(c.operand(0), dropMarked(c, dims, markAxes(c, axes, rank), left)));
}

/// Squeeze of all dimensions that turn out to be 1: as many as the rank of the result says, or if the model
/// does not say it, those that are known to be.
static LogicalResult squeezeOnes(LegalizeContext &c) {
  Sizes dims = c.shapeOf(0), marks;
  int64_t rank = dims.size();
  std::optional<int64_t> left = c.declaredRank(0);
  if (!left || *left > rank) {
    Sizes staying;
    for (Size dim : dims) {
      Size isOne = c.sizes.compare(CompareKind::Equal, dim, c.one());
      if (getConstantIntValue(isOne) != 1) {
        staying.push_back(dim);
        c.require(c.sizes.compare(CompareKind::NotEqual, dim, c.one()),
                  "without axes, a dimension whose size only the run knows must not be 1");
      }
    }
    return c.hasFailed() ? failure() : setReshaped(c, staying);
  }
  Size total = c.b.getIndexAttr(0);
  for (Size dim : dims) {
    marks.push_back(c.sizes.compare(CompareKind::Equal, dim, c.one()));
    total = c.sizes.add(total, marks.back());
  }
  c.require(c.sizes.compare(CompareKind::Equal, total, c.b.getIndexAttr(rank - *left)),
            "more or fewer dimensions are 1 than the rank of the result says");
  return c.set(c.reshape(c.operand(0), dropMarked(c, dims, marks, *left)));
}

/// Unsqueeze where data names the axes.
static LogicalResult unsqueezeByData(LegalizeContext &c, ArrayRef<Size> axes) {
  Sizes dims = c.shapeOf(0), result;
  Sizes marks = markAxes(c, axes, int64_t(dims.size() + axes.size()));
  Size next = c.b.getIndexAttr(0);
  for (Size isNew : marks) {
    result.push_back(dims.empty() ? c.one() : c.sizes.select(isNew, c.one(), pick(c, dims, next)));
    next = c.sizes.add(next, c.sizes.sub(c.one(), isNew));
  }
  return c.set(c.reshape(c.operand(0), result));
}

static LogicalResult legalizeSqueeze(LegalizeContext &c) {
  if (std::optional<Sizes> axes = readAxes(c, /*added=*/-1)) {
    return squeezeByData(c, *axes);
  }
  Sizes dims = c.shapeOf(0);
  std::optional<SmallVector<int64_t>> axes = c.intsAttrOrInput("axes", 1);
  if (c.hasFailed() || (axes && !c.normalizeAxes(*axes, dims.size()))) {
    return failure();
  }
  if (!axes && !getConstantIntValues(dims)) {
    return squeezeOnes(c);
  }
  Sizes result;
  for (auto [axis, dim] : llvm::enumerate(dims)) {
    std::optional<int64_t> number = getConstantIntValue(dim);
    if (!axes) {
      if (*number != 1) {
        result.push_back(dim);
      }
    } else if (!llvm::is_contained(*axes, int64_t(axis))) {
      result.push_back(dim);
    } else if (number && *number != 1) {
      return c.error("E0307", llvm::formatv("dimension {0} has size {1}, only those of size 1 can be removed",
                                            axis, *number)
                                  .str());
    }
  }
  return setReshaped(c, result);
}

static LogicalResult legalizeUnsqueeze(LegalizeContext &c) {
  if (std::optional<Sizes> axes = readAxes(c, /*added=*/1)) {
    return unsqueezeByData(c, *axes);
  }
  Sizes dims = c.shapeOf(0);
  std::optional<SmallVector<int64_t>> axes = c.intsAttrOrInput("axes", 1);
  if (c.hasFailed()) {
    return failure();
  }
  if (!axes) {
    return c.error("E0303", "axes is missing", "axes");
  }
  // Negative axes count from the end of the result.
  int64_t rank = dims.size() + axes->size();
  if (!c.normalizeAxes(*axes, rank)) {
    return failure();
  }
  Sizes result;
  const auto *next = dims.begin();
  for (int64_t axis = 0; axis < rank; ++axis) {
    result.push_back(llvm::is_contained(*axes, axis) ? c.one() : *next++);
  }
  return setReshaped(c, result);
}

static LogicalResult legalizeExpand(LegalizeContext &c) {
  // What is missing in front are dimensions of size 1.
  std::optional<Scalars> shape =
      c.shorterListOrRead(1, c.declaredRank(0).value_or(kMaxReads + 1), 1, LegalizeContext::Side::Before);
  if (!shape) {
    return c.dataDependent("the rank of the result is the number of elements of a shape of unknown size");
  }
  for (Size &dim : shape->elements) {
    dim = c.checkedSize(dim);
  }
  Sizes dims = c.broadcast({c.shapeOf(0), shape->elements});
  requireBroadcast(c, shape->elements, dims);
  if (c.hasFailed()) {
    return failure();
  }
  const Scalars *list = c.scalars(0);
  std::optional<SmallVector<int64_t>> fixed = getConstantIntValues(dims);
  if (list && list->elements.size() == 1 && fixed && fixed->size() <= 1 &&
      ShapedType::getNumElements(*fixed) <= kMaxScalars) {
    return c.setScalars(
        {list->elementType, *fixed, Sizes(ShapedType::getNumElements(*fixed), list->elements.front())});
  }
  return c.set(c.expand(c.operand(0), dims));
}

static LogicalResult legalizeTile(LegalizeContext &c) {
  std::optional<Scalars> repeats = c.listOrRead(1, c.rank(0));
  if (!repeats) {
    return c.unsupported(llvm::formatv("the repeats are no list of integers, at most {0}", kMaxReads));
  }
  for (Size &repeat : repeats->elements) {
    repeat = c.checkedSize(repeat);
  }
  Sizes dims = c.shapeOf(0);
  if (repeats->elements.size() != dims.size()) {
    return c.error("E0307", llvm::formatv("there are {0} repeats, but the operand has {1} dimensions",
                                          repeats->elements.size(), dims.size())
                                .str());
  }
  // A dimension that repeats gets one before it, which is expanded and merged.
  Sizes split, expanded, merged;
  for (auto [dim, repeat] : llvm::zip_equal(dims, repeats->elements)) {
    if (getConstantIntValue(repeat) != 1) {
      split.push_back(c.one());
      expanded.push_back(repeat);
    }
    split.push_back(dim);
    expanded.push_back(dim);
    merged.push_back(c.checkedProduct({dim, repeat}));
  }
  return c.set(c.reshape(c.expand(c.reshape(c.operand(0), split), expanded), merged));
}

static LogicalResult legalizeConcat(LegalizeContext &c) {
  std::optional<int64_t> axis = c.intAttr("axis");
  if (!axis) {
    return c.error("E0303", "axis is missing", "axis");
  }
  if (!c.normalizeAxis(*axis, c.rank(0))) {
    return failure();
  }
  Scalars list{c.elementType(0), {0}, {}};
  bool isList = true;
  for (unsigned i = 0; i < c.numInputs(); ++i) {
    if (!c.has(i)) {
      return c.error("E0305", llvm::formatv("input {0} is absent", i).str());
    }
    if (c.elementType(i) != c.elementType(0)) {
      return c.error("E0306", llvm::formatv("the operands have different element types, {0} and {1}",
                                            c.elementType(0), c.elementType(i))
                                  .str());
    }
    if (c.rank(i) != c.rank(0)) {
      return c.error(
          "E0307",
          llvm::formatv("input 0 has {0} dimensions, input {1} has {2}", c.rank(0), i, c.rank(i)).str());
    }
    const Scalars *part = c.scalars(i);
    isList &= part && part->shape.size() == 1;
    if (isList) {
      llvm::append_range(list.elements, part->elements);
    }
  }
  if (isList && int64_t(list.elements.size()) <= kMaxScalars) {
    list.shape[0] = list.elements.size();
    return c.setScalars(std::move(list));
  }
  if (c.numInputs() == 1) {
    return c.forward(0);
  }
  SmallVector<Value> parts;
  for (unsigned i = 0; i < c.numInputs(); ++i) {
    parts.push_back(c.operand(i));
  }
  return c.set(nn::buildConcat(c.b, c.loc, parts, *axis));
}

void lathe::onnx::registerMovement(LegalizerRegistry &registry) {
  registry.add("Reshape", 1, 2, legalizeReshape);
  registry.add("Flatten", 1, 1, legalizeFlatten);
  registry.add("Transpose", 1, 1, legalizeTranspose);
  registry.add("Squeeze", 1, 2, legalizeSqueeze);
  registry.add("Unsqueeze", 1, 2, legalizeUnsqueeze);
  registry.add("Expand", 2, 2, legalizeExpand);
  registry.add("Tile", 2, 2, legalizeTile);
  registry.add("Concat", 1, LegalizerRegistry::kAny, legalizeConcat);
}
