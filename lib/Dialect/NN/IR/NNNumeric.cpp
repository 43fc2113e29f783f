// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Dialect/NN/IR/NNNumeric.h"

#include "LoopBuilder.h"
#include "VerifyUtils.h"
#include "lathe/Codegen/Math/Math.h"
#include "lathe/Dialect/NN/IR/Builders.h"
#include "lathe/Dialect/NN/IR/ShapeArith.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"

#include <cmath>

using namespace mlir;
using namespace lathe;
using namespace lathe::nn;
using namespace lathe::nn::detail;

#define GET_OP_CLASSES
#include "lathe/Dialect/NN/IR/NNNumericOps.cpp.inc"

using InferredDims = FailureOr<SmallVector<Dims>>;
using CmpI = Emitter::CmpI;
using CmpF = Emitter::CmpF;
using Values = LoopBuilder::Values;

/// The kernels compute in these types; what is narrower is converted around them.
static LogicalResult verifyWide(Operation *op, StringRef name, Value tensor) {
  Type element = getElementType(tensor);
  if (!element.isF32() && !element.isF64()) {
    return op->emitOpError() << "expects " << name << " to have f32 or f64 elements, but it is "
                             << tensor.getType();
  }
  return success();
}

//===----------------------------------------------------------------------===//
// RandomOp
//===----------------------------------------------------------------------===//

LogicalResult RandomOp::verify() {
  return failure(failed(verifyTensors(*this)) || failed(verifyWide(*this, "the result", getResult())) ||
                 failed(verifyMixed(*this, "sizes", getSizes(), getStaticSizes())) ||
                 failed(verifyResultShapes(*this)));
}

InferredDims RandomOp::inferDims(OpBuilder &, ArrayRef<Dims>) {
  return SmallVector<Dims>{getMixedValues(getStaticSizes(), getSizes(), getContext())};
}

OpFoldResult RandomOp::getPartCount(OpBuilder &builder, ArrayRef<Dims>, ArrayRef<Dims> resultDims) {
  return productOfSizes(builder, getLoc(), resultDims[0]);
}

/// Four words of 32 bits that Philox 4x32-10 makes of a counter and a key (Salmon et al., 2011).
static Values buildPhilox(LoopBuilder &b, Value counter, int64_t seed) {
  OpBuilder &builder = b.builder();
  Type i32 = builder.getI32Type(), i64 = builder.getI64Type();
  auto truncate = [&](Value x) -> Value { return arith::TruncIOp::create(builder, b.location(), i32, x); };
  Value wide = b.fromIndex(counter, i64), zero = b.integer(i32, 0);
  Values x{truncate(wide), truncate(b.shiftRight(wide, 32)), zero, zero};
  uint32_t key[] = {uint32_t(seed), uint32_t(uint64_t(seed) >> 32)};
  auto multiply = [&](Value word, uint32_t factor) {
    Value product = b.mul(b.extendUnsigned(word, i64), b.integer(i64, factor));
    return std::pair<Value, Value>(truncate(b.shiftRight(product, 32)), truncate(product));
  };
  for (int round = 0; round < 10; ++round) {
    auto [high0, low0] = multiply(x[0], 0xD2511F53);
    auto [high1, low1] = multiply(x[2], 0xCD9E8D57);
    x = {b.bitXor(b.bitXor(high1, x[1]), b.integer(i32, int32_t(key[0]))), low1,
         b.bitXor(b.bitXor(high0, x[3]), b.integer(i32, int32_t(key[1]))), low0};
    key[0] += 0x9E3779B9;
    key[1] += 0xBB67AE85;
  }
  return x;
}

/// A number of [0, 1) with as many random bits as its type has: those of one word, or of two.
static Value buildFraction(LoopBuilder &b, Value high, Value low, Type type) {
  OpBuilder &builder = b.builder();
  if (type.isF32()) {
    return b.mul(b.signedToFloat(b.shiftRight(high, 8), type), 0x1p-24);
  }
  Type i64 = builder.getI64Type();
  Value bits = b.bitOr(b.shiftLeft(b.extendUnsigned(high, i64), 32), b.extendUnsigned(low, i64));
  return b.mul(b.signedToFloat(b.shiftRight(bits, 11), type), 0x1p-53);
}

LogicalResult RandomOp::buildLoops(OpBuilder &builder, ValueRange, ValueRange outputs, Value begin,
                                   Value end) {
  LoopBuilder b(builder, getLoc());
  Type type = getElementType(getResult());
  Values sizes = b.sizes(outputs[0]);
  Value y = b.view(outputs[0], {b.product(sizes)});
  b.loop(begin, end, [&](Value i) {
    Values words = buildPhilox(b, i, int64_t(getSeed()));
    Value first = buildFraction(b, words[0], words[1], type);
    if (!getNormal()) {
      b.store(first, y, {i});
      return;
    }
    // Box and Muller; the logarithm is of (0, 1].
    Value radius = b.sub(b.real(type, 1), first);
    radius = b.sqrt(b.mul(approx::buildLog(builder, getLoc(), radius), -2.0));
    Value angle = b.mul(buildFraction(b, words[2], words[3], type), 2 * M_PI);
    b.store(b.mul(radius, approx::buildCos(builder, getLoc(), angle)), y, {i});
  });
  return success();
}

//===----------------------------------------------------------------------===//
// FourierOp
//===----------------------------------------------------------------------===//

LogicalResult FourierOp::verify() {
  if (failed(verifyTensors(*this)) || failed(verifyWide(*this, "x", getX())) ||
      failed(verifyRank(*this, "x", getX(), 3)) ||
      failed(verifySameElements(*this, "the result", getResult(), "x", getX())) ||
      failed(verifyWide(*this, "scratch", getScratch()))) {
    return failure();
  }
  if (!getElementType(getScratch()).isF64()) {
    return emitOpError() << "expects scratch of f64, but it is " << getScratch().getType();
  }
  if (getParts() != 1 && getParts() != 2) {
    return emitOpError() << "expects 1 or 2 parts, but there are " << getParts();
  }
  return verifyResultShapes(*this);
}

InferredDims FourierOp::inferDims(OpBuilder &builder, ArrayRef<Dims> operandDims) {
  OpFoldResult rows = operandDims[0].front();
  return SmallVector<Dims>{{rows, getAsOpFoldResult(getBins()), builder.getIndexAttr(getParts())},
                           {rows, builder.getIndexAttr(6), getAsOpFoldResult(getLength())}};
}

OpFoldResult FourierOp::getPartCount(OpBuilder &, ArrayRef<Dims> operandDims, ArrayRef<Dims>) {
  return operandDims[0].front();
}

namespace {
/// The planes of scratch memory: two complex rows that are read and written in turn, and the powers of the
/// root of unity.
enum Plane { kRow = 0, kRoots = 4 };

/// One transform, whose rows lie in scratch memory.
struct Transform {
  LoopBuilder &b;
  Value scratch, length, table;

  /// The smallest prime factor of `n`, which is above 1.
  Value smallestFactor(Value n) {
    Value two = b.index(2), one = b.index(1);
    Values found = b.loopWhile(
        {two},
        [&](ValueRange p) {
          Value isSmall = b.compare(CmpI::ule, b.mul(p[0], p[0]), n);
          return b.bitAnd(isSmall, b.compare(CmpI::ne, b.rem(n, p[0]), b.index(0)));
        },
        [&](ValueRange p) -> Values { return {b.add(p[0], one)}; });
    return b.select(b.compare(CmpI::ugt, b.mul(found[0], found[0]), n), n, found[0]);
  }

  /// A step of Stockham's algorithm: transforms of `p` elements of `row`, which lie m * s apart, with
  /// n = p * m: y[q + s (p j + k)] = sum over r of x[q + s (j + m r)] w^(k (m r + j) s).
  void step(Value row, Value from, Value to, Value n, Value p, Value s) {
    Value zero = b.index(0), one = b.index(1), m = b.floorDiv(n, p);
    b.nest({m, p, p}, [&](ArrayRef<Value> at) {
      Value j = at[0], k = at[1], r = at[2];
      Value source = b.add(j, b.mul(m, r));
      Value power = b.mul(b.rem(b.mul(k, source), n), s);
      Value real = b.load(scratch, {table, b.index(kRoots), power});
      Value imaginary = b.load(scratch, {table, b.index(kRoots + 1), power});
      Value read = b.mul(s, source), written = b.mul(s, b.add(b.mul(p, j), k));
      Value toImaginary = b.add(to, one), fromImaginary = b.add(from, one);
      Value isFirst = b.compare(CmpI::eq, r, zero);
      b.loop(zero, s, [&](Value q) {
        Value x = b.load(scratch, {row, from, b.add(read, q)});
        Value y = b.load(scratch, {row, fromImaginary, b.add(read, q)});
        Value none = b.zero(x.getType()), at = b.add(written, q);
        Value sum = b.select(isFirst, none, b.load(scratch, {row, to, at}));
        Value other = b.select(isFirst, none, b.load(scratch, {row, toImaginary, at}));
        sum = b.fma(x, real, b.fma(b.neg(y), imaginary, sum));
        other = b.fma(x, imaginary, b.fma(y, real, other));
        b.store(sum, scratch, {row, to, at});
        b.store(other, scratch, {row, toImaginary, at});
      });
    });
  }

  /// Transforms `row` in place of plane 0; gives the plane of the result.
  Value run(Value row) {
    Value one = b.index(1), two = b.index(2);
    Values last = b.loopWhile(
        {length, one, b.index(0)}, [&](ValueRange state) { return b.compare(CmpI::ugt, state[0], one); },
        [&](ValueRange state) -> Values {
          Value n = state[0], s = state[1], from = state[2];
          Value p = smallestFactor(n), to = b.sub(two, from);
          step(row, from, to, n, p, s);
          return {b.floorDiv(n, p), b.mul(s, p), to};
        });
    return last[2];
  }
};
} // namespace

LogicalResult FourierOp::buildLoops(OpBuilder &builder, ValueRange inputs, ValueRange outputs, Value begin,
                                    Value end) {
  LoopBuilder b(builder, getLoc());
  Location loc = getLoc();
  Value x = inputs[0], length = inputs[1], y = outputs[0], scratch = outputs[1];
  Type type = getElementType(getX()), f64 = builder.getF64Type(), i64 = builder.getI64Type();
  Value zero = b.index(0), one = b.index(1), none = b.zero(f64);
  Value size = b.size(x, 1), isComplex = b.compare(CmpI::sgt, b.size(x, 2), one);
  Value bins = b.minIndex(b.size(y, 1), length), isEmpty = b.compare(CmpI::sge, begin, end);
  Value count = b.signedToFloat(b.fromIndex(length, i64), f64);
  // The first of these rows holds the roots for all of them.
  b.loop(zero, b.select(isEmpty, zero, length), [&](Value k) {
    Value turn = b.div(b.signedToFloat(b.fromIndex(k, i64), f64), count);
    Value angle = b.mul(turn, getInverse() ? 2 * M_PI : -2 * M_PI);
    b.store(approx::buildCos(builder, loc, angle), scratch, {begin, b.index(kRoots), k});
    b.store(approx::buildSin(builder, loc, angle), scratch, {begin, b.index(kRoots + 1), k});
  });
  Value scale = b.div(b.real(f64, 1), count);
  Transform transform{b, scratch, length, begin};
  b.loop(begin, end, [&](Value row) {
    b.loop(zero, length, [&](Value j) {
      Value source = j, sign = b.real(f64, 1);
      if (getHermitian()) {
        Value isMirrored = b.compare(CmpI::ugt, b.mul(j, b.index(2)), length);
        source = b.select(isMirrored, b.sub(length, j), j);
        sign = b.select(isMirrored, b.real(f64, -1), sign);
      }
      Value isWithin = b.compare(CmpI::ult, source, size);
      Values parts = b.choose(
          isWithin, [&]() -> Values { return {b.toFloat(b.load(x, {row, source, zero}), f64)}; },
          [&]() -> Values { return {none}; });
      Values imaginary = b.choose(
          b.bitAnd(isWithin, isComplex),
          [&]() -> Values { return {b.mul(b.toFloat(b.load(x, {row, source, one}), f64), sign)}; },
          [&]() -> Values { return {none}; });
      b.store(parts[0], scratch, {row, zero, j});
      b.store(imaginary[0], scratch, {row, one, j});
    });
    Value plane = transform.run(row);
    b.loop(zero, bins, [&](Value k) {
      for (int64_t part = 0; part < int64_t(getParts()); ++part) {
        Value value = b.load(scratch, {row, b.add(plane, b.index(part)), k});
        value = getInverse() ? b.mul(value, scale) : value;
        b.store(b.toFloat(value, type), y, {row, k, b.index(part)});
      }
    });
  });
  return success();
}

//===----------------------------------------------------------------------===//
// DeterminantOp
//===----------------------------------------------------------------------===//

LogicalResult DeterminantOp::verify() {
  if (failed(verifyTensors(*this)) || failed(verifyWide(*this, "x", getX())) ||
      failed(verifyRank(*this, "x", getX(), 3)) ||
      failed(verifySameElements(*this, "the result", getResult(), "x", getX())) ||
      failed(verifySameElements(*this, "scratch", getScratch(), "x", getX()))) {
    return failure();
  }
  auto type = cast<RankedTensorType>(getX().getType());
  return failure(failed(verifySameSize(*this, "the number of columns", type.getDimSize(2), "that of rows",
                                       type.getDimSize(1))) ||
                 failed(verifyResultShapes(*this)));
}

InferredDims DeterminantOp::inferDims(OpBuilder &, ArrayRef<Dims> operandDims) {
  return SmallVector<Dims>{{operandDims[0].front()}, operandDims[0]};
}

OpFoldResult DeterminantOp::getPartCount(OpBuilder &, ArrayRef<Dims> operandDims, ArrayRef<Dims>) {
  return operandDims[0].front();
}

LogicalResult DeterminantOp::buildLoops(OpBuilder &builder, ValueRange inputs, ValueRange outputs,
                                        Value begin, Value end) {
  LoopBuilder b(builder, getLoc());
  Value x = inputs[0], y = outputs[0], a = outputs[1];
  Type type = getElementType(getX());
  Value n = b.minIndex(b.size(x, 1), b.size(x, 2)), zero = b.index(0), one = b.index(1);
  b.loop(begin, end, [&](Value matrix) {
    b.nest({n, n}, [&](ArrayRef<Value> at) {
      b.store(b.load(x, {matrix, at[0], at[1]}), a, {matrix, at[0], at[1]});
    });
    Values product = b.loop(zero, n, {b.real(type, 1)}, [&](Value k, ValueRange carried) -> Values {
      // The row of the largest element of the column, and that element.
      Value below = b.add(k, one);
      Values pivot =
          b.loop(below, n, {k, b.abs(b.load(a, {matrix, k, k}))}, [&](Value row, ValueRange best) -> Values {
            Value size = b.abs(b.load(a, {matrix, row, k}));
            Value isLarger = b.compare(CmpF::OGT, size, best[1]);
            return {b.select(isLarger, row, best[0]), b.select(isLarger, size, best[1])};
          });
      b.loop(k, n, [&](Value column) {
        Value upper = b.load(a, {matrix, k, column}), lower = b.load(a, {matrix, pivot[0], column});
        b.store(upper, a, {matrix, pivot[0], column});
        b.store(lower, a, {matrix, k, column});
      });
      Value diagonal = b.load(a, {matrix, k, k});
      // A column of zeros ends it: nothing is divided by 0.
      Value isSingular = b.compare(CmpF::OEQ, diagonal, 0.0);
      Value last = b.select(isSingular, below, n);
      b.loop(below, last, [&](Value row) {
        Value factor = b.neg(b.div(b.load(a, {matrix, row, k}), diagonal));
        b.loop(below, n, [&](Value column) {
          Value old = b.load(a, {matrix, row, column});
          b.store(b.fma(factor, b.load(a, {matrix, k, column}), old), a, {matrix, row, column});
        });
      });
      Value isSwapped = b.compare(CmpI::ne, pivot[0], k);
      return {b.mul(carried[0], b.select(isSwapped, b.neg(diagonal), diagonal))};
    });
    b.store(product[0], y, {matrix});
  });
  return success();
}

//===----------------------------------------------------------------------===//
// LinearAttentionOp
//===----------------------------------------------------------------------===//

LogicalResult LinearAttentionOp::verify() {
  if (failed(verifyTensors(*this))) {
    return failure();
  }
  for (Value tensor : llvm::concat<Value>(getOperands(), getResults())) {
    if (!getElementType(tensor).isF32()) {
      return emitOpError() << "expects tensors of f32, but one is " << tensor.getType();
    }
  }
  auto hasRank = [&](StringRef name, Value tensor, int64_t rank) {
    return !tensor || succeeded(verifyRank(*this, name, tensor, rank));
  };
  return failure(!hasRank("q", getQ(), 4) || !hasRank("k", getK(), 4) || !hasRank("v", getV(), 4) ||
                 !hasRank("state", getState(), 4) || !hasRank("decay", getDecay(), 4) ||
                 !hasRank("beta", getBeta(), 3) || failed(verifyResultShapes(*this)));
}

InferredDims LinearAttentionOp::inferDims(OpBuilder &, ArrayRef<Dims> operandDims) {
  const Dims &q = operandDims[0], &k = operandDims[1], &v = operandDims[2];
  if (q.size() != 4 || k.size() != 4 || v.size() != 4) {
    return failure();
  }
  return SmallVector<Dims>{{q[0], q[1], q[2], v[3]}, {q[0], k[2], k[3], v[3]}};
}

OpFoldResult LinearAttentionOp::getPartCount(OpBuilder &builder, ArrayRef<Dims>, ArrayRef<Dims> resultDims) {
  return mulSizes(builder, getLoc(), resultDims[1][0], resultDims[1][1]);
}

LogicalResult LinearAttentionOp::buildLoops(OpBuilder &builder, ValueRange inputs, ValueRange outputs,
                                            Value begin, Value end) {
  LoopBuilder b(builder, getLoc());
  Type f32 = builder.getF32Type(), i64 = builder.getI64Type();
  Value q = inputs[0], k = inputs[1], v = inputs[2], y = outputs[0], s = outputs[1];
  unsigned next = 3;
  Value state = getState() ? inputs[next++] : Value(), decay = getDecay() ? inputs[next++] : Value(),
        beta = getBeta() ? inputs[next++] : Value();
  Value zero = b.index(0), one = b.index(1), steps = b.size(q, 1), heads = b.size(s, 1);
  Value keyFeatures = b.size(s, 2), features = b.size(s, 3), none = b.real(f32, 0);
  Value group = b.floorDiv(b.size(q, 2), heads);
  Value scale = getScale()
                    ? b.real(f32, getScale()->convertToFloat())
                    : b.div(b.real(f32, 1), b.sqrt(b.signedToFloat(b.fromIndex(keyFeatures, i64), f32)));
  /// An index of a dimension that may have one element for all.
  auto within = [&](Value memory, int64_t dim, Value index) {
    return b.select(b.compare(CmpI::eq, b.size(memory, dim), one), zero, index);
  };
  b.loop(begin, end, [&](Value part) {
    Values at = b.delinearize(part, {b.size(s, 0), heads});
    Value batch = at[0], head = at[1], first = b.mul(head, group);
    b.nest({keyFeatures, features}, [&](ArrayRef<Value> at) {
      Value start = state ? b.load(state, {batch, head, at[0], at[1]}) : none;
      b.store(start, s, {batch, head, at[0], at[1]});
    });
    b.loop(zero, steps, [&](Value t) {
      auto key = [&](Value d) { return b.load(k, {batch, t, head, d}); };
      if (decay) {
        b.loop(zero, keyFeatures, [&](Value d) {
          Value exponent = b.load(decay, {batch, t, head, within(decay, 3, d)});
          Value factor = approx::buildExp(builder, getLoc(), exponent);
          b.loop(zero, features, [&](Value m) {
            b.store(b.mul(b.load(s, {batch, head, d, m}), factor), s, {batch, head, d, m});
          });
        });
      }
      // The step's value stands in the result of the first query head until it is used up.
      b.loop(zero, features, [&](Value m) {
        Value own = b.load(v, {batch, t, head, m});
        b.store(own, y, {batch, t, first, m});
      });
      if (beta) {
        b.loop(zero, keyFeatures, [&](Value d) {
          Value weight = b.neg(key(d));
          b.loop(zero, features, [&](Value m) {
            Value rest = b.load(y, {batch, t, first, m});
            b.store(b.fma(weight, b.load(s, {batch, head, d, m}), rest), y, {batch, t, first, m});
          });
        });
        Value strength = b.load(beta, {batch, t, within(beta, 2, head)});
        b.loop(zero, features, [&](Value m) {
          b.store(b.mul(b.load(y, {batch, t, first, m}), strength), y, {batch, t, first, m});
        });
      }
      b.loop(zero, keyFeatures, [&](Value d) {
        Value weight = key(d);
        b.loop(zero, features, [&](Value m) {
          Value old = b.load(s, {batch, head, d, m});
          b.store(b.fma(weight, b.load(y, {batch, t, first, m}), old), s, {batch, head, d, m});
        });
      });
      b.loop(first, b.add(first, group), [&](Value query) {
        b.loop(zero, features, [&](Value m) { b.store(none, y, {batch, t, query, m}); });
        b.loop(zero, keyFeatures, [&](Value d) {
          Value weight = b.mul(b.load(q, {batch, t, query, d}), scale);
          b.loop(zero, features, [&](Value m) {
            Value sum = b.load(y, {batch, t, query, m});
            b.store(b.fma(weight, b.load(s, {batch, head, d, m}), sum), y, {batch, t, query, m});
          });
        });
      });
    });
  });
  return success();
}
