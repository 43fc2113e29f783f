// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Folders of the ops that move data.

#include "ConstantElements.h"
#include "FoldUtils.h"

#include "lathe/Dialect/NN/IR/Builders.h"

#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/Interfaces/FunctionInterfaces.h"

using namespace mlir;
using namespace lathe::nn;
using namespace lathe::nn::detail;

static ArrayRef<int64_t> getShape(Value tensor) {
  return cast<RankedTensorType>(tensor.getType()).getShape();
}

//===----------------------------------------------------------------------===//
// Sizes without building anything
//===----------------------------------------------------------------------===//

OpFoldResult lathe::nn::detail::normalizeSize(OpFoldResult size) {
  if (std::optional<int64_t> number = getConstantIntValue(size)) {
    return IntegerAttr::get(IndexType::get(size.getContext()), *number);
  }
  if (auto value = dyn_cast<Value>(size)) {
    if (auto symbol = value.getDefiningOp<DimSymbolOp>()) {
      return symbol.getNameAttr();
    }
  }
  return size;
}

/// The size that `nn.dims` names for an argument, or null.
static OpFoldResult getNamedSize(BlockArgument argument, int64_t axis) {
  Block *block = argument.getOwner();
  auto function = dyn_cast_or_null<FunctionOpInterface>(block->getParentOp());
  if (!function || !block->isEntryBlock()) {
    return {};
  }
  auto names = function.getArgAttrOfType<ArrayAttr>(argument.getArgNumber(), NNDialect::kDimsAttr);
  auto name = names && axis < int64_t(names.size()) ? dyn_cast<StringAttr>(names[axis]) : StringAttr();
  return name && !name.empty() ? OpFoldResult(name) : OpFoldResult();
}

/// A dimension of a value.
using ValueDim = std::pair<Value, int64_t>;

/// The dimensions that broadcast to one of the result: those of `operands` that are not 1, `fromEnd` counted
/// from behind so that the last is 1.
static SmallVector<ValueDim> getBroadcastSources(ValueRange operands, int64_t fromEnd) {
  SmallVector<ValueDim> sources;
  for (Value operand : operands) {
    int64_t axis = getRank(operand) - fromEnd;
    if (axis >= 0 && getShape(operand)[axis] != 1) {
      sources.push_back({operand, axis});
    }
  }
  return sources;
}

/// The dimensions of operands that have the size of `axis` of the result of `op`; none if that is not known.
static SmallVector<ValueDim> getSourcesOfSize(Operation *op, int64_t axis) {
  int64_t fromEnd = getRank(op->getResult(0)) - axis;
  if (isa<UnaryOp, CastOp, SoftmaxOp, LayerNormOp, RMSNormOp>(op)) {
    return {{op->getOperand(0), axis}};
  }
  if (isa<BinaryOp, CompareOp, SelectOp>(op)) {
    return getBroadcastSources(op->getOperands(), fromEnd);
  }
  if (auto transpose = dyn_cast<TransposeOp>(op)) {
    return {{transpose.getX(), transpose.getPerm()[axis]}};
  }
  if (auto attention = dyn_cast<AttentionOp>(op)) {
    return {{axis < 3 ? attention.getQ() : attention.getV(), axis}};
  }
  if (auto matmul = dyn_cast<MatMulOp>(op)) {
    if (fromEnd > 2) {
      return getBroadcastSources(op->getOperands(), fromEnd);
    }
    Value operand = fromEnd == 2 ? matmul.getLhs() : matmul.getRhs();
    return {{operand, getRank(operand) - fromEnd}};
  }
  if (auto gather = dyn_cast<GatherOp>(op)) {
    int64_t first = gather.getAxis(), indexRank = getRank(gather.getIndices());
    if (axis >= first && axis < first + indexRank) {
      return {{gather.getIndices(), axis - first}};
    }
    return {{gather.getX(), axis < first ? axis : axis - indexRank + 1}};
  }
  return {};
}

/// `findSize` within so many steps.
static OpFoldResult findSizeWithin(Value x, int64_t axis, unsigned &steps) {
  while (steps > 0) {
    --steps;
    if (int64_t size = getShape(x)[axis]; !ShapedType::isDynamic(size)) {
      return IntegerAttr::get(IndexType::get(x.getContext()), size);
    }
    if (auto argument = dyn_cast<BlockArgument>(x)) {
      return getNamedSize(argument, axis);
    }
    Operation *op = x.getDefiningOp();
    if (auto reshape = dyn_cast<ReshapeOp>(op)) {
      return normalizeSize(reshape.getMixedDims()[axis]);
    }
    if (auto expand = dyn_cast<ExpandOp>(op)) {
      return normalizeSize(expand.getMixedDims()[axis]);
    }
    if (auto slice = dyn_cast<SliceOp>(op)) {
      return normalizeSize(slice.getMixedSizes()[axis]);
    }
    SmallVector<ValueDim> sources = getSourcesOfSize(op, axis);
    if (sources.empty()) {
      return {};
    }
    // What broadcasts together must agree to be known.
    for (auto [source, sourceAxis] : llvm::drop_begin(sources)) {
      OpFoldResult size = findSizeWithin(source, sourceAxis, steps);
      if (!size || size != findSizeWithin(sources.front().first, sources.front().second, steps)) {
        return {};
      }
    }
    std::tie(x, axis) = sources.front();
  }
  return {};
}

OpFoldResult lathe::nn::detail::findSize(Value x, int64_t axis) {
  unsigned steps = 64;
  return findSizeWithin(x, axis, steps);
}

/// Whether `size` is evidently that of a dimension of `x`.
static bool isSizeOf(OpFoldResult size, Value x, int64_t axis) {
  if (auto value = dyn_cast<Value>(size)) {
    auto dim = value.getDefiningOp<tensor::DimOp>();
    if (dim && dim.getSource() == x && dim.getConstantIndex() == axis) {
      return true;
    }
  }
  OpFoldResult known = findSize(x, axis);
  return known && known == normalizeSize(size);
}

bool lathe::nn::detail::hasSizes(Value x, ArrayRef<OpFoldResult> sizes) {
  if (getRank(x) != int64_t(sizes.size())) {
    return false;
  }
  for (auto [axis, size] : llvm::enumerate(sizes)) {
    if (!isSizeOf(size, x, axis)) {
      return false;
    }
  }
  return true;
}

//===----------------------------------------------------------------------===//
// Folders
//===----------------------------------------------------------------------===//

/// The constant of `type` whose element at each position is `getElement` of it; null if one is null.
static Attribute makeByPosition(Type type, function_ref<Attribute(ArrayRef<int64_t>)> getElement) {
  if (!canFoldTo(type)) {
    return {};
  }
  SmallVector<Attribute> elements;
  forEachPosition(cast<RankedTensorType>(type).getShape(),
                  [&](ArrayRef<int64_t> position) { elements.push_back(getElement(position)); });
  return makeElements(type, elements);
}

/// The constant of `type` that has the one value of `attr` everywhere, of any number of elements: no list of
/// them is made. Null if `attr` has several or none.
static Attribute makeSplat(ShapedType type, Attribute attr) {
  auto splat = dyn_cast_or_null<SplatElementsAttr>(attr);
  return splat && type.hasStaticShape() ? splat.resizeSplat(type) : Attribute();
}

/// Whether two equal types with at most one unknown size, and no size 0, hold the same number of elements
/// only if they have the same shape.
static bool isShapeFixedByCount(Type type) {
  auto tensor = cast<RankedTensorType>(type);
  return tensor.getNumDynamicDims() <= 1 && !llvm::is_contained(tensor.getShape(), 0);
}

OpFoldResult ReshapeOp::fold(FoldAdaptor adaptor) {
  Value x = getX();
  if (x.getType() == getType() && (isShapeFixedByCount(getType()) || hasSizes(x, getMixedDims()))) {
    return x;
  }
  if (Attribute splat = makeSplat(getType(), adaptor.getX())) {
    return splat;
  }
  if (std::optional<SmallVector<Attribute>> elements = readElements(adaptor.getX())) {
    return makeElements(getType(), *elements);
  }
  if (auto inner = x.getDefiningOp<ReshapeOp>()) {
    getXMutable().assign(inner.getX());
    return getResult();
  }
  return {};
}

OpFoldResult ExpandOp::fold(FoldAdaptor adaptor) {
  Value x = getX();
  if (x.getType() == getType() && hasSizes(x, getMixedDims())) {
    return x;
  }
  if (std::optional<SmallVector<Attribute>> elements = readElements(adaptor.getX())) {
    return makeByPosition(getType(), [&](ArrayRef<int64_t> position) {
      return (*elements)[linearizeBroadcast(position, getShape(x))];
    });
  }
  if (auto inner = x.getDefiningOp<ExpandOp>()) {
    getXMutable().assign(inner.getX());
    return getResult();
  }
  return {};
}

OpFoldResult TransposeOp::fold(FoldAdaptor adaptor) {
  Value x = getX();
  ArrayRef<int64_t> perm = getPerm();
  if (x.getType() == getType() && llvm::equal(perm, llvm::seq<int64_t>(0, perm.size()))) {
    return x;
  }
  if (Attribute splat = makeSplat(getType(), adaptor.getX())) {
    return splat;
  }
  if (std::optional<SmallVector<Attribute>> elements = readElements(adaptor.getX())) {
    return makeByPosition(getType(), [&](ArrayRef<int64_t> position) {
      SmallVector<int64_t> source(position.size());
      for (auto [axis, at] : llvm::zip_equal(perm, position)) {
        source[axis] = at;
      }
      return (*elements)[linearize(source, getShape(x))];
    });
  }
  if (auto inner = x.getDefiningOp<TransposeOp>()) {
    SmallVector<int64_t> composed =
        llvm::map_to_vector(perm, [&](int64_t axis) { return inner.getPerm()[axis]; });
    setPerm(composed);
    getXMutable().assign(inner.getX());
    return getResult();
  }
  return {};
}

OpFoldResult SliceOp::fold(FoldAdaptor adaptor) {
  Value x = getX();
  bool isWhole = llvm::all_of(getStaticOffsets(), [](int64_t offset) { return offset == 0; }) &&
                 llvm::all_of(getStaticStrides(), [](int64_t stride) { return stride == 1; });
  if (isWhole && x.getType() == getType() && hasSizes(x, getMixedSizes())) {
    return x;
  }
  std::optional<SmallVector<Attribute>> elements = readElements(adaptor.getX());
  if (!elements || !getOffsets().empty() || !getSizes().empty()) {
    return {};
  }
  return makeByPosition(getType(), [&](ArrayRef<int64_t> position) {
    SmallVector<int64_t> source;
    for (auto [at, offset, stride] : llvm::zip_equal(position, getStaticOffsets(), getStaticStrides())) {
      source.push_back(offset + at * stride);
    }
    return (*elements)[linearize(source, getShape(x))];
  });
}

OpFoldResult ConcatOp::fold(FoldAdaptor adaptor) {
  if (getInputs().size() == 1 && getInputs().front().getType() == getType()) {
    return getInputs().front();
  }
  SmallVector<SmallVector<Attribute>> inputs;
  for (Attribute attr : adaptor.getInputs()) {
    std::optional<SmallVector<Attribute>> elements = readElements(attr);
    if (!elements) {
      return {};
    }
    inputs.push_back(std::move(*elements));
  }
  int64_t axis = getAxis();
  return makeByPosition(getType(), [&](ArrayRef<int64_t> position) -> Attribute {
    SmallVector<int64_t> source(position);
    for (auto [elements, input] : llvm::zip_equal(inputs, getInputs())) {
      if (source[axis] < getShape(input)[axis]) {
        return elements[linearize(source, getShape(input))];
      }
      source[axis] -= getShape(input)[axis];
    }
    return {};
  });
}

OpFoldResult GatherOp::fold(FoldAdaptor adaptor) {
  std::optional<SmallVector<Attribute>> x = readElements(adaptor.getX());
  std::optional<SmallVector<Attribute>> indices = readElements(adaptor.getIndices());
  if (!x || !indices) {
    return {};
  }
  ArrayRef<int64_t> shape = getShape(getX()), indexShape = getShape(getIndices());
  int64_t axis = getAxis();
  return makeByPosition(getType(), [&](ArrayRef<int64_t> position) -> Attribute {
    ArrayRef<int64_t> indexPosition = position.slice(axis, indexShape.size());
    int64_t index = cast<IntegerAttr>((*indices)[linearize(indexPosition, indexShape)]).getInt();
    index += index < 0 ? shape[axis] : 0;
    if (index < 0 || index >= shape[axis]) {
      // The run reports it, with its place in the model.
      return {};
    }
    SmallVector<int64_t> source(position.take_front(axis));
    source.push_back(index);
    llvm::append_range(source, position.drop_front(axis + indexShape.size()));
    return (*x)[linearize(source, shape)];
  });
}

OpFoldResult FromScalarsOp::fold(FoldAdaptor adaptor) {
  Type type = dropSign(getElementType(getResult()));
  SmallVector<Attribute> elements;
  for (Attribute attr : adaptor.getElements()) {
    auto number = dyn_cast_or_null<IntegerAttr>(attr);
    if (!number) {
      return {};
    }
    elements.push_back(IntegerAttr::get(type, number.getValue().sextOrTrunc(type.getIntOrFloatBitWidth())));
  }
  return makeElements(getType(), elements);
}
