// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The loops of nn.pad: a part is a row of the result; a last dimension without a border is copied in
/// vectors.

#include "ChannelLoops.h"
#include "NNReference.h"

#include "lathe/Dialect/NN/IR/NNSpatial.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::nn;

using Values = LoopBuilder::Values;

namespace {

class Pad {
public:
  Pad(OpBuilder &builder, PadOp op, ValueRange inputs, Value y)
      : b(builder, op.getLoc()), op(op), x(inputs[0]), y(y), element(reference::elementOf(x)),
        xSizes(b.sizes(x)), ySizes(b.sizes(y)) {
    PadOp::Adaptor adaptor(inputs, op);
    before = b.asValues(getMixedValues(op.getStaticBefore(), adaptor.getBefore(), op.getContext()));
    if (op.getValue()) {
      fill = b.load(adaptor.getValue(), {});
    }
  }

  void build(Value begin, Value end) {
    int64_t rank = xSizes.size();
    if (rank == 0) {
      return b.store(b.load(x, {}), y, {});
    }
    if (!fill) {
      // An empty tensor has no elements to repeat: the result says nothing.
      fill = b.zero(element);
    }
    Values rows(ArrayRef<Value>(ySizes).drop_back(std::min<int64_t>(rank, 2)));
    b.loop(begin, end, [&](Value part) {
      Values at = b.delinearize(part, rows), from;
      Value inside;
      for (auto [d, position] : llvm::enumerate(at)) {
        addSource(d, position, from, inside);
      }
      if (rank == 1) {
        return buildRow(at, from, inside);
      }
      b.loop(b.index(0), ySizes[rank - 2], [&](Value position) {
        Values innerAt(at), innerFrom(from);
        Value innerInside = inside;
        innerAt.push_back(position);
        addSource(rank - 2, position, innerFrom, innerInside);
        buildRow(innerAt, innerFrom, innerInside);
      });
    });
  }

private:
  /// The position in x that `position` along dimension `d` repeats, and whether there is one.
  void addSource(int64_t d, Value position, Values &from, Value &inside) {
    Value size = xSizes[d], zero = b.index(0), one = b.index(1);
    Value source = b.sub(position, before[d]);
    Value last = b.sub(size, one), exists;
    switch (op.getKind()) {
    case PadKind::Constant:
      // As unsigned numbers, those below zero are large.
      exists = b.compare(LoopBuilder::CmpI::ult, source, size);
      break;
    case PadKind::Edge:
      source = b.maxIndex(b.minIndex(source, last), zero);
      break;
    case PadKind::Reflect: {
      Value period = b.maxIndex(b.mul(last, b.index(2)), one);
      source = floorMod(source, period);
      source = b.minIndex(source, b.sub(period, source));
      source = b.maxIndex(b.minIndex(source, last), zero);
      break;
    }
    case PadKind::Wrap:
      source = floorMod(source, b.maxIndex(size, one));
      break;
    }
    if (!exists) {
      exists = b.compare(LoopBuilder::CmpI::ne, size, 0);
    }
    inside = inside ? b.bitAnd(inside, exists) : exists;
    from.push_back(source);
  }

  /// The innermost dimension at `at`, from `from` if that is `inside`.
  void buildRow(ArrayRef<Value> at, ArrayRef<Value> from, Value inside) {
    int64_t d = xSizes.size() - 1;
    auto whole = [](ArrayRef<OpFoldResult> sizes) { return getConstantIntValue(sizes.back()) == 0; };
    if (!inside || !whole(op.getMixedBefore()) || !whole(op.getMixedAfter())) {
      return b.loop(b.index(0), ySizes[d], [&](Value position) {
        Values to(at), source(from);
        Value exists = inside;
        to.push_back(position);
        addSource(d, position, source, exists);
        Value value =
            b.choose(exists, [&] { return Values{b.load(x, source)}; }, [&] { return Values{fill}; })[0];
        b.store(value, y, to);
      });
    }
    auto forAll = [&](function_ref<Value(Value, int64_t)> get) {
      Type vectorElement = element.getIntOrFloatBitWidth() < 8 ? Type() : element;
      b.overChannels(ySizes[d], vectorElement, [&](Value first, int64_t lanes) {
        Values to(at);
        to.push_back(first);
        b.storeLanes(get(first, lanes), y, to);
      });
    };
    b.ifElse(
        inside,
        [&] {
          forAll([&](Value first, int64_t lanes) {
            Values source(from);
            source.push_back(first);
            return b.loadLanes(x, source, lanes);
          });
        },
        [&] { forAll([&](Value, int64_t lanes) { return b.splat(fill, lanes); }); });
  }

  Value floorMod(Value value, Value divisor) {
    OpBuilder &builder = b.builder();
    Value rest = arith::RemSIOp::create(builder, b.location(), value, divisor);
    return b.select(b.compare(LoopBuilder::CmpI::slt, rest, 0), b.add(rest, divisor), rest);
  }

  ChannelLoops b;
  PadOp op;
  Value x, y, fill;
  Type element;
  Values xSizes, ySizes, before;
};

} // namespace

LogicalResult PadOp::buildLoops(OpBuilder &builder, ValueRange inputs, ValueRange outputs, Value begin,
                                Value end) {
  Pad(builder, *this, inputs, outputs[0]).build(begin, end);
  return success();
}
