// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#ifndef LATHE_KERNEL_OPS_TD
#define LATHE_KERNEL_OPS_TD

include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/OpBase.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/ControlFlowInterfaces.td"
include "mlir/Interfaces/SideEffectInterfaces.td"
include "lathe/Dialect/NN/IR/NNInterfaces.td"
include "lathe/Dialect/NN/IR/NNPackedType.td"

def Kernel_Dialect : Dialect {
  let name = "kernel";
  let cppNamespace = "::lathe::kernel";
  let summary = "what is computed by one loop nest, on every target";
  let extraClassDeclaration = [{
    /// Function attribute: the RootKind of an outlined kernel.
    static constexpr llvm::StringLiteral kRootAttr = "kernel.root";
    /// Argument attribute: the `#nn.panel` in which a matrix of weights is stored.
    static constexpr llvm::StringLiteral kPanelAttr = "kernel.panel";
  }];
  let description = [{
    A *kernel group* (`kernel.group`) holds the nn ops that one kernel computes: a root, what is fused before it and
    what is fused after it. Outlined, it becomes a function over bytes that a target's emitter turns into code, and the
    host program keeps a `kernel.launch`.
  }];
}

def Kernel_RootKind : I32EnumAttr<"RootKind", "what shapes the loops of a kernel", [
    I32EnumAttrCase<"Reference", 0, "reference">,
    I32EnumAttrCase<"Pointwise", 1, "pointwise">,
    I32EnumAttrCase<"Rows", 2, "rows">,
    I32EnumAttrCase<"MatMul", 3, "matmul">,
    I32EnumAttrCase<"Attention", 4, "attention">,
    I32EnumAttrCase<"Loops", 5, "loops">,
    I32EnumAttrCase<"Conv", 6, "conv">]> {
  let cppNamespace = "::lathe::kernel";
}

def Kernel_Input : AnyTypeOf<[AnyRankedTensor, NN_PackedTensor]>;

class Kernel_Op<string mnemonic, list<Trait> traits = []> : Op<Kernel_Dialect, mnemonic, traits>;

def Kernel_GroupOp : Kernel_Op<"group", [IsolatedFromAbove, SingleBlock, AttrSizedOperandSegments, Pure,
                                         DeclareOpInterfaceMethods<NN_ShapeOpInterface, ["inferDims"]>]> {
  let summary = "the ops that one kernel computes";
  let description = [{
    The region sees only its arguments: first one per tensor of `inputs`, then one per index of `sizes`. `shapes` gives,
    for every input and then for every result, its dimensions: a size if it is not negative, else `~i` of `sizes`.

    `pitches`, if there, gives for every input and then for every result how many elements lie between the beginnings
    of two rows of its last dimension: more than a row has where the tensor is a part of a `kernel.join`, else 0.

    ```mlir
    %y = kernel.group matmul (%x, %w) sizes(%B, %S) shapes [[-1, -2, 384], [384, 384], [-1, -2, 384]]
        : tensor<?x?x384xf32>, tensor<384x384xf32> -> tensor<?x?x384xf32> {
    ^bb0(%a: tensor<?x?x384xf32>, %b: tensor<384x384xf32>, %i: index, %j: index):
      %0 = nn.matmul %a, %b : tensor<?x?x384xf32>, tensor<384x384xf32> -> tensor<?x?x384xf32>
      kernel.yield %0 : tensor<?x?x384xf32>
    }
    ```
  }];
  let arguments = (ins Kernel_RootKind:$kind, Variadic<Kernel_Input>:$inputs, Variadic<Index>:$sizes,
                       ArrayAttr:$shapes, OptionalAttr<DenseI64ArrayAttr>:$pitches);
  let results = (outs Variadic<AnyRankedTensor>:$results_);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    $kind `(` $inputs `)` `sizes` `(` $sizes `)` `shapes` $shapes (`pitches` $pitches^)? attr-dict
    `:` type($inputs) `->` type($results_) $body
  }];
  let hasVerifier = 1;
}

def Kernel_YieldOp : Kernel_Op<"yield", [Pure, Terminator, ReturnLike, HasParent<"GroupOp">]> {
  let summary = "the results of a kernel group";
  let description = [{
    Ends the region of a `kernel.group` with one value per result of it, of the same types.

    ```mlir
    kernel.yield %0 : tensor<?x?x384xf32>
    ```
  }];
  let arguments = (ins Variadic<AnyRankedTensor>:$values);
  let assemblyFormat = "$values attr-dict `:` type($values)";
}

def Kernel_LaunchOp : Kernel_Op<"launch", [AttrSizedOperandSegments,
                                           DeclareOpInterfaceMethods<SymbolUserOpInterface>,
                                           DeclareOpInterfaceMethods<NN_ShapeOpInterface, ["inferDims"]>]> {
  let summary = "one execution of a kernel";
  let description = [{
    Runs `callee`, a function over bytes made from a kernel group: one `memref<?xi8>` per input and per result, then
    one index per size. `shapes` and `pitches` are those of the group. Not pure on purpose: two equal launches may fill two results of
    the model, which cannot share their bytes.

    ```mlir
    %y = kernel.launch @matmul0(%x, %w) sizes(%B, %S) shapes [[-1, -2, 384], [384, 384], [-1, -2, 384]]
      : tensor<?x?x384xf32>, tensor<384x384xf32> -> tensor<?x?x384xf32>
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$callee, Variadic<Kernel_Input>:$inputs, Variadic<Index>:$sizes,
                       ArrayAttr:$shapes, OptionalAttr<DenseI64ArrayAttr>:$pitches);
  let results = (outs Variadic<AnyRankedTensor>:$results_);
  let assemblyFormat = [{
    $callee `(` $inputs `)` `sizes` `(` $sizes `)` `shapes` $shapes (`pitches` $pitches^)? attr-dict
    `:` type($inputs) `->` type($results_)
  }];
}

def Kernel_JoinOp : Kernel_Op<"join", [DeclareOpInterfaceMethods<NN_ShapeOpInterface, ["inferDims"]>]> {
  let summary = "tensors that lie where their concatenation does";
  let description = [{
    The concatenation of `inputs` along `axis`, which costs nothing: the kernels that compute them write them to their
    places in the result, so that it must stay as long as they do. Each is computed by a kernel or another join of the same block and is in no other join. `axis`
    is the last dimension, and the kernels know the pitch; or all dimensions before it are 1, so that each input is
    dense. From `axis` on the sizes are static.

    ```mlir
    %y = kernel.join %a, %b axis 3 : tensor<1x?x?x64xf32>, tensor<1x?x?x32xf32> -> tensor<1x?x?x96xf32>
    ```
  }];
  let arguments = (ins Variadic<AnyRankedTensor>:$inputs, ConfinedAttr<I64Attr, [IntNonNegative]>:$axis);
  let results = (outs AnyRankedTensor:$result);
  let assemblyFormat = "$inputs `axis` $axis attr-dict `:` type($inputs) `->` type($result)";
  let extraClassDeclaration = [{
    /// The join of which `tensor` is a part, or null.
    static JoinOp find(::mlir::Value tensor);
    /// Where input `index` begins, in elements of rows or of the whole, from where the result does.
    int64_t getOffset(unsigned index);
    /// Whether the last dimension is joined, and there is more than one row of it.
    bool hasPitch();
  }];
  let hasVerifier = 1;
}

def Kernel_InputOp : Kernel_Op<"input", [Pure, DeclareOpInterfaceMethods<NN_ShapeOpInterface, ["inferDims"]>]> {
  let summary = "an input of a kernel as a tensor";
  let description = [{
    The tensor that lies in `bytes`: dense and row-major, or, if the function's argument carries `kernel.panel`, a
    matrix of weights arranged in panels (`#nn.panel`). With a `pitch` the rows of the last dimension begin that many
    elements behind each other. Of a packed tensor these are its components, or the panels that its
    format has for kernels.

    ```mlir
    %x = kernel.input %b0[%B, %S] : memref<?xi8> -> tensor<?x?x384xf32>
    ```
  }];
  let arguments = (ins MemRefRankOf<[I8], [1]>:$bytes, Variadic<Index>:$sizes,
                       OptionalAttr<ConfinedAttr<I64Attr, [IntPositive]>>:$pitch);
  let results = (outs Kernel_Input:$result);
  let assemblyFormat = "$bytes `[` $sizes `]` (`pitch` $pitch^)? attr-dict `:` type($bytes) `->` type($result)";
  let extraClassDeclaration = [{
    /// The tensor that it is or, packed, stands for.
    ::mlir::RankedTensorType getTensorType() { return ::lathe::nn::getLogicalType(getType()); }
  }];
  let hasVerifier = 1;
}

def Kernel_OutputOp : Kernel_Op<"output"> {
  let summary = "a result of a kernel, written to its bytes";
  let description = [{
    Writes `value` to `bytes`, row-major; `sizes` are its dynamic dimensions. The rows of the last dimension begin `pitch`
    elements behind each other; without one they are dense. Every result of a kernel is written exactly once.

    ```mlir
    kernel.output %y, %b2[%B, %S] : tensor<?x?x384xf32>, memref<?xi8>
    ```
  }];
  let arguments = (ins AnyRankedTensor:$value, MemRefRankOf<[I8], [1]>:$bytes, Variadic<Index>:$sizes,
                       OptionalAttr<ConfinedAttr<I64Attr, [IntPositive]>>:$pitch);
  let assemblyFormat = [{
    $value `,` $bytes `[` $sizes `]` (`pitch` $pitch^)? attr-dict `:` type($value) `,` type($bytes)
  }];
  let hasVerifier = 1;
}

def Kernel_TrapIfOp : Kernel_Op<"trap_if"> {
  let summary = "end the run with a fault if a condition holds";
  let description = [{
    Notes `fault` (a `lathe_fault` of the runtime's abi.h) for the whole kernel if `condition` is true, and goes on: the
    code around it stays safe by itself (an index is clamped). The kernel returns the fault when it is done.

    ```mlir
    kernel.trap_if %out_of_bounds, 1
    ```
  }];
  let arguments = (ins I1:$condition, ConfinedAttr<I32Attr, [IntPositive]>:$fault);
  let assemblyFormat = "$condition `,` $fault attr-dict";
}

#endif // LATHE_KERNEL_OPS_TD
