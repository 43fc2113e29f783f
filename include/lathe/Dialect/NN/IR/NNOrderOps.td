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
    The axis is an attribute, or the only element of the integer tensor `axis_from`: then it may be negative, and one
    out of bounds stops the run with an error.

    ```mlir
    %y = nn.cumulate sum %x axis(1) exclusive : tensor<?x8xf32> -> tensor<?x8xf32>
    ```
  }];
  let arguments = (ins NN_CumulateKind:$kind, AnyRankedTensor:$x, Optional<AnyRankedTensor>:$axis_from,
                       OptionalAttr<I64Attr>:$axis, UnitAttr:$exclusive, UnitAttr:$reverse);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $kind $x (`axis` `(` $axis^ `)`)? (`axis_from` `(` $axis_from^ `:` type($axis_from) `)`)? (`exclusive` $exclusive^)? (`reverse` $reverse^)? attr-dict
    `:` type($x) `->` type($result)
  }];
}

def NN_TopKOp : NN_LoopsOp<"top_k", [DeclareOpInterfaceMethods<NN_LoopsOpInterface, ["getPartCount"]>]> {
  let summary = "the k largest or smallest elements along a dimension, in order, and where they are";
  let description = [{
    Along `axis`, `values` holds the `k` largest elements from the largest on, or the smallest from the smallest on, and
    `indices` their positions. Of equal elements the one with the lower index comes first. NaN counts as larger than all
    numbers (ONNX TopK-11). A `k` above the size stops the run with an error.

    ```mlir
    %v, %i = nn.top_k %x, %k axis(1) largest : tensor<?x10xf32> -> tensor<?x?xf32>, tensor<?x?xi64>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$x, Index:$k, I64Attr:$axis, UnitAttr:$largest);
  let results = (outs AnyRankedTensor:$values, AnyRankedTensor:$indices);
  let assemblyFormat = [{
    $x `,` $k `axis` `(` $axis `)` (`largest` $largest^)? attr-dict
    `:` type($x) `->` type($values) `,` type($indices)
  }];
}

def NN_ReverseSequenceOp
    : NN_LoopsOp<"reverse_sequence", [DeclareOpInterfaceMethods<NN_LoopsOpInterface, ["getPartCount"]>]> {
  let summary = "the beginning of every sequence in reverse";
  let description = [{
    Dimensions 0 and 1 of `x` are a batch and the time, the time first if `time_major`. The first `lengths[b]` elements
    of sequence b are reversed, the others stay (ONNX ReverseSequence-10). A length above the size of the time, or below
    0, stops the run with an error.

    ```mlir
    %y = nn.reverse_sequence %x, %lengths time_major : tensor<?x?x8xf32>, tensor<?xi64> -> tensor<?x?x8xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$x, AnyRankedTensor:$lengths, UnitAttr:$time_major);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $x `,` $lengths (`time_major` $time_major^)? attr-dict `:` type($x) `,` type($lengths) `->` type($result)
  }];
}

#endif // LATHE_NN_ORDER_OPS_TD
