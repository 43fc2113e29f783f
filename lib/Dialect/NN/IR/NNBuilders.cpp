// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Dialect/NN/IR/Builders.h"
#include "lathe/Dialect/NN/IR/ShapeArith.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"

#include <cmath>

using namespace mlir;
using namespace lathe::nn;

Type lathe::nn::getElementType(Value tensor) {
  return cast<RankedTensorType>(tensor.getType()).getElementType();
}
int64_t lathe::nn::getRank(Value tensor) { return cast<RankedTensorType>(tensor.getType()).getRank(); }

void lathe::nn::setInferredTypes(Operation *op) {
  FailureOr<SmallVector<SmallVector<int64_t>>> shapes = inferStaticShapes(op);
  if (failed(shapes) || shapes->size() != op->getNumResults()) {
    return;
  }
  for (auto [result, shape] : llvm::zip_equal(op->getResults(), *shapes)) {
    result.setType(RankedTensorType::get(shape, getElementType(result)));
  }
}

//===----------------------------------------------------------------------===//
// Pointwise
//===----------------------------------------------------------------------===//

static Type getUnaryElementType(OpBuilder &builder, UnaryKind kind, Value x) {
  bool isPredicate = kind == UnaryKind::Not || kind == UnaryKind::IsNaN || kind == UnaryKind::IsInf;
  return isPredicate ? builder.getI1Type() : getElementType(x);
}

Value lathe::nn::buildUnary(OpBuilder &builder, Location loc, UnaryKind kind, Value x) {
  return createInferred<UnaryOp>(builder, loc, getUnaryElementType(builder, kind, x), kind, x, FloatAttr(),
                                 FloatAttr());
}

Value lathe::nn::buildUnary(OpBuilder &builder, Location loc, UnaryKind kind, Value x, float alpha,
                            float beta) {
  return createInferred<UnaryOp>(builder, loc, getUnaryElementType(builder, kind, x), kind, x,
                                 builder.getF32FloatAttr(alpha), builder.getF32FloatAttr(beta));
}

Value lathe::nn::buildBinary(OpBuilder &builder, Location loc, BinaryKind kind, Value lhs, Value rhs) {
  return createInferred<BinaryOp>(builder, loc, getElementType(lhs), kind, lhs, rhs);
}

Value lathe::nn::buildCompare(OpBuilder &builder, Location loc, CompareKind kind, Value lhs, Value rhs) {
  return createInferred<CompareOp>(builder, loc, builder.getI1Type(), kind, lhs, rhs);
}

Value lathe::nn::buildSelect(OpBuilder &builder, Location loc, Value condition, Value lhs, Value rhs) {
  return createInferred<SelectOp>(builder, loc, getElementType(lhs), condition, lhs, rhs);
}

Value lathe::nn::buildCast(OpBuilder &builder, Location loc, Value x, Type elementType) {
  if (getElementType(x) == elementType) {
    return x;
  }
  return createInferred<CastOp>(builder, loc, elementType, x);
}

//===----------------------------------------------------------------------===//
// Reductions and norms
//===----------------------------------------------------------------------===//

Value lathe::nn::buildReduce(OpBuilder &builder, Location loc, ReduceKind kind, Value x,
                             ArrayRef<int64_t> axes, bool keepDims) {
  SmallVector<int64_t> sorted =
      llvm::map_to_vector(axes, [&](int64_t axis) { return axis < 0 ? axis + getRank(x) : axis; });
  llvm::sort(sorted);
  // Over one element nothing is to be done but for squares; the dimension may still have to go.
  ArrayRef<int64_t> shape = cast<RankedTensorType>(x.getType()).getShape();
  auto isOne = [&](int64_t axis) { return axis >= 0 && axis < int64_t(shape.size()) && shape[axis] == 1; };
  bool allOnes = !sorted.empty() && llvm::all_of(sorted, isOne) && kind != ReduceKind::SumSquare;
  if (allOnes && keepDims) {
    return x;
  }
  if (allOnes && llvm::count_if(shape, ShapedType::isDynamic) == 0) {
    Dims dims;
    for (auto [axis, size] : llvm::enumerate(shape)) {
      if (!llvm::is_contained(sorted, int64_t(axis))) {
        dims.push_back(builder.getIndexAttr(size));
      }
    }
    return buildReshape(builder, loc, x, dims);
  }
  return createInferred<ReduceOp>(builder, loc, getElementType(x), kind, x, sorted, keepDims);
}

Value lathe::nn::buildArgReduce(OpBuilder &builder, Location loc, ArgReduceKind kind, Value x, int64_t axis,
                                bool keepDims, bool selectLast) {
  return createInferred<ArgReduceOp>(builder, loc, builder.getI64Type(), kind, x,
                                     axis < 0 ? axis + getRank(x) : axis, keepDims, selectLast);
}

Value lathe::nn::buildSoftmax(OpBuilder &builder, Location loc, Value x, int64_t axis, bool log) {
  return createInferred<SoftmaxOp>(builder, loc, getElementType(x), x, axis < 0 ? axis + getRank(x) : axis,
                                   log);
}

Value lathe::nn::buildLayerNorm(OpBuilder &builder, Location loc, Value x, Value scale, Value bias,
                                int64_t axis, float epsilon) {
  return createInferred<LayerNormOp>(builder, loc, getElementType(x), x, scale, bias,
                                     builder.getI64IntegerAttr(axis < 0 ? axis + getRank(x) : axis),
                                     builder.getF32FloatAttr(epsilon));
}

Value lathe::nn::buildRMSNorm(OpBuilder &builder, Location loc, Value x, Value scale, int64_t axis,
                              float epsilon) {
  return createInferred<RMSNormOp>(builder, loc, getElementType(x), x, scale,
                                   builder.getI64IntegerAttr(axis < 0 ? axis + getRank(x) : axis),
                                   builder.getF32FloatAttr(epsilon));
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

Value lathe::nn::buildMatMul(OpBuilder &builder, Location loc, Value lhs, Value rhs) {
  return createInferred<MatMulOp>(builder, loc, getElementType(lhs), lhs, rhs);
}

Value lathe::nn::buildConv(OpBuilder &builder, Location loc, Value x, Value filter, ArrayRef<int64_t> strides,
                           ArrayRef<int64_t> pads, ArrayRef<int64_t> dilations, int64_t groups) {
  return createInferred<ConvOp>(builder, loc, getElementType(x), x, filter, strides, pads, dilations, groups);
}

Value lathe::nn::buildAttention(OpBuilder &builder, Location loc, Value q, Value k, Value v, Value mask,
                                float scale, bool causal, bool guardEmpty, float softcap) {
  auto unit = [&](bool set) { return set ? builder.getUnitAttr() : UnitAttr(); };
  return createInferred<AttentionOp>(
      builder, loc, getElementType(q), q, k, v, mask, builder.getF32FloatAttr(scale),
      softcap == 0 ? FloatAttr() : builder.getF32FloatAttr(softcap), unit(causal), unit(guardEmpty));
}

//===----------------------------------------------------------------------===//
// Data movement
//===----------------------------------------------------------------------===//

/// Whether the shape of `x` is static and equal to `dims`.
static bool hasShape(Value x, ArrayRef<OpFoldResult> dims) {
  auto type = cast<RankedTensorType>(x.getType());
  return type.hasStaticShape() && llvm::equal(type.getShape(), getStaticSizes(dims));
}

Value lathe::nn::buildReshape(OpBuilder &builder, Location loc, Value x, ArrayRef<OpFoldResult> dims) {
  return hasShape(x, dims) ? x : ReshapeOp::create(builder, loc, x, dims).getResult();
}

Value lathe::nn::buildExpand(OpBuilder &builder, Location loc, Value x, ArrayRef<OpFoldResult> dims) {
  return hasShape(x, dims) ? x : ExpandOp::create(builder, loc, x, dims).getResult();
}

Value lathe::nn::buildTranspose(OpBuilder &builder, Location loc, Value x, ArrayRef<int64_t> perm) {
  return createInferred<TransposeOp>(builder, loc, getElementType(x), x, perm);
}

Value lathe::nn::buildSlice(OpBuilder &builder, Location loc, Value x, ArrayRef<OpFoldResult> offsets,
                            ArrayRef<OpFoldResult> sizes, ArrayRef<int64_t> strides) {
  return SliceOp::create(builder, loc, x, offsets, sizes, strides);
}

Value lathe::nn::buildConcat(OpBuilder &builder, Location loc, ValueRange inputs, int64_t axis) {
  return createInferred<ConcatOp>(builder, loc, getElementType(inputs.front()), inputs,
                                  axis < 0 ? axis + getRank(inputs.front()) : axis);
}

Value lathe::nn::buildGather(OpBuilder &builder, Location loc, Value x, Value indices, int64_t axis) {
  return createInferred<GatherOp>(builder, loc, getElementType(x), x, indices,
                                  axis < 0 ? axis + getRank(x) : axis);
}

Value lathe::nn::buildGatherND(OpBuilder &builder, Location loc, Value x, Value indices, int64_t batchDims) {
  return createInferred<GatherNDOp>(builder, loc, getElementType(x), x, indices, batchDims);
}

Value lathe::nn::buildRange(OpBuilder &builder, Location loc, Value start, Value step, OpFoldResult size) {
  Value count = getValueOrCreateConstantIndexOp(builder, loc, size);
  return createInferred<RangeOp>(builder, loc, getElementType(start), start, step, count);
}

Value lathe::nn::buildFromScalars(OpBuilder &builder, Location loc, ArrayRef<OpFoldResult> elements,
                                  Type elementType, bool scalar) {
  SmallVector<int64_t> shape;
  if (!scalar) {
    shape.push_back(elements.size());
  }
  return FromScalarsOp::create(builder, loc, RankedTensorType::get(shape, elementType),
                               getValueOrCreateConstantIndexOp(builder, loc, elements));
}

Value lathe::nn::buildScalar(OpBuilder &builder, Location loc, Type elementType, double value) {
  auto type = RankedTensorType::get({}, elementType);
  if (auto floatType = dyn_cast<FloatType>(elementType)) {
    APFloat number(value);
    bool losesInfo;
    number.convert(floatType.getFloatSemantics(), APFloat::rmNearestTiesToEven, &losesInfo);
    return arith::ConstantOp::create(builder, loc, DenseElementsAttr::get(type, number));
  }
  // A bool is unsigned: as a signed number of one bit, true would be -1.
  APSInt number(elementType.getIntOrFloatBitWidth(),
                elementType.isUnsignedInteger() || elementType.isInteger(1));
  bool isExact;
  APFloat(value).convertToInteger(number, APFloat::rmTowardZero, &isExact);
  return arith::ConstantOp::create(builder, loc, DenseElementsAttr::get(type, APInt(number)));
}
