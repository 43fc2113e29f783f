// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Codegen/Element/LoopEmitter.h"

#include "lathe/Codegen/Math/Emitter.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::codegen;

SmallVector<Value> LoopEmitter::emitLoop(OpFoldResult begin, OpFoldResult end, int64_t step,
                                         ArrayRef<Value> carried,
                                         llvm::function_ref<SmallVector<Value>(Value, ValueRange)> body) {
  auto loop = scf::ForOp::create(builder, loc, math().value(begin), math().value(end),
                                 math().value(math().constant(step)), carried,
                                 [&](OpBuilder &, Location, Value iv, ValueRange now) {
                                   scf::YieldOp::create(builder, loc, body(iv, now));
                                 });
  return SmallVector<Value>(loop.getResults());
}

void LoopEmitter::emitLoop(OpFoldResult begin, OpFoldResult end, int64_t step,
                           llvm::function_ref<void(Value)> body) {
  emitLoop(begin, end, step, ArrayRef<Value>(), [&](Value iv, ValueRange) {
    body(iv);
    return SmallVector<Value>();
  });
}

void LoopEmitter::emitIf(Value condition, llvm::function_ref<void()> then,
                         llvm::function_ref<void()> otherwise) {
  auto branch = [&](llvm::function_ref<void()> body) {
    return [&, body](OpBuilder &, Location) {
      body();
      scf::YieldOp::create(builder, loc);
    };
  };
  if (otherwise) {
    scf::IfOp::create(builder, loc, condition, branch(then), branch(otherwise));
  } else {
    scf::IfOp::create(builder, loc, condition, branch(then));
  }
}

Value VectorEmitter::constant(double value) { return lathe::Emitter(builder, loc).real(vectorType, value); }

Value VectorEmitter::splat(Value number) {
  return vector::BroadcastOp::create(builder, loc, vectorType, number);
}

Value VectorEmitter::load(Value buffer, OpFoldResult index) {
  return vector::LoadOp::create(builder, loc, vectorType, buffer, ValueRange{math().value(index)});
}

void VectorEmitter::store(Value value, Value buffer, OpFoldResult index) {
  vector::StoreOp::create(builder, loc, value, buffer, ValueRange{math().value(index)});
}

Value VectorEmitter::loadNumber(Value buffer, OpFoldResult index) {
  return memref::LoadOp::create(builder, loc, buffer, ValueRange{math().value(index)});
}

void VectorEmitter::storeNumber(Value value, Value buffer, OpFoldResult index) {
  memref::StoreOp::create(builder, loc, value, buffer, ValueRange{math().value(index)});
}

Value VectorEmitter::larger(Value lhs, Value rhs) {
  lathe::Emitter e(builder, loc);
  return e.select(e.compare(arith::CmpFPredicate::OGT, lhs, rhs), lhs, rhs);
}
