// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The results of a model: tensors, and what the artifact says about those that stand for something else.

#ifndef LATHE_CONVERSION_ONNXTONN_RESULTS_H
#define LATHE_CONVERSION_ONNXTONN_RESULTS_H

#include "Legalizer.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace lathe::onnx {

/// Makes `main` return tensors, built at the context's insertion point, and records what they are, which
/// texts are numbered, and which arguments are strings. `find` gives what is known of a value, or null.
llvm::LogicalResult convertResults(LegalizeContext &c, mlir::func::FuncOp main,
                                   llvm::function_ref<LegalValue *(mlir::Value)> find);

} // namespace lathe::onnx

#endif // LATHE_CONVERSION_ONNXTONN_RESULTS_H
