// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The nn ops that are an algorithm of their own.

#ifndef LATHE_DIALECT_NN_IR_NNNUMERIC_H
#define LATHE_DIALECT_NN_IR_NNNUMERIC_H

#include "lathe/Dialect/NN/IR/NN.h"

#define GET_OP_CLASSES
#include "lathe/Dialect/NN/IR/NNNumericOps.h.inc"

#endif // LATHE_DIALECT_NN_IR_NNNUMERIC_H
