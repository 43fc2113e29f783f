// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Control flow of the host program. Bodies see all values around them.

#ifndef LATHE_NN_CONTROL_OPS_TD
#define LATHE_NN_CONTROL_OPS_TD

include "lathe/Dialect/NN/IR/NNOpBase.td"

def NN_YieldOp : NN_Op<"yield", [Pure, Terminator, ParentOneOf<["IfOp", "LoopOp", "WeightOp"]>]> {
  let summary = "the values of a body";
  let description = [{
    Ends a body of `nn.if`, `nn.loop` or `nn.weight`; these say what the values are.

    ```mlir
    nn.yield %y, %n : tensor<?x4xf32>, index
    ```
  }];
  let arguments = (ins Variadic<AnyType>:$values);
  let assemblyFormat = "($values^ `:` type($values))? attr-dict";
}

def NN_IfOp : NN_Op<"if", [SingleBlock, NoRegionArguments, RecursiveMemoryEffects,
                           DeclareOpInterfaceMethods<NN_ShapeOpInterface, ["inferDims"]>]> {
  let summary = "one of two bodies";
  let description = [{
    Executes the first body if `condition` is true, else the second. The results are tensors, then index values; so are
    the values that each body yields. `shapes` has, for every tensor, its dimensions: a size if it is not negative, else
    `~i`, which counts the values of `sizes` and then the results that are index values. Sizes that both bodies have in
    common are thus known before, others are results.

    ```mlir
    %y, %n = nn.if %c sizes(%B) shapes [array<i64: -1, -2>] -> tensor<?x?xf32>, index {
      nn.yield %a, %na : tensor<?x?xf32>, index
    } else {
      nn.yield %b, %nb : tensor<?x?xf32>, index
    }
    ```
  }];
  let arguments = (ins I1:$condition, Variadic<Index>:$sizes, ArrayAttr:$shapes);
  let results = (outs Variadic<AnyType>:$results_);
  let regions = (region SizedRegion<1>:$then_body, SizedRegion<1>:$else_body);
  let assemblyFormat = [{
    $condition `sizes` `(` $sizes `)` `shapes` $shapes attr-dict-with-keyword (`->` type($results_)^)? $then_body `else` $else_body
  }];
  let extraClassDeclaration = [{
    /// The terminator of a body.
    YieldOp getYield(::mlir::Region &body);
    /// How many of the results are tensors.
    unsigned getTensorCount() { return getShapes().size(); }
  }];
  let hasVerifier = 1;
  let hasCanonicalizeMethod = 1;
}

def NN_LoopOp : NN_Op<"loop", [SingleBlock, AttrSizedOperandSegments, RecursiveMemoryEffects,
                               DeclareOpInterfaceMethods<NN_ShapeOpInterface, ["inferDims"]>]> {
  let summary = "a body repeated";
  let description = [{
    Executes its body while the iteration is below `trip` and the condition holds: `condition` before the first
    iteration, what the body yields before the others (ONNX Loop).

    - The body's arguments are the iteration, an index, and the carried values: first tensors, then index values, of the
      types of `inits`.
    - The body yields the next condition, the next carried tensors, then for each scan output one tensor, then the next
      carried index values.
    - The results are the carried tensors, the scan outputs, the carried index values and the number of iterations. A
      scan output holds the tensors of all iterations one after the other; all are of one shape.

    `shapes` has the dimensions of every tensor among the results: a size if it is not negative, else `~i`, which counts
    the values of `sizes`, then the carried index values, then the number of iterations. A carried tensor whose shape
    changes has dimensions that are carried index values, which change with it. What a scan output's first dimension is
    may be given as the size that is `trip`, where no condition ends the loop early.

    ```mlir
    %last, %all, %count = nn.loop %n, %true inits(%x) sizes(%n) shapes [array<i64: 4>, array<i64: -1, 4>]
        : tensor<4xf32> -> tensor<4xf32>, tensor<?x4xf32>, index {
    ^bb0(%i: index, %a: tensor<4xf32>):
      %b = nn.unary relu %a : tensor<4xf32> -> tensor<4xf32>
      nn.yield %true, %b, %a : i1, tensor<4xf32>, tensor<4xf32>
    }
    ```
  }];
  let arguments = (ins Index:$trip, I1:$condition, Variadic<AnyType>:$inits, Variadic<Index>:$sizes,
                       ArrayAttr:$shapes);
  let results = (outs Variadic<AnyType>:$results_);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = [{
    $trip `,` $condition `inits` `(` $inits `)` `sizes` `(` $sizes `)` `shapes` $shapes attr-dict-with-keyword
    (`:` type($inits)^)? `->` type($results_) $body
  }];
  let extraClassDeclaration = [{
    YieldOp getYield();
    ::mlir::BlockArgument getIteration() { return getBody().getArgument(0); }
    /// Carried values.
    unsigned getCarriedTensorCount();
    unsigned getCarriedIndexCount() { return getInits().size() - getCarriedTensorCount(); }
    unsigned getScanCount() { return getShapes().size() - getCarriedTensorCount(); }
    /// The number of iterations that were executed.
    ::mlir::Value getCount() { return getResults().back(); }
    /// Of result number `i`, a tensor, the dimensions: within the body, for a carried tensor, or after the loop.
    ::llvm::SmallVector<::mlir::OpFoldResult> getDims(unsigned i, bool inBody);
  }];
  let hasVerifier = 1;
}

#endif // LATHE_NN_CONTROL_OPS_TD
