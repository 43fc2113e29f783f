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

def OutlineConstantsPass : Pass<"nn-outline-constants", "::mlir::ModuleOp"> {
  let summary = "turn tensor constants into weights";
  let description = [{
    Constants that are no splats become `nn.weight`s; splats stay, kernels inline them. Equal constants become one
    weight.
  }];
  let dependentDialects = ["::lathe::nn::NNDialect"];
}

def OutlineLayersPass : Pass<"nn-outline-layers", "::mlir::ModuleOp"> {
  let summary = "make one function of blocks that differ in their weights only";
  let description = [{
    Repeated blocks of `@main` become private functions `@layer0`, `@layer1`, ... and `nn.layer_call`s. What a block
    takes from the one before comes first among the arguments, then what all share, then its weights.
  }];
  let dependentDialects = ["::mlir::func::FuncDialect"];
}

#endif // LATHE_NN_PASSES_TD
