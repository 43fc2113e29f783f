// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Ops that pick elements by their values: how many there are is data.

#ifndef LATHE_NN_SELECTION_OPS_TD
#define LATHE_NN_SELECTION_OPS_TD

include "lathe/Dialect/NN/IR/NNOpBase.td"

def NN_NonZeroOp : NN_LoopsOp<"nonzero"> {
  let summary = "the positions of what is true";
  let description = [{
    Column i of the result holds the indices of the i-th true element of `x` in row-major order, one row a dimension
    (ONNX NonZero). `size` is the number of true elements, which is counted and read before.

    ```mlir
    %y = nn.nonzero %x size %n : tensor<?x8xi1> -> tensor<2x?xi64>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$x, Index:$size);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$x `size` $size attr-dict `:` type($x) `->` type($result)";
}

def NN_UniqueOp : NN_LoopsOp<"unique"> {
  let summary = "the distinct rows of a matrix";
  let description = [{
    Rows are compared element by element; a NaN is larger than any number, and all NaNs are equal. With `sorted` the
    distinct rows are in ascending order, else in the order in which they occur first (ONNX Unique-11). All results have
    as many elements as `x` has rows, of which the first `count` are defined in `first` (a distinct row's first place) and
    `counts` (how often it occurs); `inverse` has for every row the number of its equal among the distinct ones. `order`
    and `scratch` are memory.

    ```mlir
    %first, %inverse, %counts, %count, %order, %scratch = nn.unique %x sorted
      : tensor<?x3xf32> -> tensor<?xi64>, tensor<?xi64>, tensor<?xi64>, tensor<i64>, tensor<?xi64>, tensor<?xi64>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$x, UnitAttr:$sorted);
  let results = (outs AnyRankedTensor:$first, AnyRankedTensor:$inverse, AnyRankedTensor:$counts,
                      AnyRankedTensor:$count, AnyRankedTensor:$order, AnyRankedTensor:$scratch);
  let assemblyFormat = [{
    $x (`sorted` $sorted^)? attr-dict `:` type($x) `->` type($first) `,` type($inverse) `,` type($counts) `,`
    type($count) `,` type($order) `,` type($scratch)
  }];
}

def NN_NonMaxSuppressionOp : NN_LoopsOp<"non_max_suppression"> {
  let summary = "the best boxes of those that overlap";
  let description = [{
    For every batch and class, boxes are taken in the order of their scores, the first of equal ones first, if the score
    is above `score_threshold` and no box taken before overlaps it by more than `iou_threshold` of the union, up to
    `limit` of them. `boxes` is [B, N, 4], two corners in any order (y, x, y, x) or, with `center`, (x, y, width, height);
    `scores` is [B, C, N]. Row i of `selected` is (batch, class, box); `room` is the number of rows, B C `limit`, of which
    `count` are defined. `order` and `scratch` are memory (ONNX NonMaxSuppression-11).

    ```mlir
    %selected, %count, %order, %scratch = nn.non_max_suppression %boxes, %scores, %iou, %score limit %n room %m center
      : tensor<?x?x4xf32>, tensor<?x?x?xf32>, tensor<f32>, tensor<f32>
      -> tensor<?x3xi64>, tensor<i64>, tensor<?xi64>, tensor<?xi64>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$boxes, AnyRankedTensor:$scores, AnyRankedTensor:$iou_threshold,
                       AnyRankedTensor:$score_threshold, Index:$limit, Index:$room, UnitAttr:$center);
  let results = (outs AnyRankedTensor:$selected, AnyRankedTensor:$count, AnyRankedTensor:$order,
                      AnyRankedTensor:$scratch);
  let assemblyFormat = [{
    $boxes `,` $scores `,` $iou_threshold `,` $score_threshold `limit` $limit `room` $room (`center` $center^)? attr-dict
    `:` type($boxes) `,` type($scores) `,` type($iou_threshold) `,` type($score_threshold)
    `->` type($selected) `,` type($count) `,` type($order) `,` type($scratch)
  }];
}

#endif // LATHE_NN_SELECTION_OPS_TD
