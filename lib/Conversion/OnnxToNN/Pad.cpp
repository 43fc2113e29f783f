// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Borders of tensors.

#include "Windows.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::PadKind;

static std::optional<PadKind> getKind(LegalizeContext &c) {
  StringRef mode = c.stringAttr("mode").value_or("constant");
  std::optional<PadKind> kind = nn::symbolizePadKind(mode);
  if (!kind) {
    (void)c.error("E0304", "mode is \"" + mode + "\"", "mode");
  }
  return kind;
}

/// The numbers of elements before and after each of the padded dimensions, one after the other.
static std::optional<Sizes> getPads(LegalizeContext &c) {
  StringRef name = c.node.version < 2 ? "paddings" : "pads";
  if (c.node.version < 11) {
    std::optional<SmallVector<int64_t>> pads = c.intsAttr(name);
    if (!pads) {
      (void)c.error("E0303", name + " is missing", name);
      return std::nullopt;
    }
    return getAsIndexOpFoldResult(c.b.getContext(), *pads);
  }
  if (!c.has(1)) {
    (void)c.error("E0305", "input 1, the pads, is absent");
    return std::nullopt;
  }
  const Scalars *pads = c.scalars(1);
  if (!pads) {
    (void)c.dataDependent("the pads are computed from data");
    return std::nullopt;
  }
  return pads->elements;
}

/// What is put at the border by the constant kind, of rank 0.
static Value getFill(LegalizeContext &c, Value x) {
  if (c.node.version < 11) {
    return c.scalar(c.floatAttr("value", 0), x);
  }
  Value fill = c.operandOrNull(2);
  return fill ? c.cast(c.reshape(fill, {}), nn::getElementType(x)) : c.scalar(0, x);
}

static LogicalResult legalizePad(LegalizeContext &c) {
  std::optional<PadKind> kind = getKind(c);
  std::optional<Sizes> pads = getPads(c);
  int64_t rank = c.rank(0);
  SmallVector<int64_t> axes = llvm::to_vector(llvm::seq<int64_t>(0, rank));
  if (c.has(3)) {
    axes = c.intsAttrOrInput("axes", 3).value_or(axes);
  }
  if (!kind || !pads || c.hasFailed() || !c.normalizeAxes(axes, rank)) {
    return failure();
  }
  if (pads->size() != 2 * axes.size()) {
    return c.error("E0307", llvm::formatv("pads has {0} elements, but {1} dimensions are padded",
                                          pads->size(), axes.size())
                                .str());
  }
  SizeArith &sizes = c.sizes;
  Size zero = c.b.getIndexAttr(0);
  Value x = c.operand(0);
  Sizes before(rank, zero), after(rank, zero);
  bool isPadded = false;
  for (auto [i, axis] : llvm::enumerate(axes)) {
    Size low = (*pads)[i], high = (*pads)[axes.size() + i];
    for (Size pad : {low, high}) {
      if (std::optional<int64_t> number = getConstantIntValue(pad);
          number && std::abs(*number) > nn::kMaxDim) {
        return c.error("E0304", llvm::formatv("there is a pad of {0}", *number).str(), "pads");
      }
    }
    // Negative pads cut off.
    Size cutLow = sizes.max(sizes.sub(zero, low), zero), cutHigh = sizes.max(sizes.sub(zero, high), zero);
    Size cut = sizes.add(cutLow, cutHigh), size = c.shapeOf(x)[axis];
    if (getConstantIntValue(cut) != 0) {
      Size rest = sizes.sub(size, cut);
      if (getConstantIntValue(rest) && *getConstantIntValue(rest) < 0) {
        return c.error("E0307", llvm::formatv("the pads cut off {0} elements of dimension {1}, which has {2}",
                                              *getConstantIntValue(cut), axis, *getConstantIntValue(size))
                                    .str());
      }
      size = sizes.max(rest, zero);
      x = c.slice(x, axis, cutLow, size);
    }
    before[axis] = sizes.max(low, zero);
    after[axis] = sizes.max(high, zero);
    bool isWhole = getConstantIntValue(before[axis]) == 0 && getConstantIntValue(after[axis]) == 0;
    if (!isWhole && *kind != PadKind::Constant && getConstantIntValue(size) == 0) {
      return c.error("E0307",
                     llvm::formatv("dimension {0} has no elements that its pads could repeat", axis).str());
    }
    isPadded |= !isWhole;
  }
  if (!isPadded) {
    return c.set(x);
  }
  return c.set(buildPad(c, *kind, x, *kind == PadKind::Constant ? getFill(c, x) : Value(), before, after));
}

void lathe::onnx::registerPad(LegalizerRegistry &registry) { registry.add("Pad", 1, 4, legalizePad); }
