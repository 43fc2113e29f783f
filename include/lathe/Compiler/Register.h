// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Registration of everything, for the tools.

#ifndef LATHE_COMPILER_REGISTER_H
#define LATHE_COMPILER_REGISTER_H

#include "mlir/IR/DialectRegistry.h"

namespace lathe {

/// Adds every dialect that occurs between a model and LLVM, with the external interfaces that our passes
/// need.
void registerDialects(mlir::DialectRegistry &registry);

/// Registers our passes with MLIR's global pass registry; registerPipelines() of Pipeline.h adds the
/// pipelines.
void registerPasses();

} // namespace lathe

#endif // LATHE_COMPILER_REGISTER_H
