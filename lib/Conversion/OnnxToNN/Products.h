// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The products that operators on floats and on quantized numbers share.

#ifndef LATHE_CONVERSION_ONNXTONN_PRODUCTS_H
#define LATHE_CONVERSION_ONNXTONN_PRODUCTS_H

#include "Windows.h"

namespace lathe::onnx {

/// The zero points of two operands of 8-bit integers, null for 0.
struct ZeroPoints {
  mlir::Value lhs, rhs;
};

/// numpy.matmul: a vector is a row on the left and a column on the right, and that dimension goes again. With
/// `zeros`, a product of bytes. Reports operands that do not fit.
mlir::Value matmul(LegalizeContext &c, mlir::Value lhs, mlir::Value rhs, const ZeroPoints *zeros = nullptr);

/// The convolution of `x` [N, C, spatial...] with `filter` [M, C / groups, window...] under the attributes of
/// Conv, as [N, spatial..., M]; with `zeros`, of bytes. Null after an error.
mlir::Value convolve(LegalizeContext &c, mlir::Value x, mlir::Value filter,
                     const ZeroPoints *zeros = nullptr);

/// Exact sums of a product of matrices as f32, times the scales of both, plus the bias, operand `bias`, which
/// may be beyond the operands.
mlir::Value dequantizeSums(LegalizeContext &c, mlir::Value sums, mlir::Value lhsScale, mlir::Value rhsScale,
                           unsigned bias);

/// Where the operands of a product of integers are that stand for floats.
struct IntegerProduct {
  unsigned lhs, rhs, lhsScale, rhsScale, lhsZero, rhsZero, bias;
};

/// The floats that it stands for, plus the bias, in f32: what is left out may be beyond the operands. Null
/// after an error.
mlir::Value multiplyAsFloats(LegalizeContext &c, const IntegerProduct &product);

/// The window of operand `filter`, [M, C / groups, window...]: that of kernel_shape, if it is there, to which
/// the filter is then reshaped. Reports one that is not.
Sizes takeWindow(LegalizeContext &c, mlir::Value &filter);

/// The product of windows [..., K, C], of K elements each, with `filter` [M, C / groups, window...]: [...,
/// M].
mlir::Value multiplyWindows(LegalizeContext &c, mlir::Value windows, mlir::Value filter, int64_t groups);

/// The convolution of `x` [N, spatial..., C], which has its pads already, where only the run knows the
/// window: all windows side by side, and a product.
mlir::Value convolveOpenWindows(LegalizeContext &c, mlir::Value x, mlir::Value filter, const Windows &w,
                                int64_t groups);

void registerEinsum(LegalizerRegistry &registry);
void registerQuantizedProducts(LegalizerRegistry &registry);
void registerQuantizedPointwise(LegalizerRegistry &registry);
void registerBlockQuantized(LegalizerRegistry &registry);

} // namespace lathe::onnx

#endif // LATHE_CONVERSION_ONNXTONN_PRODUCTS_H
