// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "AttentionFewQueries.h"

#include "lathe/Codegen/Math/Emitter.h"

#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cpu;

LogicalResult FewQueriesAttention::emit() {
  if (failed(analyze(/*needsRows=*/true))) {
    return failure();
  }
  static_assert(kKeyBlock % 16 == 0);
  logitBuffer = makeScratch(builder, loc, builder.getF32Type(), kKeyBlock);
  if (mask.getForm() != AttentionMask::Form::None) {
    maskBuffer = makeScratch(builder, loc, builder.getF32Type(), kKeyBlock);
  }
  emitLoop(context.begin, context.end, 1, [&](Value number) {
    Task task = decode(number);
    emitLoop(math().constant(0), task.queries, 1, [&](Value query) { emitQuery(task, query); });
  });
  return status;
}

FewQueriesAttention::Row FewQueriesAttention::readQuery(const Task &task, Value query) {
  Row row{query, {}, task.keyEnd};
  if (problem.op.getCausal()) {
    OpFoldResult visible = math().add(math().add(task.lastOfFirst, query), math().constant(1));
    row.keyEnd = math().min(problem.keyCount, math().max(visible, math().constant(0)));
  }
  Value factor = constant(getQueryFactor());
  for (int64_t feature = 0; feature < problem.depth; feature += lanes) {
    OpFoldResult first = math().constant(feature);
    OpFoldResult number = math().add(task.firstQuery, query);
    Tile tile{math().values({task.batch, number, task.head, first}), lanes,
              maskOfFeatures(problem.depth, feature)};
    row.features.push_back(arith::MulFOp::create(builder, loc, evaluate(problem.op.getQ(), tile), factor));
  }
  return row;
}

/// The sum of each of as many vectors as they have lanes: one vector.
static Value buildSums(OpBuilder &builder, Location loc, SmallVector<Value> vectors) {
  int64_t size = vectors.size();
  for (int64_t bit = 1; bit < size; bit *= 2) {
    SmallVector<int64_t> own, other;
    for (int64_t lane = 0; lane < size; ++lane) {
      own.push_back(lane & bit ? size + lane : lane);
      other.push_back(lane & bit ? size + lane - bit : lane + bit);
    }
    for (int64_t i = 0; i < size; i += 2 * bit) {
      Value kept = vector::ShuffleOp::create(builder, loc, vectors[i], vectors[i + bit], own);
      Value moved = vector::ShuffleOp::create(builder, loc, vectors[i], vectors[i + bit], other);
      vectors[i] = arith::AddFOp::create(builder, loc, kept, moved);
    }
  }
  return vectors.front();
}

Value FewQueriesAttention::buildLogits(const Task &task, const Row &row, Value firstKey, Value key,
                                       OpFoldResult keys) {
  lathe::Emitter e(builder, loc);
  SmallVector<Value> sums;
  for (int64_t lane = 0; lane < lanes; ++lane) {
    OpFoldResult number = math().add(key, math().constant(lane));
    if (keys) {
      number = math().min(number, math().sub(keys, math().constant(1)));
    }
    OpFoldResult start;
    if (packsK) {
      start = math().mul(number, math().constant(llvm::alignTo(problem.depth, lanes)));
    } else {
      start = math().add(task.key, math().mul(math().add(firstKey, number), k.strides[1]));
    }
    Value sum;
    for (auto [i, query] : llvm::enumerate(row.features)) {
      int64_t feature = i * lanes;
      OpFoldResult place = math().add(start, math().constant(feature));
      Value mask = packsK ? Value() : maskOfFeatures(problem.depth, feature);
      Value loaded = mask ? vector::MaskedLoadOp::create(builder, loc, vectorType, k.base,
                                                         ValueRange{math().value(place)}, mask, constant(0))
                                .getResult()
                          : load(packsK ? keyBuffer : k.base, place);
      sum = sum ? e.fma(query, loaded, sum) : Value(arith::MulFOp::create(builder, loc, query, loaded));
    }
    sums.push_back(sum);
  }
  Value logits = buildSums(builder, loc, sums);
  if (mask.getForm() != AttentionMask::Form::None) {
    logits = e.add(logits, load(maskBuffer, key));
  }
  if (keys) {
    auto maskType = VectorType::get({lanes}, builder.getI1Type());
    Value exist = vector::CreateMaskOp::create(builder, loc, maskType, math().value(math().sub(keys, key)));
    logits = e.select(exist, logits, constant(-std::numeric_limits<double>::infinity()));
  }
  return logits;
}

SmallVector<Value> FewQueriesAttention::emitKeyBlock(const Task &task, const Row &row, Value firstKey,
                                                     ValueRange carried) {
  OpFoldResult keys = math().min(math().constant(kKeyBlock), math().sub(row.keyEnd, firstKey));
  if (mask.getForm() == AttentionMask::Form::None) {
    return emitSeenKeys(task, row, firstKey, keys, carried);
  }
  OpFoldResult number = math().add(task.firstQuery, row.query);
  if (failed(mask.emitRow({task.batch, task.head, number}, firstKey, keys, maskBuffer, math().constant(0)))) {
    status = failure();
  }
  return emitIfSeen(isAnySeen(maskBuffer, keys), carried,
                    [&] { return emitSeenKeys(task, row, firstKey, keys, carried); });
}

SmallVector<Value> FewQueriesAttention::emitSeenKeys(const Task &task, const Row &row, Value firstKey,
                                                     OpFoldResult keys, ValueRange carried) {
  lathe::Emitter e(builder, loc);
  OpFoldResult zero = math().constant(0), step = math().constant(lanes);
  if (packsK) {
    packRows(problem.op.getK(), task, firstKey, keys, problem.depth, keyBuffer);
  }
  if (packsV) {
    packRows(problem.op.getV(), task, firstKey, keys, problem.valueDepth, valueBuffer);
  }
  OpFoldResult whole = math().mul(math().floorDiv(keys, step), step);
  auto emitLogits = [&](OpFoldResult begin, OpFoldResult end, OpFoldResult existing, Value maxima) {
    return emitLoop(begin, end, lanes, maxima, [&](Value key, ValueRange before) -> SmallVector<Value> {
      Value logits = buildLogits(task, row, firstKey, key, existing);
      store(logits, logitBuffer, key);
      return {larger(logits, before[0])};
    })[0];
  };
  Value hidden = constant(-std::numeric_limits<double>::infinity());
  Value maxima = emitLogits(zero, whole, OpFoldResult(), hidden);
  maxima = emitLogits(whole, keys, keys, maxima);
  Value most = vector::ReductionOp::create(builder, loc, vector::CombiningKind::MAXNUMF, maxima);
  Value maximum = larger(splat(most), carried[0]);

  // While the query has seen no key its maximum is -inf; any finite number in its place keeps NaN away.
  Value isEmpty = e.compare(arith::CmpFPredicate::OEQ, maximum, hidden);
  Value shift = e.select(isEmpty, constant(0), maximum);
  Value factor = buildPower(e.sub(carried[0], shift));
  Value sums =
      emitLoop(zero, keys, lanes, constant(0), [&](Value key, ValueRange before) -> SmallVector<Value> {
        Value weights = buildPower(e.sub(load(logitBuffer, key), shift));
        store(weights, logitBuffer, key);
        return {e.add(before[0], weights)};
      })[0];
  SmallVector<Value> after{maximum, e.fma(carried[1], factor, sums)};
  RegisterTile tile;
  for (int64_t first = 0; first < valueVectors; first += tile.vectors) {
    tile = valueTile(/*mostRows=*/1, first);
    SmallVector<Value> init;
    for (Value result : carried.slice(2 + first, tile.vectors)) {
      init.push_back(e.mul(result, factor));
    }
    MatrixRef lhs{logitBuffer, math().value(zero), math().constant(0), math().constant(1)};
    MatrixRef rhs = valuesFrom(task, firstKey, math().constant(first * lanes));
    llvm::append_range(
        after, emitRegisterTile(builder, loc, tile, lhs, rhs, keys, init, valueMasks(first, tile.vectors)));
  }
  return after;
}

void FewQueriesAttention::emitQuery(const Task &task, Value query) {
  lathe::Emitter e(builder, loc);
  Row row = readQuery(task, query);
  SmallVector<Value> state(2 + valueVectors, constant(0));
  state[0] = constant(-std::numeric_limits<double>::infinity());
  state = emitLoop(math().constant(0), row.keyEnd, kKeyBlock, state, [&](Value firstKey, ValueRange carried) {
    return emitKeyBlock(task, row, firstKey, carried);
  });
  Value sum = splat(vector::ReductionOp::create(builder, loc, vector::CombiningKind::ADD, state[1]));
  Value factor = buildFinalFactor(state[0], sum);
  for (int64_t vector = 0; vector < valueVectors; ++vector) {
    storeResult(task, query, vector, e.mul(state[2 + vector], factor));
  }
}
