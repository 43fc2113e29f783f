// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Products of f32 with a matrix of which blocks of one row are stored.
///
/// Vectors hold rows of the left-hand side: a stored element is multiplied with the whole vector, so it does
/// not matter how its neighbours lie. The rows of a task are transposed once, and read from the first-level
/// cache at the places of the blocks. Sums come out transposed, and are turned before the epilogue.

#include "BlockMatMul.h"

#include "ProductEmitter.h"
#include "lathe/Dialect/NN/IR/NNInteger.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cpu;
using pack::BlockLayout;

namespace {

/// Vectors of columns in a task, and the most vectors of rows: with as many registers, of blocks of several
/// columns four take 5 % less time on Sapphire Rapids, of single elements 3 to 10 % more.
constexpr int64_t kColumnVectors = 4, kRowVectors = 2, kTallRowVectors = 4;
/// Blocks of so many columns become rows of sums in registers.
constexpr int64_t kTurned = 4;
/// The memory, on the stack, that transposed rows may take.
constexpr int64_t kMostRowBytes = 512 << 10;
/// How far ahead of itself a product fetches blocks of several columns: they come from the third-level cache
/// or from memory, kStep of them in a line. Single elements are so few bytes that the processor follows by
/// itself, and one vector of rows multiplies too little while they come.
constexpr int64_t kBlocksAhead = 128;
/// Independent sums that hide the latency of multiply-adds, if there are registers for them.
constexpr int64_t kSums = 16, kFewSums = 8;

MatMulTiling getTiling(const TargetSpec &target, const BlockLayout &layout) {
  int64_t lanes = target.lanes(32), most = kMostRowBytes / (4 * lanes * layout.rows);
  bool isTall = target.vectorRegisters >= 32 && layout.blockColumns == kTurned;
  most = std::clamp<int64_t>(most, 1, isTall ? kTallRowVectors : kRowVectors);
  int64_t rowVectors = llvm::bit_floor(uint64_t(most));
  return {/*rows=*/lanes, /*vectors=*/kColumnVectors, lanes, /*blockRows=*/rowVectors * lanes,
          /*blockDepth=*/0};
}

/// Operations that take some 10 microseconds, were there no zeros.
constexpr int64_t kGrainOperations = 1000000;

class BlockMatMulEmitter : ProductEmitter {
public:
  BlockMatMulEmitter(EmitContext &context, MatMulProblem &problem, const BlockMatrix &matrix)
      : ProductEmitter(context, problem, getTiling(context.target, matrix.layout),
                       getTiling(context.target, matrix.layout), kGrainOperations, /*elementBytes=*/4,
                       context.builder.getF32Type()),
        matrix(matrix), depth(llvm::alignTo(matrix.layout.rows, tiling.lanes)) {
    // All columns of some rows, for which these are transposed, before the next rows.
    grid.groupSize = math().constant(1);
  }

  LogicalResult emit();

private:
  LogicalResult emitColumns(const MatMulGrid::Task &task, const ColumnTile &columns) override;
  /// The sums of a task by tiles of `vectors` vectors of rows, or half as many where that is enough.
  void emitHeight(const MatMulGrid::Task &task, const ColumnTile &columns, int64_t vectors);
  /// Transposes the rows of a task, unless those are there.
  void provideRows(const MatMulGrid::Task &task);
  void transposeRows(const MatMulGrid::Task &task, bool areAll);
  /// A vector of elements of a row.
  Value loadRow(const MatMulGrid::Task &task, OpFoldResult row, Value k);
  /// The sums of `vectors` vectors of rows.
  void emitSums(const MatMulGrid::Task &task, const ColumnTile &columns, int64_t vectors);
  void emitColumnBlock(Value column, OpFoldResult place, int64_t vectors);
  /// Turns the sums of kTurned columns into rows, from `column` of the tile on.
  void storeRows(ArrayRef<Value> sums, OpFoldResult column);
  /// One of the places of kStep blocks. They are read as one word: taken out of a vector, each would cost as
  /// much as two multiply-adds.
  Value getPlace(Value places, int64_t number);
  void turnSums(int64_t rowVectors, int64_t columnVectors);

  Value load(Value memory, OpFoldResult place) {
    return memref::LoadOp::create(builder, loc, memory, ValueRange{math().value(place)});
  }
  Value loadVector(Value memory, OpFoldResult place) {
    return vector::LoadOp::create(builder, loc, sumType, memory, ValueRange{math().value(place)});
  }
  void store(Value vector, Value memory, OpFoldResult place) {
    vector::StoreOp::create(builder, loc, vector, memory, ValueRange{math().value(place)});
  }
  Value toIndex(Value number) {
    return arith::IndexCastUIOp::create(builder, loc, builder.getIndexType(), number);
  }

  const BlockMatrix &matrix;
  /// The rows of the matrix, up to whole vectors.
  int64_t depth;
  std::optional<StridedView> lhs;
  /// The transposed rows, [depth][blockRows], and the number of the first of them, -1 at first. Sums of
  /// columns of a tile, [columns][blockRows].
  Value lhsColumns, provided, sumColumns;
  /// The places of kStep blocks at a time.
  Value placeSteps;
};

} // namespace

LogicalResult BlockMatMulEmitter::emit() {
  if (failed(findSizes())) {
    return failure();
  }
  FailureOr<StridedView> view = getStridedView(context, problem.lhs);
  if (succeeded(view) && isConstantSize(view->strides.back(), 1)) {
    lhs = *view;
  }
  Type element = builder.getF32Type();
  auto words = MemRefType::get({ShapedType::kDynamic}, builder.getI64Type());
  Value stored = math().value(math().constant(matrix.layout.count / BlockLayout::kStep));
  placeSteps =
      memref::ViewOp::create(builder, loc, words, matrix.bytes,
                             math().value(math().constant(matrix.layout.placesAt())), ValueRange{stored});
  lhsColumns = makeScratch(builder, loc, element, depth * tiling.blockRows);
  if (matrix.layout.blockColumns != kTurned) {
    sumColumns = makeScratch(builder, loc, element, tiling.columns() * tiling.blockRows);
  }
  provided = makeScratch(builder, loc, builder.getIndexType(), 1);
  memref::StoreOp::create(builder, loc, math().value(math().constant(-1)), provided, ValueRange{zeroIndex()});
  return emitTasks(/*element=*/std::nullopt);
}

LogicalResult BlockMatMulEmitter::emitColumns(const MatMulGrid::Task &task, const ColumnTile &columns) {
  provideRows(task);
  emitHeight(task, columns, tiling.blockRows / tiling.lanes);
  return emitRows(task, columns);
}

void BlockMatMulEmitter::emitHeight(const MatMulGrid::Task &task, const ColumnTile &columns,
                                    int64_t vectors) {
  if (vectors == 1) {
    emitSums(task, columns, 1);
    return;
  }
  int64_t half = vectors / 2;
  Value isTall = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ugt, math().value(task.rows),
                                       math().value(math().constant(half * tiling.lanes)));
  emitIf(isTall, [&] { emitSums(task, columns, vectors); }, [&] { emitHeight(task, columns, half); });
}

//===----------------------------------------------------------------------===//
// Rows of the left-hand side
//===----------------------------------------------------------------------===//

void BlockMatMulEmitter::provideRows(const MatMulGrid::Task &task) {
  OpFoldResult number = task.firstRow;
  if (!problem.batch.empty()) {
    number = math().add(number, math().mul(math().linearize(task.batchIndex, problem.batch), problem.m));
  }
  Value own = math().value(number);
  Value isNew =
      arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ne, own, load(provided, math().constant(0)));
  emitIf(isNew, [&] {
    Value areAll = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::eq, math().value(task.rows),
                                         math().value(math().constant(tiling.blockRows)));
    emitIf(areAll, [&] { transposeRows(task, true); }, [&] { transposeRows(task, false); });
    memref::StoreOp::create(builder, loc, own, provided, ValueRange{zeroIndex()});
  });
}

Value BlockMatMulEmitter::loadRow(const MatMulGrid::Task &task, OpFoldResult row, Value k) {
  bool isWhole = matrix.layout.rows % tiling.lanes == 0;
  Value mask;
  if (!isWhole || !lhs) {
    auto maskType = VectorType::get({tiling.lanes}, builder.getI1Type());
    OpFoldResult left = math().sub(math().constant(matrix.layout.rows), k);
    mask = vector::CreateMaskOp::create(builder, loc, maskType, math().value(left));
  }
  if (!lhs) {
    return evaluate(problem.lhs, lhsDims, task, math().add(task.firstRow, row), k, tiling.lanes, mask);
  }
  OpFoldResult rowStride = *std::prev(lhs->strides.end(), 2);
  OpFoldResult place = getBatchOffset(builder, loc, *lhs, task.batchIndex);
  place = math().add(place, math().mul(task.firstRow, rowStride));
  place = math().add(math().add(place, k), math().mul(row, rowStride));
  if (isWhole) {
    return loadVector(lhs->base, place);
  }
  Value zero = arith::ConstantOp::create(builder, loc, builder.getZeroAttr(sumType));
  return vector::MaskedLoadOp::create(builder, loc, sumType, lhs->base, ValueRange{math().value(place)}, mask,
                                      zero);
}

void BlockMatMulEmitter::transposeRows(const MatMulGrid::Task &task, bool areAll) {
  OpFoldResult last = math().sub(task.rows, math().constant(1));
  OpFoldResult height = areAll ? math().constant(tiling.blockRows) : task.rows;
  auto transposeTile = [&](Value first, Value k) {
    SmallVector<Value> rows;
    for (int64_t i = 0; i < tiling.lanes; ++i) {
      // Rows that do not exist repeat the last one: nothing uses their sums.
      OpFoldResult row = math().add(first, math().constant(i));
      rows.push_back(loadRow(task, areAll ? row : math().min(row, last), k));
    }
    for (auto [i, column] : llvm::enumerate(emitTranspose(builder, loc, rows))) {
      OpFoldResult place = math().mul(math().add(k, math().constant(i)), math().constant(tiling.blockRows));
      store(column, lhsColumns, math().add(place, first));
    }
  };
  // Along a few rows at a time: the processor fetches ahead in so many, not in those of all vectors.
  emitLoop(math().constant(0), height, tiling.lanes, [&](Value first) {
    emitLoop(math().constant(0), math().constant(depth), tiling.lanes,
             [&](Value k) { transposeTile(first, k); });
  });
}

//===----------------------------------------------------------------------===//
// Sums
//===----------------------------------------------------------------------===//

void BlockMatMulEmitter::emitSums(const MatMulGrid::Task &task, const ColumnTile &columns, int64_t vectors) {
  const BlockLayout &layout = matrix.layout;
  OpFoldResult width = math().constant(layout.blockColumns);
  OpFoldResult first = math().floorDiv(task.firstColumn, width);
  OpFoldResult count = math().constant(tiling.columns() / layout.blockColumns);
  count = math().min(count, math().sub(math().constant(layout.columnBlocks()), first));
  emitLoop(math().constant(0), count, 1, [&](Value block) {
    OpFoldResult place = math().mul(block, math().constant(layout.blockColumns * tiling.blockRows));
    emitColumnBlock(math().value(math().add(first, block)), place, vectors);
  });
  if (sumColumns) {
    turnSums(vectors, columns.vectors);
  }
}

void BlockMatMulEmitter::emitColumnBlock(Value column, OpFoldResult place, int64_t vectors) {
  int64_t width = matrix.layout.blockColumns, sums = width * vectors;
  int64_t most = context.target.vectorRegisters >= 32 ? kSums : kFewSums;
  int64_t chains = std::clamp<int64_t>(most / sums, 1, BlockLayout::kStep);
  Value zero = arith::ConstantOp::create(builder, loc, builder.getZeroAttr(sumType));
  Value begin = toIndex(load(matrix.starts, column));
  Value end = toIndex(load(matrix.starts, math().add(column, math().constant(1))));
  auto emitStep = [&](OpBuilder &, Location, Value block, ValueRange carried) {
    SmallVector<Value> next(carried);
    Value places = toIndex(load(placeSteps, math().floorDiv(block, math().constant(BlockLayout::kStep))));
    if (width == kTurned && vectors > 1) {
      OpFoldResult ahead =
          math().mul(math().add(block, math().constant(kBlocksAhead)), math().constant(width));
      memref::PrefetchOp::create(builder, loc, matrix.values, ValueRange{math().value(ahead)},
                                 /*isWrite=*/false, /*localityHint=*/3, /*isDataCache=*/true);
    }
    for (int64_t i = 0; i < BlockLayout::kStep; ++i) {
      OpFoldResult own = math().add(block, math().constant(i));
      OpFoldResult row = math().mul(getPlace(places, i), math().constant(tiling.blockRows));
      SmallVector<Value> rows;
      for (int64_t vector = 0; vector < vectors; ++vector) {
        rows.push_back(loadVector(lhsColumns, math().add(row, math().constant(vector * tiling.lanes))));
      }
      for (int64_t j = 0; j < width; ++j) {
        Value element =
            load(matrix.values, math().add(math().mul(own, math().constant(width)), math().constant(j)));
        element = vector::BroadcastOp::create(builder, loc, sumType, element);
        for (int64_t vector = 0; vector < vectors; ++vector) {
          Value &sum = next[i % chains * sums + j * vectors + vector];
          sum = vector::FMAOp::create(builder, loc, element, rows[vector], sum);
        }
      }
    }
    scf::YieldOp::create(builder, loc, next);
  };
  auto loop = scf::ForOp::create(builder, loc, begin, end, math().value(math().constant(BlockLayout::kStep)),
                                 SmallVector<Value>(chains * sums, zero), emitStep);
  SmallVector<Value> results(loop.getResults());
  for (int64_t half = chains / 2; half > 0; half /= 2) {
    for (int64_t i = 0; i < half * sums; ++i) {
      results[i] = arith::AddFOp::create(builder, loc, results[i], results[i + half * sums]);
    }
  }
  if (!sumColumns) {
    storeRows(ArrayRef<Value>(results).take_front(sums),
              math().floorDiv(place, math().constant(tiling.blockRows)));
    return;
  }
  for (int64_t i = 0; i < sums; ++i) {
    int64_t ahead = i / vectors * tiling.blockRows + i % vectors * tiling.lanes;
    store(results[i], sumColumns, math().add(place, math().constant(ahead)));
  }
}

void BlockMatMulEmitter::storeRows(ArrayRef<Value> sums, OpFoldResult column) {
  int64_t vectors = sums.size() / kTurned, lanes = tiling.lanes;
  auto shuffle = [&](Value first, Value second, llvm::function_ref<int64_t(int64_t)> from) -> Value {
    SmallVector<int64_t> mask;
    for (int64_t lane = 0; lane < lanes; ++lane) {
      mask.push_back(from(lane));
    }
    return vector::ShuffleOp::create(builder, loc, first, second, mask);
  };
  for (int64_t vector = 0; vector < vectors; ++vector) {
    auto sum = [&](int64_t j) { return sums[j * vectors + vector]; };
    // Four rows of four columns lie in each quarter of a register, and stay there.
    SmallVector<Value> pairs, rows;
    for (int64_t j = 0; j < kTurned; j += 2) {
      for (int64_t half = 0; half < 2; ++half) {
        pairs.push_back(shuffle(sum(j), sum(j + 1), [&](int64_t lane) {
          return lane / 4 * 4 + half * 2 + lane % 4 / 2 + (lane % 2 ? lanes : 0);
        }));
      }
    }
    for (int64_t i = 0; i < kTurned; ++i) {
      rows.push_back(shuffle(pairs[i / 2], pairs[2 + i / 2], [&](int64_t lane) {
        return lane / 4 * 4 + i % 2 * 2 + lane % 2 + (lane % 4 < 2 ? 0 : lanes);
      }));
    }
    for (int64_t row = 0; row < lanes; ++row) {
      Value four = vector::ExtractStridedSliceOp::create(builder, loc, rows[row % kTurned],
                                                         ArrayRef<int64_t>{row / kTurned * kTurned},
                                                         ArrayRef<int64_t>{kTurned}, ArrayRef<int64_t>{1});
      store(four, scratch, math().add(column, math().constant((vector * lanes + row) * tiling.columns())));
    }
  }
}

Value BlockMatMulEmitter::getPlace(Value places, int64_t number) {
  constexpr int64_t kBits = 16;
  if (number > 0) {
    Value bits = math().value(math().constant(kBits * number));
    places = arith::ShRUIOp::create(builder, loc, places, bits);
  }
  Value mask = math().value(math().constant((1 << kBits) - 1));
  return arith::AndIOp::create(builder, loc, places, mask);
}

void BlockMatMulEmitter::turnSums(int64_t rowVectors, int64_t columnVectors) {
  int64_t lanes = tiling.lanes;
  emitLoop(math().constant(0), math().constant(columnVectors * lanes), lanes, [&](Value column) {
    for (int64_t vector = 0; vector < rowVectors; ++vector) {
      SmallVector<Value> columns;
      for (int64_t i = 0; i < lanes; ++i) {
        OpFoldResult place =
            math().mul(math().add(column, math().constant(i)), math().constant(tiling.blockRows));
        columns.push_back(loadVector(sumColumns, math().add(place, math().constant(vector * lanes))));
      }
      for (auto [i, row] : llvm::enumerate(emitTranspose(builder, loc, columns))) {
        int64_t number = vector * lanes + int64_t(i);
        store(row, scratch, math().add(column, math().constant(number * tiling.columns())));
      }
    }
  });
}

//===----------------------------------------------------------------------===//
// The matrix
//===----------------------------------------------------------------------===//

/// Whether a product that is a kernel's root reads the blocks of its right-hand side.
static bool readsBlocks(pack::DecodeOp decode) {
  if (!decode->hasOneUse()) {
    return false;
  }
  OpOperand &use = *decode->use_begin();
  std::optional<BlockLayout> layout =
      decode.getX().getType().getFormat().getBlockLayout(cast<RankedTensorType>(decode.getType()));
  if (!layout || use.getOperandNumber() != 1 || layout->rows > BlockLayout::kMostRows) {
    return false;
  }
  if (isa<nn::IntegerMatMulOp>(use.getOwner())) {
    return layout->blockRows == BlockLayout::kByteRows && layout->blockColumns == BlockLayout::kByteColumns;
  }
  return isa<nn::MatMulOp>(use.getOwner()) && layout->element.isF32() && layout->blockRows == 1 &&
         BlockLayout::kMostColumns % layout->blockColumns == 0;
}

bool cpu::readsBlocks(func::FuncOp kernel, pack::DecodeOp decode) {
  auto root = kernel->getAttrOfType<StringAttr>(kernel::KernelDialect::kRootAttr);
  return root && kernel::symbolizeRootKind(root.getValue()) == kernel::RootKind::MatMul &&
         ::readsBlocks(decode);
}

std::optional<BlockMatrix> BlockMatrix::find(EmitContext &context, Value rhs) {
  auto decode = rhs.getDefiningOp<pack::DecodeOp>();
  auto input = decode ? decode.getX().getDefiningOp<kernel::InputOp>() : kernel::InputOp();
  if (!input || !::readsBlocks(decode)) {
    return std::nullopt;
  }
  auto type = cast<RankedTensorType>(decode.getType());
  BlockMatrix matrix{
      *decode.getX().getType().getFormat().getBlockLayout(type), input.getBytes(), {}, {}, {}, {}};
  OpBuilder &builder = context.builder;
  IndexMath math{builder, decode.getLoc()};
  auto view = [&](Type element, int64_t place, int64_t size) -> Value {
    return memref::ViewOp::create(builder, math.loc, MemRefType::get({ShapedType::kDynamic}, element),
                                  input.getBytes(), math.value(math.constant(place)),
                                  ValueRange{math.value(math.constant(size))});
  };
  const BlockLayout &layout = matrix.layout;
  matrix.starts = view(builder.getI32Type(), layout.startsAt(), layout.columnBlocks() + 1);
  matrix.places = view(builder.getI16Type(), layout.placesAt(), layout.count);
  matrix.values = view(layout.element, layout.valuesAt(), layout.count * layout.blockElements());
  if (!layout.element.isF32()) {
    matrix.sums = view(builder.getI32Type(), layout.sumsAt(), layout.columnBlocks() * layout.blockColumns);
  }
  return matrix;
}

FailureOr<TaskSplit> cpu::splitBlockMatMul(EmitContext &context, MatMulProblem &problem,
                                           const BlockMatrix &matrix) {
  MatMulGrid grid(context, problem, getTiling(context.target, matrix.layout), kGrainOperations,
                  /*elementBytes=*/4);
  IndexMath math{context.builder, problem.root->getLoc()};
  // Every part transposes its rows: it takes all columns of them, or a quarter where there are few rows.
  OpFoldResult parts =
      math.max(math.floorDiv(math.constant(4), math.max(grid.rowBlocks, math.constant(1))), math.constant(1));
  OpFoldResult grain = math.max(grid.grain, math.ceilDiv(grid.columnTiles, parts));
  return TaskSplit{math.value(grid.tasks), math.value(grain)};
}

LogicalResult cpu::emitBlockMatMul(EmitContext &context, MatMulProblem &problem, const BlockMatrix &matrix) {
  return BlockMatMulEmitter(context, problem, matrix).emit();
}
