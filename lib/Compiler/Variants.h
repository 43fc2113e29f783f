// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The code of all targets in one module.

#ifndef LATHE_LIB_COMPILER_VARIANTS_H
#define LATHE_LIB_COMPILER_VARIANTS_H

#include "lathe/Codegen/CPU/TargetSpec.h"
#include "lathe/Compiler/Table.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/OwningOpRef.h"

#include <vector>

namespace lathe {

/// Collects modules of the LLVM dialect, one for each target, best first.
class Variants {
public:
  /// Takes in what was lowered for `target`. Its functions get the target's attributes, and names that end
  /// with the variant's number.
  void add(mlir::OwningOpRef<mlir::ModuleOp> variant, cpu::TargetSpec target);

  /// One module of all; there has to be a variant.
  mlir::ModuleOp module() { return *all; }
  llvm::ArrayRef<VariantDescription> descriptions() const { return described; }

private:
  mlir::OwningOpRef<mlir::ModuleOp> all;
  std::vector<VariantDescription> described;
};

} // namespace lathe

#endif // LATHE_LIB_COMPILER_VARIANTS_H
