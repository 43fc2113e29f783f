// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The nn ops that read a tensor at positions which other tensors hold. Channels are last.

#ifndef LATHE_DIALECT_NN_IR_NNSAMPLING_H
#define LATHE_DIALECT_NN_IR_NNSAMPLING_H

#include "lathe/Dialect/NN/IR/NNSpatial.h"

#define GET_OP_CLASSES
#include "lathe/Dialect/NN/IR/NNSamplingOps.h.inc"

#endif // LATHE_DIALECT_NN_IR_NNSAMPLING_H
