// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The loops of nn.resample: a part is a row of the result, the last dimension is done in vectors.

#include "ChannelLoops.h"
#include "NNReference.h"

#include "lathe/Dialect/NN/IR/NNSpatial.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::nn;

using Values = LoopBuilder::Values;

namespace {

class Resample {
public:
  Resample(OpBuilder &builder, ResampleOp op, ValueRange inputs, Value y)
      : b(builder, op.getLoc()), op(op), adaptor(inputs, op), x(inputs[0]), y(y),
        element(reference::elementOf(x)), computed(reference::getAccumulatorType(element)),
        xSizes(b.sizes(x)), ySizes(b.sizes(y)) {}

  void build(Value begin, Value end) {
    size_t outer = ySizes.size() - 2;
    Values rows(ArrayRef<Value>(ySizes).take_front(outer));
    b.loop(begin, end, [&](Value part) {
      Values row = b.delinearize(part, rows);
      b.loop(b.index(0), ySizes[outer], [&](Value position) {
        Values at(row);
        at.push_back(position);
        op.getWeights().empty() ? copy(at) : interpolate(at);
      });
    });
  }

private:
  /// The position that tap `tap` reads at result position `at` of axis number `i`.
  Value getSource(int64_t i, ArrayRef<Value> at, Value tap) {
    int64_t axis = op.getAxes()[i];
    Value position = b.toIndex(b.load(adaptor.getPositions()[i], {at[axis], tap}));
    return b.maxIndex(b.minIndex(position, b.sub(xSizes[axis], b.index(1))), b.index(0));
  }

  void copy(ArrayRef<Value> at) {
    Values from(at);
    for (auto [i, axis] : llvm::enumerate(op.getAxes())) {
      from[axis] = getSource(i, at, b.index(0));
    }
    Type vectorElement = element.getIntOrFloatBitWidth() < 8 ? Type() : element;
    overLast(at, vectorElement, [&](Value first, int64_t lanes) {
      Values source(from);
      source.push_back(first);
      return b.loadLanes(x, source, lanes);
    });
  }

  void interpolate(ArrayRef<Value> at) {
    overLast(at, computed, [&](Value first, int64_t lanes) {
      Values from(at);
      from.push_back(first);
      Values total = addTaps(0, at, from, Value(), {b.zero(b.laneType(computed, lanes))}, lanes);
      return b.convert(total[0], element);
    });
  }

  /// The sum over the taps of the axes from number `i` on, times `weight`, added to what is carried.
  Values addTaps(size_t i, ArrayRef<Value> at, Values &from, Value weight, ValueRange carried,
                 int64_t lanes) {
    if (i == op.getAxes().size()) {
      Value next = b.convert(b.loadLanes(x, from, lanes), computed);
      return {b.fma(next, b.splat(weight, lanes), carried[0])};
    }
    int64_t axis = op.getAxes()[i];
    Value table = adaptor.getWeights()[i];
    auto addTap = [&](Value tap, ValueRange inner) {
      from[axis] = getSource(i, at, tap);
      Value own = b.convert(b.load(table, {at[axis], tap}), computed);
      return addTaps(i + 1, at, from, weight ? b.mul(weight, own) : own, inner, lanes);
    };
    auto type = cast<MemRefType>(table.getType());
    Values total(carried);
    if (type.isDynamicDim(1) || type.getDimSize(1) > kMaxUnrolled) {
      return b.loop(b.index(0), b.size(table, 1), total, addTap);
    }
    for (int64_t tap = 0; tap < type.getDimSize(1); ++tap) {
      total = addTap(b.index(tap), total);
    }
    return total;
  }

  void overLast(ArrayRef<Value> at, Type widest, function_ref<Value(Value, int64_t)> get) {
    b.overChannels(ySizes.back(), widest, [&](Value first, int64_t lanes) {
      Values to(at);
      to.push_back(first);
      b.storeLanes(get(first, lanes), y, to);
    });
  }

  /// Linear interpolation is written out, its four loads need no loop.
  static constexpr int64_t kMaxUnrolled = 2;

  ChannelLoops b;
  ResampleOp op;
  ResampleOp::Adaptor adaptor;
  Value x, y;
  Type element, computed;
  Values xSizes, ySizes;
};

} // namespace

LogicalResult ResampleOp::buildLoops(OpBuilder &builder, ValueRange inputs, ValueRange outputs, Value begin,
                                     Value end) {
  Resample(builder, *this, inputs, outputs[0]).build(begin, end);
  return success();
}
