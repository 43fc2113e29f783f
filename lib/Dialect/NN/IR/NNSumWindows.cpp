// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The loops of nn.sum_windows. Each element of the result collects what lands on it, so that parts (rows of
/// the result) are independent.

#include "ChannelLoops.h"
#include "NNReference.h"

#include "lathe/Dialect/NN/IR/NNSpatial.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::nn;

using Values = LoopBuilder::Values;

namespace {

class SumWindows {
public:
  SumWindows(OpBuilder &builder, SumWindowsOp op, ValueRange inputs, Value y)
      : b(builder, op.getLoc()), op(op), x(inputs[0]), y(y), element(reference::elementOf(x)),
        computed(reference::getAccumulatorType(element)), spatial(op.getStrides().size()), xSizes(b.sizes(x)),
        ySizes(b.sizes(y)) {
    SumWindowsOp::Adaptor adaptor(inputs, op);
    before = b.asValues(getMixedValues(op.getStaticBefore(), adaptor.getBefore(), op.getContext()));
  }

  void build(Value begin, Value end) {
    Values rows(ArrayRef<Value>(ySizes).take_front(spatial));
    b.loop(begin, end, [&](Value part) {
      Values row = b.delinearize(part, rows);
      b.loop(b.index(0), ySizes[spatial], [&](Value position) {
        Values at(row);
        at.push_back(position);
        b.overChannels(ySizes.back(), computed, [&](Value channel, int64_t lanes) {
          Values to(at), from(xSizes.size());
          from.front() = at.front();
          from.back() = channel;
          to.push_back(channel);
          Values total = collect(0, at, from, {b.zero(b.laneType(computed, lanes))}, lanes);
          b.storeLanes(convert(total[0], element), y, to);
        });
      });
    });
  }

private:
  /// Adds what lands on `at` of the windows' dimensions from `d` on.
  Values collect(int64_t d, ArrayRef<Value> at, Values &from, ValueRange carried, int64_t lanes) {
    if (d == spatial) {
      return {b.add(carried[0], convert(b.loadLanes(x, from, lanes), computed))};
    }
    int64_t stride = op.getStrides()[d], dilation = op.getDilations()[d];
    Value window = xSizes[1 + spatial + d], place = b.add(at[1 + d], before[d]);
    // The steps whose windows reach this place; with a dilation, some of them have a gap here.
    Value reach = b.mul(b.maxIndex(b.sub(window, b.index(1)), b.index(0)), b.index(dilation));
    Value lowest = b.maxIndex(b.sub(place, reach), b.index(0));
    Value first = b.floorDiv(b.add(lowest, b.index(stride - 1)), b.index(stride));
    Value end = b.minIndex(b.add(b.floorDiv(place, b.index(stride)), b.index(1)), xSizes[1 + d]);
    return b.loop(first, end, Values(carried), [&](Value step, ValueRange inner) {
      Value distance = b.sub(place, b.mul(step, b.index(stride)));
      Values none(inner);
      auto take = [&] {
        from[1 + d] = step;
        from[1 + spatial + d] = b.floorDiv(distance, b.index(dilation));
        return collect(d + 1, at, from, none, lanes);
      };
      if (dilation == 1) {
        return take();
      }
      Value hits = b.compare(LoopBuilder::CmpI::eq, b.rem(distance, b.index(dilation)), 0);
      return b.choose(hits, take, [&] { return none; });
    });
  }

  Value convert(Value value, Type type) { return isa<FloatType>(element) ? b.convert(value, type) : value; }

  ChannelLoops b;
  SumWindowsOp op;
  Value x, y;
  Type element, computed;
  int64_t spatial;
  Values xSizes, ySizes, before;
};

} // namespace

LogicalResult SumWindowsOp::buildLoops(OpBuilder &builder, ValueRange inputs, ValueRange outputs, Value begin,
                                       Value end) {
  SumWindows(builder, *this, inputs, outputs[0]).build(begin, end);
  return success();
}
