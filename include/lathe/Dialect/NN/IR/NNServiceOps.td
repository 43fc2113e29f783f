// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What optional parts of the runtime compute.

#ifndef LATHE_NN_SERVICE_OPS_TD
#define LATHE_NN_SERVICE_OPS_TD

include "lathe/Dialect/NN/IR/NNOpBase.td"

def NN_ServiceOp : NN_TensorOp<"service", [AttrSizedOperandSegments]> {
  let summary = "a function of a component of the runtime";
  let description = [{
    What the function `name` of a component makes of the operands: `"text.split"` is one of the component "text". It is
    called by the host program, once, with the addresses of operands and result, their numbers of elements, and
    `argument`, which the model says about this use. It depends on nothing else, and may end the run with
    LATHE_FAULT_SERVICE. The result has the given shape. Strings are i64 numbers of texts.

    ```mlir
    %y = nn.service "text.split"(%x) with "2 ," to [%n, %m] : (tensor<?xi64>) -> tensor<?x?xi64>
    ```
  }];
  let arguments = (ins StrAttr:$name, Variadic<AnyRankedTensor>:$inputs, StrAttr:$argument, Variadic<Index>:$dims,
                       DenseI64ArrayAttr:$static_dims);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $name `(` $inputs `)` `with` $argument `to` custom<DynamicIndexList>($dims, $static_dims) attr-dict
    `:` `(` type($inputs) `)` `->` type($result)
  }];
  let builders = [OpBuilder<(ins "::mlir::Type":$element, "::llvm::StringRef":$name, "::mlir::ValueRange":$inputs,
                                 "::llvm::StringRef":$argument, "::llvm::ArrayRef<::mlir::OpFoldResult>":$dims)>];
}

#endif // LATHE_NN_SERVICE_OPS_TD
