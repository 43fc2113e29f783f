// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Matrix products of floats and of bytes. Tiles of both operands come to shared memory through a pipeline of
/// asynchronous copies, those of a convolution's windows from all over its input; each warp multiplies its
/// part of the block's tile, by tensor cores, or f32 by itself, with sums of f32, or i32, in registers. What
/// follows the product is done to rows of it that went through shared memory, 16 bytes of the result at a
/// time.

#include "TiledMatMul.h"
#include "DeviceOps.h"
#include "MatMulSources.h"
#include "MatMulTiling.h"
#include "ZeroPoints.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cuda;

namespace {
/// The lanes of a warp that multiply by themselves.
constexpr int64_t kLanesDown = 8, kLanesAcross = 4;

class TiledMatMulEmitter : MatMulSources {
public:
  TiledMatMulEmitter(EmitContext &context, const MatMulProblem &problem, const MatMulTiling &tiling,
                     MatrixFormat format)
      : MatMulSources(context, problem, format), tiling(tiling),
        depth(tiling.depthBytes / getElementBytes(format)) {}

  LogicalResult emit();

private:
  struct Operand {
    TileSource source;
    std::optional<StagedTile> tile;
    Value first; ///< row or column of the block
  };

  Operand makeOperand(StagedTile::Side side);
  LogicalResult fill(Operand &operand, Value stage, Value k);
  /// Begins to fill a stage from depth `k` on, if there is that much.
  void fillStage(Value stage, Value k);
  /// States what this warp, or this thread, reads of the tiles.
  void beginReading();
  SmallVector<Value> multiplyStage(Value stage, ArrayRef<Value> sums);
  SmallVector<Value> multiplyFloats(Value stage, ArrayRef<Value> sums);
  /// So many f32 along the depth, 1 or 2, from `k` on, of each of the rows or columns of this thread.
  SmallVector<std::array<Value, 2>> loadFloats(Operand &operand, Value stage, int64_t k, int64_t count,
                                               ArrayRef<int64_t> places);
  /// Rows of this thread, and columns, counted from its first one.
  SmallVector<int64_t> getRows();
  SmallVector<int64_t> getColumns();
  SmallVector<Value> emitPipeline();
  /// Takes off sums of bytes what zero points add; those of columns and rows stand behind them.
  void correctSums(SmallVectorImpl<Value> &sums);

  void storeSums(ArrayRef<Value> sums);
  void storeFloats(ArrayRef<Value> sums);
  LogicalResult emitEpilogue(ArrayRef<Value> sums);
  LogicalResult emitResult(Value row, Value column, Value number, int64_t lanes);
  /// Elements of the result that are stored at once.
  int64_t getLanes();

  Value number(int64_t value) {
    return arith::ConstantIntOp::create(builder, loc, builder.getI32Type(), value);
  }

  const MatMulTiling &tiling;
  int64_t depth;
  /// The type of sums, and how many of products a lane has.
  Type sumType = format == MatrixFormat::Bytes ? Type(builder.getI32Type()) : builder.getF32Type();
  int64_t sumCount = tiling.getWarpRows() * tiling.getWarpColumns() / kWarp;
  ZeroPoints zeroPoints{builder, problem, tiling};
  std::optional<Operand> lhs, rhs;
  Value shared, lane, warpRow, warpColumn;
  LogicalResult status = success();
};
} // namespace

TiledMatMulEmitter::Operand TiledMatMulEmitter::makeOperand(StagedTile::Side side) {
  bool isLhs = side == StagedTile::Lhs, alongDepth;
  Operand operand;
  operand.first = isLhs ? firstRow : firstColumn;
  std::tie(operand.source, alongDepth) = getSource(side);
  operand.tile.emplace(context, loc, format, side, alongDepth, isLhs ? tiling.rows : tiling.columns, depth);
  operand.tile->keepLines(operand.source, operand.first, tiling.getThreads());
  return operand;
}

LogicalResult TiledMatMulEmitter::fill(Operand &operand, Value stage, Value k) {
  bool alongDepth = operand.tile->isAlongDepth();
  return operand.tile->fill(operand.source, elements, stage, alongDepth ? operand.first : k,
                            alongDepth ? k : operand.first, tiling.getThreads());
}

void TiledMatMulEmitter::fillStage(Value stage, Value k) {
  Value exists = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ult, k, math().value(problem.k));
  emitIf(exists, [&] {
    ElementEmitter::Scope scope(elements);
    if (failed(fill(*lhs, stage, k)) || failed(fill(*rhs, stage, k))) {
      status = failure();
    }
  });
  emitCopyGroup(builder, loc);
}

SmallVector<Value> TiledMatMulEmitter::multiplyStage(Value stage, ArrayRef<Value> before) {
  SmallVector<Value> sums(before);
  if (format == MatrixFormat::F32) {
    return multiplyFloats(stage, before);
  }
  int64_t blocksDown = tiling.getWarpRows() / kMatrixRows, pairs = tiling.getWarpColumns() / kMatrixRows;
  MutableArrayRef<Value> furtherSums = MutableArrayRef(sums).drop_front(sumCount);
  auto multiply = [&](ArrayRef<Value> left, ArrayRef<Value> right, ArrayRef<Value> own) {
    bool areUnsigned[] = {getElement(problem.lhs).isUnsignedInteger(),
                          getElement(problem.rhs).isUnsignedInteger()};
    return format == MatrixFormat::Bytes
               ? emitByteProduct(builder, loc, {areUnsigned[0], areUnsigned[1]}, left, right, own)
               : emitProduct(builder, loc, format, left, right, own);
  };
  for (int64_t step = 0; step < depth / getDepth(format); ++step) {
    SmallVector<SmallVector<Value>> columns;
    for (int64_t pair = 0; pair < pairs; ++pair) {
      columns.push_back(rhs->tile->load(stage, pair, step));
      for (int64_t half = 0; half < 2; ++half) {
        zeroPoints.addColumns(2 * pair + half, ArrayRef(columns.back()).slice(2 * half, 2), furtherSums);
      }
    }
    for (int64_t block = 0; block < blocksDown; ++block) {
      SmallVector<Value> rows = lhs->tile->load(stage, block, step);
      zeroPoints.addRows(block, rows, furtherSums);
      for (int64_t column = 0; column < 2 * pairs; ++column) {
        auto own = MutableArrayRef(sums).slice((block * 2 * pairs + column) * 4, 4);
        ArrayRef<Value> right = ArrayRef(columns[column / 2]).slice(column % 2 * 2, 2);
        llvm::copy(multiply(rows, right, own), own.begin());
      }
    }
  }
  return sums;
}

void TiledMatMulEmitter::correctSums(SmallVectorImpl<Value> &sums) {
  SmallVector<Value> further(ArrayRef<Value>(sums).drop_front(sumCount));
  sums.truncate(sumCount);
  // Beyond the last row, and the last column, the zero point of that one is as good as any.
  auto getPlace = [&](Value first, Value warp, int64_t size, OpFoldResult own, OpFoldResult count) {
    OpFoldResult place = math().add(math().add(first, math().mul(warp, math().constant(size))), own);
    return math().value(math().min(place, math().sub(count, math().constant(1))));
  };
  auto load = [&](Value operand, Value zero, ArrayRef<Value> index) {
    FailureOr<Value> value = factors.loadZero(operand, zero, index);
    status = failed(value) ? failure() : status;
    return failed(value) ? number(0) : *value;
  };
  OpFoldResult first = math().constant(0);
  auto loadLhsZero = [&](OpFoldResult own) {
    Value row = getPlace(firstRow, warpRow, tiling.getWarpRows(), own, problem.m);
    return load(problem.lhs, problem.lhsZero, getLhsIndex(row, first));
  };
  auto loadRhsZero = [&](OpFoldResult own) {
    Value column = getPlace(firstColumn, warpColumn, tiling.getWarpColumns(), own, problem.n);
    return load(problem.rhs, problem.rhsZero, getRhsIndex(first, column));
  };
  zeroPoints.correct(sums, further, lane, loadLhsZero, loadRhsZero);
}

SmallVector<Value> TiledMatMulEmitter::emitPipeline() {
  emitLoop(math().constant(0), math().constant(tiling.stages - 1), 1, [&](Value stage) {
    Value k = math().value(math().mul(stage, math().constant(depth)));
    fillStage(arith::IndexCastOp::create(builder, loc, builder.getI32Type(), stage), k);
  });
  Value zero = arith::ConstantOp::create(builder, loc, builder.getZeroAttr(sumType));
  // The sums, the stage to be multiplied, and the one to be filled.
  SmallVector<Value> carried(sumCount + zeroPoints.countSums(), zero);
  carried.append({number(0), number(tiling.stages - 1)});
  auto getNext = [&](Value stage) -> Value {
    Value next = arith::AddIOp::create(builder, loc, stage, number(1));
    Value isLast = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::eq, next, number(tiling.stages));
    return arith::SelectOp::create(builder, loc, isLast, number(0), next);
  };
  SmallVector<Value> results =
      emitLoop(math().constant(0), problem.k, depth, carried, [&](Value k, ValueRange before) {
        Value multiplied = before[before.size() - 2], filled = before.back();
        // All but the newest groups are there, for all threads; and all have read what is filled next.
        emitCopyWait(builder, loc, tiling.stages - 2);
        emitBarrier(builder, loc);
        fillStage(filled, math().value(math().add(k, math().constant((tiling.stages - 1) * depth))));
        SmallVector<Value> after = multiplyStage(multiplied, SmallVector<Value>(before.drop_back(2)));
        after.append({getNext(multiplied), getNext(filled)});
        return after;
      });
  results.pop_back_n(2);
  // Sums take the place of the tiles.
  emitCopyWait(builder, loc, 0);
  emitBarrier(builder, loc);
  if (format == MatrixFormat::Bytes) {
    correctSums(results);
  }
  return results;
}

SmallVector<int64_t> TiledMatMulEmitter::getRows() {
  return llvm::map_to_vector(llvm::seq<int64_t>(0, tiling.getWarpRows() / kLanesDown),
                             [](int64_t i) { return i * kLanesDown; });
}

SmallVector<int64_t> TiledMatMulEmitter::getColumns() {
  SmallVector<int64_t> columns;
  for (int64_t first = 0; first < tiling.getWarpColumns(); first += kLanesAcross * kSharedVector) {
    llvm::append_range(columns, llvm::seq<int64_t>(first, first + kSharedVector));
  }
  return columns;
}

void TiledMatMulEmitter::beginReading() {
  OpFoldResult row = math().mul(warpRow, math().constant(tiling.getWarpRows()));
  OpFoldResult column = math().mul(warpColumn, math().constant(tiling.getWarpColumns()));
  if (format != MatrixFormat::F32) {
    lhs->tile->beginAt(lane, math().value(row), tiling.getWarpRows());
    rhs->tile->beginAt(lane, math().value(column), tiling.getWarpColumns());
    return;
  }
  OpFoldResult down = math().floorDiv(lane, math().constant(kLanesAcross));
  OpFoldResult across = math().rem(lane, math().constant(kLanesAcross));
  row = math().add(row, down);
  column = math().add(column, math().mul(across, math().constant(kSharedVector)));
  auto begin = [&](Operand &operand, OpFoldResult first, int64_t size, int64_t warpSize, uint64_t ownBits) {
    int64_t step = operand.tile->isAlongDepth() ? operand.tile->getLineBytes() : 4;
    Value byte = arith::IndexCastOp::create(builder, loc, builder.getI32Type(),
                                            math().value(math().mul(first, math().constant(step))));
    uint64_t bits = ownBits | (uint64_t(size - 1) & ~uint64_t(warpSize - 1));
    operand.tile->beginAtByte(byte, bits * uint64_t(step));
  };
  begin(*lhs, row, tiling.rows, tiling.getWarpRows(), kLanesDown - 1);
  begin(*rhs, column, tiling.columns, tiling.getWarpColumns(), (kLanesAcross - 1) * kSharedVector);
}

SmallVector<std::array<Value, 2>> TiledMatMulEmitter::loadFloats(Operand &operand, Value stage, int64_t k,
                                                                 int64_t count, ArrayRef<int64_t> places) {
  StagedTile &tile = *operand.tile;
  SmallVector<std::array<Value, 2>> floats(places.size());
  auto loadVector = [&](int64_t bytes, int64_t length) {
    auto type = VectorType::get({length}, builder.getF32Type());
    Value vector =
        LLVM::LoadOp::create(builder, loc, type, tile.getAddress(stage, bytes), unsigned(4 * length));
    return llvm::map_to_vector(llvm::seq<int64_t>(0, length), [&](int64_t i) -> Value {
      return vector::ExtractOp::create(builder, loc, vector, i);
    });
  };
  // Neighbours in memory are those along the depth, or a thread's neighbouring columns.
  bool areNeighbours = places.size() > 1 && places[1] == 1;
  int64_t together = areNeighbours && !tile.isAlongDepth() ? kSharedVector : 1;
  for (size_t i = 0; i < places.size(); i += size_t(together)) {
    if (tile.isAlongDepth()) {
      llvm::copy(loadVector(places[i] * tile.getLineBytes() + k * 4, count), floats[i].begin());
      continue;
    }
    for (int64_t j = 0; j < count; ++j) {
      int64_t bytes = (k + j) * tile.getLineBytes() + places[i] * 4;
      for (auto [next, value] : llvm::enumerate(loadVector(bytes, together))) {
        floats[i + next][size_t(j)] = value;
      }
    }
  }
  return floats;
}

SmallVector<Value> TiledMatMulEmitter::multiplyFloats(Value stage, ArrayRef<Value> before) {
  SmallVector<Value> sums(before);
  SmallVector<int64_t> rows = getRows(), columns = getColumns();
  // Two steps at a time: registers are to be left for two blocks.
  for (int64_t k = 0; k < depth; k += 2) {
    SmallVector<std::array<Value, 2>> left = loadFloats(*lhs, stage, k, 2, rows);
    SmallVector<std::array<Value, 2>> right = loadFloats(*rhs, stage, k, 2, columns);
    for (size_t step = 0; step < 2; ++step) {
      for (size_t i = 0; i < rows.size(); ++i) {
        for (size_t j = 0; j < columns.size(); ++j) {
          Value &sum = sums[i * columns.size() + j];
          sum = factors.multiplyAdd(left[i][step], right[j][step], sum);
        }
      }
    }
  }
  return sums;
}

void TiledMatMulEmitter::storeFloats(ArrayRef<Value> sums) {
  OpFoldResult row = math().floorDiv(lane, math().constant(kLanesAcross));
  OpFoldResult column =
      math().mul(math().rem(lane, math().constant(kLanesAcross)), math().constant(kSharedVector));
  column = math().add(column, math().mul(warpColumn, math().constant(tiling.getWarpColumns())));
  OpFoldResult first = math().add(math().mul(row, math().constant(tiling.getSumStride())), column);
  Value start = advance(builder, loc, shared, math().mul(first, math().constant(4)));
  SmallVector<int64_t> rows = getRows(), columns = getColumns();
  auto four = VectorType::get({kSharedVector}, builder.getF32Type());
  for (size_t i = 0; i < rows.size(); ++i) {
    for (size_t j = 0; j < columns.size(); j += kSharedVector) {
      ArrayRef<Value> own = sums.slice(i * columns.size() + j, kSharedVector);
      Value vector = vector::FromElementsOp::create(builder, loc, four, own);
      int64_t offset = rows[i] * tiling.getSumStride() + columns[j];
      LLVM::StoreOp::create(builder, loc, vector,
                            advance(builder, loc, start, builder.getI64IntegerAttr(offset * 4)),
                            /*alignment=*/16);
    }
  }
}

void TiledMatMulEmitter::storeSums(ArrayRef<Value> sums) {
  if (format == MatrixFormat::F32) {
    return storeFloats(sums);
  }
  Value place = getAccumulatorLayout().build(builder, loc, lane);
  OpFoldResult row = math().floorDiv(place, math().constant(kMatrixColumns));
  OpFoldResult column = math().add(math().rem(place, math().constant(kMatrixColumns)),
                                   math().mul(warpColumn, math().constant(tiling.getWarpColumns())));
  OpFoldResult first = math().add(math().mul(row, math().constant(tiling.getSumStride())), column);
  Value start = advance(builder, loc, shared, math().mul(first, math().constant(4)));
  auto pair = VectorType::get({2}, sumType);
  int64_t columns = tiling.getWarpColumns() / kMatrixColumns;
  for (int64_t i = 0; i < int64_t(sums.size()); i += 2) {
    int64_t number = i / 4, half = i / 2 % 2;
    int64_t ownRow = number / columns * kMatrixRows + half * kMatrixRows / 2;
    int64_t offset = ownRow * tiling.getSumStride() + number % columns * kMatrixColumns;
    Value two = vector::FromElementsOp::create(builder, loc, pair, ValueRange{sums[i], sums[i + 1]});
    LLVM::StoreOp::create(builder, loc, two,
                          advance(builder, loc, start, builder.getI64IntegerAttr(offset * 4)),
                          /*alignment=*/8);
  }
}

int64_t TiledMatMulEmitter::getLanes() {
  Type element = getElement(kernel::OutputOp(problem.output).getValue());
  int64_t bytes = std::max<int64_t>(element.getIntOrFloatBitWidth() / 8, 2);
  int64_t lanes = kChunkBytes / bytes;
  return isMultipleOf(problem.n, lanes) ? lanes : 1;
}

LogicalResult TiledMatMulEmitter::emitResult(Value row, Value column, Value place, int64_t lanes) {
  kernel::OutputOp output = problem.output;
  Value from = advance(builder, loc, shared, math().mul(place, math().constant(4)));
  SmallVector<Value> values;
  int64_t together = std::min<int64_t>(lanes, 4);
  for (int64_t i = 0; i < lanes; i += together) {
    Type type = together == 1 ? sumType : VectorType::get({together}, sumType);
    values.push_back(LLVM::LoadOp::create(builder, loc, type,
                                          advance(builder, loc, from, builder.getI64IntegerAttr(4 * i)),
                                          /*alignment=*/unsigned(4 * together)));
  }
  Value sum = values.front();
  if (values.size() == 2) {
    SmallVector<int64_t> all = llvm::to_vector(llvm::seq<int64_t>(lanes));
    sum = vector::ShuffleOp::create(builder, loc, values[0], values[1], all);
  }
  Type element = getElement(problem.result);
  if (element != sumType) {
    Type type = lanes == 1 ? element : VectorType::get({lanes}, element);
    sum = arith::TruncFOp::create(builder, loc, type, sum);
  }
  elements.setValue(problem.result, sum);
  Tile tile{problem.resultIndex(builder, loc, batchIndex, row, column), lanes == 1 ? 0 : lanes, Value()};
  FailureOr<Value> value = elements.evaluate(output.getValue(), tile);
  if (failed(value)) {
    return failure();
  }
  storeTile(builder, loc, *value, getOutputView(context, output), tile);
  return success();
}

LogicalResult TiledMatMulEmitter::emitEpilogue(ArrayRef<Value> sums) {
  int64_t lanes = getLanes(), warpRows = tiling.getWarpRows(), vectors = tiling.columns / lanes;
  // The rows of one row of warps at a time.
  emitLoop(math().constant(0), math().constant(tiling.warpsDown), 1, [&](Value pass) {
    emitIf(arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::eq, warpRow, pass),
           [&] { storeSums(sums); });
    emitBarrier(builder, loc);
    emitLoop(context.thread, math().constant(warpRows * vectors), tiling.getThreads(), [&](Value vector) {
      ElementEmitter::Scope scope(elements);
      OpFoldResult row = math().floorDiv(vector, math().constant(vectors));
      OpFoldResult column = math().mul(math().rem(vector, math().constant(vectors)), math().constant(lanes));
      Value place = math().value(math().add(math().mul(row, math().constant(tiling.getSumStride())), column));
      row = math().add(row, math().mul(pass, math().constant(warpRows)));
      Value i = math().value(math().add(firstRow, row)), j = math().value(math().add(firstColumn, column));
      Value exists = isInResult(i, tiling.rows, j, tiling.columns);
      if (failed(emitInside(exists, [&] { return emitResult(i, j, place, lanes); }))) {
        status = failure();
      }
    });
    // Nobody may store the next rows before all have read these.
    emitBarrier(builder, loc);
  });
  return status;
}

LogicalResult TiledMatMulEmitter::emit() {
  if (failed(findSources())) {
    return failure();
  }
  decodeBlock(tiling.rows, tiling.columns);
  lane = math().value(math().rem(context.thread, math().constant(kWarp)));
  OpFoldResult warp = math().floorDiv(context.thread, math().constant(kWarp));
  warpRow = math().value(math().floorDiv(warp, math().constant(tiling.warpsAcross)));
  warpColumn = math().value(math().rem(warp, math().constant(tiling.warpsAcross)));
  lhs.emplace(makeOperand(StagedTile::Lhs));
  rhs.emplace(makeOperand(StagedTile::Rhs));
  int64_t lhsBytes = lhs->tile->getBytes(), stageBytes = lhsBytes + rhs->tile->getBytes();
  shared = context.allocateShared(
      std::max(tiling.stages * stageBytes, tiling.getWarpRows() * tiling.getSumStride() * 4));
  lhs->tile->place(shared, stageBytes);
  rhs->tile->place(advance(builder, loc, shared, builder.getI64IntegerAttr(lhsBytes)), stageBytes);
  beginReading();
  SmallVector<Value> sums = emitPipeline();
  return failed(status) ? failure() : emitEpilogue(sums);
}

/// The format of the products, if there is one.
static std::optional<MatrixFormat> getFormat(const ElementContext &context, const MatMulProblem &problem) {
  auto getElement = [](Value value) { return cast<RankedTensorType>(value.getType()).getElementType(); };
  std::optional<MatrixFormat> format = getMatrixFormat(getElement(problem.lhs), context.inTF32);
  // Bytes may differ in their sign.
  return format == getMatrixFormat(getElement(problem.rhs), context.inTF32) ? format : std::nullopt;
}

bool cuda::isTiledProduct(const ElementContext &context, const MatMulProblem &problem) {
  return getFormat(context, problem).has_value();
}

Launch cuda::planTiledMatMul(ElementContext &context, const MatMulProblem &problem) {
  IndexMath math{context.builder, problem.root->getLoc()};
  TilingChoice choice(math, problem, *getFormat(context, problem));
  OpFoldResult blocks = MatMulGrid(math, problem, choice.tiling->rows, choice.tiling->columns).blocks;
  if (choice.forMany) {
    OpFoldResult many = MatMulGrid(math, problem, choice.forMany->rows, choice.forMany->columns).blocks;
    blocks = arith::SelectOp::create(context.builder, math.loc, choice.areMany, math.value(many),
                                     math.value(blocks))
                 .getResult();
  }
  return Launch{blocks, choice.tiling->getThreads(), /*blocksAtOnce=*/2};
}

LogicalResult cuda::emitTiledMatMul(EmitContext &context, const MatMulProblem &problem) {
  MatrixFormat format = *getFormat(context, problem);
  TilingChoice choice(IndexMath{context.builder, problem.root->getLoc()}, problem, format);
  if (!choice.forMany) {
    return TiledMatMulEmitter(context, problem, *choice.tiling, format).emit();
  }
  auto emit = [&](const MatMulTiling &tiling) {
    return TiledMatMulEmitter(context, problem, tiling, format).emit();
  };
  return context.emitEither(
      problem.root->getLoc(), choice.areMany, [&] { return emit(*choice.forMany); },
      [&] { return emit(*choice.tiling); });
}
