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
    : VectorEmitter(
          context.builder, context.kernel.getLoc(),
          VectorType::get({chooseMatMulTiling(context.target).lanes}, context.builder.getF32Type())),
      context(context), problem(problem), elements(context),
      mask(context, this->problem, elements, chooseMatMulTiling(context.target).lanes) {
  MatMulTiling tiling = chooseMatMulTiling(context.target);
  lanes = tiling.lanes;
  queryBlock = kVectors * lanes;
  tileRows = tiling.rows;
  keyBlock = kKeyBlock / tileRows * tileRows;
  valueVectors = llvm::divideCeil(problem.valueDepth, lanes);
}

/// Cheaper than the general function by what the range of x spares: infinities, denormal numbers,
/// conversions. The polynomial's relative error is 8e-8. What lies below -126 does not matter: the largest
/// weight of a row is 1.
Value AttentionKernel::buildPower(Value x) {
  constexpr double kCoefficients[] = {1.0000001192092896,  0.6931469440460205,   0.24022120237350464,
                                      0.05550713092088699, 0.009675540961325169, 0.0013276472454890609};
  // Adding it leaves the rounded number in the low bits.
  constexpr double kRound = 12582912.0;
  lathe::Emitter e(builder, loc);
  Value clamped = e.clampBelow(x, -126.0);
  Value shifted = e.add(clamped, kRound);
  Value fraction = e.sub(clamped, e.sub(shifted, kRound));
  Value power = e.polynomial(fraction, kCoefficients);
  // An addition to the exponent; the low 9 bits of kRound are 0.
  Value exponent = e.shiftLeft(e.bits(shifted), int64_t(23));
  return e.fromBits(e.add(e.bits(power), exponent), builder.getF32Type());
}

void AttentionKernel::findOperands() {
  auto find = [&](Value operand, StridedView &view) {
    FailureOr<StridedView> found = getStridedView(context, operand);
    if (succeeded(found) && found->element.isF32()) {
      view = *found;
      return true;
    }
    return false;
  };
  packsQ = !find(problem.op.getQ(), q);
  packsK = !find(problem.op.getK(), k);
  packsV = !find(problem.op.getV(), v) || !isConstantSize(v.strides[3], 1);
}

void AttentionKernel::makeBuffers() {
  auto make = [&](int64_t size) { return makeScratch(builder, loc, builder.getF32Type(), size); };
  queryBuffer = make(llvm::alignTo(problem.depth, lanes) * queryBlock);
  logitBuffer = make(llvm::alignTo(keyBlock, lanes) * queryBlock);
  resultBuffer = make(queryBlock * valueVectors * lanes);
  factorBuffer = make(queryBlock);
  keyBuffer = packsK ? make(keyBlock * llvm::alignTo(problem.depth, lanes)) : Value();
  valueBuffer = packsV ? make(keyBlock * valueVectors * lanes) : Value();
  if (mask.getForm() != AttentionMask::Form::None) {
    maskStride = llvm::alignTo(kKeyBlock, lanes);
    bool perQuery = mask.getForm() == AttentionMask::Form::PerQueryAndKey;
    maskBuffer = make(maskStride * (perQuery ? queryBlock : 1));
  }
}

LogicalResult AttentionKernel::emit() {
  if (failed(mask.analyze())) {
    return failure();
  }
  findOperands();
  makeBuffers();
  LogicalResult result = success();
  emitLoop(context.begin, context.end, 1, [&](Value number) { result = emitTask(number); });
  return failed(failed_) ? failed_ : result;
}

AttentionKernel::Task AttentionKernel::decode(Value number) {
  Task task;
  OpFoldResult block = math().rem(number, problem.queryBlocks);
  OpFoldResult batchAndHead = math().floorDiv(number, problem.queryBlocks);
  task.head = math().rem(batchAndHead, math().constant(problem.heads));
  task.batch = math().floorDiv(batchAndHead, math().constant(problem.heads));
  task.keyHead = math().floorDiv(task.head, math().constant(problem.heads / problem.keyHeads));
  task.firstQuery = math().mul(block, math().constant(queryBlock));
  task.queries = math().min(math().constant(queryBlock), math().sub(problem.queryCount, task.firstQuery));
  auto start = [&](const StridedView &view, OpFoldResult head) -> OpFoldResult {
    if (view.strides.empty()) {
      return math().constant(0);
    }
    OpFoldResult offset = math().add(view.offset, math().mul(task.batch, view.strides[0]));
    return math().add(offset, math().mul(head, view.strides[2]));
  };
  task.query = start(q, task.head);
  if (!packsQ) {
    task.query = math().add(task.query, math().mul(task.firstQuery, q.strides[1]));
  }
  task.key = start(k, task.keyHead);
  task.value = start(v, task.keyHead);
  task.keyEnd = problem.keyCount;
  if (!problem.op.getCausal()) {
    return task;
  }
  OpFoldResult lastOfFirst = math().add(task.firstQuery, math().sub(problem.keyCount, problem.queryCount));
  OpFoldResult visible = math().max(math().add(lastOfFirst, task.queries), math().constant(0));
  task.keyEnd = math().min(problem.keyCount, visible);
  Type i32 = builder.getI32Type();
  Value first = arith::IndexCastOp::create(builder, loc, i32, math().value(lastOfFirst));
  Value firsts = vector::BroadcastOp::create(builder, loc, vectorType.clone(i32), first);
  for (int64_t vector = 0; vector < kVectors; ++vector) {
    SmallVector<int32_t> steps;
    for (int64_t lane = 0; lane < lanes; ++lane) {
      steps.push_back(vector * lanes + lane);
    }
    Value step = arith::ConstantOp::create(builder, loc, builder.getI32VectorAttr(steps));
    task.lastKeys.push_back(arith::AddIOp::create(builder, loc, firsts, step));
  }
  return task;
}

OpFoldResult AttentionKernel::clampQuery(const Task &task, OpFoldResult query) {
  return math().min(query, math().sub(task.queries, math().constant(1)));
}

void AttentionKernel::packQueries(const Task &task) {
  double factor = problem.op.getScale().convertToFloat() * M_LOG2E;
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

Value AttentionKernel::evaluate(Value tensor, const Tile &tile) {
  ElementEmitter::Scope scope(elements);
  FailureOr<Value> value = elements.evaluate(tensor, tile);
  if (failed(value)) {
    failed_ = failure();
    return constant(0);
  }
  if (!getElementTypeOrSelf(value->getType()).isBF16()) {
    return *value;
  }
  // By its bits: few processors know vectors of bf16.
  lathe::Emitter e(builder, loc);
  Value bits = e.extendUnsigned(e.bits(*value), builder.getI32Type());
  return e.fromBits(e.shiftLeft(bits, int64_t(16)), builder.getF32Type());
}

void AttentionKernel::packRows(Value tensor, const Task &task, Value firstKey, OpFoldResult keys,
                               int64_t width, Value buffer) {
  auto maskType = VectorType::get({lanes}, builder.getI1Type());
  emitLoop(math().constant(0), keys, 1, [&](Value key) {
    OpFoldResult number = math().add(firstKey, key);
    for (int64_t feature = 0; feature < width; feature += lanes) {
      OpFoldResult first = math().constant(feature);
      Tile tile{math().values({task.batch, number, task.keyHead, first}), lanes, {}};
      if (width - feature < lanes) {
        Value left = math().value(math().constant(width - feature));
        tile.mask = vector::CreateMaskOp::create(builder, loc, maskType, left);
      }
      int64_t stride = llvm::alignTo(width, lanes);
      store(evaluate(tensor, tile), buffer, math().add(math().mul(key, math().constant(stride)), first));
    }
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
        if (!task.lastKeys.empty()) {
          Value last = task.lastKeys[vector];
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
  lathe::Emitter e(builder, loc);
  SmallVector<Value> oldMaxima(carried.take_front(kVectors)), oldSums(carried.drop_front(kVectors));
  OpFoldResult keys = math().min(math().constant(keyBlock), math().sub(task.keyEnd, firstKey));
  if (failed(emitMask(task, firstKey, keys))) {
    failed_ = failure();
  }
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
  // As many rows as registers allow, and as many vectors as leave at least four rows.
  int64_t registers = kVectors * tileRows, widest = registers / 4;
  auto maskType = VectorType::get({lanes}, builder.getI1Type());
  for (int64_t first = 0; first < valueVectors; first += widest) {
    int64_t vectors = std::min(widest, valueVectors - first);
    int64_t rows = std::min<int64_t>(llvm::bit_floor(uint64_t(registers / vectors)), 8);
    RegisterTile tile{rows, vectors, lanes, /*unroll=*/4, /*chains=*/rows * vectors < 8 ? 2 : 1};
    SmallVector<Value> masks;
    if (!packsV && problem.valueDepth % lanes != 0 && first + vectors == valueVectors) {
      for (int64_t vector = first; vector < first + vectors; ++vector) {
        Value left = math().value(math().constant(problem.valueDepth - vector * lanes));
        masks.push_back(vector::CreateMaskOp::create(builder, loc, maskType, left));
      }
    }
    OpFoldResult column = math().constant(first * lanes);
    MatrixRef rhs;
    if (packsV) {
      rhs = {valueBuffer, math().value(column), math().constant(stride), math().constant(1)};
    } else {
      OpFoldResult offset = math().add(task.value, math().mul(firstKey, v.strides[1]));
      rhs = {v.base, math().value(math().add(offset, column)), v.strides[1], math().constant(1)};
    }
    // The block has a multiple of `rows` queries; some of the last ones may not exist.
    emitLoop(math().constant(0), task.queries, rows, [&](Value query) {
      SmallVector<Value> sums;
      SmallVector<OpFoldResult> places;
      for (int64_t row = 0; row < rows; ++row) {
        OpFoldResult number = math().add(query, math().constant(row));
        Value factor = splat(loadNumber(factorBuffer, number));
        for (int64_t vector = first; vector < first + vectors; ++vector) {
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

LogicalResult AttentionKernel::emitResult(const Task &task, ArrayRef<Value> maxima, ArrayRef<Value> sums) {
  lathe::Emitter e(builder, loc);
  Value hidden = constant(-std::numeric_limits<double>::infinity());
  Value empty = problem.op.getGuardEmpty() ? constant(0) : e.nan(vectorType);
  for (int64_t vector = 0; vector < kVectors; ++vector) {
    Value isEmpty = e.compare(arith::CmpFPredicate::OEQ, maxima[vector], hidden);
    Value factor = e.select(isEmpty, empty, e.div(constant(1), sums[vector]));
    store(factor, factorBuffer, math().constant(vector * lanes));
  }
  StridedView output = getOutputView(context, problem.output);
  Type element = cast<RankedTensorType>(problem.op.getType()).getElementType();
  auto maskType = VectorType::get({lanes}, builder.getI1Type());
  LogicalResult result = success();
  emitLoop(math().constant(0), task.queries, 1, [&](Value query) {
    Value factor = splat(loadNumber(factorBuffer, query));
    OpFoldResult row = math().mul(query, math().constant(valueVectors * lanes));
    for (int64_t vector = 0; vector < valueVectors; ++vector) {
      OpFoldResult column = math().constant(vector * lanes);
      Value value = arith::MulFOp::create(builder, loc, load(resultBuffer, math().add(row, column)), factor);
      Tile tile{
          math().values({task.batch, math().add(task.firstQuery, query), task.head, column}), lanes, {}};
      int64_t left = problem.valueDepth - vector * lanes;
      if (left < lanes) {
        tile.mask = vector::CreateMaskOp::create(builder, loc, maskType, math().value(math().constant(left)));
      }
      elements.reset();
      elements.setValue(problem.op.getResult(), e.toFloat(value, element));
      FailureOr<Value> stored = elements.evaluate(problem.output.getValue(), tile);
      if (failed(stored)) {
        result = failure();
        return;
      }
      storeTile(builder, loc, *stored, output, tile);
    }
  });
  return result;
}

LogicalResult AttentionKernel::emitTask(Value number) {
  Task task = decode(number);
  packQueries(task);
  Value zero = constant(0);
  emitLoop(math().constant(0), math().constant(queryBlock * valueVectors * lanes), lanes,
           [&](Value place) { store(zero, resultBuffer, place); });
  SmallVector<Value> state(kVectors, constant(-std::numeric_limits<double>::infinity()));
  state.append(kVectors, zero);
  state = emitLoop(math().constant(0), task.keyEnd, keyBlock, state,
                   [&](Value firstKey, ValueRange carried) { return emitKeyBlock(task, firstKey, carried); });
  return emitResult(task, ArrayRef(state).take_front(kVectors), ArrayRef(state).drop_front(kVectors));
}
