// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Dialect/NN/IR/NNSelection.h"

#include "LoopBuilder.h"
#include "NNReference.h"
#include "SortLoops.h"
#include "VerifyUtils.h"
#include "lathe/Dialect/NN/IR/Builders.h"
#include "lathe/Dialect/NN/IR/ShapeArith.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::nn;
using namespace lathe::nn::detail;

#define GET_OP_CLASSES
#include "lathe/Dialect/NN/IR/NNSelectionOps.cpp.inc"

using InferredDims = FailureOr<SmallVector<Dims>>;
using CmpF = Emitter::CmpF;
using CmpI = Emitter::CmpI;
using Values = LoopBuilder::Values;

/// Checks that results hold i64.
static LogicalResult verifyPlaces(Operation *op, ValueRange results) {
  for (Value result : results) {
    if (!getElementType(result).isSignlessInteger(64)) {
      return op->emitOpError() << "expects results with i64 elements, but there is " << result.getType();
    }
  }
  return success();
}

//===----------------------------------------------------------------------===//
// NonZeroOp
//===----------------------------------------------------------------------===//

LogicalResult NonZeroOp::verify() {
  return failure(failed(verifyTensors(*this)) ||
                 failed(verifyElements(*this, "x", getX(), ElementSet::Bool)) ||
                 failed(verifyPlaces(*this, getResult())) || failed(verifyResultShapes(*this)));
}

InferredDims NonZeroOp::inferDims(OpBuilder &builder, ArrayRef<Dims> operandDims) {
  return SmallVector<Dims>{{builder.getIndexAttr(operandDims[0].size()), getAsOpFoldResult(getSize())}};
}

LogicalResult NonZeroOp::buildLoops(OpBuilder &builder, ValueRange inputs, ValueRange outputs, Value, Value) {
  LoopBuilder b(builder, getLoc());
  Value x = inputs[0], size = inputs[1], y = outputs[0];
  Values sizes = b.sizes(x);
  b.loop(b.index(0), b.product(sizes), {b.index(0)}, [&](Value i, ValueRange place) -> Values {
    Values at = b.delinearize(i, sizes);
    // `size` was counted from the same elements; that it fits is not taken on trust.
    Value isTaken = b.bitAnd(b.load(x, at), b.compare(CmpI::slt, place[0], size));
    b.ifThen(isTaken, [&] {
      for (auto [dim, index] : llvm::enumerate(at)) {
        b.store(b.fromIndex(index, builder.getI64Type()), y, {b.index(dim), place[0]});
      }
    });
    return {b.select(isTaken, b.add(place[0], b.index(1)), place[0])};
  });
  return success();
}

//===----------------------------------------------------------------------===//
// UniqueOp
//===----------------------------------------------------------------------===//

LogicalResult UniqueOp::verify() {
  return failure(failed(verifyTensors(*this)) || failed(verifyRank(*this, "x", getX(), 2)) ||
                 failed(verifyPlaces(*this, getResults())) || failed(verifyResultShapes(*this)));
}

InferredDims UniqueOp::inferDims(OpBuilder &, ArrayRef<Dims> operandDims) {
  if (operandDims[0].size() != 2) {
    return failure();
  }
  Dims rows{operandDims[0][0]};
  return SmallVector<Dims>{rows, rows, rows, {}, rows, rows};
}

/// Whether element x comes before y.
static Value buildIsLess(LoopBuilder &b, Value x, Value y, bool isUnsigned) {
  if (!isa<FloatType>(x.getType())) {
    return b.compare(isUnsigned ? CmpI::ult : CmpI::slt, x, y);
  }
  Value isNumber = b.compare(CmpF::ORD, x, x), otherIsNaN = b.compare(CmpF::UNO, y, y);
  return b.bitOr(b.compare(CmpF::OLT, x, y), b.bitAnd(isNumber, otherIsNaN));
}

LogicalResult UniqueOp::buildLoops(OpBuilder &builder, ValueRange inputs, ValueRange outputs, Value, Value) {
  LoopBuilder b(builder, getLoc());
  Value x = inputs[0], first = outputs[0], inverse = outputs[1], counts = outputs[2], count = outputs[3];
  Value order = outputs[4], scratch = outputs[5];
  Type i64 = builder.getI64Type();
  Type element = getElementType(getX());
  bool isUnsigned = element.isUnsignedInteger() || element.isInteger(1);
  Value rows = b.size(x, 0), columns = b.size(x, 1), zero = b.index(0), one = b.index(1);
  Value isTrue = b.integer(builder.getI1Type(), 1), isFalse = b.integer(builder.getI1Type(), 0);
  // Goes on while elements are equal.
  auto isRowLess = [&](Value row, Value other) -> Value {
    return b.loopWhile(
        {zero, isTrue, isFalse},
        [&](ValueRange carried) { return b.bitAnd(carried[1], b.compare(CmpI::slt, carried[0], columns)); },
        [&](ValueRange carried) -> Values {
          Value left = b.load(x, {row, carried[0]}), right = b.load(x, {other, carried[0]});
          Value less = buildIsLess(b, left, right, isUnsigned),
                more = buildIsLess(b, right, left, isUnsigned);
          Value isEqual = b.bitXor(b.bitOr(less, more), isTrue);
          return {b.add(carried[0], one), isEqual, less};
        })[2];
  };
  b.loop(zero, rows, [&](Value i) { b.store(b.fromIndex(i, i64), order, {i}); });
  buildStableSort(b, order, scratch, rows, isRowLess);

  // Equal rows stand side by side, the first of them in front.
  Values groups = b.loop(zero, rows, {zero, zero}, [&](Value i, ValueRange carried) -> Values {
    Value row = b.toIndex(b.load(order, {i})), previous = carried[1];
    Value isNew = b.bitOr(b.compare(CmpI::eq, i, zero), isRowLess(previous, row));
    Value number = b.select(isNew, b.add(carried[0], one), carried[0]), group = b.sub(number, one);
    b.ifThen(isNew, [&] {
      b.store(b.fromIndex(row, i64), first, {group});
      b.store(b.integer(i64, 0), counts, {group});
    });
    b.store(b.add(b.load(counts, {group}), b.integer(i64, 1)), counts, {group});
    b.store(b.fromIndex(group, i64), inverse, {row});
    return {number, row};
  });
  b.store(b.fromIndex(groups[0], i64), count, {});
  if (getSorted()) {
    return success();
  }

  // Groups get the numbers in which they occur: the new ones in scratch, their first rows in order.
  b.loop(zero, rows, {zero}, [&](Value row, ValueRange next) -> Values {
    Value group = b.toIndex(b.load(inverse, {row}));
    Value isFirst = b.compare(CmpI::eq, b.toIndex(b.load(first, {group})), row);
    b.ifThen(isFirst, [&] {
      b.store(b.fromIndex(next[0], i64), scratch, {group});
      b.store(b.fromIndex(row, i64), order, {next[0]});
    });
    return {b.select(isFirst, b.add(next[0], one), next[0])};
  });
  b.loop(zero, groups[0], [&](Value group) {
    b.store(b.load(order, {group}), first, {group});
    b.store(b.integer(i64, 0), counts, {group});
  });
  b.loop(zero, rows, [&](Value row) {
    Value number = b.load(scratch, {b.toIndex(b.load(inverse, {row}))}), place = b.toIndex(number);
    b.store(number, inverse, {row});
    b.store(b.add(b.load(counts, {place}), b.integer(i64, 1)), counts, {place});
  });
  return success();
}

//===----------------------------------------------------------------------===//
// NonMaxSuppressionOp
//===----------------------------------------------------------------------===//

LogicalResult NonMaxSuppressionOp::verify() {
  if (failed(verifyTensors(*this)) || failed(verifyRank(*this, "boxes", getBoxes(), 3)) ||
      failed(verifyRank(*this, "scores", getScores(), 3)) ||
      failed(verifyRank(*this, "iou_threshold", getIouThreshold(), 0)) ||
      failed(verifyRank(*this, "score_threshold", getScoreThreshold(), 0)) ||
      failed(verifyPlaces(*this, getResults()))) {
    return failure();
  }
  for (Value operand : {getBoxes(), getScores(), getIouThreshold(), getScoreThreshold()}) {
    if (!getElementType(operand).isF32()) {
      return emitOpError() << "expects operands with f32 elements, but there is " << operand.getType();
    }
  }
  if (cast<RankedTensorType>(getBoxes().getType()).getDimSize(2) != 4) {
    return emitOpError() << "expects boxes of 4 numbers, but it is " << getBoxes().getType();
  }
  return verifyResultShapes(*this);
}

InferredDims NonMaxSuppressionOp::inferDims(OpBuilder &builder, ArrayRef<Dims> operandDims) {
  const Dims &boxes = operandDims[0];
  if (boxes.size() != 3) {
    return failure();
  }
  return SmallVector<Dims>{
      {getAsOpFoldResult(getRoom()), builder.getIndexAttr(3)}, {}, {boxes[1]}, {boxes[1]}};
}

namespace {
/// A box as two ordered corners.
struct Corners {
  Value low[2], high[2];
};
} // namespace

static Value minimum(LoopBuilder &b, Value x, Value y) { return b.select(b.compare(CmpF::OLT, x, y), x, y); }
static Value maximum(LoopBuilder &b, Value x, Value y) { return b.select(b.compare(CmpF::OGT, x, y), x, y); }

static Corners loadBox(LoopBuilder &b, Value boxes, Value batch, Value box, bool isCenter) {
  Value numbers[4];
  for (int64_t i = 0; i < 4; ++i) {
    numbers[i] = b.load(boxes, {batch, box, b.index(i)});
  }
  Corners corners;
  for (int i = 0; i < 2; ++i) {
    if (isCenter) {
      Value half = b.mul(numbers[2 + i], 0.5);
      corners.low[i] = b.sub(numbers[i], half);
      corners.high[i] = b.add(numbers[i], half);
    } else {
      corners.low[i] = minimum(b, numbers[i], numbers[2 + i]);
      corners.high[i] = maximum(b, numbers[i], numbers[2 + i]);
    }
  }
  return corners;
}

static Value area(LoopBuilder &b, const Corners &box) {
  return b.mul(b.sub(box.high[0], box.low[0]), b.sub(box.high[1], box.low[1]));
}

/// Whether the boxes have more of their union in common than `threshold`.
static Value overlaps(LoopBuilder &b, const Corners &box, const Corners &other, Value threshold) {
  Value sides[2];
  for (int i = 0; i < 2; ++i) {
    Value length = b.sub(minimum(b, box.high[i], other.high[i]), maximum(b, box.low[i], other.low[i]));
    sides[i] = maximum(b, length, b.zero(length.getType()));
  }
  Value common = b.mul(sides[0], sides[1]), own = area(b, box), others = area(b, other);
  Value share = b.div(common, b.sub(b.add(own, others), common));
  // Without an area there is no share of it.
  Value isArea = b.bitAnd(b.compare(CmpF::OGT, own, 0.0), b.compare(CmpF::OGT, others, 0.0));
  return b.bitAnd(b.bitAnd(isArea, b.compare(CmpF::OGT, common, 0.0)),
                  b.compare(CmpF::OGT, share, threshold));
}

LogicalResult NonMaxSuppressionOp::buildLoops(OpBuilder &builder, ValueRange inputs, ValueRange outputs,
                                              Value, Value) {
  LoopBuilder b(builder, getLoc());
  Value boxes = inputs[0], scores = inputs[1], limit = inputs[4], room = inputs[5];
  Value selected = outputs[0], order = outputs[2], scratch = outputs[3];
  Value iou = b.load(inputs[2], {}), leastScore = b.load(inputs[3], {});
  Type i64 = builder.getI64Type();
  Value zero = b.index(0), one = b.index(1), batches = b.size(scores, 0), classes = b.size(scores, 1);
  Value spatial = b.size(boxes, 1);
  Value isTrue = b.integer(builder.getI1Type(), 1);
  // One class of one batch; gives the number of rows that are defined then.
  auto buildClass = [&](Value batch, Value category, Value start) -> Value {
    auto isBetter = [&](Value box, Value other) {
      return b.compare(CmpF::OGT, b.load(scores, {batch, category, box}),
                       b.load(scores, {batch, category, other}));
    };
    Value candidates = b.loop(zero, spatial, {zero}, [&](Value box, ValueRange next) -> Values {
      Value isGood = b.compare(CmpF::OGT, b.load(scores, {batch, category, box}), leastScore);
      b.ifThen(isGood, [&] { b.store(b.fromIndex(box, i64), order, {next[0]}); });
      return {b.select(isGood, b.add(next[0], one), next[0])};
    })[0];
    buildStableSort(b, order, scratch, candidates, isBetter);
    Value end = b.minIndex(b.add(start, limit), room);
    return b.loop(zero, candidates, {start}, [&](Value i, ValueRange carried) -> Values {
      Value row = carried[0], box = b.toIndex(b.load(order, {i}));
      Corners corners = loadBox(b, boxes, batch, box, getCenter());
      Value isOpen = b.compare(CmpI::slt, row, end);
      // Compared with what was taken, until one overlaps.
      Value isFree = b.loopWhile(
          {start, isOpen},
          [&](ValueRange state) { return b.bitAnd(state[1], b.compare(CmpI::slt, state[0], row)); },
          [&](ValueRange state) -> Values {
            Value other = b.toIndex(b.load(selected, {state[0], b.index(2)}));
            Value isCommon = overlaps(b, corners, loadBox(b, boxes, batch, other, getCenter()), iou);
            return {b.add(state[0], one), b.bitXor(isCommon, isTrue)};
          })[1];
      b.ifThen(isFree, [&] {
        for (auto [column, value] : llvm::enumerate(Values{batch, category, box})) {
          b.store(b.fromIndex(value, i64), selected, {row, b.index(column)});
        }
      });
      return {b.select(isFree, b.add(row, one), row)};
    })[0];
  };
  Value rows = b.loop(zero, batches, {zero}, [&](Value batch, ValueRange outer) -> Values {
    return b.loop(zero, classes, {outer[0]}, [&](Value category, ValueRange inner) -> Values {
      return {buildClass(batch, category, inner[0])};
    });
  })[0];
  b.store(b.fromIndex(rows, i64), outputs[1], {});
  return success();
}
