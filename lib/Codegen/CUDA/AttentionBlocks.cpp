// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "AttentionBlocks.h"
#include "lathe/Codegen/Element/IndexMath.h"
#include "lathe/Codegen/Math/Math.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

#include <cmath>
#include <limits>

using namespace mlir;
using namespace lathe;
using namespace lathe::cuda;

AttentionBlocks::AttentionBlocks(EmitContext &context, const AttentionProblem &problem)
    : LoopEmitter(context.builder, nn::AttentionOp(problem.op).getLoc()), context(context), problem(problem),
      e(builder, loc), elements(context) {}

void AttentionBlocks::decodeBlock(int64_t queries) {
  OpFoldResult queryBlocks = math().ceilDiv(problem.queryCount, math().constant(queries));
  OpFoldResult block = math().rem(context.block, queryBlocks);
  OpFoldResult batchAndHead = math().floorDiv(context.block, queryBlocks);
  head = math().rem(batchAndHead, math().constant(problem.heads));
  batch = math().floorDiv(batchAndHead, math().constant(problem.heads));
  keyHead = math().floorDiv(head, math().constant(problem.heads / problem.keyHeads));
  keyBegin = math().value(math().constant(0));
  firstQuery = math().mul(block, math().constant(queries));
  OpFoldResult end = problem.keyCount;
  if (problem.op.getCausal()) {
    OpFoldResult ahead = math().sub(problem.keyCount, problem.queryCount);
    OpFoldResult seen = math().add(math().add(firstQuery, math().constant(queries)), ahead);
    end = math().min(end, math().max(seen, math().constant(0)));
  }
  keyEnd = math().value(end);
}

Value AttentionBlocks::evaluate(Value tensor, ArrayRef<OpFoldResult> index) {
  FailureOr<Value> value = elements.evaluate(tensor, Tile{math().values(index), 0, Value()});
  if (failed(value)) {
    status = failure();
    return e.zero(builder.getF32Type());
  }
  return e.toFloat(*value, builder.getF32Type());
}

AttentionBlocks::Row AttentionBlocks::getRow(OpFoldResult number) {
  Row row;
  OpFoldResult place = ranges ? number : math().add(firstQuery, number),
               count = ranges ? ranges->rows : problem.queryCount;
  row.exists = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ult, math().value(place),
                                     math().value(count));
  OpFoldResult last = math().min(place, math().sub(count, math().constant(1)));
  if (ranges) {
    OpFoldResult heads = math().constant(problem.heads / problem.keyHeads);
    row.head = math().add(math().mul(keyHead, heads), math().rem(last, heads));
    row.query = math().value(math().floorDiv(last, heads));
  } else {
    row.head = head;
    row.query = math().value(last);
  }
  row.lastKey = getLastKey(row.query);
  return row;
}

Value AttentionBlocks::getLastKey(Value query) {
  OpFoldResult last = math().sub(problem.keyCount, math().constant(1));
  if (problem.op.getCausal()) {
    OpFoldResult ahead = math().sub(problem.keyCount, problem.queryCount);
    last = math().min(last, math().add(query, ahead));
  }
  return math().value(last);
}

Value AttentionBlocks::finishLogit(Value sum, const Row &row, Value key) {
  double scale = problem.op.getScale().convertToDouble();
  Value logit;
  if (std::optional<APFloat> softcap = problem.op.getSoftcap()) {
    double cap = softcap->convertToDouble();
    logit = e.mul(approx::buildTanh(builder, loc, e.mul(sum, scale / cap)), cap * M_LOG2E);
  } else {
    logit = e.mul(sum, scale * M_LOG2E);
  }
  if (problem.op.getMask()) {
    OpFoldResult last = math().sub(problem.keyCount, math().constant(1));
    logit = e.add(logit, evaluateMask(row, math().value(math().min(key, last))));
  }
  return logit;
}

Value AttentionBlocks::evaluateMask(const Row &row, Value key) {
  ElementEmitter::Scope scope(elements);
  Value mask = problem.op.getMask();
  FailureOr<ArrayRef<OpFoldResult>> known = context.shapes.getDims(mask);
  if (failed(known)) {
    status = problem.op.emitOpError("has a mask of unknown shape");
    return e.zero(builder.getF32Type());
  }
  SmallVector<OpFoldResult> dims(*known), position{batch, row.head, row.query, key};
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

Value AttentionBlocks::getNormalization(Value maximum, Value sum) {
  Type f32 = builder.getF32Type();
  Value isEmpty = e.compare(arith::CmpFPredicate::OEQ, maximum, negativeInfinity());
  Value empty = problem.op.getGuardEmpty() ? e.zero(f32) : e.nan(f32);
  return e.select(isEmpty, empty, e.div(e.real(f32, 1.0), sum));
}

void AttentionBlocks::storeResult(const Row &row, Value feature, Value value, int64_t lanes) {
  ElementEmitter::Scope scope(elements);
  elements.setValue(problem.op.getResult(), value);
  Tile tile{math().values({batch, row.query, row.head, feature}), lanes, Value()};
  FailureOr<Value> result = elements.evaluate(problem.output.getValue(), tile);
  if (failed(result)) {
    status = failure();
    return;
  }
  storeTile(builder, loc, *result, getOutputView(context, problem.output), tile);
}
