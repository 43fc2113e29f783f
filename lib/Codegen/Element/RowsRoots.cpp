// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Reductions, softmax and norms over one row.

#include "lathe/Codegen/Element/RowsEmitter.h"

#include "lathe/Codegen/Math/Math.h"
#include "lathe/Dialect/NN/IR/ShapeArith.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::codegen;
using kernel::RowsExtent;

static Type getElementType(Value tensor) { return cast<RankedTensorType>(tensor.getType()).getElementType(); }

/// What `reduces` reduce, without those pointwise ops before it whose results nobody else needs: what other
/// passes over the row need, too.
SmallVector<Value> RowsEmitter::getSharedOperands(ArrayRef<nn::ReduceOp> reduces) {
  llvm::SetVector<Value> operands;
  llvm::SmallPtrSet<Operation *, 8> readers;
  for (nn::ReduceOp reduce : reduces) {
    operands.insert(reduce.getX());
    readers.insert(reduce);
  }
  auto isRow = [&](Value value) {
    FailureOr<ArrayRef<OpFoldResult>> dims = context.shapes.getDims(value);
    return succeeded(dims) && dims->size() == space.dims.size() &&
           llvm::all_of(llvm::zip_equal(*dims, space.dims),
                        [](auto pair) { return nn::areSameSize(std::get<0>(pair), std::get<1>(pair)); });
  };
  SmallVector<Value> shared;
  for (size_t i = 0; i < operands.size(); ++i) {
    Value value = operands[i];
    if (!llvm::all_of(value.getUsers(), [&](Operation *user) { return readers.contains(user); })) {
      shared.push_back(value);
      continue;
    }
    Operation *op = value.getDefiningOp();
    if (isa_and_nonnull<nn::PointwiseOpInterface>(op)) {
      readers.insert(op);
      for (Value operand : op->getOperands()) {
        if (isRow(operand)) {
          operands.insert(operand);
        }
      }
    }
  }
  return shared;
}

LogicalResult RowsEmitter::emitReduces(ArrayRef<nn::ReduceOp> reduces) {
  SmallVector<std::pair<Value, StridedView>> kept;
  for (Value value : getSharedOperands(reduces)) {
    if (std::optional<StridedView> view = getRowBuffer(value)) {
      kept.push_back({value, *view});
    }
  }
  SmallVector<Reduction> reductions;
  for (auto [number, reduce] : llvm::enumerate(reduces)) {
    auto term = [this, &kept, x = nn::ReduceOp(reduce).getX(),
                 isFirst = number == 0](const Tile &tile) -> FailureOr<Value> {
      for (auto &[value, view] : kept) {
        if (isFirst && failed(evaluateAndKeep(value, view)(tile))) {
          return failure();
        }
      }
      return evaluateAndKeep(x, std::nullopt)(tile);
    };
    reductions.push_back(getReduction(context, reduce, term));
  }
  FailureOr<SmallVector<Value>> totals = reduceRow(reductions);
  if (failed(totals)) {
    return failure();
  }
  for (auto [x, view] : kept) {
    emitter.setView(x, view);
  }
  for (auto [reduce, total] : llvm::zip_equal(reduces, *totals)) {
    emitter.setValue(nn::ReduceOp(reduce).getResult(),
                     finishReduction(context, reduce, total, space.getSizes(true)));
  }
  return success();
}

LogicalResult RowsEmitter::emitSoftmax(nn::SoftmaxOp softmax) {
  OpBuilder &builder = context.builder;
  Location loc = softmax.getLoc();
  Value x = softmax.getX();
  Type elementType = getElementType(x), type = getAccumulatorType(elementType);
  std::optional<StridedView> view = getRowBuffer(x);
  FailureOr<SmallVector<Value>> maximum = reduceRow(getMaximum(context, loc, type, evaluateAndKeep(x, view)));
  if (failed(maximum)) {
    return failure();
  }
  if (view) {
    emitter.setView(x, *view);
  }
  auto getShifted = [this, &builder, loc, x, max = maximum->front()](const Tile &tile) -> FailureOr<Value> {
    FailureOr<Value> value = emitter.evaluate(x, tile);
    if (failed(value)) {
      return failure();
    }
    return arith::SubFOp::create(builder, loc, widen(builder, loc, *value),
                                 toLanes(builder, loc, max, tile.lanes))
        .getResult();
  };
  // The exponentials wait for their sum in registers, in the result's own memory or on the stack; else they
  // are computed twice.
  std::optional<StridedView> exponentials;
  SmallVector<std::pair<Value, Value>> keptExponentials;
  if (!softmax.getLog() && !keepsTiles()) {
    for (kernel::OutputOp output : outputs) {
      if (output.getValue() == softmax.getResult() && type == elementType) {
        exponentials = getOutputView(context, output);
      }
    }
    exponentials = exponentials ? exponentials : allocateRow(type);
  }
  auto getExponential = [&builder, loc, getShifted](const Tile &tile) -> FailureOr<Value> {
    FailureOr<Value> shifted = getShifted(tile);
    return failed(shifted) ? shifted : FailureOr<Value>(approx::buildExp(builder, loc, *shifted));
  };
  auto getAndKeep = [&](const Tile &tile) -> FailureOr<Value> {
    FailureOr<Value> value = getExponential(tile);
    if (succeeded(value) && exponentials) {
      storeTile(builder, loc, *value, *exponentials, tile);
    } else if (succeeded(value) && keepsTiles()) {
      keptExponentials.push_back({tile.index.back(), *value});
    }
    return value;
  };
  FailureOr<SmallVector<Value>> sum = reduceRow(getSum(context, loc, type, getAndKeep));
  if (failed(sum)) {
    return failure();
  }
  if (softmax.getLog()) {
    Value logarithm = approx::buildLog(builder, loc, sum->front());
    emitter.setFunction(softmax.getResult(), [=, &builder](const Tile &tile) -> FailureOr<Value> {
      FailureOr<Value> shifted = getShifted(tile);
      if (failed(shifted)) {
        return failure();
      }
      Value value =
          arith::SubFOp::create(builder, loc, *shifted, toLanes(builder, loc, logarithm, tile.lanes));
      return narrow(builder, loc, value, elementType);
    });
    return success();
  }
  Value one = arith::ConstantOp::create(builder, loc, builder.getFloatAttr(type, 1.0));
  Value factor = arith::DivFOp::create(builder, loc, one, sum->front());
  emitter.setFunction(softmax.getResult(), [=, &builder](const Tile &tile) -> FailureOr<Value> {
    const auto *kept =
        llvm::find_if(keptExponentials, [&](auto &pair) { return pair.first == tile.index.back(); });
    FailureOr<Value> value = kept != keptExponentials.end() ? FailureOr<Value>(kept->second)
                             : exponentials ? FailureOr<Value>(loadTile(builder, loc, *exponentials, tile))
                                            : getExponential(tile);
    if (failed(value)) {
      return failure();
    }
    Value scaled = arith::MulFOp::create(builder, loc, *value, toLanes(builder, loc, factor, tile.lanes));
    return narrow(builder, loc, scaled, elementType);
  });
  return success();
}

Value RowsEmitter::getRowLength(Type type) {
  OpBuilder &builder = context.builder;
  IndexMath math = getMath();
  OpFoldResult count = math.product(space.getSizes(true));
  if (std::optional<int64_t> number = getConstantIntValue(count)) {
    return arith::ConstantOp::create(builder, getLoc(), builder.getFloatAttr(type, double(*number)));
  }
  Value integer = arith::IndexCastOp::create(builder, getLoc(), builder.getI64Type(), math.value(count));
  return arith::UIToFPOp::create(builder, getLoc(), type, integer);
}

/// 1 / sqrt(total / length + epsilon).
static Value getInverseDeviation(OpBuilder &builder, Location loc, Value total, Value length,
                                 const APFloat &epsilon) {
  Type type = total.getType();
  Value mean = arith::DivFOp::create(builder, loc, total, length);
  Value small =
      arith::ConstantOp::create(builder, loc, builder.getFloatAttr(type, epsilon.convertToDouble()));
  Value root = math::SqrtOp::create(builder, loc, arith::AddFOp::create(builder, loc, mean, small));
  Value one = arith::ConstantOp::create(builder, loc, builder.getFloatAttr(type, 1.0));
  return arith::DivFOp::create(builder, loc, one, root);
}

/// The element of a scale or a bias that belongs to an element of `result`, widened.
static FailureOr<Value> getWidened(ElementContext &context, ElementEmitter &emitter, Value operand,
                                   Value result, const Tile &tile) {
  FailureOr<Value> value = emitter.evaluateBroadcast(operand, result, tile);
  return failed(value) ? value : FailureOr<Value>(widen(context.builder, operand.getLoc(), *value));
}

LogicalResult RowsEmitter::emitLayerNorm(nn::LayerNormOp norm) {
  OpBuilder &builder = context.builder;
  Location loc = norm.getLoc();
  Value x = norm.getX();
  Type elementType = getElementType(x), type = getAccumulatorType(elementType);
  std::optional<StridedView> view = getRowBuffer(x);
  FailureOr<SmallVector<Value>> sum = reduceRow(getSum(context, loc, type, evaluateAndKeep(x, view)));
  if (failed(sum)) {
    return failure();
  }
  if (view) {
    emitter.setView(x, *view);
  }
  Value length = getRowLength(type);
  Value mean = arith::DivFOp::create(builder, loc, sum->front(), length);
  auto getDeviation = [this, &builder, loc, x, mean](const Tile &tile) -> FailureOr<Value> {
    FailureOr<Value> value = emitter.evaluate(x, tile);
    if (failed(value)) {
      return failure();
    }
    return arith::SubFOp::create(builder, loc, widen(builder, loc, *value),
                                 toLanes(builder, loc, mean, tile.lanes))
        .getResult();
  };
  FailureOr<SmallVector<Value>> squares = reduceRow(getSumOfSquares(context, loc, type, getDeviation));
  if (failed(squares)) {
    return failure();
  }
  Value factor = getInverseDeviation(builder, loc, squares->front(), length, norm.getEpsilon());
  emitter.setFunction(norm.getResult(), [=, this, &builder](const Tile &tile) -> FailureOr<Value> {
    FailureOr<Value> value = getDeviation(tile);
    if (failed(value)) {
      return failure();
    }
    Value wide = arith::MulFOp::create(builder, loc, *value, toLanes(builder, loc, factor, tile.lanes));
    nn::LayerNormOp op = norm;
    FailureOr<Value> scale = getWidened(context, emitter, op.getScale(), op.getResult(), tile);
    if (failed(scale)) {
      return failure();
    }
    wide = arith::MulFOp::create(builder, loc, wide, *scale);
    if (op.getBias()) {
      FailureOr<Value> bias = getWidened(context, emitter, op.getBias(), op.getResult(), tile);
      if (failed(bias)) {
        return failure();
      }
      wide = arith::AddFOp::create(builder, loc, wide, *bias);
    }
    return narrow(builder, loc, wide, elementType);
  });
  return success();
}

LogicalResult RowsEmitter::emitRMSNorm(nn::RMSNormOp norm) {
  OpBuilder &builder = context.builder;
  Location loc = norm.getLoc();
  Value x = norm.getX();
  Type elementType = getElementType(x), type = getAccumulatorType(elementType);
  std::optional<StridedView> view = getRowBuffer(x);
  FailureOr<SmallVector<Value>> squares =
      reduceRow(getSumOfSquares(context, loc, type, evaluateAndKeep(x, view)));
  if (failed(squares)) {
    return failure();
  }
  if (view) {
    emitter.setView(x, *view);
  }
  Value factor = getInverseDeviation(builder, loc, squares->front(), getRowLength(type), norm.getEpsilon());
  emitter.setFunction(norm.getResult(), [=, this, &builder](const Tile &tile) -> FailureOr<Value> {
    FailureOr<Value> value = emitter.evaluate(x, tile);
    if (failed(value)) {
      return failure();
    }
    Value scaled = arith::MulFOp::create(builder, loc, widen(builder, loc, *value),
                                         toLanes(builder, loc, factor, tile.lanes));
    // Rounded to the type of x before it is scaled.
    Value normalized = widen(builder, loc, narrow(builder, loc, scaled, elementType));
    nn::RMSNormOp op = norm;
    FailureOr<Value> scale = getWidened(context, emitter, op.getScale(), op.getResult(), tile);
    if (failed(scale)) {
      return failure();
    }
    Value result = arith::MulFOp::create(builder, loc, normalized, *scale);
    return narrow(builder, loc, result, elementType);
  });
  return success();
}
