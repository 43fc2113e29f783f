// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Matrix products of bytes. As for floats, a task computes a column of tiles for a block of rows into a
/// scratch buffer, then runs the epilogue row by row. The tiles multiply what is stored; zero points are
/// corrections of rank 1, added in the epilogue:
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

/// The tiling of a grid of tasks; matrix registers take more rows at a time.
MatMulTiling getGridTiling(const TargetSpec &target) {
  MatMulTiling tiling = chooseIntegerTiling(target);
  if (MatrixTiles::isSupported(target)) {
    tiling.rows = 2 * MatrixTiles::kRows;
    tiling.blockRows = kMatrixBlockRows;
  }
  return tiling;
}

/// Operations that take some 10 microseconds.
int64_t getGrainOperations(const TargetSpec &target) {
  return MatrixTiles::isSupported(target) ? 8000000 : 2000000;
}

} // namespace

static Type getElement(Value tensor) { return cast<RankedTensorType>(tensor.getType()).getElementType(); }

IntegerMatMulEmitter::IntegerMatMulEmitter(EmitContext &context, MatMulProblem &problem)
    : context(context), builder(context.builder), loc(problem.root->getLoc()), problem(problem),
      tiling(chooseIntegerTiling(context.target)), gridTiling(getGridTiling(context.target)),
      grid(context, problem, gridTiling, getGrainOperations(context.target), /*elementBytes=*/1),
      sumType(VectorType::get({tiling.lanes}, builder.getI32Type())), elements(context),
      isLhsSigned(!getElement(problem.lhs).isUnsignedInteger()),
      isRhsSigned(!getElement(problem.rhs).isUnsignedInteger()) {}

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

void IntegerMatMulEmitter::emitLoop(OpFoldResult begin, OpFoldResult end, int64_t step,
                                    llvm::function_ref<void(Value)> body) {
  scf::ForOp::create(builder, loc, math().value(begin), math().value(end),
                     math().value(math().constant(step)), ValueRange(),
                     [&](OpBuilder &, Location, Value iv, ValueRange) {
                       body(iv);
                       scf::YieldOp::create(builder, loc);
                     });
}

void IntegerMatMulEmitter::emitIf(Value condition, llvm::function_ref<void()> then,
                                  llvm::function_ref<void()> otherwise) {
  auto branch = [&](llvm::function_ref<void()> body) {
    return [&, body](OpBuilder &, Location) {
      body();
      scf::YieldOp::create(builder, loc);
    };
  };
  if (otherwise) {
    scf::IfOp::create(builder, loc, condition, branch(then), branch(otherwise));
  } else {
    scf::IfOp::create(builder, loc, condition, branch(then));
  }
}

LogicalResult IntegerMatMulEmitter::emit() {
  if (failed(findLhs()) || failed(findRhs()) || failed(findZeros())) {
    return failure();
  }
  std::optional<int64_t> rows = getConstantIntValue(problem.m), depth = getConstantIntValue(problem.k);
  bool areFew = (rows && *rows <= kFewRows) || (depth && *depth < MatrixTiles::kDepth);
  if (MatrixTiles::isSupported(context.target) && !areFew) {
    matrices.emplace(builder, loc);
  }
  scratch = makeScratch(builder, loc, builder.getI32Type(), gridTiling.blockRows * tiling.columns());
  LogicalResult result = success();
  emitLoop(context.begin, context.end, 1, [&](Value number) { result = emitTask(number); });
  if (matrices) {
    matrices->release();
  }
  return failed(status) ? status : result;
}

LogicalResult IntegerMatMulEmitter::emitTask(Value number) {
  MatMulGrid::Task task = grid.decode(builder, loc, problem, gridTiling, number);
  return emitColumnTile(builder, loc, tiling, problem.n, task.firstColumn,
                        [&](const ColumnTile &columns) { return emitColumns(task, columns); });
}

LogicalResult IntegerMatMulEmitter::emitColumns(const MatMulGrid::Task &task, const ColumnTile &columns) {
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
  ByteRows lhsRows = getLhs(task, firstDepth);
  MatrixRef rhsRows = getRhs(task, firstDepth);
  Value none = arith::ConstantIntOp::create(builder, loc, builder.getI32Type(), 0);
  if (needsRowSums) {
    emitLoop(math().constant(0), task.rows, 1, [&](Value row) {
      OpFoldResult start = math().add(lhsRows.matrix.offset, math().mul(row, lhsRows.matrix.rowStride));
      Value sum = emitByteSum(builder, loc, lhsRows.matrix.base, start, depth, isLhsSigned);
      if (isFirst) {
        Value before = memref::LoadOp::create(builder, loc, rowSums, ValueRange{row});
        sum = add(sum, arith::SelectOp::create(builder, loc, isFirst, none, before));
      }
      memref::StoreOp::create(builder, loc, sum, rowSums, ValueRange{row});
    });
  }
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
  if (!matrices) {
    emitVectorTiles(task, columns, lhsRows, rhsRows, padded, isFirst);
    return;
  }
  // Few rows, and what is left of the depth, are done by vectors.
  OpFoldResult whole = math().constant(MatrixTiles::kDepth);
  OpFoldResult main = math().mul(math().floorDiv(depth, whole), whole);
  auto withMatrices = [&] {
    emitMatrixTiles(task, columns, lhsRows, rhsRows, main, isFirst);
    OpFoldResult rest = math().sub(padded, main);
    if (isConstantSize(rest, 0)) {
      return;
    }
    ByteRows lhsRest = lhsRows;
    MatrixRef rhsRest = rhsRows;
    lhsRest.matrix.offset = math().value(math().add(lhsRows.matrix.offset, main));
    OpFoldResult groups = math().floorDiv(main, group);
    rhsRest.offset = math().value(math().add(rhsRows.offset, math().mul(groups, rhsRows.rowStride)));
    Value never = arith::ConstantOp::create(builder, loc, builder.getBoolAttr(false));
    emitVectorTiles(task, columns, lhsRest, rhsRest, rest, never);
  };
  auto isMore = [&](OpFoldResult size, int64_t limit) {
    return arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ugt, math().value(size),
                                 math().value(math().constant(limit)));
  };
  Value useMatrices = isMore(task.rows, kFewRows);
  if (!getConstantIntValue(depth)) {
    useMatrices = arith::AndIOp::create(builder, loc, useMatrices, isMore(depth, MatrixTiles::kDepth - 1));
  }
  emitIf(useMatrices, withMatrices,
         [&] { emitVectorTiles(task, columns, lhsRows, rhsRows, padded, isFirst); });
}

void IntegerMatMulEmitter::emitMatrixTiles(const MatMulGrid::Task &task, const ColumnTile &columns,
                                           const ByteRows &lhsRows, const MatrixRef &rhsRows,
                                           OpFoldResult depth, Value isFirst) {
  int64_t height = 2 * MatrixTiles::kRows;
  int64_t vectors = llvm::divideCeil(columns.vectors * tiling.lanes, MatrixTiles::kColumns);
  OpFoldResult width = math().constant(tiling.columns()), half = math().constant(MatrixTiles::kRows);
  MatrixRef sums{scratch, zeroIndex(), width, math().constant(1)};
  auto emitAt = [&](OpFoldResult row, OpFoldResult rows) {
    auto rowsFrom = [&](OpFoldResult first, OpFoldResult count) {
      OpFoldResult offset = math().add(lhsRows.matrix.offset, math().mul(first, lhsRows.matrix.rowStride));
      return MatrixTiles::Rows{offset, math().mul(first, width), count};
    };
    auto emitTile = [&](ArrayRef<MatrixTiles::Rows> parts) {
      MatrixTiles::Tile tile{lhsRows, sums, {}, vectors};
      tile.rows.assign(parts.begin(), parts.end());
      matrices->begin(tile, isFirst);
      matrices->multiply(tile, math().constant(0), rhsRows, depth);
      matrices->end(tile);
    };
    auto emitBoth = [&] {
      emitTile({rowsFrom(row, half), rowsFrom(math().add(row, half), math().sub(rows, half))});
    };
    auto emitOne = [&] { emitTile(rowsFrom(row, rows)); };
    if (std::optional<int64_t> count = getConstantIntValue(rows)) {
      return *count > MatrixTiles::kRows ? emitBoth() : emitOne();
    }
    Value isTall = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ugt, math().value(rows),
                                         math().value(half));
    emitIf(isTall, emitBoth, emitOne);
  };
  OpFoldResult full =
      math().mul(math().floorDiv(task.rows, math().constant(height)), math().constant(height));
  emitLoop(math().constant(0), full, height, [&](Value row) { emitAt(row, math().constant(height)); });
  OpFoldResult rest = math().sub(task.rows, full);
  if (isConstantSize(rest, 0)) {
    return;
  }
  Value isSome =
      arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ne, math().value(rest), zeroIndex());
  emitIf(isSome, [&] {
    if (isFirst) {
      emitAt(full, rest);
      return;
    }
    // Rows of the last full tile are computed again: another height takes longer.
    Value isAfterFull =
        arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ne, math().value(full), zeroIndex());
    emitIf(
        isAfterFull, [&] { emitAt(math().sub(task.rows, math().constant(height)), math().constant(height)); },
        [&] { emitAt(math().constant(0), rest); });
  });
}

void IntegerMatMulEmitter::emitVectorTiles(const MatMulGrid::Task &task, const ColumnTile &columns,
                                           const ByteRows &lhsRows, const MatrixRef &rhsRows,
                                           OpFoldResult depth, Value isFirst) {
  OpFoldResult height = math().constant(tiling.rows);
  OpFoldResult done = math().mul(math().floorDiv(task.rows, height), height);
  auto emitTiles = [&](int64_t lines) {
    emitLoop(math().constant(0), done, tiling.rows, [&](Value row) {
      emitVectorTile(columns, tiling.rows, row, lhsRows, rhsRows, depth, isFirst, getShareOfNext(row, lines));
    });
  };
  // What the first tile of the next panel reads would otherwise come from memory while nothing computes.
  if (panelWidth) {
    emitPrefetchingTiles(builder, loc, tiling, done, getStepLines(tiling, panelWidth), emitTiles);
  } else {
    emitTiles(0);
  }
  // Few rows stream through the panel, and fetch ahead of themselves.
  PrefetchStream stream;
  if (panelWidth) {
    stream = {math().constant(kStreamAhead), getStepLines(tiling, panelWidth)};
  }
  SmallVector<int64_t> heights = llvm::to_vector(llvm::seq<int64_t>(1, tiling.rows));
  Value left = math().value(math().sub(task.rows, done));
  auto choose = scf::IndexSwitchOp::create(builder, loc, TypeRange(), left, heights, heights.size());
  OpBuilder::InsertionGuard guard(builder);
  for (auto [height, region] : llvm::zip_equal(heights, choose.getCaseRegions())) {
    builder.createBlock(&region);
    emitVectorTile(columns, height, math().value(done), lhsRows, rhsRows, depth, isFirst, stream);
    scf::YieldOp::create(builder, loc);
  }
  builder.createBlock(&choose.getDefaultRegion());
  scf::YieldOp::create(builder, loc);
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
                                          const ByteRows &lhsRows, const MatrixRef &rhsRows,
                                          OpFoldResult depth, Value isFirst, const PrefetchStream &prefetch) {
  RegisterTile tile = getIntegerTile(context.target, height, columns.vectors);
  ByteRows own = lhsRows;
  own.matrix.offset =
      math().value(math().add(lhsRows.matrix.offset, math().mul(row, lhsRows.matrix.rowStride)));
  OpFoldResult start = math().mul(row, math().constant(tiling.columns()));
  SmallVector<Value> places, init;
  Value zero = arith::ConstantOp::create(builder, loc, builder.getZeroAttr(sumType));
  for (int64_t i = 0; i < tile.sums(); ++i) {
    int64_t ahead = i / tile.vectors * tiling.columns() + i % tile.vectors * tiling.lanes;
    places.push_back(math().value(math().add(start, math().constant(ahead))));
    if (isFirst) {
      Value before = vector::LoadOp::create(builder, loc, sumType, scratch, ValueRange{places.back()});
      init.push_back(arith::SelectOp::create(builder, loc, isFirst, zero, before));
    }
  }
  SmallVector<Value> sums =
      emitIntegerTile(builder, loc, context.target, tile, own, rhsRows, depth, init, prefetch);
  for (auto [sum, place] : llvm::zip_equal(sums, places)) {
    vector::StoreOp::create(builder, loc, sum, scratch, ValueRange{place});
  }
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
  StridedView output = getOutputView(context, problem.output);
  Value depth = arith::IndexCastOp::create(builder, loc, builder.getI32Type(), math().value(problem.k));
  auto getColumnSums = [&](int64_t vector) -> Value {
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
  auto getIndex = [&](OpFoldResult row) {
    return problem.resultIndex(builder, loc, task.batchIndex, math().value(math().add(task.firstRow, row)),
                               math().value(task.firstColumn));
  };
  if (corrections) {
    SmallVector<Value> index = getIndex(math().constant(0));
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
  LogicalResult result = success();
  emitLoop(math().constant(0), task.rows, 1, [&](Value row) {
    auto finish = [&](Value sums, const Tile &tile, int64_t vector) -> FailureOr<Value> {
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
    };
    OpFoldResult place = math().mul(row, math().constant(tiling.columns()));
    SmallVector<Value> index = getIndex(row);
    result = emitRowEpilogue(builder, loc, elements, problem.result, problem.output, output, scratch, place,
                             index, columns, tiling.lanes, finish);
  });
  return result;
}

FailureOr<TaskSplit> cpu::splitIntegerMatMul(EmitContext &context, MatMulProblem &problem) {
  MatMulGrid grid(context, problem, getGridTiling(context.target), getGrainOperations(context.target),
                  /*elementBytes=*/1);
  IndexMath math{context.builder, problem.root->getLoc()};
  return TaskSplit{math.value(grid.tasks), math.value(grid.grain)};
}

LogicalResult cpu::emitIntegerMatMul(EmitContext &context, MatMulProblem &problem) {
  return IntegerMatMulEmitter(context, problem).emit();
}
