// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Control flow of the host program.

#ifndef LATHE_DIALECT_NN_IR_NNCONTROL_H
#define LATHE_DIALECT_NN_IR_NNCONTROL_H

#include "lathe/Dialect/NN/IR/NN.h"

#define GET_OP_CLASSES
#include "lathe/Dialect/NN/IR/NNControlOps.h.inc"

namespace lathe::nn {

/// All blocks of a host program: the function's, and those of the bodies in it, outer ones first.
llvm::SmallVector<mlir::Block *> getHostBlocks(mlir::Block &entry);

} // namespace lathe::nn

#endif // LATHE_DIALECT_NN_IR_NNCONTROL_H
