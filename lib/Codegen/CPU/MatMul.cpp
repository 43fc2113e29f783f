// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Matrix products of f32 and of bf16. Sums are f32.

#include "MatMulEmitter.h"

#include "BlockMatMul.h"

#include "lathe/Codegen/Math/Emitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cpu;

namespace {

/// Blocks of rows for matrix registers: their sums fill a third of a first-level cache.
constexpr int64_t kMatrixBlockRows = 128;

/// How far ahead of itself, in elements or pairs, a low tile fetches its panel: two pages of memory, where
/// what the processor fetches on its own ends at the first.
constexpr int64_t kStreamAhead = 2048;

std::optional<MatrixTiles::Element> getMatrixElement(const TargetSpec &target, Factors factors) {
  bool isSupported =
      factors == Factors::Pairs && MatrixTiles::isSupported(target, MatrixTiles::Element::BF16);
  return isSupported ? std::optional(MatrixTiles::Element::BF16) : std::nullopt;
}

/// The tiling of a grid of tasks; matrix registers take more rows at a time.
MatMulTiling getGridTiling(const TargetSpec &target, const MatMulProblem &problem, Factors factors) {
  MatMulTiling tiling = chooseMatMulTiling(target, factors);
  tiling.blockRows = PackedPanels::getBlockRows(target, problem, tiling);
  if (getMatrixElement(target, factors)) {
    tiling.rows = 2 * MatrixTiles::kRows;
    tiling.blockRows = kMatrixBlockRows;
  }
  return tiling;
}

/// Operations that take some 10 microseconds.
int64_t getGrainOperations(const TargetSpec &target, Factors factors) {
  if (getMatrixElement(target, factors)) {
    return 4000000;
  }
  return factors == Factors::Pairs && target.hasAVX512BF16 ? 1000000 : 500000;
}

/// Bytes of an element of the operand that is read from the second-level cache most.
int64_t getElementBytes(Factors factors) { return factors == Factors::Floats ? 4 : 2; }

} // namespace

MatMulEmitter::MatMulEmitter(EmitContext &context, MatMulProblem &problem, Factors factors)
    : ProductEmitter(context, problem, chooseMatMulTiling(context.target, factors),
                     getGridTiling(context.target, problem, factors),
                     getGrainOperations(context.target, factors), getElementBytes(factors),
                     context.builder.getF32Type()),
      factors(factors) {}

LogicalResult MatMulEmitter::emit() {
  if (failed(findSizes()) || failed(findLhs()) || failed(findRhs())) {
    return failure();
  }
  chooseDepth();
  epilogueViews = getEpilogueViews(context, problem.result, problem.output);
  if (packed && packed->hasWholeUnits() && !evaluatesLhs && problem.batch.empty()) {
    MatMulGrid::Task all{{}, math().constant(0), problem.m, math().constant(0)};
    MatrixRef rows = getLhs(all, zeroIndex(), math().constant(0));
    if (packed->makeRoundedRows(builder, loc, context.target, rows, gridTiling.blockRows)) {
      // All tasks of a block of rows one after the other: they are split once.
      grid.groupSize = math().constant(1);
      splitBlock = makeScratch(builder, loc, builder.getIndexType(), 1);
      memref::StoreOp::create(builder, loc, math().value(math().constant(-1)), splitBlock, zeroIndex());
    } else {
      isFew = packed->prepareFewRows(builder, loc, context.target, problem.m, rows);
    }
  }
  return emitTasks(getMatrixElement(context.target, factors));
}

void MatMulEmitter::emitRounded(const MatMulGrid::Task &task) {
  MatrixRef rows = getLhs(task, zeroIndex(), math().constant(0));
  Value first = math().value(task.firstRow);
  Value before = memref::LoadOp::create(builder, loc, splitBlock, zeroIndex());
  emitIf(arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ne, before, first), [&] {
    packed->splitRows(builder, loc, task.rows, rows);
    memref::StoreOp::create(builder, loc, first, splitBlock, zeroIndex());
  });
  packed->emitFewRows(builder, loc, tiling, task.rows, rows, task.firstColumn, scratch);
}

FailureOr<Value> MatMulEmitter::finishSums(Value sums) {
  Type result = cast<RankedTensorType>(problem.result.getType()).getElementType();
  return lathe::Emitter(builder, loc).toFloat(sums, result);
}

LogicalResult MatMulEmitter::emitColumns(const MatMulGrid::Task &task, const ColumnTile &columns) {
  finishesTiles = !isBlocked && !matrices && !packed && hasShortEpilogue(problem.result, problem.output);
  if (finishesTiles) {
    emitSums(task, columns);
    return success();
  }
  if (splitBlock) {
    emitRounded(task);
  } else if (isFew) {
    emitIf(
        isFew,
        [&] {
          MatrixRef rows = getLhs(task, zeroIndex(), math().constant(0));
          packed->emitFewRows(builder, loc, tiling, task.rows, rows, task.firstColumn, scratch);
        },
        [&] { emitSums(task, columns); });
  } else {
    emitSums(task, columns);
  }
  return emitRows(task, columns, [&](Value, Value sums, const Tile &, int64_t) { return finishSums(sums); });
}

void MatMulEmitter::emitSums(const MatMulGrid::Task &task, const ColumnTile &columns) {
  if (!isBlocked) {
    emitDepthBlock(task, columns, zeroIndex(), blockDepth, /*isFirst=*/{});
    return;
  }
  int64_t step = *getConstantIntValue(blockDepth);
  std::optional<int64_t> depth = getConstantIntValue(problem.k);
  bool isEven = depth && *depth % step == 0;
  // At least once, for sums of nothing.
  OpFoldResult end = math().max(problem.k, math().constant(1));
  emitLoop(math().constant(0), end, step, [&](Value firstDepth) {
    OpFoldResult left = math().sub(problem.k, firstDepth);
    Value isFirst = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::eq, firstDepth, zeroIndex());
    emitDepthBlock(task, columns, firstDepth, isEven ? blockDepth : math().min(blockDepth, left), isFirst);
  });
}

void MatMulEmitter::emitDepthBlock(const MatMulGrid::Task &task, const ColumnTile &columns, Value firstDepth,
                                   OpFoldResult depth, Value isFirst) {
  MatrixRef lhsRows = getLhs(task, firstDepth, depth), rhsRows = getRhs(task, firstDepth, depth);
  emitTiles(task, columns, lhsRows, rhsRows, depth, /*padded=*/depth, getGroup(factors), isFirst);
}

void MatMulEmitter::emitVectorTiles(const MatMulGrid::Task &task, const ColumnTile &columns,
                                    const MatrixRef &lhsRows, const MatrixRef &rhsRows, OpFoldResult depth,
                                    Value isFirst) {
  // One tile of exactly the height that is left: a second pass over the right-hand side would cost as much as
  // the first when there are few rows. It streams through the panel, at few rows from memory, and fetches
  // ahead.
  PrefetchStream stream;
  if (panelWidth) {
    stream = {math().constant(kStreamAhead), stepLines()};
  }
  emitHeights(
      task.rows,
      [&](OpFoldResult done) {
        auto emitTiles = [&](int64_t lines) {
          emitLoop(math().constant(0), done, tiling.rows, [&](Value row) {
            emitTile(task, columns, tiling.rows, row, lhsRows, rhsRows, depth, isFirst,
                     getShareOfNext(row, depth, rhsRows, lines));
          });
        };
        // The panel that is needed next follows this one in memory. The tiles of a task fetch equal parts of
        // it: what the first tile reads would otherwise come from memory while nothing computes. What matrix
        // registers leave over is too little to fetch along with.
        if (panelWidth && !matrices) {
          emitPrefetchingTiles(builder, loc, tiling, done, stepLines(), emitTiles);
        } else {
          emitTiles(0);
        }
      },
      [&](int64_t height, Value row) {
        emitTile(task, columns, height, row, lhsRows, rhsRows, depth, isFirst, stream);
      });
}

PrefetchStream MatMulEmitter::getShareOfNext(Value row, OpFoldResult depth, const MatrixRef &rhsRows,
                                             int64_t lines) {
  if (lines == 0) {
    return {};
  }
  OpFoldResult number = math().floorDiv(row, math().constant(tiling.rows));
  OpFoldResult share = getPrefetchShare(builder, loc, number, lines, stepLines());
  OpFoldResult steps = math().floorDiv(depth, math().constant(getGroup(factors)));
  return {math().add(math().mul(steps, math().constant(panelWidth)), share), lines};
}

void MatMulEmitter::emitTile(const MatMulGrid::Task &task, const ColumnTile &columns, int64_t height,
                             Value row, const MatrixRef &lhsRows, const MatrixRef &rhsRows,
                             OpFoldResult depth, Value isFirst, const PrefetchStream &prefetch) {
  RegisterTile tile = tiling.tile(height, columns.vectors);
  MatrixRef own = lhsRows;
  own.offset = math().value(math().add(lhsRows.offset, math().mul(row, lhsRows.rowStride)));
  SmallVector<Value> places = getPlaces(tile, row);
  // Deep products have time enough.
  if (!isBlocked && !matrices) {
    for (int64_t i = 0; i < tile.rows; ++i) {
      SmallVector<Value> index = resultIndex(task, math().add(row, math().constant(i)));
      prefetchEpilogue(builder, loc, epilogueViews, index, columns.vectors, tiling.lanes);
    }
  }
  ArrayRef<Value> masks = readsInPlace ? ArrayRef(columns.masks) : ArrayRef<Value>();
  SmallVector<Value> sums =
      emitRegisterTile(builder, loc, tile, own, rhsRows, depth, beginSums(places, isFirst), masks, prefetch);
  if (finishesTiles) {
    finishTile(task, columns, tile, row, sums,
               [&](Value value, const Tile &, int64_t) { return finishSums(value); });
  } else {
    storeSums(sums, places);
  }
}

static bool isOnBytes(const MatMulProblem &problem) {
  return cast<RankedTensorType>(problem.lhs.getType()).getElementType().isInteger(8);
}

static FailureOr<TaskSplit> splitMatMul(EmitContext &context) {
  FailureOr<MatMulProblem> problem = analyzeMatMul(context);
  if (failed(problem)) {
    return failure();
  }
  if (isOnBytes(*problem)) {
    return splitIntegerMatMul(context, *problem);
  }
  if (std::optional<BlockMatrix> blocks = BlockMatrix::find(context, problem->rhs)) {
    return splitBlockMatMul(context, *problem, *blocks);
  }
  Factors factors = getFactors(*problem);
  MatMulGrid grid(context, *problem, getGridTiling(context.target, *problem, factors),
                  getGrainOperations(context.target, factors), getElementBytes(factors));
  IndexMath math{context.builder, problem->root->getLoc()};
  return TaskSplit{math.value(grid.tasks), math.value(raisePackedGrain(math, *problem, grid.grain))};
}

static LogicalResult emitMatMul(EmitContext &context) {
  FailureOr<MatMulProblem> problem = analyzeMatMul(context);
  if (failed(problem)) {
    return failure();
  }
  if (isOnBytes(*problem)) {
    return emitIntegerMatMul(context, *problem);
  }
  if (std::optional<BlockMatrix> blocks = BlockMatrix::find(context, problem->rhs)) {
    return emitBlockMatMul(context, *problem, *blocks);
  }
  return MatMulEmitter(context, *problem, getFactors(*problem)).emit();
}

cpu::Emitter cpu::getMatMulEmitter() { return {splitMatMul, emitMatMul}; }
