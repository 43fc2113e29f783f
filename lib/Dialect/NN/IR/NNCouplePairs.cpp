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

using InferredDims = FailureOr<SmallVector<Dims>>;
using CmpF = Emitter::CmpF;
using CmpI = Emitter::CmpI;
using Values = LoopBuilder::Values;

LogicalResult CouplePairsOp::verify() {
  if (failed(verifyTensors(*this)) || failed(verifyRank(*this, "pairs", getPairs(), 2)) ||
      failed(verifySameElements(*this, "the result", getResult(), "pairs", getPairs()))) {
    return failure();
  }
  if (!getElementType(getPairs()).isF32()) {
    return emitOpError() << "expects pairs to hold f32, but it is " << getPairs().getType();
  }
  int64_t classes = getClassCount(), pairs = cast<RankedTensorType>(getPairs().getType()).getDimSize(1);
  if (classes < 2 || classes > kMaxClasses) {
    return emitOpError() << "expects 2 to " << kMaxClasses << " classes, but there are " << classes;
  }
  if (pairs != classes * (classes - 1) / 2) {
    return emitOpError() << "expects " << classes * (classes - 1) / 2 << " pairs of " << classes
                         << " classes, but there are " << formatSize(pairs);
  }
  return verifyResultShapes(*this);
}

InferredDims CouplePairsOp::inferDims(OpBuilder &builder, ArrayRef<Dims> operandDims) {
  return SmallVector<Dims>{{operandDims[0][0], builder.getIndexAttr(getClassCount())}};
}

OpFoldResult CouplePairsOp::getPartCount(OpBuilder &builder, ArrayRef<Dims> operandDims, ArrayRef<Dims>) {
  return operandDims[0][0];
}

/// The second method of Wu, Lin and Weng, "Probability estimates for multi-class classification by pairwise
/// coupling": minimizes p' Q p of probabilities p one after the other.
LogicalResult CouplePairsOp::buildLoops(OpBuilder &builder, ValueRange inputs, ValueRange outputs,
                                        Value begin, Value end) {
  constexpr int64_t kMaxRounds = 100;
  int64_t classes = getClassCount();
  LoopBuilder b(builder, getLoc());
  Type f32 = builder.getF32Type();
  Value pairs = inputs[0], p = outputs[0], zero = b.index(0), count = b.index(classes);
  Value q = b.local({classes, classes}, f32), products = b.local({classes}, f32);
  auto sum = [&](llvm::function_ref<Value(Value)> term) {
    return b.loop(zero, count, {b.real(f32, 0)},
                  [&](Value j, ValueRange carried) -> Values { return {b.add(carried[0], term(j))}; })[0];
  };
  b.loop(begin, end, [&](Value row) {
    // Q[i, i] is the sum of r[j, i]^2, Q[i, j] is -r[j, i] r[i, j].
    b.loop(zero, count, [&](Value i) {
      b.store(b.real(f32, 0), q, {i, i});
      b.store(b.real(f32, 1.0 / double(classes)), p, {row, i});
    });
    b.loop(zero, count, {zero}, [&](Value i, ValueRange first) -> Values {
      return b.loop(b.add(i, b.index(1)), count, {first[0]}, [&](Value j, ValueRange pair) -> Values {
        Value ij = b.load(pairs, {row, pair[0]}), ji = b.sub(b.real(f32, 1), ij);
        Value product = b.neg(b.mul(ij, ji));
        b.store(product, q, {i, j});
        b.store(product, q, {j, i});
        b.store(b.fma(ji, ji, b.load(q, {i, i})), q, {i, i});
        b.store(b.fma(ij, ij, b.load(q, {j, j})), q, {j, j});
        return {b.add(pair[0], b.index(1))};
      });
    });
    Value isOpen = b.integer(builder.getI1Type(), 1);
    b.loopWhile(
        {zero, isOpen},
        [&](ValueRange at) { return b.bitAnd(b.compare(CmpI::slt, at[0], b.index(kMaxRounds)), at[1]); },
        [&](ValueRange at) -> Values {
          b.loop(zero, count, [&](Value t) {
            b.store(sum([&](Value j) { return b.mul(b.load(q, {t, j}), b.load(p, {row, j})); }), products,
                    {t});
          });
          Value energy = sum([&](Value t) { return b.mul(b.load(p, {row, t}), b.load(products, {t})); });
          Value error = b.loop(zero, count, {b.real(f32, 0)}, [&](Value t, ValueRange worst) -> Values {
            Value own = b.abs(b.sub(b.load(products, {t}), energy));
            return {b.select(b.compare(CmpF::OGT, own, worst[0]), own, worst[0])};
          })[0];
          Value goesOn = b.compare(CmpF::OGE, error, 0.005 / double(classes));
          b.ifThen(goesOn, [&] {
            b.loop(zero, count, {energy}, [&](Value t, ValueRange carried) -> Values {
              Value own = b.load(q, {t, t}), product = b.load(products, {t});
              Value step = b.div(b.sub(carried[0], product), own), scale = b.add(step, 1.0);
              b.store(b.add(b.load(p, {row, t}), step), p, {row, t});
              Value grown = b.add(carried[0], b.mul(step, b.fma(step, own, b.mul(product, 2.0))));
              b.loop(zero, count, [&](Value j) {
                Value next = b.fma(step, b.load(q, {t, j}), b.load(products, {j}));
                b.store(b.div(next, scale), products, {j});
                b.store(b.div(b.load(p, {row, j}), scale), p, {row, j});
              });
              return {b.div(b.div(grown, scale), scale)};
            });
          });
          return {b.add(at[0], b.index(1)), goesOn};
        });
  });
  return success();
}
