// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Matrix products of bytes. The tiles multiply what is stored; zero points are corrections of rank 1, added
/// in the epilogue:
///
///     sum (x - zx) (w - zw) = sum x w - zx sum w - zw sum x + K zx zw
///
/// where the right-hand side is signed: 128 is taken off unsigned weights and their zero points. The sums of
/// its columns stand behind the panels.

#include "IntegerMatMulEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cpu;

namespace {

/// With so few rows the right-hand side is read, and each byte used, too seldom for matrix registers.
constexpr int64_t kFewRows = 8;

/// How far ahead of itself, in bytes, a low tile fetches its panel: two pages of memory, where what the
/// processor fetches on its own ends at the first.
constexpr int64_t kStreamAhead = 8192;

/// Blocks of rows for matrix registers: their sums fill a third of a first-level cache.
constexpr int64_t kMatrixBlockRows = 128;

bool hasMatrices(const TargetSpec &target) {
  return MatrixTiles::isSupported(target, MatrixTiles::Element::SignedByte);
}

/// The tiling of a grid of tasks; matrix registers, which read no blocks, take more rows at a time.
MatMulTiling getGridTiling(const TargetSpec &target, bool isInBlocks) {
  MatMulTiling tiling = chooseIntegerTiling(target);
  if (hasMatrices(target) && !isInBlocks) {
    tiling.rows = 2 * MatrixTiles::kRows;
    tiling.blockRows = kMatrixBlockRows;
  }
  return tiling;
}

/// Operations that take some 10 microseconds.
int64_t getGrainOperations(const TargetSpec &target, bool isInBlocks) {
  return hasMatrices(target) || isInBlocks ? 8000000 : 2000000;
}

bool isInBlocks(EmitContext &context, const MatMulProblem &problem) {
  return BlockMatrix::find(context, problem.rhs).has_value();
}

} // namespace

static Type getElement(Value tensor) { return cast<RankedTensorType>(tensor.getType()).getElementType(); }

IntegerMatMulEmitter::IntegerMatMulEmitter(EmitContext &context, MatMulProblem &problem)
    : ProductEmitter(context, problem, chooseIntegerTiling(context.target),
                     getGridTiling(context.target, isInBlocks(context, problem)),
                     getGrainOperations(context.target, isInBlocks(context, problem)), /*elementBytes=*/1,
                     context.builder.getI32Type()),
      blocks(BlockMatrix::find(context, problem.rhs)),
      isLhsSigned(!getElement(problem.lhs).isUnsignedInteger()),
      isRhsSigned(!getElement(problem.rhs).isUnsignedInteger()) {
  fewRows = kFewRows;
}

Value IntegerMatMulEmitter::splat(Value number) {
  return vector::BroadcastOp::create(builder, loc, sumType, number);
}
Value IntegerMatMulEmitter::add(Value lhs, Value rhs) {
  return arith::AddIOp::create(builder, loc, lhs, rhs);
}
Value IntegerMatMulEmitter::sub(Value lhs, Value rhs) {
  return arith::SubIOp::create(builder, loc, lhs, rhs);
}
Value IntegerMatMulEmitter::mul(Value lhs, Value rhs) {
  return arith::MulIOp::create(builder, loc, lhs, rhs);
}

LogicalResult IntegerMatMulEmitter::emit() {
  if (failed(findSizes()) || failed(findLhs()) || failed(findRhs()) || failed(findZeros())) {
    return failure();
  }
  std::optional<MatrixTiles::Element> element;
  if (hasMatrices(context.target) && !blocks) {
    element = isLhsSigned ? MatrixTiles::Element::SignedByte : MatrixTiles::Element::UnsignedByte;
  }
  return emitTasks(element);
}

LogicalResult IntegerMatMulEmitter::emitColumns(const MatMulGrid::Task &task, const ColumnTile &columns) {
  if (blocks) {
    emitBlockSums(task, columns);
    return emitEpilogue(task, columns);
  }
  if (!evaluatesLhs && panelWidth) {
    emitDepthBlock(task, columns, zeroIndex(), problem.k, /*isFirst=*/{});
    return emitEpilogue(task, columns);
  }
  std::optional<int64_t> depth = getConstantIntValue(problem.k);
  if (depth && *depth <= kPackedDepth && *depth > 0) {
    emitDepthBlock(task, columns, zeroIndex(), problem.k, /*isFirst=*/{});
    return emitEpilogue(task, columns);
  }
  // At least once, for sums of nothing.
  OpFoldResult end = math().max(problem.k, math().constant(1));
  emitLoop(math().constant(0), end, kPackedDepth, [&](Value firstDepth) {
    Value isFirst = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::eq, firstDepth, zeroIndex());
    emitDepthBlock(task, columns, firstDepth,
                   math().min(math().constant(kPackedDepth), math().sub(problem.k, firstDepth)), isFirst);
  });
  return emitEpilogue(task, columns);
}

void IntegerMatMulEmitter::emitDepthBlock(const MatMulGrid::Task &task, const ColumnTile &columns,
                                          Value firstDepth, OpFoldResult depth, Value isFirst) {
  if (evaluatesLhs) {
    packLhs(task, firstDepth, depth);
  }
  if (!panelWidth) {
    packRhs(task, firstDepth, depth);
  }
  MatrixRef lhsRows = getLhs(task, firstDepth);
  MatrixRef rhsRows = getRhs(task, firstDepth);
  Value none = arith::ConstantIntOp::create(builder, loc, builder.getI32Type(), 0);
  sumRows(task, lhsRows, depth, isFirst);
  OpFoldResult group = math().constant(kByteGroup);
  OpFoldResult padded = math().mul(math().ceilDiv(depth, group), group);
  if (columnSums) {
    SmallVector<Value> sums =
        emitColumnSums(builder, loc, context.target, tiling.vectors, tiling.lanes, rhsRows, padded);
    for (auto [i, sum] : llvm::enumerate(sums)) {
      OpFoldResult place = math().constant(i * tiling.lanes);
      if (isFirst) {
        Value before = loadSums(columnSums, place);
        sum = add(sum, arith::SelectOp::create(builder, loc, isFirst, splat(none), before));
      }
      vector::StoreOp::create(builder, loc, sum, columnSums, ValueRange{math().value(place)});
    }
  }
  emitTiles(task, columns, lhsRows, rhsRows, depth, padded, kByteGroup, isFirst);
}

void IntegerMatMulEmitter::sumRows(const MatMulGrid::Task &task, const MatrixRef &lhsRows, OpFoldResult depth,
                                   Value isFirst) {
  if (!needsRowSums) {
    return;
  }
  Value none = arith::ConstantIntOp::create(builder, loc, builder.getI32Type(), 0);
  emitLoop(math().constant(0), task.rows, 1, [&](Value row) {
    OpFoldResult start = math().add(lhsRows.offset, math().mul(row, lhsRows.rowStride));
    Value sum = emitByteSum(builder, loc, lhsRows.base, start, depth, isLhsSigned);
    if (isFirst) {
      Value before = memref::LoadOp::create(builder, loc, rowSums, ValueRange{row});
      sum = add(sum, arith::SelectOp::create(builder, loc, isFirst, none, before));
    }
    memref::StoreOp::create(builder, loc, sum, rowSums, ValueRange{row});
  });
}

void IntegerMatMulEmitter::emitBlockSums(const MatMulGrid::Task &task, const ColumnTile &columns) {
  const pack::BlockLayout &layout = blocks->layout;
  if (evaluatesLhs) {
    packLhs(task, zeroIndex(), problem.k);
  }
  MatrixRef lhsRows = getLhs(task, zeroIndex());
  sumRows(task, lhsRows, problem.k, /*isFirst=*/{});
  OpFoldResult width = math().constant(layout.blockColumns), group = math().constant(kByteGroup);
  OpFoldResult column = math().floorDiv(task.firstColumn, width);
  auto getStart = [&](OpFoldResult of) -> Value {
    Value start = memref::LoadOp::create(builder, loc, blocks->starts, ValueRange{math().value(of)});
    return arith::IndexCastUIOp::create(builder, loc, builder.getIndexType(), start);
  };
  Value first = getStart(column), end = getStart(math().add(column, math().constant(1)));
  ListedGroups list{blocks->places, first, math().sub(end, first)};
  OpFoldResult rowStride = math().mul(width, group);
  OpFoldResult offset = math().mul(math().rem(task.firstColumn, width), group);
  MatrixRef rhsRows{blocks->values, math().value(math().add(offset, math().mul(first, rowStride))), rowStride,
                    math().constant(1)};
  auto emitTile = [&](int64_t height, Value row) {
    RegisterTile tile = getIntegerTile(context.target, height, columns.vectors);
    ByteRows own{lhsRows, isLhsSigned};
    own.matrix.offset = math().value(math().add(lhsRows.offset, math().mul(row, lhsRows.rowStride)));
    storeSums(emitListedTile(builder, loc, context.target, tile, own, rhsRows, list), getPlaces(tile, row));
  };
  emitHeights(
      task.rows,
      [&](OpFoldResult done) {
        emitLoop(math().constant(0), done, tiling.rows, [&](Value row) { emitTile(tiling.rows, row); });
      },
      emitTile);
}

void IntegerMatMulEmitter::emitVectorTiles(const MatMulGrid::Task &task, const ColumnTile &columns,
                                           const MatrixRef &lhsRows, const MatrixRef &rhsRows,
                                           OpFoldResult depth, Value isFirst) {
  // Few rows stream through the panel, and fetch ahead of themselves.
  PrefetchStream stream;
  if (panelWidth) {
    stream = {math().constant(kStreamAhead), getStepLines(tiling, panelWidth)};
  }
  emitHeights(
      task.rows,
      [&](OpFoldResult done) {
        auto emitTiles = [&](int64_t lines) {
          emitLoop(math().constant(0), done, tiling.rows, [&](Value row) {
            emitVectorTile(columns, tiling.rows, row, lhsRows, rhsRows, depth, isFirst,
                           getShareOfNext(row, lines));
          });
        };
        // What the first tile of the next panel reads would otherwise come from memory while nothing
        // computes.
        if (panelWidth) {
          emitPrefetchingTiles(builder, loc, tiling, done, getStepLines(tiling, panelWidth), emitTiles);
        } else {
          emitTiles(0);
        }
      },
      [&](int64_t height, Value row) {
        emitVectorTile(columns, height, row, lhsRows, rhsRows, depth, isFirst, stream);
      });
}

PrefetchStream IntegerMatMulEmitter::getShareOfNext(Value row, int64_t lines) {
  if (lines == 0) {
    return {};
  }
  // The next panel begins behind this one and the sums of its columns.
  OpFoldResult number = math().floorDiv(row, math().constant(tiling.rows)),
               share = getPrefetchShare(builder, loc, number, lines, getStepLines(tiling, panelWidth));
  OpFoldResult panel = math().constant((panelRows + kByteGroup) * panelWidth);
  return {math().add(panel, math().mul(share, math().constant(kByteGroup))), lines};
}

void IntegerMatMulEmitter::emitVectorTile(const ColumnTile &columns, int64_t height, Value row,
                                          const MatrixRef &lhsRows, const MatrixRef &rhsRows,
                                          OpFoldResult depth, Value isFirst, const PrefetchStream &prefetch) {
  RegisterTile tile = getIntegerTile(context.target, height, columns.vectors);
  ByteRows own{lhsRows, isLhsSigned};
  own.matrix.offset = math().value(math().add(lhsRows.offset, math().mul(row, lhsRows.rowStride)));
  SmallVector<Value> places = getPlaces(tile, row);
  SmallVector<Value> init = beginSums(places, isFirst);
  storeSums(emitIntegerTile(builder, loc, context.target, tile, own, rhsRows, depth, init, prefetch), places);
}

/// An i8, or a vector of them, as i32.
static Value extend(OpBuilder &builder, Location loc, Value value, bool isSigned) {
  Type type = builder.getI32Type();
  if (auto vector = dyn_cast<VectorType>(value.getType())) {
    type = vector.clone(type);
  }
  return isSigned ? Value(arith::ExtSIOp::create(builder, loc, type, value))
                  : Value(arith::ExtUIOp::create(builder, loc, type, value));
}

FailureOr<Value> IntegerMatMulEmitter::getLhsZero(const Tile &tile) {
  FailureOr<Value> zero = elements.evaluateBroadcast(problem.lhsZero, problem.result, tile);
  return failed(zero) ? zero : FailureOr<Value>(extend(builder, loc, *zero, isLhsSigned));
}

FailureOr<Value> IntegerMatMulEmitter::getRhsZero(const Tile &tile) {
  Value offset = arith::ConstantOp::create(
      builder, loc,
      DenseElementsAttr::get(sumType, builder.getI32IntegerAttr(isRhsSigned ? 0 : 128).getValue()));
  if (!problem.rhsZero) {
    Value zero = arith::ConstantOp::create(builder, loc, builder.getZeroAttr(sumType));
    return sub(zero, offset);
  }
  FailureOr<Value> zero = elements.evaluateBroadcast(problem.rhsZero, problem.result, tile);
  return failed(zero) ? zero : FailureOr<Value>(sub(extend(builder, loc, *zero, isRhsSigned), offset));
}

Value IntegerMatMulEmitter::loadSums(Value buffer, OpFoldResult place) {
  return vector::LoadOp::create(builder, loc, sumType, buffer, ValueRange{math().value(place)});
}

LogicalResult IntegerMatMulEmitter::emitEpilogue(const MatMulGrid::Task &task, const ColumnTile &columns) {
  Value depth = arith::IndexCastOp::create(builder, loc, builder.getI32Type(), math().value(problem.k));
  auto getColumnSums = [&](int64_t vector) -> Value {
    if (blocks) {
      return loadSums(blocks->sums, math().add(task.firstColumn, math().constant(vector * tiling.lanes)));
    }
    if (!panelWidth) {
      return loadSums(columnSums, math().constant(vector * tiling.lanes));
    }
    MatrixRef behind = getRhs(task, math().value(math().constant(panelRows)));
    auto bytes = VectorType::get({kByteGroup * tiling.lanes}, builder.getI8Type());
    OpFoldResult place = math().add(behind.offset, math().constant(vector * kByteGroup * tiling.lanes));
    Value loaded = vector::LoadOp::create(builder, loc, bytes, panels, ValueRange{math().value(place)});
    return vector::BitCastOp::create(builder, loc, sumType, loaded);
  };
  // What the zero point of the left-hand side takes off: zx (sum w - K zw).
  auto getColumnPart = [&](const Tile &tile, int64_t vector) -> FailureOr<Value> {
    FailureOr<Value> zero = getLhsZero(tile);
    if (failed(zero)) {
      return failure();
    }
    Value sums = getColumnSums(vector);
    if (needsRowSums) {
      FailureOr<Value> other = getRhsZero(tile);
      if (failed(other)) {
        return failure();
      }
      sums = sub(sums, mul(splat(depth), *other));
    }
    return mul(*zero, sums);
  };
  if (corrections) {
    SmallVector<Value> index = resultIndex(task, math().constant(0));
    for (int64_t vector = 0; vector < columns.vectors; ++vector) {
      OpFoldResult ahead = math().constant(vector * tiling.lanes);
      Tile tile{index, tiling.lanes, columns.masks.empty() ? Value() : columns.masks[vector]};
      tile.index.back() = math().value(math().add(index.back(), ahead));
      elements.reset();
      FailureOr<Value> part = getColumnPart(tile, vector);
      if (failed(part)) {
        return failure();
      }
      vector::StoreOp::create(builder, loc, *part, corrections, ValueRange{math().value(ahead)});
    }
  }
  return emitRows(task, columns,
                  [&](Value row, Value sums, const Tile &tile, int64_t vector) -> FailureOr<Value> {
                    if (corrections) {
                      sums = sub(sums, loadSums(corrections, math().constant(vector * tiling.lanes)));
                    } else if (needsColumnSums) {
                      FailureOr<Value> part = getColumnPart(tile, vector);
                      if (failed(part)) {
                        return failure();
                      }
                      sums = sub(sums, *part);
                    }
                    if (needsRowSums) {
                      FailureOr<Value> zero = getRhsZero(tile);
                      if (failed(zero)) {
                        return failure();
                      }
                      Value sum = memref::LoadOp::create(builder, loc, rowSums, ValueRange{row});
                      sums = sub(sums, mul(*zero, splat(sum)));
                    }
                    return sums;
                  });
}

FailureOr<TaskSplit> cpu::splitIntegerMatMul(EmitContext &context, MatMulProblem &problem) {
  bool isSparse = isInBlocks(context, problem);
  MatMulGrid grid(context, problem, getGridTiling(context.target, isSparse),
                  getGrainOperations(context.target, isSparse), /*elementBytes=*/1);
  IndexMath math{context.builder, problem.root->getLoc()};
  return TaskSplit{math.value(grid.tasks), math.value(grid.grain)};
}

LogicalResult cpu::emitIntegerMatMul(EmitContext &context, MatMulProblem &problem) {
  return IntegerMatMulEmitter(context, problem).emit();
}
