// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Attention by tensor cores, in one pass over the keys. A warp has 16 queries of one head; keys and values
/// come through two stages of shared memory each, the next keys while the weights of these are computed, the
/// next values while these are multiplied. The sums of the first product are where the second one wants its
/// operand: in the same lanes.

#include "AttentionBlocks.h"
#include "DeviceOps.h"
#include "StagedTile.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/Support/MathExtras.h"

#include <cmath>

using namespace mlir;
using namespace lathe;
using namespace lathe::cuda;

static constexpr int64_t kWarps = 4, kThreads = kWarps * kWarp, kQueries = kWarps * kMatrixRows, kStages = 2;

namespace {
/// The tiles of a block in shared memory.
struct Tiles {
  MatrixFormat format;
  /// Features of a tile: what does not exist is 0.
  int64_t depth, valueDepth;
  /// Keys of a stage; 0: not even few of them fit.
  int64_t keys = 0;

  Tiles(const AttentionProblem &problem, MatrixFormat format);
  int64_t getBytes(int64_t keys) const {
    return (kQueries * depth + kStages * keys * (depth + valueDepth)) * getElementBytes(format);
  }
};

class TensorAttentionEmitter : AttentionBlocks {
public:
  TensorAttentionEmitter(EmitContext &context, const AttentionProblem &problem, const Tiles &tiles)
      : AttentionBlocks(context, problem), tiles(tiles),
        queryTile(context, loc, tiles.format, StagedTile::Lhs, /*alongDepth=*/true, kQueries, tiles.depth),
        keyTile(context, loc, tiles.format, StagedTile::Rhs, /*alongDepth=*/true, tiles.keys, tiles.depth),
        valueTile(context, loc, tiles.format, StagedTile::Rhs, /*alongDepth=*/false, tiles.valueDepth,
                  tiles.keys, /*pairsDepths=*/true) {}

  LogicalResult emit();

private:
  /// The state of the two rows of a lane: maximum, and the lane's own part of the sum; then its elements of
  /// the result.
  static constexpr int64_t kRows = 2, kResults = 2 * kRows;

  void placeTiles();
  /// One head of an operand as a matrix.
  TileSource getSource(Value tensor, OpFoldResult headNumber, OpFoldResult lines);
  void fill(StagedTile &tile, const TileSource &source, Value stage, Value first);
  /// Begins to fill a stage with what comes `after` the keys from `first` on, if there is that much.
  void fillNext(StagedTile &tile, const TileSource &source, Value stage, Value first);
  SmallVector<Value> multiplyKeys(Value stage);
  /// Of a lane's sums, and elements of the result: the row, and the key, counted from its first one of a
  /// stage.
  static int64_t getRow(size_t i) { return int64_t(i) / 2 % kRows; }
  static int64_t getKey(size_t i) { return int64_t(i) / 4 * kMatrixColumns + int64_t(i) % 2; }
  /// Logits of which those of keys that a row does not see are minus infinity.
  SmallVector<Value> hideKeys(ArrayRef<Value> logits, Value first);
  /// Makes logits of sums, and weights of them, in place.
  void emitWeights(MutableArrayRef<Value> sums, Value first, MutableArrayRef<Value> state);
  void multiplyValues(Value stage, ArrayRef<Value> weights, MutableArrayRef<Value> results);
  /// The registers of the left-hand side of step `step`.
  SmallVector<Value> packWeights(ArrayRef<Value> weights, int64_t step);
  SmallVector<Value> emitKeys(Value first, ValueRange before);
  LogicalResult emitResult(ArrayRef<Value> state);
  /// Of the four lanes that have a row.
  Value reduceRow(Value value, llvm::function_ref<Value(Value, Value)> combine);

  int64_t countSteps() { return llvm::divideCeil(problem.depth, getDepth(tiles.format)); }
  int64_t countValueBlocks() { return llvm::divideCeil(problem.valueDepth, kMatrixRows); }
  Value number(int64_t value) {
    return arith::ConstantIntOp::create(builder, loc, builder.getI32Type(), value);
  }

  Tiles tiles;
  StagedTile queryTile, keyTile, valueTile;
  TileSource keys, values;
  SmallVector<SmallVector<Value>> queryRegisters;
  /// The column of this lane among those of a block of sums; of each of its rows, the query, that of one that
  /// exists, and the last key it sees.
  Value column;
  std::array<Value, kRows> queries, clampedQueries, lastKeys;
};
} // namespace

Tiles::Tiles(const AttentionProblem &problem, MatrixFormat format) : format(format) {
  auto roundUp = [](int64_t size) {
    return std::max<int64_t>(int64_t(llvm::PowerOf2Ceil(uint64_t(size))), kMatrixRows);
  };
  depth = roundUp(problem.depth);
  valueDepth = roundUp(problem.valueDepth);
  // The sums of a lane's rows lie in registers: of the result, of the logits, and of the queries.
  constexpr int64_t kMostFeatures = 256;
  if (std::max(depth, valueDepth) > kMostFeatures) {
    return;
  }
  for (int64_t limit : {kSharedBytes, kMostSharedBytes}) {
    for (int64_t most : {64, 32, 16}) {
      if (keys == 0 && getBytes(most) <= limit) {
        keys = most;
      }
    }
  }
}

void TensorAttentionEmitter::placeTiles() {
  int64_t keyBytes = keyTile.getBytes(), valueBytes = valueTile.getBytes();
  Value start = context.allocateShared(tiles.getBytes(tiles.keys));
  auto at = [&](int64_t bytes) { return advance(builder, loc, start, builder.getI64IntegerAttr(bytes)); };
  queryTile.place(start, 0);
  keyTile.place(at(queryTile.getBytes()), keyBytes);
  valueTile.place(at(queryTile.getBytes() + kStages * keyBytes), valueBytes);
  Value lane = math().value(math().rem(context.thread, math().constant(kWarp)));
  Value warp = math().value(math().floorDiv(context.thread, math().constant(kWarp)));
  Value firstRow = math().value(math().mul(warp, math().constant(kMatrixRows)));
  Value zero = math().value(math().constant(0));
  queryTile.beginAt(lane, firstRow, kMatrixRows);
  keyTile.beginAt(lane, zero, tiles.keys);
  valueTile.beginAt(lane, zero, tiles.valueDepth);

  Value place = getAccumulatorLayout().build(builder, loc, lane);
  column = math().value(math().rem(place, math().constant(kMatrixColumns)));
  OpFoldResult row = math().add(math().floorDiv(place, math().constant(kMatrixColumns)), firstRow);
  for (int64_t i = 0; i < kRows; ++i) {
    OpFoldResult ownRow = math().add(row, math().constant(i * kMatrixRows / 2));
    queries[i] = math().value(math().add(firstQuery, ownRow));
    // A query that does not exist repeats the last one and is not stored: all lanes stay together.
    clampedQueries[i] = clampQuery(queries[i]);
    lastKeys[i] = getLastKey(clampedQueries[i]);
  }
}

TileSource TensorAttentionEmitter::getSource(Value tensor, OpFoldResult headNumber, OpFoldResult lines) {
  TileSource source;
  source.lines = lines;
  source.length = math().constant(cast<RankedTensorType>(tensor.getType()).getDimSize(3));
  source.element = [this, tensor, headNumber](Value line, Value place) -> FailureOr<Value> {
    return elements.evaluate(tensor, Tile{math().values({batch, line, headNumber, place}), 0, Value()});
  };
  FailureOr<StridedView> view = getStridedView(context, tensor);
  if (succeeded(view)) {
    StridedView matrix = *view;
    matrix.offset = math().add(matrix.offset, math().mul(batch, view->strides[0]));
    matrix.offset = math().add(matrix.offset, math().mul(headNumber, view->strides[2]));
    matrix.sizes = {view->sizes[1], view->sizes[3]};
    matrix.strides = {view->strides[1], view->strides[3]};
    if (isCopiable(matrix, tiles.format)) {
      source.memory = matrix;
    }
  }
  return source;
}

void TensorAttentionEmitter::fill(StagedTile &tile, const TileSource &source, Value stage, Value first) {
  if (failed(tile.fill(source, elements, stage, first, math().value(math().constant(0)), kThreads))) {
    status = failure();
  }
}

void TensorAttentionEmitter::fillNext(StagedTile &tile, const TileSource &source, Value stage, Value first) {
  Value next = math().value(math().add(first, math().constant(tiles.keys)));
  Value other = arith::SubIOp::create(builder, loc, number(1), stage);
  emitIf(arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::slt, next, keyEnd),
         [&] { fill(tile, source, other, next); });
  emitCopyGroup(builder, loc);
}

SmallVector<Value> TensorAttentionEmitter::multiplyKeys(Value stage) {
  SmallVector<Value> sums(tiles.keys / kMatrixColumns * 4, e.zero(builder.getF32Type()));
  for (int64_t step = 0; step < countSteps(); ++step) {
    SmallVector<Value> rows =
        queryRegisters.empty() ? queryTile.load(number(0), 0, step) : queryRegisters[step];
    for (int64_t block = 0; block < tiles.keys / kMatrixColumns; block += 2) {
      SmallVector<Value> columns = keyTile.load(stage, block / 2, step);
      for (int64_t i = 0; i < 2; ++i) {
        auto own = MutableArrayRef(sums).slice((block + i) * 4, 4);
        llvm::copy(emitProduct(builder, loc, tiles.format, rows, ArrayRef(columns).slice(2 * i, 2), own),
                   own.begin());
      }
    }
  }
  return sums;
}

Value TensorAttentionEmitter::reduceRow(Value value, llvm::function_ref<Value(Value, Value)> combine) {
  for (int64_t distance : {1, 2}) {
    value = combine(value, emitExchange(builder, loc, value, distance));
  }
  return value;
}

SmallVector<Value> TensorAttentionEmitter::hideKeys(ArrayRef<Value> logits, Value first) {
  // The first query of the block sees the fewest keys.
  OpFoldResult lastOfStage = math().add(first, math().constant(tiles.keys - 1));
  Value someAreHidden =
      arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::sgt, math().value(lastOfStage),
                            getLastKey(math().value(firstQuery)));
  auto branch = scf::IfOp::create(builder, loc, TypeRange(ValueRange(logits)), someAreHidden,
                                  /*addThenBlock=*/true, /*addElseBlock=*/true);
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToEnd(branch.elseBlock());
  scf::YieldOp::create(builder, loc, logits);
  builder.setInsertionPointToEnd(branch.thenBlock());
  std::array<Value, kRows> lastPlaces;
  for (int64_t row = 0; row < kRows; ++row) {
    // The last key that a row sees, counted from this lane's first one of the stage.
    OpFoldResult last =
        math().min(math().sub(lastKeys[row], math().add(first, column)), math().constant(tiles.keys));
    lastPlaces[row] = arith::IndexCastOp::create(builder, loc, builder.getI32Type(), math().value(last));
  }
  SmallVector<Value> seen;
  for (auto [i, logit] : llvm::enumerate(logits)) {
    Value isSeen = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::sge, lastPlaces[getRow(i)],
                                         number(getKey(i)));
    seen.push_back(e.select(isSeen, logit, negativeInfinity()));
  }
  scf::YieldOp::create(builder, loc, seen);
  return SmallVector<Value>(branch.getResults());
}

void TensorAttentionEmitter::emitWeights(MutableArrayRef<Value> sums, Value first,
                                         MutableArrayRef<Value> state) {
  Type f32 = builder.getF32Type();
  auto larger = [&](Value x, Value y) -> Value { return arith::MaxNumFOp::create(builder, loc, x, y); };
  // Nothing but a positive scale leaves the order of sums as it is: they are scaled on the way to weights.
  double scale = problem.op.getScale().convertToDouble() * M_LOG2E;
  bool areScaled = problem.op.getMask() || problem.op.getSoftcap() || scale <= 0;
  double unit = areScaled ? 1 : scale;
  if (areScaled) {
    ElementEmitter::Scope scope(elements);
    for (auto [i, sum] : llvm::enumerate(sums)) {
      OpFoldResult key = math().add(math().add(first, column), math().constant(getKey(i)));
      sum = finishLogit(sum, clampedQueries[getRow(i)], math().value(key));
    }
  }
  llvm::copy(hideKeys(sums, first), sums.begin());
  for (int64_t row = 0; row < kRows; ++row) {
    auto forRow = [&](MutableArrayRef<Value> values, llvm::function_ref<void(Value &)> change) {
      for (auto [i, value] : llvm::enumerate(values)) {
        if (getRow(i) == row) {
          change(value);
        }
      }
    };
    Value maximum = state[row];
    forRow(sums, [&](Value &sum) { maximum = larger(maximum, sum); });
    maximum = reduceRow(maximum, larger);
    // While no key is seen, all is 0: infinities have no difference.
    Value isEmpty = e.compare(arith::CmpFPredicate::OEQ, maximum, negativeInfinity());
    Value base = e.select(isEmpty, e.zero(f32), maximum), negativeBase = e.mul(base, -unit);
    Value kept = emitExp2(builder, loc, e.fma(state[row], unit, negativeBase));
    Value &total = state[kRows + row];
    total = e.mul(total, kept);
    forRow(sums, [&](Value &sum) {
      sum = emitExp2(builder, loc, e.fma(sum, unit, negativeBase));
      total = e.add(total, sum);
    });
    forRow(state.drop_front(kResults), [&](Value &result) { result = e.mul(result, kept); });
    state[row] = maximum;
  }
}

SmallVector<Value> TensorAttentionEmitter::packWeights(ArrayRef<Value> weights, int64_t step) {
  if (tiles.format == MatrixFormat::TF32) {
    // Of eight keys a lane has two neighbours; values are read in that order.
    ArrayRef<Value> own = weights.slice(step * 4, 4);
    SmallVector<Value> registers;
    for (int64_t i : {0, 2, 1, 3}) {
      registers.push_back(
          roundToTF32(builder, loc, arith::BitcastOp::create(builder, loc, builder.getI32Type(), own[i])));
    }
    return registers;
  }
  SmallVector<Value> registers;
  for (int64_t i = 0; i < 8; i += 2) {
    registers.push_back(
        packPair(builder, loc, tiles.format, weights[step * 8 + i], weights[step * 8 + i + 1]));
  }
  return registers;
}

void TensorAttentionEmitter::multiplyValues(Value stage, ArrayRef<Value> weights,
                                            MutableArrayRef<Value> results) {
  for (int64_t step = 0; step < tiles.keys / getDepth(tiles.format); ++step) {
    SmallVector<Value> rows = packWeights(weights, step);
    for (int64_t block = 0; block < countValueBlocks(); ++block) {
      SmallVector<Value> columns = valueTile.load(stage, block, step);
      for (int64_t i = 0; i < 2; ++i) {
        auto own = results.slice((2 * block + i) * 4, 4);
        llvm::copy(emitProduct(builder, loc, tiles.format, rows, ArrayRef(columns).slice(2 * i, 2), own),
                   own.begin());
      }
    }
  }
}

SmallVector<Value> TensorAttentionEmitter::emitKeys(Value first, ValueRange before) {
  SmallVector<Value> state(before.drop_back());
  Value stage = before.back();
  // All but the values are there, for all threads; and all have read what is filled next.
  emitCopyWait(builder, loc, 1);
  emitBarrier(builder, loc);
  fillNext(keyTile, keys, stage, first);
  SmallVector<Value> weights = multiplyKeys(stage);
  emitWeights(weights, first, state);
  // All but the next keys.
  emitCopyWait(builder, loc, 1);
  emitBarrier(builder, loc);
  fillNext(valueTile, values, stage, first);
  multiplyValues(stage, weights, MutableArrayRef(state).drop_front(kResults));
  state.push_back(arith::SubIOp::create(builder, loc, number(1), stage));
  return state;
}

LogicalResult TensorAttentionEmitter::emitResult(ArrayRef<Value> state) {
  StridedView view = getOutputView(context, problem.output);
  Type element = cast<RankedTensorType>(problem.op.getType()).getElementType();
  // Neighbours are stored together where no head ends between them.
  int64_t lanes = problem.valueDepth % 2 == 0 ? 2 : 1;
  for (int64_t row = 0; row < kRows; ++row) {
    Value sum = reduceRow(state[kRows + row], [&](Value x, Value y) { return e.add(x, y); });
    Value factor = getNormalization(state[row], sum);
    auto store = [&](int64_t i) {
      ElementEmitter::Scope scope(elements);
      int64_t place = (i - kResults) / 4 * kMatrixColumns + i % 2;
      OpFoldResult feature = math().add(column, math().constant(place));
      SmallVector<Value> parts;
      for (int64_t lane = 0; lane < lanes; ++lane) {
        parts.push_back(e.toFloat(e.mul(state[i + lane], factor), element));
      }
      Value value = parts.front();
      if (lanes > 1) {
        value = vector::FromElementsOp::create(builder, loc, VectorType::get({lanes}, element), parts);
      }
      auto storeExisting = [&] {
        elements.setValue(problem.op.getResult(), value);
        Tile tile{math().values({batch, queries[row], head, feature}), lanes == 1 ? 0 : lanes, Value()};
        FailureOr<Value> result = elements.evaluate(problem.output.getValue(), tile);
        if (failed(result)) {
          status = failure();
        } else {
          storeTile(builder, loc, *result, view, tile);
        }
      };
      if (Value exists = emitIsInside(math(), feature, math().constant(problem.valueDepth), kMatrixColumns)) {
        emitIf(exists, storeExisting);
      } else {
        storeExisting();
      }
    };
    Value exists = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ult, queries[row],
                                         math().value(problem.queryCount));
    emitIf(exists, [&] {
      for (int64_t i = kResults; i < int64_t(state.size()); i += lanes) {
        if (i / 2 % kRows == row && (i - kResults) / 4 * kMatrixColumns < problem.valueDepth) {
          store(i);
        }
      }
    });
  }
  return status;
}

LogicalResult TensorAttentionEmitter::emit() {
  decodeBlock(kQueries);
  placeTiles();
  keys = getSource(problem.op.getK(), keyHead, problem.keyCount);
  values = getSource(problem.op.getV(), keyHead, problem.keyCount);
  Value zero = math().value(math().constant(0));
  fill(queryTile, getSource(problem.op.getQ(), head, problem.queryCount), number(0),
       math().value(firstQuery));
  emitCopyGroup(builder, loc);
  fill(keyTile, keys, number(0), zero);
  emitCopyGroup(builder, loc);
  fill(valueTile, values, number(0), zero);
  emitCopyGroup(builder, loc);
  // Queries stay in registers where these hold them beside the result.
  constexpr int64_t kKeptDepth = 128;
  if (tiles.depth * getElementBytes(tiles.format) <= kKeptDepth * 2) {
    emitCopyWait(builder, loc, 2);
    emitBarrier(builder, loc);
    for (int64_t step = 0; step < countSteps(); ++step) {
      queryRegisters.push_back(queryTile.load(number(0), 0, step));
    }
  }
  Type f32 = builder.getF32Type();
  SmallVector<Value> state{negativeInfinity(), negativeInfinity()};
  state.append(kRows + countValueBlocks() * kMatrixRows / 2, e.zero(f32));
  state.push_back(number(0));
  state = emitLoop(math().constant(0), keyEnd, tiles.keys, state,
                   [&](Value first, ValueRange before) { return emitKeys(first, before); });
  state.pop_back();
  return failed(status) ? failure() : emitResult(state);
}

/// The format of the products, if tensor cores multiply all operands.
static std::optional<MatrixFormat> getFormat(const ElementContext &context, nn::AttentionOp op) {
  Type element = cast<RankedTensorType>(op.getQ().getType()).getElementType();
  bool isSame = llvm::all_of(ArrayRef<Value>{op.getK(), op.getV()}, [&](Value value) {
    return cast<RankedTensorType>(value.getType()).getElementType() == element;
  });
  std::optional<MatrixFormat> format = isSame ? getMatrixFormat(element, context.inTF32) : std::nullopt;
  return format == MatrixFormat::F32 ? std::nullopt : format;
}

bool cuda::isTensorAttention(const ElementContext &context, const AttentionProblem &problem) {
  std::optional<MatrixFormat> format = getFormat(context, problem.op);
  return format && Tiles(problem, *format).keys > 0;
}

Launch cuda::planTensorAttention(ElementContext &context, const AttentionProblem &problem) {
  IndexMath math{context.builder, nn::AttentionOp(problem.op).getLoc()};
  // Sums of the result, of logits, and queries: more than ptxas gives by itself.
  return Launch{problem.countBlocks(math, kQueries), kThreads, /*blocksAtOnce=*/1};
}

LogicalResult cuda::emitTensorAttention(EmitContext &context, const AttentionProblem &problem) {
  return TensorAttentionEmitter(context, problem, Tiles(problem, *getFormat(context, problem.op))).emit();
}
