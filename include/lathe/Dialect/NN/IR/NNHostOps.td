// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Ops by which the host program, which works on sizes, learns from data and is kept from believing it.

#ifndef LATHE_NN_HOST_OPS_TD
#define LATHE_NN_HOST_OPS_TD

include "lathe/Dialect/NN/IR/NNOpBase.td"

def NN_ReadIndexOp : NN_Op<"read_index", [Pure]> {
  let summary = "an element of an integer tensor as an index value";
  let description = [{
    The element at the linear `position` of `x`, an integer or bool tensor, when the host program gets there: the way
    in which data becomes a size. Narrow elements are extended by the sign of their type; of an unsigned 64-bit
    integer the bits count. The inverse of `nn.from_scalars`.

    ```mlir
    %n = nn.read_index %shape[1] : tensor<2xi64>
    ```
  }];
  let arguments = (ins AnyStaticShapeTensor:$x, ConfinedAttr<I64Attr, [IntNonNegative]>:$position);
  let results = (outs Index:$result);
  let assemblyFormat = "$x `[` $position `]` attr-dict `:` type($x)";
  let hasFolder = 1;
  let hasVerifier = 1;
}

def NN_CheckedSizeOp : NN_Op<"checked_size", [NoMemoryEffect, SameOperandsAndResultType]> {
  let summary = "an index value that is a size, or a fault";
  let description = [{
    `value` itself. If it is negative, or larger than any dimension may be, the run ends with LATHE_FAULT_SHAPE. Sizes
    that were read from data pass through this op, so that nothing that uses one can come before the check. It may be
    dropped where nothing does, and is not executed where control does not get.

    ```mlir
    %s = nn.checked_size %n
    ```
  }];
  let arguments = (ins Index:$value);
  let results = (outs Index:$result);
  let assemblyFormat = "$value attr-dict";
  let hasFolder = 1;
}

def NN_ElementCountOp : NN_Op<"element_count", [Pure]> {
  let summary = "a product of sizes that does not overflow";
  let description = [{
    The product of `sizes`, none of which is negative; what exceeds 2^62 is 2^62. Products of sizes that were read from
    data are compared in this form.

    ```mlir
    %n = nn.element_count %a, %b, %c
    ```
  }];
  let arguments = (ins Variadic<Index>:$sizes);
  let results = (outs Index:$result);
  let assemblyFormat = "$sizes attr-dict";
  let hasFolder = 1;
}

def NN_CheckOp : NN_Op<"check"> {
  let summary = "a fault unless a condition holds";
  let description = [{
    Ends the run with LATHE_FAULT_SHAPE if `condition` is false: what follows relies on it. The node at fault is that of
    the op's location.

    ```mlir
    nn.check %fits
    ```
  }];
  let arguments = (ins I1:$condition);
  let assemblyFormat = "$condition attr-dict";
  let hasCanonicalizeMethod = 1;
}

#endif // LATHE_NN_HOST_OPS_TD
