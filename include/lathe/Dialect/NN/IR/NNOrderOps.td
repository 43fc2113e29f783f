// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Ops for which the order of elements along a dimension matters.

#ifndef LATHE_NN_ORDER_OPS_TD
#define LATHE_NN_ORDER_OPS_TD

include "lathe/Dialect/NN/IR/NNOpBase.td"

def NN_CumulateOp : NN_LoopsOp<"cumulate", [DeclareOpInterfaceMethods<NN_LoopsOpInterface, ["getPartCount"]>]> {
  let summary = "sums or products of all elements up to each";
  let description = [{
    Element i of the result is the `sum` or `prod` of elements 0 to i along `axis`, without element i itself if
    `exclusive`, from the end if `reverse` (ONNX CumSum-14, CumProd-26). f16 and bf16 are accumulated in f32.

    ```mlir
    %y = nn.cumulate sum %x axis(1) exclusive : tensor<?x8xf32> -> tensor<?x8xf32>
    ```
  }];
  let arguments = (ins NN_CumulateKind:$kind, AnyRankedTensor:$x, I64Attr:$axis, UnitAttr:$exclusive,
                       UnitAttr:$reverse);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $kind $x `axis` `(` $axis `)` (`exclusive` $exclusive^)? (`reverse` $reverse^)? attr-dict
    `:` type($x) `->` type($result)
  }];
}

#endif // LATHE_NN_ORDER_OPS_TD
