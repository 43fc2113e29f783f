// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#ifndef LATHE_CONVERSION_PASSES_TD
#define LATHE_CONVERSION_PASSES_TD

include "mlir/Pass/PassBase.td"

def NNToLinalgPass : Pass<"convert-nn-to-linalg", "::mlir::func::FuncOp"> {
  let summary = "lower primitive nn ops to linalg on tensors and drop the signs of integers";
  let description = [{
    Replaces every op of the reference interface by its linalg form; composite ops must be gone (`nn-decompose`).
    Afterwards no `ui*` type is left in the function, its signature included. Sizes of results come from
    `ShapeTracker`, so equal sizes are the same value and need no broadcast at run time.

    Data-dependent indices are checked with `kernel.trap_if`; memory is safe whatever they are.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::linalg::LinalgDialect", "::mlir::math::MathDialect",
                           "::mlir::scf::SCFDialect", "::mlir::tensor::TensorDialect",
                           "::lathe::kernel::KernelDialect"];
}

#endif // LATHE_CONVERSION_PASSES_TD
