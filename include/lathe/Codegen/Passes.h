// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Passes from kernels and launches to the LLVM dialect.

#ifndef LATHE_CODEGEN_PASSES_H
#define LATHE_CODEGEN_PASSES_H

#include "mlir/Pass/Pass.h"

namespace lathe::codegen {
#define GEN_PASS_DECL
#include "lathe/Codegen/Passes.h.inc"

#define GEN_PASS_REGISTRATION
#include "lathe/Codegen/Passes.h.inc"
} // namespace lathe::codegen

#endif // LATHE_CODEGEN_PASSES_H
