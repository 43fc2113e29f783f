// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Kernels of plain loops: a part of an op that builds its own by each thread, and anything else by one.

#include "lathe/Codegen/CUDA/Emitters.h"
#include "lathe/Codegen/Element/IndexMath.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cuda;

/// Few: parts may be long, and there may be few of them.
static constexpr int64_t kThreads = 64;

static FailureOr<Launch> planLoops(ElementContext &context) {
  FailureOr<LoopParts> parts = countLoopParts(context);
  if (failed(parts)) {
    return failure();
  }
  IndexMath math{context.builder, context.kernel.getLoc()};
  return Launch{math.ceilDiv(parts->count, math.constant(kThreads)), kThreads};
}

static LogicalResult emitLoops(EmitContext &context) {
  FailureOr<LoopParts> parts = countLoopParts(context);
  if (failed(parts)) {
    return failure();
  }
  OpBuilder &builder = context.builder;
  Location loc = context.kernel.getLoc();
  IndexMath math{builder, loc};
  OpFoldResult number = math.add(math.mul(context.block, math.constant(kThreads)), context.thread);
  Value part = math.value(number), end = math.value(math.add(part, math.constant(1)));
  Value exists =
      arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ult, part, math.value(parts->count));
  auto branch = scf::IfOp::create(builder, loc, exists, /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToStart(branch.thenBlock());
  return emitLoopParts(context, part, end);
}

cuda::Emitter cuda::getLoopsEmitter() { return {planLoops, emitLoops}; }

/// Nothing is known of what may run side by side.
static FailureOr<Launch> planReference(ElementContext &context) {
  IndexMath math{context.builder, context.kernel.getLoc()};
  return Launch{math.constant(1), 1};
}

static LogicalResult emitReference(EmitContext &context) { return emitReferenceLoops(context); }

cuda::Emitter cuda::getReferenceEmitter() { return {planReference, emitReference}; }
