// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#ifndef LATHE_NN_OPS_TD
#define LATHE_NN_OPS_TD

include "lathe/Dialect/NN/IR/NNWeightOps.td"

//===----------------------------------------------------------------------===//
// Pointwise
//===----------------------------------------------------------------------===//

def NN_UnaryOp : NN_PointwiseOp<"unary"> {
  let summary = "a pointwise function of one operand";
  let description = [{
    NaN and infinities propagate through every kind; `relu` of NaN is NaN. `round` rounds halves to even. `gelu` is the
    exact one, `x/2 (1 + erf(x/sqrt 2))`; `gelu_tanh` its approximation. `hard_sigmoid` is
    `max(0, min(1, alpha x + beta))`. `is_nan`, `is_inf` and `not` return i1 tensors. Float kinds are computed in f32
    for narrower types and in the operand's type else.

    ```mlir
    %y = nn.unary gelu %x : tensor<?x384xf32> -> tensor<?x384xf32>
    ```
  }];
  let arguments = (ins NN_UnaryKind:$kind, AnyRankedTensor:$x, OptionalAttr<F32Attr>:$alpha,
                       OptionalAttr<F32Attr>:$beta);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $kind $x (`alpha` `(` $alpha^ `)`)? (`beta` `(` $beta^ `)`)? attr-dict `:` type($x) `->` type($result)
  }];
  let hasCanonicalizer = 1;
}

def NN_BinaryOp : NN_PointwiseOp<"binary"> {
  let summary = "a pointwise function of two operands";
  let description = [{
    Both operands have the result's element type. Integer `div` truncates, `mod` has the sign of the divisor, `fmod`
    that of the dividend; `max` and `min` propagate NaN. `and`, `or`, `xor` take i1 (and integers: bitwise).
    `shift_left` and `shift_right` of integers drop bits at the ends; to the right, copies of the sign follow. By less
    than 0, or as many bits as there are, nothing but them is left.

    ```mlir
    %y = nn.binary add %x, %bias : tensor<?x384xf32>, tensor<384xf32> -> tensor<?x384xf32>
    ```
  }];
  let arguments = (ins NN_BinaryKind:$kind, AnyRankedTensor:$lhs, AnyRankedTensor:$rhs);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$kind $lhs `,` $rhs attr-dict `:` type($lhs) `,` type($rhs) `->` type($result)";
  let hasCanonicalizer = 1;
}

def NN_CompareOp : NN_PointwiseOp<"compare"> {
  let summary = "a pointwise comparison";
  let description = [{
    Both operands have one element type, the result is an i1 tensor. Every comparison with a NaN is false but `ne`;
    integers compare by the sign of their type.

    ```mlir
    %m = nn.compare eq %a, %b : tensor<?x?xi64>, tensor<i64> -> tensor<?x?xi1>
    ```
  }];
  let arguments = (ins NN_CompareKind:$kind, AnyRankedTensor:$lhs, AnyRankedTensor:$rhs);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$kind $lhs `,` $rhs attr-dict `:` type($lhs) `,` type($rhs) `->` type($result)";
  let hasCanonicalizer = 1;
}

def NN_SelectOp : NN_PointwiseOp<"select"> {
  let summary = "one of two operands, by a condition";
  let description = [{
    The element of `lhs` where `condition`, an i1 tensor, is true, else that of `rhs`; all three broadcast. What is not
    chosen does not matter, be it NaN.

    ```mlir
    %y = nn.select %c, %a, %b : tensor<?x1xi1>, tensor<?x8xf32>, tensor<f32> -> tensor<?x8xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$condition, AnyRankedTensor:$lhs, AnyRankedTensor:$rhs);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $condition `,` $lhs `,` $rhs attr-dict `:` type($condition) `,` type($lhs) `,` type($rhs) `->` type($result)
  }];
  let hasCanonicalizer = 1;
}

def NN_CastOp : NN_PointwiseOp<"cast"> {
  let summary = "conversion of the element type";
  let description = [{
    As ONNX Cast: float to integer truncates towards zero, to bool is `x != 0`, narrowing floats round to nearest even.
    Floats of 8 bits and fewer take their largest number for what is larger, or, with `saturate(false)`, an infinity or
    a NaN where they have one. For f8E8M0FNU, whose numbers are powers of two, `rounding` says where others go; with
    `saturate(false)` what is too small becomes NaN, too.

    ```mlir
    %y = nn.cast %x : tensor<?xi64> -> tensor<?xf32>
    %s = nn.cast %x saturate(false) rounding(nearest) : tensor<?xf32> -> tensor<?xf8E8M0FNU>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$x, DefaultValuedAttr<BoolAttr, "true">:$saturate,
                       DefaultValuedAttr<NN_PowerRounding, "::lathe::nn::PowerRoundingKind::Up">:$rounding);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $x (`saturate` `(` $saturate^ `)`)? (`rounding` `(` $rounding^ `)`)? attr-dict `:` type($x) `->` type($result)
  }];
  let hasCanonicalizer = 1;
}

def NN_BitCastOp : NN_PointwiseOp<"bit_cast"> {
  let summary = "the same bits as elements of another type";
  let description = [{
    Both types have one width; bools have eight bits of 0 or 1.

    ```mlir
    %y = nn.bit_cast %x : tensor<?x8xf32> -> tensor<?x8xi32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$x);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$x attr-dict `:` type($x) `->` type($result)";
}

//===----------------------------------------------------------------------===//
// Reductions and norms
//===----------------------------------------------------------------------===//

def NN_ReduceOp : NN_TensorOp<"reduce", [NN_Primitive]> {
  let summary = "a reduction over some dimensions";
  let description = [{
    Reduces over `axes` (sorted, unique, not negative). With `keep_dims` they stay with size 1, else they go. `max` and
    `min` propagate NaN; over no elements they are -inf and +inf (or the type's extremes), `sum` is 0, `prod` 1,
    `mean` NaN. f16 and bf16 are accumulated in f32. `all` and `any` take i1.

    ```mlir
    %y = nn.reduce sum %x axes([1]) keep_dims(true) : tensor<?x384xf32> -> tensor<?x1xf32>
    ```
  }];
  let arguments = (ins NN_ReduceKind:$kind, AnyRankedTensor:$x, DenseI64ArrayAttr:$axes, BoolAttr:$keep_dims);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $kind $x `axes` `(` $axes `)` `keep_dims` `(` $keep_dims `)` attr-dict `:` type($x) `->` type($result)
  }];
  let hasFolder = 1;
}

def NN_ArgReduceOp : NN_TensorOp<"arg_reduce", [NN_Primitive]> {
  let summary = "the index of the largest or smallest element along a dimension";
  let description = [{
    Of equal elements the first one, or the last with `select_last`. A NaN wins against every number.

    ```mlir
    %i = nn.arg_reduce max %x axis(1) keep_dims(false) select_last(false) : tensor<?x10xf32> -> tensor<?xi64>
    ```
  }];
  let arguments = (ins NN_ArgReduceKind:$kind, AnyRankedTensor:$x, I64Attr:$axis, BoolAttr:$keep_dims,
                       BoolAttr:$select_last);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $kind $x `axis` `(` $axis `)` `keep_dims` `(` $keep_dims `)` `select_last` `(` $select_last `)` attr-dict
    `:` type($x) `->` type($result)
  }];
}

def NN_SoftmaxOp : NN_TensorOp<"softmax", [NN_Composite]> {
  let summary = "exponentials normalized along a dimension";
  let description = [{
    `exp(x - max(x)) / sum(exp(x - max(x)))` along `axis`, computed in f32 for narrower types. A row that is all -inf
    becomes NaN. With `log`, the logarithm of that.

    ```mlir
    %y = nn.softmax %x axis(3) : tensor<?x12x?x?xf32> -> tensor<?x12x?x?xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$x, I64Attr:$axis, UnitAttr:$log);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "(`log` $log^)? $x `axis` `(` $axis `)` attr-dict `:` type($x) `->` type($result)";
}

def NN_LayerNormOp : NN_TensorOp<"layer_norm", [NN_Composite]> {
  let summary = "normalization to mean 0 and variance 1 over the trailing dimensions";
  let description = [{
    `(x - mean) / sqrt(variance + epsilon) * scale + bias`, the mean and the (biased) variance taken over dimensions
    `axis` to the last, in f32. `scale` and `bias` broadcast to those dimensions (ONNX LayerNormalization-17).

    ```mlir
    %y = nn.layer_norm %x, %scale, %bias axis(2) epsilon(1.0e-12)
      : tensor<?x?x384xf32>, tensor<384xf32>, tensor<384xf32> -> tensor<?x?x384xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$x, AnyRankedTensor:$scale, Optional<AnyRankedTensor>:$bias, I64Attr:$axis,
                       F32Attr:$epsilon);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $x `,` $scale (`,` $bias^)? `axis` `(` $axis `)` `epsilon` `(` $epsilon `)` attr-dict
    `:` type($x) `,` type($scale) (`,` type($bias)^)? `->` type($result)
  }];
}

def NN_RMSNormOp : NN_TensorOp<"rms_norm", [NN_Composite]> {
  let summary = "root-mean-square normalization over the trailing dimensions";
  let description = [{
    `x / sqrt(mean(x^2) + epsilon) * scale`, the mean taken over dimensions `axis` to the last, in f32. The normalized
    value is rounded to the type of `x` before it is scaled (ONNX RMSNormalization-23).

    ```mlir
    %y = nn.rms_norm %x, %scale axis(1) epsilon(1.0e-5) : tensor<?x768xf16>, tensor<768xf16> -> tensor<?x768xf16>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$x, AnyRankedTensor:$scale, I64Attr:$axis, F32Attr:$epsilon);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $x `,` $scale `axis` `(` $axis `)` `epsilon` `(` $epsilon `)` attr-dict
    `:` type($x) `,` type($scale) `->` type($result)
  }];
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

def NN_MatMulOp : NN_TensorOp<"matmul", [NN_Primitive]> {
  let summary = "matrix product, batched like numpy.matmul";
  let description = [{
    The last two dimensions are multiplied, those before broadcast. Both operands have at least two dimensions: vectors
    are reshaped around the product. f16 and bf16 are summed up in f32: the result is these sums, or they are rounded
    to the type of the operands.

    ```mlir
    %y = nn.matmul %x, %w : tensor<?x?x384xf32>, tensor<384x1536xf32> -> tensor<?x?x1536xf32>
    %z = nn.matmul %a, %b : tensor<?x384xbf16>, tensor<384x1536xbf16> -> tensor<?x1536xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$lhs, AnyRankedTensor:$rhs);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$lhs `,` $rhs attr-dict `:` type($lhs) `,` type($rhs) `->` type($result)";
}

def NN_ConvOp : NN_TensorOp<"conv", [NN_Primitive]> {
  let summary = "convolution, channels last";
  let description = [{
    `x` is [N, spatial..., C], `filter` [window..., C / groups, M], the result [N, spatial..., M]. `pads` holds, for
    each spatial dimension, the zeros added before, then those added after, all of the former first (as ONNX). The
    result of f16 and bf16 may be f32, as that of `nn.matmul`.

    ```mlir
    %y = nn.conv %x, %f strides([1]) pads([0, 0]) dilations([1]) groups(1)
      : tensor<?x512x64xf32>, tensor<5x64x128xf32> -> tensor<?x508x128xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$x, AnyRankedTensor:$filter, DenseI64ArrayAttr:$strides,
                       DenseI64ArrayAttr:$pads, DenseI64ArrayAttr:$dilations, I64Attr:$groups);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $x `,` $filter `strides` `(` $strides `)` `pads` `(` $pads `)` `dilations` `(` $dilations `)`
    `groups` `(` $groups `)` attr-dict `:` type($x) `,` type($filter) `->` type($result)
  }];
  let extraClassDeclaration = [{
    /// Whether every pixel of the result is a product of one pixel of `x` and the whole filter.
    bool isProduct();
    /// Whether every channel of the result depends on the channel of `x` with its number, and no other.
    bool isDepthwise();
  }];
}

def NN_AttentionOp : NN_TensorOp<"attention", [NN_Composite]> {
  let summary = "softmax(scale Q Kt + mask) V for many heads";
  let description = [{
    `q` is [B, Sq, H, D], `k` [B, Sk, Hkv, D], `v` [B, Sk, Hkv, Dv], the result [B, Sq, H, Dv]: heads stand next to
    their features, so that splitting and joining heads moves nothing. H is a multiple of Hkv; query head h uses
    key head h / (H / Hkv). `mask`, if present, broadcasts to [B, H, Sq, Sk]: an i1 mask keeps where it is true, any
    other is added to the scaled logits; it is of the type of `q`, or f32 where that is narrower. With `softcap` c, a scaled logit x becomes `c tanh(x / c)` before it is masked.
    With `causal`, query i sees keys 0 to i + Sk - Sq. A query that sees no key gives NaN, as the written-out form does,
    unless `guard_empty`: then it gives 0.

    ```mlir
    %o = nn.attention %q, %k, %v mask(%m) scale(0.125)
      : tensor<?x?x12x32xf32>, tensor<?x?x12x32xf32>, tensor<?x?x12x32xf32>, tensor<?x1x1x?xf32>
      -> tensor<?x?x12x32xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$q, AnyRankedTensor:$k, AnyRankedTensor:$v, Optional<AnyRankedTensor>:$mask,
                       F32Attr:$scale, OptionalAttr<F32Attr>:$softcap, UnitAttr:$causal, UnitAttr:$guard_empty);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $q `,` $k `,` $v (`mask` `(` $mask^ `)`)? `scale` `(` $scale `)` (`softcap` `(` $softcap^ `)`)?
    (`causal` $causal^)? (`guard_empty` $guard_empty^)? attr-dict
    `:` type($q) `,` type($k) `,` type($v) (`,` type($mask)^)? `->` type($result)
  }];
}

//===----------------------------------------------------------------------===//
// Data movement
//===----------------------------------------------------------------------===//

def NN_ReshapeOp : NN_TensorOp<"reshape", [NN_Primitive]> {
  let summary = "the same elements under another shape";
  let description = [{
    The target shape is given completely: static sizes as numbers, others as index values. It has as many elements as
    `x`.

    ```mlir
    %y = nn.reshape %x to [%B, %S, 12, 32] : tensor<?x?x384xf32> -> tensor<?x?x12x32xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$x, Variadic<Index>:$dims, DenseI64ArrayAttr:$static_dims);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $x `to` custom<DynamicIndexList>($dims, $static_dims) attr-dict `:` type($x) `->` type($result)
  }];
  let builders = [OpBuilder<(ins "::mlir::Value":$x, "::llvm::ArrayRef<::mlir::OpFoldResult>":$dims)>];
  let extraClassDeclaration = [{ ::llvm::SmallVector<::mlir::OpFoldResult> getMixedDims(); }];
  let hasFolder = 1;
  let hasCanonicalizer = 1;
}

def NN_TransposeOp : NN_TensorOp<"transpose", [NN_Primitive]> {
  let summary = "a permutation of the dimensions";
  let description = [{
    Dimension i of the result is dimension `perm[i]` of `x`.

    ```mlir
    %y = nn.transpose %x perm([0, 2, 1, 3]) : tensor<?x?x12x32xf32> -> tensor<?x12x?x32xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$x, DenseI64ArrayAttr:$perm);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$x `perm` `(` $perm `)` attr-dict `:` type($x) `->` type($result)";
  let hasFolder = 1;
  let hasCanonicalizer = 1;
}

def NN_ExpandOp : NN_TensorOp<"expand", [NN_Primitive]> {
  let summary = "broadcast to a shape";
  let description = [{
    Broadcasts `x` like numpy to exactly the given shape.

    ```mlir
    %y = nn.expand %x to [%B, 1, %S, %S] : tensor<?x1x1x?xi1> -> tensor<?x1x?x?xi1>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$x, Variadic<Index>:$dims, DenseI64ArrayAttr:$static_dims);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $x `to` custom<DynamicIndexList>($dims, $static_dims) attr-dict `:` type($x) `->` type($result)
  }];
  let builders = [OpBuilder<(ins "::mlir::Value":$x, "::llvm::ArrayRef<::mlir::OpFoldResult>":$dims)>];
  let extraClassDeclaration = [{ ::llvm::SmallVector<::mlir::OpFoldResult> getMixedDims(); }];
  let hasFolder = 1;
  let hasCanonicalizer = 1;
}

def NN_SliceOp : NN_TensorOp<"slice", [AttrSizedOperandSegments, NN_Primitive]> {
  let summary = "a strided part of a tensor";
  let description = [{
    Element i of dimension d is element `offsets[d] + i strides[d]` of `x`, for i below `sizes[d]`. Strides may be
    negative. Everything lies within `x`: ONNX's clamping is done where the op is made.

    ```mlir
    %y = nn.slice %x offsets [0, %i] sizes [%B, 384] strides [1, 1] : tensor<?x1152xf32> -> tensor<?x384xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$x, Variadic<Index>:$offsets, Variadic<Index>:$sizes,
                       DenseI64ArrayAttr:$static_offsets, DenseI64ArrayAttr:$static_sizes,
                       DenseI64ArrayAttr:$static_strides);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $x `offsets` custom<DynamicIndexList>($offsets, $static_offsets)
    `sizes` custom<DynamicIndexList>($sizes, $static_sizes) `strides` $static_strides attr-dict
    `:` type($x) `->` type($result)
  }];
  let builders = [OpBuilder<(ins "::mlir::Value":$x, "::llvm::ArrayRef<::mlir::OpFoldResult>":$offsets,
                                 "::llvm::ArrayRef<::mlir::OpFoldResult>":$sizes,
                                 "::llvm::ArrayRef<int64_t>":$strides)>];
  let extraClassDeclaration = [{
    ::llvm::SmallVector<::mlir::OpFoldResult> getMixedOffsets();
    ::llvm::SmallVector<::mlir::OpFoldResult> getMixedSizes();
  }];
  let hasFolder = 1;
  let hasCanonicalizer = 1;
}

def NN_ConcatOp : NN_TensorOp<"concat", [NN_Primitive]> {
  let summary = "tensors one after the other along a dimension";
  let description = [{
    The size of dimension `axis` is the sum of the inputs', all other sizes and the element types are equal. There is
    at least one input; inputs may be empty along `axis`.

    ```mlir
    %y = nn.concat %a, %b axis(1) : tensor<?x4xf32>, tensor<?x8xf32> -> tensor<?x12xf32>
    ```
  }];
  let arguments = (ins Variadic<AnyRankedTensor>:$inputs, I64Attr:$axis);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$inputs `axis` `(` $axis `)` attr-dict `:` type($inputs) `->` type($result)";
  let hasFolder = 1;
}

def NN_GatherOp : NN_TensorOp<"gather", [NN_Primitive]> {
  let summary = "slices of a tensor, chosen by index";
  let description = [{
    Replaces dimension `axis` of `x` by the dimensions of `indices` (ONNX Gather). Negative indices count from the
    end; an index out of bounds stops the run with an error.

    ```mlir
    %y = nn.gather %table, %ids axis(0) : tensor<30522x384xf32>, tensor<?x?xi64> -> tensor<?x?x384xf32>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$x, AnyRankedTensor:$indices, I64Attr:$axis);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$x `,` $indices `axis` `(` $axis `)` attr-dict `:` type($x) `,` type($indices) `->` type($result)";
  let hasFolder = 1;
}

def NN_GatherNDOp : NN_TensorOp<"gather_nd", [NN_Primitive]> {
  let summary = "slices of a tensor, chosen by tuples of indices";
  let description = [{
    The last dimension of `indices` (static) holds tuples that index the dimensions of `x` after the first
    `batch_dims`, which both share (ONNX GatherND). Negative indices count from the end; an index out of bounds stops
    the run with an error.

    ```mlir
    %y = nn.gather_nd %x, %i batch_dims(0) : tensor<?x?xi1>, tensor<?x?x2xi64> -> tensor<?x?xi1>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$x, AnyRankedTensor:$indices, I64Attr:$batch_dims);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = [{
    $x `,` $indices `batch_dims` `(` $batch_dims `)` attr-dict `:` type($x) `,` type($indices) `->` type($result)
  }];
}

def NN_RangeOp : NN_TensorOp<"range", [NN_Primitive]> {
  let summary = "numbers at equal distances";
  let description = [{
    `start + i * step` for i below `size`; `start` and `step` are tensors of rank 0 and of one element type, which is
    the result's. A `size` of 0 gives no elements.

    ```mlir
    %y = nn.range %start, %step size %n : tensor<i64>, tensor<i64> -> tensor<?xi64>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$start, AnyRankedTensor:$step, Index:$size);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$start `,` $step `size` $size attr-dict `:` type($start) `,` type($step) `->` type($result)";
}

def NN_FromScalarsOp : NN_TensorOp<"from_scalars", [NN_Primitive]> {
  let summary = "a small integer tensor made of sizes";
  let description = [{
    The bridge from shape arithmetic, which is done on `index` values, to a tensor, where a model uses a shape as
    data. The result has rank 0 or 1 and an integer element type.

    ```mlir
    %y = nn.from_scalars %B, %S : tensor<2xi64>
    ```
  }];
  let arguments = (ins Variadic<Index>:$elements);
  let results = (outs AnyStaticShapeTensor:$result);
  let assemblyFormat = "$elements attr-dict `:` type($result)";
  let hasFolder = 1;
}

//===----------------------------------------------------------------------===//
// Layers
//===----------------------------------------------------------------------===//

def NN_LayerCallOp : NN_Op<"layer_call", [DeclareOpInterfaceMethods<SymbolUserOpInterface>,
                                          DeclareOpInterfaceMethods<NN_ShapeOpInterface, ["inferDims"]>]> {
  let summary = "one instance of a repeated block";
  let description = [{
    Calls the private function `layer`, shared by all blocks of equal structure, with this instance's operands; weights
    are among them as results of `nn.weight_use`. `row` numbers the instances of a layer. The sizes of the results are
    static or symbols, named by the function's result attributes `nn.dims`.

    ```mlir
    %h1 = nn.layer_call @layer0 row 0 (%h, %mask, %w0, %w1, %B, %S)
      : (tensor<?x?x384xf32>, tensor<?x1x1x?xf32>, tensor<384x384xf32>, tensor<384xf32>, index, index)
      -> tensor<?x?x384xf32>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$layer, I64Attr:$row, Variadic<AnyType>:$operands_);
  let results = (outs Variadic<AnyRankedTensor>:$results_);
  let assemblyFormat = "$layer `row` $row `(` $operands_ `)` attr-dict `:` functional-type($operands_, $results_)";
  let hasVerifier = 1;
}

#endif // LATHE_NN_OPS_TD
