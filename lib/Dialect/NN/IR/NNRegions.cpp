// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The loops of nn.deform_windows, nn.roi_align and nn.roi_pool: bins and windows at computed positions.

#include "ChannelLoops.h"
#include "NNReference.h"

#include "lathe/Dialect/NN/IR/NNSampling.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::nn;

using Values = LoopBuilder::Values;
using CmpF = LoopBuilder::CmpF;
using CmpI = LoopBuilder::CmpI;

namespace {

/// Images [N, H, W, C] that are read between their elements.
class Images : public ChannelLoops {
public:
  Images(OpBuilder &builder, Location loc, Value x)
      : ChannelLoops(builder, loc), x(x), element(reference::elementOf(x)),
        floats(reference::getAccumulatorType(element)), sizes(ChannelLoops::sizes(x)) {}

  /// The two neighbours of a position along one dimension, and their weights.
  struct Neighbours {
    Value low, high, lowWeight, highWeight;
  };

  Value number(double value) { return real(floats, value); }
  Value loadReal(Value memory, ArrayRef<Value> at) { return convert(load(memory, at), floats); }
  Value toReal(Value index) { return signedToFloat(fromIndex(index, builder().getI64Type()), floats); }
  Value toNumber(Value v) {
    return toIndex(arith::FPToSIOp::create(builder(), location(), builder().getI64Type(), v));
  }
  /// `v` between two floats, the lower one if it is no number: an integer holds it then.
  Value clampReal(Value v, Value low, Value high) {
    v = select(compare(CmpF::OGE, v, low), v, low);
    return select(compare(CmpF::OLE, v, high), v, high);
  }
  Value clampIndex(Value v, Value size) { return maxIndex(minIndex(v, sub(size, index(1))), index(0)); }

  /// The image that a float or an integer names; a wrong one is noted and replaced.
  Value checkImage(Value number) {
    Value isWrong = compare(CmpI::uge, number, sizes[0]);
    trapIf(isWrong, kFaultIndex);
    return clampIndex(number, sizes[0]);
  }

  /// The four neighbours' elements, each times its weight.
  SmallVector<Value, 4> loadWeighted(Value image, const Neighbours &row, const Neighbours &column,
                                     Value channel, int64_t lanes) {
    SmallVector<Value, 4> terms;
    for (auto [y, yWeight] : {std::pair(row.low, row.lowWeight), std::pair(row.high, row.highWeight)}) {
      for (auto [c, cWeight] :
           {std::pair(column.low, column.lowWeight), std::pair(column.high, column.highWeight)}) {
        Value value = convert(loadLanes(x, {image, y, c, channel}, lanes), floats);
        Value weight = splat(mul(yWeight, cWeight), lanes);
        // What does not count is not even multiplied: it may be no number.
        Value counts = compare(CmpF::UNE, weight, 0.0);
        terms.push_back(mul(select(counts, value, zero(value.getType())), weight));
      }
    }
    return terms;
  }

  Value x;
  Type element, floats;
  Values sizes;
};

} // namespace

//===----------------------------------------------------------------------===//
// DeformWindowsOp
//===----------------------------------------------------------------------===//

/// The neighbours of `position` among `size` elements, where zeros lie outside.
static Images::Neighbours getNeighbours(Images &b, Value position, Value size) {
  position = b.clampReal(position, b.number(-4), b.add(b.toReal(size), 4.0));
  Value base = b.floor(position), high = b.sub(position, base), low = b.sub(b.number(1), high);
  Value number = b.toNumber(base), next = b.add(number, b.index(1));
  auto weigh = [&](Value place, Value weight) {
    return b.select(b.compare(CmpI::ult, place, size), weight, b.number(0));
  };
  return {b.clampIndex(number, size), b.clampIndex(next, size), weigh(number, low), weigh(next, high)};
}

LogicalResult DeformWindowsOp::buildLoops(OpBuilder &builder, ValueRange inputs, ValueRange outputs,
                                          Value begin, Value end) {
  Images b(builder, getLoc(), inputs[0]);
  Value offsets = inputs[1], mask = getMask() ? inputs[2] : Value(), y = outputs[0];
  Values sizes = b.ChannelLoops::sizes(y);
  int64_t places = getWindow()[0] * getWindow()[1];
  Value groupSize = b.floorDiv(b.sizes[3], b.index(getGroups()));
  b.loop(begin, end, [&](Value part) {
    Values row = b.delinearize(part, {sizes[0], sizes[1]});
    Value kernelArea = b.index(places), kernelWidth = b.index(getWindow()[1]);
    b.nest({sizes[2], b.index(getGroups()), kernelArea}, [&](ArrayRef<Value> inner) {
      Value column = inner[0], group = inner[1], k = inner[2];
      Value place = b.add(b.mul(group, kernelArea), k);
      auto locate = [&](int64_t d, Value at, Value tap) {
        Value base = b.add(b.sub(b.mul(at, b.index(getStrides()[d])), b.index(getBefore()[d])),
                           b.mul(tap, b.index(getDilations()[d])));
        Value offset =
            b.loadReal(offsets, {row[0], row[1], column, b.add(b.mul(place, b.index(2)), b.index(d))});
        return getNeighbours(b, b.add(b.toReal(base), offset), b.sizes[1 + d]);
      };
      Images::Neighbours rows = locate(0, row[1], b.floorDiv(k, kernelWidth));
      Images::Neighbours columns = locate(1, column, b.rem(k, kernelWidth));
      Value factor = mask ? b.loadReal(mask, {row[0], row[1], column, place}) : Value();
      Value firstChannel = b.mul(group, groupSize);
      b.overChannels(groupSize, b.floats, [&](Value offset, int64_t lanes) {
        Value channel = b.add(firstChannel, offset);
        SmallVector<Value, 4> terms = b.loadWeighted(row[0], rows, columns, channel, lanes);
        Value total = b.add(b.add(terms[0], terms[1]), b.add(terms[2], terms[3]));
        total = factor ? b.mul(total, b.splat(factor, lanes)) : total;
        b.storeLanes(b.convert(total, b.element), y, {row[0], row[1], column, k, channel});
      });
    });
  });
  return success();
}

//===----------------------------------------------------------------------===//
// RoiAlignOp
//===----------------------------------------------------------------------===//

/// The neighbours of a sample at `position`: one beyond the image by more than 1 does not count.
static Images::Neighbours getSampleNeighbours(Images &b, Value position, Value size) {
  Value length = b.toReal(size), zero = b.number(0);
  Value counts = b.bitAnd(b.compare(CmpF::OGE, position, -1.0), b.compare(CmpF::OLE, position, length));
  Value inside = b.clampReal(position, zero, b.sub(length, 1.0));
  Value base = b.floor(inside), high = b.sub(inside, base), low = b.sub(b.number(1), high);
  Value number = b.clampIndex(b.toNumber(base), size);
  return {number, b.clampIndex(b.add(number, b.index(1)), size), b.select(counts, low, zero),
          b.select(counts, high, zero)};
}

LogicalResult RoiAlignOp::buildLoops(OpBuilder &builder, ValueRange inputs, ValueRange outputs, Value begin,
                                     Value end) {
  Images b(builder, getLoc(), inputs[0]);
  Value boxes = inputs[1], images = inputs[2], y = outputs[0];
  int64_t bins[] = {int64_t(getHeight()), int64_t(getWidth())};
  Value one = b.number(1);
  b.loop(begin, end, [&](Value part) {
    Value bound[] = {b.index(bins[0]), b.index(bins[1])};
    Value region = b.floorDiv(part, bound[0]), binRow = b.rem(part, bound[0]);
    Value image = b.checkImage(b.toIndex(b.load(images, {region})));
    Value start[2], step[2], samples[2];
    for (int d = 0; d < 2; ++d) {
      // A region is x1, y1, x2, y2.
      auto corner = [&](int64_t i) {
        Value at = b.mul(b.loadReal(boxes, {region, b.index(i)}), getScale().convertToDouble());
        return getHalfPixel() ? b.sub(at, 0.5) : at;
      };
      start[d] = corner(1 - d);
      Value length = b.sub(corner(3 - d), start[d]);
      if (!getHalfPixel()) {
        length = b.select(b.compare(CmpF::OGT, length, one), length, one);
      }
      step[d] = b.div(length, b.toReal(bound[d]));
      if (getSamples() > 0) {
        samples[d] = b.index(getSamples());
      } else {
        // More than the image has elements say nothing new.
        Value most = b.add(b.toReal(b.sizes[1 + d]), 1.0);
        samples[d] = b.toNumber(b.clampReal(b.ceil(step[d]), b.number(0), most));
      }
    }
    Value count = b.toReal(b.maxIndex(b.mul(samples[0], samples[1]), b.index(1)));
    b.loop(b.index(0), bound[1], [&](Value binColumn) {
      Value bin[] = {binRow, binColumn};
      auto locate = [&](int d, Value sample) {
        Value offset = b.div(b.mul(b.add(b.toReal(sample), 0.5), step[d]), b.toReal(samples[d]));
        Value at = b.add(b.add(start[d], b.mul(b.toReal(bin[d]), step[d])), offset);
        return getSampleNeighbours(b, at, b.sizes[1 + d]);
      };
      b.overChannels(b.sizes[3], b.floats, [&](Value channel, int64_t lanes) {
        Type type = b.laneType(b.floats, lanes);
        Value none = b.zero(type), first = getMax() ? b.infinity(type, /*negative=*/true) : none;
        Value total = b.loop(b.index(0), samples[0], {first}, [&](Value row, ValueRange outer) {
          Images::Neighbours rows = locate(0, row);
          return b.loop(b.index(0), samples[1], Values(outer), [&](Value column, ValueRange inner) -> Values {
            Images::Neighbours columns = locate(1, column);
            Value result = inner[0];
            for (Value term : b.loadWeighted(image, rows, columns, channel, lanes)) {
              result = getMax() ? arith::MaximumFOp::create(builder, getLoc(), result, term).getResult()
                                : b.add(result, term);
            }
            return {result};
          });
        })[0];
        if (getMax()) {
          Value isEmpty = b.compare(CmpI::eq, b.mul(samples[0], samples[1]), 0);
          total = b.select(b.splat(isEmpty, lanes), none, total);
        } else {
          total = b.div(total, b.splat(count, lanes));
        }
        b.storeLanes(b.convert(total, b.element), y, {region, binRow, binColumn, channel});
      });
    });
  });
  return success();
}

//===----------------------------------------------------------------------===//
// RoiPoolOp
//===----------------------------------------------------------------------===//

LogicalResult RoiPoolOp::buildLoops(OpBuilder &builder, ValueRange inputs, ValueRange outputs, Value begin,
                                    Value end) {
  Images b(builder, getLoc(), inputs[0]);
  Value boxes = inputs[1], y = outputs[0];
  int64_t bins[] = {int64_t(getHeight()), int64_t(getWidth())};
  Value far = b.number(double(int64_t(1) << 40)), farBelow = b.neg(far);
  b.loop(begin, end, [&](Value part) {
    Value bound[] = {b.index(bins[0]), b.index(bins[1])};
    Value region = b.floorDiv(part, bound[0]), binRow = b.rem(part, bound[0]);
    auto numberAt = [&](int64_t i) { return b.loadReal(boxes, {region, b.index(i)}); };
    Value image = b.checkImage(b.toNumber(b.clampReal(numberAt(0), farBelow, far)));
    Value start[2], step[2];
    for (int d = 0; d < 2; ++d) {
      auto corner = [&](int64_t i) {
        // Halves away from zero.
        Value at = b.mul(numberAt(i), getScale().convertToDouble());
        return b.copysign(b.floor(b.add(b.abs(at), 0.5)), at);
      };
      start[d] = corner(2 - d);
      Value length = b.add(b.sub(corner(4 - d), start[d]), 1.0);
      Value one = b.number(1);
      step[d] = b.div(b.select(b.compare(CmpF::OGT, length, one), length, one), b.toReal(bound[d]));
    }
    auto edges = [&](int d, Value bin) {
      Value size = b.toReal(b.sizes[1 + d]), zero = b.number(0);
      Value first = b.add(b.floor(b.mul(b.toReal(bin), step[d])), start[d]);
      Value last = b.add(b.ceil(b.mul(b.add(b.toReal(bin), 1.0), step[d])), start[d]);
      return std::pair(b.toNumber(b.clampReal(first, zero, size)), b.toNumber(b.clampReal(last, zero, size)));
    };
    auto rows = edges(0, binRow);
    b.loop(b.index(0), bound[1], [&](Value binColumn) {
      auto columns = edges(1, binColumn);
      Value isEmpty = b.bitOr(b.compare(CmpI::sge, rows.first, rows.second),
                              b.compare(CmpI::sge, columns.first, columns.second));
      b.overChannels(b.sizes[3], b.floats, [&](Value channel, int64_t lanes) {
        Type type = b.laneType(b.floats, lanes);
        Value most = b.loop(
            rows.first, rows.second, {b.infinity(type, /*negative=*/true)}, [&](Value row, ValueRange outer) {
              return b.loop(columns.first, columns.second, Values(outer),
                            [&](Value column, ValueRange inner) -> Values {
                              Value next =
                                  b.convert(b.loadLanes(b.x, {image, row, column, channel}, lanes), b.floats);
                              return {arith::MaximumFOp::create(builder, getLoc(), inner[0], next)};
                            });
            })[0];
        most = b.select(b.splat(isEmpty, lanes), b.zero(type), most);
        b.storeLanes(b.convert(most, b.element), y, {region, binRow, binColumn, channel});
      });
    });
  });
  return success();
}
