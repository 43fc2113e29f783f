// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Borders of tensors.

#include "Windows.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::CompareKind;
using nn::PadKind;

static std::optional<PadKind> getKind(LegalizeContext &c) {
  StringRef mode = c.stringAttr("mode").value_or("constant");
  std::optional<PadKind> kind = nn::symbolizePadKind(mode);
  if (!kind) {
    (void)c.error("E0304", "mode is \"" + mode + "\"", "mode");
  }
  return kind;
}

namespace {
/// How many elements stand before and after each dimension.
struct Pads {
  Sizes before, after;
};
} // namespace

/// All pads before, then all after, at `axes`.
static std::optional<Pads> spreadPads(LegalizeContext &c, ArrayRef<Size> pads, SmallVector<int64_t> axes,
                                      int64_t rank) {
  if (!c.normalizeAxes(axes, rank)) {
    return std::nullopt;
  }
  if (pads.size() != 2 * axes.size()) {
    (void)c.error("E0307", llvm::formatv("pads has {0} elements, but {1} dimensions are padded", pads.size(),
                                         axes.size())
                               .str());
    return std::nullopt;
  }
  Pads result{Sizes(rank, c.b.getIndexAttr(0)), Sizes(rank, c.b.getIndexAttr(0))};
  for (auto [i, axis] : llvm::enumerate(axes)) {
    result.before[axis] = pads[i];
    result.after[axis] = pads[axes.size() + i];
  }
  return result;
}

/// The same where only the run knows the axes, and maybe how many there are.
static std::optional<Pads> spreadPadsByData(LegalizeContext &c, int64_t rank) {
  if (c.rank(1) != 1 || c.rank(3) != 1 || rank < 1 || 2 * rank > kMaxReads) {
    (void)c.error(
        "E0307",
        llvm::formatv("pads and axes have {0} and {1} dimensions, must have 1", c.rank(1), c.rank(3)).str());
    return std::nullopt;
  }
  Size count = c.shapeOf(3).front();
  Value names = nameDimensions(c, 3, rank);
  (void)markNamed(c, names);
  // Each pad is put where its axis is, all others there are 0.
  Value given = c.reshape(c.cast(c.operand(1), c.b.getI64Type()), {c.b.getIndexAttr(2), count, c.one()});
  Value spread = c.reduce(nn::ReduceKind::Sum, c.mul(given, names), {1}, /*keepDims=*/false);
  Sizes elements = c.readScalars(spread)->elements;
  return Pads{Sizes(ArrayRef<Size>(elements).take_front(rank)),
              Sizes(ArrayRef<Size>(elements).drop_front(rank))};
}

static std::optional<Pads> getPads(LegalizeContext &c, int64_t rank) {
  SmallVector<int64_t> axes = llvm::to_vector(llvm::seq<int64_t>(0, rank));
  if (c.node.version < 11) {
    StringRef name = c.node.version < 2 ? "paddings" : "pads";
    std::optional<SmallVector<int64_t>> pads = c.intsAttr(name);
    if (!pads) {
      (void)c.error("E0303", name + " is missing", name);
      return std::nullopt;
    }
    return spreadPads(c, getAsIndexOpFoldResult(c.b.getContext(), *pads), axes, rank);
  }
  if (!c.has(1)) {
    (void)c.error("E0305", "input 1, the pads, is absent");
    return std::nullopt;
  }
  if (c.has(3)) {
    const Scalars *list = c.scalars(3);
    std::optional<SmallVector<int64_t>> fixed = list ? getConstantIntValues(list->elements) : std::nullopt;
    if (!fixed) {
      return spreadPadsByData(c, rank);
    }
    axes = *fixed;
  }
  std::optional<Scalars> pads = c.listOrRead(1, 2 * int64_t(axes.size()));
  if (!pads) {
    (void)c.unsupported(llvm::formatv("the pads are no list of integers, at most {0}", kMaxReads));
    return std::nullopt;
  }
  return spreadPads(c, pads->elements, axes, rank);
}

/// What is put at the border by the constant kind, of rank 0.
static Value getFill(LegalizeContext &c, Value x) {
  if (c.node.version < 11) {
    return c.scalar(c.floatAttr("value", 0), x);
  }
  Value fill = c.operandOrNull(2);
  return fill ? c.cast(c.reshape(fill, {}), nn::getElementType(x)) : c.scalar(0, x);
}

/// Cuts off what negative pads say, and makes `pads` what is left of them.
static Value cutOff(LegalizeContext &c, Value x, Pads &pads) {
  SizeArith &sizes = c.sizes;
  Size zero = c.b.getIndexAttr(0);
  for (auto [axis, low, high] : llvm::enumerate(pads.before, pads.after)) {
    for (Size pad : {low, high}) {
      if (std::optional<int64_t> number = getConstantIntValue(pad);
          number && std::abs(*number) > nn::kMaxDim) {
        (void)c.error("E0304", llvm::formatv("there is a pad of {0}", *number).str(), "pads");
        return x;
      }
    }
    // The lowest number has no negation: it is no size.
    Size cutLow = c.checkedSize(sizes.sub(zero, sizes.min(low, zero))),
         cutHigh = c.checkedSize(sizes.sub(zero, sizes.min(high, zero)));
    Size cut = sizes.add(cutLow, cutHigh), size = c.shapeOf(x)[axis];
    if (getConstantIntValue(cut) != 0) {
      Size rest = sizes.sub(size, cut);
      if (std::optional<int64_t> number = getConstantIntValue(rest); number && *number < 0) {
        (void)c.error("E0307", llvm::formatv("the pads cut off {0} elements of dimension {1}, which has {2}",
                                             *getConstantIntValue(cut), axis, *getConstantIntValue(size))
                                   .str());
        return x;
      }
      c.require(sizes.compare(CompareKind::GreaterOrEqual, rest, zero),
                llvm::formatv("the pads cut off more than dimension {0} has", axis).str());
      x = c.slice(x, int64_t(axis), cutLow, sizes.max(rest, zero));
    }
    low = c.checkedSize(sizes.max(low, zero));
    high = c.checkedSize(sizes.max(high, zero));
  }
  return x;
}

static LogicalResult legalizePad(LegalizeContext &c) {
  std::optional<PadKind> kind = getKind(c);
  std::optional<Pads> pads = getPads(c, c.rank(0));
  if (!kind || !pads || c.hasFailed()) {
    return failure();
  }
  Value x = cutOff(c, c.operand(0), *pads);
  if (c.hasFailed()) {
    return failure();
  }
  SizeArith &sizes = c.sizes;
  bool isPadded = false;
  for (auto [axis, size, low, high] : llvm::enumerate(c.shapeOf(x), pads->before, pads->after)) {
    Size added = sizes.add(low, high), zero = c.b.getIndexAttr(0);
    isPadded |= getConstantIntValue(added) != 0;
    if (*kind != PadKind::Constant && getConstantIntValue(added) != 0) {
      Size isWhole = sizes.compare(CompareKind::Equal, added, zero);
      c.require(sizes.max(isWhole, sizes.compare(CompareKind::Greater, size, zero)),
                llvm::formatv("dimension {0} has no elements that its pads could repeat", axis).str());
    }
  }
  if (!isPadded || c.hasFailed()) {
    return c.set(x);
  }
  return c.set(
      buildPad(c, *kind, x, *kind == PadKind::Constant ? getFill(c, x) : Value(), pads->before, pads->after));
}

void lathe::onnx::registerPad(LegalizerRegistry &registry) { registry.add("Pad", 1, 4, legalizePad); }
