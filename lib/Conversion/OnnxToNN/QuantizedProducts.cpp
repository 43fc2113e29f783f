// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Products of integers, and of the numbers that they stand for: MatMulInteger, ConvInteger, QLinearMatMul
/// and QLinearConv. All sums are exact in i32 as the operators define them.

#include "Products.h"
#include "Quantize.h"
#include "Windows.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::BinaryKind;

/// What a list of parameters belongs to: the rows of the left matrix, or the columns of the right one.
enum class Side { Rows, Columns };

/// Operand `i`, scales or zero points of a matrix, as it stands beside the matrices: one number for all, a
/// list with one for each row or column, or a tensor that has a dimension of 1 beside these. Null if the
/// operand is left out.
static Value besideMatrix(LegalizeContext &c, unsigned i, Value matrix, Side side) {
  if (!c.has(i)) {
    return {};
  }
  Value list = c.operand(i);
  Sizes dims = c.shapeOf(list);
  if (dims.size() == 1 && getConstantIntValue(dims[0]) == 1) {
    return c.reshape(list, {});
  }
  if (dims.size() == 1 && side == Side::Rows && nn::getRank(matrix) > 1) {
    return c.reshape(list, {dims[0], c.one()});
  }
  return list;
}

/// Parameters that stand beside a matrix as they stand beside the product, which has no rows if the left
/// operand is a vector, and no columns if the right one is.
static Value besideProduct(LegalizeContext &c, Value parameters, Side side, Value lhs, Value rhs) {
  Sizes dims = c.shapeOf(parameters);
  if (dims.size() < 2 || nn::getRank(side == Side::Rows ? rhs : lhs) > 1) {
    return parameters;
  }
  dims.erase(side == Side::Rows ? dims.end() - 1 : dims.end() - 2);
  return c.reshape(parameters, dims);
}

/// Operand `i`, a number for all feature maps or a list with one for each. Null if the operand is left out.
static Value besideMaps(LegalizeContext &c, unsigned i) {
  if (!c.has(i)) {
    return {};
  }
  Value list = c.operand(i);
  Sizes dims = c.shapeOf(list);
  if (dims.size() > 1) {
    (void)c.error(
        "E0307", llvm::formatv("operand {0} has {1} dimensions, must be a number or a list with one for each "
                               "feature map",
                               i, dims.size())
                     .str());
    return list;
  }
  if (dims.empty() || getConstantIntValue(dims[0]) == 1) {
    return c.reshape(list, {});
  }
  return list;
}

/// Whether a zero point has the type of its operand and broadcasts to `dims`; says so otherwise.
static bool checkZero(LegalizeContext &c, Value zero, Value operand, Sizes dims) {
  if (!zero) {
    return true;
  }
  Type type = nn::getElementType(zero), wanted = nn::getElementType(operand);
  if (type != wanted) {
    (void)c.error("E0306", llvm::formatv("a zero point of {0} stands beside {1}", type, wanted).str());
    return false;
  }
  Sizes own = c.shapeOf(zero);
  bool fits = own.size() <= dims.size();
  for (size_t i = 0; fits && i < own.size(); ++i) {
    Size size = own[own.size() - 1 - i];
    fits = getConstantIntValue(size) == 1 || !nn::areDifferentSizes(size, dims[dims.size() - 1 - i]);
  }
  if (!fits) {
    (void)c.error("E0307", llvm::formatv("a zero point of type {0} does not fit an operand of type {1}",
                                         zero.getType(), operand.getType())
                               .str());
  }
  return fits;
}

/// The zero points of a matrix product: operands `i` and `j`.
static FailureOr<ZeroPoints> getMatMulZeros(LegalizeContext &c, Value lhs, unsigned i, Value rhs,
                                            unsigned j) {
  ZeroPoints zeros{besideMatrix(c, i, lhs, Side::Rows), besideMatrix(c, j, rhs, Side::Columns)};
  Sizes rows = c.shapeOf(lhs), columns = c.shapeOf(rhs);
  if (!rows.empty()) {
    rows.back() = c.one();
  }
  if (!columns.empty()) {
    columns[columns.size() < 2 ? 0 : columns.size() - 2] = c.one();
  }
  if (!checkZero(c, zeros.lhs, lhs, rows) || !checkZero(c, zeros.rhs, rhs, columns) || c.hasFailed()) {
    return failure();
  }
  return zeros;
}

/// Operand `i` as one number; null if it is left out.
static Value oneNumber(LegalizeContext &c, unsigned i) {
  if (!c.has(i)) {
    return {};
  }
  Value number = c.operand(i);
  Sizes dims = c.shapeOf(number);
  if (llvm::any_of(dims, [&](Size size) { return nn::areDifferentSizes(size, c.one()); }) ||
      dims.size() > 1) {
    (void)c.error("E0307", llvm::formatv("operand {0} must be one number", i).str());
    return number;
  }
  return c.reshape(number, {});
}

static bool isByteFloat(Type type) {
  return isa<FloatType>(type) && type.getIntOrFloatBitWidth() == 8 && !isa<Float8E8M0FNUType>(type);
}

/// Whether operands `i` and `j` hold integers of 8 bits, or floats where these are allowed; says what they
/// hold otherwise.
static bool checkBytes(LegalizeContext &c, unsigned i, unsigned j, bool allowFloats = false) {
  for (unsigned operand : {i, j}) {
    Type type = c.elementType(operand);
    if (allowFloats && isByteFloat(type)) {
      continue;
    }
    if (!isa<IntegerType>(type) || type.getIntOrFloatBitWidth() != 8) {
      (void)c.error(
          "E0306", llvm::formatv("operand {0} holds {1}, must hold integers of 8 bits", operand, type).str());
      return false;
    }
  }
  return true;
}

/// `x - zero` in f32, of operands of which one at least holds floats of 8 bits.
static Value subtractAsFloat(LegalizeContext &c, Value x, Value zero) {
  Type f32 = c.b.getF32Type();
  Value wide = c.cast(x, f32);
  return zero ? c.binary(BinaryKind::Sub, wide, c.cast(zero, f32)) : wide;
}

/// Sums, which stand for multiples of the product of the scales, as numbers of `type`.
static Value requantize(LegalizeContext &c, Value sums, Value lhsScale, Value rhsScale,
                        const Quantization &result, Type type) {
  Type f32 = c.b.getF32Type();
  Value factor = c.binary(BinaryKind::Div, c.mul(c.cast(lhsScale, f32), c.cast(rhsScale, f32)),
                          c.cast(result.scale, f32));
  Value scaled = c.mul(c.cast(sums, f32), factor);
  if (isa<IntegerType>(type)) {
    return roundToInteger(c, scaled, result.zero, type);
  }
  return c.cast(result.zero ? c.add(scaled, c.cast(result.zero, f32)) : scaled, type);
}

static LogicalResult legalizeMatMulInteger(LegalizeContext &c) {
  if (!checkBytes(c, 0, 1)) {
    return failure();
  }
  Value lhs = c.operand(0), rhs = c.operand(1);
  FailureOr<ZeroPoints> zeros = getMatMulZeros(c, lhs, 2, rhs, 3);
  return failed(zeros) ? failure() : c.set(matmul(c, lhs, rhs, &*zeros));
}

static LogicalResult legalizeQLinearMatMul(LegalizeContext &c) {
  if (!checkBytes(c, 0, 3, /*allowFloats=*/true)) {
    return failure();
  }
  Value lhs = c.operand(0), rhs = c.operand(3);
  FailureOr<ZeroPoints> zeros = getMatMulZeros(c, lhs, 2, rhs, 5);
  if (failed(zeros)) {
    return failure();
  }
  bool isFloat = isByteFloat(c.elementType(0)) || isByteFloat(c.elementType(3));
  Value sums = isFloat ? matmul(c, subtractAsFloat(c, lhs, zeros->lhs), subtractAsFloat(c, rhs, zeros->rhs))
                       : matmul(c, lhs, rhs, &*zeros);
  if (c.hasFailed()) {
    return failure();
  }
  auto beside = [&](unsigned i, Side side) {
    return besideProduct(c, besideMatrix(c, i, side == Side::Rows ? lhs : rhs, side), side, lhs, rhs);
  };
  Quantization result{beside(6, Side::Rows), beside(7, Side::Rows)};
  return c.set(
      requantize(c, sums, beside(1, Side::Rows), beside(4, Side::Columns), result, c.elementType(7)));
}

/// The sums of a convolution of bytes whose zero points are operands `i` and `j`, channels last.
static Value convolveBytes(LegalizeContext &c, Value x, unsigned i, Value filter, unsigned j) {
  ZeroPoints zeros{oneNumber(c, i), besideMaps(c, j)};
  Sizes dims = c.shapeOf(filter);
  Sizes maps(dims.empty() ? 0 : 1);
  if (!dims.empty()) {
    maps.front() = dims.front();
  }
  if (c.hasFailed() || !checkZero(c, zeros.lhs, x, {}) || !checkZero(c, zeros.rhs, filter, maps)) {
    return {};
  }
  return convolve(c, x, filter, &zeros);
}

static LogicalResult legalizeConvInteger(LegalizeContext &c) {
  if (!checkBytes(c, 0, 1)) {
    return failure();
  }
  Value sums = convolveBytes(c, c.operand(0), 2, c.operand(1), 3);
  return sums ? c.set(toChannelsSecond(c, sums)) : failure();
}

static LogicalResult legalizeQLinearConv(LegalizeContext &c) {
  if (!checkBytes(c, 0, 3)) {
    return failure();
  }
  Value scale = oneNumber(c, 1), filterScale = besideMaps(c, 4);
  Quantization result{oneNumber(c, 6), oneNumber(c, 7)};
  Value sums = convolveBytes(c, c.operand(0), 2, c.operand(3), 5);
  if (!sums || c.hasFailed()) {
    return failure();
  }
  if (c.has(8)) {
    sums = c.add(sums, c.operand(8));
  }
  sums = requantize(c, sums, scale, filterScale, result, c.elementType(7));
  return c.set(toChannelsSecond(c, sums));
}

Value lathe::onnx::dequantizeSums(LegalizeContext &c, Value sums, Value lhsScale, Value rhsScale,
                                  unsigned bias) {
  Type f32 = c.b.getF32Type();
  Value real = c.mul(c.cast(sums, f32), c.mul(c.cast(lhsScale, f32), c.cast(rhsScale, f32)));
  return c.has(bias) ? c.add(real, c.cast(c.operand(bias), f32)) : real;
}

Value lathe::onnx::multiplyAsFloats(LegalizeContext &c, const IntegerProduct &product) {
  if (!checkBytes(c, product.lhs, product.rhs)) {
    return {};
  }
  Value lhs = c.operand(product.lhs), rhs = c.operand(product.rhs);
  FailureOr<ZeroPoints> zeros = getMatMulZeros(c, lhs, product.lhsZero, rhs, product.rhsZero);
  if (failed(zeros)) {
    return {};
  }
  auto beside = [&](unsigned i, Value matrix, Side side) {
    return besideProduct(c, besideMatrix(c, i, matrix, side), side, lhs, rhs);
  };
  Value lhsScale = beside(product.lhsScale, lhs, Side::Rows),
        rhsScale = beside(product.rhsScale, rhs, Side::Columns);
  Value sums = matmul(c, lhs, rhs, &*zeros);
  return c.hasFailed() ? Value() : dequantizeSums(c, sums, lhsScale, rhsScale, product.bias);
}

/// com.microsoft MatMulIntegerToFloat: MatMulInteger, as the numbers that the integers stand for.
static LogicalResult legalizeMatMulIntegerToFloat(LegalizeContext &c) {
  Value result = multiplyAsFloats(
      c, {.lhs = 0, .rhs = 1, .lhsScale = 2, .rhsScale = 3, .lhsZero = 4, .rhsZero = 5, .bias = 6});
  return result ? c.set(c.cast(result, c.elementType(2))) : failure();
}

/// com.microsoft DynamicQuantizeMatMul: a product of floats with stored weights; the floats are quantized
/// first.
static LogicalResult legalizeDynamicQuantizeMatMul(LegalizeContext &c) {
  if (!checkBytes(c, 1, 1)) {
    return failure();
  }
  DynamicQuantization lhs = quantizeDynamically(c, c.operand(0));
  Value rhs = c.operand(1);
  FailureOr<ZeroPoints> zeros = getMatMulZeros(c, lhs.stored, /*i=*/~0u, rhs, 3);
  if (failed(zeros)) {
    return failure();
  }
  zeros->lhs = lhs.quantization.zero;
  Value scale = besideProduct(c, besideMatrix(c, 2, rhs, Side::Columns), Side::Columns, lhs.stored, rhs);
  Value sums = matmul(c, lhs.stored, rhs, &*zeros);
  return c.hasFailed() ? failure() : c.set(dequantizeSums(c, sums, lhs.quantization.scale, scale, 4));
}

/// com.microsoft QGemm: with an output scale, integers of 8 bits come out, without floats.
static LogicalResult legalizeQGemm(LegalizeContext &c) {
  if (!checkBytes(c, 0, 3)) {
    return failure();
  }
  auto turned = [&](unsigned i, StringRef attribute) {
    Value x = c.operand(i);
    if (nn::getRank(x) != 2) {
      (void)c.error("E0307",
                    llvm::formatv("operand {0} has {1} dimensions, must have 2", i, nn::getRank(x)).str());
      return x;
    }
    return c.intAttr(attribute, 0) != 0 ? c.transpose(x, {1, 0}) : x;
  };
  Value lhs = turned(0, "transA"), rhs = turned(3, "transB");
  Value lhsScale = oneNumber(c, 1), resultScale = oneNumber(c, 7);
  if (c.hasFailed()) {
    return failure();
  }
  FailureOr<ZeroPoints> zeros = getMatMulZeros(c, lhs, 2, rhs, 5);
  if (failed(zeros)) {
    return failure();
  }
  Value sums = matmul(c, lhs, rhs, &*zeros);
  if (c.hasFailed()) {
    return failure();
  }
  if (c.has(6)) {
    sums = c.add(sums, c.operand(6));
  }
  Value rhsScale = besideMatrix(c, 4, rhs, Side::Columns);
  if (double alpha = c.floatAttr("alpha", 1); alpha != 1) {
    lhsScale = c.mul(lhsScale, c.scalar(alpha, lhsScale));
  }
  if (!resultScale) {
    return c.set(dequantizeSums(c, sums, lhsScale, rhsScale, /*bias=*/~0u));
  }
  Value resultZero = oneNumber(c, 8);
  Type type = resultZero ? nn::getElementType(resultZero) : c.elementType(0);
  return c.set(requantize(c, sums, lhsScale, rhsScale, {resultScale, resultZero}, type));
}

void lathe::onnx::registerQuantizedProducts(LegalizerRegistry &registry) {
  registry.add("MatMulIntegerToFloat", 4, 7, legalizeMatMulIntegerToFloat, kMicrosoft);
  registry.add("DynamicQuantizeMatMul", 3, 5, legalizeDynamicQuantizeMatMul, kMicrosoft);
  registry.add("QGemm", 6, 9, legalizeQGemm, kMicrosoft);
  registerQuantizedPointwise(registry);
  registerBlockQuantized(registry);
  registry.add("MatMulInteger", 2, 4, legalizeMatMulInteger);
  registry.add("ConvInteger", 2, 4, legalizeConvInteger);
  registry.add("QLinearMatMul", 8, 8, legalizeQLinearMatMul);
  registry.add("QLinearConv", 8, 9, legalizeQLinearConv);
}
