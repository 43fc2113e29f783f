// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Small constants as numbers, whether they stand in the IR or in a weight.

#ifndef LATHE_CONVERSION_ONNXTONN_NUMBERS_H
#define LATHE_CONVERSION_ONNXTONN_NUMBERS_H

#include "Legalizer.h"

namespace lathe::onnx {

/// The elements of a constant or a weight of f32 or f64, in row-major order; nothing if there are too many to
/// be worth it, or if they are not known.
std::optional<llvm::SmallVector<double>> readNumbers(mlir::Value tensor);

/// A constant of rank 1.
mlir::Value buildNumbers(LegalizeContext &c, llvm::ArrayRef<double> numbers, mlir::Type elementType);

} // namespace lathe::onnx

#endif // LATHE_CONVERSION_ONNXTONN_NUMBERS_H
