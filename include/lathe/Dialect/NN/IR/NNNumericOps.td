// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Ops that are an algorithm of their own: random numbers, transforms, determinants, linear attention.

#ifndef LATHE_NN_NUMERIC_OPS_TD
#define LATHE_NN_NUMERIC_OPS_TD

include "lathe/Dialect/NN/IR/NNOpBase.td"

class NN_NumericOp<string mnemonic, list<Trait> traits = []>
    : NN_LoopsOp<mnemonic, !listconcat([DeclareOpInterfaceMethods<NN_LoopsOpInterface, ["getPartCount"]>], traits)>;

def NN_RandomOp : NN_NumericOp<"random"> {
  let summary = "numbers drawn from a distribution";
  let description = [{
    Numbers of [0, 1), all equally likely, or with `normal` of the normal distribution with mean 0 and variance 1. Each
    is a function of `seed` and its row-major position alone, by the counter-based generator Philox 4x32-10: two ops of
    one seed give the same numbers, in every run, on every processor, by however many threads.

    ```mlir
    %y = nn.random seed(42) normal sizes [%n, 8] : tensor<?x8xf32>
    ```
  }];
  let arguments = (ins I64Attr:$seed, UnitAttr:$normal, Variadic<Index>:$sizes, DenseI64ArrayAttr:$static_sizes);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    `seed` `(` $seed `)` (`normal` $normal^)? `sizes` custom<DynamicIndexList>($sizes, $static_sizes) attr-dict
    `:` type($result)
  }];
}

def NN_FourierOp : NN_NumericOp<"fourier"> {
  let summary = "the discrete Fourier transform of each row";
  let description = [{
    `x` is [rows, n, parts]: real numbers, or with 2 parts complex ones. Each row is cut off, or lengthened by zeros, to
    `length` L, and transformed: `y[k] = sum_j x[j] exp(-2 pi i j k / L)`, as many as the result has rows. `inverse`
    changes the sign of the exponent and divides by L. With `hermitian` the row is the first half of one that is
    symmetric: element L - j is the conjugate of element j. The result is [rows, bins, parts]: the real parts alone, or
    both. `scratch` is working memory: all is computed in f64, so that what cancels is 0.

    ```mlir
    %y, %s = nn.fourier %x length(%l) bins(%b) parts(2) : tensor<?x400x1xf32> -> tensor<?x?x2xf32>, tensor<?x6x?xf64>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$x, Index:$length, Index:$bins, I64Attr:$parts, UnitAttr:$inverse,
                       UnitAttr:$hermitian);
  let results = (outs AnyRankedTensor:$result, AnyRankedTensor:$scratch);
  let assemblyFormat = [{
    $x `length` `(` $length `)` `bins` `(` $bins `)` `parts` `(` $parts `)` (`inverse` $inverse^)?
    (`hermitian` $hermitian^)? attr-dict `:` type($x) `->` type($result) `,` type($scratch)
  }];
}

def NN_DeterminantOp : NN_NumericOp<"determinant"> {
  let summary = "the determinant of each matrix";
  let description = [{
    `x` is [matrices, n, n], the result [matrices]: the product of the pivots of an elimination that takes the largest
    element of each column as its pivot. `scratch` is working memory.

    ```mlir
    %y, %s = nn.determinant %x : tensor<?x3x3xf32> -> tensor<?xf32>, tensor<?x3x3xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$x);
  let results = (outs AnyRankedTensor:$result, AnyRankedTensor:$scratch);
  let assemblyFormat = "$x attr-dict `:` type($x) `->` type($result) `,` type($scratch)";
}

def NN_LinearAttentionOp : NN_NumericOp<"linear_attention", [AttrSizedOperandSegments]> {
  let summary = "attention by a matrix that is updated with every step";
  let description = [{
    For each batch entry and key head, a matrix S [features of k, features of v] starts as `state`, or zeros. Step t
    multiplies its rows by the exponentials of `decay[t]`, if there is one; replaces `v[t]` by
    `beta[t] (v[t] - k[t] S)`, if there is `beta`; adds the product of the column `k[t]` with the row `v[t]`; and gives
    `scale q[t] S` for each query head of the key head, of which there are equally many (ONNX LinearAttention-27).
    Without `scale` it is one over the root of the features of k. All is f32. Shapes: `q` [batch, steps, query heads,
    features], `k` and `v` [batch, steps, key heads, features], `decay` [batch, steps, key heads, features of k or 1],
    `beta` [batch, steps, key heads or 1].

    ```mlir
    %y, %s = nn.linear_attention %q, %k, %v decay(%d : tensor<1x?x4x1xf32>)
      : tensor<1x?x8x16xf32>, tensor<1x?x4x16xf32>, tensor<1x?x4x32xf32> -> tensor<1x?x8x32xf32>, tensor<1x4x16x32xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$q, AnyRankedTensor:$k, AnyRankedTensor:$v, Optional<AnyRankedTensor>:$state,
                       Optional<AnyRankedTensor>:$decay, Optional<AnyRankedTensor>:$beta, OptionalAttr<F32Attr>:$scale);
  let results = (outs AnyRankedTensor:$result, AnyRankedTensor:$last);
  let assemblyFormat = [{
    $q `,` $k `,` $v (`state` `(` $state^ `:` type($state) `)`)? (`decay` `(` $decay^ `:` type($decay) `)`)?
    (`beta` `(` $beta^ `:` type($beta) `)`)? (`scale` `(` $scale^ `)`)? attr-dict
    `:` type($q) `,` type($k) `,` type($v) `->` type($result) `,` type($last)
  }];
}

#endif // LATHE_NN_NUMERIC_OPS_TD
