// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Inputs that are lists of sizes whose length the model leaves open. It decides how many dimensions tensors
/// have, which no run can: where a model is not supported for every length, the one is looked for for which
/// it is.

#ifndef LATHE_CONVERSION_ONNXTONN_OPENLISTS_H
#define LATHE_CONVERSION_ONNXTONN_OPENLISTS_H

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace lathe::onnx {

/// Converts `@main` of a module with options about shapes.
using ConvertFn = llvm::function_ref<llvm::LogicalResult(mlir::func::FuncOp, llvm::ArrayRef<std::string>)>;

/// Converts `main` by `convert`. If the model uses something that is not supported, and can be converted for
/// one length alone of one input that is a list of open length, to results of the ranks that it declares, the
/// input gets that length, and a remark says so. Otherwise the errors are those of the model as it is.
llvm::LogicalResult convertWithOpenLists(mlir::func::FuncOp main, llvm::ArrayRef<std::string> options,
                                         ConvertFn convert);

} // namespace lathe::onnx

#endif // LATHE_CONVERSION_ONNXTONN_OPENLISTS_H
