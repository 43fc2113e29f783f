// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Control flow of a host function as branches.
///
/// A tensor that a body of `nn.if` yields is not moved: its address is handed on. Carried tensors of
/// `nn.loop` lie in storage of their own, into which the next ones are copied at the end of an iteration.
/// What an iteration yields never lies in the storage of another carried tensor: FormKernels gives it a
/// kernel of its own then.

#include "HostFunction.h"

#include "lathe/Codegen/Host/Weights.h"

#include "mlir/Dialect/ControlFlow/IR/ControlFlowOps.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::codegen;

/// An empty block, at which the builder stands then.
Block *HostFunction::newBlock() { return builder.createBlock(faultBlock); }

//===----------------------------------------------------------------------===//
// nn.if
//===----------------------------------------------------------------------===//

LogicalResult HostFunction::emitIf(nn::IfOp op) {
  Emit emit{builder, op.getLoc()};
  Block *before = builder.getInsertionBlock();
  Block *thenBlock = newBlock(), *elseBlock = newBlock(), *merge = newBlock();
  for (Value result : op.getResults()) {
    bool isIndex = result.getType().isIndex();
    BlockArgument argument = merge->addArgument(isIndex ? result.getType() : emit.ptr(), op.getLoc());
    if (isIndex) {
      mapping.map(result, argument);
    } else {
      pointers[result] = argument;
    }
  }
  builder.setInsertionPointToEnd(before);
  cf::CondBranchOp::create(builder, op.getLoc(), mapping.lookup(op.getCondition()), thenBlock, ValueRange{},
                           elseBlock, ValueRange{});
  if (failed(emitBranch(op, op.getThenBody(), thenBlock, merge)) ||
      failed(emitBranch(op, op.getElseBody(), elseBlock, merge))) {
    return failure();
  }
  builder.setInsertionPointToStart(merge);
  return success();
}

LogicalResult HostFunction::emitBranch(nn::IfOp op, Region &body, Block *from, Block *merge) {
  builder.setInsertionPointToStart(from);
  if (failed(emitBlock(body.front()))) {
    return failure();
  }
  SmallVector<Value> values;
  for (Value value : op.getYield(body).getValues()) {
    if (value.getType().isIndex()) {
      values.push_back(mapping.lookup(value));
      continue;
    }
    FailureOr<Value> pointer = getPointer(value);
    if (failed(pointer)) {
      return failure();
    }
    values.push_back(*pointer);
  }
  cf::BranchOp::create(builder, op.getLoc(), merge, values);
  return success();
}

//===----------------------------------------------------------------------===//
// nn.loop
//===----------------------------------------------------------------------===//

/// Copies `bytes` to `to`.
static void emitCopy(Emit &emit, Value to, Value from, Value bytes) {
  LLVM::MemcpyOp::create(emit.builder, emit.loc, to, from, bytes, /*isVolatile=*/false);
}

/// The positions of the results that lie in buffers: their addresses change while the loop runs.
static int64_t movingPosition(ArenaPlan &plan, nn::LoopOp op, unsigned i) {
  int64_t position = 0;
  for (unsigned k = 0; k < i; ++k) {
    position += plan.getBuffer(op.getResult(k)) >= 0;
  }
  return position;
}

Value HostFunction::loopPointer(Emit &emit, nn::LoopOp op, unsigned i, ValueRange moving) {
  int64_t slot = plan.getSlot(op.getResult(i));
  return slot >= 0 ? slotPointer(emit, slot) : moving[movingPosition(plan, op, i)];
}

Value HostFunction::loopBytes(Emit &emit, nn::LoopOp op, unsigned i, ValueRange carried) {
  auto type = cast<RankedTensorType>(op.getResult(i).getType());
  ArrayRef<int64_t> shape = cast<DenseI64ArrayAttr>(op.getShapes()[i]).asArrayRef();
  // Of a scan output, the part of one iteration.
  shape = shape.drop_front(i >= op.getCarriedTensorCount());
  Value bytes = emit.constant(getElementBytes(type.getElementType()));
  for (int64_t size : shape) {
    int64_t own = ~size - int64_t(op.getSizes().size());
    Value factor = size >= 0 ? emit.constant(size)
                   : own < 0 ? emit.fromIndex(mapping.lookup(op.getSizes()[~size]))
                             : emit.fromIndex(carried[own]);
    bytes = emit.multiplyBytes(bytes, factor);
  }
  return bytes;
}

/// Puts the first carried tensors into their storage; gives what the loop starts with behind its iteration
/// and condition: addresses of buffers, then carried index values.
LogicalResult HostFunction::emitInits(nn::LoopOp op, SmallVectorImpl<Value> &entering) {
  Emit emit{builder, op.getLoc()};
  unsigned tensors = op.getCarriedTensorCount();
  SmallVector<Value> indices;
  for (Value init : op.getInits().drop_front(tensors)) {
    indices.push_back(mapping.lookup(init));
  }
  for (unsigned i = 0; i < op.getShapes().size(); ++i) {
    Value result = op.getResult(i);
    bool isScan = i >= tensors;
    Value bytes = isScan ? emit.constant(0) : loopBytes(emit, op, i, indices);
    if (int64_t buffer = plan.getBuffer(result); buffer >= 0) {
      entering.push_back(
          emitReserve(emit, firstBuffer + buffer, bytes, emit.constant(0), placeOf(op.getLoc())));
    }
    if (!isScan) {
      FailureOr<Value> from = getPointer(op.getInits()[i]);
      if (failed(from)) {
        return failure();
      }
      emitCopy(emit, loopPointer(emit, op, i, entering), *from, bytes);
    }
  }
  llvm::append_range(entering, indices);
  return success();
}

/// The end of an iteration: copies what it yields; `next` has the addresses of buffers and gets those of the
/// next iteration, then carried index values.
LogicalResult HostFunction::emitNext(nn::LoopOp op, Value iteration, SmallVectorImpl<Value> &next) {
  nn::YieldOp yield = op.getYield();
  Emit emit{builder, yield.getLoc()};
  unsigned tensors = op.getCarriedTensorCount(), all = op.getShapes().size();
  SmallVector<Value> indices;
  for (Value value : yield.getValues().drop_front(1 + all)) {
    indices.push_back(mapping.lookup(value));
  }
  for (unsigned i = 0; i < all; ++i) {
    Value value = yield.getValues()[1 + i];
    if (i < tensors && ArenaPlan::getRoot(value) == op.getBody().getArgument(1 + i)) {
      continue; // lies there already
    }
    FailureOr<Value> from = getPointer(value);
    if (failed(from)) {
      return failure();
    }
    Value bytes = loopBytes(emit, op, i, indices), offset = emit.constant(0), end = bytes;
    if (i >= tensors) {
      offset = emit.multiplyBytes(bytes, emit.fromIndex(iteration));
      end = emit.addBytes(offset, bytes);
    }
    if (int64_t buffer = plan.getBuffer(op.getResult(i)); buffer >= 0) {
      next[movingPosition(plan, op, i)] =
          emitReserve(emit, firstBuffer + buffer, end, offset, placeOf(op.getLoc()));
    }
    emitCopy(emit, emit.bytesAt(loopPointer(emit, op, i, next), offset), *from, bytes);
  }
  llvm::append_range(next, indices);
  return success();
}

LogicalResult HostFunction::emitLoop(nn::LoopOp op) {
  Location loc = op.getLoc();
  Emit emit{builder, loc};
  Value trip = mapping.lookup(op.getTrip());
  SmallVector<Value> entering{arith::ConstantIndexOp::create(builder, loc, 0),
                              mapping.lookup(op.getCondition())};
  SmallVector<Value> storage;
  if (failed(emitInits(op, storage))) {
    return failure();
  }
  llvm::append_range(entering, storage);
  Block *before = builder.getInsertionBlock();
  Block *header = newBlock(), *body = newBlock(), *after = newBlock();
  for (Value value : entering) {
    header->addArgument(value.getType(), loc);
  }
  builder.setInsertionPointToEnd(before);
  cf::BranchOp::create(builder, loc, header, entering);

  builder.setInsertionPointToStart(header);
  Value iteration = header->getArgument(0);
  ValueRange moving = header->getArguments().drop_front(2);
  ValueRange indices = moving.take_back(op.getCarriedIndexCount());
  Value more = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::slt, iteration, trip);
  more = arith::AndIOp::create(builder, loc, more, header->getArgument(1));
  cf::CondBranchOp::create(builder, loc, more, body, ValueRange{}, after, ValueRange{});

  builder.setInsertionPointToStart(body);
  Value limit = emit.load(emit.i64(), call, LoopLimit);
  Value bad = LLVM::ICmpOp::create(builder, loc, LLVM::ICmpPredicate::sge, emit.fromIndex(iteration), limit);
  branchIfBad(loc, bad, faultCode(loc, LATHE_FAULT_LOOP, placeOf(loc)));
  mapping.map(op.getIteration(), iteration);
  for (BlockArgument argument : op.getBody().getArguments().drop_front()) {
    unsigned number = argument.getArgNumber() - 1;
    if (argument.getType().isIndex()) {
      mapping.map(argument, indices[number - op.getCarriedTensorCount()]);
    } else {
      pointers[argument] = loopPointer(emit, op, number, moving);
    }
  }
  if (failed(emitBlock(op.getBody().front()))) {
    return failure();
  }
  SmallVector<Value> next(moving.drop_back(op.getCarriedIndexCount()));
  if (failed(emitNext(op, iteration, next))) {
    return failure();
  }
  SmallVector<Value> repeated{
      arith::AddIOp::create(builder, loc, iteration, arith::ConstantIndexOp::create(builder, loc, 1)),
      mapping.lookup(op.getYield().getValues().front())};
  llvm::append_range(repeated, next);
  cf::BranchOp::create(builder, loc, header, repeated);

  builder.setInsertionPointToStart(after);
  for (unsigned i = 0; i < op.getShapes().size(); ++i) {
    if (plan.getBuffer(op.getResult(i)) >= 0) {
      pointers[op.getResult(i)] = loopPointer(emit, op, i, moving);
    }
  }
  for (auto [result, value] :
       llvm::zip_equal(op.getResults().drop_front(op.getShapes().size()).drop_back(), indices)) {
    mapping.map(result, value);
  }
  mapping.map(op.getCount(), iteration);
  return success();
}
