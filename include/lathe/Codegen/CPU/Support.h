// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What the emitters can do, whatever the target: asked when kernels are formed.

#ifndef LATHE_CODEGEN_CPU_SUPPORT_H
#define LATHE_CODEGEN_CPU_SUPPORT_H

#include "mlir/IR/Operation.h"

namespace lathe::cpu {

/// Whether `op` can be part of a pointwise kernel: pointwise ops, views, gathers, ranges.
bool canEmitPointwise(mlir::Operation *op);

} // namespace lathe::cpu

#endif // LATHE_CODEGEN_CPU_SUPPORT_H
