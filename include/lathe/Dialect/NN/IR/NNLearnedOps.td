// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What models that are no networks need: tables that are searched.

#ifndef LATHE_NN_LEARNED_OPS_TD
#define LATHE_NN_LEARNED_OPS_TD

include "lathe/Dialect/NN/IR/NNOpBase.td"

class NN_LearnedLoopsOp<string mnemonic>
    : NN_LoopsOp<mnemonic, [DeclareOpInterfaceMethods<NN_LoopsOpInterface, ["getPartCount"]>]>;

def NN_FindOp : NN_LearnedLoopsOp<"find"> {
  let summary = "the position of each element in a sorted list";
  let description = [{
    For each element of `x`, its position in the list `keys`, which rises strictly; a NaN may stand at the end. What is
    not in the list has the position behind its end, so that a table of values may have its default there. NaN is found
    where the list has one.

    ```mlir
    %y = nn.find %x, %keys : tensor<?x4xi64>, tensor<7xi64> -> tensor<?x4xi64>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$x, AnyRankedTensor:$keys);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$x `,` $keys attr-dict `:` type($x) `,` type($keys) `->` type($result)";
}

#endif // LATHE_NN_LEARNED_OPS_TD
