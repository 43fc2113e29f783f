// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Kernels that reduce: tasks, and the passes over a row.

#include "lathe/Codegen/CPU/Emitters.h"
#include "lathe/Codegen/Element/RowsEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cpu;

/// The longest row, in bytes, that is kept on the stack between passes.
static constexpr int64_t kRowBytes = 16 << 10;
/// Vectors of columns that are reduced side by side.
static constexpr int64_t kColumnUnroll = 4;

namespace {
/// Rows one by one, in vectors along the last dimension; columns in blocks of some vectors.
class CPURowsEmitter : public RowsEmitter {
public:
  CPURowsEmitter(EmitContext &context) : RowsEmitter(context), target(context.target), work(context) {}

  LogicalResult plan();
  FailureOr<TaskSplit> split();
  LogicalResult emit();

private:
  LogicalResult emitPass(int64_t unroll, Carried &carried, StepBody body) override;
  FailureOr<SmallVector<Value>> reduceRow(ArrayRef<Reduction> reductions) override;
  /// On the stack.
  std::optional<StridedView> allocateRow(Type type) override;
  LogicalResult emitColumnBlock(OpFoldResult task);

  const TargetSpec &target;
  EmitContext &work;
  int64_t lanes = 0;
};
} // namespace

LogicalResult CPURowsEmitter::plan() {
  if (failed(RowsEmitter::plan())) {
    return failure();
  }
  std::optional<int64_t> last = getConstantIntValue(space.dims.back());
  lanes = last && *last < 2 ? 0 : target.lanes(cost.widestBits);
  return success();
}

FailureOr<TaskSplit> CPURowsEmitter::split() {
  IndexMath math = getMath();
  OpFoldResult elements = math.product(space.getSizes(true));
  OpFoldResult count = math.constant(1);
  SmallVector<OpFoldResult> kept = space.getSizes(false);
  if (space.isTrailing()) {
    count = math.product(kept);
  } else {
    OpFoldResult block = math.constant(kColumnUnroll * std::max<int64_t>(lanes, 1));
    count = math.mul(math.product(ArrayRef(kept).drop_back()), math.ceilDiv(kept.back(), block));
    elements = math.mul(elements, block);
  }
  OpFoldResult wanted = math.constant(std::max<int64_t>(1, int64_t(kGrainNanoseconds / cost.nanoseconds)));
  OpFoldResult grain = math.ceilDiv(wanted, math.max(elements, math.constant(1)));
  return TaskSplit{math.value(count), math.value(grain)};
}

LogicalResult CPURowsEmitter::emit() {
  OpBuilder &builder = context.builder;
  OpBuilder::InsertionGuard guard(builder);
  Value one = getMath().value(getMath().constant(1));
  auto loop = scf::ForOp::create(builder, getLoc(), work.begin, work.end, one);
  builder.setInsertionPointToStart(loop.getBody());
  ElementEmitter::Scope scope(emitter);
  return space.isTrailing() ? emitRow(loop.getInductionVar()) : emitColumnBlock(loop.getInductionVar());
}

//===----------------------------------------------------------------------===//
// Rows
//===----------------------------------------------------------------------===//

LogicalResult CPURowsEmitter::emitPass(int64_t unroll, Carried &carried, StepBody body) {
  SmallVector<int64_t> reduced = space.getDims(true);
  SmallVector<Value> index = rowIndex;
  OpFoldResult zero = getMath().constant(0);
  std::function<LogicalResult(size_t)> emitDim = [&](size_t level) -> LogicalResult {
    int64_t dim = reduced[level];
    bool isLast = level + 1 == reduced.size();
    return emitTiledLoop(context, getLoc(), zero, space.dims[dim], isLast ? lanes : 0, isLast ? unroll : 1,
                         carried, [&](LoopStep &step) -> LogicalResult {
                           ElementEmitter::Scope scope(emitter);
                           if (!isLast) {
                             index[dim] = step.positions.front();
                             return emitDim(level + 1);
                           }
                           SmallVector<Tile> tiles;
                           for (Value position : step.positions) {
                             tiles.push_back({index, step.lanes, step.mask});
                             tiles.back().index[dim] = position;
                           }
                           return body(tiles, carried);
                         });
  };
  return emitDim(0);
}

FailureOr<SmallVector<Value>> CPURowsEmitter::reduceRow(ArrayRef<Reduction> reductions) {
  OpBuilder &builder = context.builder;
  Location loc = getLoc();
  int64_t unroll = cost.ops <= 6 ? 4 : 2;
  if (std::optional<int64_t> last = getConstantIntValue(space.dims.back()); last && lanes) {
    unroll = std::clamp<int64_t>(*last / lanes, 1, unroll);
  }
  // For each reduction the accumulators of the tiles of a step, then, where some elements are left to a
  // scalar loop, one scalar.
  bool hasScalars = lanes == 0 || !target.hasAVX512;
  int64_t vectors = lanes ? unroll : 0;
  int64_t stride = vectors + (hasScalars ? 1 : 0);
  Carried carried;
  for (const Reduction &reduction : reductions) {
    carried.append(vectors, vectors ? getIdentity(builder, loc, reduction, lanes) : Value());
    if (hasScalars) {
      carried.push_back(getIdentity(builder, loc, reduction, 0));
    }
  }
  auto accumulate = [&](ArrayRef<Tile> tiles, Carried &carried) -> LogicalResult {
    for (auto [number, tile] : llvm::enumerate(tiles)) {
      for (auto [which, reduction] : llvm::enumerate(reductions)) {
        Value &accumulator = carried[int64_t(which) * stride + (tile.lanes ? int64_t(number) : vectors)];
        FailureOr<Value> term = reduction.term(tile);
        if (failed(term)) {
          return failure();
        }
        Value sum = reduction.accumulate(accumulator, *term);
        accumulator =
            tile.mask ? Value(arith::SelectOp::create(builder, loc, tile.mask, sum, accumulator)) : sum;
      }
    }
    return success();
  };
  if (failed(emitPass(unroll, carried, accumulate))) {
    return failure();
  }
  SmallVector<Value> totals;
  for (auto [which, reduction] : llvm::enumerate(reductions)) {
    ArrayRef<Value> parts = ArrayRef(carried).slice(int64_t(which) * stride, stride);
    SmallVector<Value> accumulators(parts.take_front(vectors));
    while (accumulators.size() > 1) {
      for (size_t i = 0; i < accumulators.size() / 2; ++i) {
        accumulators[i] = reduction.combine(accumulators[i], accumulators[accumulators.size() - 1 - i]);
      }
      accumulators.resize((accumulators.size() + 1) / 2);
    }
    Value total = vectors ? reduceLanes(builder, loc, accumulators.front(), reduction) : parts.back();
    totals.push_back(vectors && hasScalars ? reduction.combine(total, parts.back()) : total);
  }
  return totals;
}

std::optional<StridedView> CPURowsEmitter::allocateRow(Type type) {
  IndexMath math = getMath();
  SmallVector<OpFoldResult> sizes = space.getSizes(true);
  std::optional<int64_t> count = getConstantIntValue(math.product(sizes));
  if (!count || *count == 0 || *count * int64_t(type.getIntOrFloatBitWidth()) > kRowBytes * 8) {
    return std::nullopt;
  }
  OpBuilder &builder = context.builder;
  StridedView view;
  {
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointToStart(&context.kernel.getBody().front());
    auto memory = memref::AllocaOp::create(builder, getLoc(), MemRefType::get({*count}, getMemoryType(type)));
    memory.setAlignment(64);
    view.base = memory;
  }
  view.element = type;
  view.offset = math.constant(0);
  view.sizes = space.dims;
  view.strides.assign(space.dims.size(), math.constant(0));
  for (auto [dim, stride] : llvm::zip_equal(space.getDims(true), math.denseStrides(sizes))) {
    view.strides[dim] = stride;
  }
  return view;
}

//===----------------------------------------------------------------------===//
// Columns
//===----------------------------------------------------------------------===//

LogicalResult CPURowsEmitter::emitColumnBlock(OpFoldResult task) {
  IndexMath math = getMath();
  SmallVector<OpFoldResult> sizes = space.getSizes(false);
  OpFoldResult block = math.constant(kColumnUnroll * std::max<int64_t>(lanes, 1)), last = sizes.back();
  sizes.back() = math.ceilDiv(last, block);
  SmallVector<OpFoldResult> position = math.delinearize(task, sizes);
  SmallVector<Value> index(space.dims.size(), math.value(math.constant(0)));
  for (auto [dim, value] : llvm::zip_equal(space.getDims(false), position)) {
    index[dim] = math.value(value);
  }
  OpFoldResult from = math.mul(position.back(), block), to = math.min(math.add(from, block), last);
  Carried nothing;
  return emitTiledLoop(context, getLoc(), from, to, lanes, kColumnUnroll, nothing,
                       [&](LoopStep &step) -> LogicalResult {
                         ElementEmitter::Scope scope(emitter);
                         SmallVector<Tile> tiles;
                         for (Value column : step.positions) {
                           tiles.push_back({index, step.lanes, step.mask});
                           tiles.back().index.back() = column;
                         }
                         return emitColumns(tiles);
                       });
}

//===----------------------------------------------------------------------===//
// The emitter
//===----------------------------------------------------------------------===//

static FailureOr<TaskSplit> splitRows(EmitContext &context) {
  CPURowsEmitter emitter(context);
  if (failed(emitter.plan())) {
    return failure();
  }
  return emitter.split();
}

static LogicalResult emitRows(EmitContext &context) {
  CPURowsEmitter emitter(context);
  if (failed(emitter.plan())) {
    return failure();
  }
  return emitter.emit();
}

Emitter lathe::cpu::getRowsEmitter() { return {splitRows, emitRows}; }
