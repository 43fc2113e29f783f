// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Dialect/NN/IR/NNScatter.h"

#include "LoopBuilder.h"
#include "NNReference.h"
#include "VerifyUtils.h"
#include "lathe/Dialect/NN/IR/Builders.h"
#include "lathe/Dialect/NN/IR/ShapeArith.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::nn;
using namespace lathe::nn::detail;

#define GET_OP_CLASSES
#include "lathe/Dialect/NN/IR/NNScatterOps.cpp.inc"

using InferredDims = FailureOr<SmallVector<Dims>>;
using CmpI = Emitter::CmpI;

static ArrayRef<int64_t> getShape(Value tensor) {
  return cast<RankedTensorType>(tensor.getType()).getShape();
}

/// Checks that `indices` may stand in the place of dimension `axis` of `x`.
static LogicalResult verifyAlong(Operation *op, Value x, Value indices, int64_t axis) {
  if (failed(verifyElements(op, "indices", indices, ElementSet::Index)) || failed(verifyAxis(op, axis, x)) ||
      failed(verifyRank(op, "indices", indices, getRank(x)))) {
    return failure();
  }
  for (auto [dim, size, count] : llvm::enumerate(getShape(x), getShape(indices))) {
    bool areKnown = !ShapedType::isDynamic(size) && !ShapedType::isDynamic(count);
    if (int64_t(dim) != axis && areKnown && count > size) {
      return op->emitOpError() << "expects at most " << size << " indices along dimension " << dim
                               << ", but there are " << count;
    }
  }
  return success();
}

/// Checks what all scatters share: one element type, which the combination must know.
static LogicalResult verifyScatter(Operation *op, ScatterKind kind, Value x, Value updates, Value result) {
  if (failed(verifyTensors(op)) || failed(verifySameElements(op, "updates", updates, "x", x)) ||
      failed(verifySameElements(op, "the result", result, "x", x))) {
    return failure();
  }
  return kind == ScatterKind::None ? success() : verifyElements(op, "x", x, ElementSet::Numeric);
}

/// The element that `update` makes of `old`.
static Value combine(LoopBuilder &b, ScatterKind kind, Value old, Value update, bool isUnsigned) {
  Type type = old.getType();
  if (auto element = dyn_cast<FloatType>(type)) {
    Type computed = reference::getAccumulatorType(element);
    Value x = b.toFloat(old, computed), y = b.toFloat(update, computed);
    OpBuilder &builder = b.builder();
    switch (kind) {
    case ScatterKind::None:
      return update;
    case ScatterKind::Add:
      return b.toFloat(b.add(x, y), element);
    case ScatterKind::Mul:
      return b.toFloat(b.mul(x, y), element);
    case ScatterKind::Max:
      return b.toFloat(arith::MaximumFOp::create(builder, b.location(), x, y), element);
    case ScatterKind::Min:
      return b.toFloat(arith::MinimumFOp::create(builder, b.location(), x, y), element);
    }
  }
  CmpI less = isUnsigned ? CmpI::ult : CmpI::slt;
  switch (kind) {
  case ScatterKind::None:
    return update;
  case ScatterKind::Add:
    return b.add(old, update);
  case ScatterKind::Mul:
    return b.mul(old, update);
  case ScatterKind::Max:
    return b.select(b.compare(less, old, update), update, old);
  case ScatterKind::Min:
    return b.select(b.compare(less, update, old), update, old);
  }
  return update;
}

static bool isUnsigned(Value tensor) { return getElementType(tensor).isUnsignedInteger(); }

//===----------------------------------------------------------------------===//
// GatherElementsOp
//===----------------------------------------------------------------------===//

LogicalResult GatherElementsOp::verify() {
  return failure(failed(verifyTensors(*this)) ||
                 failed(verifySameElements(*this, "the result", getResult(), "x", getX())) ||
                 failed(verifyAlong(*this, getX(), getIndices(), getAxis())) ||
                 failed(verifyResultShapes(*this)));
}

InferredDims GatherElementsOp::inferDims(OpBuilder &builder, ArrayRef<Dims> operandDims) {
  return SmallVector<Dims>{operandDims[1]};
}

OpFoldResult GatherElementsOp::getPartCount(OpBuilder &builder, ArrayRef<Dims> operandDims, ArrayRef<Dims>) {
  return productOfSizes(builder, getLoc(), ArrayRef<OpFoldResult>(operandDims[1]).drop_back());
}

LogicalResult GatherElementsOp::buildLoops(OpBuilder &builder, ValueRange inputs, ValueRange outputs,
                                           Value begin, Value end) {
  LoopBuilder b(builder, getLoc());
  Value x = inputs[0], indices = inputs[1];
  LoopBuilder::Values sizes = b.sizes(indices);
  Value columns = sizes.pop_back_val(), length = b.size(x, getAxis());
  // A symbol may have made more indices than there are elements beside them.
  for (auto [dim, size] : llvm::enumerate(sizes)) {
    if (dim != getAxis()) {
      b.trapIf(b.compare(CmpI::sgt, size, b.size(x, dim)), LoopBuilder::kFaultShape);
    }
  }
  if (getAxis() != sizes.size()) {
    b.trapIf(b.compare(CmpI::sgt, columns, b.size(x, sizes.size())), LoopBuilder::kFaultShape);
  }
  b.loop(begin, end, [&](Value part) {
    LoopBuilder::Values at = b.delinearize(part, sizes);
    at.push_back(Value());
    b.loop(b.index(0), columns, [&](Value column) {
      at.back() = column;
      auto [position, isWithin] = b.checkedIndex(b.load(indices, at), length);
      LoopBuilder::Values from = at;
      from[getAxis()] = position;
      for (auto [dim, index] : llvm::enumerate(from)) {
        if (dim != getAxis()) {
          isWithin = b.bitAnd(isWithin, b.compare(CmpI::slt, index, b.size(x, dim)));
        }
      }
      b.ifThen(isWithin, [&] { b.store(b.load(x, from), outputs[0], at); });
    });
  });
  return success();
}

//===----------------------------------------------------------------------===//
// ScatterElementsOp
//===----------------------------------------------------------------------===//

LogicalResult ScatterElementsOp::verify() {
  if (failed(verifyScatter(*this, getKind(), getX(), getUpdates(), getResult())) ||
      failed(verifyAlong(*this, getX(), getIndices(), getAxis())) ||
      failed(verifyRank(*this, "updates", getUpdates(), getRank(getX())))) {
    return failure();
  }
  for (auto [count, size] : llvm::zip_equal(getShape(getIndices()), getShape(getUpdates()))) {
    if (failed(verifySameSize(*this, "a size of updates", size, "that of indices", count))) {
      return failure();
    }
  }
  return verifyResultShapes(*this);
}

InferredDims ScatterElementsOp::inferDims(OpBuilder &builder, ArrayRef<Dims> operandDims) {
  return SmallVector<Dims>{operandDims[0]};
}

/// Lanes along the axis: all updates of one element are in one of them.
OpFoldResult ScatterElementsOp::getPartCount(OpBuilder &builder, ArrayRef<Dims> operandDims, ArrayRef<Dims>) {
  Dims lanes = operandDims[0];
  lanes.erase(lanes.begin() + getAxis());
  return productOfSizes(builder, getLoc(), lanes);
}

LogicalResult ScatterElementsOp::buildLoops(OpBuilder &builder, ValueRange inputs, ValueRange outputs,
                                            Value begin, Value end) {
  LoopBuilder b(builder, getLoc());
  Value x = inputs[0], indices = inputs[1], updates = inputs[2], y = outputs[0];
  int64_t axis = getAxis();
  LoopBuilder::Values lanes = b.sizes(x);
  Value length = lanes[axis], count = b.size(indices, axis);
  lanes.erase(lanes.begin() + axis);
  Value first = b.index(0);
  for (auto [dim, size] : llvm::enumerate(b.sizes(indices))) {
    b.trapIf(b.compare(CmpI::ne, size, b.size(updates, dim)), LoopBuilder::kFaultShape);
    if (int64_t(dim) != axis) {
      b.trapIf(b.compare(CmpI::sgt, size, b.size(x, dim)), LoopBuilder::kFaultShape);
    }
  }
  b.loop(begin, end, [&](Value part) {
    LoopBuilder::Values at = b.delinearize(part, lanes);
    at.insert(at.begin() + axis, first);
    auto along = [&](Value position) {
      LoopBuilder::Values result = at;
      result[axis] = position;
      return result;
    };
    b.loop(first, length, [&](Value i) { b.store(b.load(x, along(i)), y, along(i)); });
    Value hasIndices = b.integer(builder.getI1Type(), 1);
    for (auto [dim, position] : llvm::enumerate(at)) {
      if (int64_t(dim) != axis) {
        Value size = b.minIndex(b.size(indices, dim), b.size(updates, dim));
        hasIndices = b.bitAnd(hasIndices, b.compare(CmpI::slt, position, size));
      }
    }
    b.ifThen(hasIndices, [&] {
      b.loop(first, b.minIndex(count, b.size(updates, axis)), [&](Value i) {
        auto [position, isWithin] = b.checkedIndex(b.load(indices, along(i)), length);
        b.ifThen(isWithin, [&, position = position] {
          Value update = b.load(updates, along(i));
          b.store(combine(b, getKind(), b.load(y, along(position)), update, isUnsigned(getX())), y,
                  along(position));
        });
      });
    });
  });
  return success();
}

//===----------------------------------------------------------------------===//
// ScatterNDOp
//===----------------------------------------------------------------------===//

LogicalResult ScatterNDOp::verify() {
  if (failed(verifyScatter(*this, getKind(), getX(), getUpdates(), getResult())) ||
      failed(verifyElements(*this, "indices", getIndices(), ElementSet::Index))) {
    return failure();
  }
  ArrayRef<int64_t> x = getShape(getX()), indices = getShape(getIndices()), updates = getShape(getUpdates());
  int64_t rank = x.size();
  if (indices.empty() || ShapedType::isDynamic(indices.back()) || indices.back() < 1 ||
      indices.back() > rank) {
    return emitOpError() << "expects tuples of 1 to " << rank << " indices, but indices is "
                         << getIndices().getType();
  }
  SmallVector<int64_t> wanted(indices.drop_back());
  llvm::append_range(wanted, x.drop_front(indices.back()));
  if (failed(verifyCompatibleShape(updates, wanted))) {
    return emitOpError() << "expects updates of shape " << formatShape(wanted) << ", but they are "
                         << getUpdates().getType();
  }
  return verifyResultShapes(*this);
}

InferredDims ScatterNDOp::inferDims(OpBuilder &builder, ArrayRef<Dims> operandDims) {
  return SmallVector<Dims>{operandDims[0]};
}

/// Positions within a slice: every part sees all tuples in their order.
OpFoldResult ScatterNDOp::getPartCount(OpBuilder &builder, ArrayRef<Dims> operandDims, ArrayRef<Dims>) {
  int64_t tuple = getShape(getIndices()).back();
  return productOfSizes(builder, getLoc(), ArrayRef<OpFoldResult>(operandDims[0]).drop_front(tuple));
}

LogicalResult ScatterNDOp::buildLoops(OpBuilder &builder, ValueRange inputs, ValueRange outputs, Value begin,
                                      Value end) {
  LoopBuilder b(builder, getLoc());
  int64_t tuple = getShape(getIndices()).back();
  LoopBuilder::Values sizes = b.sizes(inputs[0]), indexSizes = b.sizes(inputs[1]);
  ArrayRef<Value> dims = sizes;
  Value rows = b.product(dims.take_front(tuple)), inner = b.product(dims.drop_front(tuple));
  Value tuples = b.product(ArrayRef<Value>(indexSizes).drop_back());
  LoopBuilder::Values updateSizes = b.sizes(inputs[2]);
  Value isMissing = b.compare(CmpI::ne, b.product(updateSizes), b.mul(tuples, inner));
  b.trapIf(isMissing, LoopBuilder::kFaultShape);
  Value x = b.view(inputs[0], {rows, inner}), y = b.view(outputs[0], {rows, inner});
  Value indices = b.view(inputs[1], {tuples, b.index(tuple)}), updates = b.view(inputs[2], {tuples, inner});
  b.loop(b.index(0), rows,
         [&](Value row) { b.loop(begin, end, [&](Value i) { b.store(b.load(x, {row, i}), y, {row, i}); }); });
  b.loop(b.index(0), b.select(isMissing, b.index(0), tuples), [&](Value n) {
    Value row = b.index(0), areWithin = b.integer(builder.getI1Type(), 1);
    for (int64_t dim = 0; dim < tuple; ++dim) {
      auto [position, isWithin] = b.checkedIndex(b.load(indices, {n, b.index(dim)}), dims[dim]);
      row = b.add(b.mul(row, dims[dim]), position);
      areWithin = b.bitAnd(areWithin, isWithin);
    }
    b.ifThen(areWithin, [&] {
      b.loop(begin, end, [&](Value i) {
        Value update = b.load(updates, {n, i});
        b.store(combine(b, getKind(), b.load(y, {row, i}), update, isUnsigned(getX())), y, {row, i});
      });
    });
  });
  return success();
}

//===----------------------------------------------------------------------===//
// UpdateCacheOp
//===----------------------------------------------------------------------===//

LogicalResult UpdateCacheOp::verify() {
  if (failed(verifyTensors(*this)) ||
      failed(verifySameElements(*this, "update", getUpdate(), "cache", getCache())) ||
      failed(verifySameElements(*this, "the result", getResult(), "cache", getCache())) ||
      failed(verifyAxis(*this, getAxis(), getCache())) ||
      failed(verifyRank(*this, "update", getUpdate(), getRank(getCache())))) {
    return failure();
  }
  if (getAxis() == 0) {
    return emitOpError() << "expects an axis above 0, the batch";
  }
  for (auto [dim, size, other] : llvm::enumerate(getShape(getCache()), getShape(getUpdate()))) {
    if (dim != getAxis() && failed(verifySameSize(*this, "a size of update", other, "that of cache", size))) {
      return failure();
    }
  }
  if (Value start = getStart()) {
    if (failed(verifyElements(*this, "start", start, ElementSet::Index)) ||
        failed(verifyRank(*this, "start", start, 1)) ||
        failed(verifySameSize(*this, "the size of start", getShape(start)[0], "the batch of cache",
                              getShape(getCache())[0]))) {
      return failure();
    }
  }
  return verifyResultShapes(*this);
}

InferredDims UpdateCacheOp::inferDims(OpBuilder &builder, ArrayRef<Dims> operandDims) {
  Dims dims(operandDims[0]);
  if (Value rows = getRows()) {
    dims[getAxis()] = getAsOpFoldResult(rows);
  }
  return SmallVector<Dims>{dims};
}

OpFoldResult UpdateCacheOp::getPartCount(OpBuilder &builder, ArrayRef<Dims> operandDims, ArrayRef<Dims>) {
  return productOfSizes(builder, getLoc(), ArrayRef<OpFoldResult>(operandDims[0]).take_front(getAxis()));
}

LogicalResult UpdateCacheOp::buildLoops(OpBuilder &builder, ValueRange inputs, ValueRange outputs,
                                        Value begin, Value end) {
  LoopBuilder b(builder, getLoc());
  LoopBuilder::Values sizes = b.sizes(outputs[0]);
  ArrayRef<Value> dims = sizes;
  Value outer = b.product(dims.take_front(getAxis())), rows = dims[getAxis()];
  Value inner = b.product(dims.drop_front(getAxis() + 1)), newRows = b.size(inputs[1], getAxis());
  Value perBatch = b.product(dims.slice(1, getAxis() - 1)), zero = b.index(0);
  Value oldElements = b.mul(b.size(inputs[0], getAxis()), inner), elements = b.mul(rows, inner);
  Value cache = b.view(inputs[0], {outer, oldElements}), all = b.view(outputs[0], {outer, elements});
  Value y = b.view(outputs[0], {outer, rows, inner}), update = b.view(inputs[1], {outer, newRows, inner});
  Value isElsewhere = b.bitXor(b.areSameMemory(inputs[0], outputs[0]), b.integer(builder.getI1Type(), 1));
  b.loop(begin, end, [&](Value part) {
    b.ifThen(isElsewhere, [&] {
      b.loop(zero, oldElements, [&](Value i) { b.store(b.load(cache, {part, i}), all, {part, i}); });
      Value none = b.zero(getElementType(getResult()));
      b.loop(oldElements, elements, [&](Value i) { b.store(none, all, {part, i}); });
    });
    Value start = getStart() ? b.toIndex(b.load(inputs[2], {b.floorDiv(part, perBatch)})) : zero;
    b.loop(zero, newRows, [&](Value row) {
      Value to = b.add(start, row);
      // An unsigned comparison finds negative starts, too.
      Value isWithin = getCircular() ? b.bitAnd(b.compare(CmpI::sge, start, 0), b.compare(CmpI::ne, rows, 0))
                                     : b.compare(CmpI::ult, to, rows);
      b.trapIf(b.bitXor(isWithin, b.integer(builder.getI1Type(), 1)), LoopBuilder::kFaultIndex);
      b.ifThen(isWithin, [&] {
        Value target = getCircular() ? b.rem(to, rows) : to;
        b.loop(zero, inner, [&](Value i) { b.store(b.load(update, {part, row, i}), y, {part, target, i}); });
      });
    });
  });
  return success();
}
