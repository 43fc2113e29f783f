// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#ifndef LATHE_NN_PASSES_TD
#define LATHE_NN_PASSES_TD

include "mlir/Pass/PassBase.td"

def DecomposePass : Pass<"nn-decompose", "::mlir::func::FuncOp"> {
  let summary = "replace composite ops by simpler ones";
  let description = [{
    Applies `decompose` of the reference interface until only primitive ops are left. At -O0 this runs on everything.
  }];
}

def OutlineConstantsPass : Pass<"nn-outline-constants", "::mlir::ModuleOp"> {
  let summary = "turn tensor constants into weights";
  let description = [{
    Constants that are no splats become `nn.weight`s; splats stay, kernels inline them. Equal constants become one
    weight.
  }];
  let dependentDialects = ["::lathe::nn::NNDialect"];
}

def OutlineLayersPass : Pass<"nn-outline-layers", "::mlir::ModuleOp"> {
  let summary = "make one function of blocks that differ in their weights only";
  let description = [{
    Repeated blocks of `@main` become private functions `@layer0`, `@layer1`, ... and `nn.layer_call`s. What a block
    takes from the one before comes first among the arguments, then what all share, then its weights.
  }];
  let dependentDialects = ["::mlir::func::FuncDialect"];
}

def SkipLayersPass : Pass<"nn-skip-layers", "::mlir::ModuleOp"> {
  let summary = "leave out layers, or parts of them";
  let description = [{
    Layers are blocks of `@main` that are equal but for their weights, counted from 0. Which of them are left out says its
    attribute `nn.skip`: with `{all = array<i64: 3, 4>, attention = array<i64: 5>}` layers 3 and 4 pass on the hidden state
    that they get, and of layer 5 only the feed-forward part is left (`ffn` is the other way round). Weights that only they
    read are erased.

    The hidden state is the tensor to which a layer adds what it computes. A layer that has none, makes another type of it,
    or computes something else that is read outside of it, stays; a remark says why.
  }];
  let dependentDialects = ["::lathe::nn::NNDialect"];
}

def FoldWeightsPass : Pass<"nn-fold-weights", "::mlir::ModuleOp"> {
  let summary = "compute what depends on weights alone when the artifact is written";
  let description = [{
    Ops whose operands are weights and constants move into the body of a new `nn.weight`: pointwise ops, gathers, and ops
    that arrange elements. Nothing is computed or copied here but the indices of gathers, which must be in bounds.

    Left to kernels, which do it as they read, is what only broadcasts to more elements; a reshape of a weight stays another
    name for the same bytes unless a product reads it. `budget` bounds the bytes that are computed in all; what goes beyond
    it, and ops on weights that cannot be computed here, are remarks.
  }];
  let dependentDialects = ["::lathe::nn::NNDialect"];
  let options = [Option<"budget", "budget", "uint64_t", /*default=*/"uint64_t(1) << 30",
                        "bytes that may be computed in advance">];
}

def FuseNormPass : Pass<"nn-fuse-norm", "::mlir::func::FuncOp"> {
  let summary = "recognize layer norms and root-mean-square norms";
  let description = [{
    `(x - mean) / sqrt(mean((x - mean)^2) + epsilon) * scale + bias` becomes `nn.layer_norm`, the same without a mean
    `nn.rms_norm`, in the spellings of exporters: `x * x` or `pow`, division by a square root or product with its
    reciprocal. A norm that is refused is a remark.
  }];
  let dependentDialects = ["::lathe::nn::NNDialect", "::mlir::arith::ArithDialect"];
}

def FuseGeluPass : Pass<"nn-fuse-gelu", "::mlir::func::FuncOp"> {
  let summary = "recognize gelu";
  let description = [{
    `x / 2 * (1 + erf(x / sqrt 2))` and the approximation by tanh become `nn.unary`, whatever the order of their factors.
  }];
  let dependentDialects = ["::lathe::nn::NNDialect"];
}

def FuseAttentionPass : Pass<"nn-fuse-attention", "::mlir::func::FuncOp"> {
  let summary = "recognize attention";
  let description = [{
    `softmax(scale * q @ k^T + mask) @ v` becomes `nn.attention`: the scale before the product (on one or both sides) or
    after it, a mask that is added or selects, a guard of rows that are NaN, with and without a dimension of heads.
    Transposes are put around, and cancel with those of the exporter. What looks like attention and is refused is a
    remark that says why.
  }];
  let dependentDialects = ["::lathe::nn::NNDialect", "::mlir::arith::ArithDialect"];
}

def FuseQuantizedPass : Pass<"nn-fuse-quantized", "::mlir::ModuleOp"> {
  let summary = "compute products of dequantized operands with integers of 8 bits";
  let description = [{
    A product or convolution of `(x - zero) * scale` with weights of that form becomes `nn.integer_matmul` or
    `nn.integer_conv`, times the scales, where x has one scale and the weights one for each column. Maxima of windows
    are taken of what is stored. A quantization of such sums, or for such products alone, multiplies with the reciprocal
    of its scale. What stays in
    floats although one operand is dequantized is a remark that says why.
  }];
  let dependentDialects = ["::lathe::nn::NNDialect", "::mlir::arith::ArithDialect"];
}

def FuseScalesPass : Pass<"nn-fuse-scales", "::mlir::func::FuncOp"> {
  let summary = "quantize exact sums with less arithmetic";
  let description = [{
    Where what products of integers have summed up is rounded to integers again, the factor before the rounding moves into
    the scales and biases, which are known: `round((x * s + b) * f)` becomes `round(x * (s * f) + b * f)`, through `relu` and
    sums of several such. A `relu` goes that only what becomes an unsigned integer reads.
  }];
  let dependentDialects = ["::lathe::nn::NNDialect", "::mlir::arith::ArithDialect"];
}

def ShareResultsPass : Pass<"nn-share-results", "::mlir::ModuleOp"> {
  let summary = "let results lie where the caches lie that they update";
  let description = [{
    Notes of each result of `@main` that a `nn.update_cache` gives, and of whose cache, an argument, nothing else reads a
    byte: whoever calls may let both be the same memory (`nn.shares`). Then only new rows are written.
  }];
  let dependentDialects = ["::lathe::nn::NNDialect"];
}

def KeepRoundedPass : Pass<"nn-keep-rounded", "::mlir::func::FuncOp"> {
  let summary = "keep floats that become integers of 8 bits and floats again";
  let description = [{
    A float that is rounded, becomes an integer of 8 bits, and is a float again stays one between the same bounds, if nothing
    else reads the integer. It is for kernels that are formed: between kernels, integers take fewer bytes.
  }];
  let dependentDialects = ["::lathe::nn::NNDialect", "::mlir::arith::ArithDialect"];
}

def FuseProjectionsPass : Pass<"nn-fuse-projections", "::mlir::ModuleOp"> {
  let summary = "compute products with the same left side as one";
  let description = [{
    Products of one tensor with several weights become one product with the weights side by side (a computed weight),
    of which each takes a slice; biases likewise.
  }];
  let dependentDialects = ["::lathe::nn::NNDialect", "::mlir::arith::ArithDialect"];
}

def PropagateTransposesPass : Pass<"nn-propagate-transposes", "::mlir::func::FuncOp"> {
  let summary = "move transposes behind ops that do not mind, until they cancel";
  let description = [{
    A transpose moves from the operands of pointwise ops, concatenations, borders, slices, reductions and reshapes to
    their results; two in a row become one or none. The one that moves channels from last to second, which models with
    channels second have around every spatial op, moves even if others use it. Where a product flattens transposed
    dimensions, the rows of its weight change places instead.
  }];
  let dependentDialects = ["::lathe::nn::NNDialect"];
}

#endif // LATHE_NN_PASSES_TD
