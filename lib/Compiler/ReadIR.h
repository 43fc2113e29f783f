// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Modules from textual .mlir files.

#ifndef LATHE_LIB_COMPILER_READIR_H
#define LATHE_LIB_COMPILER_READIR_H

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"
#include "llvm/Support/Error.h"

namespace lathe {

/// Parses and verifies the file at `path`; "-" is standard input.
llvm::Expected<mlir::OwningOpRef<mlir::ModuleOp>> readIR(mlir::MLIRContext &context, llvm::StringRef path);

/// Fails if a value of `module`, which is of the nn dialect or past it, has a type that no kernel computes
/// with.
llvm::Error checkTypes(mlir::ModuleOp module);

/// Text names large weights but does not hold their bytes. Gives those of `module` the data that the weights
/// of the same names have in `model`, which must be of the same context; fails where one has none or another
/// type.
llvm::Error takeWeights(mlir::ModuleOp module, mlir::ModuleOp model);

/// Fails if a weight of `module` has no data.
llvm::Error checkWeights(mlir::ModuleOp module);

} // namespace lathe

#endif // LATHE_LIB_COMPILER_READIR_H
