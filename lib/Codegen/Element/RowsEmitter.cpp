// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Kernels that reduce: planning, rows and columns.

#include "lathe/Codegen/Element/RowsEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::codegen;
using kernel::RowsExtent;

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
  return success();
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

Value codegen::getIdentity(OpBuilder &builder, Location loc, const Reduction &reduction, int64_t lanes) {
  TypedAttr value = reduction.identity;
  if (lanes) {
    value = DenseElementsAttr::get(VectorType::get({lanes}, reduction.type), Attribute(value));
  }
  return arith::ConstantOp::create(builder, loc, value);
}

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

std::optional<StridedView> RowsEmitter::getRowBuffer(Value x) {
  Type type = getRegisterType(cast<RankedTensorType>(x.getType()).getElementType());
  FailureOr<StridedView> view = getStridedView(context, x);
  bool isPlain =
      succeeded(view) && (isConstantSize(view->strides.back(), 1) || isConstantSize(view->strides.back(), 0));
  if (isPlain || type.isInteger(1) || keepsTiles()) {
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
    auto store = [&]() -> LogicalResult {
      FailureOr<Value> value = emitter.evaluate(output.getValue(), tile);
      if (succeeded(value)) {
        storeTile(builder, output.getLoc(), *value, getOutputView(context, output), tile);
      }
      return value;
    };
    if (failed(emitOnce(store))) {
      return failure();
    }
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

LogicalResult RowsEmitter::emitColumns(ArrayRef<Tile> tiles) {
  for (size_t i = 0; i < space.roots.size();) {
    SmallVector<nn::ReduceOp> reduces = getIndependentReduces(i);
    if (failed(reduceColumns(reduces, tiles))) {
      return failure();
    }
    i += reduces.size();
  }
  return storeColumns(tiles);
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
