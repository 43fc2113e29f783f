// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Blocks that have a range of the keys of attention: what such a block has, and how its rows get their
/// result from all ranges. Parts go through the session's scratch memory, which begins with a ticket for each
/// group of blocks, 0 between launches: the block that draws the last one finds all parts there.

#include "AttentionBlocks.h"
#include "DeviceOps.h"
#include "TensorOps.h"
#include "lathe/Codegen/Math/Math.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cuda;

/// The bytes of all tickets.
static constexpr int64_t kTicketBytes = int64_t(llvm::alignTo(AttentionGrid::kMostBlocks * 4, 256));

void AttentionBlocks::decodeRange(int64_t keysAtOnce, int64_t mostRows) {
  rangeRows = mostRows;
  ranges = AttentionGrid::byKeys(math(), problem, keysAtOnce);
  OpFoldResult range = math().rem(context.block, ranges->parts);
  group = math().floorDiv(context.block, ranges->parts);
  keyHead = math().rem(group, math().constant(problem.keyHeads));
  batch = math().floorDiv(group, math().constant(problem.keyHeads));
  OpFoldResult begin = math().mul(range, ranges->keys);
  keyBegin = math().value(begin);
  keyEnd = math().value(math().min(problem.keyCount, math().add(begin, ranges->keys)));
}

void AttentionBlocks::forEachElement(int64_t threads,
                                     llvm::function_ref<void(OpFoldResult, OpFoldResult)> body) {
  OpFoldResult features = math().constant(problem.valueDepth);
  emitLoop(context.thread, math().mul(ranges->rows, features), threads, [&](Value number) {
    ElementEmitter::Scope scope(elements);
    body(math().floorDiv(number, features), math().rem(number, features));
  });
}

Value AttentionBlocks::getPlace(Value parts, OpFoldResult part, OpFoldResult row, OpFoldResult place) {
  OpFoldResult offset = math().mul(part, math().constant(getPartBytes(rangeRows)));
  offset = math().add(offset, math().mul(row, math().constant(getRowBytes())));
  return advance(builder, loc, parts, math().add(offset, math().mul(place, math().constant(4))));
}

void AttentionBlocks::storeFeature(Value parts, OpFoldResult part, OpFoldResult row, OpFoldResult feature,
                                   Value value) {
  LLVM::StoreOp::create(builder, loc, value, getPlace(parts, part, row, feature));
}

void AttentionBlocks::storeMaximum(Value parts, OpFoldResult part, OpFoldResult row, Value maximum,
                                   Value sum) {
  storeFeature(parts, part, row, math().constant(problem.valueDepth), maximum);
  storeFeature(parts, part, row, math().constant(problem.valueDepth + 1), sum);
}

AttentionBlocks::Combined AttentionBlocks::combine(Value parts, OpFoldResult count, OpFoldResult row,
                                                   OpFoldResult feature) {
  Type f32 = builder.getF32Type();
  auto load = [&](Value part, OpFoldResult place) -> Value {
    return LLVM::LoadOp::create(builder, loc, f32, getPlace(parts, part, row, place));
  };
  OpFoldResult maximumPlace = math().constant(problem.valueDepth),
               sumPlace = math().constant(problem.valueDepth + 1), zero = math().constant(0);
  Combined combined;
  combined.maximum = emitLoop(zero, count, 1, negativeInfinity(), [&](Value part, ValueRange before) {
                       return SmallVector<Value>{
                           arith::MaxNumFOp::create(builder, loc, before.front(), load(part, maximumPlace))};
                     }).front();
  // While no key is seen, all is 0: infinities have no difference.
  Value isEmpty = e.compare(arith::CmpFPredicate::OEQ, combined.maximum, negativeInfinity());
  Value base = e.select(isEmpty, e.zero(f32), combined.maximum);
  SmallVector<Value> sums =
      emitLoop(zero, count, 1, {e.zero(f32), e.zero(f32)}, [&](Value part, ValueRange before) {
        Value weight = approx::buildExp2(builder, loc, e.sub(load(part, maximumPlace), base));
        return SmallVector<Value>{e.fma(weight, load(part, feature), before[0]),
                                  e.fma(weight, load(part, sumPlace), before[1])};
      });
  combined.result = sums[0];
  combined.sum = sums[1];
  return combined;
}

void AttentionBlocks::storeCombined(const Combined &combined, OpFoldResult row, OpFoldResult feature) {
  Type element = cast<RankedTensorType>(problem.op.getType()).getElementType();
  Value factor = getNormalization(combined.maximum, combined.sum);
  storeResult(getRow(row), math().value(feature), e.toFloat(e.mul(combined.result, factor), element),
              /*lanes=*/0);
}

Value AttentionBlocks::emitArrival(Value scratch, Value flag) {
  Type i32 = builder.getI32Type();
  auto number = [&](int64_t value) -> Value {
    return arith::ConstantIntOp::create(builder, loc, i32, value);
  };
  auto isEqual = [&](Value lhs, Value rhs) -> Value {
    return arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::eq, lhs, rhs);
  };
  // What all threads of the block have stored is there before the ticket is drawn, and what other blocks
  // stored before theirs is read after it.
  auto fence = [&] { LLVM::FenceOp::create(builder, loc, LLVM::AtomicOrdering::acq_rel, "device"); };
  emitBarrier(builder, loc);
  emitIf(isEqual(context.thread, math().value(math().constant(0))), [&] {
    Value ticket = advance(builder, loc, scratch, math().mul(group, math().constant(4)));
    fence();
    Value before = LLVM::AtomicRMWOp::create(builder, loc, LLVM::AtomicBinOp::add, ticket, number(1),
                                             LLVM::AtomicOrdering::monotonic, "device");
    Value parts = arith::IndexCastOp::create(builder, loc, i32, math().value(ranges->parts));
    Value isLast = isEqual(before, arith::SubIOp::create(builder, loc, parts, number(1)));
    emitIf(isLast, [&] { LLVM::StoreOp::create(builder, loc, number(0), ticket); });
    fence();
    LLVM::StoreOp::create(builder, loc, arith::ExtUIOp::create(builder, loc, i32, isLast), flag);
  });
  emitBarrier(builder, loc);
  return isEqual(LLVM::LoadOp::create(builder, loc, i32, flag), number(1));
}

LogicalResult AttentionBlocks::emitRangeResult(Value parts, int64_t count, int64_t threads) {
  int64_t partBytes = getPartBytes(rangeRows);
  Value scratch = context.getScratch(kTicketBytes + AttentionGrid::kMostBlocks * partBytes),
        flag = context.allocateShared(4), all = advance(builder, loc, scratch, math().constant(kTicketBytes));
  auto combineOwn = [&](OpFoldResult row, OpFoldResult feature) {
    return combine(parts, math().constant(count), row, feature);
  };
  emitBarrier(builder, loc);
  Value isAlone = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::eq, math().value(ranges->parts),
                                        math().value(math().constant(1)));
  auto storeAlone = [&] {
    forEachElement(threads, [&](OpFoldResult row, OpFoldResult feature) {
      storeCombined(combineOwn(row, feature), row, feature);
    });
  };
  auto storePart = [&] {
    forEachElement(threads, [&](OpFoldResult row, OpFoldResult feature) {
      Combined own = combineOwn(row, feature);
      storeFeature(all, context.block, row, feature, own.result);
      // What is the same for all features of a row, once.
      Value isFirst = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::eq, math().value(feature),
                                            math().value(math().constant(0)));
      emitIf(isFirst, [&] { storeMaximum(all, context.block, row, own.maximum, own.sum); });
    });
    emitIf(emitArrival(scratch, flag), [&] {
      OpFoldResult first = math().mul(group, ranges->parts);
      Value own = getPlace(all, first, math().constant(0), math().constant(0));
      forEachElement(threads, [&](OpFoldResult row, OpFoldResult feature) {
        storeCombined(combine(own, ranges->parts, row, feature), row, feature);
      });
    });
  };
  emitIf(isAlone, storeAlone, storePart);
  return status;
}
