// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "AttentionEmitter.h"

#include "lathe/Codegen/Math/Emitter.h"

#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cpu;

AttentionEmitter::AttentionEmitter(EmitContext &context, const AttentionProblem &problem)
    : VectorEmitter(
          context.builder, context.kernel.getLoc(),
          VectorType::get({chooseMatMulTiling(context.target).lanes}, context.builder.getF32Type())),
      context(context), problem(problem), elements(context),
      mask(context, this->problem, elements, chooseMatMulTiling(context.target).lanes) {
  MatMulTiling tiling = chooseMatMulTiling(context.target);
  lanes = tiling.lanes;
  tileRows = tiling.rows;
  valueVectors = llvm::divideCeil(problem.valueDepth, lanes);
}

LogicalResult AttentionEmitter::analyze(bool needsRows) {
  auto find = [&](Value operand, StridedView &view) {
    FailureOr<StridedView> found = getStridedView(context, operand);
    if (succeeded(found) && found->element.isF32()) {
      view = *found;
      return true;
    }
    return false;
  };
  auto isApart = [](const StridedView &view) { return !isConstantSize(view.strides[3], 1); };
  packsQ = !find(problem.op.getQ(), q) || (needsRows && isApart(q));
  packsK = !find(problem.op.getK(), k) || (needsRows && isApart(k));
  packsV = !find(problem.op.getV(), v) || isApart(v);
  auto make = [&](int64_t rowSize) {
    return makeScratch(builder, loc, builder.getF32Type(), kKeyBlock * llvm::alignTo(rowSize, lanes));
  };
  keyBuffer = packsK ? make(problem.depth) : Value();
  valueBuffer = packsV ? make(problem.valueDepth) : Value();
  return mask.analyze();
}

AttentionEmitter::Task AttentionEmitter::decode(Value number) {
  Task task;
  OpFoldResult block = math().rem(number, problem.queryBlocks);
  OpFoldResult batchAndHead = math().floorDiv(number, problem.queryBlocks);
  task.head = math().rem(batchAndHead, math().constant(problem.heads));
  task.batch = math().floorDiv(batchAndHead, math().constant(problem.heads));
  task.keyHead = math().floorDiv(task.head, math().constant(problem.heads / problem.keyHeads));
  OpFoldResult queryBlock = math().constant(problem.queryBlock);
  task.firstQuery = math().mul(block, queryBlock);
  task.queries = math().min(queryBlock, math().sub(problem.queryCount, task.firstQuery));
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
  if (problem.op.getCausal()) {
    task.lastOfFirst = math().add(task.firstQuery, math().sub(problem.keyCount, problem.queryCount));
    OpFoldResult visible = math().max(math().add(task.lastOfFirst, task.queries), math().constant(0));
    task.keyEnd = math().min(problem.keyCount, visible);
  }
  return task;
}

/// Cheaper than the general function by what the range of x spares: infinities, denormal numbers,
/// conversions. The polynomial's relative error is 8e-8. What lies below -126 does not matter: the largest
/// weight of a row is 1.
Value AttentionEmitter::buildPower(Value x) {
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

Value AttentionEmitter::evaluate(Value tensor, const Tile &tile) {
  ElementEmitter::Scope scope(elements);
  FailureOr<Value> value = elements.evaluate(tensor, tile);
  if (failed(value)) {
    status = failure();
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

Value AttentionEmitter::maskOfFeatures(int64_t width, int64_t feature) {
  if (width - feature >= lanes) {
    return {};
  }
  Value left = math().value(math().constant(width - feature));
  return vector::CreateMaskOp::create(builder, loc, VectorType::get({lanes}, builder.getI1Type()), left);
}

void AttentionEmitter::packRows(Value tensor, const Task &task, Value firstKey, OpFoldResult keys,
                                int64_t width, Value buffer) {
  emitLoop(math().constant(0), keys, 1, [&](Value key) {
    OpFoldResult number = math().add(firstKey, key);
    OpFoldResult row = math().mul(key, math().constant(llvm::alignTo(width, lanes)));
    for (int64_t feature = 0; feature < width; feature += lanes) {
      OpFoldResult first = math().constant(feature);
      Tile tile{math().values({task.batch, number, task.keyHead, first}), lanes,
                maskOfFeatures(width, feature)};
      store(evaluate(tensor, tile), buffer, math().add(row, first));
    }
  });
}

RegisterTile AttentionEmitter::valueTile(int64_t mostRows, int64_t first) {
  int64_t registers = 2 * tileRows;
  int64_t vectors = std::min(registers / std::min<int64_t>(mostRows, 4), valueVectors - first);
  int64_t rows = std::min<int64_t>(llvm::bit_floor(uint64_t(registers / vectors)), mostRows);
  int64_t sums = rows * vectors, chains = sums >= 8 ? 1 : rows > 1 || sums > 4 ? 2 : 4;
  return {rows, vectors, lanes, /*unroll=*/4, chains};
}

SmallVector<Value> AttentionEmitter::valueMasks(int64_t first, int64_t vectors) {
  SmallVector<Value> masks;
  if (!packsV && problem.valueDepth % lanes != 0 && first + vectors == valueVectors) {
    for (int64_t vector = first; vector < first + vectors; ++vector) {
      masks.push_back(maskOfFeatures(problem.valueDepth, vector * lanes));
    }
  }
  return masks;
}

MatrixRef AttentionEmitter::valuesFrom(const Task &task, Value firstKey, OpFoldResult column) {
  OpFoldResult one = math().constant(1);
  if (packsV) {
    return {valueBuffer, math().value(column), math().constant(valueVectors * lanes), one};
  }
  OpFoldResult offset = math().add(task.value, math().mul(firstKey, v.strides[1]));
  return {v.base, math().value(math().add(offset, column)), v.strides[1], one};
}

Value AttentionEmitter::isAnySeen(Value buffer, OpFoldResult count) {
  // By bits: a NaN is seen. What is hidden is -inf.
  lathe::Emitter e(builder, loc);
  Value hidden = e.bits(constant(-std::numeric_limits<double>::infinity()));
  Value others = emitLoop(math().constant(0), count, lanes, e.zero(hidden.getType()),
                          [&](Value place, ValueRange before) -> SmallVector<Value> {
                            Value other =
                                arith::XOrIOp::create(builder, loc, e.bits(load(buffer, place)), hidden);
                            return {arith::OrIOp::create(builder, loc, before[0], other)};
                          })[0];
  Value other = vector::ReductionOp::create(builder, loc, vector::CombiningKind::OR, others);
  return e.compare(arith::CmpIPredicate::ne, other, int64_t(0));
}

SmallVector<Value> AttentionEmitter::emitIfSeen(Value isSeen, ValueRange carried,
                                                llvm::function_ref<SmallVector<Value>()> block) {
  auto choice = scf::IfOp::create(builder, loc, carried.getTypes(), isSeen, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToStart(choice.thenBlock());
  SmallVector<Value> after = block();
  scf::YieldOp::create(builder, loc, after);
  builder.setInsertionPointToStart(choice.elseBlock());
  scf::YieldOp::create(builder, loc, carried);
  return llvm::to_vector_of<Value>(choice.getResults());
}

Value AttentionEmitter::buildFinalFactor(Value maximum, Value sum) {
  lathe::Emitter e(builder, loc);
  Value hidden = constant(-std::numeric_limits<double>::infinity());
  Value empty = problem.op.getGuardEmpty() ? constant(0) : e.nan(vectorType);
  Value isEmpty = e.compare(arith::CmpFPredicate::OEQ, maximum, hidden);
  return e.select(isEmpty, empty, e.div(constant(1), sum));
}

void AttentionEmitter::storeResult(const Task &task, OpFoldResult query, int64_t vector, Value value) {
  lathe::Emitter e(builder, loc);
  Type element = cast<RankedTensorType>(problem.op.getType()).getElementType();
  OpFoldResult column = math().constant(vector * lanes), number = math().add(task.firstQuery, query);
  Tile tile{math().values({task.batch, number, task.head, column}), lanes,
            maskOfFeatures(problem.valueDepth, vector * lanes)};
  elements.reset();
  elements.setValue(problem.op.getResult(), e.toFloat(value, element));
  FailureOr<Value> stored = elements.evaluate(problem.output.getValue(), tile);
  if (failed(stored)) {
    status = failure();
    return;
  }
  storeTile(builder, loc, *stored, getOutputView(context, problem.output), tile);
}
