// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Products of integers of 8 bits that stand for numbers by a zero point.

#ifndef LATHE_NN_INTEGER_OPS_TD
#define LATHE_NN_INTEGER_OPS_TD

include "lathe/Dialect/NN/IR/NNOpBase.td"

def NN_IntegerMatMulOp : NN_TensorOp<"integer_matmul", [NN_Composite, AttrSizedOperandSegments]> {
  let summary = "matrix product of integers of 8 bits, exact in i32";
  let description = [{
    `(lhs - lhs_zero) (rhs - rhs_zero)` as `nn.matmul` of i32, each operand of any sign. A zero point has the type of
    its operand and broadcasts to it: `lhs_zero` is one number or one for each row, `rhs_zero` one number or one for
    each column. Left out, it is 0. Sums beyond 32 bits wrap (ONNX MatMulInteger-10).

    ```mlir
    %y = nn.integer_matmul %x, %w lhs_zero(%z : tensor<ui8>) : tensor<?x384xui8>, tensor<384x1536xi8>
      -> tensor<?x1536xi32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$lhs, AnyRankedTensor:$rhs, Optional<AnyRankedTensor>:$lhs_zero,
                       Optional<AnyRankedTensor>:$rhs_zero);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $lhs `,` $rhs (`lhs_zero` `(` $lhs_zero^ `:` type($lhs_zero) `)`)? (`rhs_zero` `(` $rhs_zero^ `:` type($rhs_zero) `)`)?
    attr-dict `:` type($lhs) `,` type($rhs) `->` type($result)
  }];
}

def NN_IntegerConvOp : NN_TensorOp<"integer_conv", [NN_Composite, AttrSizedOperandSegments]> {
  let summary = "convolution of integers of 8 bits, channels last, exact in i32";
  let description = [{
    `nn.conv` of `x - zero` and `filter - filter_zero` as i32, each operand of any sign: what lies outside of `x` counts
    as its zero point. `zero` is one number of the type of `x`, `filter_zero` one number or one for each feature map, of
    the type of `filter`. Left out, they are 0. Sums beyond 32 bits wrap (ONNX ConvInteger-10).

    ```mlir
    %y = nn.integer_conv %x, %f zero(%z : tensor<ui8>) strides([1]) pads([1, 1]) dilations([1]) groups(1)
      : tensor<?x512x64xui8>, tensor<3x64x128xi8> -> tensor<?x512x128xi32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$x, AnyRankedTensor:$filter, Optional<AnyRankedTensor>:$zero,
                       Optional<AnyRankedTensor>:$filter_zero, DenseI64ArrayAttr:$strides, DenseI64ArrayAttr:$pads,
                       DenseI64ArrayAttr:$dilations, I64Attr:$groups);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $x `,` $filter (`zero` `(` $zero^ `:` type($zero) `)`)? (`filter_zero` `(` $filter_zero^ `:` type($filter_zero) `)`)?
    `strides` `(` $strides `)` `pads` `(` $pads `)` `dilations` `(` $dilations `)` `groups` `(` $groups `)`
    attr-dict `:` type($x) `,` type($filter) `->` type($result)
  }];
  let extraClassDeclaration = [{
    /// Whether every pixel of the result is a product of one pixel of `x` and the whole filter.
    bool isProduct();
    /// Whether the filters, less their zero point, are known to be signed bytes: unsigned ones with a zero point of 128.
    bool isFilterCentered();
    /// Whether every channel of the result depends on the channel of `x` with its number, and no other.
    bool isDepthwise();
    /// The op by convolutions with centered filters.
    ::llvm::FailureOr<::llvm::SmallVector<::mlir::Value>> decomposeZero(::mlir::RewriterBase &rewriter);
  }];
}

#endif // LATHE_NN_INTEGER_OPS_TD
