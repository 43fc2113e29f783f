// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Attention in one pass over the keys. A block has some queries of one head; keys and values come through
/// shared memory, and every query keeps a running maximum and a running sum of its softmax. The features of a
/// query, and of its result, are spread over the registers of some neighbouring threads. True f32.

#include "DeviceOps.h"
#include "Factors.h"
#include "lathe/Codegen/Element/IndexMath.h"
#include "lathe/Codegen/Element/LoopEmitter.h"
#include "lathe/Codegen/Math/Emitter.h"
#include "lathe/Codegen/Math/Math.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

#include <cmath>
#include <limits>

using namespace mlir;
using namespace lathe;
using namespace lathe::cuda;

/// Threads of a block.
static constexpr int64_t kThreads = 128;
/// The features of a query, and of its result, that a thread has at most: what fits its registers.
static constexpr int64_t kFeatures = 32;
/// The keys in shared memory at a time, at most, and those that are done in one step.
static constexpr int64_t kKeys = 32, kStep = 4;

namespace {
struct AttentionProblem {
  nn::AttentionOp op;
  kernel::OutputOp output;
  OpFoldResult batch, queryCount, keyCount;
  int64_t heads, keyHeads, depth, valueDepth;
  /// The threads of a query, the queries of a block, and the blocks of a head.
  int64_t team = 1;
  OpFoldResult queryBlocks;

  int64_t queries() const { return kThreads / team; }
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
    return std::clamp<int64_t>(fit / kStep * kStep, 0, kKeys);
  }
};

class AttentionEmitter : LoopEmitter {
public:
  AttentionEmitter(EmitContext &context, const AttentionProblem &problem)
      : LoopEmitter(context.builder, nn::AttentionOp(problem.op).getLoc()), context(context),
        problem(problem), e(builder, loc), elements(context) {}

  LogicalResult emit();

private:
  void decodeBlock();
  /// An element of an operand as f32; zero, and a failure, where that cannot be emitted.
  Value evaluate(Value tensor, ArrayRef<OpFoldResult> index);
  void loadQuery();
  /// Fills a tile with keys or values from `first` on.
  void stage(Value tensor, Value tile, int64_t stride, int64_t features, Value first);
  /// The scaled and masked logit of key `key`, the tile's number `place`, minus infinity if it is not seen.
  Value emitLogit(Value key, OpFoldResult place);
  Value evaluateMask(Value key);
  /// Maximum, sum and result after keys [place, place + kStep) of the tile.
  SmallVector<Value> emitStep(Value first, Value place, ValueRange before);
  LogicalResult emitResult(ArrayRef<Value> state);
  /// The feature that element `i` of this thread is: vectors of the threads of a query lie side by side.
  OpFoldResult feature(int64_t i) {
    OpFoldResult first = math().mul(part, math().constant(kSharedVector));
    int64_t vector = i / kSharedVector * kSharedVector * problem.team;
    return math().add(first, math().constant(vector + i % kSharedVector));
  }
  /// The features of this thread in row `place` of a tile.
  SmallVector<Value> loadFeatures(Value tile, OpFoldResult place, int64_t stride, int64_t count);

  EmitContext &context;
  AttentionProblem problem;
  lathe::Emitter e;
  ElementEmitter elements;
  OpFoldResult batch, head, keyHead;
  /// The number of the query, that of the last one there is in its place, and which part of its features.
  Value query, clampedQuery, part;
  /// Where the keys end that any query of the block sees, and the last one that this query sees.
  Value keyEnd, lastKey;
  Value keyTile, valueTile;
  SmallVector<Value> queryFeatures;
  LogicalResult status = success();
};
} // namespace

static FailureOr<AttentionProblem> analyzeAttention(ElementContext &context) {
  AttentionProblem problem;
  for (Operation &op : context.kernel.getBody().front()) {
    if (auto attention = dyn_cast<nn::AttentionOp>(op)) {
      problem.op = attention;
    } else if (auto output = dyn_cast<kernel::OutputOp>(op)) {
      problem.output = output;
    }
  }
  if (!problem.op || !problem.output) {
    return context.kernel.emitOpError("expects one attention with one result");
  }
  auto getSize = [](Value tensor, int64_t dim) {
    return cast<RankedTensorType>(tensor.getType()).getDimSize(dim);
  };
  problem.heads = getSize(problem.op.getQ(), 2);
  problem.depth = getSize(problem.op.getQ(), 3);
  problem.keyHeads = getSize(problem.op.getK(), 2);
  problem.valueDepth = getSize(problem.op.getV(), 3);
  if (llvm::any_of(ArrayRef{problem.heads, problem.depth, problem.keyHeads, problem.valueDepth},
                   ShapedType::isDynamic)) {
    return problem.op.emitOpError("has heads whose number or size is dynamic");
  }
  FailureOr<ArrayRef<OpFoldResult>> keyDims = context.shapes.getDims(problem.op.getK());
  if (failed(keyDims)) {
    return problem.op.emitOpError("has keys of unknown shape");
  }
  problem.keyCount = (*keyDims)[1];
  FailureOr<ArrayRef<OpFoldResult>> queryDims = context.shapes.getDims(problem.op.getQ());
  if (failed(queryDims)) {
    return problem.op.emitOpError("has queries of unknown shape");
  }
  problem.batch = (*queryDims)[0];
  problem.queryCount = (*queryDims)[1];
  while (std::max(problem.depthOfThread(), problem.valuesOfThread()) > kFeatures && problem.team < kWarp) {
    problem.team *= 2;
  }
  if (problem.keys() == 0) {
    return problem.op.emitOpError() << "[E0401] has heads of " << problem.depth << " and "
                                    << problem.valueDepth << " features, of which " << kStep
                                    << " keys do not fit the shared memory of a CUDA device";
  }
  IndexMath math{context.builder, problem.op.getLoc()};
  problem.queryBlocks = math.ceilDiv(problem.queryCount, math.constant(problem.queries()));
  return problem;
}

void AttentionEmitter::decodeBlock() {
  OpFoldResult block = math().rem(context.block, problem.queryBlocks);
  OpFoldResult batchAndHead = math().floorDiv(context.block, problem.queryBlocks);
  head = math().rem(batchAndHead, math().constant(problem.heads));
  batch = math().floorDiv(batchAndHead, math().constant(problem.heads));
  keyHead = math().floorDiv(head, math().constant(problem.heads / problem.keyHeads));
  OpFoldResult firstQuery = math().mul(block, math().constant(problem.queries()));
  OpFoldResult queryOfBlock = math().floorDiv(context.thread, math().constant(problem.team));
  query = math().value(math().add(firstQuery, queryOfBlock));
  part = math().value(math().rem(context.thread, math().constant(problem.team)));
  // A query that does not exist repeats the last one and is not stored: all threads stay together.
  clampedQuery = math().value(math().min(query, math().sub(problem.queryCount, math().constant(1))));
  OpFoldResult end = problem.keyCount;
  if (problem.op.getCausal()) {
    OpFoldResult ahead = math().sub(problem.keyCount, problem.queryCount);
    lastKey = math().value(math().add(clampedQuery, ahead));
    OpFoldResult seen = math().add(math().add(firstQuery, math().constant(problem.queries())), ahead);
    end = math().min(end, math().max(seen, math().constant(0)));
  }
  keyEnd = math().value(end);
}

Value AttentionEmitter::evaluate(Value tensor, ArrayRef<OpFoldResult> index) {
  FailureOr<Value> value = elements.evaluate(tensor, Tile{math().values(index), 0, Value()});
  if (failed(value)) {
    status = failure();
    return e.zero(builder.getF32Type());
  }
  return e.toFloat(*value, builder.getF32Type());
}

void AttentionEmitter::loadQuery() {
  double factor = problem.op.getScale().convertToDouble() * M_LOG2E;
  bool isWhole = problem.keyStride() == problem.depth;
  for (int64_t i = 0; i < problem.depthOfThread(); ++i) {
    ElementEmitter::Scope scope(elements);
    auto load = [&]() -> FailureOr<Value> {
      return e.mul(evaluate(problem.op.getQ(), {batch, clampedQuery, head, feature(i)}), factor);
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
  emitLoop(context.thread, math().constant(problem.keys() * stride), kThreads, [&](Value number) {
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

/// The mask for this query and a key that exists, to be added to a logit in units of log2(e).
Value AttentionEmitter::evaluateMask(Value key) {
  ElementEmitter::Scope scope(elements);
  Value mask = problem.op.getMask();
  FailureOr<ArrayRef<OpFoldResult>> known = context.shapes.getDims(mask);
  if (failed(known)) {
    status = problem.op.emitOpError("has a mask of unknown shape");
    return e.zero(builder.getF32Type());
  }
  SmallVector<OpFoldResult> dims(*known), position{batch, head, clampedQuery, key};
  Tile tile;
  for (auto [dim, size] : llvm::enumerate(dims)) {
    OpFoldResult index = position[4 - dims.size() + dim], zero = math().constant(0);
    if (isConstantSize(size, 1)) {
      index = zero;
    } else if (!getConstantIntValue(size)) {
      // A symbol that may be 1 and then broadcasts.
      Value isOne = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::eq, math().value(size),
                                          math().value(math().constant(1)));
      index = e.select(isOne, math().value(zero), math().value(index));
    }
    tile.index.push_back(math().value(index));
  }
  FailureOr<Value> value = elements.evaluate(mask, tile);
  if (failed(value)) {
    status = failure();
    return e.zero(builder.getF32Type());
  }
  Type f32 = builder.getF32Type();
  Value hidden = e.infinity(f32, /*negative=*/true);
  if (value->getType().isInteger(1)) {
    return e.select(*value, e.zero(f32), hidden);
  }
  // The lowest finite mask, which leaves all keys of a row the same weight if it is everywhere, must not
  // become an infinity.
  Value added = e.toFloat(*value, f32);
  Value scaled = e.clampBelow(e.mul(added, M_LOG2E), -double(std::numeric_limits<float>::max()));
  return e.select(e.compare(arith::CmpFPredicate::OEQ, added, hidden), hidden, scaled);
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
  SmallVector<Value> keyFeatures = loadFeatures(keyTile, place, problem.keyStride(), problem.depthOfThread());
  for (auto [own, other] : llvm::zip_equal(queryFeatures, keyFeatures)) {
    logit = e.fma(own, other, logit);
  }
  for (int64_t distance = problem.team / 2; distance > 0; distance /= 2) {
    logit = e.add(logit, emitExchange(builder, loc, logit, distance));
  }
  Value last = math().value(math().sub(problem.keyCount, math().constant(1)));
  if (problem.op.getMask()) {
    logit = e.add(logit, evaluateMask(math().value(math().min(key, last))));
  }
  Value seen = lastKey ? math().value(math().min(last, lastKey)) : last;
  Value isSeen = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::sle, key, seen);
  return e.select(isSeen, logit, e.infinity(f32, /*negative=*/true));
}

SmallVector<Value> AttentionEmitter::emitStep(Value first, Value place, ValueRange before) {
  Type f32 = builder.getF32Type();
  Value maximum = before[0], sum = before[1];
  SmallVector<Value> logits, weights, places;
  for (int64_t i = 0; i < kStep; ++i) {
    places.push_back(math().value(math().add(place, math().constant(i))));
    logits.push_back(emitLogit(math().value(math().add(first, places.back())), places.back()));
  }
  Value larger = maximum;
  for (Value logit : logits) {
    larger = e.select(e.compare(arith::CmpFPredicate::OGT, logit, larger), logit, larger);
  }
  // While no key is seen, all is 0: infinities have no difference.
  Value hidden = e.infinity(f32, /*negative=*/true);
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
    SmallVector<Value> values = loadFeatures(valueTile, at, problem.valueStride(), problem.valuesOfThread());
    for (auto [result, value] : llvm::zip_equal(MutableArrayRef(after).drop_front(2), values)) {
      result = e.fma(weight, value, result);
    }
  }
  return after;
}

LogicalResult AttentionEmitter::emitResult(ArrayRef<Value> state) {
  Type f32 = builder.getF32Type();
  Value hidden = e.infinity(f32, /*negative=*/true);
  Value isEmpty = e.compare(arith::CmpFPredicate::OEQ, state[0], hidden);
  Value empty = problem.op.getGuardEmpty() ? e.zero(f32) : e.nan(f32);
  Value factor = e.select(isEmpty, empty, e.div(e.real(f32, 1.0), state[1]));
  StridedView view = getOutputView(context, problem.output);
  Type element = cast<RankedTensorType>(problem.op.getType()).getElementType();
  Value exists =
      arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ult, query, math().value(problem.queryCount));
  emitIf(exists, [&] {
    for (auto [i, value] : llvm::enumerate(state.drop_front(2))) {
      auto store = [&, i = i, value = value] {
        ElementEmitter::Scope scope(elements);
        elements.setValue(problem.op.getResult(), e.toFloat(e.mul(value, factor), element));
        Tile tile{math().values({batch, query, head, feature(int64_t(i))}), 0, Value()};
        FailureOr<Value> result = elements.evaluate(problem.output.getValue(), tile);
        if (failed(result)) {
          status = failure();
        } else {
          storeTile(builder, loc, *result, view, tile);
        }
      };
      if (problem.valueStride() == problem.valueDepth) {
        store();
      } else {
        emitIf(arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ult,
                                     math().value(feature(int64_t(i))),
                                     math().value(math().constant(problem.valueDepth))),
               store);
      }
    }
  });
  return status;
}

LogicalResult AttentionEmitter::emit() {
  decodeBlock();
  keyTile = context.allocateShared(loc, builder.getF32Type(), problem.keys() * problem.keyStride());
  valueTile = context.allocateShared(loc, builder.getF32Type(), problem.keys() * problem.valueStride());
  loadQuery();
  Type f32 = builder.getF32Type();
  SmallVector<Value> state{e.infinity(f32, /*negative=*/true), e.zero(f32)};
  state.append(problem.valuesOfThread(), e.zero(f32));
  state = emitLoop(math().constant(0), keyEnd, problem.keys(), state, [&](Value first, ValueRange before) {
    stage(problem.op.getK(), keyTile, problem.keyStride(), problem.depth, first);
    stage(problem.op.getV(), valueTile, problem.valueStride(), problem.valueDepth, first);
    emitBarrier(builder, loc);
    OpFoldResult end = math().constant(problem.keys());
    SmallVector<Value> after =
        emitLoop(math().constant(0), end, kStep, SmallVector<Value>(before),
                 [&](Value place, ValueRange now) { return emitStep(first, place, now); });
    // Nobody may fill the tiles again before all have read them.
    emitBarrier(builder, loc);
    return after;
  });
  return failed(status) ? failure() : emitResult(state);
}

static FailureOr<Launch> planAttention(ElementContext &context) {
  FailureOr<AttentionProblem> problem = analyzeAttention(context);
  if (failed(problem)) {
    return failure();
  }
  IndexMath math{context.builder, problem->op.getLoc()};
  OpFoldResult heads = math.mul(problem->batch, math.constant(problem->heads));
  return Launch{math.mul(heads, problem->queryBlocks), kThreads};
}

static LogicalResult emitAttention(EmitContext &context) {
  FailureOr<AttentionProblem> problem = analyzeAttention(context);
  return failed(problem) ? failure() : AttentionEmitter(context, *problem).emit();
}

cuda::Emitter cuda::getAttentionEmitter() { return {planAttention, emitAttention}; }
