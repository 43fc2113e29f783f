// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Elements read and written at positions that data tells.

#ifndef LATHE_NN_SCATTER_OPS_TD
#define LATHE_NN_SCATTER_OPS_TD

include "lathe/Dialect/NN/IR/NNOpBase.td"

class NN_ScatterLoopsOp<string mnemonic, list<Trait> traits = []>
    : NN_LoopsOp<mnemonic, !listconcat([DeclareOpInterfaceMethods<NN_LoopsOpInterface, ["getPartCount"]>], traits)>;

def NN_GatherElementsOp : NN_ScatterLoopsOp<"gather_elements"> {
  let summary = "one element for each index along a dimension";
  let description = [{
    The element of `x` at the position of the index, with the index in the place of dimension `axis` (ONNX
    GatherElements-13). `indices` has the rank of `x` and, but for `axis`, at most its sizes. Negative indices count
    from the end; an index out of bounds stops the run with an error.

    ```mlir
    %y = nn.gather_elements %x, %i axis(1) : tensor<?x10xf32>, tensor<?x3xi64> -> tensor<?x3xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$x, AnyRankedTensor:$indices, I64Attr:$axis);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$x `,` $indices `axis` `(` $axis `)` attr-dict `:` type($x) `,` type($indices) `->` type($result)";
}

def NN_ScatterElementsOp : NN_ScatterLoopsOp<"scatter_elements"> {
  let summary = "a copy with one element changed for each index along a dimension";
  let description = [{
    `x` with the element at the position of each index, with the index in the place of dimension `axis`, replaced by the
    update there, or by the sum, product, maximum or minimum of both (ONNX ScatterElements-18). Updates of one element
    come in the order of their positions. Negative indices count from the end; an index out of bounds stops the run
    with an error.

    ```mlir
    %y = nn.scatter_elements add %x, %i, %u axis(1)
      : tensor<?x10xf32>, tensor<?x3xi64>, tensor<?x3xf32> -> tensor<?x10xf32>
    ```
  }];
  let arguments = (ins NN_ScatterKind:$kind, AnyRankedTensor:$x, AnyRankedTensor:$indices, AnyRankedTensor:$updates,
                       I64Attr:$axis);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $kind $x `,` $indices `,` $updates `axis` `(` $axis `)` attr-dict
    `:` type($x) `,` type($indices) `,` type($updates) `->` type($result)
  }];
}

def NN_ScatterNDOp : NN_ScatterLoopsOp<"scatter_nd"> {
  let summary = "a copy with slices changed, chosen by tuples of indices";
  let description = [{
    The last dimension of `indices` (static) holds tuples that index the first dimensions of `x`; the slices there are
    replaced by, or combined with, those of `updates` (ONNX ScatterND-18), in the order of the tuples. Negative indices
    count from the end; an index out of bounds stops the run with an error.

    ```mlir
    %y = nn.scatter_nd none %x, %i, %u : tensor<?x4xf32>, tensor<?x1xi64>, tensor<?x4xf32> -> tensor<?x4xf32>
    ```
  }];
  let arguments = (ins NN_ScatterKind:$kind, AnyRankedTensor:$x, AnyRankedTensor:$indices, AnyRankedTensor:$updates);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $kind $x `,` $indices `,` $updates attr-dict
    `:` type($x) `,` type($indices) `,` type($updates) `->` type($result)
  }];
}

def NN_UpdateCacheOp : NN_ScatterLoopsOp<"update_cache", [AttrSizedOperandSegments]> {
  let summary = "a cache with new rows written where each batch entry has got to";
  let description = [{
    `cache` with rows `start[b]` and following of dimension `axis` (not 0) replaced by `update`, for each b of dimension
    0 (ONNX TensorScatter-24). Without `start` they begin at 0. With `rows`, at least as many as the cache has, the
    result has that many: zeros are added. With `circular`, rows count modulo the size of the result; without, rows
    beyond its end stop the run with an error, as does a negative start.

    A result that lies where the cache does is updated in place: only the new rows are written.

    ```mlir
    %y = nn.update_cache %c, %u start(%w) axis(2) rows(%n)
      : tensor<?x8x?x64xf32>, tensor<?x8x?x64xf32>, tensor<?xi64> -> tensor<?x8x?x64xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$cache, AnyRankedTensor:$update, Optional<AnyRankedTensor>:$start,
                       Optional<Index>:$rows, I64Attr:$axis, UnitAttr:$circular);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $cache `,` $update (`start` `(` $start^ `)`)? `axis` `(` $axis `)` (`rows` `(` $rows^ `)`)?
    (`circular` $circular^)? attr-dict `:` type($cache) `,` type($update) (`,` type($start)^)? `->` type($result)
  }];
}

#endif // LATHE_NN_SCATTER_OPS_TD
