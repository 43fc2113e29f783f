// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Symbols and weights: what a function knows of its arguments' sizes, and constants outside of it.

#ifndef LATHE_NN_WEIGHT_OPS_TD
#define LATHE_NN_WEIGHT_OPS_TD

include "lathe/Dialect/NN/IR/NNOpBase.td"
include "mlir/IR/SymbolInterfaces.td"

def NN_DimSymbolOp : NN_Op<"dim_symbol", [Pure]> {
  let summary = "the size of a symbolic dimension";
  let description = [{
    The value of symbol `name`, the same everywhere in the function that holds it: the size of every dimension of the
    function's arguments that carries this name. It lies in [`min`, `max`].

    ```mlir
    %S = nn.dim_symbol "S" min 1 max 512
    ```
  }];
  let arguments = (ins StrAttr:$name, DefaultValuedAttr<I64Attr, "0">:$min,
                       DefaultValuedAttr<I64Attr, "::lathe::nn::kMaxDim">:$max);
  let results = (outs Index:$result);
  let assemblyFormat = "$name (`min` $min^)? (`max` $max^)? attr-dict";
  let hasVerifier = 1;
}

def NN_WeightOp : NN_Op<"weight", [Symbol, IsolatedFromAbove]> {
  let summary = "a constant tensor whose bytes stay outside the IR";
  let description = [{
    `value` is an elements attribute over mapped bytes, never interned. Instead of it there may be a `body` that computes
    the weight from others: nothing is evaluated before the artifact is written, so that no pass ever holds a copy of a
    weight. `panel`, once set, is the blocked arrangement in which it is written. A packed weight is always computed.

    ```mlir
    nn.weight private @w7 : tensor<384x1536xf32> = dense_resource<w7> {onnx_name = "encoder.layer.0.intermediate"}
    nn.weight private @w7_t : tensor<1536x384xf32> computed {
      %0 = nn.weight_use @w7 : tensor<384x1536xf32>
      %1 = nn.transpose %0 perm([1, 0]) : tensor<384x1536xf32> -> tensor<1536x384xf32>
      nn.yield %1 : tensor<1536x384xf32>
    }
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, OptionalAttr<StrAttr>:$sym_visibility, TypeAttr:$type,
                       OptionalAttr<AnyAttr>:$value, OptionalAttr<NN_PanelAttr>:$panel, OptionalAttr<StrAttr>:$onnx_name);
  let regions = (region MaxSizedRegion<1>:$body);
  let assemblyFormat = [{
    custom<Visibility>($sym_visibility) $sym_name `:` custom<TypedValue>($type, $value) (`computed` $body^)? (`panel` $panel^)?
    attr-dict
  }];
  let builders = [
    OpBuilder<(ins "::llvm::StringRef":$name, "::mlir::RankedTensorType":$type, "::mlir::Attribute":$value,
                   CArg<"::llvm::StringRef", "{}">:$onnxName)>,
    // A weight that is computed; `makeBody` builds the body and returns what it yields, a static or packed tensor.
    OpBuilder<(ins "::llvm::StringRef":$name, "::llvm::StringRef":$onnxName,
                   "::llvm::function_ref<::mlir::Value(::mlir::OpBuilder &, ::mlir::Location)>":$makeBody)>
  ];
  let extraClassDeclaration = [{
    /// The tensor that it is or, packed, stands for.
    ::mlir::RankedTensorType getTensorType() { return ::lathe::nn::getLogicalType(getType()); }
    /// Whether a body computes it from other weights.
    bool isComputed() { return !getBody().empty(); }
  }];
  let hasVerifier = 1;
  let hasRegionVerifier = 1;
}

def NN_WeightUseOp : NN_Op<"weight_use", [Pure, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "the tensor held by a weight";
  let description = [{
    The contents of the `nn.weight` of this name, whose type it has. The tensor is never copied: kernels read it where
    the artifact is mapped.

    ```mlir
    %w = nn.weight_use @w7 : tensor<384x1536xf32>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$weight);
  let results = (outs AnyTypeOf<[AnyStaticShapeTensor, NN_PackedTensor]>:$result);
  let assemblyFormat = "$weight attr-dict `:` type($result)";
}

#endif // LATHE_NN_WEIGHT_OPS_TD
