// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Matrix products by tensor cores. Tiles of both operands come to shared memory through a pipeline of
/// asynchronous copies; each warp multiplies its part of the block's tile, with sums of f32 in registers.
/// What follows the product is done to rows of it that went through shared memory, 16 bytes of the result at
/// a time.

#include "TensorMatMul.h"
#include "DeviceOps.h"
#include "MatMulBlocks.h"
#include "StagedTile.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cuda;

namespace {
/// How a product is divided: the tile of a block, the warps that share it, and the stages of its pipeline.
struct TensorTiling {
  int64_t rows, columns, warpsDown, warpsAcross, stages;
  /// The part of the tensor cores' rate that the tile allows: small ones read shared memory more often.
  double rate;

  int64_t getThreads() const { return warpsDown * warpsAcross * kWarp; }
  int64_t getWarpRows() const { return rows / warpsDown; }
  int64_t getWarpColumns() const { return columns / warpsAcross; }
  /// Between rows of sums in shared memory: what eight lanes store lies in different banks.
  int64_t getSumStride() const { return columns + 8; }
};

/// What a line along the depth has in shared memory: two steps.
constexpr int64_t kDepthBytes = 64;
/// With two blocks on each of their processors, 48 KiB of shared memory for each are there on all devices.
constexpr TensorTiling kTilings[] = {{128, 128, 2, 4, 3, 1.0}, {64, 64, 2, 4, 4, 0.6}};

class TensorMatMulEmitter : MatMulBlocks {
public:
  TensorMatMulEmitter(EmitContext &context, const MatMulProblem &problem, const TensorTiling &tiling,
                      MatrixFormat format)
      : MatMulBlocks(context, problem), tiling(tiling), format(format),
        depth(kDepthBytes / getElementBytes(format)) {}

  LogicalResult emit();

private:
  struct Operand {
    TileSource source;
    std::optional<StagedTile> tile;
    Value first; ///< row or column of the block
  };

  /// The matrix of this block's product that an operand has in memory, if it is there.
  std::optional<StridedView> getMatrix(Value tensor);
  Operand makeOperand(StagedTile::Side side);
  LogicalResult fill(Operand &operand, Value stage, Value k);
  /// Begins to fill a stage from depth `k` on, if there is that much.
  void fillStage(Value stage, Value k);
  SmallVector<Value> multiplyStage(Value stage, ArrayRef<Value> sums);
  SmallVector<Value> emitPipeline();

  void storeSums(ArrayRef<Value> sums);
  LogicalResult emitEpilogue(ArrayRef<Value> sums);
  LogicalResult emitResult(Value row, Value column, Value number, int64_t lanes);
  /// Elements of the result that are stored at once.
  int64_t getLanes();

  Value number(int64_t value) {
    return arith::ConstantIntOp::create(builder, loc, builder.getI32Type(), value);
  }

  const TensorTiling &tiling;
  MatrixFormat format;
  int64_t depth;
  std::optional<Operand> lhs, rhs;
  Value shared, lane, warpRow, warpColumn;
  LogicalResult status = success();
};
} // namespace

std::optional<StridedView> TensorMatMulEmitter::getMatrix(Value tensor) {
  if (tensor == problem.lhs && !problem.flattened.empty()) {
    return flatLhs;
  }
  FailureOr<StridedView> view = getStridedView(context, tensor);
  if (failed(view)) {
    return std::nullopt;
  }
  StridedView matrix = *view;
  matrix.offset = getBatchOffset(builder, loc, *view, batchIndex);
  matrix.sizes.erase(matrix.sizes.begin(), matrix.sizes.end() - 2);
  matrix.strides.erase(matrix.strides.begin(), matrix.strides.end() - 2);
  return matrix;
}

TensorMatMulEmitter::Operand TensorMatMulEmitter::makeOperand(StagedTile::Side side) {
  bool isLhs = side == StagedTile::Lhs;
  Operand operand;
  operand.first = isLhs ? firstRow : firstColumn;
  std::optional<StridedView> memory = getMatrix(isLhs ? problem.lhs : problem.rhs);
  // Lines are rows of the matrix, or its columns where these lie side by side.
  bool isTransposed = false;
  if (memory && !isCopiable(*memory, format)) {
    std::swap(memory->sizes[0], memory->sizes[1]);
    std::swap(memory->strides[0], memory->strides[1]);
    isTransposed = isCopiable(*memory, format);
    memory = isTransposed ? memory : std::nullopt;
  }
  bool alongDepth = isLhs != isTransposed;
  OpFoldResult extent = isLhs ? problem.m : problem.n;
  operand.source.memory = memory;
  operand.source.lines = alongDepth ? extent : problem.k;
  operand.source.length = alongDepth ? problem.k : extent;
  operand.source.element = [this, isLhs](Value line, Value place) {
    return isLhs ? loadLhs(line, place) : loadRhs(line, place);
  };
  operand.tile.emplace(context, loc, format, side, alongDepth, isLhs ? tiling.rows : tiling.columns, depth);
  return operand;
}

LogicalResult TensorMatMulEmitter::fill(Operand &operand, Value stage, Value k) {
  bool alongDepth = operand.tile->isAlongDepth();
  return operand.tile->fill(operand.source, elements, stage, alongDepth ? operand.first : k,
                            alongDepth ? k : operand.first, tiling.getThreads());
}

void TensorMatMulEmitter::fillStage(Value stage, Value k) {
  Value exists = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ult, k, math().value(problem.k));
  emitIf(exists, [&] {
    ElementEmitter::Scope scope(elements);
    if (failed(fill(*lhs, stage, k)) || failed(fill(*rhs, stage, k))) {
      status = failure();
    }
  });
  emitCopyGroup(builder, loc);
}

SmallVector<Value> TensorMatMulEmitter::multiplyStage(Value stage, ArrayRef<Value> before) {
  SmallVector<Value> sums(before);
  int64_t blocksDown = tiling.getWarpRows() / kMatrixRows, pairs = tiling.getWarpColumns() / kMatrixRows;
  for (int64_t step = 0; step < depth / getDepth(format); ++step) {
    SmallVector<SmallVector<Value>> columns;
    for (int64_t pair = 0; pair < pairs; ++pair) {
      columns.push_back(rhs->tile->load(stage, pair, step));
    }
    for (int64_t block = 0; block < blocksDown; ++block) {
      SmallVector<Value> rows = lhs->tile->load(stage, block, step);
      for (int64_t column = 0; column < 2 * pairs; ++column) {
        auto own = MutableArrayRef(sums).slice((block * 2 * pairs + column) * 4, 4);
        ArrayRef<Value> right = ArrayRef(columns[column / 2]).slice(column % 2 * 2, 2);
        llvm::copy(emitProduct(builder, loc, format, rows, right, own), own.begin());
      }
    }
  }
  return sums;
}

SmallVector<Value> TensorMatMulEmitter::emitPipeline() {
  emitLoop(math().constant(0), math().constant(tiling.stages - 1), 1, [&](Value stage) {
    Value k = math().value(math().mul(stage, math().constant(depth)));
    fillStage(arith::IndexCastOp::create(builder, loc, builder.getI32Type(), stage), k);
  });
  Value zero = arith::ConstantOp::create(builder, loc, builder.getF32FloatAttr(0));
  // The sums, the stage to be multiplied, and the one to be filled.
  SmallVector<Value> carried(tiling.getWarpRows() * tiling.getWarpColumns() / kWarp, zero);
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
  return results;
}

void TensorMatMulEmitter::storeSums(ArrayRef<Value> sums) {
  Value place = getAccumulatorLayout().build(builder, loc, lane);
  OpFoldResult row = math().floorDiv(place, math().constant(kMatrixColumns));
  OpFoldResult column = math().add(math().rem(place, math().constant(kMatrixColumns)),
                                   math().mul(warpColumn, math().constant(tiling.getWarpColumns())));
  OpFoldResult first = math().add(math().mul(row, math().constant(tiling.getSumStride())), column);
  Value start = advance(builder, loc, shared, math().mul(first, math().constant(4)));
  auto pair = VectorType::get({2}, builder.getF32Type());
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

int64_t TensorMatMulEmitter::getLanes() {
  Type element = getElement(kernel::OutputOp(problem.output).getValue());
  int64_t bytes = std::max<int64_t>(element.getIntOrFloatBitWidth() / 8, 2);
  int64_t lanes = kChunkBytes / bytes;
  return isMultipleOf(problem.n, lanes) ? lanes : 1;
}

LogicalResult TensorMatMulEmitter::emitResult(Value row, Value column, Value place, int64_t lanes) {
  kernel::OutputOp output = problem.output;
  Value from = advance(builder, loc, shared, math().mul(place, math().constant(4)));
  SmallVector<Value> values;
  int64_t together = std::min<int64_t>(lanes, 4);
  for (int64_t i = 0; i < lanes; i += together) {
    Type type =
        together == 1 ? Type(builder.getF32Type()) : VectorType::get({together}, builder.getF32Type());
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
  if (!element.isF32()) {
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

LogicalResult TensorMatMulEmitter::emitEpilogue(ArrayRef<Value> sums) {
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

LogicalResult TensorMatMulEmitter::emit() {
  if (failed(findOperands())) {
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
  lhs->tile->beginAt(lane, math().value(math().mul(warpRow, math().constant(tiling.getWarpRows()))),
                     tiling.getWarpRows());
  rhs->tile->beginAt(lane, math().value(math().mul(warpColumn, math().constant(tiling.getWarpColumns()))),
                     tiling.getWarpColumns());
  SmallVector<Value> sums = emitPipeline();
  return failed(status) ? failure() : emitEpilogue(sums);
}

/// The tiling of the least estimated time: blocks wait for each other where there are more than run at a
/// time.
static const TensorTiling &chooseTiling(const MatMulProblem &problem) {
  // Of processors with two blocks each; sizes that are not known when code is emitted.
  constexpr double kBlocksAtOnce = 2 * 132, kUnknown = 512;
  auto getSize = [&](OpFoldResult size) {
    return double(getConstantIntValue(size).value_or(int64_t(kUnknown)));
  };
  auto getTime = [&](const TensorTiling &tiling) {
    double blocks = std::ceil(getSize(problem.m) / double(tiling.rows)) *
                    std::ceil(getSize(problem.n) / double(tiling.columns));
    for (OpFoldResult size : problem.batch) {
      blocks *= getConstantIntValue(size).value_or(1);
    }
    return std::max(1.0, blocks / kBlocksAtOnce) * double(tiling.rows * tiling.columns) / tiling.rate;
  };
  const TensorTiling *best = &kTilings[0];
  for (const TensorTiling &tiling : kTilings) {
    best = getTime(tiling) < getTime(*best) ? &tiling : best;
  }
  return *best;
}

static std::optional<MatrixFormat> getFormat(const ElementContext &context, const MatMulProblem &problem) {
  auto getElement = [](Value value) { return cast<RankedTensorType>(value.getType()).getElementType(); };
  Type element = getElement(problem.lhs);
  return element == getElement(problem.rhs) ? getMatrixFormat(element, context.inTF32) : std::nullopt;
}

bool cuda::isTensorProduct(const ElementContext &context, const MatMulProblem &problem) {
  return getFormat(context, problem).has_value();
}

Launch cuda::planTensorMatMul(ElementContext &context, const MatMulProblem &problem) {
  const TensorTiling &tiling = chooseTiling(problem);
  MatMulGrid grid(IndexMath{context.builder, problem.root->getLoc()}, problem, tiling.rows, tiling.columns);
  return Launch{grid.blocks, tiling.getThreads(), /*blocksAtOnce=*/2};
}

LogicalResult cuda::emitTensorMatMul(EmitContext &context, const MatMulProblem &problem) {
  return TensorMatMulEmitter(context, problem, chooseTiling(problem), *getFormat(context, problem)).emit();
}
