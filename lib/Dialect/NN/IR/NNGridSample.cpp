// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The loops of nn.grid_sample: a part is a row of the result; where its taps lie is worked out once for all
/// channels.

#include "ChannelLoops.h"
#include "NNReference.h"

#include "lathe/Dialect/NN/IR/NNSampling.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::nn;

using Values = LoopBuilder::Values;

namespace {

/// One element along one dimension: where it is, what it counts, and whether it is one at all (null: it is).
struct Tap {
  Value position, weight, inside;
};

class GridSample {
public:
  GridSample(OpBuilder &builder, GridSampleOp op, ValueRange inputs, Value y)
      : b(builder, op.getLoc()), op(op), x(inputs[0]), grid(inputs[1]), y(y),
        element(reference::elementOf(x)), real(reference::getAccumulatorType(reference::elementOf(grid))),
        spatial(op.getX().getType().getRank() - 2), xSizes(b.sizes(x)), ySizes(b.sizes(y)) {
    computed = isa<FloatType>(element) ? reference::getAccumulatorType(element) : element;
  }

  void build(Value begin, Value end) {
    Values rows(ArrayRef<Value>(ySizes).take_front(spatial));
    b.loop(begin, end, [&](Value part) {
      Values row = b.delinearize(part, rows);
      b.loop(b.index(0), ySizes[spatial], [&](Value column) {
        Values at(row);
        at.push_back(column);
        sample(at);
      });
    });
  }

private:
  void sample(ArrayRef<Value> at) {
    SmallVector<SmallVector<Tap>> taps;
    for (int64_t d = 0; d < spatial; ++d) {
      Values place(at);
      place.push_back(b.index(spatial - 1 - d));
      taps.push_back(getTaps(d, b.convert(b.load(grid, place), real)));
    }
    bool isVector = element.getIntOrFloatBitWidth() >= 8;
    b.overChannels(ySizes.back(), isVector ? computed : Type(), [&](Value channel, int64_t lanes) {
      Values from{at[0]}, to(at);
      to.push_back(channel);
      Value result =
          op.getKind() == SampleKind::Nearest
              ? pick(taps, at[0], channel, lanes)
              : b.convert(addTaps(taps, from, channel, Value(), b.zero(b.laneType(computed, lanes)), lanes),
                          element);
      b.storeLanes(result, y, to);
    });
  }

  /// The elements of dimension `d` around the normalized coordinate `v`.
  SmallVector<Tap> getTaps(int64_t d, Value v) {
    Value length = b.signedToFloat(b.fromIndex(xSizes[1 + d], b.builder().getI64Type()), real);
    Value last = b.sub(length, 1.0);
    bool aligns = op.getAlignCorners();
    Value position = aligns ? b.mul(b.mul(b.add(v, 1.0), 0.5), last)
                            : b.mul(b.sub(b.mul(b.add(v, 1.0), length), 1.0), 0.5);
    if (op.getKind() == SampleKind::Nearest) {
      position = b.roundEven(position);
    }
    if (op.getBorder() == BorderKind::Clamp) {
      position = clamp(position, b.real(real, 0), last);
    } else if (op.getBorder() == BorderKind::Reflection) {
      position = reflect(position, length);
    }
    // What is far outside, or no number, is outside still; an integer holds it.
    position = clamp(position, b.real(real, -4), b.add(length, 4.0));
    if (op.getKind() == SampleKind::Nearest) {
      return {getTap(position, d, length, b.real(real, 1))};
    }
    Value base = b.floor(position), fraction = b.sub(position, base);
    SmallVector<Tap> taps;
    bool isCubic = op.getKind() == SampleKind::Cubic;
    for (int offset = isCubic ? -1 : 0; offset <= (isCubic ? 2 : 1); ++offset) {
      Value distance = offset > 0 ? b.sub(b.real(real, offset), fraction) : b.add(fraction, double(-offset));
      Value weight = b.sub(b.real(real, 1), distance);
      if (isCubic) {
        double a = -0.75;
        weight = offset == 0 || offset == 1 ? b.polynomial(distance, {1, 0, -(a + 3), a + 2})
                                            : b.polynomial(distance, {-4 * a, 8 * a, -5 * a, a});
      }
      taps.push_back(getTap(b.add(base, double(offset)), d, length, weight));
    }
    return taps;
  }

  /// The tap at a whole position.
  Tap getTap(Value position, int64_t d, Value length, Value weight) {
    if (op.getBorder() == BorderKind::Reflection) {
      position = b.trunc(reflect(position, length));
    }
    Value number =
        b.toIndex(arith::FPToSIOp::create(b.builder(), b.location(), b.builder().getI64Type(), position));
    Value last = b.sub(xSizes[1 + d], b.index(1));
    Tap tap{b.maxIndex(b.minIndex(number, last), b.index(0)), weight, {}};
    if (op.getBorder() == BorderKind::Zeros) {
      tap.inside = b.compare(LoopBuilder::CmpI::ult, number, xSizes[1 + d]);
      tap.weight = b.select(tap.inside, weight, b.real(real, 0));
    }
    return tap;
  }

  Value clamp(Value v, Value low, Value high) {
    v = b.select(b.compare(LoopBuilder::CmpF::OGE, v, low), v, low);
    return b.select(b.compare(LoopBuilder::CmpF::OLE, v, high), v, high);
  }

  /// `v` mirrored at the borders until it lies between them.
  Value reflect(Value v, Value length) {
    bool aligns = op.getAlignCorners();
    Value low = b.real(real, aligns ? 0 : -0.5), high = b.sub(length, aligns ? 1.0 : 0.5);
    Value range = b.sub(high, low);
    auto fold = [&](Value distance, bool fromLow) {
      Value count = b.trunc(b.div(distance, range));
      Value rest = b.sub(distance, b.mul(count, range));
      Value isEven = b.compare(LoopBuilder::CmpF::OEQ, b.mul(b.floor(b.mul(count, 0.5)), 2.0), count);
      Value up = b.add(low, rest), down = b.sub(high, rest);
      return fromLow ? b.select(isEven, up, down) : b.select(isEven, down, up);
    };
    Value below = fold(b.sub(low, v), /*fromLow=*/true), above = fold(b.sub(v, high), /*fromLow=*/false);
    v = b.select(b.compare(LoopBuilder::CmpF::OLT, v, low), below,
                 b.select(b.compare(LoopBuilder::CmpF::OGT, v, high), above, v));
    return v;
  }

  Value pick(ArrayRef<SmallVector<Tap>> taps, Value image, Value channel, int64_t lanes) {
    Values from{image};
    Value inside;
    for (ArrayRef<Tap> dimension : taps) {
      from.push_back(dimension[0].position);
      if (Value own = dimension[0].inside) {
        inside = inside ? b.bitAnd(inside, own) : own;
      }
    }
    from.push_back(channel);
    Value value = b.loadLanes(x, from, lanes);
    return inside ? b.select(b.splat(inside, lanes), value, b.zero(value.getType())) : value;
  }

  /// The sum over the taps of the dimensions that `from` does not hold yet.
  Value addTaps(ArrayRef<SmallVector<Tap>> taps, Values &from, Value channel, Value weight, Value total,
                int64_t lanes) {
    size_t d = from.size() - 1;
    if (d == taps.size()) {
      Values at(from);
      at.push_back(channel);
      Value value = b.convert(b.loadLanes(x, at, lanes), computed);
      // What does not count is not even multiplied: it may be no number.
      Value factor = b.splat(b.convert(weight, computed), lanes);
      Value counts = b.compare(LoopBuilder::CmpF::UNE, factor, 0.0);
      return b.fma(b.select(counts, value, b.zero(value.getType())), factor, total);
    }
    for (const Tap &tap : taps[d]) {
      from.push_back(tap.position);
      total = addTaps(taps, from, channel, weight ? b.mul(weight, tap.weight) : tap.weight, total, lanes);
      from.pop_back();
    }
    return total;
  }

  ChannelLoops b;
  GridSampleOp op;
  Value x, grid, y;
  Type element, real, computed;
  int64_t spatial;
  Values xSizes, ySizes;
};

} // namespace

LogicalResult GridSampleOp::buildLoops(OpBuilder &builder, ValueRange inputs, ValueRange outputs, Value begin,
                                       Value end) {
  GridSample(builder, *this, inputs, outputs[0]).build(begin, end);
  return success();
}
