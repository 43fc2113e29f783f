// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The loops of nn.pool: a part is a row of the result, channels are vectors.

#include "ChannelLoops.h"
#include "NNReference.h"

#include "lathe/Dialect/NN/IR/NNSpatial.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::nn;

using Values = LoopBuilder::Values;

namespace {

class Pool {
public:
  Pool(OpBuilder &builder, PoolOp op, ValueRange inputs, Value y)
      : b(builder, op.getLoc()), op(op), x(inputs[0]), y(y), element(reference::elementOf(x)),
        isUnsigned(cast<RankedTensorType>(op.getX().getType()).getElementType().isUnsignedInteger()),
        spatial(op.getWindow().size()), xSizes(b.sizes(x)), ySizes(b.sizes(y)) {
    PoolOp::Adaptor adaptor(inputs, op);
    auto mixed = [&](ArrayRef<int64_t> numbers, ValueRange values) {
      return b.asValues(getMixedValues(numbers, values, op.getContext()));
    };
    before = mixed(op.getStaticBefore(), adaptor.getBefore());
    after = mixed(op.getStaticAfter(), adaptor.getAfter());
    isExtremum = op.getKind() == PoolKind::Max || op.getKind() == PoolKind::ArgMax;
    computed = isExtremum ? element : reference::getAccumulatorType(element);
    // Halves are compared as what they are converted to anyway.
    if (element.isF16() || element.isBF16()) {
      computed = Float32Type::get(op.getContext());
    }
  }

  void build(Value begin, Value end) {
    Values rows(ArrayRef<Value>(ySizes).drop_back(2));
    b.loop(begin, end, [&](Value part) {
      Values row = b.delinearize(part, rows);
      b.loop(b.index(0), ySizes[spatial], [&](Value column) {
        Values at(row);
        at.push_back(column);
        buildWindow(at);
      });
    });
  }

private:
  /// The window of the result at `at` (without the channel).
  void buildWindow(ArrayRef<Value> at) {
    Values start, first, last;
    for (int64_t d = 0; d < spatial; ++d) {
      Value window = b.index(op.getWindow()[d]), dilation = b.index(op.getDilations()[d]);
      start.push_back(b.sub(b.mul(at[1 + d], b.index(op.getStrides()[d])), before[d]));
      // The first and last place of the window that lie in x.
      Value missing = b.maxIndex(b.sub(b.index(0), start[d]), b.index(0));
      Value room = b.maxIndex(b.sub(xSizes[1 + d], start[d]), b.index(0));
      first.push_back(ceilDiv(missing, dilation));
      last.push_back(b.minIndex(ceilDiv(room, dilation), window));
    }
    Value divisor = op.getKind() == PoolKind::Mean ? countElements(start, first, last) : Value();
    // Positions are kept one by one: a vector of them would be twice as long as one of numbers.
    Type widest = op.getKind() == PoolKind::ArgMax ? Type() : computed;
    b.overChannels(ySizes.back(), widest, [&](Value channel, int64_t lanes) {
      Values result(at);
      result.push_back(channel);
      b.storeLanes(reduceWindow(at[0], channel, lanes, start, first, last, divisor), y, result);
    });
  }

  Value reduceWindow(Value image, Value channel, int64_t lanes, ArrayRef<Value> start, ArrayRef<Value> first,
                     ArrayRef<Value> last, Value divisor) {
    Values init{getInit(lanes)};
    if (op.getKind() == PoolKind::ArgMax) {
      init.push_back(b.index(0));
      init.push_back(b.integer(b.builder().getI1Type(), 0));
    }
    Values position{image};
    std::function<Values(ValueRange)> nest = [&](ValueRange carried) -> Values {
      int64_t d = int64_t(position.size()) - 1;
      if (d == spatial) {
        return visit(position, channel, lanes, carried);
      }
      return b.loop(first[d], last[d], Values(carried), [&](Value k, ValueRange inner) {
        position.push_back(b.add(start[d], b.mul(k, b.index(op.getDilations()[d]))));
        Values next = nest(inner);
        position.pop_back();
        return next;
      });
    };
    Values total = nest(init);
    if (op.getKind() == PoolKind::ArgMax) {
      return b.fromIndex(total[1], b.builder().getI64Type());
    }
    Value result = total[0];
    if (divisor) {
      result = b.div(result, b.splat(divisor, lanes));
    }
    return b.convert(result, element);
  }

  Values visit(ArrayRef<Value> position, Value channel, int64_t lanes, ValueRange carried) {
    Values at(position);
    at.push_back(channel);
    Value next = b.convert(b.loadLanes(x, at, lanes), computed);
    if (!isExtremum) {
      return {b.add(carried[0], next)};
    }
    if (op.getKind() == PoolKind::Max) {
      return {getMax(carried[0], next)};
    }
    // The first element counts whatever it is.
    Value isLarger =
        isFloat() ? b.compare(LoopBuilder::CmpF::OGT, next, carried[0])
                  : b.compare(isUnsigned ? LoopBuilder::CmpI::ugt : LoopBuilder::CmpI::sgt, next, carried[0]);
    Value yes = b.integer(b.builder().getI1Type(), 1);
    Value takes = b.bitOr(isLarger, b.bitXor(carried[2], yes));
    Value linear = b.index(0);
    for (int64_t d = 0; d < spatial; ++d) {
      linear = b.add(b.mul(linear, xSizes[1 + d]), position[1 + d]);
    }
    return {b.select(takes, next, carried[0]), b.select(takes, linear, carried[1]), yes};
  }

  /// How many elements a mean divides by, at least 1.
  Value countElements(ArrayRef<Value> start, ArrayRef<Value> first, ArrayRef<Value> last) {
    Value count = b.index(1);
    for (int64_t d = 0; d < spatial; ++d) {
      Value places = b.sub(last[d], first[d]);
      if (op.getCountPads()) {
        Value room = b.maxIndex(b.sub(b.add(xSizes[1 + d], after[d]), start[d]), b.index(0));
        places = b.minIndex(ceilDiv(room, b.index(op.getDilations()[d])), b.index(op.getWindow()[d]));
      }
      count = b.mul(count, b.maxIndex(places, b.index(1)));
    }
    return b.signedToFloat(b.fromIndex(count, b.builder().getI64Type()), computed);
  }

  Value getInit(int64_t lanes) {
    Type type = b.laneType(computed, lanes);
    if (!isExtremum) {
      return b.zero(type);
    }
    if (isFloat()) {
      return b.infinity(type, /*negative=*/true);
    }
    return b.integer(type, isUnsigned ? 0 : int64_t(uint64_t(1) << (computed.getIntOrFloatBitWidth() - 1)));
  }

  Value getMax(Value lhs, Value rhs) {
    OpBuilder &builder = b.builder();
    Location loc = b.location();
    return isFloat()    ? arith::MaximumFOp::create(builder, loc, lhs, rhs).getResult()
           : isUnsigned ? arith::MaxUIOp::create(builder, loc, lhs, rhs).getResult()
                        : arith::MaxSIOp::create(builder, loc, lhs, rhs).getResult();
  }

  bool isFloat() const { return isa<FloatType>(computed); }
  Value ceilDiv(Value lhs, Value rhs) { return b.floorDiv(b.add(lhs, b.sub(rhs, b.index(1))), rhs); }

  ChannelLoops b;
  PoolOp op;
  Value x, y;
  Type element, computed;
  bool isUnsigned, isExtremum = false;
  int64_t spatial;
  Values xSizes, ySizes, before, after;
};

} // namespace

LogicalResult PoolOp::buildLoops(OpBuilder &builder, ValueRange inputs, ValueRange outputs, Value begin,
                                 Value end) {
  Pool(builder, *this, inputs, outputs[0]).build(begin, end);
  return success();
}
