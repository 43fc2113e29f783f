// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Kernels without a root: outputs of one shape share a loop nest; a task is a block of the innermost
/// dimension at one position of the others.

#include "PointwiseLoops.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cpu;

namespace {
/// The loops over some outputs of one shape.
struct Nest {
  SmallVector<kernel::OutputOp> outputs;
  SmallVector<Value> values;
  SmallVector<OpFoldResult> dims;
  SmallVector<std::pair<int64_t, int64_t>> groups;
  /// A piece of a concatenation, which is its only output: the dimension, and where in it the piece lies.
  std::optional<int64_t> axis;
  OpFoldResult begin, length;
  ElementCost cost;
  int64_t lanes = 0, block = 1;
  /// Blocks of the innermost dimension, and tasks: these at all positions of the other dimensions.
  OpFoldResult blocks, tasks;
};
using Nests = SmallVector<Nest, 0>;
} // namespace

/// Elements of the innermost dimension that one task takes at most.
static constexpr int64_t kBlock = 2048;
/// Innermost dimensions up to this size are not cut.
static constexpr int64_t kUncut = 8192;

static LogicalResult planNest(EmitContext &context, Nest &nest) {
  IndexMath math{context.builder, nest.outputs.front().getLoc()};
  FailureOr<CollapsedTensors> collapsed =
      collapseDims(context, nest.values, nest.dims, nest.axis.value_or(0));
  if (failed(collapsed)) {
    return failure();
  }
  nest.values = collapsed->values;
  nest.dims = collapsed->dims;
  nest.groups = collapsed->groups;
  nest.cost = getElementCost(nest.values);
  if (nest.dims.empty()) {
    nest.blocks = nest.tasks = math.constant(1);
    return success();
  }
  OpFoldResult inner = nest.dims.back();
  std::optional<int64_t> size = getConstantIntValue(inner);
  nest.lanes = size && *size < 4 ? 0 : getLanes(context.target, nest.cost);
  bool isCut = !size || *size > kUncut || (nest.dims.size() == 1 && *size > kBlock);
  nest.block = isCut ? kBlock : std::max<int64_t>(*size, 1);
  nest.blocks = math.ceilDiv(inner, math.constant(nest.block));
  nest.tasks = math.mul(math.product(ArrayRef(nest.dims).drop_back()), nest.blocks);
  return success();
}

/// One nest for each piece of a concatenation.
static LogicalResult addPieces(EmitContext &context, kernel::OutputOp output, nn::ConcatOp concat,
                               Nests &nests) {
  IndexMath math{context.builder, output.getLoc()};
  OpFoldResult begin = math.constant(0);
  for (Value piece : concat.getInputs()) {
    FailureOr<ArrayRef<OpFoldResult>> dims = context.shapes.getDims(piece);
    if (failed(dims)) {
      return concat.emitOpError("has an input of unknown sizes");
    }
    Nest nest;
    nest.outputs.push_back(output);
    nest.values.push_back(piece);
    nest.dims.assign(dims->begin(), dims->end());
    nest.axis = concat.getAxis();
    nest.begin = begin;
    nest.length = nest.dims[concat.getAxis()];
    begin = math.add(begin, nest.length);
    nests.push_back(std::move(nest));
  }
  return success();
}

/// The memory that a nest writes for one of its outputs, in the nest's dimensions.
static StridedView getNestView(EmitContext &context, const Nest &nest, kernel::OutputOp output) {
  StridedView view = getOutputView(context, output);
  if (nest.axis) {
    IndexMath math{context.builder, output.getLoc()};
    view.offset = math.mul(nest.begin, view.strides[*nest.axis]);
    view.sizes[*nest.axis] = nest.length;
  }
  return mergeDims(context.builder, output.getLoc(), view, nest.groups);
}

/// The loop nests of a kernel, in the order of their first outputs.
static FailureOr<Nests> planNests(EmitContext &context) {
  Nests nests;
  for (auto output : context.kernel.getBody().front().getOps<kernel::OutputOp>()) {
    if (auto concat = output.getValue().getDefiningOp<nn::ConcatOp>()) {
      if (failed(addPieces(context, output, concat, nests))) {
        return failure();
      }
      continue;
    }
    FailureOr<ArrayRef<OpFoldResult>> valueDims = context.shapes.getDims(output.getValue());
    if (failed(valueDims)) {
      return output.emitOpError("has a value of unknown sizes");
    }
    SmallVector<OpFoldResult> dims(*valueDims);
    auto isSameShape = [&](const Nest &nest) {
      return !nest.axis && nest.dims.size() == dims.size() &&
             llvm::all_of(llvm::zip_equal(nest.dims, dims),
                          [](auto pair) { return areEqualSizes(std::get<0>(pair), std::get<1>(pair)); });
    };
    auto nest = llvm::find_if(nests, isSameShape);
    if (nest == nests.end()) {
      nests.push_back({});
      nest = &nests.back();
      nest->dims = dims;
    }
    nest->outputs.push_back(output);
    nest->values.push_back(output.getValue());
  }
  if (nests.empty()) {
    return context.kernel.emitOpError("has no outputs");
  }
  for (Nest &nest : nests) {
    if (failed(planNest(context, nest))) {
      return failure();
    }
  }
  return nests;
}

static FailureOr<TaskSplit> splitPointwise(EmitContext &context) {
  FailureOr<Nests> nests = planNests(context);
  if (failed(nests)) {
    return failure();
  }
  IndexMath math{context.builder, context.kernel.getLoc()};
  OpFoldResult count = math.constant(0), grain;
  for (Nest &nest : *nests) {
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
static LogicalResult emitTask(EmitContext &context, ElementEmitter &emitter, Nest &nest,
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
static LogicalResult emitNest(EmitContext &context, ElementEmitter &emitter, Nest &nest, Value begin,
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
  FailureOr<Nests> nests = planNests(context);
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
  for (Nest &nest : *nests) {
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
