// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Elements chosen by index.

#include "Legalizer.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;

static LogicalResult legalizeGather(LegalizeContext &c) {
  int64_t axis = c.intAttr("axis", 0);
  if (!c.normalizeAxis(axis, c.rank(0))) {
    return failure();
  }
  const Scalars *indices = c.scalars(1);
  std::optional<SmallVector<int64_t>> fixed =
      indices ? getConstantIntValues(indices->elements) : std::optional<SmallVector<int64_t>>();
  Size dim = c.shapeOf(0)[axis];
  if (fixed) {
    // An index that is known is checked now.
    int64_t largest = getConstantIntValue(dim).value_or(nn::kMaxDim);
    for (int64_t index : *fixed) {
      if (index < -largest || index >= largest) {
        return c.error("E0307", llvm::formatv("index {0} is out of bounds of dimension {1} with size {2}",
                                              index, axis, largest)
                                    .str());
      }
    }
    if (const Scalars *list = c.scalars(0); list && list->shape.size() == 1) {
      Sizes elements;
      for (int64_t index : *fixed) {
        elements.push_back(list->elements[index < 0 ? index + largest : index]);
      }
      return c.setScalars({list->elementType, indices->shape, elements});
    }
    // One element along the axis is a view, if it is sure to exist.
    if (fixed->size() == 1 && indices->shape.empty()) {
      int64_t index = fixed->front(), smallest = c.sizes.rangeOf(dim).min;
      if (index < 0 ? smallest >= -index : smallest > index) {
        Size offset = index < 0 ? c.sizes.add(dim, c.b.getIndexAttr(index)) : Size(c.b.getIndexAttr(index));
        Sizes dims = c.shapeOf(0);
        dims.erase(dims.begin() + axis);
        return c.set(c.reshape(c.slice(c.operand(0), axis, offset, c.one()), dims));
      }
    }
  }
  return c.set(nn::buildGather(c.b, c.loc, c.operand(0), c.operand(1), axis));
}

//===----------------------------------------------------------------------===//
// GatherND
//===----------------------------------------------------------------------===//

/// The only dimension of `x` along which it counts 0, 1, 2, ..., all others repeating it: followed from a
/// range through expansions, added dimensions of size 1, conversions and additions of 0.
static std::optional<int64_t> findCountingDim(LegalizeContext &c, Value x, int depth = 0) {
  // From `x` backwards to the range there are a few ops at most.
  for (; depth < 16; ++depth) {
    Operation *op = x.getDefiningOp();
    if (!op) {
      return std::nullopt;
    }
    if (auto cast = dyn_cast<nn::CastOp>(op)) {
      std::optional<int64_t> dim = findCountingDim(c, cast.getX(), depth + 1);
      return isa<IntegerType>(nn::getElementType(x)) && nn::getElementType(x).getIntOrFloatBitWidth() >= 32
                 ? dim
                 : std::nullopt;
    }
    if (auto range = dyn_cast<nn::RangeOp>(op)) {
      DenseElementsAttr start, step;
      bool counts = matchPattern(range.getStart(), m_Constant(&start)) &&
                    matchPattern(range.getStep(), m_Constant(&step)) &&
                    isa<IntegerType>(start.getElementType()) && (*start.value_begin<APInt>()).isZero() &&
                    (*step.value_begin<APInt>()).isOne();
      return counts ? std::optional<int64_t>(0) : std::nullopt;
    }
    if (auto binary = dyn_cast<nn::BinaryOp>(op); binary && binary.getKind() == nn::BinaryKind::Add) {
      DenseElementsAttr zero;
      if (matchPattern(binary.getRhs(), m_Constant(&zero)) && zero.isSplat() &&
          isa<IntegerType>(zero.getElementType()) && zero.getSplatValue<APInt>().isZero() &&
          binary.getLhs().getType() == x.getType()) {
        x = binary.getLhs();
        continue;
      }
      return std::nullopt;
    }
    if (isa<nn::ExpandOp, nn::ReshapeOp>(op)) {
      Value from = op->getOperand(0);
      std::optional<int64_t> dim = findCountingDim(c, from, depth + 1);
      if (!dim) {
        return std::nullopt;
      }
      Sizes fromDims = c.shapeOf(from), dims = c.shapeOf(x);
      if (isa<nn::ExpandOp>(op)) {
        int64_t moved = *dim + int64_t(dims.size()) - int64_t(fromDims.size());
        return c.sizes.isSame(fromDims[*dim], dims[moved]) ? std::optional<int64_t>(moved) : std::nullopt;
      }
      // The reshape may only add and remove dimensions of size 1.
      std::optional<int64_t> moved;
      size_t next = 0;
      for (auto [axis, size] : llvm::enumerate(dims)) {
        while (next < fromDims.size() && getConstantIntValue(fromDims[next]) == 1) {
          ++next;
        }
        if (getConstantIntValue(size) == 1) {
          continue;
        }
        if (next == fromDims.size() || !c.sizes.isSame(size, fromDims[next])) {
          return std::nullopt;
        }
        if (int64_t(next) == *dim) {
          moved = axis;
        }
        ++next;
      }
      return moved;
    }
    return std::nullopt;
  }
  return std::nullopt;
}

/// `x[i, j, ...]` with indices that count along dimensions of the result is a view of `x`: exporters write
/// attention masks so.
static Value gatherAsView(LegalizeContext &c, Value x, Value indices) {
  auto concat = indices.getDefiningOp<nn::ConcatOp>();
  Sizes xDims = c.shapeOf(x), dims = c.shapeOf(indices);
  int64_t tuple = concat ? concat.getInputs().size() : 0;
  if (!concat || int64_t(concat.getAxis()) != int64_t(dims.size()) - 1 ||
      tuple != getConstantIntValue(dims.back()) || tuple > int64_t(xDims.size())) {
    return Value();
  }
  dims.pop_back();
  Sizes viewDims(dims.size(), c.one());
  int64_t last = -1;
  for (auto [i, part] : llvm::enumerate(concat.getInputs())) {
    std::optional<int64_t> dim = findCountingDim(c, part);
    if (!dim || *dim <= last || *dim >= int64_t(dims.size()) || !c.sizes.isSame(dims[*dim], xDims[i])) {
      return Value();
    }
    last = *dim;
    viewDims[last] = dims[last];
  }
  ArrayRef<Size> inner = ArrayRef<Size>(xDims).drop_front(tuple);
  llvm::append_range(viewDims, inner);
  llvm::append_range(dims, inner);
  return c.expand(c.reshape(x, viewDims), dims);
}

static LogicalResult legalizeGatherND(LegalizeContext &c) {
  Value x = c.operand(0), indices = c.operand(1);
  int64_t batchDims = c.intAttr("batch_dims", 0);
  if (batchDims < 0 || batchDims >= std::min(nn::getRank(x), nn::getRank(indices))) {
    return c.error(
        "E0304",
        llvm::formatv("batch_dims is {0}, must be less than the {1} and {2} dimensions of the operands",
                      batchDims, nn::getRank(x), nn::getRank(indices))
            .str(),
        "batch_dims");
  }
  Sizes dims = c.shapeOf(indices);
  if (!getConstantIntValue(dims.back())) {
    // How many dimensions of x an index names follows from how many the result has.
    std::optional<int64_t> rank = c.declaredRank(0);
    int64_t named = nn::getRank(x) + nn::getRank(indices) - 1 - batchDims - rank.value_or(0);
    if (!rank || named < 1 || named > nn::getRank(x) - batchDims) {
      return c.dataDependent(
          "the number of dimensions of the result is a matter of the size of the indices' last one");
    }
    dims.back() = c.b.getIndexAttr(named);
    indices = c.reshape(indices, dims);
  }
  if (batchDims == 0) {
    if (Value view = gatherAsView(c, x, indices)) {
      return c.set(view);
    }
  }
  return c.set(nn::buildGatherND(c.b, c.loc, x, indices, batchDims));
}

void lathe::onnx::registerGather(LegalizerRegistry &registry) {
  registry.add("Gather", 2, 2, legalizeGather);
  registry.add("GatherND", 2, 2, legalizeGatherND);
  registry.add("GatherND", 2, 2, legalizeGatherND, kMicrosoft);
}
