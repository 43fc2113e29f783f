// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Kernels without a root: some neighbours of each output of one shape by each thread, 16 bytes of the widest
/// where rows divide into so much; the blocks of one nest follow those of the nests before.

#include "lathe/Codegen/CUDA/Emitters.h"
#include "lathe/Codegen/Element/Nests.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cuda;

static constexpr int64_t kThreads = 256;

/// The elements that a thread computes at a time, or 0 for one: what is written must be written as a whole.
static int64_t getLanes(const Nest &nest) {
  constexpr int64_t kBytes = 16;
  int64_t bytes = 2;
  for (kernel::OutputOp output : nest.outputs) {
    if (output.getPitch() || nest.axis) {
      return 0;
    }
    bytes = std::max<int64_t>(
        bytes, cast<RankedTensorType>(output.getValue().getType()).getElementTypeBitWidth() / 8);
  }
  int64_t lanes = kBytes / bytes;
  return lanes > 1 && !nest.dims.empty() && isMultipleOf(nest.dims.back(), lanes) ? lanes : 0;
}

static OpFoldResult countBlocks(IndexMath math, const Nest &nest) {
  int64_t each = kThreads * std::max<int64_t>(getLanes(nest), 1);
  return math.ceilDiv(math.product(nest.dims), math.constant(each));
}

static FailureOr<Launch> planPointwise(ElementContext &context) {
  FailureOr<Nests> nests = collectNests(context);
  if (failed(nests)) {
    return failure();
  }
  IndexMath math{context.builder, context.kernel.getLoc()};
  OpFoldResult blocks = math.constant(0);
  for (const Nest &nest : *nests) {
    blocks = math.add(blocks, countBlocks(math, nest));
  }
  return Launch{blocks, kThreads};
}

/// Emits what the thread does whose first element is number `element` of a nest.
static LogicalResult emitElement(EmitContext &context, ElementEmitter &emitter, Nest &nest, Value element) {
  OpBuilder &builder = context.builder;
  Location loc = nest.outputs.front().getLoc();
  IndexMath math{builder, loc};
  SmallVector<StridedView> views;
  for (kernel::OutputOp output : nest.outputs) {
    views.push_back(getNestView(context, nest, output));
  }
  Tile tile{math.values(math.delinearize(element, nest.dims)), getLanes(nest), Value()};
  SmallVector<Value> values;
  for (Value tensor : nest.values) {
    FailureOr<Value> value = emitter.evaluate(tensor, tile);
    if (failed(value)) {
      return failure();
    }
    values.push_back(*value);
  }
  for (auto [value, view] : llvm::zip_equal(values, views)) {
    storeTile(builder, loc, value, view, tile);
  }
  return success();
}

static LogicalResult emitPointwise(EmitContext &context) {
  FailureOr<Nests> nests = collectNests(context);
  if (failed(nests)) {
    return failure();
  }
  OpBuilder &builder = context.builder;
  Location loc = context.kernel.getLoc();
  IndexMath math{builder, loc};
  ElementEmitter emitter(context);
  OpFoldResult first = math.constant(0);
  for (Nest &nest : *nests) {
    // Negative, and so no element, in the blocks of the nests before.
    OpFoldResult block = math.sub(context.block, first);
    OpFoldResult number = math.add(math.mul(block, math.constant(kThreads)), context.thread);
    Value element = math.value(math.mul(number, math.constant(std::max<int64_t>(getLanes(nest), 1))));
    Value count = math.value(math.product(nest.dims));
    Value isElement = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ult, element, count);
    auto branch = scf::IfOp::create(builder, loc, isElement, /*withElseRegion=*/false);
    {
      OpBuilder::InsertionGuard guard(builder);
      builder.setInsertionPointToStart(branch.thenBlock());
      ElementEmitter::Scope scope(emitter);
      if (failed(emitElement(context, emitter, nest, element))) {
        return failure();
      }
    }
    first = math.add(first, countBlocks(math, nest));
  }
  return success();
}

cuda::Emitter cuda::getPointwiseEmitter() { return {planPointwise, emitPointwise}; }
