// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Passes on the pack dialect.

#ifndef LATHE_DIALECT_PACK_TRANSFORMS_PASSES_H
#define LATHE_DIALECT_PACK_TRANSFORMS_PASSES_H

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/Pass.h"

namespace lathe::pack {
#define GEN_PASS_DECL
#include "lathe/Dialect/Pack/Transforms/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "lathe/Dialect/Pack/Transforms/Passes.h.inc"
} // namespace lathe::pack

#endif // LATHE_DIALECT_PACK_TRANSFORMS_PASSES_H
