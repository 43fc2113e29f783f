// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Codegen/Element/PointwiseLoops.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/Matchers.h"

#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::codegen;

//===----------------------------------------------------------------------===//
// Costs
//===----------------------------------------------------------------------===//

static int64_t getBits(Type elementType) {
  if (elementType.isF16() || elementType.isBF16()) {
    return 32; // computed in f32
  }
  return elementType.isIntOrFloat() ? elementType.getIntOrFloatBitWidth() : 64;
}

/// Nanoseconds that one op takes for one element, in vectors.
static double getOpCost(Operation *op) {
  if (auto unary = dyn_cast<nn::UnaryOp>(op)) {
    switch (unary.getKind()) {
    case nn::UnaryKind::Exp:
    case nn::UnaryKind::Log:
    case nn::UnaryKind::Sin:
    case nn::UnaryKind::Cos:
    case nn::UnaryKind::Tanh:
    case nn::UnaryKind::Sigmoid:
    case nn::UnaryKind::Erf:
    case nn::UnaryKind::Gelu:
    case nn::UnaryKind::GeluTanh:
    case nn::UnaryKind::Silu:
    case nn::UnaryKind::Softplus:
      return 0.5;
    case nn::UnaryKind::Asin:
    case nn::UnaryKind::Acos:
    case nn::UnaryKind::Atan:
    case nn::UnaryKind::Sinh:
    case nn::UnaryKind::Cosh:
    case nn::UnaryKind::Asinh:
    case nn::UnaryKind::Acosh:
    case nn::UnaryKind::Atanh:
      return 2.0; // in f64
    case nn::UnaryKind::Sqrt:
    case nn::UnaryKind::Rsqrt:
    case nn::UnaryKind::Reciprocal:
      return 0.2;
    default:
      return 0.03;
    }
  }
  if (auto binary = dyn_cast<nn::BinaryOp>(op)) {
    switch (binary.getKind()) {
    case nn::BinaryKind::Pow:
      return 1.0;
    case nn::BinaryKind::Div:
    case nn::BinaryKind::Mod:
    case nn::BinaryKind::FMod:
      return 0.3;
    default:
      return 0.03;
    }
  }
  return 0.03;
}

ElementCost lathe::codegen::getElementCost(ArrayRef<Value> tensors, ArrayRef<Value> stops) {
  ElementCost cost;
  llvm::SetVector<Value> worklist(tensors.begin(), tensors.end());
  for (Value tensor : tensors) {
    cost.nanoseconds += 0.01 * getBits(cast<RankedTensorType>(tensor.getType()).getElementType());
  }
  for (size_t i = 0; i < worklist.size(); ++i) {
    Value value = worklist[i];
    auto type = dyn_cast<RankedTensorType>(value.getType());
    if (!type) {
      continue;
    }
    cost.widestBits = std::max(cost.widestBits, getBits(type.getElementType()));
    Operation *op = value.getDefiningOp();
    if (!op || llvm::is_contained(stops, value)) {
      continue;
    }
    if (isa<nn::PointwiseOpInterface>(op)) {
      ++cost.ops;
      cost.nanoseconds += getOpCost(op);
      worklist.insert(op->operand_begin(), op->operand_end());
    } else if (!matchPattern(op, m_Constant())) {
      cost.nanoseconds += 0.005 * getBits(type.getElementType());
    }
  }
  return cost;
}

//===----------------------------------------------------------------------===//
// Collapsing dimensions
//===----------------------------------------------------------------------===//

namespace {
/// How a tensor spans a dimension of the iteration space.
enum class Extent { Free, One, Full, Unknown };

/// Collapses the pointwise ops above some tensors of one shape.
class Collapser {
public:
  Collapser(ElementContext &context, ArrayRef<OpFoldResult> dims, ArrayRef<int64_t> barriers)
      : context(context), dims(dims), barriers(barriers) {}

  FailureOr<CollapsedTensors> collapse(ArrayRef<Value> tensors);

private:
  LogicalResult collect(ArrayRef<Value> tensors);
  SmallVector<Extent> getExtents(ArrayRef<OpFoldResult> sizes);
  /// Whether dimensions [begin, end) of the iteration space can be one.
  bool canMerge(int64_t begin, int64_t end);
  bool canMerge(Value tensor, int64_t begin, int64_t end);
  Value collapseLeaf(Value leaf, ArrayRef<OpFoldResult> sizes);
  /// The sizes of `tensor` over the new dimensions.
  SmallVector<OpFoldResult> getCollapsedSizes(Value tensor);

  ElementContext &context;
  ArrayRef<OpFoldResult> dims;
  ArrayRef<int64_t> barriers;
  SmallVector<Operation *> ops;
  llvm::SetVector<Value> leaves;
  DenseMap<Value, SmallVector<Extent>> extents;
  DenseMap<Value, StridedView> views;
  CollapsedTensors result;
};
} // namespace

SmallVector<Extent> Collapser::getExtents(ArrayRef<OpFoldResult> sizes) {
  SmallVector<Extent> result(dims.size(), Extent::One);
  size_t missing = dims.size() - sizes.size();
  for (auto [dim, size] : llvm::enumerate(dims)) {
    if (isConstantSize(size, 1)) {
      result[dim] = Extent::Free;
    } else if (dim >= missing && !isConstantSize(sizes[dim - missing], 1)) {
      bool isFull = areEqualSizes(sizes[dim - missing], size) || getConstantIntValue(sizes[dim - missing]);
      result[dim] = isFull ? Extent::Full : Extent::Unknown;
    }
  }
  return result;
}

LogicalResult Collapser::collect(ArrayRef<Value> tensors) {
  llvm::SetVector<Value> worklist(tensors.begin(), tensors.end());
  for (size_t i = 0; i < worklist.size(); ++i) {
    Value value = worklist[i];
    FailureOr<ArrayRef<OpFoldResult>> sizes = context.shapes.getDims(value);
    if (failed(sizes)) {
      return emitError(value.getLoc()) << "cannot tell the sizes of a tensor of type " << value.getType();
    }
    extents[value] = getExtents(*sizes);
    Operation *op = value.getDefiningOp();
    if (isa_and_nonnull<nn::PointwiseOpInterface>(op)) {
      ops.push_back(op);
      worklist.insert(op->operand_begin(), op->operand_end());
      continue;
    }
    leaves.insert(value);
    FailureOr<StridedView> view = getStridedView(context, value);
    if (succeeded(view)) {
      views[value] = *view;
    }
  }
  llvm::sort(ops, [](Operation *lhs, Operation *rhs) { return lhs->isBeforeInBlock(rhs); });
  return success();
}

bool Collapser::canMerge(Value tensor, int64_t begin, int64_t end) {
  ArrayRef<Extent> extent = ArrayRef(extents[tensor]).slice(begin, end - begin);
  SmallVector<int64_t> spanned;
  bool hasOne = false;
  for (auto [offset, dimExtent] : llvm::enumerate(extent)) {
    if (dimExtent == Extent::Unknown) {
      return false;
    }
    hasOne |= dimExtent == Extent::One;
    if (dimExtent == Extent::Full) {
      spanned.push_back(begin + int64_t(offset));
    }
  }
  if (spanned.empty()) {
    return true;
  }
  if (hasOne) {
    return false;
  }
  if (spanned.size() == 1 || !leaves.contains(tensor) || matchPattern(tensor, m_Constant())) {
    return true;
  }
  auto view = views.find(tensor);
  if (view == views.end()) {
    return false;
  }
  int64_t missing = int64_t(dims.size()) - int64_t(view->second.sizes.size());
  for (size_t i = 0; i + 1 < spanned.size(); ++i) {
    SizeProduct inner(view->second.strides[spanned[i + 1] - missing]);
    inner.multiply(view->second.sizes[spanned[i + 1] - missing]);
    if (!(SizeProduct(view->second.strides[spanned[i] - missing]) == inner)) {
      return false;
    }
  }
  return true;
}

bool Collapser::canMerge(int64_t begin, int64_t end) {
  return llvm::all_of(extents, [&](auto &entry) { return canMerge(entry.first, begin, end); });
}

SmallVector<OpFoldResult> Collapser::getCollapsedSizes(Value tensor) {
  SmallVector<OpFoldResult> sizes;
  SmallVector<OpFoldResult> old(*context.shapes.getDims(tensor));
  size_t missing = dims.size() - old.size();
  ArrayRef<Extent> extent = extents[tensor];
  for (auto [group, size] : llvm::zip_equal(result.groups, result.dims)) {
    bool isFull = false;
    OpFoldResult unknown;
    for (int64_t dim = group.first; dim < group.second; ++dim) {
      isFull |= extent[dim] == Extent::Full;
      unknown = extent[dim] == Extent::Unknown ? old[dim - missing] : unknown;
    }
    sizes.push_back(unknown ? unknown : isFull ? size : context.builder.getIndexAttr(1));
  }
  return sizes;
}

static RankedTensorType getType(ArrayRef<OpFoldResult> sizes, Type elementType) {
  SmallVector<int64_t> shape;
  for (OpFoldResult size : sizes) {
    shape.push_back(getConstantIntValue(size).value_or(ShapedType::kDynamic));
  }
  return RankedTensorType::get(shape, elementType);
}

Value Collapser::collapseLeaf(Value leaf, ArrayRef<OpFoldResult> sizes) {
  OpBuilder &builder = context.builder;
  DenseElementsAttr elements;
  if (matchPattern(leaf, m_Constant(&elements))) {
    auto type = getType(sizes, elements.getElementType());
    return arith::ConstantOp::create(builder, leaf.getLoc(), elements.reshape(type));
  }
  Value reshaped = nn::ReshapeOp::create(builder, leaf.getLoc(), leaf, sizes);
  context.shapes.setDims(reshaped, sizes);
  return reshaped;
}

FailureOr<CollapsedTensors> Collapser::collapse(ArrayRef<Value> tensors) {
  if (failed(collect(tensors))) {
    return failure();
  }
  OpBuilder &builder = context.builder;
  // From the innermost dimension outwards, so that the innermost loop becomes as long as it can.
  for (int64_t end = dims.size(); end > 0;) {
    int64_t begin = end - 1;
    while (begin > 0 && !llvm::is_contained(barriers, begin) && canMerge(begin - 1, end)) {
      --begin;
    }
    result.groups.push_back({begin, end});
    end = begin;
  }
  std::reverse(result.groups.begin(), result.groups.end());
  if (result.groups.size() == dims.size()) {
    result.dims.assign(dims.begin(), dims.end());
    result.values.assign(tensors.begin(), tensors.end());
    return result;
  }
  IndexMath math{builder, tensors.front().getLoc()};
  for (auto [begin, end] : result.groups) {
    result.dims.push_back(math.product(dims.slice(begin, end - begin)));
  }
  IRMapping mapping;
  for (Value leaf : leaves) {
    mapping.map(leaf, collapseLeaf(leaf, getCollapsedSizes(leaf)));
  }
  for (Operation *op : ops) {
    Value old = op->getResult(0);
    SmallVector<OpFoldResult> sizes = getCollapsedSizes(old);
    Value collapsed = builder.clone(*op, mapping)->getResult(0);
    collapsed.setType(getType(sizes, cast<RankedTensorType>(old.getType()).getElementType()));
    context.shapes.setDims(collapsed, sizes);
  }
  for (Value tensor : tensors) {
    result.values.push_back(mapping.lookup(tensor));
  }
  return result;
}

FailureOr<CollapsedTensors> lathe::codegen::collapseDims(ElementContext &context, ArrayRef<Value> tensors,
                                                         ArrayRef<OpFoldResult> dims,
                                                         ArrayRef<int64_t> barriers) {
  return Collapser(context, dims, barriers).collapse(tensors);
}

//===----------------------------------------------------------------------===//
// Loops
//===----------------------------------------------------------------------===//

/// Loops of one kind: `tiles` tiles of `lanes` elements (0: one element each) a step.
struct LoopKind {
  int64_t lanes, tiles;
  bool isMasked;
};

static LogicalResult emitLoop(OpBuilder &builder, Location loc, OpFoldResult begin, OpFoldResult end,
                              LoopKind kind, SmallVectorImpl<Value> &carried,
                              llvm::function_ref<LogicalResult(LoopStep &)> body) {
  IndexMath math{builder, loc};
  std::optional<int64_t> first = getConstantIntValue(begin), last = getConstantIntValue(end);
  int64_t length = std::max<int64_t>(kind.lanes, 1), step = length * kind.tiles;
  if (begin == end || (first && last && *first >= *last)) {
    return success();
  }
  OpBuilder::InsertionGuard guard(builder);
  Value position = math.value(begin);
  scf::ForOp loop;
  if (!first || !last || *first + step < *last) {
    loop =
        scf::ForOp::create(builder, loc, position, math.value(end), math.value(math.constant(step)), carried);
    builder.setInsertionPointToStart(loop.getBody());
    position = loop.getInductionVar();
    carried.assign(loop.getRegionIterArgs().begin(), loop.getRegionIterArgs().end());
  }
  SmallVector<Value> positions;
  for (int64_t tile = 0; tile < kind.tiles; ++tile) {
    positions.push_back(math.value(math.add(position, math.constant(tile * length))));
  }
  Value mask;
  if (kind.isMasked) {
    Value left = math.value(math.sub(end, position));
    auto type = VectorType::get({kind.lanes}, builder.getI1Type());
    mask = vector::CreateMaskOp::create(builder, loc, type, ValueRange{left});
  }
  LoopStep loopStep{positions, kind.lanes, mask, carried};
  if (failed(body(loopStep))) {
    return failure();
  }
  if (loop) {
    if (!carried.empty()) {
      scf::YieldOp::create(builder, loc, carried);
    }
    carried.assign(loop.getResults().begin(), loop.getResults().end());
  }
  return success();
}

LogicalResult lathe::codegen::emitTiledLoop(ElementContext &context, Location loc, OpFoldResult from,
                                            OpFoldResult to, int64_t lanes, int64_t unroll,
                                            SmallVectorImpl<Value> &carried,
                                            llvm::function_ref<LogicalResult(LoopStep &)> body) {
  OpBuilder &builder = context.builder;
  IndexMath math{builder, loc};
  auto emit = [&](OpFoldResult begin, OpFoldResult end, LoopKind kind) {
    return emitLoop(builder, loc, begin, end, kind, carried, body);
  };
  if (lanes == 0) {
    return emit(from, to, {0, 1, false});
  }
  OpFoldResult length = math.sub(to, from);
  auto endOf = [&](int64_t step) {
    OpFoldResult steps = math.floorDiv(length, math.constant(step));
    return math.add(from, math.mul(steps, math.constant(step)));
  };
  OpFoldResult unrolledEnd = endOf(lanes * unroll);
  if (failed(emit(from, unrolledEnd, {lanes, unroll, false}))) {
    return failure();
  }
  if (context.masksTails) {
    return emit(unrolledEnd, to, {lanes, 1, true});
  }
  OpFoldResult vectorEnd = unroll > 1 ? endOf(lanes) : unrolledEnd;
  if (unroll > 1 && failed(emit(unrolledEnd, vectorEnd, {lanes, 1, false}))) {
    return failure();
  }
  return emit(vectorEnd, to, {0, 1, false});
}
