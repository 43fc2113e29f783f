// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// nn.top_k: a heap of the k best elements so far, in the results' memory, sorted in place at the end.

#include "lathe/Dialect/NN/IR/NNOrder.h"

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

using CmpF = Emitter::CmpF;
using CmpI = Emitter::CmpI;

LogicalResult TopKOp::verify() {
  if (failed(verifyTensors(*this)) || failed(verifyElements(*this, "x", getX(), ElementSet::Numeric)) ||
      failed(verifySameElements(*this, "values", getValues(), "x", getX())) ||
      failed(verifyAxis(*this, getAxis(), getX()))) {
    return failure();
  }
  if (!getElementType(getIndices()).isSignlessInteger(64)) {
    return emitOpError() << "expects indices to have i64 elements, but it is " << getIndices().getType();
  }
  int64_t size = cast<RankedTensorType>(getX().getType()).getDimSize(getAxis());
  std::optional<int64_t> k = getConstantIntValue(getK());
  if (k && (*k < 0 || (!ShapedType::isDynamic(size) && *k > size))) {
    return emitOpError() << "expects k from 0 to the size of dimension " << getAxis() << ", "
                         << formatSize(size) << ", but it is " << *k;
  }
  return verifyResultShapes(*this);
}

FailureOr<SmallVector<Dims>> TopKOp::inferDims(OpBuilder &builder, ArrayRef<Dims> operandDims) {
  Dims dims = operandDims[0];
  if (getAxis() >= dims.size()) {
    return failure();
  }
  dims[getAxis()] = getAsOpFoldResult(getK());
  return SmallVector<Dims>{dims, dims};
}

OpFoldResult TopKOp::getPartCount(OpBuilder &builder, ArrayRef<Dims> operandDims, ArrayRef<Dims>) {
  Dims lanes = operandDims[0];
  lanes.erase(lanes.begin() + getAxis());
  return productOfSizes(builder, getLoc(), lanes);
}

namespace {

/// An element and where it comes from.
struct Entry {
  Value value, index;
};

/// The entries of one lane of the results: a heap whose root comes last of all in the final order.
class Heap {
public:
  Heap(LoopBuilder &b, TopKOp op, Value values, Value indices)
      : b(b), isUnsigned(getElementType(op.getX()).isUnsignedInteger()), largest(op.getLargest()),
        values(values), indices(indices) {}

  void setLane(Value outer, Value inner) {
    lane[0] = outer;
    lane[1] = inner;
  }

  Entry load(Value at) {
    return {b.load(values, {lane[0], at, lane[1]}), b.load(indices, {lane[0], at, lane[1]})};
  }
  void store(Entry entry, Value at) {
    b.store(entry.value, values, {lane[0], at, lane[1]});
    b.store(entry.index, indices, {lane[0], at, lane[1]});
  }

  /// Whether the value x comes before y, whatever their indices.
  Value isBetter(Value x, Value y) {
    if (!isa<FloatType>(x.getType())) {
      CmpI less = isUnsigned ? CmpI::ult : CmpI::slt;
      return largest ? b.compare(less, y, x) : b.compare(less, x, y);
    }
    // NaN is above all numbers, and equal to itself.
    Value high = largest ? x : y, low = largest ? y : x;
    Value isNew = b.bitAnd(b.compare(CmpF::UNO, high, high), b.compare(CmpF::ORD, low, low));
    return b.bitOr(b.compare(CmpF::OGT, high, low), isNew);
  }

  Value comesBefore(Entry x, Entry y) {
    Value notAfter = b.bitXor(isBetter(y.value, x.value), b.integer(b.builder().getI1Type(), 1));
    Value isFirst = b.bitAnd(notAfter, b.compare(CmpI::slt, x.index, y.index));
    return b.bitOr(isBetter(x.value, y.value), isFirst);
  }

  /// Puts `entry` into the heap of `size` entries whose position `hole` is free; what is below it is a heap.
  void sink(Entry entry, Value hole, Value size) {
    Value isSinking = b.integer(b.builder().getI1Type(), 1);
    LoopBuilder::Values end = b.loopWhile(
        {hole, isSinking},
        [&](ValueRange state) { return b.bitAnd(state[1], b.compare(CmpI::slt, leftOf(state[0]), size)); },
        [&](ValueRange state) -> LoopBuilder::Values {
          Value left = leftOf(state[0]), right = b.add(left, b.index(1));
          // The child that comes last; there may be no right one.
          Value hasRight = b.compare(CmpI::slt, right, size);
          Value other = b.select(hasRight, right, left);
          Entry leftEntry = load(left), rightEntry = load(other);
          Value isLeft = comesBefore(rightEntry, leftEntry);
          Value child = b.select(isLeft, left, other);
          Entry childEntry{b.select(isLeft, leftEntry.value, rightEntry.value),
                           b.select(isLeft, leftEntry.index, rightEntry.index)};
          Value goesOn = comesBefore(entry, childEntry);
          b.ifThen(goesOn, [&] { store(childEntry, state[0]); });
          return {b.select(goesOn, child, state[0]), goesOn};
        });
    store(entry, end[0]);
  }

private:
  Value leftOf(Value at) { return b.add(b.add(at, at), b.index(1)); }

  LoopBuilder &b;
  bool isUnsigned, largest;
  Value values, indices, lane[2];
};

} // namespace

LogicalResult TopKOp::buildLoops(OpBuilder &builder, ValueRange inputs, ValueRange outputs, Value begin,
                                 Value end) {
  LoopBuilder b(builder, getLoc());
  LoopBuilder::Values dims = b.sizes(inputs[0]);
  Value length = dims[getAxis()], k = b.size(outputs[0], getAxis());
  Value outer = b.product(ArrayRef<Value>(dims).take_front(getAxis()));
  Value inner = b.product(ArrayRef<Value>(dims).drop_front(getAxis() + 1));
  Value x = b.view(inputs[0], {outer, length, inner});
  Heap heap(b, *this, b.view(outputs[0], {outer, k, inner}), b.view(outputs[1], {outer, k, inner}));
  Value isTooMany = b.compare(CmpI::sgt, k, length);
  b.trapIf(isTooMany, LoopBuilder::kFaultShape);
  // Nothing is done for no elements: the heap has no root then.
  Value last = b.select(b.bitOr(isTooMany, b.compare(CmpI::eq, k, 0)), begin, end);
  Type i64 = builder.getI64Type();
  Value zero = b.index(0), one = b.index(1);
  b.loop(begin, last, [&](Value part) {
    LoopBuilder::Values lane = b.delinearize(part, {outer, inner});
    heap.setLane(lane[0], lane[1]);
    auto read = [&](Value i) { return Entry{b.load(x, {lane[0], i, lane[1]}), b.fromIndex(i, i64)}; };
    // The first k elements make the heap, from its last inner node to the root.
    b.loop(zero, k, [&](Value i) { heap.store(read(i), i); });
    Value nodes = b.floorDiv(k, b.index(2));
    b.loop(zero, nodes, [&](Value i) {
      Value node = b.sub(b.sub(nodes, i), one);
      heap.sink(heap.load(node), node, k);
    });
    // Of equal elements the earlier one is in the heap already.
    b.loop(k, length, [&](Value i) {
      Entry entry = read(i);
      b.ifThen(heap.isBetter(entry.value, heap.load(zero).value), [&] { heap.sink(entry, zero, k); });
    });
    b.loop(one, k, [&](Value i) {
      Value rest = b.sub(k, i);
      Entry moved = heap.load(rest);
      heap.store(heap.load(zero), rest);
      heap.sink(moved, zero, rest);
    });
  });
  return success();
}
