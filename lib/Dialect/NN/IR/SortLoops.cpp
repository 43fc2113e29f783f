// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "SortLoops.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::nn;

using CmpI = Emitter::CmpI;
using Values = LoopBuilder::Values;

/// Merges the runs [start, middle) and [middle, end) of `order` into `scratch`.
static void buildMerge(LoopBuilder &b, Value order, Value scratch, Value start, Value middle, Value end,
                       function_ref<Value(Value, Value)> isLess) {
  b.loop(start, end, {start, middle}, [&](Value to, ValueRange from) -> Values {
    Value left = from[0], right = from[1], one = b.index(1);
    // The left run gives the next unless it is used up, or the right one's is really less.
    Value fromLeft = b.choose(
        b.compare(CmpI::slt, left, middle),
        [&]() -> Values {
          return b.choose(
              b.compare(CmpI::slt, right, end),
              [&]() -> Values {
                Value isRightLess =
                    isLess(b.toIndex(b.load(order, {right})), b.toIndex(b.load(order, {left})));
                return {b.bitXor(isRightLess, b.integer(isRightLess.getType(), 1))};
              },
              [&]() -> Values { return {b.integer(b.builder().getI1Type(), 1)}; });
        },
        [&]() -> Values { return {b.integer(b.builder().getI1Type(), 0)}; })[0];
    Value taken = b.select(fromLeft, left, right);
    b.store(b.load(order, {taken}), scratch, {to});
    return {b.select(fromLeft, b.add(left, one), left), b.select(fromLeft, right, b.add(right, one))};
  });
}

void lathe::nn::buildStableSort(LoopBuilder &b, Value order, Value scratch, Value size,
                                function_ref<Value(Value, Value)> isLess) {
  // Runs of one element are sorted; each round doubles their length.
  b.loopWhile(
      {b.index(1)}, [&](ValueRange width) { return b.compare(CmpI::slt, width[0], size); },
      [&](ValueRange carried) -> Values {
        Value width = carried[0], both = b.add(width, width);
        b.loopWhile(
            {b.index(0)}, [&](ValueRange start) { return b.compare(CmpI::slt, start[0], size); },
            [&](ValueRange start) -> Values {
              Value middle = b.minIndex(b.add(start[0], width), size);
              Value end = b.minIndex(b.add(start[0], both), size);
              buildMerge(b, order, scratch, start[0], middle, end, isLess);
              return {b.add(start[0], both)};
            });
        b.loop(b.index(0), size, [&](Value i) { b.store(b.load(scratch, {i}), order, {i}); });
        return {both};
      });
}
