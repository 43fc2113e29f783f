// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Kernels of one op that builds its own loops over memory, and those of plain loops.

#include "lathe/Codegen/CPU/Emitters.h"
#include "lathe/Codegen/Element/IndexMath.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cpu;

/// Parts may be small (a row of a sum): a worker takes some hundreds of elements' worth at least.
static FailureOr<TaskSplit> splitLoops(EmitContext &context) {
  FailureOr<LoopParts> parts = countLoopParts(context);
  if (failed(parts)) {
    return failure();
  }
  IndexMath math{context.builder, context.kernel.getLoc()};
  // As many parts a worker as make some ten thousand elements of the largest tensor.
  OpFoldResult one = math.constant(1);
  OpFoldResult each = math.max(math.floorDiv(parts->elements, math.max(parts->count, one)), one);
  return TaskSplit{math.value(parts->count), math.value(math.ceilDiv(math.constant(8192), each))};
}

static LogicalResult emitLoops(EmitContext &context) {
  return emitLoopParts(context, context.begin, context.end);
}

Emitter lathe::cpu::getLoopsEmitter() { return {splitLoops, emitLoops}; }

/// One task: nothing is known of what may run side by side.
static FailureOr<TaskSplit> splitReference(EmitContext &context) {
  Value one = arith::ConstantIndexOp::create(context.builder, context.kernel.getLoc(), 1);
  return TaskSplit{one, one};
}

static LogicalResult emitReference(EmitContext &context) { return emitReferenceLoops(context); }

Emitter lathe::cpu::getReferenceEmitter() { return {splitReference, emitReference}; }
