// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Convolutions of each channel by itself: vectors run over channels, and the sums of neighbouring pixels
/// stay in registers, so that their windows' common pixels and the weights are read once. A task is a row of
/// pixels or a part of one. Pixels whose windows stick out of the input to the left or right are done one by
/// one, by the places that lie inside, and so are all pixels of very wide windows.

#include "ConvProblem.h"
#include "lathe/Codegen/CPU/Emitters.h"
#include "lathe/Codegen/Element/PointwiseLoops.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <map>

using namespace mlir;
using namespace lathe;
using namespace lathe::cpu;

/// At most this many pixels of a row are one task.
static constexpr int64_t kMaxPixels = 64;
/// Floating-point operations that take some 10 microseconds: bound by loads rather than arithmetic.
static constexpr int64_t kGrainOperations = 200000;
/// Vectors of channels that are computed side by side where pixels are done one by one.
static constexpr int64_t kEdgeVectors = 4;
/// Wider windows are loops.
static constexpr int64_t kMaxUnrolled = 16;

namespace {

struct DepthwiseGrid {
  DepthwiseGrid(EmitContext &context, ConvProblem &problem);
  OpFoldResult blockWidth, columnBlocks, tasks, grain;
};

class DepthwiseEmitter {
public:
  DepthwiseEmitter(EmitContext &context, ConvProblem &problem)
      : context(context), builder(context.builder), loc(problem.op.getLoc()), problem(problem),
        grid(context, problem), lanes(context.target.lanes(32)), elements(context),
        output(getOutputView(context, problem.output)) {}

  LogicalResult emit();

private:
  /// Pixels [begin, end) of a row of the result, and the places of the window that lie inside along the outer
  /// dimensions.
  struct Row {
    OpFoldResult image, plane, row, begin, end;
    std::array<std::pair<OpFoldResult, OpFoldResult>, 2> places;
  };

  IndexMath math() { return {builder, loc}; }
  void emitLoop(OpFoldResult begin, OpFoldResult end, llvm::function_ref<void(Value)> body);
  LogicalResult emitTask(Value number);
  /// The places of a window, whose first one is at `first` of the input, that lie inside.
  std::pair<OpFoldResult, OpFoldResult> clipPlaces(const ConvDim &dim, OpFoldResult first);
  /// The pixels of a row whose windows lie inside altogether.
  std::pair<OpFoldResult, OpFoldResult> getInterior(OpFoldResult begin, OpFoldResult end);
  /// How many pixels' sums are in registers at once.
  int64_t choosePixels();
  void emitEdge(const Row &row, OpFoldResult begin, OpFoldResult end);
  void emitInterior(const Row &row, OpFoldResult begin, OpFoldResult end);
  LogicalResult emitPixels(const Row &row, OpFoldResult first, int64_t pixels, LoopStep &step);
  LogicalResult emitEdgePixel(const Row &row, Value pixel, LoopStep &step);
  /// Calls `body` in loops over the places of the outer two dimensions, with the sums so far.
  LogicalResult
  emitPlaces(const Row &row, SmallVectorImpl<Value> &sums,
             llvm::function_ref<LogicalResult(OpFoldResult, OpFoldResult, MutableArrayRef<Value>)> body);
  LogicalResult store(const Row &row, ArrayRef<OpFoldResult> pixels, ArrayRef<Value> channels,
                      const LoopStep &step, ArrayRef<Value> sums);
  FailureOr<Value> loadInput(const Row &row, OpFoldResult plane, OpFoldResult line, OpFoldResult column,
                             Value channel, const LoopStep &step);
  FailureOr<Value> loadWeight(ArrayRef<OpFoldResult> place, Value channel, const LoopStep &step);
  /// The position in the input of place `place` of the window of pixel `pixel`.
  OpFoldResult inputPosition(size_t dim, OpFoldResult pixel, OpFoldResult place);
  Value multiplyAdd(Value lhs, Value rhs, Value sum);
  Value makeZero(const LoopStep &step);

  EmitContext &context;
  OpBuilder &builder;
  Location loc;
  ConvProblem &problem;
  DepthwiseGrid grid;
  int64_t lanes;
  ElementEmitter elements;
  StridedView output;
  LogicalResult status = success();
};

} // namespace

DepthwiseGrid::DepthwiseGrid(EmitContext &context, ConvProblem &problem) {
  IndexMath math{context.builder, problem.op.getLoc()};
  OpFoldResult one = math.constant(1), width = problem.dims[2].out;
  columnBlocks = math.ceilDiv(width, math.constant(kMaxPixels));
  blockWidth = math.max(math.ceilDiv(width, math.max(columnBlocks, one)), one);
  OpFoldResult rows = math.product({problem.batch, problem.dims[0].out, problem.dims[1].out});
  tasks = math.mul(rows, columnBlocks);
  OpFoldResult work = math.mul(blockWidth, math.constant(2 * problem.places() * problem.groups));
  grain = math.max(math.floorDiv(math.constant(kGrainOperations), work), one);
}

void DepthwiseEmitter::emitLoop(OpFoldResult begin, OpFoldResult end, llvm::function_ref<void(Value)> body) {
  auto loop = scf::ForOp::create(builder, loc, math().value(begin), math().value(end),
                                 math().value(math().constant(1)));
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToStart(loop.getBody());
  body(loop.getInductionVar());
}

LogicalResult DepthwiseEmitter::emit() {
  emitLoop(context.begin, context.end, [&](Value number) {
    if (failed(emitTask(number))) {
      status = failure();
    }
  });
  return status;
}

OpFoldResult DepthwiseEmitter::inputPosition(size_t dim, OpFoldResult pixel, OpFoldResult place) {
  const ConvDim &of = problem.dims[dim];
  OpFoldResult first = math().sub(math().mul(pixel, math().constant(of.stride)), math().constant(of.before));
  return math().add(first, math().mul(place, math().constant(of.dilation)));
}

std::pair<OpFoldResult, OpFoldResult> DepthwiseEmitter::clipPlaces(const ConvDim &dim, OpFoldResult first) {
  OpFoldResult zero = math().constant(0), window = math().constant(dim.window),
               dilation = math().constant(dim.dilation);
  if (!dim.isPadded()) {
    return {zero, window};
  }
  // The first place at or after element 0, and the first one at or after the end. Neither division sees a
  // negative number.
  OpFoldResult begin = math().ceilDiv(math().max(math().sub(zero, first), zero), dilation);
  OpFoldResult end = math().ceilDiv(math().max(math().sub(dim.in, first), zero), dilation);
  return {math().min(begin, window), math().min(end, window)};
}

std::pair<OpFoldResult, OpFoldResult> DepthwiseEmitter::getInterior(OpFoldResult begin, OpFoldResult end) {
  const ConvDim &dim = problem.dims[2];
  if (!dim.isPadded()) {
    return {begin, end};
  }
  OpFoldResult zero = math().constant(0), stride = math().constant(dim.stride);
  OpFoldResult first = math().constant(llvm::divideCeil(dim.before, dim.stride));
  // The last window that lies inside starts at `room`.
  OpFoldResult room = math().add(dim.in, math().constant(dim.before + 1 - dim.reach()));
  OpFoldResult last = math().ceilDiv(math().max(room, zero), stride);
  OpFoldResult from = math().min(math().max(first, begin), end);
  return {from, math().max(math().min(last, end), from)};
}

int64_t DepthwiseEmitter::choosePixels() {
  const ConvDim &dim = problem.dims[2];
  // The weights of a row of the window, the pixels' sums, and what is being multiplied.
  int64_t registers = context.target.vectorRegisters;
  int64_t most = std::clamp<int64_t>(registers - dim.window - 2, 2, registers / 2);
  std::optional<int64_t> in = getConstantIntValue(dim.in), out = getConstantIntValue(dim.out);
  if (!in || !out) {
    return std::min<int64_t>(most, 6);
  }
  auto [from, to] = getInterior(math().constant(0), math().constant(std::min(*out, kMaxPixels)));
  int64_t count = *getConstantIntValue(to) - *getConstantIntValue(from);
  int64_t best = 1;
  for (int64_t pixels = 2; pixels <= most && pixels <= count; ++pixels) {
    // The fewest pixels that are computed twice; of equal ones the widest tile.
    auto computed = [&](int64_t tile) { return int64_t(llvm::divideCeil(count, tile)) * tile; };
    if (best == 1 || computed(pixels) <= computed(best) + (pixels - best) / 2) {
      best = pixels;
    }
  }
  return best;
}

LogicalResult DepthwiseEmitter::emitTask(Value number) {
  SmallVector<OpFoldResult> index = math().delinearize(
      number, {problem.batch, problem.dims[0].out, problem.dims[1].out, grid.columnBlocks});
  Row row{index[0], index[1], index[2], {}, {}, {}};
  row.begin = math().mul(index[3], grid.blockWidth);
  row.end = isConstantSize(grid.columnBlocks, 1)
                ? problem.dims[2].out
                : math().min(math().add(row.begin, grid.blockWidth), problem.dims[2].out);
  row.places = {clipPlaces(problem.dims[0], inputPosition(0, row.plane, math().constant(0))),
                clipPlaces(problem.dims[1], inputPosition(1, row.row, math().constant(0)))};
  auto [from, to] = getInterior(row.begin, row.end);
  if (problem.dims[2].isPadded()) {
    emitEdge(row, row.begin, from);
  }
  emitInterior(row, from, to);
  if (problem.dims[2].isPadded()) {
    emitEdge(row, to, row.end);
  }
  return status;
}

void DepthwiseEmitter::emitInterior(const Row &row, OpFoldResult begin, OpFoldResult end) {
  if (problem.dims[2].window > kMaxUnrolled) {
    return emitEdge(row, begin, end);
  }
  int64_t pixels = choosePixels();
  OpFoldResult count = math().sub(end, begin), width = math().constant(pixels);
  auto emitPart = [&](OpFoldResult first, int64_t part) {
    SmallVector<Value> nothing;
    if (failed(emitTiledLoop(context, loc, math().constant(0), math().constant(problem.groups), lanes,
                             /*unroll=*/1, nothing,
                             [&](LoopStep &step) { return emitPixels(row, first, part, step); }))) {
      status = failure();
    }
  };
  auto emitParts = [&] {
    // The last part ends with the row: pixels that it shares with the one before are computed twice.
    emitLoop(math().constant(0), math().ceilDiv(count, width), [&](Value part) {
      OpFoldResult first = math().add(begin, math().mul(part, width));
      bool isEven = getConstantIntValue(count) && *getConstantIntValue(count) % pixels == 0;
      emitPart(isEven ? first : math().min(first, math().sub(end, width)), pixels);
    });
  };
  auto emitSingles = [&] { emitLoop(begin, end, [&](Value pixel) { emitPart(pixel, 1); }); };
  if (std::optional<int64_t> number = getConstantIntValue(count)) {
    *number >= pixels ? emitParts() : emitSingles();
    return;
  }
  Value isWide = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::sge, math().value(count),
                                       math().value(width));
  auto branch = scf::IfOp::create(builder, loc, isWide, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToStart(branch.thenBlock());
  emitParts();
  builder.setInsertionPointToStart(branch.elseBlock());
  emitSingles();
}

void DepthwiseEmitter::emitEdge(const Row &row, OpFoldResult begin, OpFoldResult end) {
  emitLoop(begin, end, [&](Value pixel) {
    SmallVector<Value> nothing;
    if (failed(emitTiledLoop(context, loc, math().constant(0), math().constant(problem.groups), lanes,
                             kEdgeVectors, nothing,
                             [&](LoopStep &step) { return emitEdgePixel(row, pixel, step); }))) {
      status = failure();
    }
  });
}

LogicalResult DepthwiseEmitter::emitPlaces(
    const Row &row, SmallVectorImpl<Value> &sums,
    llvm::function_ref<LogicalResult(OpFoldResult, OpFoldResult, MutableArrayRef<Value>)> body) {
  auto emitOver = [&](std::pair<OpFoldResult, OpFoldResult> range, MutableArrayRef<Value> sums,
                      llvm::function_ref<LogicalResult(OpFoldResult, MutableArrayRef<Value>)> inner) {
    std::optional<int64_t> first = getConstantIntValue(range.first), last = getConstantIntValue(range.second);
    if (first && last && *last - *first == 1) {
      return inner(range.first, sums);
    }
    auto loop = scf::ForOp::create(builder, loc, math().value(range.first), math().value(range.second),
                                   math().value(math().constant(1)), sums);
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointToStart(loop.getBody());
    SmallVector<Value> carried(loop.getRegionIterArgs());
    LogicalResult result = inner(loop.getInductionVar(), carried);
    scf::YieldOp::create(builder, loc, carried);
    llvm::copy(loop.getResults(), sums.begin());
    return result;
  };
  return emitOver(row.places[0], sums, [&](OpFoldResult plane, MutableArrayRef<Value> sums) {
    return emitOver(row.places[1], sums,
                    [&](OpFoldResult line, MutableArrayRef<Value> sums) { return body(plane, line, sums); });
  });
}

LogicalResult DepthwiseEmitter::emitPixels(const Row &row, OpFoldResult first, int64_t pixels,
                                           LoopStep &step) {
  const ConvDim &dim = problem.dims[2];
  Value channel = step.positions.front();
  SmallVector<Value> sums(pixels, makeZero(step));
  std::map<int64_t, SmallVector<std::pair<int64_t, int64_t>>> inputs;
  for (int64_t pixel = 0; pixel < pixels; ++pixel) {
    for (int64_t place = 0; place < dim.window; ++place) {
      inputs[pixel * dim.stride + place * dim.dilation].push_back({pixel, place});
    }
  }
  LogicalResult result =
      emitPlaces(row, sums, [&](OpFoldResult plane, OpFoldResult line, MutableArrayRef<Value> sums) {
        SmallVector<Value> weights;
        for (int64_t place = 0; place < dim.window; ++place) {
          FailureOr<Value> weight = loadWeight({plane, line, math().constant(place)}, channel, step);
          if (failed(weight)) {
            return failure();
          }
          weights.push_back(*weight);
        }
        // Each pixel of the input goes into the sums of several pixels, by as many weights.
        for (const auto &[ahead, uses] : inputs) {
          OpFoldResult column =
              math().add(inputPosition(2, first, math().constant(0)), math().constant(ahead));
          FailureOr<Value> input = loadInput(row, plane, line, column, channel, step);
          if (failed(input)) {
            return failure();
          }
          for (auto [pixel, place] : uses) {
            sums[pixel] = multiplyAdd(*input, weights[place], sums[pixel]);
          }
        }
        return success();
      });
  if (failed(result)) {
    return failure();
  }
  SmallVector<OpFoldResult> positions;
  for (int64_t pixel = 0; pixel < pixels; ++pixel) {
    positions.push_back(math().add(first, math().constant(pixel)));
  }
  return store(row, positions, SmallVector<Value>(pixels, channel), step, sums);
}

LogicalResult DepthwiseEmitter::emitEdgePixel(const Row &row, Value pixel, LoopStep &step) {
  OpFoldResult zero = math().constant(0);
  auto [begin, end] = clipPlaces(problem.dims[2], inputPosition(2, pixel, zero));
  SmallVector<Value> sums(step.positions.size(), makeZero(step));
  LogicalResult result =
      emitPlaces(row, sums, [&](OpFoldResult plane, OpFoldResult line, MutableArrayRef<Value> sums) {
        auto loop = scf::ForOp::create(builder, loc, math().value(begin), math().value(end),
                                       math().value(math().constant(1)), sums);
        OpBuilder::InsertionGuard guard(builder);
        builder.setInsertionPointToStart(loop.getBody());
        Value place = loop.getInductionVar();
        SmallVector<Value> carried(loop.getRegionIterArgs());
        for (auto [sum, channel] : llvm::zip_equal(carried, step.positions)) {
          FailureOr<Value> weight = loadWeight({plane, line, place}, channel, step);
          FailureOr<Value> input = loadInput(row, plane, line, inputPosition(2, pixel, place), channel, step);
          if (failed(weight) || failed(input)) {
            return failure();
          }
          sum = multiplyAdd(*input, *weight, sum);
        }
        scf::YieldOp::create(builder, loc, carried);
        llvm::copy(loop.getResults(), sums.begin());
        return success();
      });
  if (failed(result)) {
    return failure();
  }
  return store(row, SmallVector<OpFoldResult>(sums.size(), pixel), SmallVector<Value>(step.positions), step,
               sums);
}

LogicalResult DepthwiseEmitter::store(const Row &row, ArrayRef<OpFoldResult> pixels, ArrayRef<Value> channels,
                                      const LoopStep &step, ArrayRef<Value> sums) {
  // All are computed before the first is stored, so that what their epilogues share is loaded once.
  SmallVector<std::pair<Tile, Value>> results;
  for (auto [pixel, channel, sum] : llvm::zip_equal(pixels, channels, sums)) {
    SmallVector<Value> index =
        problem.tensorIndex(builder, loc, row.image, {row.plane, row.row, pixel}, channel);
    Tile tile{index, step.lanes, step.mask};
    elements.reset();
    elements.setValue(problem.op.getResult(), sum);
    FailureOr<Value> value = elements.evaluate(problem.output.getValue(), tile);
    if (failed(value)) {
      return failure();
    }
    results.push_back({tile, *value});
  }
  for (auto &[tile, value] : results) {
    storeTile(builder, loc, value, output, tile);
  }
  elements.reset();
  return success();
}

FailureOr<Value> DepthwiseEmitter::loadInput(const Row &row, OpFoldResult plane, OpFoldResult line,
                                             OpFoldResult column, Value channel, const LoopStep &step) {
  SmallVector<Value> index = problem.tensorIndex(
      builder, loc, row.image, {inputPosition(0, row.plane, plane), inputPosition(1, row.row, line), column},
      channel);
  elements.reset();
  return elements.evaluate(problem.op.getX(), Tile{index, step.lanes, step.mask});
}

FailureOr<Value> DepthwiseEmitter::loadWeight(ArrayRef<OpFoldResult> place, Value channel,
                                              const LoopStep &step) {
  SmallVector<Value> index = problem.filterIndex(builder, loc, place, math().constant(0), channel);
  elements.reset();
  return elements.evaluate(problem.op.getFilter(), Tile{index, step.lanes, step.mask});
}

Value DepthwiseEmitter::multiplyAdd(Value lhs, Value rhs, Value sum) {
  if (isa<VectorType>(sum.getType())) {
    return vector::FMAOp::create(builder, loc, lhs, rhs, sum);
  }
  return math::FmaOp::create(builder, loc, lhs, rhs, sum);
}

Value DepthwiseEmitter::makeZero(const LoopStep &step) {
  Type type = builder.getF32Type();
  type = step.lanes ? VectorType::get({step.lanes}, type) : type;
  return arith::ConstantOp::create(builder, loc, builder.getZeroAttr(type));
}

FailureOr<TaskSplit> cpu::splitDepthwiseConv(EmitContext &context, ConvProblem &problem) {
  DepthwiseGrid grid(context, problem);
  IndexMath math{context.builder, problem.op.getLoc()};
  return TaskSplit{math.value(grid.tasks), math.value(grid.grain)};
}

LogicalResult cpu::emitDepthwiseConv(EmitContext &context, ConvProblem &problem) {
  return DepthwiseEmitter(context, problem).emit();
}
