// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#ifndef LATHE_NN_PASSES_TD
#define LATHE_NN_PASSES_TD

include "mlir/Pass/PassBase.td"

def DecomposePass : Pass<"nn-decompose", "::mlir::func::FuncOp"> {
  let summary = "replace composite ops by simpler ones";
  let description = [{
    Applies `decompose` of the reference interface until only primitive ops are left. At -O0 this runs on everything.
  }];
}

#endif // LATHE_NN_PASSES_TD
