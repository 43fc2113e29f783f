// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The option `target` of passes.

#ifndef LATHE_CODEGEN_CPU_PASSTARGET_H
#define LATHE_CODEGEN_CPU_PASSTARGET_H

#include "lathe/Codegen/CPU/TargetSpec.h"

#include "mlir/IR/Operation.h"

namespace lathe::cpu {

/// The target called `name`; if there is none, an error at the op that the pass is run on.
inline llvm::FailureOr<TargetSpec> resolvePassTarget(mlir::Operation *op, llvm::StringRef name) {
  llvm::Expected<TargetSpec> spec = resolveTarget(name);
  if (!spec) {
    return op->emitError() << llvm::toString(spec.takeError());
  }
  return std::move(*spec);
}

} // namespace lathe::cpu

#endif // LATHE_CODEGEN_CPU_PASSTARGET_H
