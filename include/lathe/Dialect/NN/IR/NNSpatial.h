// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The nn ops that look at neighbours in space: pools, borders, resampling. Channels are last.

#ifndef LATHE_DIALECT_NN_IR_NNSPATIAL_H
#define LATHE_DIALECT_NN_IR_NNSPATIAL_H

#include "lathe/Dialect/NN/IR/NN.h"

#include "lathe/Dialect/NN/IR/NNSpatialEnums.h.inc"

#define GET_OP_CLASSES
#include "lathe/Dialect/NN/IR/NNSpatialOps.h.inc"

#endif // LATHE_DIALECT_NN_IR_NNSPATIAL_H
