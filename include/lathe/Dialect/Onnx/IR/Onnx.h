// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The onnx dialect: an ONNX file as IR, before anything is known about its operators.

#ifndef LATHE_DIALECT_ONNX_IR_ONNX_H
#define LATHE_DIALECT_ONNX_IR_ONNX_H

#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

#include <optional>

#include "lathe/Dialect/Onnx/IR/OnnxDialect.h.inc"

#define GET_TYPEDEF_CLASSES
#include "lathe/Dialect/Onnx/IR/OnnxTypes.h.inc"

#define GET_OP_CLASSES
#include "lathe/Dialect/Onnx/IR/OnnxOps.h.inc"

namespace lathe::onnx {

/// The element type with number `dataType` of TensorProto.DataType; null if there is none.
mlir::Type getElementType(mlir::MLIRContext *context, int64_t dataType);

/// The number of an element type, or 0.
int64_t getDataType(mlir::Type elementType);

} // namespace lathe::onnx

#endif // LATHE_DIALECT_ONNX_IR_ONNX_H
