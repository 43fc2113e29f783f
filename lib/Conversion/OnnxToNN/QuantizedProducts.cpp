// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Products of integers, and of the numbers that they stand for: MatMulInteger, ConvInteger, QLinearMatMul
/// and QLinearConv. Zero points are taken off first, so that all sums are exact in i32 as the operators
/// define them, and padding with 0 is padding with the zero point.

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

/// Operand `i`, a number for all feature maps or a list with one for each, as it stands beside a filter or,
/// with `rank` 1, beside channels that are last. Null if the operand is left out.
static Value besideMaps(LegalizeContext &c, unsigned i, int64_t rank) {
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
  Sizes beside(rank, c.one());
  beside[0] = dims[0];
  return c.reshape(list, beside);
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

/// Whether operands `i` and `j` hold integers of 8 bits; says what they hold otherwise.
static bool checkBytes(LegalizeContext &c, unsigned i, unsigned j) {
  for (unsigned operand : {i, j}) {
    Type type = c.elementType(operand);
    if (isa<FloatType>(type) && type.getIntOrFloatBitWidth() == 8) {
      (void)c.unsupported(
          llvm::formatv("operand {0} holds {1}, only integers are supported", operand, type).str());
      return false;
    }
    if (!isa<IntegerType>(type) || type.getIntOrFloatBitWidth() != 8) {
      (void)c.error(
          "E0306", llvm::formatv("operand {0} holds {1}, must hold integers of 8 bits", operand, type).str());
      return false;
    }
  }
  return true;
}

/// Exact sums of i32, which stand for multiples of the product of the scales, as numbers of `type`.
static Value requantize(LegalizeContext &c, Value sums, Value lhsScale, Value rhsScale,
                        const Quantization &result, Type type) {
  Type f32 = c.b.getF32Type();
  Value factor = c.binary(BinaryKind::Div, c.mul(c.cast(lhsScale, f32), c.cast(rhsScale, f32)),
                          c.cast(result.scale, f32));
  return roundToInteger(c, c.mul(c.cast(sums, f32), factor), result.zero, type);
}

static LogicalResult legalizeMatMulInteger(LegalizeContext &c) {
  if (!checkBytes(c, 0, 1)) {
    return failure();
  }
  Value lhs = c.operand(0), rhs = c.operand(1);
  Value lhsZero = besideMatrix(c, 2, lhs, Side::Rows), rhsZero = besideMatrix(c, 3, rhs, Side::Columns);
  return c.set(matmul(c, subtractZero(c, lhs, lhsZero), subtractZero(c, rhs, rhsZero)));
}

static LogicalResult legalizeQLinearMatMul(LegalizeContext &c) {
  if (!checkBytes(c, 0, 3)) {
    return failure();
  }
  Value lhs = c.operand(0), rhs = c.operand(3);
  Value lhsZero = besideMatrix(c, 2, lhs, Side::Rows), rhsZero = besideMatrix(c, 5, rhs, Side::Columns);
  Value sums = matmul(c, subtractZero(c, lhs, lhsZero), subtractZero(c, rhs, rhsZero));
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

static LogicalResult legalizeConvInteger(LegalizeContext &c) {
  if (!checkBytes(c, 0, 1)) {
    return failure();
  }
  Value x = c.operand(0), filter = c.operand(1);
  Value zero = oneNumber(c, 2), filterZero = besideMaps(c, 3, nn::getRank(filter));
  if (c.hasFailed()) {
    return failure();
  }
  Value sums = convolve(c, subtractZero(c, x, zero), subtractZero(c, filter, filterZero));
  return sums ? c.set(toChannelsSecond(c, sums)) : failure();
}

static LogicalResult legalizeQLinearConv(LegalizeContext &c) {
  if (!checkBytes(c, 0, 3)) {
    return failure();
  }
  Value x = c.operand(0), filter = c.operand(3);
  Value zero = oneNumber(c, 2), filterZero = besideMaps(c, 5, nn::getRank(filter));
  Value scale = oneNumber(c, 1), filterScale = besideMaps(c, 4, 1);
  Quantization result{oneNumber(c, 6), oneNumber(c, 7)};
  if (c.hasFailed()) {
    return failure();
  }
  Value sums = convolve(c, subtractZero(c, x, zero), subtractZero(c, filter, filterZero));
  if (!sums) {
    return failure();
  }
  if (c.has(8)) {
    sums = c.add(sums, c.operand(8));
  }
  sums = requantize(c, sums, scale, filterScale, result, c.elementType(7));
  return c.set(toChannelsSecond(c, sums));
}

void lathe::onnx::registerQuantizedProducts(LegalizerRegistry &registry) {
  registry.add("MatMulInteger", 2, 4, legalizeMatMulInteger);
  registry.add("ConvInteger", 2, 4, legalizeConvInteger);
  registry.add("QLinearMatMul", 8, 8, legalizeQLinearMatMul);
  registry.add("QLinearConv", 8, 9, legalizeQLinearConv);
}
