// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#ifndef LATHE_NN_OP_BASE_TD
#define LATHE_NN_OP_BASE_TD

include "lathe/Dialect/NN/IR/NNBase.td"
include "lathe/Dialect/NN/IR/NNInterfaces.td"
include "lathe/Dialect/NN/IR/NNPackedType.td"
include "mlir/IR/BuiltinAttributeInterfaces.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"

class NN_Op<string mnemonic, list<Trait> traits = []> : Op<NN_Dialect, mnemonic, traits>;

/// An op on ranked tensors: its shapes follow `inferDims`, its result types are checked against them, and it has a
/// reference lowering.
class NN_TensorOp<string mnemonic, list<Trait> traits = []>
    : NN_Op<mnemonic, !listconcat([Pure, DeclareOpInterfaceMethods<NN_ShapeOpInterface, ["inferDims"]>,
                                   DeclareOpInterfaceMethods<ReifyRankedShapedTypeOpInterface, ["reifyResultShapes"]>],
                                  traits)> {
  let extraClassDefinition = [{
    ::llvm::LogicalResult $cppClass::reifyResultShapes(::mlir::OpBuilder &builder,
                                                       ::mlir::ReifiedRankedShapedTypeDims &dims) {
      return ::lathe::nn::detail::reifyFromInferDims(getOperation(), builder, dims);
    }
  }];
  let hasVerifier = 1;
}

def NN_Primitive : DeclareOpInterfaceMethods<NN_ReferenceOpInterface, ["lowerToLinalg"]>;
def NN_Composite : DeclareOpInterfaceMethods<NN_ReferenceOpInterface, ["decompose"]>;

/// A pointwise op; the reference lowering of all of them is one linalg.generic around `buildElement`.
class NN_PointwiseOp<string mnemonic, list<Trait> traits = []>
    : NN_TensorOp<mnemonic, !listconcat([DeclareOpInterfaceMethods<NN_PointwiseOpInterface, ["buildElement"]>,
                                         NN_Primitive], traits)> {
  let hasFolder = 1;
}

/// An op that is a kernel of its own: loops over memory, on every target that runs on a processor.
class NN_LoopsOp<string mnemonic, list<Trait> traits = []>
    : NN_TensorOp<mnemonic, !listconcat([DeclareOpInterfaceMethods<NN_LoopsOpInterface, ["buildLoops"]>], traits)>;

#endif // LATHE_NN_OP_BASE_TD
