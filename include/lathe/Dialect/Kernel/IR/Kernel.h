// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The kernel dialect: groups of nn ops that become one kernel, and their launches.

#ifndef LATHE_DIALECT_KERNEL_IR_KERNEL_H
#define LATHE_DIALECT_KERNEL_IR_KERNEL_H

#include "lathe/Dialect/NN/IR/NN.h"

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include "lathe/Dialect/Kernel/IR/KernelDialect.h.inc"
#include "lathe/Dialect/Kernel/IR/KernelEnums.h.inc"

#define GET_OP_CLASSES
#include "lathe/Dialect/Kernel/IR/KernelOps.h.inc"

#endif // LATHE_DIALECT_KERNEL_IR_KERNEL_H
