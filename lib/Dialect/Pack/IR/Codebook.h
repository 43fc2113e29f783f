// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// How the table of a codebook is written.

#ifndef LATHE_LIB_DIALECT_PACK_IR_CODEBOOK_H
#define LATHE_LIB_DIALECT_PACK_IR_CODEBOOK_H

#include "mlir/IR/BuiltinAttributes.h"
#include "mlir/IR/DialectImplementation.h"

namespace lathe::pack {

/// `nf4`, or `[-1.0, 0.0, 1.0]`.
llvm::ParseResult parseTable(mlir::AsmParser &parser, mlir::DenseF32ArrayAttr &values);
void printTable(mlir::AsmPrinter &printer, mlir::DenseF32ArrayAttr values);

} // namespace lathe::pack

#endif // LATHE_LIB_DIALECT_PACK_IR_CODEBOOK_H
