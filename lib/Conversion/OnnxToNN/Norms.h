// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#ifndef LATHE_CONVERSION_ONNXTONN_NORMS_H
#define LATHE_CONVERSION_ONNXTONN_NORMS_H

#include "Legalizer.h"

namespace lathe::onnx {

/// `x` with mean 0 and variance 1 over `axes`.
mlir::Value normalize(LegalizeContext &c, mlir::Value x, llvm::ArrayRef<int64_t> axes, double epsilon);

} // namespace lathe::onnx

#endif // LATHE_CONVERSION_ONNXTONN_NORMS_H
