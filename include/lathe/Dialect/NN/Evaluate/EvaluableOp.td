// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Ops of other dialects that compute weights.

#ifndef LATHE_NN_EVALUABLE_OP_TD
#define LATHE_NN_EVALUABLE_OP_TD

include "mlir/IR/OpBase.td"

def NN_EvaluableOpInterface : OpInterface<"EvaluableOpInterface"> {
  let cppNamespace = "::lathe::nn";
  let description = [{
    An op that says itself what it computes from weights while an artifact is written. A packed tensor is its components.
  }];
  let methods = [
    InterfaceMethod<"Computes the result of operands that are all known.", "::llvm::Expected<::lathe::nn::ConstantParts>",
                    "evaluate", (ins "::llvm::ArrayRef<::lathe::nn::ConstantParts>":$operands)>
  ];
}

#endif // LATHE_NN_EVALUABLE_OP_TD
