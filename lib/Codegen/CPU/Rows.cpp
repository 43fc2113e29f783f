// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Kernels that reduce: planning, tasks, and the passes over a row.

#include "RowsEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cpu;
using kernel::RowsExtent;

/// The longest row, in bytes, that is kept on the stack between passes.
static constexpr int64_t kRowBytes = 16 << 10;
/// Vectors of columns that are reduced side by side.
static constexpr int64_t kColumnUnroll = 4;

LogicalResult RowsEmitter::plan() {
  SmallVector<Operation *> ops;
  SmallVector<Value> values;
  for (Operation &op : context.kernel.getBody().front()) {
    if (auto output = dyn_cast<kernel::OutputOp>(op)) {
      outputs.push_back(output);
      values.push_back(output.getValue());
    } else if (isa<nn::NNDialect>(op.getDialect()) && op.getNumResults() > 0 &&
               isa<RankedTensorType>(op.getResult(0).getType())) {
      ops.push_back(&op);
    }
  }
  std::string why;
  FailureOr<kernel::RowsSpace> found = kernel::analyzeRows(ops, values, context.shapes, why);
  if (failed(found)) {
    return context.kernel.emitError() << "cannot be computed by rows: " << why;
  }
  space = std::move(*found);
  SmallVector<Value> stops;
  for (Operation *root : space.roots) {
    values.append(root->operand_begin(), root->operand_end());
    stops.push_back(root->getResult(0));
  }
  cost = getElementCost(values, stops);
  cost.nanoseconds += 0.2 * double(space.roots.size());
  std::optional<int64_t> last = getConstantIntValue(space.dims.back());
  lanes = last && *last < 2 ? 0 : getLanes(context.target, cost);
  return success();
}

FailureOr<TaskSplit> RowsEmitter::split() {
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

LogicalResult RowsEmitter::emit() {
  OpBuilder &builder = context.builder;
  OpBuilder::InsertionGuard guard(builder);
  Value one = getMath().value(getMath().constant(1));
  auto loop = scf::ForOp::create(builder, getLoc(), context.begin, context.end, one);
  builder.setInsertionPointToStart(loop.getBody());
  ElementEmitter::Scope scope(emitter);
  return space.isTrailing() ? emitRow(loop.getInductionVar()) : emitColumns(loop.getInductionVar());
}

SmallVector<Value> RowsEmitter::project(ArrayRef<Value> index, RowsExtent extent) {
  if (extent != RowsExtent::Dropped) {
    return SmallVector<Value>(index);
  }
  return llvm::map_to_vector(space.getDims(false), [&](int64_t dim) { return index[dim]; });
}

SmallVector<nn::ReduceOp> RowsEmitter::getIndependentReduces(size_t first) {
  SmallVector<nn::ReduceOp> reduces;
  llvm::SmallPtrSet<Operation *, 4> group;
  for (Operation *root : ArrayRef(space.roots).drop_front(first)) {
    auto reduce = dyn_cast<nn::ReduceOp>(root);
    if (!reduce) {
      break;
    }
    llvm::SetVector<Value> worklist;
    worklist.insert(reduce.getX());
    bool depends = false;
    for (size_t i = 0; i < worklist.size() && !depends; ++i) {
      Operation *op = worklist[i].getDefiningOp();
      depends = op && group.contains(op);
      if (op && space.getExtent(worklist[i]) != RowsExtent::Independent) {
        worklist.insert(op->operand_begin(), op->operand_end());
      }
    }
    if (depends) {
      break;
    }
    reduces.push_back(reduce);
    group.insert(root);
  }
  return reduces;
}

//===----------------------------------------------------------------------===//
// Rows
//===----------------------------------------------------------------------===//

LogicalResult RowsEmitter::emitRow(OpFoldResult row) {
  IndexMath math = getMath();
  rowIndex.assign(space.dims.size(), Value());
  SmallVector<OpFoldResult> kept = math.delinearize(row, space.getSizes(false));
  for (auto [dim, position] : llvm::zip_equal(space.getDims(false), kept)) {
    rowIndex[dim] = math.value(position);
  }
  for (int64_t dim : space.getDims(true)) {
    rowIndex[dim] = math.value(math.constant(0));
  }
  for (size_t i = 0; i < space.roots.size();) {
    Operation *root = space.roots[i];
    LogicalResult result = success();
    if (isa<nn::ReduceOp>(root)) {
      SmallVector<nn::ReduceOp> reduces = getIndependentReduces(i);
      result = emitReduces(reduces);
      i += reduces.size();
    } else {
      result = llvm::TypeSwitch<Operation *, LogicalResult>(root)
                   .Case([&](nn::SoftmaxOp op) { return emitSoftmax(op); })
                   .Case([&](nn::LayerNormOp op) { return emitLayerNorm(op); })
                   .Case([&](nn::RMSNormOp op) { return emitRMSNorm(op); })
                   .Default([](Operation *op) { return op->emitOpError("is no reduction of rows"); });
      ++i;
    }
    if (failed(result)) {
      return failure();
    }
  }
  return emitOutputs();
}

LogicalResult RowsEmitter::emitPass(int64_t unroll, Carried &carried, StepBody body) {
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

/// All lanes of `vector` as one, halves with halves.
static Value reduceLanes(OpBuilder &builder, Location loc, Value vector, const Reduction &reduction) {
  for (int64_t length = cast<VectorType>(vector.getType()).getNumElements(); length > 1; length /= 2) {
    SmallVector<int64_t> positions = llvm::to_vector(llvm::seq<int64_t>(0, length));
    Value low =
        vector::ShuffleOp::create(builder, loc, vector, vector, ArrayRef(positions).take_front(length / 2));
    Value high =
        vector::ShuffleOp::create(builder, loc, vector, vector, ArrayRef(positions).drop_front(length / 2));
    vector = reduction.combine(low, high);
  }
  return vector::ExtractOp::create(builder, loc, vector, int64_t(0));
}

static Value getIdentity(OpBuilder &builder, Location loc, const Reduction &reduction, int64_t lanes) {
  TypedAttr value = reduction.identity;
  if (lanes) {
    value = DenseElementsAttr::get(VectorType::get({lanes}, reduction.type), Attribute(value));
  }
  return arith::ConstantOp::create(builder, loc, value);
}

FailureOr<SmallVector<Value>> RowsEmitter::reduceRow(ArrayRef<Reduction> reductions) {
  OpBuilder &builder = context.builder;
  Location loc = getLoc();
  int64_t unroll = cost.ops <= 6 ? 4 : 2;
  if (std::optional<int64_t> last = getConstantIntValue(space.dims.back()); last && lanes) {
    unroll = std::clamp<int64_t>(*last / lanes, 1, unroll);
  }
  // For each reduction the accumulators of the tiles of a step, then, where some elements are left to a
  // scalar loop, one scalar.
  bool hasScalars = lanes == 0 || !context.target.hasAVX512;
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

std::optional<StridedView> RowsEmitter::allocateRow(Type type) {
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

std::optional<StridedView> RowsEmitter::getRowBuffer(Value x) {
  Type type = getRegisterType(cast<RankedTensorType>(x.getType()).getElementType());
  FailureOr<StridedView> view = getStridedView(context, x);
  bool isPlain =
      succeeded(view) && (isConstantSize(view->strides.back(), 1) || isConstantSize(view->strides.back(), 0));
  if (isPlain || type.isInteger(1)) {
    return std::nullopt;
  }
  for (kernel::OutputOp output : outputs) {
    if (output.getValue() == x) {
      stored.insert(output);
      return getOutputView(context, output);
    }
  }
  return allocateRow(type);
}

std::function<FailureOr<Value>(const Tile &)> RowsEmitter::evaluateAndKeep(Value x,
                                                                           std::optional<StridedView> view) {
  return [this, x, view](const Tile &tile) -> FailureOr<Value> {
    FailureOr<Value> value = emitter.evaluate(x, tile);
    if (failed(value)) {
      return failure();
    }
    if (view) {
      storeTile(context.builder, getLoc(), *value, *view, tile);
    }
    return widen(context.builder, getLoc(), *value);
  };
}

LogicalResult RowsEmitter::emitOutputs() {
  OpBuilder &builder = context.builder;
  SmallVector<kernel::OutputOp> full;
  for (kernel::OutputOp output : outputs) {
    RowsExtent extent = space.getExtent(output.getValue());
    if (extent == RowsExtent::Full) {
      if (!stored.contains(output)) {
        full.push_back(output);
      }
      continue;
    }
    Tile tile{project(rowIndex, extent), 0, Value()};
    FailureOr<Value> value = emitter.evaluate(output.getValue(), tile);
    if (failed(value)) {
      return failure();
    }
    storeTile(builder, output.getLoc(), *value, getOutputView(context, output), tile);
  }
  if (full.empty()) {
    return success();
  }
  Carried nothing;
  return emitPass(cost.ops <= 6 ? 2 : 1, nothing, [&](ArrayRef<Tile> tiles, Carried &) -> LogicalResult {
    SmallVector<std::pair<Tile, Value>> results;
    for (const Tile &tile : tiles) {
      for (kernel::OutputOp output : full) {
        FailureOr<Value> value = emitter.evaluate(output.getValue(), tile);
        if (failed(value)) {
          return failure();
        }
        results.push_back({tile, *value});
      }
    }
    for (auto [number, result] : llvm::enumerate(results)) {
      kernel::OutputOp output = full[number % full.size()];
      storeTile(builder, output.getLoc(), result.second, getOutputView(context, output), result.first);
    }
    return success();
  });
}

//===----------------------------------------------------------------------===//
// Columns
//===----------------------------------------------------------------------===//

LogicalResult RowsEmitter::emitColumns(OpFoldResult task) {
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
                         for (size_t i = 0; i < space.roots.size();) {
                           SmallVector<nn::ReduceOp> reduces = getIndependentReduces(i);
                           if (failed(reduceColumns(reduces, tiles))) {
                             return failure();
                           }
                           i += reduces.size();
                         }
                         return storeColumns(tiles);
                       });
}

LogicalResult RowsEmitter::reduceColumns(ArrayRef<nn::ReduceOp> reduces, ArrayRef<Tile> tiles) {
  OpBuilder &builder = context.builder;
  SmallVector<Reduction> reductions;
  Carried carried;
  for (nn::ReduceOp reduce : reduces) {
    reductions.push_back(getReduction(context, reduce, evaluateAndKeep(reduce.getX(), std::nullopt)));
    carried.append(tiles.size(), getIdentity(builder, getLoc(), reductions.back(), tiles.front().lanes));
  }
  SmallVector<int64_t> reduced = space.getDims(true);
  SmallVector<Tile> current(tiles);
  std::function<LogicalResult(size_t)> emitDim = [&](size_t level) -> LogicalResult {
    if (level == reduced.size()) {
      for (auto [which, reduction] : llvm::enumerate(reductions)) {
        for (auto [number, tile] : llvm::enumerate(current)) {
          Value &accumulator = carried[which * tiles.size() + number];
          FailureOr<Value> term = reduction.term(tile);
          if (failed(term)) {
            return failure();
          }
          accumulator = reduction.accumulate(accumulator, *term);
        }
      }
      return success();
    }
    OpFoldResult zero = getMath().constant(0);
    return emitTiledLoop(context, getLoc(), zero, space.dims[reduced[level]], /*lanes=*/0, /*unroll=*/1,
                         carried, [&](LoopStep &step) {
                           ElementEmitter::Scope scope(emitter);
                           for (Tile &tile : current) {
                             tile.index[reduced[level]] = step.positions.front();
                           }
                           return emitDim(level + 1);
                         });
  };
  if (failed(emitDim(0))) {
    return failure();
  }
  for (auto [which, reduce] : llvm::enumerate(reduces)) {
    SmallVector<std::pair<Tile, Value>> results;
    for (auto [number, tile] : llvm::enumerate(tiles)) {
      results.push_back({tile, finishReduction(context, reduce, carried[which * tiles.size() + number],
                                               space.getSizes(true))});
    }
    // Where there is one column, whoever broadcasts it asks for a constant position.
    bool isOneColumn = isConstantSize(space.dims.back(), 1);
    emitter.setFunction(
        nn::ReduceOp(reduce).getResult(),
        [results, isOneColumn, reduce = nn::ReduceOp(reduce)](const Tile &tile) -> FailureOr<Value> {
          for (auto &[known, value] : results) {
            bool isSame = isOneColumn || known.index.back() == tile.index.back();
            if (known.lanes == tile.lanes && isSame) {
              return value;
            }
          }
          return nn::ReduceOp(reduce).emitOpError("is used at another position than where it was computed");
        });
  }
  return success();
}

LogicalResult RowsEmitter::storeColumns(ArrayRef<Tile> tiles) {
  for (kernel::OutputOp output : outputs) {
    RowsExtent extent = space.getExtent(output.getValue());
    for (const Tile &tile : tiles) {
      Tile projected{project(tile.index, extent), tile.lanes, tile.mask};
      FailureOr<Value> value = emitter.evaluate(output.getValue(), projected);
      if (failed(value)) {
        return failure();
      }
      storeTile(context.builder, output.getLoc(), *value, getOutputView(context, output), projected);
    }
  }
  return success();
}

//===----------------------------------------------------------------------===//
// The emitter
//===----------------------------------------------------------------------===//

static FailureOr<TaskSplit> splitRows(EmitContext &context) {
  RowsEmitter emitter(context);
  if (failed(emitter.plan())) {
    return failure();
  }
  return emitter.split();
}

static LogicalResult emitRows(EmitContext &context) {
  RowsEmitter emitter(context);
  if (failed(emitter.plan())) {
    return failure();
  }
  return emitter.emit();
}

Emitter lathe::cpu::getRowsEmitter() { return {splitRows, emitRows}; }
