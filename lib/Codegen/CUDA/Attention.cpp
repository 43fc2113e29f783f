// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Attention in one pass over the keys. A block has some queries of one head; keys and values come through
/// shared memory, and every query keeps a running maximum and a running sum of its softmax. The features of a
/// query, and of its result, are spread over the registers of some neighbouring threads. Where blocks have
/// ranges of keys, several such teams have the same row, and a part of the keys in shared memory each. True
/// f32; TensorAttention.cpp has what tensor cores multiply.

#include "AttentionBlocks.h"
#include "DeviceOps.h"
#include "Factors.h"
#include "lathe/Codegen/Math/Math.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cuda;

/// Threads of a block.
static constexpr int64_t kThreads = 128;
/// The features of a query, and of its result, that a thread has at most: what fits its registers.
static constexpr int64_t kFeatures = 32;
/// The keys in shared memory at a time, at most, and those that are done in one step; more where teams divide
/// them.
static constexpr int64_t kKeys = 32, kStep = 4, kDividedKeys = 64;

namespace {
/// How a block of threads divides some rows.
struct Teams {
  int64_t depth, valueDepth;
  /// The threads of a row.
  int64_t team = 1;
  /// The rows of the block, and the teams that have the same one.
  int64_t rows = 0, parts = 1;

  explicit Teams(const AttentionProblem &problem);
  /// Those of a block with a range of keys; no rows: it cannot have one.
  static Teams divideKeys(const AttentionProblem &problem);

  int64_t count() const { return kThreads / team; }
  bool dividesKeys = false;
  /// The features of a thread, and of a row in shared memory: those that do not exist are 0.
  int64_t depthOfThread() const { return llvm::divideCeil(depth, team * kSharedVector) * kSharedVector; }
  int64_t valuesOfThread() const {
    return llvm::divideCeil(valueDepth, team * kSharedVector) * kSharedVector;
  }
  int64_t keyStride() const { return depthOfThread() * team; }
  int64_t valueStride() const { return valuesOfThread() * team; }
  /// Keys at a time: both tiles take two thirds of the shared memory at most.
  int64_t keys() const {
    int64_t fit = kSharedBytes * 2 / 3 / 4 / (keyStride() + valueStride());
    return dividesKeys ? int64_t(llvm::bit_floor(uint64_t(std::min(fit, kDividedKeys))))
                       : std::clamp<int64_t>(fit / kStep * kStep, 0, kKeys);
  }
  /// Keys that a team does in one step.
  int64_t step() const { return std::min(kStep, keys() / parts); }
};

class AttentionEmitter : AttentionBlocks {
public:
  AttentionEmitter(EmitContext &context, const AttentionProblem &problem, const Teams &teams)
      : AttentionBlocks(context, problem), teams(teams) {}

  LogicalResult emit();

private:
  void decodeThread();
  void loadQuery();
  /// Fills a tile with keys or values from `first` on.
  void stage(Value tensor, Value tile, int64_t stride, int64_t features, Value first);
  /// The logit of key `key`, the tile's number `place`.
  Value emitLogit(Value key, OpFoldResult place);
  /// Maximum, sum and result after the keys of a step, from `place` of the tile on.
  SmallVector<Value> emitStep(Value first, Value place, ValueRange before);
  LogicalResult emitResult(ArrayRef<Value> state);
  /// Stores what this team has of its row as its part of it.
  LogicalResult emitPart(ArrayRef<Value> state);
  /// Emits `body` where a feature of this thread exists.
  void ifExists(int64_t i, int64_t stride, int64_t features, llvm::function_ref<void()> body);
  /// The feature that element `i` of this thread is: vectors of the threads of a query lie side by side.
  OpFoldResult feature(int64_t i) {
    OpFoldResult first = math().mul(part, math().constant(kSharedVector));
    int64_t vector = i / kSharedVector * kSharedVector * teams.team;
    return math().add(first, math().constant(vector + i % kSharedVector));
  }
  /// The features of this thread in row `place` of a tile.
  SmallVector<Value> loadFeatures(Value tile, OpFoldResult place, int64_t stride, int64_t count);

  Teams teams;
  /// The row of this thread, its number in the block, and which part of its features the thread has; which of
  /// the teams that have the row its own is.
  Row row;
  Value rowNumber, part, teamOfRow;
  Value keyTile, valueTile;
  SmallVector<Value> queryFeatures;
};
} // namespace

Teams::Teams(const AttentionProblem &problem) : depth(problem.depth), valueDepth(problem.valueDepth) {
  while (std::max(depthOfThread(), valuesOfThread()) > kFeatures && team < kWarp) {
    team *= 2;
  }
  rows = count();
}

Teams Teams::divideKeys(const AttentionProblem &problem) {
  Teams teams(problem);
  teams.dividesKeys = true;
  // A row has as few threads as it can: others would repeat what these do.
  int64_t queries = getConstantIntValue(problem.queryCount).value_or(1);
  int64_t wanted = int64_t(llvm::PowerOf2Ceil(uint64_t(problem.heads / problem.keyHeads * queries)));
  bool fits = wanted <= std::min(AttentionGrid::kFewRows, teams.count()) && teams.keys() > 0;
  teams.rows = fits ? wanted : 0;
  teams.parts = fits ? std::min(teams.count() / wanted, teams.keys()) : 1;
  return teams;
}

void AttentionEmitter::decodeThread() {
  if (teams.dividesKeys) {
    decodeRange(teams.keys(), teams.rows);
  } else {
    decodeBlock(teams.rows);
  }
  OpFoldResult number = math().floorDiv(context.thread, math().constant(teams.team));
  part = math().value(math().rem(context.thread, math().constant(teams.team)));
  rowNumber = math().value(math().rem(number, math().constant(teams.rows)));
  teamOfRow = math().value(math().floorDiv(number, math().constant(teams.rows)));
  row = getRow(rowNumber);
}

void AttentionEmitter::loadQuery() {
  bool isWhole = teams.keyStride() == problem.depth;
  for (int64_t i = 0; i < teams.depthOfThread(); ++i) {
    ElementEmitter::Scope scope(elements);
    auto load = [&]() -> FailureOr<Value> {
      return evaluate(problem.op.getQ(), {batch, row.query, row.head, feature(i)});
    };
    if (isWhole) {
      queryFeatures.push_back(*load());
      continue;
    }
    Value exists = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ult, math().value(feature(i)),
                                         math().value(math().constant(problem.depth)));
    queryFeatures.push_back(*emitWhere(builder, loc, exists, e.zero(builder.getF32Type()), load));
  }
}

void AttentionEmitter::stage(Value tensor, Value tile, int64_t stride, int64_t features, Value first) {
  emitLoop(context.thread, math().constant(teams.keys() * stride), kThreads, [&](Value number) {
    ElementEmitter::Scope scope(elements);
    OpFoldResult key = math().add(first, math().floorDiv(number, math().constant(stride)));
    OpFoldResult at = math().rem(number, math().constant(stride));
    auto isBelow = [&](OpFoldResult position, OpFoldResult end) -> Value {
      return arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ult, math().value(position),
                                   math().value(end));
    };
    Value exists = isBelow(key, problem.keyCount);
    if (features != stride) {
      exists = e.bitAnd(exists, isBelow(at, math().constant(features)));
    }
    auto load = [&]() -> FailureOr<Value> { return evaluate(tensor, {batch, key, keyHead, at}); };
    Value value = *emitWhere(builder, loc, exists, e.zero(builder.getF32Type()), load);
    memref::StoreOp::create(builder, loc, value, tile, number);
  });
}

SmallVector<Value> AttentionEmitter::loadFeatures(Value tile, OpFoldResult place, int64_t stride,
                                                  int64_t count) {
  SmallVector<Value> features;
  OpFoldResult row = math().mul(place, math().constant(stride));
  for (int64_t i = 0; i < count; i += kSharedVector) {
    Value at = math().value(math().add(row, feature(i)));
    llvm::append_range(features, loadShared(builder, loc, tile, at));
  }
  return features;
}

Value AttentionEmitter::emitLogit(Value key, OpFoldResult place) {
  Type f32 = builder.getF32Type();
  Value logit = e.zero(f32);
  SmallVector<Value> keyFeatures = loadFeatures(keyTile, place, teams.keyStride(), teams.depthOfThread());
  for (auto [own, other] : llvm::zip_equal(queryFeatures, keyFeatures)) {
    logit = e.fma(own, other, logit);
  }
  for (int64_t distance = teams.team / 2; distance > 0; distance /= 2) {
    logit = e.add(logit, emitExchange(builder, loc, logit, distance));
  }
  Value isSeen = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::sle, key, row.lastKey);
  return e.select(isSeen, finishLogit(logit, row, key), negativeInfinity());
}

SmallVector<Value> AttentionEmitter::emitStep(Value first, Value place, ValueRange before) {
  Type f32 = builder.getF32Type();
  Value maximum = before[0], sum = before[1];
  SmallVector<Value> logits, weights, places;
  for (int64_t i = 0; i < teams.step(); ++i) {
    places.push_back(math().value(math().add(place, math().constant(i))));
    logits.push_back(emitLogit(math().value(math().add(first, places.back())), places.back()));
  }
  Value larger = maximum;
  for (Value logit : logits) {
    larger = e.select(e.compare(arith::CmpFPredicate::OGT, logit, larger), logit, larger);
  }
  // While no key is seen, all is 0: infinities have no difference.
  Value hidden = negativeInfinity();
  Value base = e.select(e.compare(arith::CmpFPredicate::OEQ, larger, hidden), e.zero(f32), larger);
  Value kept = approx::buildExp2(builder, loc, e.sub(maximum, base));
  sum = e.mul(sum, kept);
  for (Value logit : logits) {
    weights.push_back(approx::buildExp2(builder, loc, e.sub(logit, base)));
    sum = e.add(sum, weights.back());
  }
  SmallVector<Value> after{larger, sum};
  for (Value result : before.drop_front(2)) {
    after.push_back(e.mul(result, kept));
  }
  for (auto [weight, at] : llvm::zip_equal(weights, places)) {
    SmallVector<Value> values = loadFeatures(valueTile, at, teams.valueStride(), teams.valuesOfThread());
    for (auto [result, value] : llvm::zip_equal(MutableArrayRef(after).drop_front(2), values)) {
      result = e.fma(weight, value, result);
    }
  }
  return after;
}

void AttentionEmitter::ifExists(int64_t i, int64_t stride, int64_t features,
                                llvm::function_ref<void()> body) {
  if (stride == features) {
    return body();
  }
  emitIf(arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ult, math().value(feature(i)),
                               math().value(math().constant(features))),
         body);
}

LogicalResult AttentionEmitter::emitResult(ArrayRef<Value> state) {
  Value factor = getNormalization(state[0], state[1]);
  Type element = cast<RankedTensorType>(problem.op.getType()).getElementType();
  emitIf(row.exists, [&] {
    for (auto [i, value] : llvm::enumerate(state.drop_front(2))) {
      ifExists(int64_t(i), teams.valueStride(), problem.valueDepth, [&, i = i, value = value] {
        storeResult(row, math().value(feature(int64_t(i))), e.toFloat(e.mul(value, factor), element),
                    /*lanes=*/0);
      });
    }
  });
  return status;
}

LogicalResult AttentionEmitter::emitPart(ArrayRef<Value> state) {
  Value parts = context.allocateShared(teams.parts * getPartBytes(teams.rows));
  auto isBelow = [&](Value number, int64_t end) -> Value {
    return arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ult, number,
                                 math().value(math().constant(end)));
  };
  // Teams behind those that divide the keys have seen none.
  emitIf(isBelow(teamOfRow, teams.parts), [&] {
    for (auto [i, value] : llvm::enumerate(state.drop_front(2))) {
      ifExists(int64_t(i), teams.valueStride(), problem.valueDepth, [&, i = i, value = value] {
        storeFeature(parts, teamOfRow, rowNumber, feature(int64_t(i)), value);
      });
    }
    emitIf(isBelow(part, 1), [&] { storeMaximum(parts, teamOfRow, rowNumber, state[0], state[1]); });
  });
  return emitRangeResult(parts, teams.parts, kThreads);
}

LogicalResult AttentionEmitter::emit() {
  decodeThread();
  keyTile = context.allocateShared(loc, builder.getF32Type(), teams.keys() * teams.keyStride());
  valueTile = context.allocateShared(loc, builder.getF32Type(), teams.keys() * teams.valueStride());
  loadQuery();
  Type f32 = builder.getF32Type();
  SmallVector<Value> state{negativeInfinity(), e.zero(f32)};
  state.append(teams.valuesOfThread(), e.zero(f32));
  // The places of a tile that a team has: every so many of them, from its own first one on.
  int64_t stride = teams.step() * teams.parts;
  OpFoldResult own =
      teams.dividesKeys ? math().rem(teamOfRow, math().constant(teams.parts)) : math().constant(0);
  OpFoldResult firstPlace = math().mul(own, math().constant(teams.step()));
  state = emitLoop(keyBegin, keyEnd, teams.keys(), state, [&](Value first, ValueRange before) {
    stage(problem.op.getK(), keyTile, teams.keyStride(), problem.depth, first);
    stage(problem.op.getV(), valueTile, teams.valueStride(), problem.valueDepth, first);
    emitBarrier(builder, loc);
    OpFoldResult end = math().add(firstPlace, math().constant(teams.keys()));
    SmallVector<Value> after =
        emitLoop(firstPlace, end, stride, SmallVector<Value>(before),
                 [&](Value place, ValueRange now) { return emitStep(first, place, now); });
    // Nobody may fill the tiles again before all have read them.
    emitBarrier(builder, loc);
    return after;
  });
  return failed(status) ? failure() : teams.dividesKeys ? emitPart(state) : emitResult(state);
}

static LogicalResult checkTeams(const AttentionProblem &problem, const Teams &teams) {
  if (teams.keys() > 0) {
    return success();
  }
  return nn::AttentionOp(problem.op).emitOpError()
         << "[E0401] has heads of " << problem.depth << " and " << problem.valueDepth
         << " features, of which " << kStep << " keys do not fit the shared memory of a CUDA device";
}

static FailureOr<Launch> planAttention(ElementContext &context) {
  FailureOr<AttentionProblem> problem = analyzeAttention(context);
  if (failed(problem)) {
    return failure();
  }
  if (isTensorAttention(context, *problem)) {
    return planTensorAttention(context, *problem);
  }
  Teams byQueries(*problem), byKeys = Teams::divideKeys(*problem);
  if (failed(checkTeams(*problem, byQueries))) {
    return failure();
  }
  IndexMath math{context.builder, problem->op.getLoc()};
  AttentionChoice choice(*problem, byKeys.rows);
  // Of long heads, code for both takes more registers than ptxas gives by itself.
  constexpr int64_t kLongHead = 128;
  bool isLong = std::max(problem->depth, problem->valueDepth) > kLongHead;
  int64_t blocksAtOnce = isLong && choice.kind == AttentionChoice::ByRun ? 1 : 0;
  return Launch{choice.countBlocks(math, *problem, byQueries.rows, byKeys.keys()), kThreads, blocksAtOnce};
}

static LogicalResult emitAttention(EmitContext &context) {
  FailureOr<AttentionProblem> problem = analyzeAttention(context);
  if (failed(problem)) {
    return failure();
  }
  if (isTensorAttention(context, *problem)) {
    return emitTensorAttention(context, *problem);
  }
  remarkOtherAttention(context, *problem);
  auto emit = [&](const Teams &teams) { return AttentionEmitter(context, *problem, teams).emit(); };
  Teams byKeys = Teams::divideKeys(*problem);
  return AttentionChoice(*problem, byKeys.rows)
      .emit(context, *problem, [&] { return emit(Teams(*problem)); }, [&] { return emit(byKeys); });
}

cuda::Emitter cuda::getAttentionEmitter() { return {planAttention, emitAttention}; }
