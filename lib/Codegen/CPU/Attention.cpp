// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "AttentionKernel.h"

#include "lathe/Codegen/Math/Emitter.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <cmath>

using namespace mlir;
using namespace lathe;
using namespace lathe::cpu;

AttentionKernel::AttentionKernel(EmitContext &context, const AttentionProblem &problem)
    : AttentionEmitter(context, problem), queryBlock(problem.queryBlock),
      keyBlock(kKeyBlock / tileRows * tileRows) {}

void AttentionKernel::makeBuffers() {
  auto make = [&](int64_t size) { return makeScratch(builder, loc, builder.getF32Type(), size); };
  queryBuffer = make(llvm::alignTo(problem.depth, lanes) * queryBlock);
  logitBuffer = make(llvm::alignTo(keyBlock, lanes) * queryBlock);
  resultBuffer = make(queryBlock * valueVectors * lanes);
  factorBuffer = make(queryBlock);
  if (mask.getForm() != AttentionMask::Form::None) {
    maskStride = llvm::alignTo(kKeyBlock, lanes);
    bool perQuery = mask.getForm() == AttentionMask::Form::PerQueryAndKey;
    maskBuffer = make(maskStride * (perQuery ? queryBlock : 1));
  }
}

LogicalResult AttentionKernel::emit() {
  if (failed(analyze(/*needsRows=*/false))) {
    return failure();
  }
  makeBuffers();
  emitLoop(context.begin, context.end, 1, [&](Value number) { emitTask(number); });
  return status;
}

void AttentionKernel::findLastKeys(const Task &task) {
  lastKeys.clear();
  if (!problem.op.getCausal()) {
    return;
  }
  Type i32 = builder.getI32Type();
  Value first = arith::IndexCastOp::create(builder, loc, i32, math().value(task.lastOfFirst));
  Value firsts = vector::BroadcastOp::create(builder, loc, vectorType.clone(i32), first);
  for (int64_t vector = 0; vector < kVectors; ++vector) {
    SmallVector<int32_t> steps;
    for (int64_t lane = 0; lane < lanes; ++lane) {
      steps.push_back(vector * lanes + lane);
    }
    Value step = arith::ConstantOp::create(builder, loc, builder.getI32VectorAttr(steps));
    lastKeys.push_back(arith::AddIOp::create(builder, loc, firsts, step));
  }
}

OpFoldResult AttentionKernel::clampQuery(const Task &task, OpFoldResult query) {
  return math().min(query, math().sub(task.queries, math().constant(1)));
}

void AttentionKernel::packQueries(const Task &task) {
  double factor = getQueryFactor();
  OpFoldResult zero = math().constant(0);
  if (!packsQ && !isConstantSize(q.strides[3], 1)) {
    emitLoop(zero, math().constant(queryBlock), 1, [&](Value query) {
      OpFoldResult row = math().add(task.query, math().mul(clampQuery(task, query), q.strides[1]));
      emitLoop(zero, math().constant(problem.depth), 1, [&](Value d) {
        OpFoldResult from = math().add(row, math().mul(d, q.strides[3]));
        Value element = memref::LoadOp::create(builder, loc, q.base, ValueRange{math().value(from)});
        Value scaled = lathe::Emitter(builder, loc).mul(element, factor);
        OpFoldResult to = math().add(math().mul(d, math().constant(queryBlock)), query);
        memref::StoreOp::create(builder, loc, scaled, queryBuffer, ValueRange{math().value(to)});
      });
    });
    return;
  }
  bool isPartial = problem.depth % lanes != 0;
  Value scale = constant(factor), none = constant(0);
  emitLoop(zero, math().constant(problem.depth), lanes, [&](Value d) {
    Value mask;
    if (isPartial) {
      Value left = math().value(math().sub(math().constant(problem.depth), d));
      mask = vector::CreateMaskOp::create(builder, loc, VectorType::get({lanes}, builder.getI1Type()), left);
    }
    emitLoop(zero, math().constant(queryBlock), lanes, [&](Value query) {
      SmallVector<Value> rows;
      for (int64_t lane = 0; lane < lanes; ++lane) {
        OpFoldResult row = clampQuery(task, math().add(query, math().constant(lane)));
        Value loaded;
        if (packsQ) {
          OpFoldResult number = math().add(task.firstQuery, row);
          loaded =
              evaluate(problem.op.getQ(), {math().values({task.batch, number, task.head, d}), lanes, mask});
        } else {
          OpFoldResult index = math().add(math().add(task.query, math().mul(row, q.strides[1])), d);
          loaded = isPartial ? vector::MaskedLoadOp::create(builder, loc, vectorType, q.base,
                                                            ValueRange{math().value(index)}, mask, none)
                                   .getResult()
                             : load(q.base, index);
        }
        rows.push_back(arith::MulFOp::create(builder, loc, loaded, scale));
      }
      for (auto [lane, row] : llvm::enumerate(emitTranspose(builder, loc, rows))) {
        OpFoldResult to = math().mul(math().add(d, math().constant(lane)), math().constant(queryBlock));
        store(row, queryBuffer, math().add(to, query));
      }
    });
  });
}

LogicalResult AttentionKernel::emitMask(const Task &task, Value firstKey, OpFoldResult keys) {
  OpFoldResult zero = math().constant(0);
  if (mask.getForm() == AttentionMask::Form::None) {
    return success();
  }
  if (mask.getForm() == AttentionMask::Form::PerKey) {
    return mask.emitRow({task.batch, task.head, zero}, firstKey, keys, maskBuffer, zero);
  }
  LogicalResult result = success();
  emitLoop(zero, math().constant(queryBlock), 1, [&](Value query) {
    OpFoldResult place = math().mul(query, math().constant(maskStride));
    OpFoldResult number = math().add(task.firstQuery, clampQuery(task, query));
    if (failed(mask.emitRow({task.batch, task.head, number}, firstKey, keys, maskBuffer, place))) {
      result = failure();
    }
  });
  transposeMask(keys);
  return result;
}

void AttentionKernel::transposeMask(OpFoldResult keys) {
  OpFoldResult zero = math().constant(0);
  emitLoop(zero, keys, lanes, [&](Value key) {
    emitLoop(zero, math().constant(queryBlock), lanes, [&](Value query) {
      SmallVector<Value> rows;
      for (int64_t lane = 0; lane < lanes; ++lane) {
        OpFoldResult row = math().mul(math().add(query, math().constant(lane)), math().constant(maskStride));
        rows.push_back(load(maskBuffer, math().add(row, key)));
      }
      for (auto [lane, value] : llvm::enumerate(emitTranspose(builder, loc, rows))) {
        OpFoldResult row = math().mul(math().add(key, math().constant(lane)), math().constant(queryBlock));
        store(value, logitBuffer, math().add(row, query));
      }
    });
  });
}

SmallVector<Value> AttentionKernel::emitLogits(const Task &task, int64_t rows, Value firstKey,
                                               OpFoldResult begin, OpFoldResult end, ArrayRef<Value> maxima) {
  RegisterTile tile{rows, kVectors, lanes, /*unroll=*/4, /*chains=*/rows == 1 ? 4 : 1};
  Value zero = constant(0), hidden = constant(-std::numeric_limits<double>::infinity());
  bool isPerKey = mask.getForm() == AttentionMask::Form::PerKey,
       isPerQuery = mask.getForm() == AttentionMask::Form::PerQueryAndKey;
  return emitLoop(begin, end, rows, maxima, [&](Value key, ValueRange before) {
    OpFoldResult firstPlace = math().mul(key, math().constant(queryBlock));
    auto place = [&](int64_t row, int64_t vector) {
      return math().add(firstPlace, math().constant(row * queryBlock + vector * lanes));
    };
    SmallVector<Value> logits;
    for (int64_t row = 0; row < rows; ++row) {
      OpFoldResult number = math().add(key, math().constant(row));
      Value perKey = isPerKey ? splat(loadNumber(maskBuffer, number)) : zero;
      for (int64_t vector = 0; vector < kVectors; ++vector) {
        Value init = isPerQuery ? load(logitBuffer, place(row, vector)) : perKey;
        if (!lastKeys.empty()) {
          Value last = lastKeys[vector];
          Value number32 = arith::IndexCastOp::create(builder, loc, builder.getI32Type(),
                                                      math().value(math().add(firstKey, number)));
          Value keys = vector::BroadcastOp::create(builder, loc, last.getType(), number32);
          Value isSeen = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::sle, keys, last);
          init = arith::SelectOp::create(builder, loc, isSeen, init, hidden);
        }
        logits.push_back(init);
      }
    }
    MatrixRef lhs;
    if (packsK) {
      OpFoldResult stride = math().constant(llvm::alignTo(problem.depth, lanes));
      lhs = {keyBuffer, math().value(math().mul(key, stride)), stride, math().constant(1)};
    } else {
      OpFoldResult offset = math().add(task.key, math().mul(math().add(firstKey, key), k.strides[1]));
      lhs = {k.base, math().value(offset), k.strides[1], k.strides[3]};
    }
    MatrixRef rhs{queryBuffer, math().value(math().constant(0)), math().constant(queryBlock),
                  math().constant(1)};
    logits = emitRegisterTile(builder, loc, tile, lhs, rhs, math().constant(problem.depth), logits);
    SmallVector<Value> after(before);
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t vector = 0; vector < kVectors; ++vector) {
        store(logits[row * kVectors + vector], logitBuffer, place(row, vector));
      }
    }
    for (int64_t vector = 0; vector < kVectors; ++vector) {
      // A tree, not a chain.
      SmallVector<Value> level;
      for (int64_t row = 0; row < rows; ++row) {
        level.push_back(logits[row * kVectors + vector]);
      }
      while (level.size() > 1) {
        SmallVector<Value> next;
        for (size_t i = 0; i + 1 < level.size(); i += 2) {
          next.push_back(larger(level[i], level[i + 1]));
        }
        if (level.size() % 2) {
          next.push_back(level.back());
        }
        level = next;
      }
      after[vector] = larger(level[0], before[vector]);
    }
    return after;
  });
}

/// `carried` are the maxima and the sums; returns those after the block.
SmallVector<Value> AttentionKernel::emitKeyBlock(const Task &task, Value firstKey, ValueRange carried) {
  OpFoldResult keys = math().min(math().constant(keyBlock), math().sub(task.keyEnd, firstKey));
  if (failed(emitMask(task, firstKey, keys))) {
    status = failure();
  }
  if (mask.getForm() == AttentionMask::Form::None) {
    return emitSeenKeys(task, firstKey, keys, carried);
  }
  bool perQuery = mask.getForm() == AttentionMask::Form::PerQueryAndKey;
  Value isSeen = perQuery ? isAnySeen(logitBuffer, math().mul(keys, math().constant(queryBlock)))
                          : isAnySeen(maskBuffer, keys);
  return emitIfSeen(isSeen, carried, [&] { return emitSeenKeys(task, firstKey, keys, carried); });
}

SmallVector<Value> AttentionKernel::emitSeenKeys(const Task &task, Value firstKey, OpFoldResult keys,
                                                 ValueRange carried) {
  lathe::Emitter e(builder, loc);
  SmallVector<Value> oldMaxima(carried.take_front(kVectors)), oldSums(carried.drop_front(kVectors));
  if (packsK) {
    packRows(problem.op.getK(), task, firstKey, keys, problem.depth, keyBuffer);
  }
  if (packsV) {
    packRows(problem.op.getV(), task, firstKey, keys, problem.valueDepth, valueBuffer);
  }
  OpFoldResult main = math().mul(math().floorDiv(keys, math().constant(tileRows)), math().constant(tileRows));
  SmallVector<Value> maxima = emitLogits(task, tileRows, firstKey, math().constant(0), main, oldMaxima);
  maxima = emitLogits(task, 1, firstKey, main, keys, maxima);

  // While a query has seen no key its maximum is -inf; any finite number in its place keeps NaN away.
  Value hidden = constant(-std::numeric_limits<double>::infinity());
  SmallVector<Value> shifts, factors;
  for (int64_t vector = 0; vector < kVectors; ++vector) {
    Value isEmpty = e.compare(arith::CmpFPredicate::OEQ, maxima[vector], hidden);
    shifts.push_back(e.select(isEmpty, constant(0), maxima[vector]));
    factors.push_back(buildPower(e.sub(oldMaxima[vector], shifts[vector])));
    store(factors[vector], factorBuffer, math().constant(vector * lanes));
  }
  SmallVector<Value> zeros(kVectors, constant(0));
  SmallVector<Value> sums = emitLoop(math().constant(0), keys, 1, zeros, [&](Value key, ValueRange before) {
    SmallVector<Value> after;
    for (int64_t vector = 0; vector < kVectors; ++vector) {
      OpFoldResult place =
          math().add(math().mul(key, math().constant(queryBlock)), math().constant(vector * lanes));
      Value weight = buildPower(e.sub(load(logitBuffer, place), shifts[vector]));
      store(weight, logitBuffer, place);
      after.push_back(e.add(before[vector], weight));
    }
    return after;
  });
  emitValueProduct(task, firstKey, keys);
  SmallVector<Value> result(maxima);
  for (int64_t vector = 0; vector < kVectors; ++vector) {
    result.push_back(e.fma(oldSums[vector], factors[vector], sums[vector]));
  }
  return result;
}

void AttentionKernel::emitValueProduct(const Task &task, Value firstKey, OpFoldResult keys) {
  int64_t stride = valueVectors * lanes;
  RegisterTile tile;
  for (int64_t first = 0; first < valueVectors; first += tile.vectors) {
    tile = valueTile(/*mostRows=*/8, first);
    SmallVector<Value> masks = valueMasks(first, tile.vectors);
    MatrixRef rhs = valuesFrom(task, firstKey, math().constant(first * lanes));
    // The block has a multiple of the tile's rows; some of the last queries may not exist.
    emitLoop(math().constant(0), task.queries, tile.rows, [&](Value query) {
      SmallVector<Value> sums;
      SmallVector<OpFoldResult> places;
      for (int64_t row = 0; row < tile.rows; ++row) {
        OpFoldResult number = math().add(query, math().constant(row));
        Value factor = splat(loadNumber(factorBuffer, number));
        for (int64_t vector = first; vector < first + tile.vectors; ++vector) {
          places.push_back(
              math().add(math().mul(number, math().constant(stride)), math().constant(vector * lanes)));
          sums.push_back(arith::MulFOp::create(builder, loc, load(resultBuffer, places.back()), factor));
        }
      }
      MatrixRef lhs{logitBuffer, query, math().constant(1), math().constant(queryBlock)};
      sums = emitRegisterTile(builder, loc, tile, lhs, rhs, keys, sums, masks);
      for (auto [sum, place] : llvm::zip_equal(sums, places)) {
        store(sum, resultBuffer, place);
      }
    });
  }
}

void AttentionKernel::emitResult(const Task &task, ArrayRef<Value> maxima, ArrayRef<Value> sums) {
  for (int64_t vector = 0; vector < kVectors; ++vector) {
    store(buildFinalFactor(maxima[vector], sums[vector]), factorBuffer, math().constant(vector * lanes));
  }
  emitLoop(math().constant(0), task.queries, 1, [&](Value query) {
    Value factor = splat(loadNumber(factorBuffer, query));
    OpFoldResult row = math().mul(query, math().constant(valueVectors * lanes));
    for (int64_t vector = 0; vector < valueVectors; ++vector) {
      OpFoldResult place = math().add(row, math().constant(vector * lanes));
      storeResult(task, query, vector,
                  arith::MulFOp::create(builder, loc, load(resultBuffer, place), factor));
    }
  });
}

void AttentionKernel::emitTask(Value number) {
  Task task = decode(number);
  findLastKeys(task);
  packQueries(task);
  Value zero = constant(0);
  emitLoop(math().constant(0), math().constant(queryBlock * valueVectors * lanes), lanes,
           [&](Value place) { store(zero, resultBuffer, place); });
  SmallVector<Value> state(kVectors, constant(-std::numeric_limits<double>::infinity()));
  state.append(kVectors, zero);
  state = emitLoop(math().constant(0), task.keyEnd, keyBlock, state,
                   [&](Value firstKey, ValueRange carried) { return emitKeyBlock(task, firstKey, carried); });
  emitResult(task, ArrayRef(state).take_front(kVectors), ArrayRef(state).drop_front(kVectors));
}
