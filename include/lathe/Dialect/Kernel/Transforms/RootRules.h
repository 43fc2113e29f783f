// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What may become the root of a kernel, and what may be fused with it, on every target.

#ifndef LATHE_DIALECT_KERNEL_TRANSFORMS_ROOTRULES_H
#define LATHE_DIALECT_KERNEL_TRANSFORMS_ROOTRULES_H

#include "lathe/Dialect/Kernel/IR/Kernel.h"

#include <optional>
#include <string>

namespace lathe::kernel {

/// The kind of kernel that `op` is the root of, or nothing, with the reason in `whyNot` where a user would
/// want to know it. Pointwise ops, views and gathers are no roots but `Pointwise` fits them (see isFusible).
/// Kernels of CUDA devices (`onDevice`) multiply more types than those of processors.
std::optional<RootKind> getRootKind(mlir::Operation *op, std::string &whyNot, bool onDevice = false);

/// Ops that compute element by element at a position: pointwise ops, gathers along the first dimension,
/// ranges.
bool isFusible(mlir::Operation *op);

/// Ops that a pointwise kernel computes, too, but that are not fused into the kernels that read them:
/// concatenations, gathers along other dimensions, slices with negative strides.
bool movesElements(mlir::Operation *op);

/// Ops that only rename or repeat elements (reshape, transpose, slice with positive strides, expand): fused
/// by changing an index, and copied to every kernel that reads through them. So are packed tensors that only
/// products read.
bool isView(mlir::Operation *op);

/// Whether `op` is a reshape of something that is no view, or no view itself, or null: the host program gives
/// the same bytes another shape.
bool onlyRenames(mlir::Operation *op);

/// Whether what `view`, a view of a view and so on, has side by side in its last dimension is side by side,
/// or one element that is repeated, in what it is a view of.
bool keepsLastDimension(mlir::Operation *view);

/// Constants that are repeated where they are used: splats and scalars.
bool isInlineConstant(mlir::Operation *op);

/// Replaces composite ops in `blocks` that no kernel computes as a whole by simpler ones; all, without
/// `fuse`.
void decomposeComposites(mlir::MLIRContext *context, llvm::ArrayRef<mlir::Block *> blocks, bool fuse,
                         bool onDevice);

} // namespace lathe::kernel

#endif // LATHE_DIALECT_KERNEL_TRANSFORMS_ROOTRULES_H
