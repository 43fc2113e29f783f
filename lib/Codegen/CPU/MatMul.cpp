// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Matrix products. A task computes one column of register tiles for a block of rows
/// into a scratch buffer that stays in the first-level cache, then runs the epilogue row by row: one copy of
/// its code, for all tile heights, at the price of one load and store per result vector.

#include "ColumnTile.h"
#include "MatMulProblem.h"
#include "PackedPanels.h"
#include "lathe/Codegen/CPU/ElementEmitter.h"
#include "lathe/Codegen/CPU/IndexMath.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cpu;

namespace {

/// Operations that take some 10 microseconds.
constexpr int64_t kGrainOperations = 500000;

/// How much of the reduced dimension is packed at a time.
constexpr int64_t kPackedDepth = 256;

/// How much of it is decoded at a time: with as much of the rows of a task it stays in the first-level cache.
constexpr int64_t kDecodedDepth = 128;

/// How far ahead of itself, in elements, a low tile fetches its panel: two pages of memory, where what the
/// processor fetches on its own ends at the first.
constexpr int64_t kStreamAhead = 2048;

class MatMulEmitter {
public:
  MatMulEmitter(EmitContext &context, MatMulProblem &problem)
      : context(context), builder(context.builder), loc(problem.root->getLoc()), problem(problem),
        tiling(chooseMatMulTiling(context.target, 32)),
        grid(context, problem, tiling, kGrainOperations, /*elementBytes=*/4),
        vectorType(VectorType::get({tiling.lanes}, builder.getF32Type())), elements(context) {}

  LogicalResult emit();

private:
  IndexMath math() { return {builder, loc}; }
  /// Calls `body` in a loop over [begin, end) by `step`.
  void emitLoop(OpFoldResult begin, OpFoldResult end, int64_t step, llvm::function_ref<void(Value)> body);

  LogicalResult findLhs();
  LogicalResult findRhs();
  void chooseDepth();

  LogicalResult emitTask(Value number);
  LogicalResult emitColumns(const MatMulGrid::Task &task, const ColumnTile &columns);
  void emitSums(const MatMulGrid::Task &task, const ColumnTile &columns);
  void emitDepthBlock(const MatMulGrid::Task &task, const ColumnTile &columns, Value firstDepth,
                      OpFoldResult depth);
  /// The tiles of full height, of the rows below `done`.
  void emitFullTiles(const MatMulGrid::Task &task, const ColumnTile &columns, OpFoldResult done,
                     Value firstDepth, OpFoldResult depth, const MatrixRef &rhsRef);
  void emitTile(const MatMulGrid::Task &task, const ColumnTile &columns, int64_t height, Value row,
                Value firstDepth, OpFoldResult depth, const MatrixRef &rhsRef,
                const PrefetchStream &prefetch);
  /// What tile number `row / rows` fetches: its share of the next panel.
  PrefetchStream getShareOfNext(Value row, OpFoldResult depth, const MatrixRef &rhsRef, int64_t lines);
  /// The left-hand side from (row, firstDepth) of the task on.
  MatrixRef getLhs(const MatMulGrid::Task &task, Value row, OpFoldResult firstDepth);
  /// The right-hand side from row `firstDepth` on at the columns of the task.
  MatrixRef getRhs(const MatMulGrid::Task &task, Value firstDepth, OpFoldResult depth);
  void packTransposed(const MatMulGrid::Task &task, const MatrixRef &source, OpFoldResult depth);
  void packElements(const MatMulGrid::Task &task, const MatrixRef &source, OpFoldResult depth);
  /// Evaluates [rows, columns] elements of a tensor whose leading index is `leading`, from (firstRow,
  /// firstColumn) on, into a buffer with rows of `width` elements, a multiple of the lanes.
  void packEvaluated(Value tensor, ArrayRef<OpFoldResult> leading, OpFoldResult firstRow,
                     OpFoldResult firstColumn, OpFoldResult rows, OpFoldResult columns, Value buffer,
                     int64_t width);
  /// The rows of the left-hand side that a task reads, from column `firstDepth` on, where no strides describe
  /// it.
  void packLhs(const MatMulGrid::Task &task, Value firstDepth, OpFoldResult depth);
  LogicalResult emitEpilogue(const MatMulGrid::Task &task, const ColumnTile &columns);
  /// The cache lines of a panel that one unrolled step reads.
  int64_t stepLines() const { return getStepLines(tiling, panelWidth); }

  EmitContext &context;
  OpBuilder &builder;
  Location loc;
  MatMulProblem &problem;
  MatMulTiling tiling;
  MatMulGrid grid;
  VectorType vectorType;

  StridedView lhs, rhs;
  OpFoldResult lhsRowStride;
  std::optional<PackedPanels> packed;
  Value isFew; ///< Whether packed panels are multiplied with few rows; null if they never are.
  /// The width of the panels of the right-hand side, 0 if it is a matrix with strides.
  int64_t panelWidth = 0;
  bool packs = false, readsInPlace = false;
  /// Operands that are no views of inputs: evaluated into scratch buffers.
  bool evaluatesLhs = false, evaluatesRhs = false;
  OpFoldResult blockDepth;
  bool isBlocked = false;
  Value scratch, packScratch, lhsScratch;
  SmallVector<StridedView> epilogueViews;
  int64_t lhsWidth = 0;
  SmallVector<OpFoldResult> lhsDims, rhsDims;
  ElementEmitter elements;
  LogicalResult status = success();
};

} // namespace

void MatMulEmitter::emitLoop(OpFoldResult begin, OpFoldResult end, int64_t step,
                             llvm::function_ref<void(Value)> body) {
  scf::ForOp::create(builder, loc, math().value(begin), math().value(end),
                     math().value(math().constant(step)), ValueRange(),
                     [&](OpBuilder &, Location, Value iv, ValueRange) {
                       body(iv);
                       scf::YieldOp::create(builder, loc);
                     });
}

LogicalResult MatMulEmitter::findLhs() {
  FailureOr<ArrayRef<OpFoldResult>> dims = context.shapes.getDims(problem.lhs);
  if (failed(dims)) {
    return problem.root->emitOpError("has a left operand of unknown shape");
  }
  lhsDims.assign(dims->begin(), dims->end());
  if (FailureOr<StridedView> view = getStridedView(context, problem.lhs); succeeded(view)) {
    lhs = *view;
    lhsRowStride = *std::prev(lhs.strides.end(), 2);
    return success();
  }
  evaluatesLhs = true;
  lhsWidth = kPackedDepth;
  lhsScratch = makeScratch(builder, loc, builder.getF32Type(), tiling.blockRows * lhsWidth);
  lhsRowStride = math().constant(lhsWidth);
  return success();
}

LogicalResult MatMulEmitter::findRhs() {
  if ((packed = PackedPanels::find(context, problem.rhs))) {
    packs = true;
    return success();
  }
  auto input = problem.rhs.getDefiningOp<kernel::InputOp>();
  if (auto argument = input ? dyn_cast<BlockArgument>(input.getBytes()) : BlockArgument()) {
    auto panel = context.kernel.getArgAttrOfType<nn::PanelAttr>(argument.getArgNumber(),
                                                                kernel::KernelDialect::kPanelAttr);
    if (panel) {
      panelWidth = panel.getWidth();
      if (panel.getInterleave() != 1 || panelWidth % tiling.columns() != 0 ||
          !getConstantIntValue(problem.n)) {
        return problem.root->emitOpError()
               << "cannot read panels of " << panelWidth << " x " << panel.getInterleave()
               << " with a tile of " << tiling.columns() << " columns";
      }
      OpFoldResult columns =
          math().mul(math().ceilDiv(problem.n, math().constant(panelWidth)), math().constant(panelWidth));
      Value size = math().value(math().mul(problem.k, columns));
      Value zero = math().value(math().constant(0));
      auto type = MemRefType::get({ShapedType::kDynamic}, builder.getF32Type());
      rhs.base = memref::ViewOp::create(builder, loc, type, input.getBytes(), zero, ValueRange{size});
      return success();
    }
  }
  FailureOr<ArrayRef<OpFoldResult>> dims = context.shapes.getDims(problem.rhs);
  if (failed(dims)) {
    return problem.root->emitOpError("has a right operand of unknown shape");
  }
  rhsDims.assign(dims->begin(), dims->end());
  FailureOr<StridedView> view = getStridedView(context, problem.rhs);
  if (failed(view)) {
    packs = evaluatesRhs = true;
    return success();
  }
  rhs = *view;
  packs = !isConstantSize(rhs.strides.back(), 1);
  readsInPlace = !packs;
  return success();
}

/// Packed columns must fit on the stack, and panels into the second-level cache.
void MatMulEmitter::chooseDepth() {
  int64_t limit = packed ? kDecodedDepth : packs || evaluatesLhs ? kPackedDepth : tiling.blockDepth;
  int64_t unit = packed ? packed->getWordRows() : 4;
  std::optional<int64_t> depth = getConstantIntValue(problem.k);
  if (depth && *depth <= limit) {
    blockDepth = problem.k;
    return;
  }
  isBlocked = true;
  blockDepth = math().constant(limit);
  if (depth) {
    // Equal blocks without a remainder, if there are such of at least half the size.
    int64_t blocks = llvm::divideCeil(*depth, limit);
    for (int64_t count = blocks; count <= 2 * blocks; ++count) {
      if (*depth % (unit * count) == 0) {
        blockDepth = math().constant(*depth / count);
        return;
      }
    }
  }
}

LogicalResult MatMulEmitter::emit() {
  if (failed(findLhs()) || failed(findRhs())) {
    return failure();
  }
  chooseDepth();
  epilogueViews = getEpilogueViews(context, problem.result, problem.output);
  scratch = makeScratch(builder, loc, builder.getF32Type(), tiling.blockRows * tiling.columns());
  if (packs) {
    int64_t depth = llvm::alignTo(*getConstantIntValue(blockDepth), 16);
    packScratch = makeScratch(builder, loc, builder.getF32Type(), depth * tiling.columns());
  }
  if (packed && packed->hasWholeWords() && !evaluatesLhs && problem.batch.empty()) {
    MatMulGrid::Task all{{}, math().constant(0), problem.m, math().constant(0)};
    MatrixRef rows = getLhs(all, math().value(math().constant(0)), math().constant(0));
    isFew = packed->prepareFewRows(builder, loc, context.target, problem.m, rows);
  }
  LogicalResult result = success();
  emitLoop(context.begin, context.end, 1, [&](Value number) { result = emitTask(number); });
  return failed(status) ? status : result;
}

LogicalResult MatMulEmitter::emitTask(Value number) {
  MatMulGrid::Task task = grid.decode(builder, loc, problem, tiling, number);
  return emitColumnTile(builder, loc, tiling, problem.n, task.firstColumn,
                        [&](const ColumnTile &columns) { return emitColumns(task, columns); });
}

LogicalResult MatMulEmitter::emitColumns(const MatMulGrid::Task &task, const ColumnTile &columns) {
  if (!isFew) {
    emitSums(task, columns);
    return emitEpilogue(task, columns);
  }
  auto choose = scf::IfOp::create(builder, loc, isFew, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToStart(choose.thenBlock());
  MatrixRef rows = getLhs(task, math().value(math().constant(0)), math().constant(0));
  packed->emitFewRows(builder, loc, tiling, task.rows, rows, task.firstColumn, scratch);
  builder.setInsertionPointToStart(choose.elseBlock());
  emitSums(task, columns);
  builder.setInsertionPointAfter(choose);
  return emitEpilogue(task, columns);
}

void MatMulEmitter::emitSums(const MatMulGrid::Task &task, const ColumnTile &columns) {
  if (!isBlocked) {
    emitDepthBlock(task, columns, math().value(math().constant(0)), blockDepth);
  } else {
    int64_t step = *getConstantIntValue(blockDepth);
    std::optional<int64_t> depth = getConstantIntValue(problem.k);
    bool isEven = depth && *depth % step == 0;
    emitLoop(math().constant(0), problem.k, step, [&](Value firstDepth) {
      OpFoldResult left = math().sub(problem.k, firstDepth);
      emitDepthBlock(task, columns, firstDepth, isEven ? blockDepth : math().min(blockDepth, left));
    });
  }
}

MatrixRef MatMulEmitter::getRhs(const MatMulGrid::Task &task, Value firstDepth, OpFoldResult depth) {
  OpFoldResult one = math().constant(1);
  if (panelWidth) {
    OpFoldResult width = math().constant(panelWidth);
    OpFoldResult panel = math().mul(math().floorDiv(task.firstColumn, width), math().mul(problem.k, width));
    OpFoldResult offset = math().add(panel, math().rem(task.firstColumn, width));
    offset = math().add(offset, math().mul(firstDepth, width));
    return {rhs.base, math().value(offset), width, one};
  }
  MatrixRef packedRef{packScratch, math().value(math().constant(0)), math().constant(tiling.columns()), one};
  if (packed) {
    packed->decode(builder, loc, tiling, task.firstColumn, firstDepth, depth, packScratch);
    return packedRef;
  }
  if (evaluatesRhs) {
    OpFoldResult columns =
        math().min(math().constant(tiling.columns()), math().sub(problem.n, task.firstColumn));
    SmallVector<OpFoldResult> leading =
        broadcastBatchIndex(builder, loc, ArrayRef(rhsDims).drop_back(2), task.batchIndex);
    packEvaluated(problem.rhs, leading, firstDepth, task.firstColumn, depth, columns, packScratch,
                  tiling.columns());
    return packedRef;
  }
  size_t rank = rhs.strides.size();
  OpFoldResult rowStride = rhs.strides[rank - 2], columnStride = rhs.strides[rank - 1];
  OpFoldResult offset =
      math().add(getBatchOffset(builder, loc, rhs, task.batchIndex), math().mul(firstDepth, rowStride));
  offset = math().add(offset, math().mul(task.firstColumn, columnStride));
  MatrixRef source{rhs.base, math().value(offset), rowStride, columnStride};
  if (!packs) {
    return source;
  }
  if (isConstantSize(rowStride, 1)) {
    packTransposed(task, source, depth);
  } else {
    packElements(task, source, depth);
  }
  return packedRef;
}

void MatMulEmitter::packEvaluated(Value tensor, ArrayRef<OpFoldResult> leading, OpFoldResult firstRow,
                                  OpFoldResult firstColumn, OpFoldResult rows, OpFoldResult columns,
                                  Value buffer, int64_t width) {
  auto maskType = VectorType::get({tiling.lanes}, builder.getI1Type());
  emitLoop(math().constant(0), rows, 1, [&](Value row) {
    emitLoop(math().constant(0), columns, tiling.lanes, [&](Value column) {
      SmallVector<OpFoldResult> index(leading);
      index.push_back(math().add(firstRow, row));
      index.push_back(math().add(firstColumn, column));
      Value mask =
          vector::CreateMaskOp::create(builder, loc, maskType, math().value(math().sub(columns, column)));
      elements.reset();
      FailureOr<Value> value = elements.evaluate(tensor, Tile{math().values(index), tiling.lanes, mask});
      if (failed(value)) {
        status = failure();
        return;
      }
      OpFoldResult place = math().add(math().mul(row, math().constant(width)), column);
      vector::StoreOp::create(builder, loc, *value, buffer, ValueRange{math().value(place)});
    });
  });
}

void MatMulEmitter::packLhs(const MatMulGrid::Task &task, Value firstDepth, OpFoldResult depth) {
  SmallVector<OpFoldResult> leading =
      broadcastBatchIndex(builder, loc, ArrayRef(lhsDims).drop_back(2), task.batchIndex);
  packEvaluated(problem.lhs, leading, task.firstRow, firstDepth, task.rows, depth, lhsScratch, lhsWidth);
}

/// Columns are contiguous: transposes square blocks in registers.
void MatMulEmitter::packTransposed(const MatMulGrid::Task &task, const MatrixRef &source,
                                   OpFoldResult depth) {
  int64_t lanes = tiling.lanes;
  OpFoldResult lastColumn = math().sub(math().sub(problem.n, task.firstColumn), math().constant(1));
  auto maskType = VectorType::get({lanes}, builder.getI1Type());
  Value zero = arith::ConstantOp::create(builder, loc, builder.getZeroAttr(vectorType));
  emitLoop(math().constant(0), depth, lanes, [&](Value k) {
    Value mask = vector::CreateMaskOp::create(builder, loc, maskType, math().value(math().sub(depth, k)));
    emitLoop(math().constant(0), math().constant(tiling.columns()), lanes, [&](Value firstColumn) {
      SmallVector<Value> columns;
      for (int64_t lane = 0; lane < lanes; ++lane) {
        // Columns that do not exist repeat the last one: nothing uses them.
        OpFoldResult column = math().min(math().add(firstColumn, math().constant(lane)), lastColumn);
        OpFoldResult index =
            math().add(math().add(source.offset, k), math().mul(column, source.columnStride));
        columns.push_back(vector::MaskedLoadOp::create(builder, loc, vectorType, source.base,
                                                       ValueRange{math().value(index)}, mask, zero));
      }
      for (auto [row, value] : llvm::enumerate(emitTranspose(builder, loc, columns))) {
        OpFoldResult index =
            math().mul(math().add(k, math().constant(row)), math().constant(tiling.columns()));
        vector::StoreOp::create(builder, loc, value, packScratch,
                                ValueRange{math().value(math().add(index, firstColumn))});
      }
    });
  });
}

void MatMulEmitter::packElements(const MatMulGrid::Task &task, const MatrixRef &source, OpFoldResult depth) {
  OpFoldResult lastColumn = math().sub(math().sub(problem.n, task.firstColumn), math().constant(1));
  emitLoop(math().constant(0), math().constant(tiling.columns()), 1, [&](Value column) {
    OpFoldResult from =
        math().add(source.offset, math().mul(math().min(column, lastColumn), source.columnStride));
    emitLoop(math().constant(0), depth, 1, [&](Value k) {
      Value element =
          memref::LoadOp::create(builder, loc, source.base,
                                 ValueRange{math().value(math().add(from, math().mul(k, source.rowStride)))});
      OpFoldResult to = math().add(math().mul(k, math().constant(tiling.columns())), column);
      memref::StoreOp::create(builder, loc, element, packScratch, ValueRange{math().value(to)});
    });
  });
}

void MatMulEmitter::emitDepthBlock(const MatMulGrid::Task &task, const ColumnTile &columns, Value firstDepth,
                                   OpFoldResult depth) {
  if (evaluatesLhs) {
    packLhs(task, firstDepth, depth);
  }
  MatrixRef rhsRef = getRhs(task, firstDepth, depth);
  OpFoldResult height = math().constant(tiling.rows);
  OpFoldResult done = math().mul(math().floorDiv(task.rows, height), height);
  emitFullTiles(task, columns, done, firstDepth, depth, rhsRef);
  // One tile of exactly the height that is left: a second pass over the right-hand side would cost as much as
  // the first when there are few rows. It streams through the panel, at few rows from memory, and fetches
  // ahead.
  PrefetchStream stream;
  if (panelWidth) {
    stream = {math().constant(kStreamAhead), stepLines()};
  }
  SmallVector<int64_t> heights = llvm::to_vector(llvm::seq<int64_t>(1, tiling.rows));
  Value left = math().value(math().sub(task.rows, done));
  auto choose = scf::IndexSwitchOp::create(builder, loc, TypeRange(), left, heights, heights.size());
  for (auto [height, region] : llvm::zip_equal(heights, choose.getCaseRegions())) {
    OpBuilder::InsertionGuard guard(builder);
    builder.createBlock(&region);
    emitTile(task, columns, height, math().value(done), firstDepth, depth, rhsRef, stream);
    scf::YieldOp::create(builder, loc);
  }
  OpBuilder::InsertionGuard guard(builder);
  builder.createBlock(&choose.getDefaultRegion());
  scf::YieldOp::create(builder, loc);
}

/// The panel that is needed next follows this one in memory. The tiles of a task fetch equal parts of it:
/// what the first tile reads would otherwise come from memory while nothing computes.
void MatMulEmitter::emitFullTiles(const MatMulGrid::Task &task, const ColumnTile &columns, OpFoldResult done,
                                  Value firstDepth, OpFoldResult depth, const MatrixRef &rhsRef) {
  auto emitTiles = [&](int64_t lines) {
    emitLoop(math().constant(0), done, tiling.rows, [&](Value row) {
      emitTile(task, columns, tiling.rows, row, firstDepth, depth, rhsRef,
               getShareOfNext(row, depth, rhsRef, lines));
    });
  };
  if (!panelWidth) {
    emitTiles(0);
    return;
  }
  emitPrefetchingTiles(builder, loc, tiling, done, stepLines(), emitTiles);
}

PrefetchStream MatMulEmitter::getShareOfNext(Value row, OpFoldResult depth, const MatrixRef &rhsRef,
                                             int64_t lines) {
  if (lines == 0) {
    return {};
  }
  OpFoldResult number = math().floorDiv(row, math().constant(tiling.rows));
  OpFoldResult share = getPrefetchShare(builder, loc, number, lines, stepLines());
  return {math().add(math().mul(depth, rhsRef.rowStride), share), lines};
}

MatrixRef MatMulEmitter::getLhs(const MatMulGrid::Task &task, Value row, OpFoldResult firstDepth) {
  if (evaluatesLhs) {
    Value offset = math().value(math().mul(row, lhsRowStride));
    return {lhsScratch, offset, lhsRowStride, math().constant(1)};
  }
  OpFoldResult offset = getBatchOffset(builder, loc, lhs, task.batchIndex);
  offset = math().add(offset, math().mul(math().add(task.firstRow, row), lhsRowStride));
  offset = math().add(offset, math().mul(firstDepth, lhs.strides.back()));
  return {lhs.base, math().value(offset), lhsRowStride, lhs.strides.back()};
}

void MatMulEmitter::emitTile(const MatMulGrid::Task &task, const ColumnTile &columns, int64_t height,
                             Value row, Value firstDepth, OpFoldResult depth, const MatrixRef &rhsRef,
                             const PrefetchStream &prefetch) {
  RegisterTile tile = tiling.tile(height, columns.vectors);
  MatrixRef lhsRef = getLhs(task, row, firstDepth);

  SmallVector<Value> places;
  OpFoldResult place = math().mul(row, math().constant(tiling.columns()));
  for (int64_t i = 0; i < tile.sums(); ++i) {
    int64_t ahead = i / tile.vectors * tiling.columns() + i % tile.vectors * tiling.lanes;
    places.push_back(math().value(math().add(place, math().constant(ahead))));
  }
  // Deep products have time enough.
  if (!isBlocked) {
    for (int64_t i = 0; i < tile.rows; ++i) {
      Value rowOfAll = math().value(math().add(math().add(task.firstRow, row), math().constant(i)));
      SmallVector<Value> index =
          problem.resultIndex(builder, loc, task.batchIndex, rowOfAll, math().value(task.firstColumn));
      prefetchEpilogue(builder, loc, epilogueViews, index, columns.vectors, tiling.lanes);
    }
  }
  Value zero = arith::ConstantOp::create(builder, loc, builder.getZeroAttr(vectorType));
  SmallVector<Value> sums(tile.sums(), zero);
  if (isBlocked) {
    Value isFirst = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::eq, firstDepth,
                                          math().value(math().constant(0)));
    for (auto [sum, place] : llvm::zip_equal(sums, places)) {
      Value before = vector::LoadOp::create(builder, loc, vectorType, scratch, ValueRange{place});
      sum = arith::SelectOp::create(builder, loc, isFirst, zero, before);
    }
  }
  ArrayRef<Value> masks = readsInPlace ? ArrayRef(columns.masks) : ArrayRef<Value>();
  sums = emitRegisterTile(builder, loc, tile, lhsRef, rhsRef, depth, sums, masks, prefetch);
  for (auto [sum, place] : llvm::zip_equal(sums, places)) {
    vector::StoreOp::create(builder, loc, sum, scratch, ValueRange{place});
  }
}

LogicalResult MatMulEmitter::emitEpilogue(const MatMulGrid::Task &task, const ColumnTile &columns) {
  StridedView output = getOutputView(context, problem.output);
  LogicalResult result = success();
  emitLoop(math().constant(0), task.rows, 1, [&](Value row) {
    OpFoldResult place = math().mul(row, math().constant(tiling.columns()));
    Value rowOfAll = math().value(math().add(task.firstRow, row));
    SmallVector<Value> index =
        problem.resultIndex(builder, loc, task.batchIndex, rowOfAll, math().value(task.firstColumn));
    result = emitRowEpilogue(builder, loc, elements, problem.result, problem.output, output, scratch, place,
                             index, columns, tiling.lanes);
  });
  return result;
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
  MatMulGrid grid(context, *problem, chooseMatMulTiling(context.target, 32), kGrainOperations,
                  /*elementBytes=*/4);
  IndexMath math{context.builder, problem->root->getLoc()};
  return TaskSplit{math.value(grid.tasks), math.value(grid.grain)};
}

static LogicalResult emitMatMul(EmitContext &context) {
  FailureOr<MatMulProblem> problem = analyzeMatMul(context);
  if (failed(problem)) {
    return failure();
  }
  return isOnBytes(*problem) ? emitIntegerMatMul(context, *problem) : MatMulEmitter(context, *problem).emit();
}

Emitter cpu::getMatMulEmitter() { return {splitMatMul, emitMatMul}; }
