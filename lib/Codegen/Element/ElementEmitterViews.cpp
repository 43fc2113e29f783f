// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Evaluation of ops that only say where an element comes from, of what is not in memory itself.

#include "lathe/Codegen/Element/ElementEmitter.h"
#include "lathe/Codegen/Element/IndexMath.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::codegen;

/// Whether `lanes` elements from `index` on along the last dimension of the new shape are neighbours in the
/// last dimension of the old shape, too.
static bool keepsLanes(ArrayRef<OpFoldResult> oldDims, ArrayRef<OpFoldResult> newDims, const Tile &tile) {
  if (oldDims.empty() || newDims.empty() || isConstantSize(oldDims.back(), 1)) {
    return false;
  }
  if (SizeProduct(newDims.back()).divides(SizeProduct(oldDims.back()))) {
    return true;
  }
  // The new rows are longer than the old ones: a tile that starts at a multiple of its length stays in one.
  std::optional<int64_t> oldSize = getConstantIntValue(oldDims.back());
  return oldSize && *oldSize % tile.lanes == 0 && isMultipleOf(tile.index.back(), tile.lanes) &&
         SizeProduct(oldDims.back()).divides(SizeProduct(newDims.back()));
}

FailureOr<Value> ElementEmitter::computeReshape(nn::ReshapeOp op, const Tile &tile) {
  FailureOr<SmallVector<OpFoldResult>> oldDims = getDims(op.getX()), newDims = getDims(op.getResult());
  if (failed(oldDims) || failed(newDims)) {
    return failure();
  }
  if (tile.lanes && !keepsLanes(*oldDims, *newDims, tile)) {
    return scalarize(op.getResult(), tile);
  }
  IndexMath math{context.builder, op.getLoc()};
  SmallVector<OpFoldResult> index(oldDims->size(), math.constant(0));
  SmallVector<OpFoldResult> position(tile.index.begin(), tile.index.end());
  for (DimGroup group : getReshapeGroups(*oldDims, *newDims)) {
    auto newSizes = ArrayRef(*newDims).slice(group.newBegin, group.newEnd - group.newBegin);
    auto oldSizes = ArrayRef(*oldDims).slice(group.oldBegin, group.oldEnd - group.oldBegin);
    OpFoldResult linear = math.linearize(ArrayRef(position).slice(group.newBegin, newSizes.size()), newSizes);
    llvm::copy(math.delinearize(linear, oldSizes), index.begin() + group.oldBegin);
  }
  return evaluate(op.getX(), Tile{math.values(index), tile.lanes, tile.mask});
}

FailureOr<Value> ElementEmitter::computeTranspose(nn::TransposeOp op, const Tile &tile) {
  ArrayRef<int64_t> perm = op.getPerm();
  if (tile.lanes && perm.back() != int64_t(perm.size()) - 1) {
    return scalarize(op.getResult(), tile);
  }
  Tile source{SmallVector<Value>(perm.size()), tile.lanes, tile.mask};
  for (auto [dim, sourceDim] : llvm::enumerate(perm)) {
    source.index[sourceDim] = tile.index[dim];
  }
  return evaluate(op.getX(), source);
}

FailureOr<Value> ElementEmitter::computeSlice(nn::SliceOp op, const Tile &tile) {
  ArrayRef<int64_t> steps = op.getStaticStrides();
  if (tile.lanes && steps.back() != 1) {
    return scalarize(op.getResult(), tile);
  }
  IndexMath math{context.builder, op.getLoc()};
  Tile source{{}, tile.lanes, tile.mask};
  for (auto [index, offset, step] : llvm::zip_equal(tile.index, op.getMixedOffsets(), steps)) {
    source.index.push_back(math.value(math.add(offset, math.mul(index, math.constant(step)))));
  }
  return evaluate(op.getX(), source);
}

FailureOr<Value> ElementEmitter::computeConcat(nn::ConcatOp op, const Tile &tile) {
  int64_t axis = op.getAxis();
  if (tile.lanes && axis + 1 == int64_t(tile.index.size())) {
    return scalarize(op.getResult(), tile);
  }
  OpBuilder &builder = context.builder;
  IndexMath math{builder, op.getLoc()};
  // One branch a piece, from the first to the last, the one nested in the other's `else`.
  std::function<Result(size_t, OpFoldResult)> choose = [&](size_t piece, OpFoldResult begin) -> Result {
    Value input = op.getInputs()[piece];
    auto evaluatePiece = [&]() -> Result {
      Tile source = tile;
      source.index[axis] = math.value(math.sub(tile.index[axis], begin));
      return evaluate(input, source);
    };
    if (piece + 1 == op.getInputs().size()) {
      return evaluatePiece();
    }
    FailureOr<SmallVector<OpFoldResult>> dims = getDims(input);
    if (failed(dims)) {
      return failure();
    }
    OpFoldResult end = math.add(begin, (*dims)[axis]);
    Value isHere = arith::CmpIOp::create(builder, op.getLoc(), arith::CmpIPredicate::slt, tile.index[axis],
                                         math.value(end));
    return branch(isHere, getTileType(input, tile), evaluatePiece, [&] { return choose(piece + 1, end); });
  };
  return choose(0, math.constant(0));
}

std::pair<Value, Value> ElementEmitter::checkIndex(Location loc, Value index, Type elementType,
                                                   OpFoldResult size, Value mask) {
  OpBuilder &builder = context.builder;
  IndexMath math{builder, loc};
  auto vectorType = dyn_cast<VectorType>(index.getType());
  Type type = vectorType ? Type(vectorType.clone(builder.getIndexType())) : builder.getIndexType();
  bool isUnsigned = elementType.isUnsignedInteger();
  Value position = isUnsigned ? Value(arith::IndexCastUIOp::create(builder, loc, type, index))
                              : Value(arith::IndexCastOp::create(builder, loc, type, index));
  int64_t lanes = vectorType ? vectorType.getNumElements() : 0;
  Value limit = toLanes(builder, loc, math.value(size), lanes);
  Value zero = arith::ConstantOp::create(builder, loc, builder.getZeroAttr(type));
  if (!isUnsigned) {
    Value isNegative = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::slt, position, zero);
    Value fromEnd = arith::AddIOp::create(builder, loc, position, limit);
    position = arith::SelectOp::create(builder, loc, isNegative, fromEnd, position);
  }
  Value isInside = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ult, position, limit);
  position = arith::SelectOp::create(builder, loc, isInside, position, zero);
  Value isOutside =
      arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::eq, isInside,
                            arith::ConstantOp::create(builder, loc, builder.getZeroAttr(isInside.getType())));
  constexpr int32_t kFaultIndex = 1; // LATHE_FAULT_INDEX
  trapWhere(loc, isOutside, mask, kFaultIndex);
  return {position, isInside};
}

void ElementEmitter::trapWhere(Location loc, Value condition, Value mask, int32_t fault) {
  OpBuilder &builder = context.builder;
  if (isa<VectorType>(condition.getType())) {
    if (mask) {
      condition = arith::AndIOp::create(builder, loc, condition, mask);
    }
    condition = vector::ReductionOp::create(builder, loc, vector::CombiningKind::OR, condition);
  }
  kernel::TrapIfOp::create(builder, loc, condition, builder.getI32IntegerAttr(fault));
}

FailureOr<Value> ElementEmitter::computeGather(nn::GatherOp op, const Tile &tile) {
  FailureOr<SmallVector<OpFoldResult>> dims = getDims(op.getX());
  if (failed(dims)) {
    return failure();
  }
  OpBuilder &builder = context.builder;
  Location loc = op.getLoc();
  int64_t axis = op.getAxis(), rank = dims->size();
  auto indicesType = cast<RankedTensorType>(op.getIndices().getType());
  int64_t indexRank = indicesType.getRank();
  bool lanesInIndices = tile.lanes && axis + 1 == rank;
  OpFoldResult size = (*dims)[axis];

  Tile indexTile{{}, 0, Value()};
  indexTile.index.assign(tile.index.begin() + axis, tile.index.begin() + axis + indexRank);
  Tile source{{}, lanesInIndices ? 0 : tile.lanes, lanesInIndices ? Value() : tile.mask};
  source.index.assign(tile.index.begin(), tile.index.begin() + axis);
  source.index.push_back(Value());
  source.index.append(tile.index.begin() + axis + indexRank, tile.index.end());

  if (lanesInIndices) {
    // Neighbours in the result come from anywhere in the last dimension of `x`: gather them from memory.
    FailureOr<StridedView> view = getStridedView(context, op.getX());
    std::optional<int64_t> staticSize = getConstantIntValue(size);
    if (failed(view) || indexRank == 0 || !staticSize || *staticSize == 0) {
      return scalarize(op.getResult(), tile);
    }
    indexTile.lanes = tile.lanes;
    indexTile.mask = tile.mask;
    Result indices = evaluate(op.getIndices(), indexTile);
    if (failed(indices)) {
      return failure();
    }
    Value positions = checkIndex(loc, *indices, indicesType.getElementType(), size, tile.mask).first;
    source.index[axis] = arith::ConstantIndexOp::create(builder, loc, 0);
    source.lanes = tile.lanes;
    source.mask = tile.mask;
    return gatherTile(builder, loc, *view, source, positions);
  }

  Result index = evaluate(op.getIndices(), indexTile);
  if (failed(index)) {
    return failure();
  }
  auto [position, isInside] = checkIndex(loc, *index, indicesType.getElementType(), size, Value());
  source.index[axis] = position;
  auto load = [&]() -> Result { return evaluate(op.getX(), source); };
  Result value = failure();
  std::optional<int64_t> staticSize = getConstantIntValue(size);
  if (staticSize && *staticSize > 0) {
    value = load();
  } else {
    // Not even the clamped index may be loaded when there is nothing to gather from.
    Type type = getTileType(op.getX(), source);
    value = branch(isInside, type, load, [&]() -> Result {
      return arith::ConstantOp::create(builder, loc, builder.getZeroAttr(type)).getResult();
    });
  }
  return failed(value) ? value : Result(toLanes(builder, loc, *value, tile.lanes));
}

FailureOr<Value> ElementEmitter::computeGatherND(nn::GatherNDOp op, const Tile &tile) {
  FailureOr<SmallVector<OpFoldResult>> dims = getDims(op.getX()), indexDims = getDims(op.getIndices());
  if (failed(dims) || failed(indexDims)) {
    return failure();
  }
  OpBuilder &builder = context.builder;
  Location loc = op.getLoc();
  IndexMath math{builder, loc};
  int64_t batch = op.getBatchDims(), rank = dims->size(), outer = int64_t(indexDims->size()) - 1;
  int64_t depth = *getConstantIntValue(indexDims->back());
  if (tile.lanes && batch + depth == rank) {
    return scalarize(op.getResult(), tile);
  }
  Tile source{{}, tile.lanes, tile.mask};
  source.index.assign(tile.index.begin(), tile.index.begin() + batch);
  Type elementType = cast<RankedTensorType>(op.getIndices().getType()).getElementType();
  Value allInside = arith::ConstantOp::create(builder, loc, builder.getBoolAttr(true));
  for (int64_t part = 0; part < depth; ++part) {
    Tile indexTile{SmallVector<Value>(tile.index.begin(), tile.index.begin() + outer), 0, Value()};
    indexTile.index.push_back(math.value(math.constant(part)));
    Result index = evaluate(op.getIndices(), indexTile);
    if (failed(index)) {
      return failure();
    }
    auto [position, isInside] = checkIndex(loc, *index, elementType, (*dims)[batch + part], Value());
    source.index.push_back(position);
    allInside = arith::AndIOp::create(builder, loc, allInside, isInside);
  }
  source.index.append(tile.index.begin() + outer, tile.index.end());
  Type type = getTileType(op.getX(), source);
  return branch(
      allInside, type, [&] { return evaluate(op.getX(), source); },
      [&]() -> Result {
        return arith::ConstantOp::create(builder, loc, builder.getZeroAttr(type)).getResult();
      });
}

FailureOr<Value> ElementEmitter::computeRange(nn::RangeOp op, const Tile &tile) {
  Tile scalar;
  Result start = evaluate(op.getStart(), scalar), step = evaluate(op.getStep(), scalar);
  if (failed(start) || failed(step)) {
    return failure();
  }
  OpBuilder &builder = context.builder;
  Location loc = op.getLoc();
  Value index = toLanes(builder, loc, tile.index.front(), tile.lanes);
  if (tile.lanes) {
    index = arith::AddIOp::create(builder, loc, index, vector::StepOp::create(builder, loc, index.getType()));
  }
  Type type = getTileType(op.getResult(), tile);
  Type elementType = getElementTypeOrSelf(type);
  Value from = toLanes(builder, loc, *start, tile.lanes), by = toLanes(builder, loc, *step, tile.lanes);
  if (isa<IntegerType>(elementType)) {
    Value number = arith::IndexCastOp::create(builder, loc, type, index);
    return arith::AddIOp::create(builder, loc, from, arith::MulIOp::create(builder, loc, number, by))
        .getResult();
  }
  // f16 and bf16 are computed in f32.
  bool isNarrow = elementType.isF16() || elementType.isBF16();
  auto withElement = [&](Type element) {
    return tile.lanes ? Type(VectorType::get({tile.lanes}, element)) : element;
  };
  Type computed = isNarrow ? withElement(builder.getF32Type()) : type;
  if (isNarrow) {
    from = arith::ExtFOp::create(builder, loc, computed, from);
    by = arith::ExtFOp::create(builder, loc, computed, by);
  }
  Value number = arith::IndexCastOp::create(builder, loc, withElement(builder.getI64Type()), index);
  number = arith::SIToFPOp::create(builder, loc, computed, number);
  Value result = arith::AddFOp::create(builder, loc, from, arith::MulFOp::create(builder, loc, number, by));
  return isNarrow ? Value(arith::TruncFOp::create(builder, loc, type, result)) : result;
}

FailureOr<Value> ElementEmitter::computeFromScalars(nn::FromScalarsOp op, const Tile &tile) {
  if (tile.lanes) {
    return scalarize(op.getResult(), tile);
  }
  OpBuilder &builder = context.builder;
  Location loc = op.getLoc();
  Value chosen;
  for (auto [position, element] : llvm::enumerate(op.getElements())) {
    if (!chosen) {
      chosen = element;
      continue;
    }
    Value number = arith::ConstantIndexOp::create(builder, loc, position);
    Value isHere = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::eq, tile.index.front(), number);
    chosen = arith::SelectOp::create(builder, loc, isHere, element, chosen);
  }
  if (!chosen) {
    return op.emitOpError("has no elements to choose from");
  }
  return arith::IndexCastOp::create(builder, loc, getTileType(op.getResult(), tile), chosen).getResult();
}
