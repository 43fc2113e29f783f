// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Codegen/Element/ElementEmitter.h"
#include "lathe/Codegen/Element/IndexMath.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::codegen;

Type lathe::codegen::getRegisterType(Type elementType) {
  if (auto integer = dyn_cast<IntegerType>(elementType); integer && !integer.isSignless()) {
    return IntegerType::get(elementType.getContext(), integer.getWidth());
  }
  return elementType;
}

Type lathe::codegen::getMemoryType(Type elementType) {
  return elementType.getIntOrFloatBitWidth() < 8 ? IntegerType::get(elementType.getContext(), 8)
                                                 : getRegisterType(elementType);
}

/// Views `bytes` as elements; made once for each type, right after `anchor`.
static Value getElements(OpBuilder &builder, Operation *anchor, Value bytes, Type elementType,
                         ArrayRef<OpFoldResult> sizes) {
  if (elementType.isInteger(8)) {
    return bytes;
  }
  auto type = MemRefType::get({ShapedType::kDynamic}, elementType);
  for (Operation *user : bytes.getUsers()) {
    if (auto view = dyn_cast<memref::ViewOp>(user); view && view.getType() == type) {
      return view;
    }
  }
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointAfter(anchor);
  IndexMath math{builder, anchor->getLoc()};
  Value count = math.value(math.product(sizes));
  return memref::ViewOp::create(builder, anchor->getLoc(), type, bytes, math.value(math.constant(0)),
                                ValueRange{count});
}

StridedView lathe::codegen::getDenseView(OpBuilder &builder, Location loc, Value base,
                                         ArrayRef<OpFoldResult> sizes, Type element) {
  IndexMath math{builder, loc};
  return {base,           math.constant(0), SmallVector<OpFoldResult>(sizes), math.denseStrides(sizes),
          element,
          /*alignment=*/0};
}

/// Views a tensor of these sizes; its rows begin `pitch` elements behind each other if that is known.
static StridedView getView(OpBuilder &builder, Location loc, Value base, ArrayRef<OpFoldResult> sizes,
                           std::optional<uint64_t> pitch, Type element) {
  StridedView view = getDenseView(builder, loc, base, sizes, element);
  if (pitch) {
    SmallVector<OpFoldResult> memory(sizes);
    memory.back() = builder.getIndexAttr(int64_t(*pitch));
    view.strides = IndexMath{builder, loc}.denseStrides(memory);
  }
  return view;
}

/// What is known of the address of a tensor's memory: an argument, or a component of one.
static int64_t getAlignment(ElementContext &context, Value bytes, std::optional<uint64_t> pitch) {
  constexpr int64_t kAlignment = 16;
  if (auto view = bytes.getDefiningOp<memref::ViewOp>()) {
    bytes = isMultipleOf(view.getByteShift(), kAlignment) ? view.getSource() : Value();
  }
  // With a pitch, it is a part of another tensor.
  return context.onDevice && !pitch && isa_and_nonnull<BlockArgument>(bytes) ? kAlignment : 0;
}

/// The memory of `input`; failure if its elements do not lie in row-major order.
static FailureOr<StridedView> getInputView(ElementContext &context, kernel::InputOp input) {
  if (auto argument = dyn_cast<BlockArgument>(input.getBytes())) {
    auto function = dyn_cast<func::FuncOp>(argument.getOwner()->getParentOp());
    if (function && function.getArgAttr(argument.getArgNumber(), kernel::KernelDialect::kPanelAttr)) {
      return failure();
    }
  }
  FailureOr<ArrayRef<OpFoldResult>> dims = context.shapes.getDims(input.getResult());
  if (failed(dims)) {
    return failure();
  }
  SmallVector<OpFoldResult> sizes(*dims);
  Type elementType = input.getTensorType().getElementType();
  Value base = getElements(context.builder, input, input.getBytes(), getMemoryType(elementType), sizes);
  StridedView view =
      getView(context.builder, input.getLoc(), base, sizes, input.getPitch(), getRegisterType(elementType));
  view.alignment = getAlignment(context, input.getBytes(), input.getPitch());
  return view;
}

StridedView lathe::codegen::getOutputView(ElementContext &context, kernel::OutputOp output) {
  auto type = cast<RankedTensorType>(output.getValue().getType());
  SmallVector<OpFoldResult> sizes;
  ValueRange dynamic = output.getSizes();
  for (int64_t dim : type.getShape()) {
    if (ShapedType::isDynamic(dim)) {
      sizes.push_back(dynamic.front());
      dynamic = dynamic.drop_front();
    } else {
      sizes.push_back(context.builder.getIndexAttr(dim));
    }
  }
  Value base =
      getElements(context.builder, output, output.getBytes(), getMemoryType(type.getElementType()), sizes);
  StridedView view = getView(context.builder, output.getLoc(), base, sizes, output.getPitch(),
                             getRegisterType(type.getElementType()));
  view.alignment = getAlignment(context, output.getBytes(), output.getPitch());
  return view;
}

/// Repeats dimensions of size 1 to `sizes` by a stride of 0.
static void expandView(IndexMath math, StridedView &view, ArrayRef<OpFoldResult> sizes) {
  size_t missing = sizes.size() - view.sizes.size();
  SmallVector<OpFoldResult> strides(sizes.size(), math.constant(0));
  for (auto [dim, size, stride] : llvm::enumerate(view.sizes, view.strides)) {
    OpFoldResult target = sizes[missing + dim];
    if (isConstantSize(size, 1)) {
      continue;
    }
    if (areEqualSizes(size, target) || getConstantIntValue(size)) {
      strides[missing + dim] = stride;
      continue;
    }
    Value isOne = arith::CmpIOp::create(math.builder, math.loc, arith::CmpIPredicate::eq, math.value(size),
                                        math.value(math.constant(1)));
    strides[missing + dim] = arith::SelectOp::create(math.builder, math.loc, isOne,
                                                     math.value(math.constant(0)), math.value(stride))
                                 .getResult();
  }
  view.sizes.assign(sizes.begin(), sizes.end());
  view.strides = std::move(strides);
}

/// Gives `view` another shape of as many elements; failure if a group of dimensions that a new one is made of
/// does not lie at equal distances.
static LogicalResult reshapeView(IndexMath math, StridedView &view, ArrayRef<OpFoldResult> sizes) {
  SmallVector<OpFoldResult> strides(sizes.size(), math.constant(0));
  for (DimGroup group : getReshapeGroups(view.sizes, sizes)) {
    // The distance between neighbours of the group, and that between the dimensions seen so far.
    OpFoldResult step = math.constant(0);
    SizeProduct extent;
    bool isFirst = true;
    for (int64_t dim = group.oldEnd; dim-- > group.oldBegin;) {
      if (isConstantSize(view.sizes[dim], 1)) {
        continue;
      }
      SizeProduct stride(view.strides[dim]);
      if (isFirst) {
        step = view.strides[dim];
        extent = stride;
        isFirst = false;
      } else if (!(stride == extent)) {
        return failure();
      }
      extent.multiply(view.sizes[dim]);
    }
    OpFoldResult stride = step;
    for (int64_t dim = group.newEnd; dim-- > group.newBegin;) {
      strides[dim] = stride;
      if (dim > group.newBegin) {
        stride = math.mul(stride, sizes[dim]);
      }
    }
  }
  view.sizes.assign(sizes.begin(), sizes.end());
  view.strides = std::move(strides);
  return success();
}

/// Applies the view op `op` to `view`.
static LogicalResult applyView(ElementContext &context, Operation *op, StridedView &view) {
  FailureOr<ArrayRef<OpFoldResult>> dims = context.shapes.getDims(op->getResult(0));
  if (failed(dims)) {
    return failure();
  }
  SmallVector<OpFoldResult> sizes(*dims);
  IndexMath math{context.builder, op->getLoc()};
  if (isa<nn::ReshapeOp>(op)) {
    return reshapeView(math, view, sizes);
  }
  if (isa<nn::ExpandOp>(op)) {
    expandView(math, view, sizes);
    return success();
  }
  if (auto transpose = dyn_cast<nn::TransposeOp>(op)) {
    view.strides = llvm::map_to_vector(transpose.getPerm(), [&](int64_t dim) { return view.strides[dim]; });
  } else if (auto slice = dyn_cast<nn::SliceOp>(op)) {
    for (auto [dim, offset, step] : llvm::enumerate(slice.getMixedOffsets(), slice.getStaticStrides())) {
      view.offset = math.add(view.offset, math.mul(offset, view.strides[dim]));
      view.strides[dim] = math.mul(view.strides[dim], math.constant(step));
    }
  }
  view.sizes = std::move(sizes);
  return success();
}

FailureOr<StridedView> lathe::codegen::getStridedView(ElementContext &context, Value tensor) {
  SmallVector<Operation *> chain;
  Operation *op = tensor.getDefiningOp();
  while (isa_and_nonnull<nn::ReshapeOp, nn::TransposeOp, nn::SliceOp, nn::ExpandOp>(op)) {
    chain.push_back(op);
    op = op->getOperand(0).getDefiningOp();
  }
  auto input = dyn_cast_or_null<kernel::InputOp>(op);
  if (!input) {
    return failure();
  }
  FailureOr<StridedView> view = getInputView(context, input);
  for (Operation *step : llvm::reverse(chain)) {
    if (failed(view) || failed(applyView(context, step, *view))) {
      return failure();
    }
  }
  return view;
}

StridedView lathe::codegen::mergeDims(OpBuilder &builder, Location loc, const StridedView &view,
                                      ArrayRef<std::pair<int64_t, int64_t>> groups) {
  IndexMath math{builder, loc};
  StridedView merged{view.base, view.offset, {}, {}, view.element, view.alignment};
  for (auto [begin, end] : groups) {
    ArrayRef<OpFoldResult> sizes = ArrayRef(view.sizes).slice(begin, end - begin);
    merged.sizes.push_back(math.product(sizes));
    OpFoldResult stride = math.constant(0);
    for (int64_t dim = begin; dim < end; ++dim) {
      if (!isConstantSize(view.sizes[dim], 1)) {
        stride = view.strides[dim];
      }
    }
    merged.strides.push_back(stride);
  }
  return merged;
}

//===----------------------------------------------------------------------===//
// Loads and stores
//===----------------------------------------------------------------------===//

/// The position in `view` of the tile's first element. What changes with the last dimension is added last, so
/// that the rest leaves the innermost loop.
static Value getPosition(IndexMath math, const StridedView &view, const Tile &tile) {
  OpFoldResult position = view.offset;
  for (auto [index, size, stride] : llvm::zip_equal(tile.index, view.sizes, view.strides)) {
    if (!isConstantSize(size, 1)) {
      position = math.add(position, math.mul(index, stride));
    }
  }
  return math.value(position);
}

/// The alignment of a contiguous tile at `position`, as far as it is more than that of an element.
static llvm::MaybeAlign getTileAlignment(const StridedView &view, Value position, int64_t lanes) {
  int64_t bytes = cast<MemRefType>(view.base.getType()).getElementTypeBitWidth() / 8;
  int64_t together = std::min(view.alignment / bytes, lanes);
  return llvm::isPowerOf2_64(uint64_t(together)) && together > 1 && isMultipleOf(position, together)
             ? llvm::MaybeAlign(uint64_t(together * bytes))
             : llvm::MaybeAlign();
}

/// The offsets of the lanes of a tile whose elements lie `stride` apart.
static Value getLaneOffsets(IndexMath math, int64_t lanes, OpFoldResult stride) {
  OpBuilder &builder = math.builder;
  std::optional<int64_t> distance = getConstantIntValue(stride);
  if (distance && std::abs(*distance) < (int64_t(1) << 24)) {
    auto type = VectorType::get({lanes}, builder.getI32Type());
    SmallVector<int32_t> offsets;
    for (int64_t lane = 0; lane < lanes; ++lane) {
      offsets.push_back(int32_t(lane * *distance));
    }
    return arith::ConstantOp::create(builder, math.loc, DenseElementsAttr::get(type, ArrayRef(offsets)));
  }
  auto type = VectorType::get({lanes}, builder.getIndexType());
  Value steps = vector::StepOp::create(builder, math.loc, type);
  Value factor = vector::BroadcastOp::create(builder, math.loc, type, math.value(stride));
  return arith::MulIOp::create(builder, math.loc, steps, factor);
}

static Value getFullMask(OpBuilder &builder, Location loc, int64_t lanes) {
  auto type = VectorType::get({lanes}, builder.getI1Type());
  return arith::ConstantOp::create(builder, loc, DenseElementsAttr::get(type, true));
}

/// A value as it comes from memory as one in registers: of a byte, the low bits. A bool is what is not 0.
static Value fromMemory(OpBuilder &builder, Location loc, Value value, Type element) {
  auto withElement = [&](Type type) {
    auto vector = dyn_cast<VectorType>(value.getType());
    return vector ? Type(vector.clone(type)) : type;
  };
  if (element.isInteger(1)) {
    Value zero = arith::ConstantOp::create(builder, loc, builder.getZeroAttr(value.getType()));
    return arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ne, value, zero);
  }
  if (element.getIntOrFloatBitWidth() >= 8) {
    return value;
  }
  Type bits = builder.getIntegerType(element.getIntOrFloatBitWidth());
  value = arith::TruncIOp::create(builder, loc, withElement(bits), value);
  return bits == element ? value : arith::BitcastOp::create(builder, loc, withElement(element), value);
}

/// The inverse: bits that a byte does not need are 0.
static Value toMemory(OpBuilder &builder, Location loc, Value value, Type element) {
  auto withElement = [&](Type type) {
    auto vector = dyn_cast<VectorType>(value.getType());
    return vector ? Type(vector.clone(type)) : type;
  };
  if (element.getIntOrFloatBitWidth() >= 8) {
    return value;
  }
  if (Type bits = builder.getIntegerType(element.getIntOrFloatBitWidth()); bits != element) {
    value = arith::BitcastOp::create(builder, loc, withElement(bits), value);
  }
  return arith::ExtUIOp::create(builder, loc, withElement(builder.getI8Type()), value);
}

Value lathe::codegen::gatherTile(OpBuilder &builder, Location loc, const StridedView &view, const Tile &tile,
                                 Value positions) {
  IndexMath math{builder, loc};
  if (!isConstantSize(view.strides.back(), 1)) {
    Value stride = toLanes(builder, loc, math.value(view.strides.back()), tile.lanes);
    positions = arith::MulIOp::create(builder, loc, positions, stride);
  }
  auto type = VectorType::get({tile.lanes}, cast<MemRefType>(view.base.getType()).getElementType());
  Value zeros = arith::ConstantOp::create(builder, loc, builder.getZeroAttr(type));
  Value mask = tile.mask ? tile.mask : getFullMask(builder, loc, tile.lanes);
  Value value = vector::GatherOp::create(builder, loc, type, view.base,
                                         ValueRange{getPosition(math, view, tile)}, positions, mask, zeros);
  return fromMemory(builder, loc, value, view.element);
}

Value lathe::codegen::loadTile(OpBuilder &builder, Location loc, const StridedView &view, const Tile &tile) {
  IndexMath math{builder, loc};
  Value position = getPosition(math, view, tile);
  Type memoryType = cast<MemRefType>(view.base.getType()).getElementType();
  bool isUniform =
      view.sizes.empty() || isConstantSize(view.sizes.back(), 1) || isConstantSize(view.strides.back(), 0);
  if (tile.lanes == 0 || isUniform) {
    Value value = memref::LoadOp::create(builder, loc, view.base, position);
    value = fromMemory(builder, loc, value, view.element);
    if (tile.lanes == 0) {
      return value;
    }
    return vector::BroadcastOp::create(builder, loc, VectorType::get({tile.lanes}, value.getType()), value);
  }
  auto type = VectorType::get({tile.lanes}, memoryType);
  auto getZeros = [&] { return arith::ConstantOp::create(builder, loc, builder.getZeroAttr(type)); };
  Value value;
  if (!isConstantSize(view.strides.back(), 1)) {
    Value mask = tile.mask ? tile.mask : getFullMask(builder, loc, tile.lanes);
    value = vector::GatherOp::create(builder, loc, type, view.base, ValueRange{position},
                                     getLaneOffsets(math, tile.lanes, view.strides.back()), mask, getZeros());
  } else if (tile.mask) {
    value = vector::MaskedLoadOp::create(builder, loc, type, view.base, ValueRange{position}, tile.mask,
                                         getZeros());
  } else {
    value = vector::LoadOp::create(builder, loc, type, view.base, ValueRange{position}, /*nontemporal=*/false,
                                   getTileAlignment(view, position, tile.lanes));
  }
  return fromMemory(builder, loc, value, view.element);
}

/// Whether a mask is known to hold the first lane alone.
static bool isFirstLane(Value mask) {
  auto create = mask.getDefiningOp<vector::CreateMaskOp>();
  return create && getConstantIntValue(create.getOperands().front()) == 1;
}

void lathe::codegen::storeTile(OpBuilder &builder, Location loc, Value value, const StridedView &view,
                               const Tile &tile) {
  IndexMath math{builder, loc};
  Value position = getPosition(math, view, tile);
  value = toMemory(builder, loc, value, view.element);
  if (tile.lanes == 0) {
    memref::StoreOp::create(builder, loc, value, view.base, position);
    return;
  }
  if (!isa<VectorType>(value.getType())) {
    value = vector::BroadcastOp::create(builder, loc, VectorType::get({tile.lanes}, value.getType()), value);
  }
  if (!isConstantSize(view.strides.back(), 1)) {
    Value mask = tile.mask ? tile.mask : getFullMask(builder, loc, tile.lanes);
    vector::ScatterOp::create(builder, loc, Type(), view.base, ValueRange{position},
                              getLaneOffsets(math, tile.lanes, view.strides.back()), mask, value);
  } else if (tile.mask && isFirstLane(tile.mask)) {
    // LLVM 22 stores what is truncated under such a mask as wide as it was before, over its neighbours.
    Value element = vector::ExtractOp::create(builder, loc, value, int64_t(0));
    memref::StoreOp::create(builder, loc, element, view.base, position);
  } else if (tile.mask) {
    vector::MaskedStoreOp::create(builder, loc, view.base, ValueRange{position}, tile.mask, value);
  } else {
    vector::StoreOp::create(builder, loc, value, view.base, ValueRange{position}, /*nontemporal=*/false,
                            getTileAlignment(view, position, tile.lanes));
  }
}
