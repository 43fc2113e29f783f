// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Kernels without a root: outputs of one shape share a loop nest; a task is a block of the innermost
/// dimension at one position of the others.

#include "lathe/Codegen/CPU/Emitters.h"
#include "lathe/Codegen/Element/Nests.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cpu;

namespace {
/// A nest and its division into tasks.
struct TaskNest : Nest {
  explicit TaskNest(Nest nest) : Nest(std::move(nest)) {}

  ElementCost cost;
  int64_t lanes = 0, block = 1;
  /// Blocks of the innermost dimension, and tasks: these at all positions of the other dimensions.
  OpFoldResult blocks, tasks;
};
using TaskNests = SmallVector<TaskNest, 0>;
} // namespace

/// Elements of the innermost dimension that one task takes at most.
static constexpr int64_t kBlock = 2048;
/// Innermost dimensions up to this size are not cut.
static constexpr int64_t kUncut = 8192;

static void planTasks(EmitContext &context, TaskNest &nest) {
  IndexMath math{context.builder, nest.outputs.front().getLoc()};
  nest.cost = getElementCost(nest.values);
  if (nest.dims.empty()) {
    nest.blocks = nest.tasks = math.constant(1);
    return;
  }
  OpFoldResult inner = nest.dims.back();
  std::optional<int64_t> size = getConstantIntValue(inner);
  nest.lanes = size && *size < 4 ? 0 : context.target.lanes(nest.cost.widestBits);
  bool isCut = !size || *size > kUncut || (nest.dims.size() == 1 && *size > kBlock);
  nest.block = isCut ? kBlock : std::max<int64_t>(*size, 1);
  nest.blocks = math.ceilDiv(inner, math.constant(nest.block));
  nest.tasks = math.mul(math.product(ArrayRef(nest.dims).drop_back()), nest.blocks);
}

static FailureOr<TaskNests> planNests(EmitContext &context) {
  FailureOr<Nests> nests = collectNests(context);
  if (failed(nests)) {
    return failure();
  }
  TaskNests planned;
  for (Nest &nest : *nests) {
    planTasks(context, planned.emplace_back(std::move(nest)));
  }
  return planned;
}

static FailureOr<TaskSplit> splitPointwise(EmitContext &context) {
  FailureOr<TaskNests> nests = planNests(context);
  if (failed(nests)) {
    return failure();
  }
  IndexMath math{context.builder, context.kernel.getLoc()};
  OpFoldResult count = math.constant(0), grain;
  for (TaskNest &nest : *nests) {
    count = math.add(count, nest.tasks);
    OpFoldResult elements = nest.dims.empty() ? math.constant(1) : nest.dims.back();
    elements = math.max(math.min(elements, math.constant(nest.block)), math.constant(1));
    auto wanted = std::max<int64_t>(1, int64_t(kGrainNanoseconds / nest.cost.nanoseconds));
    OpFoldResult nestGrain = math.ceilDiv(math.constant(wanted), elements);
    grain = grain ? math.min(grain, nestGrain) : nestGrain;
  }
  return TaskSplit{math.value(count), math.value(grain)};
}

/// Emits one task of a nest: positions [from, to) of the innermost dimension at `outer` of the others.
static LogicalResult emitTask(EmitContext &context, ElementEmitter &emitter, TaskNest &nest,
                              ArrayRef<StridedView> views, ArrayRef<Value> outer, OpFoldResult from,
                              OpFoldResult to) {
  OpBuilder &builder = context.builder;
  Location loc = nest.outputs.front().getLoc();
  int64_t unroll = nest.cost.ops <= 3 ? 4 : nest.cost.ops <= 12 ? 2 : 1;
  SmallVector<Value> nothing;
  return emitTiledLoop(context, loc, from, to, nest.lanes, unroll, nothing, [&](LoopStep &step) {
    // All tiles are computed before the first is stored, so that their chains of operations interleave.
    SmallVector<std::pair<Tile, Value>> results;
    ElementEmitter::Scope scope(emitter);
    for (Value position : step.positions) {
      Tile tile{SmallVector<Value>(outer), step.lanes, step.mask};
      tile.index.push_back(position);
      for (Value tensor : nest.values) {
        FailureOr<Value> value = emitter.evaluate(tensor, tile);
        if (failed(value)) {
          return failure();
        }
        results.push_back({tile, *value});
      }
    }
    for (auto [number, result] : llvm::enumerate(results)) {
      storeTile(builder, loc, result.second, views[number % views.size()], result.first);
    }
    return success();
  });
}

/// Emits the tasks [begin, end) of a nest.
static LogicalResult emitNest(EmitContext &context, ElementEmitter &emitter, TaskNest &nest, Value begin,
                              Value end) {
  OpBuilder &builder = context.builder;
  Location loc = nest.outputs.front().getLoc();
  IndexMath math{builder, loc};
  SmallVector<StridedView> views;
  for (kernel::OutputOp output : nest.outputs) {
    views.push_back(getNestView(context, nest, output));
  }
  OpBuilder::InsertionGuard guard(builder);
  auto loop = scf::ForOp::create(builder, loc, begin, end, math.value(math.constant(1)));
  builder.setInsertionPointToStart(loop.getBody());
  ElementEmitter::Scope scope(emitter);
  if (nest.dims.empty()) {
    for (auto [view, tensor] : llvm::zip_equal(views, nest.values)) {
      FailureOr<Value> value = emitter.evaluate(tensor, Tile{});
      if (failed(value)) {
        return failure();
      }
      storeTile(builder, loc, *value, view, Tile{});
    }
    return success();
  }
  OpFoldResult task = loop.getInductionVar();
  OpFoldResult position = math.floorDiv(task, nest.blocks);
  OpFoldResult from = math.mul(math.rem(task, nest.blocks), math.constant(nest.block));
  OpFoldResult inner = nest.dims.back();
  bool isWhole = isConstantSize(nest.blocks, 1);
  OpFoldResult to = isWhole ? inner : math.min(math.add(from, math.constant(nest.block)), inner);
  SmallVector<Value> outer = math.values(math.delinearize(position, ArrayRef(nest.dims).drop_back()));
  return emitTask(context, emitter, nest, views, outer, isWhole ? math.constant(0) : from, to);
}

static LogicalResult emitPointwise(EmitContext &context) {
  FailureOr<TaskNests> nests = planNests(context);
  if (failed(nests)) {
    return failure();
  }
  IndexMath math{context.builder, context.kernel.getLoc()};
  ElementEmitter emitter(context);
  if (nests->size() == 1) {
    return emitNest(context, emitter, nests->front(), context.begin, context.end);
  }
  // The tasks of a nest follow those of the nests before.
  OpFoldResult first = math.constant(0);
  for (TaskNest &nest : *nests) {
    OpFoldResult zero = math.constant(0);
    auto clamp = [&](Value bound) {
      return math.value(math.max(math.min(math.sub(bound, first), nest.tasks), zero));
    };
    if (failed(emitNest(context, emitter, nest, clamp(context.begin), clamp(context.end)))) {
      return failure();
    }
    first = math.add(first, nest.tasks);
  }
  return success();
}

Emitter lathe::cpu::getPointwiseEmitter() { return {splitPointwise, emitPointwise}; }
