// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What became of one node.

#ifndef LATHE_LIB_COMPILER_EXPLAIN_H
#define LATHE_LIB_COMPILER_EXPLAIN_H

#include "lathe/Compiler/Report.h"

#include "mlir/IR/BuiltinOps.h"

namespace lathe {

/// Drops from the report all that does not concern `node`, and adds the kernels of `module` that compute it.
void keepOnly(llvm::StringRef node, mlir::ModuleOp module, Report &report);

} // namespace lathe

#endif // LATHE_LIB_COMPILER_EXPLAIN_H
