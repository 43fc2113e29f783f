// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Numbers between their real values and the integers that stand for them: `real = (stored - zero) * scale`.

#ifndef LATHE_CONVERSION_ONNXTONN_QUANTIZE_H
#define LATHE_CONVERSION_ONNXTONN_QUANTIZE_H

#include "Legalizer.h"

namespace lathe::onnx {

/// How a tensor is quantized: both stand beside it by broadcasting. `zero` is null for 0.
struct Quantization {
  mlir::Value scale, zero;
};

/// Operands `scale` and `zero` (which may be absent) as they stand beside `x`: one for all, one for each
/// position of dimension `axis`, or one for each block of `blockSize` along it. Reports what does not fit.
Quantization getQuantization(LegalizeContext &c, mlir::Value x, unsigned scale, unsigned zero, int64_t axis,
                             int64_t blockSize = 0);

/// `x` with each element of dimension `axis` repeated `blockSize` times, cut off at the size `wanted`.
mlir::Value repeatBlocks(LegalizeContext &c, mlir::Value x, int64_t axis, int64_t blockSize, Size wanted);

/// `(x - zero)` as i32.
mlir::Value subtractZero(LegalizeContext &c, mlir::Value x, mlir::Value zero);

/// `(x - zero) * scale` in `type`, computed in f32 at least.
mlir::Value dequantize(LegalizeContext &c, mlir::Value x, const Quantization &quantization, mlir::Type type);

/// `x / scale` rounded to the nearest integer, halves to even ones, plus `zero`, as the nearest number of
/// `type`. The division is done in the type of `x`. `saturate` is for floats of 8 bits, as `nn.cast` has it.
mlir::Value quantize(LegalizeContext &c, mlir::Value x, const Quantization &quantization, mlir::Type type,
                     bool saturate = true);

/// `x` rounded to the nearest integer, halves to even ones, plus `zero` (null for 0), as the nearest number
/// of the integer type `type`.
mlir::Value roundToInteger(LegalizeContext &c, mlir::Value x, mlir::Value zero, mlir::Type type);

/// `x` as ui8 over its own range, which is made to include 0 (DynamicQuantizeLinear).
struct DynamicQuantization {
  mlir::Value stored;
  Quantization quantization;
};
DynamicQuantization quantizeDynamically(LegalizeContext &c, mlir::Value x);

} // namespace lathe::onnx

#endif // LATHE_CONVERSION_ONNXTONN_QUANTIZE_H
