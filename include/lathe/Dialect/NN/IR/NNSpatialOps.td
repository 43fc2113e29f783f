// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Ops that look at neighbours in space: pools, borders, resampling. Channels are last.

#ifndef LATHE_NN_SPATIAL_OPS_TD
#define LATHE_NN_SPATIAL_OPS_TD

include "lathe/Dialect/NN/IR/NNOpBase.td"
include "lathe/Dialect/NN/IR/NNSpatialEnums.td"

/// A kernel of loops whose parts are rows of its result.
class NN_SpatialOp<string mnemonic, list<Trait> traits = []>
    : NN_LoopsOp<mnemonic, !listconcat([DeclareOpInterfaceMethods<NN_LoopsOpInterface, ["getPartCount"]>,
                                        NN_TakesPitches], traits)>;

def NN_PoolOp : NN_SpatialOp<"pool", [AttrSizedOperandSegments]> {
  let summary = "one number from each window";
  let description = [{
    `x` is [N, spatial..., C], the result [N, `sizes`..., C]. Along a spatial dimension, the window of result position o
    covers the positions `o * stride - before + k * dilation` of `x` for k below `window`. Those outside of `x` do not
    count, but for `mean` with `count_pads`, where zeros stand before `x` (`before` of them) and after it (`after`).
    `arg_max` gives the row-major position of the first largest element among the spatial dimensions, as i64. `max` of
    no elements is the lowest number, `mean` and `sum` of none 0. f16 and bf16 are summed in f32. Rounding up the size of
    the result, and padding to keep it, is done where the op is made.

    ```mlir
    %y = nn.pool max %x window([3, 3]) strides([2, 2]) dilations([1, 1]) before [1, 1] after [1, 1] sizes [%h, 28]
      : tensor<?x?x56x64xf32> -> tensor<?x?x28x64xf32>
    ```
  }];
  let arguments = (ins NN_PoolKind:$kind, AnyRankedTensor:$x, DenseI64ArrayAttr:$window, DenseI64ArrayAttr:$strides,
                       DenseI64ArrayAttr:$dilations, Variadic<Index>:$before, Variadic<Index>:$after,
                       Variadic<Index>:$sizes, DenseI64ArrayAttr:$static_before, DenseI64ArrayAttr:$static_after,
                       DenseI64ArrayAttr:$static_sizes, UnitAttr:$count_pads);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $kind $x `window` `(` $window `)` `strides` `(` $strides `)` `dilations` `(` $dilations `)`
    `before` custom<DynamicIndexList>($before, $static_before)
    `after` custom<DynamicIndexList>($after, $static_after)
    `sizes` custom<DynamicIndexList>($sizes, $static_sizes) (`count_pads` $count_pads^)? attr-dict
    `:` type($x) `->` type($result)
  }];
  let extraClassDeclaration = [{ ::llvm::SmallVector<::mlir::OpFoldResult> getMixedSizes(); }];
}

def NN_PadOp : NN_SpatialOp<"pad", [AttrSizedOperandSegments]> {
  let summary = "a tensor with a border";
  let description = [{
    Puts `before` and `after` elements around `x` along each dimension: `value` (of rank 0) for `constant`, the element
    at the border for `edge`, those next to it mirrored for `reflect` (the border itself is not repeated), those of the
    other end for `wrap`. Both numbers are not negative: what is cut off is a slice.

    ```mlir
    %y = nn.pad constant %x value(%v) before [0, 1, 1, 0] after [0, %i, 1, 0]
      : tensor<?x?x56x64xf32>, tensor<f32> -> tensor<?x?x58x64xf32>
    ```
  }];
  let arguments = (ins NN_PadKind:$kind, AnyRankedTensor:$x, Optional<AnyRankedTensor>:$value,
                       Variadic<Index>:$before, Variadic<Index>:$after, DenseI64ArrayAttr:$static_before,
                       DenseI64ArrayAttr:$static_after);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $kind $x (`value` `(` $value^ `)`)? `before` custom<DynamicIndexList>($before, $static_before)
    `after` custom<DynamicIndexList>($after, $static_after) attr-dict
    `:` type($x) (`,` type($value)^)? `->` type($result)
  }];
  let extraClassDeclaration = [{
    ::llvm::SmallVector<::mlir::OpFoldResult> getMixedBefore();
    ::llvm::SmallVector<::mlir::OpFoldResult> getMixedAfter();
  }];
}

def NN_ResampleOp : NN_SpatialOp<"resample", [AttrSizedOperandSegments]> {
  let summary = "weighted sums of chosen elements along some dimensions";
  let description = [{
    Dimension `axes[i]` of the result has as many positions as `positions[i]`, an i64 tensor [size, taps], has rows:
    position o there is the sum of the elements of `x` at `positions[i][o, t]`, each times `weights[i][o, t]`. With
    several axes it is the sum over all combinations, times the product of their weights. Without `weights` there is
    one tap, and elements of any type are copied. Positions outside of `x` mean its first or last one. The last
    dimension is none of `axes`. What a model calls resize is a matter of these tables.

    ```mlir
    %y = nn.resample %x axes([1]) positions(%p) weights(%w)
      : tensor<?x28x28x64xf32> (tensor<56x2xi64>) (tensor<56x2xf32>) -> tensor<?x56x28x64xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$x, Variadic<AnyRankedTensor>:$positions, Variadic<AnyRankedTensor>:$weights,
                       DenseI64ArrayAttr:$axes);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $x `axes` `(` $axes `)` `positions` `(` $positions `)` (`weights` `(` $weights^ `)`)? attr-dict
    `:` type($x) `(` type($positions) `)` (`(` type($weights)^ `)`)? `->` type($result)
  }];
}

def NN_SumWindowsOp : NN_SpatialOp<"sum_windows", [AttrSizedOperandSegments]> {
  let summary = "overlapping windows added up";
  let description = [{
    `x` is [N, steps..., window..., C], the result [N, `sizes`..., C]: element k of the window at step i lands at
    `i * stride + k * dilation - before`, and what lands outside is dropped. The second half of a transposed
    convolution, whose first half is a matrix product.

    ```mlir
    %y = nn.sum_windows %x strides([2]) dilations([1]) before [1] sizes [%n]
      : tensor<?x?x4x64xf32> -> tensor<?x?x64xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$x, DenseI64ArrayAttr:$strides, DenseI64ArrayAttr:$dilations,
                       Variadic<Index>:$before, Variadic<Index>:$sizes, DenseI64ArrayAttr:$static_before,
                       DenseI64ArrayAttr:$static_sizes);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $x `strides` `(` $strides `)` `dilations` `(` $dilations `)`
    `before` custom<DynamicIndexList>($before, $static_before)
    `sizes` custom<DynamicIndexList>($sizes, $static_sizes) attr-dict `:` type($x) `->` type($result)
  }];
  let extraClassDeclaration = [{ ::llvm::SmallVector<::mlir::OpFoldResult> getMixedSizes(); }];
}

#endif // LATHE_NN_SPATIAL_OPS_TD
