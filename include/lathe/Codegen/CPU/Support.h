// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What the emitters can do, whatever the target: asked when kernels are formed.

#ifndef LATHE_CODEGEN_CPU_SUPPORT_H
#define LATHE_CODEGEN_CPU_SUPPORT_H

#include "lathe/Dialect/NN/IR/ShapeTracker.h"

namespace lathe::cpu {

/// Whether `op` can be part of a pointwise kernel: pointwise ops, views, gathers, ranges.
bool canEmitPointwise(mlir::Operation *op);

/// Whether `op` can be a root of a rows kernel by itself: a softmax over the last dimension, a norm, a
/// reduction.
bool canEmitRows(mlir::Operation *op);

/// Whether `ops`, all in one block, can together be one rows kernel with results `outputs`: roots that reduce
/// the same dimensions of tensors of one shape, what is evaluated before them, and pointwise ops after them.
bool canEmitRows(llvm::ArrayRef<mlir::Operation *> ops, llvm::ArrayRef<mlir::Value> outputs,
                 nn::ShapeTracker &shapes);

} // namespace lathe::cpu

#endif // LATHE_CODEGEN_CPU_SUPPORT_H
