// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Activation functions by name, as operators on their own and at the end of others.

#ifndef LATHE_CONVERSION_ONNXTONN_ACTIVATIONS_H
#define LATHE_CONVERSION_ONNXTONN_ACTIVATIONS_H

#include "Legalizer.h"

namespace lathe::onnx {

/// The parameters of an activation; a function has its own defaults for those that are not given.
struct ActivationParameters {
  std::optional<double> alpha, beta, gamma;
};

/// The function `name` (as its operator is called) of `x`. `attribute` is where the name stands: an unknown
/// one is an error, and gives `x`.
mlir::Value activate(LegalizeContext &c, llvm::StringRef name, mlir::Value x,
                     const ActivationParameters &parameters, llvm::StringRef attribute = "activation");

} // namespace lathe::onnx

#endif // LATHE_CONVERSION_ONNXTONN_ACTIVATIONS_H
