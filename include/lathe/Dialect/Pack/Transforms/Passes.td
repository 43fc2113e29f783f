// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#ifndef LATHE_PACK_PASSES_TD
#define LATHE_PACK_PASSES_TD

include "mlir/Pass/PassBase.td"

def EncodeWeightsPass : Pass<"pack-encode-weights", "::mlir::ModuleOp"> {
  let summary = "store weights in the formats that are asked for";
  let description = [{
    Where an op has an attribute `pack.format` that says how its weight is to be stored, and no more than that, the weight
    becomes one that is computed by `pack.encode`, and the op reads it through `pack.decode`. The attribute goes; a request
    that is refused is a remark. Weights that hold elements the format has not, that it would not make smaller, or that
    other ops read, too, are left as they are, unless all of these ask for the same.
  }];
  let dependentDialects = ["::lathe::pack::PackDialect"];
}

#endif // LATHE_PACK_PASSES_TD
