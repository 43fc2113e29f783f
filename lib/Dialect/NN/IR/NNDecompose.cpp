// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The composite ops in terms of simpler ones: what they mean, to the letter of the ODS.

#include "NNReference.h"
#include "lathe/Dialect/NN/IR/Builders.h"
#include "lathe/Dialect/NN/IR/NN.h"
#include "lathe/Dialect/NN/IR/ShapeArith.h"
#include "lathe/Dialect/NN/IR/ShapeTracker.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

#include <limits>

using namespace mlir;
using lathe::nn::reference::getAccumulatorType;

namespace lathe::nn {

using LoweredResults = FailureOr<SmallVector<Value>>;

static constexpr double kMinusInf = -std::numeric_limits<double>::infinity();

LoweredResults SoftmaxOp::decompose(RewriterBase &rewriter) {
  Location loc = getLoc();
  Type element = getElementType(getX());
  Value x = buildCast(rewriter, loc, getX(), getAccumulatorType(element));
  int64_t axis = getAxis();
  Value largest = buildReduce(rewriter, loc, ReduceKind::Max, x, axis, /*keepDims=*/true);
  Value shifted = buildBinary(rewriter, loc, BinaryKind::Sub, x, largest);
  Value exponentials = buildUnary(rewriter, loc, UnaryKind::Exp, shifted);
  Value sum = buildReduce(rewriter, loc, ReduceKind::Sum, exponentials, axis, /*keepDims=*/true);
  Value result;
  if (getLog()) {
    result =
        buildBinary(rewriter, loc, BinaryKind::Sub, shifted, buildUnary(rewriter, loc, UnaryKind::Log, sum));
  } else {
    result = buildBinary(rewriter, loc, BinaryKind::Div, exponentials, sum);
  }
  return SmallVector<Value>{buildCast(rewriter, loc, result, element)};
}

/// x / sqrt(mean(of) + epsilon), the mean over dimensions `axis` to the last.
static Value buildNormalized(OpBuilder &b, Location loc, Value x, ArrayRef<int64_t> axes,
                             const APFloat &epsilon) {
  Value squares = buildBinary(b, loc, BinaryKind::Mul, x, x);
  Value variance = buildReduce(b, loc, ReduceKind::Mean, squares, axes, /*keepDims=*/true);
  Value offset = buildScalar(b, loc, getElementType(x), epsilon.convertToFloat());
  variance = buildBinary(b, loc, BinaryKind::Add, variance, offset);
  return buildBinary(b, loc, BinaryKind::Div, x, buildUnary(b, loc, UnaryKind::Sqrt, variance));
}

LoweredResults LayerNormOp::decompose(RewriterBase &rewriter) {
  Location loc = getLoc();
  Type computed = getAccumulatorType(getElementType(getX()));
  Value x = buildCast(rewriter, loc, getX(), computed);
  auto axes = llvm::to_vector(llvm::seq<int64_t>(getAxis(), getRank(x)));
  Value mean = buildReduce(rewriter, loc, ReduceKind::Mean, x, axes, /*keepDims=*/true);
  Value centered = buildBinary(rewriter, loc, BinaryKind::Sub, x, mean);
  Value result = buildNormalized(rewriter, loc, centered, axes, getEpsilon());
  result =
      buildBinary(rewriter, loc, BinaryKind::Mul, result, buildCast(rewriter, loc, getScale(), computed));
  if (getBias()) {
    result =
        buildBinary(rewriter, loc, BinaryKind::Add, result, buildCast(rewriter, loc, getBias(), computed));
  }
  return SmallVector<Value>{buildCast(rewriter, loc, result, getElementType(getResult()))};
}

LoweredResults RMSNormOp::decompose(RewriterBase &rewriter) {
  Location loc = getLoc();
  Type element = getElementType(getX());
  Value x = buildCast(rewriter, loc, getX(), getAccumulatorType(element));
  auto axes = llvm::to_vector(llvm::seq<int64_t>(getAxis(), getRank(x)));
  Value normalized = buildNormalized(rewriter, loc, x, axes, getEpsilon());
  // Rounded to the type of x first, as ONNX has it.
  normalized = buildCast(rewriter, loc, normalized, element);
  Type scaled = getElementType(getScale());
  normalized = buildCast(rewriter, loc, normalized, scaled);
  Value result = buildBinary(rewriter, loc, BinaryKind::Mul, normalized, getScale());
  return SmallVector<Value>{buildCast(rewriter, loc, result, getElementType(getResult()))};
}

namespace {

/// The parts of an attention op's decomposition, in f32 or f64.
struct AttentionBuilder {
  OpBuilder &b;
  Location loc;
  AttentionOp op;
  Type computed;
  Dims q, k;
  /// Query heads per key head; null if there is one.
  OpFoldResult group;

  OpFoldResult index(int64_t value) const { return b.getIndexAttr(value); }

  /// [B, H, rows, columns] to [B, Hkv, H / Hkv, rows, columns], so that heads of one group share what they
  /// read.
  Value splitQueryHeads(Value x, OpFoldResult rows, OpFoldResult columns) const {
    return group ? buildReshape(b, loc, x, {q[0], k[2], group, rows, columns}) : x;
  }
  Value joinQueryHeads(Value x, OpFoldResult rows, OpFoldResult columns) const {
    return group ? buildReshape(b, loc, x, {q[0], q[2], rows, columns}) : x;
  }
  Value splitKeyHeads(Value x, OpFoldResult rows, OpFoldResult columns) const {
    return group ? buildReshape(b, loc, x, {k[0], k[2], index(1), rows, columns}) : x;
  }

  /// [Sq, Sk]: whether query i sees key j, j <= i + Sk - Sq.
  Value buildCausalMask() const {
    Type i64 = b.getI64Type();
    Value one = buildScalar(b, loc, i64, 1), zero = buildScalar(b, loc, i64, 0);
    Value offset = buildFromScalars(b, loc, subSizes(b, loc, k[1], q[1]), i64, /*scalar=*/true);
    Value rows = buildRange(b, loc, offset, one, q[1]), columns = buildRange(b, loc, zero, one, k[1]);
    rows = buildReshape(b, loc, rows, {q[1], index(1)});
    return buildCompare(b, loc, CompareKind::LessOrEqual, columns, rows);
  }

  /// `x` with the mask and causality applied.
  Value applyMasks(Value x, Value causal) {
    Value minusInf = buildScalar(b, loc, computed, kMinusInf);
    if (Value mask = op.getMask()) {
      if (getElementType(mask).isInteger(1)) {
        x = buildSelect(b, loc, mask, x, minusInf);
      } else {
        x = buildBinary(b, loc, BinaryKind::Add, x, buildCast(b, loc, mask, computed));
      }
    }
    return causal ? buildSelect(b, loc, causal, x, minusInf) : x;
  }
};

} // namespace

LoweredResults AttentionOp::decompose(RewriterBase &rewriter) {
  Location loc = getLoc();
  Type element = getElementType(getQ());
  Type computed = getAccumulatorType(element);
  ShapeTracker tracker(rewriter);
  Dims dims[3];
  SmallVector<Value> operands = {getQ(), getK(), getV()};
  for (auto [operand, dims] : llvm::zip_equal(operands, dims)) {
    // A size that does not follow from the function's symbols is asked for.
    auto known = tracker.getDims(operand);
    dims = succeeded(known) ? llvm::to_vector(*known) : Dims(tensor::getMixedSizes(rewriter, loc, operand));
  }
  auto &[q, k, v] = dims;
  AttentionBuilder a{rewriter, loc, *this, computed, q, k, {}};
  std::optional<int64_t> heads = getConstantIntValue(q[2]), keyHeads = getConstantIntValue(k[2]);
  if (!areSameSize(q[2], k[2])) {
    if (heads && keyHeads) {
      a.group = a.index(*keyHeads == 0 ? 0 : *heads / *keyHeads);
    } else {
      Value h = getValueOrCreateConstantIndexOp(rewriter, loc, q[2]);
      Value hkv = getValueOrCreateConstantIndexOp(rewriter, loc, k[2]);
      a.group = arith::DivUIOp::create(rewriter, loc, h, hkv).getResult();
    }
  }
  Value query = buildTranspose(rewriter, loc, buildCast(rewriter, loc, getQ(), computed), {0, 2, 1, 3});
  Value key = buildTranspose(rewriter, loc, buildCast(rewriter, loc, getK(), computed), {0, 2, 3, 1});
  Value value = buildTranspose(rewriter, loc, buildCast(rewriter, loc, getV(), computed), {0, 2, 1, 3});
  query = a.splitQueryHeads(query, q[1], q[3]);
  key = a.splitKeyHeads(key, k[3], k[1]);
  value = a.splitKeyHeads(value, v[1], v[3]);

  Value logits = a.joinQueryHeads(buildMatMul(rewriter, loc, query, key), q[1], k[1]);
  Value scale = buildScalar(rewriter, loc, computed, getScale().convertToFloat());
  logits = buildBinary(rewriter, loc, BinaryKind::Mul, logits, scale);
  if (getSoftcap()) {
    Value cap = buildScalar(rewriter, loc, computed, getSoftcap()->convertToFloat());
    logits =
        buildUnary(rewriter, loc, UnaryKind::Tanh, buildBinary(rewriter, loc, BinaryKind::Div, logits, cap));
    logits = buildBinary(rewriter, loc, BinaryKind::Mul, logits, cap);
  }
  Value causal = getCausal() ? a.buildCausalMask() : Value();
  logits = a.applyMasks(logits, causal);
  Value weights = buildSoftmax(rewriter, loc, logits, 3);
  if (getGuardEmpty() && (getMask() || causal)) {
    // Whether a query sees a key is up to the masks alone, so the same is done to zeros.
    Value zero = buildScalar(rewriter, loc, computed, 0);
    Value bias = buildExpand(rewriter, loc, zero, {q[0], q[2], q[1], k[1]});
    bias = a.applyMasks(bias, causal);
    Value largest = buildReduce(rewriter, loc, ReduceKind::Max, bias, 3, /*keepDims=*/true);
    Value minusInf = buildScalar(rewriter, loc, computed, kMinusInf);
    Value isEmpty = buildCompare(rewriter, loc, CompareKind::Equal, largest, minusInf);
    weights = buildSelect(rewriter, loc, isEmpty, zero, weights);
  }
  weights = a.splitQueryHeads(weights, q[1], k[1]);
  Value result = a.joinQueryHeads(buildMatMul(rewriter, loc, weights, value), q[1], v[3]);
  result = buildTranspose(rewriter, loc, result, {0, 2, 1, 3});
  return SmallVector<Value>{buildCast(rewriter, loc, result, element)};
}

} // namespace lathe::nn
