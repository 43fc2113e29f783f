// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The interface of ops of other dialects that compute weights.

#ifndef LATHE_DIALECT_NN_EVALUATE_EVALUABLEOP_H
#define LATHE_DIALECT_NN_EVALUATE_EVALUABLEOP_H

#include "lathe/Dialect/NN/Evaluate/ConstantTensor.h"

#include "mlir/IR/OpDefinition.h"
#include "llvm/Support/Error.h"

#include "lathe/Dialect/NN/Evaluate/EvaluableOp.h.inc"

#endif // LATHE_DIALECT_NN_EVALUATE_EVALUABLEOP_H
