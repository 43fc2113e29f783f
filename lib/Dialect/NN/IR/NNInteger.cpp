// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Verification, sizes and meaning of the products of integers of 8 bits.

#include "lathe/Dialect/NN/IR/NNInteger.h"

#include "VerifyUtils.h"
#include "lathe/Dialect/NN/IR/Builders.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Matchers.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::nn;
using namespace lathe::nn::detail;

#define GET_OP_CLASSES
#include "lathe/Dialect/NN/IR/NNIntegerOps.cpp.inc"

using InferredDims = FailureOr<SmallVector<Dims>>;
using LoweredResults = FailureOr<SmallVector<Value>>;

static ArrayRef<int64_t> getShape(Value tensor) {
  return cast<RankedTensorType>(tensor.getType()).getShape();
}

static LogicalResult verifyBytes(Operation *op, StringRef name, Value tensor) {
  if (!getElementType(tensor).isInteger(8)) {
    return op->emitOpError() << "expects " << name << " to hold integers of 8 bits, but it is "
                             << tensor.getType();
  }
  return success();
}

/// Checks what both products share: their element types and those of the zero points.
static LogicalResult verifyIntegers(Operation *op, StringRef lhsName, Value lhs, StringRef rhsName, Value rhs,
                                    Value lhsZero, Value rhsZero, Value result) {
  if (failed(verifyTensors(op)) || failed(verifyBytes(op, lhsName, lhs)) ||
      failed(verifyBytes(op, rhsName, rhs)) ||
      (lhsZero && failed(verifySameElements(op, "its zero point", lhsZero, lhsName, lhs))) ||
      (rhsZero && failed(verifySameElements(op, "its zero point", rhsZero, rhsName, rhs)))) {
    return failure();
  }
  if (!getElementType(result).isSignlessInteger(32)) {
    return op->emitOpError() << "expects a result of i32, but it is " << result.getType();
  }
  return success();
}

/// `x - zero` as numbers of `type`.
static Value widen(OpBuilder &builder, Location loc, Value x, Value zero, Type type) {
  Value wide = buildCast(builder, loc, x, type);
  return zero ? buildBinary(builder, loc, BinaryKind::Sub, wide, buildCast(builder, loc, zero, type)) : wide;
}

/// Whether a zero point, null for 0, is known to be `value` everywhere.
static bool isKnownZero(Value zero, int64_t value) {
  if (!zero) {
    return value == 0;
  }
  DenseElementsAttr elements;
  return matchPattern(zero, m_Constant(&elements)) && elements.isSplat() &&
         elements.getSplatValue<APInt>() == uint64_t(value);
}

/// The type that is computed with: f32, whose products have kernels, as long as all sums of `depth` products
/// are exact in it. Differences of bytes lie between -255 and 255.
static Type getExactType(OpBuilder &builder, int64_t depth) {
  constexpr int64_t kExact = (1 << 24) / (255 * 255);
  bool isExact = depth >= 0 && depth <= kExact;
  return isExact ? Type(builder.getF32Type()) : Type(builder.getI32Type());
}

//===----------------------------------------------------------------------===//
// IntegerMatMulOp
//===----------------------------------------------------------------------===//

Value lathe::nn::buildIntegerMatMul(OpBuilder &builder, Location loc, Value lhs, Value rhs, Value lhsZero,
                                    Value rhsZero) {
  return createInferred<IntegerMatMulOp>(builder, loc, builder.getI32Type(), lhs, rhs, lhsZero, rhsZero);
}

LogicalResult IntegerMatMulOp::verify() {
  Value lhs = getLhs(), rhs = getRhs();
  if (failed(verifyIntegers(*this, "lhs", lhs, "rhs", rhs, getLhsZero(), getRhsZero(), getResult()))) {
    return failure();
  }
  for (Value operand : {lhs, rhs}) {
    if (getRank(operand) < 2) {
      return emitOpError() << "expects operands of rank 2 or more, but there is " << operand.getType();
    }
  }
  if (failed(verifySameSize(*this, "the last size of lhs", getShape(lhs).back(), "the second to last of rhs",
                            getShape(rhs).drop_back().back()))) {
    return failure();
  }
  SmallVector<int64_t> rows(getShape(lhs)), columns(getShape(rhs));
  rows.back() = columns[columns.size() - 2] = 1;
  if ((getLhsZero() && failed(verifyBroadcastTo(*this, "lhs_zero", getLhsZero(), "the rows of lhs", rows))) ||
      (getRhsZero() &&
       failed(verifyBroadcastTo(*this, "rhs_zero", getRhsZero(), "the columns of rhs", columns)))) {
    return failure();
  }
  return verifyResultShapes(*this);
}

InferredDims IntegerMatMulOp::inferDims(OpBuilder &builder, ArrayRef<Dims> operandDims) {
  return inferMatMulDims(builder, getLoc(), operandDims);
}

LoweredResults IntegerMatMulOp::decompose(RewriterBase &rewriter) {
  int64_t depth = getShape(getRhs()).drop_back().back();
  Type type = getExactType(rewriter, depth);
  Value lhs = widen(rewriter, getLoc(), getLhs(), getLhsZero(), type);
  Value rhs = widen(rewriter, getLoc(), getRhs(), getRhsZero(), type);
  Value product = buildMatMul(rewriter, getLoc(), lhs, rhs);
  return SmallVector<Value>{buildCast(rewriter, getLoc(), product, rewriter.getI32Type())};
}

//===----------------------------------------------------------------------===//
// IntegerConvOp
//===----------------------------------------------------------------------===//

Value lathe::nn::buildIntegerConv(OpBuilder &builder, Location loc, Value x, Value filter, Value zero,
                                  Value filterZero, ArrayRef<int64_t> strides, ArrayRef<int64_t> pads,
                                  ArrayRef<int64_t> dilations, int64_t groups) {
  return createInferred<IntegerConvOp>(builder, loc, builder.getI32Type(), x, filter, zero, filterZero,
                                       strides, pads, dilations, groups);
}

LogicalResult IntegerConvOp::verify() {
  Value x = getX(), filter = getFilter();
  if (failed(verifyIntegers(*this, "x", x, "filter", filter, getZero(), getFilterZero(), getResult())) ||
      (getZero() && failed(verifyRank(*this, "zero", getZero(), 0))) ||
      failed(verifyConvolution(*this, x, filter, getStrides(), getPads(), getDilations(), getGroups()))) {
    return failure();
  }
  return !getFilterZero() ? success()
                          : verifyBroadcastTo(*this, "filter_zero", getFilterZero(), "the feature maps",
                                              {getShape(filter).back()});
}

InferredDims IntegerConvOp::inferDims(OpBuilder &builder, ArrayRef<Dims> operandDims) {
  return inferConvDims(builder, getLoc(), operandDims, getStrides(), getPads(), getDilations());
}

LoweredResults IntegerConvOp::decompose(RewriterBase &rewriter) {
  std::optional<int64_t> depth = countElements(getShape(getFilter()).drop_back());
  Type type = getExactType(rewriter, depth.value_or(-1));
  if (!type.isF32() && !isFilterCentered() && depth && getGroups() == 1) {
    return decomposeZero(rewriter);
  }
  Value x = widen(rewriter, getLoc(), getX(), getZero(), type);
  Value filter = widen(rewriter, getLoc(), getFilter(), getFilterZero(), type);
  Value sums = buildConv(rewriter, getLoc(), x, filter, getStrides(), getPads(), getDilations(), getGroups());
  return SmallVector<Value>{buildCast(rewriter, getLoc(), sums, rewriter.getI32Type())};
}

/// The convolution with centered filters, for which there is a kernel, less the products of what was taken
/// off the filters with the sums of the windows.
FailureOr<SmallVector<Value>> IntegerConvOp::decomposeZero(RewriterBase &rewriter) {
  Location loc = getLoc();
  Type element = getElementType(getFilter()), i32 = rewriter.getI32Type();
  int64_t off = element.isUnsignedInteger() ? 128 : 0;
  Value center = off ? buildScalar(rewriter, loc, element, off) : Value();
  Value sums = buildIntegerConv(rewriter, loc, getX(), getFilter(), getZero(), center, getStrides(),
                                getPads(), getDilations(), getGroups());
  Value channels = buildReduce(rewriter, loc, ReduceKind::Sum, widen(rewriter, loc, getX(), getZero(), i32),
                               getRank(getX()) - 1, /*keepDims=*/true);
  SmallVector<int64_t> window(getShape(getFilter()).drop_back(2));
  window.append({1, 1});
  auto type = RankedTensorType::get(window, i32);
  Value ones = arith::ConstantOp::create(rewriter, loc, DenseElementsAttr::get(type, APInt(32, 1)));
  Value windows =
      buildConv(rewriter, loc, channels, ones, getStrides(), getPads(), getDilations(), /*groups=*/1);
  Value zero = buildScalar(rewriter, loc, i32, -off);
  if (getFilterZero()) {
    zero = buildBinary(rewriter, loc, BinaryKind::Add, zero, buildCast(rewriter, loc, getFilterZero(), i32));
  }
  Value part = buildBinary(rewriter, loc, BinaryKind::Mul, windows, zero);
  return SmallVector<Value>{buildBinary(rewriter, loc, BinaryKind::Sub, sums, part)};
}

bool IntegerConvOp::isProduct() {
  auto isOne = [](int64_t value) { return value == 1; };
  auto isZero = [](int64_t value) { return value == 0; };
  return getGroups() == 1 && llvm::all_of(getShape(getFilter()).drop_back(2), isOne) &&
         llvm::all_of(getStrides(), isOne) && llvm::all_of(getPads(), isZero);
}

bool IntegerConvOp::isFilterCentered() {
  return isKnownZero(getFilterZero(), getElementType(getFilter()).isUnsignedInteger() ? 128 : 0);
}

bool IntegerConvOp::isDepthwise() {
  ArrayRef<int64_t> filter = getShape(getFilter());
  return filter.drop_back().back() == 1 && uint64_t(filter.back()) == getGroups();
}
