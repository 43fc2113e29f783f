// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What passes tell the owner of a model.

#ifndef LATHE_DIALECT_NN_TRANSFORMS_REMARKS_H
#define LATHE_DIALECT_NN_TRANSFORMS_REMARKS_H

#include "mlir/IR/Operation.h"

namespace lathe::nn {

/// Reports that a pattern was recognized but refused, and why.
void remarkMissed(mlir::Operation *op, llvm::StringRef pass, const llvm::Twine &reason);
/// Reports what was done.
void remarkPassed(mlir::Operation *op, llvm::StringRef pass, const llvm::Twine &what);

} // namespace lathe::nn

#endif // LATHE_DIALECT_NN_TRANSFORMS_REMARKS_H
