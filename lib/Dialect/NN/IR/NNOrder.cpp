// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Dialect/NN/IR/NNOrder.h"

#include "LoopBuilder.h"
#include "NNReference.h"
#include "VerifyUtils.h"
#include "lathe/Dialect/NN/IR/Builders.h"
#include "lathe/Dialect/NN/IR/ShapeArith.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::nn;
using namespace lathe::nn::detail;

#define GET_OP_CLASSES
#include "lathe/Dialect/NN/IR/NNOrderOps.cpp.inc"

using InferredDims = FailureOr<SmallVector<Dims>>;

//===----------------------------------------------------------------------===//
// CumulateOp
//===----------------------------------------------------------------------===//

LogicalResult CumulateOp::verify() {
  if (failed(verifyTensors(*this)) || failed(verifyElements(*this, "x", getX(), ElementSet::Numeric)) ||
      failed(verifySameElements(*this, "the result", getResult(), "x", getX()))) {
    return failure();
  }
  if (bool(getAxis()) == bool(getAxisFrom())) {
    return emitOpError() << "expects either an axis or a tensor that holds it";
  }
  if (getAxis() && failed(verifyAxis(*this, *getAxis(), getX()))) {
    return failure();
  }
  if (Value from = getAxisFrom()) {
    auto type = cast<RankedTensorType>(from.getType());
    if (failed(verifyElements(*this, "axis_from", from, ElementSet::Index))) {
      return failure();
    }
    if (!type.hasStaticShape() || type.getNumElements() != 1) {
      return emitOpError() << "expects axis_from to have one element, but it is " << type;
    }
  }
  return verifyResultShapes(*this);
}

InferredDims CumulateOp::inferDims(OpBuilder &builder, ArrayRef<Dims> operandDims) {
  return SmallVector<Dims>{operandDims[0]};
}

/// The sizes of all dimensions but one, as one.
static OpFoldResult productWithout(OpBuilder &builder, Location loc, ArrayRef<OpFoldResult> dims,
                                   int64_t axis) {
  Dims others(dims);
  others.erase(others.begin() + axis);
  return productOfSizes(builder, loc, others);
}

OpFoldResult CumulateOp::getPartCount(OpBuilder &builder, ArrayRef<Dims> operandDims, ArrayRef<Dims>) {
  // How many lanes there are along an axis that data tells is not known before the run.
  return getAxis() ? productWithout(builder, getLoc(), operandDims[0], *getAxis())
                   : OpFoldResult(builder.getIndexAttr(1));
}

namespace {
/// A tensor around one dimension: the sizes before it, its own, and those after it.
struct Around {
  Value outer, length, inner;
};
} // namespace

/// The sizes of `memory` around the dimension that `axis` tells, a value in the bounds of the rank.
static Around splitAround(LoopBuilder &b, Value memory, Value axis) {
  Value one = b.index(1);
  Around around{one, one, one};
  for (auto [dim, size] : llvm::enumerate(b.sizes(memory))) {
    Value position = b.index(dim);
    auto factor = [&](Emitter::CmpI predicate) {
      return b.select(b.compare(predicate, position, axis), size, one);
    };
    around.outer = b.mul(around.outer, factor(Emitter::CmpI::slt));
    around.length = b.mul(around.length, factor(Emitter::CmpI::eq));
    around.inner = b.mul(around.inner, factor(Emitter::CmpI::sgt));
  }
  return around;
}

LogicalResult CumulateOp::buildLoops(OpBuilder &builder, ValueRange inputs, ValueRange outputs, Value begin,
                                     Value end) {
  LoopBuilder b(builder, getLoc());
  Value x = inputs[0], y = outputs[0];
  Type element = reference::elementOf(x), computed = reference::getAccumulatorType(element);
  bool isFloat = isa<FloatType>(element), isSum = getKind() == CumulateKind::Sum;
  Value init = isFloat ? b.real(computed, isSum ? 0 : 1) : b.integer(computed, isSum ? 0 : 1);

  auto cumulate = [&](Around around, Value first, Value last) {
    Value sizes[] = {around.outer, around.length, around.inner};
    Value from = b.view(x, sizes), to = b.view(y, sizes);
    b.loop(first, last, [&](Value part) {
      LoopBuilder::Values at = b.delinearize(part, {around.outer, around.inner});
      b.loop(b.index(0), around.length, {init}, [&](Value i, ValueRange carried) -> LoopBuilder::Values {
        Value position = getReverse() ? b.sub(b.sub(around.length, i), b.index(1)) : i;
        Value next = b.load(from, {at[0], position, at[1]});
        next = isFloat ? b.toFloat(next, computed) : next;
        next = isSum ? b.add(carried[0], next) : b.mul(carried[0], next);
        Value result = getExclusive() ? carried[0] : next;
        b.store(isFloat ? b.toFloat(result, element) : result, to, {at[0], position, at[1]});
        return {next};
      });
    });
  };
  if (getAxis()) {
    LoopBuilder::Values sizes = b.sizes(x);
    ArrayRef<Value> dims = sizes;
    cumulate({b.product(dims.take_front(*getAxis())), dims[*getAxis()],
              b.product(dims.drop_front(*getAxis() + 1))},
             begin, end);
    return success();
  }
  LoopBuilder::Values origin(getRank(getAxisFrom()), b.index(0));
  auto [axis, isWithin] = b.checkedIndex(b.load(inputs[1], origin), b.index(getRank(getX())));
  b.ifThen(isWithin, [&, axis = axis] {
    Around around = splitAround(b, x, axis);
    cumulate(around, b.index(0), b.mul(around.outer, around.inner));
  });
  return success();
}

//===----------------------------------------------------------------------===//
// ReverseSequenceOp
//===----------------------------------------------------------------------===//

LogicalResult ReverseSequenceOp::verify() {
  if (failed(verifyTensors(*this)) ||
      failed(verifySameElements(*this, "the result", getResult(), "x", getX())) ||
      failed(verifyElements(*this, "lengths", getLengths(), ElementSet::Index)) ||
      failed(verifyRank(*this, "lengths", getLengths(), 1))) {
    return failure();
  }
  auto type = cast<RankedTensorType>(getX().getType());
  if (type.getRank() < 2) {
    return emitOpError() << "expects x to have at least 2 dimensions, but it is " << type;
  }
  return failure(failed(verifySameSize(*this, "the number of lengths",
                                       cast<RankedTensorType>(getLengths().getType()).getDimSize(0),
                                       "the batch of x", type.getDimSize(getTimeMajor() ? 1 : 0))) ||
                 failed(verifyResultShapes(*this)));
}

InferredDims ReverseSequenceOp::inferDims(OpBuilder &builder, ArrayRef<Dims> operandDims) {
  return SmallVector<Dims>{operandDims[0]};
}

OpFoldResult ReverseSequenceOp::getPartCount(OpBuilder &builder, ArrayRef<Dims> operandDims, ArrayRef<Dims>) {
  return mulSizes(builder, getLoc(), operandDims[0][0], operandDims[0][1]);
}

LogicalResult ReverseSequenceOp::buildLoops(OpBuilder &builder, ValueRange inputs, ValueRange outputs,
                                            Value begin, Value end) {
  LoopBuilder b(builder, getLoc());
  LoopBuilder::Values dims = b.sizes(inputs[0]);
  Value sizes[] = {dims[0], dims[1], b.product(ArrayRef<Value>(dims).drop_front(2))};
  Value x = b.view(inputs[0], sizes), y = b.view(outputs[0], sizes);
  bool timeMajor = getTimeMajor();
  Value steps = sizes[timeMajor ? 0 : 1];
  b.loop(begin, end, [&](Value part) {
    LoopBuilder::Values at = b.delinearize(part, {sizes[0], sizes[1]});
    Value batch = at[timeMajor ? 1 : 0], time = at[timeMajor ? 0 : 1];
    Value length = b.toIndex(b.load(inputs[1], {batch}));
    Value isTooLong = b.compare(Emitter::CmpI::ugt, length, steps);
    b.trapIf(isTooLong, LoopBuilder::kFaultIndex);
    Value mirrored = b.sub(b.sub(length, time), b.index(1));
    Value isKept = b.bitOr(isTooLong, b.compare(Emitter::CmpI::sge, time, length));
    Value source = b.select(isKept, time, mirrored);
    b.loop(b.index(0), sizes[2], [&](Value i) {
      Value element = timeMajor ? b.load(x, {source, batch, i}) : b.load(x, {batch, source, i});
      b.store(element, y, {at[0], at[1], i});
    });
  });
  return success();
}
