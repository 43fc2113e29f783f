// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Kernels that reduce: a row by the threads of a warp, or of a block where it is long, some neighbours at a
/// time; where other dimensions than the last are reduced, a column by each thread. What a thread has of a
/// row stays in its registers if it is not much.

#include "DeviceOps.h"
#include "lathe/Codegen/Element/RowsEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cuda;

/// Rows up to this length are done by a warp.
static constexpr int64_t kWarpRow = 1024;
/// The most bytes of a vector, and the most elements of a row that a thread keeps in registers.
static constexpr int64_t kVectorBytes = 16, kKept = 32;
/// Threads of a block, where rows are short or of unknown length, and where they are long.
static constexpr int64_t kThreads = 128, kManyThreads = 256;

namespace {
class DeviceRowsEmitter : public RowsEmitter {
public:
  DeviceRowsEmitter(ElementContext &context) : RowsEmitter(context) {}

  LogicalResult plan();
  Launch getLaunch();
  LogicalResult emit(EmitContext &device);

private:
  LogicalResult emitPass(int64_t unroll, Carried &carried, StepBody body) override;
  FailureOr<SmallVector<Value>> reduceRow(ArrayRef<Reduction> reductions) override;
  /// In shared memory. Every thread reads only what it has written itself.
  std::optional<StridedView> allocateRow(Type type) override;
  bool keepsTiles() const override { return !tiles.empty(); }
  LogicalResult emitOnce(llvm::function_ref<LogicalResult()> body) override;

  /// The elements that a thread takes at a time: a vector of 16 bytes of the widest type, if rows divide into
  /// such; 0: one.
  int64_t chooseLanes();
  /// Finds the tiles of this thread, if they are few.
  void makeTiles();
  LogicalResult emitTiles(Carried &carried, StepBody body);
  /// Emits `body` where `condition` holds.
  LogicalResult emitIf(Value condition, llvm::function_ref<LogicalResult()> body);
  /// What the threads of a row have reduced each, together, in all of them.
  Value combineThreads(Value part, const Reduction &reduction);
  int64_t getTeams() const { return threads / team; }

  EmitContext *device = nullptr;
  /// Threads of a block, and of a row.
  int64_t threads = kThreads, team = kThreads;
  int64_t lanes = 0;
  /// All tiles of this thread, and for each whether the row has it, null if it has. One that it does not have
  /// is the row's last one.
  SmallVector<std::pair<Tile, Value>> tiles;
  /// Whether the row has the tile that a pass is at.
  Value tileExists;
  /// The number of the team in its block, and of the thread in its team.
  Value teamNumber, lane;
};
} // namespace

LogicalResult DeviceRowsEmitter::plan() {
  if (failed(RowsEmitter::plan())) {
    return failure();
  }
  std::optional<int64_t> length = getConstantIntValue(getMath().product(space.getSizes(true)));
  if (length && space.isTrailing()) {
    threads = *length <= kWarpRow ? kThreads : kManyThreads;
    team = *length <= kWarpRow ? kWarp : kManyThreads;
    lanes = chooseLanes();
  }
  return success();
}

int64_t DeviceRowsEmitter::chooseLanes() {
  int64_t bytes = 2;
  auto widen = [&](Value value) {
    if (auto type = dyn_cast<RankedTensorType>(value.getType())) {
      bytes = std::max<int64_t>(bytes, type.getElementTypeBitWidth() / 8);
    }
  };
  for (Operation *root : space.roots) {
    llvm::for_each(root->getOperands(), widen);
  }
  for (kernel::OutputOp output : outputs) {
    widen(output.getValue());
  }
  int64_t vector = kVectorBytes / bytes;
  return vector > 1 && isMultipleOf(space.dims.back(), vector) ? vector : 0;
}

void DeviceRowsEmitter::makeTiles() {
  IndexMath math = getMath();
  SmallVector<OpFoldResult> sizes = space.getSizes(true);
  std::optional<int64_t> length = getConstantIntValue(math.product(sizes));
  if (!lanes || !length || llvm::divideCeil(*length, team) > kKept) {
    return;
  }
  for (int64_t first = 0; first < *length; first += team * lanes) {
    OpFoldResult position = math.add(math.mul(lane, math.constant(lanes)), math.constant(first));
    Value exists = emitIsInside(math, position, math.constant(*length), team * lanes);
    position = exists ? math.min(position, math.constant(*length - lanes)) : position;
    Tile tile{rowIndex, lanes, Value()};
    for (auto [dim, index] : llvm::zip_equal(space.getDims(true), math.delinearize(position, sizes))) {
      tile.index[dim] = math.value(index);
    }
    tiles.push_back({tile, exists});
  }
}

LogicalResult DeviceRowsEmitter::emitTiles(Carried &carried, StepBody body) {
  for (auto &[tile, exists] : tiles) {
    tileExists = exists;
    // A pass that carries nothing stores.
    LogicalResult result =
        exists && carried.empty() ? emitIf(exists, [&] { return body(tile, carried); }) : body(tile, carried);
    if (failed(result)) {
      return failure();
    }
  }
  return success();
}

Launch DeviceRowsEmitter::getLaunch() {
  OpFoldResult count = getMath().product(space.getSizes(false));
  int64_t each = space.isTrailing() ? getTeams() : threads;
  return {getMath().ceilDiv(count, getMath().constant(each)), threads};
}

LogicalResult DeviceRowsEmitter::emitIf(Value condition, llvm::function_ref<LogicalResult()> body) {
  OpBuilder &builder = context.builder;
  auto branch = scf::IfOp::create(builder, getLoc(), condition, /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToStart(branch.thenBlock());
  ElementEmitter::Scope scope(emitter);
  return body();
}

LogicalResult DeviceRowsEmitter::emit(EmitContext &onDevice) {
  device = &onDevice;
  OpBuilder &builder = context.builder;
  IndexMath math = getMath();
  SmallVector<OpFoldResult> kept = space.getSizes(false);
  OpFoldResult count = math.product(kept);
  bool isTrailing = space.isTrailing();
  teamNumber = math.value(math.floorDiv(device->thread, math.constant(team)));
  lane = math.value(math.rem(device->thread, math.constant(team)));
  OpFoldResult each = math.constant(isTrailing ? getTeams() : threads);
  Value place = isTrailing ? teamNumber : device->thread;
  Value number = math.value(math.add(math.mul(device->block, each), place));
  // All threads of a warp, or of a block if it does one row, go the same way.
  Value exists =
      arith::CmpIOp::create(builder, getLoc(), arith::CmpIPredicate::ult, number, math.value(count));
  return emitIf(exists, [&]() -> LogicalResult {
    if (isTrailing) {
      return emitRow(number);
    }
    Tile tile{SmallVector<Value>(space.dims.size(), math.value(math.constant(0))), 0, Value()};
    for (auto [dim, position] : llvm::zip_equal(space.getDims(false), math.delinearize(number, kept))) {
      tile.index[dim] = math.value(position);
    }
    return emitColumns(tile);
  });
}

LogicalResult DeviceRowsEmitter::emitPass(int64_t /*unroll*/, Carried &carried, StepBody body) {
  if (tiles.empty()) {
    makeTiles();
  }
  if (keepsTiles()) {
    return emitTiles(carried, body);
  }
  OpBuilder &builder = context.builder;
  IndexMath math = getMath();
  SmallVector<OpFoldResult> sizes = space.getSizes(true);
  int64_t each = std::max<int64_t>(lanes, 1);
  Value begin = math.value(math.mul(lane, math.constant(each))), end = math.value(math.product(sizes));
  auto loop =
      scf::ForOp::create(builder, getLoc(), begin, end, math.value(math.constant(team * each)), carried);
  {
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointToStart(loop.getBody());
    carried.assign(loop.getRegionIterArgs().begin(), loop.getRegionIterArgs().end());
    Tile tile{rowIndex, lanes, Value()};
    SmallVector<OpFoldResult> positions = math.delinearize(loop.getInductionVar(), sizes);
    for (auto [dim, position] : llvm::zip_equal(space.getDims(true), positions)) {
      tile.index[dim] = math.value(position);
    }
    ElementEmitter::Scope scope(emitter);
    if (failed(body(tile, carried))) {
      return failure();
    }
    if (!carried.empty()) {
      scf::YieldOp::create(builder, getLoc(), carried);
    }
  }
  carried.assign(loop.getResults().begin(), loop.getResults().end());
  return success();
}

Value DeviceRowsEmitter::combineThreads(Value part, const Reduction &reduction) {
  OpBuilder &builder = context.builder;
  IndexMath math = getMath();
  for (int64_t distance = kWarp / 2; distance > 0; distance /= 2) {
    part = reduction.combine(part, emitExchange(builder, getLoc(), part, distance));
  }
  int64_t warps = team / kWarp;
  if (warps == 1) {
    return part;
  }
  // A place of their own for every reduction: nobody writes again what another thread may still read.
  Value memory = device->allocateShared(getLoc(), getMemoryType(reduction.type), warps);
  StridedView view = getDenseView(builder, getLoc(), memory, math.constant(warps), reduction.type);
  Value warp = math.value(math.floorDiv(lane, math.constant(kWarp)));
  Value laneOfWarp = math.value(math.rem(lane, math.constant(kWarp)));
  Value isFirst = arith::CmpIOp::create(builder, getLoc(), arith::CmpIPredicate::eq, laneOfWarp,
                                        math.value(math.constant(0)));
  (void)emitIf(isFirst, [&] {
    storeTile(builder, getLoc(), part, view, Tile{{warp}, 0, Value()});
    return success();
  });
  emitBarrier(builder, getLoc());
  Value total;
  for (int64_t i = 0; i < warps; ++i) {
    Value other = loadTile(builder, getLoc(), view, Tile{{math.value(math.constant(i))}, 0, Value()});
    total = total ? reduction.combine(total, other) : other;
  }
  return total;
}

FailureOr<SmallVector<Value>> DeviceRowsEmitter::reduceRow(ArrayRef<Reduction> reductions) {
  Carried carried;
  for (const Reduction &reduction : reductions) {
    carried.push_back(getIdentity(context.builder, getLoc(), reduction, lanes));
  }
  auto accumulate = [&](ArrayRef<Tile> tiles, Carried &now) -> LogicalResult {
    for (auto [accumulator, reduction] : llvm::zip_equal(now, reductions)) {
      FailureOr<Value> term = reduction.term(tiles.front());
      if (failed(term)) {
        return failure();
      }
      Value after = reduction.accumulate(accumulator, *term);
      accumulator =
          tileExists
              ? arith::SelectOp::create(context.builder, getLoc(), tileExists, after, accumulator).getResult()
              : after;
    }
    return success();
  };
  if (failed(emitPass(/*unroll=*/1, carried, accumulate))) {
    return failure();
  }
  SmallVector<Value> totals;
  for (auto [part, reduction] : llvm::zip_equal(carried, reductions)) {
    Value own = lanes ? reduceLanes(context.builder, getLoc(), part, reduction) : part;
    totals.push_back(combineThreads(own, reduction));
  }
  return totals;
}

std::optional<StridedView> DeviceRowsEmitter::allocateRow(Type type) {
  IndexMath math = getMath();
  SmallVector<OpFoldResult> sizes = space.getSizes(true);
  std::optional<int64_t> count = getConstantIntValue(math.product(sizes));
  Type stored = getMemoryType(type);
  int64_t bytes = stored.getIntOrFloatBitWidth() / 8;
  // A quarter at most: what one row needs more than once is not worth all of a multiprocessor's memory.
  if (!count || *count == 0 || *count * getTeams() > kSharedBytes / 4 / bytes ||
      device->sharedBytes + *count * getTeams() * bytes > kSharedBytes / 2) {
    return std::nullopt;
  }
  StridedView view;
  view.base = device->allocateShared(getLoc(), stored, *count * getTeams());
  view.element = type;
  view.offset = math.mul(teamNumber, math.constant(*count));
  view.sizes = space.dims;
  view.strides.assign(space.dims.size(), math.constant(0));
  for (auto [dim, stride] : llvm::zip_equal(space.getDims(true), math.denseStrides(sizes))) {
    view.strides[dim] = stride;
  }
  return view;
}

LogicalResult DeviceRowsEmitter::emitOnce(llvm::function_ref<LogicalResult()> body) {
  IndexMath math = getMath();
  Value isFirst = arith::CmpIOp::create(context.builder, getLoc(), arith::CmpIPredicate::eq, lane,
                                        math.value(math.constant(0)));
  return emitIf(isFirst, body);
}

static FailureOr<Launch> planRows(ElementContext &context) {
  DeviceRowsEmitter emitter(context);
  if (failed(emitter.plan())) {
    return failure();
  }
  return emitter.getLaunch();
}

static LogicalResult emitRows(EmitContext &context) {
  DeviceRowsEmitter emitter(context);
  if (failed(emitter.plan())) {
    return failure();
  }
  return emitter.emit(context);
}

cuda::Emitter cuda::getRowsEmitter() { return {planRows, emitRows}; }
