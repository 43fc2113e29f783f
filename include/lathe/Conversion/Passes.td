// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#ifndef LATHE_CONVERSION_PASSES_TD
#define LATHE_CONVERSION_PASSES_TD

include "mlir/Pass/PassBase.td"

def NNToLinalgPass : Pass<"convert-nn-to-linalg", "::mlir::func::FuncOp"> {
  let summary = "lower primitive nn ops to linalg on tensors and drop the signs of integers";
  let description = [{
    Replaces every op of the reference interface by its linalg form; composite ops must be gone (`nn-decompose`).
    Afterwards no `ui*` type is left in the function, its signature included. Sizes of results come from
    `ShapeTracker`, so equal sizes are the same value and need no broadcast at run time.

    Data-dependent indices are checked with `kernel.trap_if`; memory is safe whatever they are.
  }];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::linalg::LinalgDialect", "::mlir::math::MathDialect",
                           "::mlir::scf::SCFDialect", "::mlir::tensor::TensorDialect",
                           "::lathe::kernel::KernelDialect"];
}

def OnnxToNNPass : Pass<"convert-onnx-to-nn", "::mlir::ModuleOp"> {
  let summary = "turn the nodes of an ONNX graph into nn ops, whatever their operator set's version";
  let description = [{
    Walks over the nodes of `@main` once, in their order. Shapes are known as it goes: shape arithmetic of the model is
    followed as index values, so `Shape`, `Gather`, `Concat`, `Reshape` and the like leave sizes, not tensors. A shape
    that depends on data is refused.

    Errors in the model are reported one by one, with the codes of ErrorCodes.def. Everything that is not supported is
    reported as one error, with the nodes.

    Arguments lose `lathe.name` and `lathe.dims` and get `nn.name` and `nn.dims`; dynamic dimensions without a name get
    one. Results get `nn.name`.
  }];
  let options = [ListOption<"shapes", "shape", "std::string",
                            "fixes or bounds dimensions: x=1x128 (an input), S=128 (a symbol), S=1..512">];
  let dependentDialects = ["::mlir::arith::ArithDialect", "::mlir::tensor::TensorDialect", "::lathe::nn::NNDialect",
                           "::lathe::pack::PackDialect"];
}

#endif // LATHE_CONVERSION_PASSES_TD
