// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Attention by tensor cores, in one pass over the keys. A warp has 16 queries of one head; keys and values
/// come through two stages of shared memory each, the next keys while the weights of these are computed, the
/// next values while these are multiplied. The sums of the first product are where the second one wants its
/// operand: in the same lanes. Where blocks have ranges of keys, all warps of one have the same rows, and a
/// part of the keys of a stage.

#include "AttentionBlocks.h"
#include "DeviceOps.h"
#include "StagedTile.h"
#include "lathe/Dialect/NN/Transforms/Remarks.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/Support/MathExtras.h"

#include <cmath>

using namespace mlir;
using namespace lathe;
using namespace lathe::cuda;

static constexpr int64_t kWarps = 4, kThreads = kWarps * kWarp, kStages = 2;
static_assert(AttentionGrid::kFewRows == kMatrixRows);

namespace {
/// The tiles of a block in shared memory.
struct Tiles {
  MatrixFormat format;
  /// Features of a tile: what does not exist is 0.
  int64_t depth, valueDepth;
  /// Whether warps divide the keys of a stage, not the queries.
  bool divideKeys;
  /// Rows of the block; keys of a stage, 0: not even few of them fit.
  int64_t rows, keys = 0;

  Tiles(const AttentionProblem &problem, MatrixFormat format, bool divideKeys);
  int64_t getBytes(int64_t keys) const {
    return (rows * depth + kStages * keys * (depth + valueDepth)) * getElementBytes(format);
  }
  int64_t getWarpKeys() const { return divideKeys ? keys / kWarps : keys; }
};

class TensorAttentionEmitter : AttentionBlocks {
public:
  TensorAttentionEmitter(EmitContext &context, const AttentionProblem &problem, const Tiles &tiles)
      : AttentionBlocks(context, problem), tiles(tiles),
        queryTile(context, loc, tiles.format, StagedTile::Lhs, /*alongDepth=*/true, tiles.rows, tiles.depth),
        keyTile(context, loc, tiles.format, StagedTile::Rhs, /*alongDepth=*/true, tiles.keys, tiles.depth),
        valueTile(context, loc, tiles.format, StagedTile::Rhs, /*alongDepth=*/false, tiles.valueDepth,
                  tiles.keys, /*pairsDepths=*/true) {}

  LogicalResult emit();

private:
  /// The state of the two rows of a lane: maximum, and the lane's own part of the sum; then its elements of
  /// the result.
  static constexpr int64_t kRows = 2, kResults = 2 * kRows;

  void placeTiles();
  /// One head of keys, values, or queries, as a matrix.
  TileSource getSource(Value tensor, OpFoldResult headNumber, OpFoldResult lines);
  TileSource getRowSource();
  void fill(StagedTile &tile, const TileSource &source, Value stage, Value first);
  /// Begins to fill a stage with what comes `after` the keys from `first` on, if there is that much.
  void fillNext(StagedTile &tile, const TileSource &source, Value stage, Value first);
  SmallVector<Value> multiplyKeys(Value stage);
  /// Of a lane's sums, and elements of the result: the row, and the key, counted from its first one of a
  /// stage.
  static int64_t getRowOf(size_t i) { return int64_t(i) / 2 % kRows; }
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
  /// Stores what this warp has of its rows as its part of them.
  LogicalResult emitPart(ArrayRef<Value> state);
  /// What sums are multiplied by on the way to weights: they may be scaled before.
  double getUnit() { return areScaledBefore() ? 1 : problem.op.getScale().convertToDouble() * M_LOG2E; }
  /// Nothing but a positive scale leaves the order of sums as it is.
  bool areScaledBefore() {
    return problem.op.getMask() || problem.op.getSoftcap() || problem.op.getScale().convertToDouble() <= 0;
  }
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
  /// Where all tiles lie. The number of the warp. The column of this lane among those of a block of sums, and
  /// the first of its rows in the block.
  Value memory, warp, column, firstRow;
  std::array<Row, kRows> rows;
};
} // namespace

Tiles::Tiles(const AttentionProblem &problem, MatrixFormat format, bool divideKeys)
    : format(format), divideKeys(divideKeys), rows(divideKeys ? kMatrixRows : kWarps * kMatrixRows) {
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
  // Each warp multiplies 16 keys at least.
  int64_t least = divideKeys ? kWarps * kMatrixRows : kMatrixRows;
  for (int64_t limit : {kSharedBytes, kMostSharedBytes}) {
    for (int64_t most = 64; most >= least; most /= 2) {
      if (keys == 0 && getBytes(most) <= limit) {
        keys = most;
      }
    }
  }
}

void TensorAttentionEmitter::placeTiles() {
  int64_t keyBytes = keyTile.getBytes(), valueBytes = valueTile.getBytes();
  // The parts of the warps take the place of the tiles.
  int64_t partBytes = tiles.divideKeys ? kWarps * getPartBytes(tiles.rows) : 0;
  memory = context.allocateShared(std::max(tiles.getBytes(tiles.keys), partBytes));
  auto at = [&](int64_t bytes) { return advance(builder, loc, memory, builder.getI64IntegerAttr(bytes)); };
  queryTile.place(memory, 0);
  keyTile.place(at(queryTile.getBytes()), keyBytes);
  valueTile.place(at(queryTile.getBytes() + kStages * keyBytes), valueBytes);
  Value lane = math().value(math().rem(context.thread, math().constant(kWarp)));
  warp = math().value(math().floorDiv(context.thread, math().constant(kWarp)));
  Value zero = math().value(math().constant(0));
  firstRow = tiles.divideKeys ? zero : math().value(math().mul(warp, math().constant(kMatrixRows)));
  queryTile.beginAt(lane, firstRow, kMatrixRows);
  if (tiles.divideKeys) {
    Value key = math().value(math().mul(warp, math().constant(tiles.getWarpKeys())));
    keyTile.beginAt(lane, key, tiles.getWarpKeys());
    valueTile.beginAtDepth(lane, key, tiles.getWarpKeys());
  } else {
    keyTile.beginAt(lane, zero, tiles.keys);
    valueTile.beginAt(lane, zero, tiles.valueDepth);
  }

  Value place = getAccumulatorLayout().build(builder, loc, lane);
  column = math().value(math().rem(place, math().constant(kMatrixColumns)));
  firstRow = math().value(math().add(math().floorDiv(place, math().constant(kMatrixColumns)), firstRow));
  for (int64_t i = 0; i < kRows; ++i) {
    rows[i] = getRow(math().add(firstRow, math().constant(i * kMatrixRows / 2)));
  }
}

TileSource TensorAttentionEmitter::getRowSource() {
  if (!tiles.divideKeys) {
    return getSource(problem.op.getQ(), head, problem.queryCount);
  }
  // Rows of several heads: few enough to be read one by one. What does not exist repeats the last one.
  TileSource source;
  source.lines = math().constant(tiles.rows);
  source.length = math().constant(problem.depth);
  source.element = [this](Value line, Value place) -> FailureOr<Value> {
    Row row = getRow(line);
    return elements.evaluate(problem.op.getQ(),
                             Tile{math().values({batch, row.query, row.head, place}), 0, Value()});
  };
  return source;
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
  int64_t keyCount = tiles.getWarpKeys();
  SmallVector<Value> sums(keyCount / kMatrixColumns * 4, e.zero(builder.getF32Type()));
  for (int64_t step = 0; step < countSteps(); ++step) {
    SmallVector<Value> rows =
        queryRegisters.empty() ? queryTile.load(number(0), 0, step) : queryRegisters[step];
    for (int64_t block = 0; block < keyCount / kMatrixColumns; block += 2) {
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
  // The first row of the block sees the fewest keys.
  OpFoldResult lastOfStage = math().add(first, math().constant(tiles.getWarpKeys() - 1));
  Value someAreHidden = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::sgt,
                                              math().value(lastOfStage), getRow(math().constant(0)).lastKey);
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
        math().min(math().sub(rows[row].lastKey, math().add(first, column)), math().constant(tiles.keys));
    lastPlaces[row] = arith::IndexCastOp::create(builder, loc, builder.getI32Type(), math().value(last));
  }
  SmallVector<Value> seen;
  for (auto [i, logit] : llvm::enumerate(logits)) {
    Value isSeen = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::sge, lastPlaces[getRowOf(i)],
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
  double unit = getUnit();
  if (areScaledBefore()) {
    ElementEmitter::Scope scope(elements);
    for (auto [i, sum] : llvm::enumerate(sums)) {
      OpFoldResult key = math().add(math().add(first, column), math().constant(getKey(i)));
      sum = finishLogit(sum, rows[getRowOf(i)], math().value(key));
    }
  }
  llvm::copy(hideKeys(sums, first), sums.begin());
  for (int64_t row = 0; row < kRows; ++row) {
    auto forRow = [&](MutableArrayRef<Value> values, llvm::function_ref<void(Value &)> change) {
      for (auto [i, value] : llvm::enumerate(values)) {
        if (getRowOf(i) == row) {
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
  for (int64_t step = 0; step < tiles.getWarpKeys() / getDepth(tiles.format); ++step) {
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
  OpFoldResult own =
      tiles.divideKeys ? math().mul(warp, math().constant(tiles.getWarpKeys())) : math().constant(0);
  emitWeights(weights, math().value(math().add(first, own)), state);
  // All but the next keys.
  emitCopyWait(builder, loc, 1);
  emitBarrier(builder, loc);
  fillNext(valueTile, values, stage, first);
  multiplyValues(stage, weights, MutableArrayRef(state).drop_front(kResults));
  state.push_back(arith::SubIOp::create(builder, loc, number(1), stage));
  return state;
}

LogicalResult TensorAttentionEmitter::emitResult(ArrayRef<Value> state) {
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
        storeResult(rows[row], math().value(feature), value, lanes == 1 ? 0 : lanes);
      };
      if (Value exists = emitIsInside(math(), feature, math().constant(problem.valueDepth), kMatrixColumns)) {
        emitIf(exists, storeExisting);
      } else {
        storeExisting();
      }
    };
    emitIf(rows[row].exists, [&] {
      for (int64_t i = kResults; i < int64_t(state.size()); i += lanes) {
        if (i / 2 % kRows == row && (i - kResults) / 4 * kMatrixColumns < problem.valueDepth) {
          store(i);
        }
      }
    });
  }
  return status;
}

LogicalResult TensorAttentionEmitter::emitPart(ArrayRef<Value> state) {
  // Copies that nobody needed, and what others still read, lie where parts are stored.
  emitCopyWait(builder, loc, 0);
  emitBarrier(builder, loc);
  auto getPlace = [&](int64_t row) { return math().add(firstRow, math().constant(row * kMatrixRows / 2)); };
  for (int64_t row = 0; row < kRows; ++row) {
    Value sum = reduceRow(state[kRows + row], [&](Value x, Value y) { return e.add(x, y); });
    Value isFirst = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::eq, column,
                                          math().value(math().constant(0)));
    emitIf(isFirst, [&] { storeMaximum(memory, warp, getPlace(row), e.mul(state[row], getUnit()), sum); });
  }
  for (auto [i, value] : llvm::enumerate(state.drop_front(kResults))) {
    int64_t block = int64_t(i) / 4 * kMatrixColumns;
    if (block >= problem.valueDepth) {
      continue;
    }
    OpFoldResult feature = math().add(column, math().constant(block + int64_t(i) % 2));
    auto store = [&, i = i, value = value] {
      storeFeature(memory, warp, getPlace(getRowOf(i)), feature, value);
    };
    if (Value exists = emitIsInside(math(), feature, math().constant(problem.valueDepth), kMatrixColumns)) {
      emitIf(exists, store);
    } else {
      store();
    }
  }
  return emitRangeResult(memory, kWarps, kThreads);
}

LogicalResult TensorAttentionEmitter::emit() {
  if (tiles.divideKeys) {
    decodeRange(tiles.keys, tiles.rows);
  } else {
    decodeBlock(tiles.rows);
  }
  placeTiles();
  keys = getSource(problem.op.getK(), keyHead, problem.keyCount);
  values = getSource(problem.op.getV(), keyHead, problem.keyCount);
  fill(queryTile, getRowSource(), number(0),
       math().value(tiles.divideKeys ? math().constant(0) : firstQuery));
  emitCopyGroup(builder, loc);
  fill(keyTile, keys, number(0), keyBegin);
  emitCopyGroup(builder, loc);
  fill(valueTile, values, number(0), keyBegin);
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
  state = emitLoop(keyBegin, keyEnd, tiles.keys, state,
                   [&](Value first, ValueRange before) { return emitKeys(first, before); });
  state.pop_back();
  return failed(status) ? failure() : tiles.divideKeys ? emitPart(state) : emitResult(state);
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

void cuda::remarkOtherAttention(const ElementContext &context, const AttentionProblem &problem) {
  std::optional<MatrixFormat> format = getFormat(context, problem.op);
  if (format && !isTensorAttention(context, problem)) {
    nn::remarkMissed(problem.op, "emit-cuda-kernels",
                     "multiplied as f32, not by tensor cores: of heads of " + Twine(problem.depth) + " and " +
                         Twine(problem.valueDepth) + " features, with " + Twine(getElementBytes(*format)) +
                         " bytes each, 64 queries and twice 16 keys with their values do not fit " +
                         Twine(kMostSharedBytes) + " bytes of shared memory, or the registers");
  }
}

bool cuda::isTensorAttention(const ElementContext &context, const AttentionProblem &problem) {
  std::optional<MatrixFormat> format = getFormat(context, problem.op);
  return format && Tiles(problem, *format, /*divideKeys=*/false).keys > 0;
}

/// What is done by queries, and by keys if that fits the shared memory.
static std::pair<Tiles, Tiles> getTiles(const ElementContext &context, const AttentionProblem &problem) {
  MatrixFormat format = *getFormat(context, problem.op);
  return {Tiles(problem, format, /*divideKeys=*/false), Tiles(problem, format, /*divideKeys=*/true)};
}

Launch cuda::planTensorAttention(ElementContext &context, const AttentionProblem &problem) {
  IndexMath math{context.builder, nn::AttentionOp(problem.op).getLoc()};
  auto [byQueries, byKeys] = getTiles(context, problem);
  AttentionChoice choice(problem, /*mostRows=*/byKeys.keys > 0 ? byKeys.rows : 0);
  // Sums of the result, of logits, and queries: more than ptxas gives by itself.
  return Launch{choice.countBlocks(math, problem, byQueries.rows, byKeys.keys), kThreads,
                /*blocksAtOnce=*/1};
}

LogicalResult cuda::emitTensorAttention(EmitContext &context, const AttentionProblem &problem) {
  auto [byQueries, byKeys] = getTiles(context, problem);
  AttentionChoice choice(problem, /*mostRows=*/byKeys.keys > 0 ? byKeys.rows : 0);
  auto emit = [&](const Tiles &tiles) { return TensorAttentionEmitter(context, problem, tiles).emit(); };
  return choice.emit(
      context, problem, [&, &tiles = byQueries] { return emit(tiles); },
      [&, &tiles = byKeys] { return emit(tiles); });
}
