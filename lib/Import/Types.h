// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// ONNX's types in MLIR.

#ifndef LATHE_LIB_IMPORT_TYPES_H
#define LATHE_LIB_IMPORT_TYPES_H

#include "Place.h"
#include "lathe/Import/Import.h"
#include "mlir/IR/BuiltinTypes.h"

namespace lathe {

/// The element type of TensorProto.DataType `dataType`, or null if there is none of this number.
mlir::Type elementType(mlir::MLIRContext *context, int32_t dataType);

/// The bits of an element as the file stores it: 8 for bool.
unsigned storedBits(mlir::Type elementType);

/// Checks `dims` against the bounds on rank and sizes, and that their product has no overflow. Dynamic ones
/// are left out of the product.
llvm::Error checkDims(llvm::ArrayRef<int64_t> dims, const ImportOptions &options);

/// The type that a file declares: `!onnx.unknown` where it declares nothing.
llvm::Expected<mlir::Type> declaredType(mlir::MLIRContext *context, const pb::TypeProto &type,
                                        const ImportOptions &options);

/// The dimensions' names, "" where there is none; empty if there is none at all.
std::vector<std::string> dimensionNames(const pb::TypeProto &type);

} // namespace lathe

#endif // LATHE_LIB_IMPORT_TYPES_H
