// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#ifndef LATHE_PACK_PASSES_TD
#define LATHE_PACK_PASSES_TD

include "mlir/Pass/PassBase.td"

def ApplyPlanPass : Pass<"pack-apply-plan", "::mlir::ModuleOp"> {
  let summary = "let ops ask for what a plan says of weights, nodes and layers";
  let description = [{
    A plan names what is in the file. Ops whose weights these have become, alone or joined with others, get the attribute
    `pack.format`, and `@main` the attribute `nn.skip`; other passes do what these ask for. Where the parts of a joined
    weight are to be stored differently, or the default format does not fit a weight, nothing is asked for and a remark
    says why. Entries that contradict each other or fit nothing are errors.

    `plan` is the path of the plan; docs/plan.schema.json says what is in it.
  }];
  let dependentDialects = ["::lathe::pack::PackDialect"];
  let options = [Option<"plan", "plan", "std::string", /*default=*/"\"\"", "the plan, a JSON file">];
}

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
