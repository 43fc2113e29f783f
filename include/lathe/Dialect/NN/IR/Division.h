// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Divisions of integers, which have no result where the divisor is 0.

#ifndef LATHE_DIALECT_NN_IR_DIVISION_H
#define LATHE_DIALECT_NN_IR_DIVISION_H

#include "mlir/IR/Operation.h"
#include "mlir/IR/Value.h"

namespace lathe::nn {

/// LATHE_FAULT_DIVISION of the runtime's abi.h.
inline constexpr int32_t kFaultDivision = 2;

/// The operand by which `op` divides integers if it may hold a 0, else null: code for `op` has to note a
/// fault where it does.
mlir::Value getUncertainDivisor(mlir::Operation *op);

} // namespace lathe::nn

#endif // LATHE_DIALECT_NN_IR_DIVISION_H
