// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Passes on the kernel dialect.

#ifndef LATHE_DIALECT_Kernel_TRANSFORMS_PASSES_H
#define LATHE_DIALECT_Kernel_TRANSFORMS_PASSES_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/Pass.h"

namespace lathe::kernel {
#define GEN_PASS_DECL
#include "lathe/Dialect/Kernel/Transforms/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "lathe/Dialect/Kernel/Transforms/Passes.h.inc"
} // namespace lathe::kernel

#endif // LATHE_DIALECT_Kernel_TRANSFORMS_PASSES_H
