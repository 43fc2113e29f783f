// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// From tensors to packed tensors and back.

#ifndef LATHE_PACK_OPS_TD
#define LATHE_PACK_OPS_TD

include "lathe/Dialect/NN/Evaluate/EvaluableOp.td"
include "lathe/Dialect/NN/IR/NNInterfaces.td"
include "lathe/Dialect/Pack/IR/PackFormats.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

class Pack_Op<string mnemonic, list<Trait> traits = []> : Op<Pack_Dialect, mnemonic, !listconcat([Pure], traits)>;

def Pack_Evaluable : DeclareOpInterfaceMethods<NN_EvaluableOpInterface, ["evaluate"]>;

def Pack_EncodeOp : Pack_Op<"encode", [Pack_Evaluable]> {
  let summary = "a tensor stored in a format";
  let description = [{
    Each element becomes the nearest that the format has. This is done while the artifact is written, so the op ends the
    body of an `nn.weight`. A tensor that holds NaN, infinities, or elements beyond the format's limit is an error then.

    With `gram`, the sum of x^T x over rows x that the matrix is multiplied with, an element becomes not the nearest, but one
    that takes back what rounding the rows before has changed of these products (error-compensated rounding, of the GPTQ
    family). The scales are the same.

    ```mlir
    %p = pack.encode %w : tensor<64x96xf32> -> !pack.tensor<64x96xf32, #pack.int4<group = 32>>
    %q = pack.encode %w gram(%g : tensor<64x64xf32>) : tensor<64x96xf32> -> !pack.tensor<64x96xf32, #pack.int4<group = 32>>
    ```
  }];
  let arguments = (ins AnyStaticShapeTensor:$x, Optional<AnyStaticShapeTensor>:$gram);
  let results = (outs Pack_TensorType:$result);
  let assemblyFormat = [{
    $x (`gram` `(` $gram^ `:` type($gram) `)`)? attr-dict `:` type($x) `->` qualified(type($result))
  }];
  let builders = [OpBuilder<(ins "::mlir::Type":$result, "::mlir::Value":$x), [{
    build($_builder, $_state, result, x, ::mlir::Value());
  }]>];
  let hasVerifier = 1;
  let hasFolder = 1;
}

def Pack_DecodeOp : Pack_Op<"decode", [DeclareOpInterfaceMethods<NN_ShapeOpInterface, ["inferDims"]>,
                                        DeclareOpInterfaceMethods<NN_ReferenceOpInterface>]> {
  let summary = "a packed tensor as a tensor";
  let description = [{
    The elements that the format stores. Decoding and encoding again gives the same, so `pack.encode` of `pack.decode` folds.
    Kernels that do not know the format run what its `buildDecode` builds on the components.

    ```mlir
    %w = pack.decode %p : !pack.tensor<64x96xf32, #pack.int4<group = 32>> -> tensor<64x96xf32>
    ```
  }];
  let arguments = (ins Pack_TensorType:$x);
  let results = (outs AnyStaticShapeTensor:$result);
  let assemblyFormat = "$x attr-dict `:` qualified(type($x)) `->` type($result)";
  let hasVerifier = 1;
}

def Pack_ComposeOp : Pack_Op<"compose", [Pack_Evaluable]> {
  let summary = "a packed tensor made of its components";
  let description = [{
    The components are those that the format names, in its order. Nothing is checked about their elements.

    ```mlir
    %p = pack.compose %codes, %scales : (tensor<32x96xui8>, tensor<2x96xf16>)
      -> !pack.tensor<64x96xf32, #pack.int4<group = 32>>
    ```
  }];
  let arguments = (ins Variadic<AnyStaticShapeTensor>:$components);
  let results = (outs Pack_TensorType:$result);
  let assemblyFormat = "$components attr-dict `:` functional-type($components, results)";
  let hasVerifier = 1;
}

def Pack_ComponentOp : Pack_Op<"component", [Pack_Evaluable]> {
  let summary = "one of the components of a packed tensor";
  let description = [{
    Component number `index`, in the order of the format, as a tensor: for kernels that read the components themselves. Like
    `pack.encode`, it is done while the artifact is written, in the body of an `nn.weight`.

    ```mlir
    %codes = pack.component 0 of %p : !pack.tensor<64x96xf32, #pack.int8<dynamic>> -> tensor<64x96xi8>
    ```
  }];
  let arguments = (ins I64Attr:$index, Pack_TensorType:$x);
  let results = (outs AnyStaticShapeTensor:$result);
  let assemblyFormat = "$index `of` $x attr-dict `:` qualified(type($x)) `->` type($result)";
  let hasVerifier = 1;
  let hasFolder = 1;
}

def Pack_PruneOp : Pack_Op<"prune", [Pack_Evaluable, AllTypesMatch<["x", "result"]>]> {
  let summary = "a matrix of which the least elements have become zero";
  let description = [{
    Of each column, as many elements as `sparsity` says become zero: those of the least magnitude, or the blocks, of `rows` x
    `columns`, with the least sum of magnitudes. With `norms`, one for each row of the matrix, a magnitude counts times its
    row's norm. Of equal ones, the first stay. So columns do not depend on which others the matrix has. It is done while the
    artifact is written, in the body of an `nn.weight`.

    ```mlir
    %p = pack.prune %w <block, zeros = 750> blocks(1 x 4) : tensor<64x96xf32>
    %q = pack.prune %w <two_of_four, zeros = 500> blocks(1 x 1) norms(%n : tensor<64xf32>) : tensor<64x96xf32>
    ```
  }];
  let arguments = (ins AnyStaticShapeTensor:$x, Pack_SparsityAttr:$sparsity, I64Attr:$rows,
                       I64Attr:$columns, Optional<AnyStaticShapeTensor>:$norms);
  let results = (outs AnyStaticShapeTensor:$result);
  let assemblyFormat = [{
    $x $sparsity `blocks` `(` $rows `x` $columns `)` (`norms` `(` $norms^ `:` type($norms) `)`)? attr-dict `:` type($x)
  }];
  let hasVerifier = 1;
}

#endif // LATHE_PACK_OPS_TD
