// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Ops that read a tensor at positions which other tensors hold. Channels are last.

#ifndef LATHE_NN_SAMPLING_OPS_TD
#define LATHE_NN_SAMPLING_OPS_TD

include "lathe/Dialect/NN/IR/NNOpBase.td"
include "lathe/Dialect/NN/IR/NNSpatialEnums.td"

/// A kernel of loops whose parts are rows of its result.
class NN_SamplingOp<string mnemonic, list<Trait> traits = []>
    : NN_LoopsOp<mnemonic, !listconcat([DeclareOpInterfaceMethods<NN_LoopsOpInterface, ["getPartCount"]>], traits)>;

def NN_GridSampleOp : NN_SamplingOp<"grid_sample"> {
  let summary = "a tensor at the positions of a grid";
  let description = [{
    `x` is [N, spatial..., C], `grid` [N, out..., D] for D spatial dimensions, the result [N, out..., C]. The grid holds
    coordinates, that of the last dimension first: -1 and 1 are the ends of `x`, with `align_corners` the middles of its
    first and last element, else their outer borders. What lies outside is zero, the element at the border, or a
    reflection there (ONNX GridSample-20). Only `nearest`, which rounds halves to even, takes elements that are no
    floats.

    ```mlir
    %y = nn.grid_sample linear %x, %g border zeros align_corners
      : tensor<?x8x8x16xf32>, tensor<?x4x4x2xf32> -> tensor<?x4x4x16xf32>
    ```
  }];
  let arguments = (ins NN_SampleKind:$kind, AnyRankedTensor:$x, AnyRankedTensor:$grid, NN_BorderKind:$border,
                       UnitAttr:$align_corners);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $kind $x `,` $grid `border` $border (`align_corners` $align_corners^)? attr-dict
    `:` type($x) `,` type($grid) `->` type($result)
  }];
}

def NN_DeformWindowsOp : NN_SamplingOp<"deform_windows"> {
  let summary = "windows whose elements are moved by offsets";
  let description = [{
    `x` is [N, H, W, C], `offsets` [N, OH, OW, G * K * 2] for G groups of channels and windows of K = KH * KW elements,
    the result [N, OH, OW, K, C]. Element (ky, kx) of the window at (oy, ox) is `x` at row
    `oy * stride - before + ky * dilation` and the column alike, plus its offset (row, column), interpolated linearly
    with zeros outside, times its element of `mask`, [N, OH, OW, G * K]. A product makes it a deformable convolution
    (ONNX DeformConv-22).

    ```mlir
    %y = nn.deform_windows %x, %o window([2, 2]) strides([1, 1]) dilations([1, 1]) before([0, 0]) groups(1)
      : tensor<?x4x4x8xf32>, tensor<?x3x3x8xf32> -> tensor<?x3x3x4x8xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$x, AnyRankedTensor:$offsets, Optional<AnyRankedTensor>:$mask,
                       DenseI64ArrayAttr:$window, DenseI64ArrayAttr:$strides, DenseI64ArrayAttr:$dilations,
                       DenseI64ArrayAttr:$before, I64Attr:$groups);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $x `,` $offsets (`mask` `(` $mask^ `)`)? `window` `(` $window `)` `strides` `(` $strides `)`
    `dilations` `(` $dilations `)` `before` `(` $before `)` `groups` `(` $groups `)` attr-dict
    `:` type($x) `,` type($offsets) (`,` type($mask)^)? `->` type($result)
  }];
}

def NN_RoiAlignOp : NN_SamplingOp<"roi_align"> {
  let summary = "regions of images, each sampled to one size";
  let description = [{
    `x` is [N, H, W, C], `boxes` [R, 4] holds x1, y1, x2, y2, `images` [R] the image of each region, the result is
    [R, `height`, `width`, C]. Regions are scaled by `scale` and, with `half_pixel`, moved by -0.5; without, they are at
    least 1 wide and high. Each bin is the mean of samples between elements, or with `max` the largest weighted element
    around any; there are `samples` along each dimension, with 0 as many as make steps of at most one (ONNX
    RoiAlign-16). An image out of range stops the run with an error.

    ```mlir
    %y = nn.roi_align %x, %r, %i height(5) width(5) samples(2) scale(1.0) half_pixel
      : tensor<1x10x10x8xf32>, tensor<?x4xf32>, tensor<?xi64> -> tensor<?x5x5x8xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$x, AnyRankedTensor:$boxes, AnyRankedTensor:$images, I64Attr:$height,
                       I64Attr:$width, I64Attr:$samples, F32Attr:$scale, UnitAttr:$half_pixel, UnitAttr:$max);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $x `,` $boxes `,` $images `height` `(` $height `)` `width` `(` $width `)` `samples` `(` $samples `)`
    `scale` `(` $scale `)` (`half_pixel` $half_pixel^)? (`max` $max^)? attr-dict
    `:` type($x) `,` type($boxes) `,` type($images) `->` type($result)
  }];
}

def NN_RoiPoolOp : NN_SamplingOp<"roi_pool"> {
  let summary = "the largest elements in the bins of regions";
  let description = [{
    `x` is [N, H, W, C], `boxes` [R, 5] holds the image and x1, y1, x2, y2, the result is [R, `height`, `width`, C].
    Regions are scaled by `scale` and rounded; their last column and row belong to them. A bin without elements is 0
    (ONNX MaxRoiPool-1). An image out of range stops the run with an error.

    ```mlir
    %y = nn.roi_pool %x, %r height(2) width(2) scale(1.0)
      : tensor<1x6x6x8xf32>, tensor<?x5xf32> -> tensor<?x2x2x8xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$x, AnyRankedTensor:$boxes, I64Attr:$height, I64Attr:$width, F32Attr:$scale);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $x `,` $boxes `height` `(` $height `)` `width` `(` $width `)` `scale` `(` $scale `)` attr-dict
    `:` type($x) `,` type($boxes) `->` type($result)
  }];
}

#endif // LATHE_NN_SAMPLING_OPS_TD
