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

static LogicalResult legalizeReshape(LegalizeContext &c) {
  Sizes from = c.shapeOf(0), target;
  if (c.node.version < 5) {
    target = getAsIndexOpFoldResult(c.b.getContext(), c.intsAttr("shape").value_or(SmallVector<int64_t>()));
  } else if (!c.has(1)) {
    return c.error("E0305", "the input shape is absent");
  } else if (const Scalars *shape = c.scalars(1)) {
    target = shape->elements;
  } else {
    return c.dataDependent("the shape is computed from data");
  }
  bool allowZero = c.intAttr("allowzero", 0) != 0;
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
  return c.set(c.transpose(c.operand(0), perm));
}

static LogicalResult legalizeSqueeze(LegalizeContext &c) {
  Sizes dims = c.shapeOf(0);
  std::optional<SmallVector<int64_t>> axes = c.intsAttrOrInput("axes", 1);
  if (c.hasFailed() || (axes && !c.normalizeAxes(*axes, dims.size()))) {
    return failure();
  }
  Sizes result;
  for (auto [axis, dim] : llvm::enumerate(dims)) {
    std::optional<int64_t> number = getConstantIntValue(dim);
    if (!axes) {
      if (!number) {
        // Whether it goes depends on the run, and with it the rank.
        return c.dataDependent(
            llvm::formatv("without axes, dimension {0} of unknown size may go or stay", axis));
      }
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
  const Scalars *shape = c.scalars(1);
  if (!shape) {
    return c.dataDependent("the shape is computed from data");
  }
  Sizes dims = c.broadcast({c.shapeOf(0), shape->elements});
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
  const Scalars *repeats = c.scalars(1);
  if (!repeats) {
    return c.dataDependent("the repeats are computed from data");
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
    merged.push_back(c.sizes.mul(dim, repeat));
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
