// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "AttentionMatrices.h"

#include "lathe/Codegen/Math/Emitter.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <cmath>
#include <limits>

using namespace mlir;
using namespace lathe;
using namespace lathe::cpu;

/// Keys at a time: with them the logits of a strip, their weights and what is packed stay in the second-level
/// cache.
static constexpr int64_t kKeyBlock = 128;
/// Queries at a time, and what registers multiply at a time.
static constexpr int64_t kStrip = 2 * MatrixTiles::kRows, kDepth = 32;
static constexpr int64_t kLanes = MatrixTiles::kColumns;

static constexpr auto kElement = MatrixTiles::Element::BF16;

bool MatrixAttention::isSupported(const TargetSpec &target, nn::AttentionOp op) {
  auto typeOf = [](Value tensor) { return cast<RankedTensorType>(tensor.getType()); };
  return MatrixTiles::isSupported(target, kElement) && typeOf(op.getQ()).getElementType().isBF16() &&
         typeOf(op.getQ()).getDimSize(3) % kDepth == 0 && typeOf(op.getV()).getDimSize(3) % kLanes == 0;
}

MatrixAttention::MatrixAttention(EmitContext &context, const AttentionProblem &problem)
    : VectorEmitter(context.builder, context.kernel.getLoc(),
                    VectorType::get({kLanes}, context.builder.getF32Type())),
      context(context), problem(problem), op(problem.op), elements(context),
      mask(context, problem, elements, kLanes) {}

//===----------------------------------------------------------------------===//
// Helpers
//===----------------------------------------------------------------------===//

Value MatrixAttention::emitLoop(OpFoldResult begin, OpFoldResult end, int64_t step, Value carried,
                                llvm::function_ref<Value(Value, Value)> body) {
  return emitLoop(begin, end, step, ArrayRef<Value>(carried),
                  [&](Value iv, ValueRange now) { return SmallVector<Value>{body(iv, now.front())}; })
      .front();
}

Value MatrixAttention::reduce(Value vector, llvm::function_ref<Value(Value, Value)> combine) {
  for (int64_t length = kLanes; length > 1; length /= 2) {
    SmallVector<int64_t> lanes = llvm::to_vector(llvm::seq<int64_t>(0, length));
    Value low =
        vector::ShuffleOp::create(builder, loc, vector, vector, ArrayRef(lanes).take_front(length / 2));
    Value high =
        vector::ShuffleOp::create(builder, loc, vector, vector, ArrayRef(lanes).drop_front(length / 2));
    vector = combine(low, high);
  }
  return vector::ExtractOp::create(builder, loc, vector, int64_t(0));
}

/// As AttentionKernel's, with a polynomial whose relative error is 1e-4, a fortieth of what rounding to bf16
/// leaves.
Value MatrixAttention::buildPower(Value x) {
  constexpr double kCoefficients[] = {0.99992807, 0.69326099, 0.24261113, 0.05517166};
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

//===----------------------------------------------------------------------===//
// Operands
//===----------------------------------------------------------------------===//

MatrixAttention::Operand MatrixAttention::findOperand(Value tensor, int64_t width, int64_t rows) {
  Operand operand{tensor, {}, {}, width};
  FailureOr<StridedView> view = getStridedView(context, tensor);
  if (succeeded(view) && isConstantSize(view->strides[3], 1)) {
    operand.view = *view;
  } else {
    operand.buffer = makeScratch(builder, loc, builder.getBF16Type(), rows * width);
  }
  return operand;
}

MatrixAttention::Rows MatrixAttention::getRows(const Operand &operand, const Task &task, OpFoldResult head,
                                               OpFoldResult first, OpFoldResult count) {
  if (!operand.buffer) {
    const StridedView &view = operand.view;
    OpFoldResult offset = math().add(view.offset, math().mul(task.batch, view.strides[0]));
    offset = math().add(offset, math().mul(head, view.strides[2]));
    offset = math().add(offset, math().mul(first, view.strides[1]));
    return {view.base, offset, view.strides[1]};
  }
  OpFoldResult width = math().constant(operand.width);
  emitLoop(math().constant(0), count, 1, [&](Value row) {
    emitLoop(math().constant(0), width, kLanes, [&](Value feature) {
      ElementEmitter::Scope scope(elements);
      Tile tile{math().values({task.batch, math().add(first, row), head, feature}), kLanes, {}};
      FailureOr<Value> value = elements.evaluate(operand.tensor, tile);
      if (failed(value)) {
        status = failure();
        return;
      }
      store(*value, operand.buffer, math().add(math().mul(row, width), feature));
    });
  });
  return {operand.buffer, math().constant(0), width};
}

void MatrixAttention::packKeys(const Task &task, const Keys &keys) {
  Rows rows = getRows(k, task, task.keyHead, keys.first, keys.count);
  auto element = cast<MemRefType>(rows.base.getType()).getElementType();
  auto pairs = VectorType::get({2 * kLanes}, element),
       words = VectorType::get({kLanes}, builder.getI32Type());
  OpFoldResult last = math().sub(keys.count, math().constant(1));
  emitLoop(math().constant(0), keys.padded, kLanes, [&](Value key) {
    SmallVector<OpFoldResult> starts;
    for (int64_t lane = 0; lane < kLanes; ++lane) {
      // Keys that do not exist repeat the last one: no query sees them.
      OpFoldResult row = math().min(math().add(key, math().constant(lane)), last);
      starts.push_back(math().add(rows.offset, math().mul(row, rows.stride)));
    }
    emitLoop(math().constant(0), math().constant(problem.depth), kDepth, [&](Value feature) {
      SmallVector<Value> loaded;
      for (OpFoldResult start : starts) {
        Value place = math().value(math().add(start, feature));
        Value row = vector::LoadOp::create(builder, loc, pairs, rows.base, ValueRange{place});
        loaded.push_back(vector::BitCastOp::create(builder, loc, words, row));
      }
      for (auto [pair, column] : llvm::enumerate(emitTranspose(builder, loc, loaded))) {
        OpFoldResult number = math().add(math().floorDiv(feature, math().constant(2)), math().constant(pair));
        store(column, keyBuffer, math().add(math().mul(number, math().constant(kKeyBlock)), key));
      }
    });
  });
}

void MatrixAttention::packValues(const Task &task, const Keys &keys) {
  Rows rows = getRows(v, task, task.keyHead, keys.first, keys.count);
  auto element = cast<MemRefType>(rows.base.getType()).getElementType();
  auto loadedType = VectorType::get({kLanes}, element),
       halfWords = VectorType::get({kLanes}, builder.getI16Type());
  Value none = arith::ConstantOp::create(builder, loc, builder.getZeroAttr(halfWords));
  OpFoldResult last = math().sub(keys.count, math().constant(1));
  emitLoop(math().constant(0), keys.padded, 2, [&](Value key) {
    struct Row {
      OpFoldResult start;
      Value exists;
    };
    SmallVector<Row> pair;
    for (int64_t half = 0; half < 2; ++half) {
      // Keys that do not exist have values of 0: their weights are not quite.
      OpFoldResult row = math().add(key, math().constant(half));
      Value exists = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::sle, math().value(row),
                                           math().value(last));
      OpFoldResult start = math().add(rows.offset, math().mul(math().min(row, last), rows.stride));
      pair.push_back({start, exists});
    }
    emitLoop(math().constant(0), math().constant(problem.valueDepth), kLanes, [&](Value feature) {
      SmallVector<Value> halves;
      for (const Row &row : pair) {
        Value place = math().value(math().add(row.start, feature));
        Value loaded = vector::LoadOp::create(builder, loc, loadedType, rows.base, ValueRange{place});
        loaded = vector::BitCastOp::create(builder, loc, halfWords, loaded);
        halves.push_back(arith::SelectOp::create(builder, loc, row.exists, loaded, none));
      }
      OpFoldResult place = math().add(math().mul(key, math().constant(problem.valueDepth)),
                                      math().mul(feature, math().constant(2)));
      store(vector::InterleaveOp::create(builder, loc, halves[0], halves[1]), valueBuffer, place);
    });
  });
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

void MatrixAttention::emitRegisters(
    const Strip &strip, llvm::function_ref<void(ArrayRef<std::pair<OpFoldResult, OpFoldResult>>)> body) {
  OpFoldResult zero = math().constant(0), half = math().constant(MatrixTiles::kRows);
  Value isTall = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ugt, math().value(strip.count),
                                       math().value(half));
  emitIf(
      isTall, [&] { body({{zero, half}, {half, math().sub(strip.count, half)}}); },
      [&] { body({{zero, strip.count}}); });
}

void MatrixAttention::emitLogits(const Task &task, const Keys &keys, const Strip &strip) {
  OpFoldResult zero = math().constant(0), one = math().constant(1), width = math().constant(kKeyBlock);
  emitRegisters(strip, [&](ArrayRef<std::pair<OpFoldResult, OpFoldResult>> parts) {
    emitLoop(zero, keys.padded, 2 * kLanes, [&](Value key) {
      MatrixTiles::Tile tile{{task.query.base, math().value(zero), task.query.stride, one},
                             {logitBuffer, math().value(zero), width, one},
                             {},
                             /*vectors=*/2};
      for (auto [first, count] : parts) {
        OpFoldResult query = math().mul(math().add(strip.first, first), task.query.stride);
        tile.rows.push_back(
            {math().add(task.query.offset, query), math().add(math().mul(first, width), key), count});
      }
      OpFoldResult column = math().mul(key, math().constant(2));
      MatrixRef rhs{keyBuffer, math().value(column), math().constant(2 * kKeyBlock), one};
      matrices->begin(tile, /*isFirst=*/{});
      matrices->multiply(tile, zero, rhs, math().constant(problem.depth));
      matrices->end(tile);
    });
  });
}

void MatrixAttention::emitValueProduct(const Keys &keys, const Strip &strip) {
  OpFoldResult zero = math().constant(0), one = math().constant(1), width = math().constant(kKeyBlock),
               stride = math().constant(problem.valueDepth);
  Value never = arith::ConstantOp::create(builder, loc, builder.getBoolAttr(false));
  emitRegisters(strip, [&](ArrayRef<std::pair<OpFoldResult, OpFoldResult>> parts) {
    for (int64_t column = 0; column < problem.valueDepth; column += 2 * kLanes) {
      MatrixTiles::Tile tile{{weightBuffer, math().value(zero), width, one},
                             {resultBuffer, math().value(zero), stride, one},
                             {},
                             std::min<int64_t>(2, (problem.valueDepth - column) / kLanes)};
      for (auto [first, count] : parts) {
        OpFoldResult place = math().mul(math().add(strip.first, first), stride);
        tile.rows.push_back({math().mul(first, width), math().add(place, math().constant(column)), count});
      }
      MatrixRef rhs{valueBuffer, math().value(math().constant(2 * column)),
                    math().constant(2 * problem.valueDepth), one};
      matrices->begin(tile, never);
      matrices->multiply(tile, zero, rhs, keys.padded);
      matrices->end(tile);
    }
  });
}

//===----------------------------------------------------------------------===//
// Softmax
//===----------------------------------------------------------------------===//

void MatrixAttention::emitBias(const Task &task, const Keys &keys, OpFoldResult query) {
  Value zero = constant(0), hidden = constant(-std::numeric_limits<double>::infinity());
  if (mask.getForm() == AttentionMask::Form::None) {
    emitLoop(math().constant(0), keys.padded, kLanes, [&](Value key) { store(zero, biasBuffer, key); });
  } else if (failed(mask.emitRow({task.batch, task.head, query}, keys.first, keys.count, biasBuffer,
                                 math().constant(0)))) {
    status = failure();
  }
  // No query sees the keys that fill up the block.
  OpFoldResult lanes = math().constant(kLanes);
  OpFoldResult whole = math().mul(math().floorDiv(keys.count, lanes), lanes);
  auto maskType = VectorType::get({kLanes}, builder.getI1Type());
  emitLoop(whole, keys.padded, kLanes, [&](Value key) {
    OpFoldResult left = math().max(math().sub(keys.count, key), math().constant(0));
    Value exists = vector::CreateMaskOp::create(builder, loc, maskType, math().value(left));
    store(arith::SelectOp::create(builder, loc, exists, load(biasBuffer, key), hidden), biasBuffer, key);
  });
}

void MatrixAttention::emitWeightsOfRow(const Task &task, const Keys &keys, OpFoldResult query,
                                       OpFoldResult row) {
  lathe::Emitter e(builder, loc);
  double hiddenNumber = -std::numeric_limits<double>::infinity();
  Type f32 = builder.getF32Type(), halfWord = builder.getI16Type();
  OpFoldResult zero = math().constant(0), start = math().mul(row, math().constant(kKeyBlock));
  Value hidden = constant(hiddenNumber), scale = constant(op.getScale().convertToFloat() * M_LOG2E);
  Value lastKey, steps;
  if (op.getCausal()) {
    Type i32 = builder.getI32Type();
    OpFoldResult last =
        math().add(math().add(task.firstQuery, query), math().sub(problem.keyCount, problem.queryCount));
    lastKey = arith::IndexCastOp::create(builder, loc, i32, math().value(last));
    lastKey = vector::BroadcastOp::create(builder, loc, vectorType.clone(i32), lastKey);
    steps = arith::ConstantOp::create(
        builder, loc, builder.getI32VectorAttr(llvm::to_vector(llvm::seq<int32_t>(0, kLanes))));
  }
  Value maxima = emitLoop(zero, keys.padded, kLanes, hidden, [&](Value key, Value before) -> Value {
    OpFoldResult place = math().add(start, key);
    Value logits = e.fma(load(logitBuffer, place), scale, load(biasBuffer, key));
    if (lastKey) {
      Value first = arith::IndexCastOp::create(builder, loc, builder.getI32Type(),
                                               math().value(math().add(keys.first, key)));
      Value numbers = e.add(vector::BroadcastOp::create(builder, loc, lastKey.getType(), first), steps);
      logits = e.select(e.compare(arith::CmpIPredicate::sle, numbers, lastKey), logits, hidden);
    }
    store(logits, logitBuffer, place);
    return larger(logits, before);
  });
  Value here = reduce(maxima, [&](Value low, Value high) { return larger(low, high); });
  Value before = loadNumber(maximumBuffer, query);
  Value maximum = larger(here, before);
  storeNumber(maximum, maximumBuffer, query);
  // While a query has seen no key its maximum is -inf; any finite number in its place keeps NaN away.
  Value isEmpty = e.compare(arith::CmpFPredicate::OEQ, maximum, hiddenNumber);
  Value shift = e.select(isEmpty, e.zero(f32), maximum), shifts = splat(shift);
  Value sums = emitLoop(zero, keys.padded, kLanes, constant(0), [&](Value key, Value sum) -> Value {
    OpFoldResult place = math().add(start, key);
    Value weights = buildPower(e.sub(load(logitBuffer, place), shifts));
    Value rounded = e.fromBits(e.toFloat(weights, builder.getBF16Type()), halfWord);
    store(rounded, weightBuffer, place);
    return e.add(sum, weights);
  });
  Value sum = reduce(sums, [&](Value low, Value high) { return e.add(low, high); });
  Value isLater = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ne, keys.first,
                                        math().value(math().constant(0)));
  emitIf(
      isLater,
      [&] {
        Value factor = buildPower(e.sub(before, shift)), factors = splat(factor);
        OpFoldResult first = math().mul(query, math().constant(problem.valueDepth));
        for (int64_t feature = 0; feature < problem.valueDepth; feature += kLanes) {
          OpFoldResult place = math().add(first, math().constant(feature));
          store(e.mul(load(resultBuffer, place), factors), resultBuffer, place);
        }
        storeNumber(e.fma(loadNumber(sumBuffer, query), factor, sum), sumBuffer, query);
      },
      [&] { storeNumber(sum, sumBuffer, query); });
}

void MatrixAttention::emitWeights(const Task &task, const Keys &keys, const Strip &strip) {
  emitLoop(math().constant(0), strip.count, 1, [&](Value row) {
    OpFoldResult query = math().add(strip.first, row);
    if (mask.getForm() == AttentionMask::Form::PerQueryAndKey) {
      emitBias(task, keys, math().add(task.firstQuery, query));
    }
    emitWeightsOfRow(task, keys, query, row);
  });
}

//===----------------------------------------------------------------------===//
// Tasks
//===----------------------------------------------------------------------===//

void MatrixAttention::emitKeyBlock(const Task &task, const Keys &keys) {
  packKeys(task, keys);
  packValues(task, keys);
  if (mask.getForm() != AttentionMask::Form::PerQueryAndKey) {
    emitBias(task, keys, math().constant(0));
  }
  emitLoop(math().constant(0), task.queries, kStrip, [&](Value first) {
    Strip strip{first, math().min(math().constant(kStrip), math().sub(task.queries, first))};
    emitLogits(task, keys, strip);
    emitWeights(task, keys, strip);
    emitValueProduct(keys, strip);
  });
}

void MatrixAttention::emitResult(const Task &task) {
  lathe::Emitter e(builder, loc);
  Type f32 = builder.getF32Type(), element = cast<RankedTensorType>(op.getType()).getElementType();
  Value empty = op.getGuardEmpty() ? e.zero(f32) : e.nan(f32);
  kernel::OutputOp result = problem.output;
  StridedView output = getOutputView(context, result);
  emitLoop(math().constant(0), task.queries, 1, [&](Value query) {
    Value isEmpty = e.compare(arith::CmpFPredicate::OEQ, loadNumber(maximumBuffer, query),
                              -std::numeric_limits<double>::infinity());
    Value factor = e.select(isEmpty, empty, e.div(e.real(f32, 1), loadNumber(sumBuffer, query)));
    Value factors = splat(factor);
    OpFoldResult first = math().mul(query, math().constant(problem.valueDepth));
    emitLoop(math().constant(0), math().constant(problem.valueDepth), kLanes, [&](Value feature) {
      Value value = e.mul(load(resultBuffer, math().add(first, feature)), factors);
      Tile tile{
          math().values({task.batch, math().add(task.firstQuery, query), task.head, feature}), kLanes, {}};
      elements.reset();
      elements.setValue(op.getResult(), e.toFloat(value, element));
      FailureOr<Value> stored = elements.evaluate(result.getValue(), tile);
      if (failed(stored)) {
        status = failure();
        return;
      }
      storeTile(builder, loc, *stored, output, tile);
    });
  });
}

void MatrixAttention::emitTask(Value number) {
  Task task;
  OpFoldResult block = math().rem(number, problem.queryBlocks);
  OpFoldResult batchAndHead = math().floorDiv(number, problem.queryBlocks);
  task.head = math().rem(batchAndHead, math().constant(problem.heads));
  task.batch = math().floorDiv(batchAndHead, math().constant(problem.heads));
  task.keyHead = math().floorDiv(task.head, math().constant(problem.heads / problem.keyHeads));
  task.firstQuery = math().mul(block, math().constant(kQueryBlock));
  task.queries = math().min(math().constant(kQueryBlock), math().sub(problem.queryCount, task.firstQuery));
  task.keyEnd = problem.keyCount;
  if (op.getCausal()) {
    OpFoldResult seen = math().add(task.firstQuery, math().sub(problem.keyCount, problem.queryCount));
    seen = math().max(math().add(seen, task.queries), math().constant(0));
    task.keyEnd = math().min(problem.keyCount, seen);
  }
  task.query = getRows(q, task, task.head, task.firstQuery, task.queries);

  lathe::Emitter e(builder, loc);
  Value none = e.real(builder.getF32Type(), 0), zero = constant(0);
  Value hidden = e.infinity(builder.getF32Type(), /*negative=*/true);
  emitLoop(math().constant(0), task.queries, 1, [&](Value query) {
    storeNumber(hidden, maximumBuffer, query);
    storeNumber(none, sumBuffer, query);
  });
  OpFoldResult size = math().mul(task.queries, math().constant(problem.valueDepth));
  emitLoop(math().constant(0), size, kLanes, [&](Value place) { store(zero, resultBuffer, place); });
  emitLoop(math().constant(0), task.keyEnd, kKeyBlock, [&](Value firstKey) {
    OpFoldResult count = math().min(math().constant(kKeyBlock), math().sub(task.keyEnd, firstKey));
    OpFoldResult depth = math().constant(kDepth);
    emitKeyBlock(task, {firstKey, count, math().mul(math().ceilDiv(count, depth), depth)});
  });
  emitResult(task);
}

LogicalResult MatrixAttention::emit() {
  if (failed(mask.analyze())) {
    return failure();
  }
  q = findOperand(op.getQ(), problem.depth, kQueryBlock);
  k = findOperand(op.getK(), problem.depth, kKeyBlock);
  v = findOperand(op.getV(), problem.valueDepth, kKeyBlock);
  auto make = [&](Type element, int64_t size) { return makeScratch(builder, loc, element, size); };
  Type f32 = builder.getF32Type(), halfWord = builder.getI16Type();
  // Pairs are stored as words.
  keyBuffer = make(builder.getI32Type(), problem.depth / 2 * kKeyBlock);
  valueBuffer = make(halfWord, kKeyBlock * problem.valueDepth);
  logitBuffer = make(f32, kStrip * kKeyBlock);
  weightBuffer = make(halfWord, kStrip * kKeyBlock);
  resultBuffer = make(f32, kQueryBlock * problem.valueDepth);
  maximumBuffer = make(f32, kQueryBlock);
  sumBuffer = make(f32, kQueryBlock);
  biasBuffer = make(f32, kKeyBlock);
  matrices.emplace(builder, loc, kElement);
  emitLoop(context.begin, context.end, 1, [&](Value number) { emitTask(number); });
  matrices->release();
  return status;
}
