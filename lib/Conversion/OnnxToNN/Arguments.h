// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The arguments of `@main`: their symbols, and the dimensions that the user fixes or bounds.

#ifndef LATHE_CONVERSION_ONNXTONN_ARGUMENTS_H
#define LATHE_CONVERSION_ONNXTONN_ARGUMENTS_H

#include "mlir/Dialect/Func/IR/FuncOps.h"

namespace lathe::onnx {

/// Argument attribute for a while: the tensor was one of strings, and holds positions in a list (i64).
inline constexpr llvm::StringLiteral kStringsAttr = "lathe.strings";

/// Puts tensors in the place of arguments of `main` that are sequences or optionals: x[0], x[1], ... for a
/// sequence x, x itself for an optional that holds something, and none for one that does not. An option x=3
/// says how many elements there are, x=none that there is nothing; x[0]=2x3 gives an element of unknown rank
/// its shape. `rest` gets the options that are about tensors.
llvm::LogicalResult expandArguments(mlir::func::FuncOp main, llvm::ArrayRef<std::string> shapes,
                                    llvm::SmallVectorImpl<std::string> &rest);

/// Gives the arguments of `main` the attributes of the nn dialect and makes an `nn.dim_symbol` for each
/// symbol. `shapes` are options such as `x=1x128`, `S=128` and `S=1..512`.
llvm::LogicalResult convertArguments(mlir::func::FuncOp main, llvm::ArrayRef<std::string> shapes);

} // namespace lathe::onnx

#endif // LATHE_CONVERSION_ONNXTONN_ARGUMENTS_H
