// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Dialect/NN/IR/NNLearned.h"

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
#include "lathe/Dialect/NN/IR/NNLearnedOps.cpp.inc"

using InferredDims = FailureOr<SmallVector<Dims>>;
using CmpF = Emitter::CmpF;
using CmpI = Emitter::CmpI;

LogicalResult FindOp::verify() {
  return failure(failed(verifyTensors(*this)) ||
                 failed(verifyElements(*this, "x", getX(), ElementSet::Numeric)) ||
                 failed(verifySameElements(*this, "keys", getKeys(), "x", getX())) ||
                 failed(verifyRank(*this, "keys", getKeys(), 1)) ||
                 failed(verifyElements(*this, "the result", getResult(), ElementSet::Index)) ||
                 failed(verifyResultShapes(*this)));
}

InferredDims FindOp::inferDims(OpBuilder &builder, ArrayRef<Dims> operandDims) {
  return SmallVector<Dims>{operandDims[0]};
}

OpFoldResult FindOp::getPartCount(OpBuilder &builder, ArrayRef<Dims> operandDims, ArrayRef<Dims>) {
  return productOfSizes(builder, getLoc(), operandDims[0]);
}

LogicalResult FindOp::buildLoops(OpBuilder &builder, ValueRange inputs, ValueRange outputs, Value begin,
                                 Value end) {
  LoopBuilder b(builder, getLoc());
  bool isUnsigned = nn::getElementType(getX()).isUnsignedInteger();
  auto element = dyn_cast<FloatType>(reference::elementOf(inputs[0]));
  Value count = b.size(inputs[1], 0), one = b.index(1);
  Value elements = b.product(b.sizes(inputs[0]));
  Value x = b.view(inputs[0], {elements}), y = b.view(outputs[0], {elements});
  auto load = [&](Value memory, Value at) {
    Value loaded = b.load(memory, {at});
    return element ? b.toFloat(loaded, reference::getAccumulatorType(element)) : loaded;
  };
  // NaN lies behind all numbers.
  auto isLess = [&](Value key, Value wanted) {
    if (!element) {
      return b.compare(isUnsigned ? CmpI::ult : CmpI::slt, key, wanted);
    }
    Value isLast = b.bitAnd(b.compare(CmpF::UNO, wanted, wanted), b.compare(CmpF::ORD, key, key));
    return b.bitOr(isLast, b.compare(CmpF::OLT, key, wanted));
  };
  b.loop(begin, end, [&](Value part) {
    Value wanted = load(x, part);
    // The first key that is not less, by halving.
    LoopBuilder::Values found = b.loopWhile(
        {b.index(0), count}, [&](ValueRange range) { return b.compare(CmpI::slt, range[0], range[1]); },
        [&](ValueRange range) -> LoopBuilder::Values {
          Value middle = b.shiftRight(b.add(range[0], range[1]), 1);
          Value less = isLess(load(inputs[1], middle), wanted);
          return {b.select(less, b.add(middle, one), range[0]), b.select(less, range[1], middle)};
        });
    LoopBuilder::Values position = b.choose(
        b.compare(CmpI::slt, found[0], count),
        [&]() -> LoopBuilder::Values {
          Value key = load(inputs[1], found[0]);
          Value isOther =
              element
                  ? b.bitOr(b.compare(CmpF::ONE, key, wanted),
                            b.bitXor(b.compare(CmpF::UNO, key, key), b.compare(CmpF::UNO, wanted, wanted)))
                  : b.compare(CmpI::ne, key, wanted);
          return {b.select(isOther, count, found[0])};
        },
        [&]() -> LoopBuilder::Values { return {count}; });
    b.store(b.fromIndex(position[0], reference::elementOf(outputs[0])), y, {part});
  });
  return success();
}
