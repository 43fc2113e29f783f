// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#ifndef LATHE_NN_INTERFACES_TD
#define LATHE_NN_INTERFACES_TD

include "mlir/IR/OpBase.td"

def NN_ShapeOpInterface : OpInterface<"ShapeOpInterface"> {
  let cppNamespace = "::lathe::nn";
  let description = [{
    How the sizes of an op's results follow from the sizes of its operands. The one source of truth for shape
    inference: verifiers, result types, `reifyResultShapes` and the importer's symbolic shapes all call it.
  }];
  let methods = [
    InterfaceMethod<[{
      The dimensions of every result. `operandDims` holds, for each operand, its dimensions (empty for operands that
      are no tensors); constants are `IntegerAttr`s. New index arithmetic, if any, is built with `builder`. Fails
      without a diagnostic when the operands' sizes are known to be incompatible: the verifier says why.
    }], "::llvm::FailureOr<::llvm::SmallVector<::llvm::SmallVector<::mlir::OpFoldResult>>>", "inferDims",
    (ins "::mlir::OpBuilder &":$builder, "::llvm::ArrayRef<::llvm::SmallVector<::mlir::OpFoldResult>>":$operandDims)>
  ];
}

def NN_PointwiseOpInterface : OpInterface<"PointwiseOpInterface"> {
  let cppNamespace = "::lathe::nn";
  let description = [{
    An op whose every result element is a function of the broadcast operand elements at the same position.
    The function is built for scalars and for vectors alike; kernels inline it into whatever loop they run.
  }];
  let methods = [
    InterfaceMethod<[{
      Builds the function on `operands`, all scalars or all vectors of one shape, whose element types are those of the
      op's operands *without signs* (`ui8` arrives as `i8`; the op knows its signs). Returns the result element(s)
      with the sign dropped in the same way. Uses arith and math ops only.
    }], "::mlir::Value", "buildElement",
    (ins "::mlir::OpBuilder &":$builder, "::mlir::Location":$loc, "::mlir::ValueRange":$operands)>
  ];
}

def NN_ReferenceOpInterface : OpInterface<"ReferenceOpInterface"> {
  let cppNamespace = "::lathe::nn";
  let description = [{
    An op with a reference lowering: either to simpler nn ops (`decompose`) or to linalg on tensors
    (`lowerToLinalg`). Following decompositions always ends in linalg. This is what runs at -O0, what every fused
    kernel is compared with, and what runs when no kernel template takes the op.
  }];
  let methods = [
    InterfaceMethod<[{
      Replaces the op by simpler nn ops; returns their results, or failure if the op is primitive.
    }], "::llvm::FailureOr<::llvm::SmallVector<::mlir::Value>>", "decompose",
    (ins "::mlir::RewriterBase &":$rewriter), "", [{ return ::mlir::failure(); }]>,
    InterfaceMethod<[{
      Builds the op as linalg and tensor ops. `operands` are the op's operands with the signs dropped from their
      element types; `inits` are tensors of the results' shapes to be written. Returns the results.
    }], "::llvm::FailureOr<::llvm::SmallVector<::mlir::Value>>", "lowerToLinalg",
    (ins "::mlir::OpBuilder &":$builder, "::mlir::ValueRange":$operands, "::mlir::ValueRange":$inits), "",
    [{ return ::mlir::failure(); }]>
  ];
}

def NN_LoopsOpInterface : OpInterface<"LoopsOpInterface"> {
  let cppNamespace = "::lathe::nn";
  let description = [{
    An op that is written as loops over memory, because what it computes is no function of one element at a time:
    sorts, scatters, sums along a dimension, recurrences. It is a kernel of its own, at every level of optimization,
    and may have several results; one that serves as scratch memory is a result that nothing uses.
  }];
  let methods = [
    InterfaceMethod<[{
      How many parts of the work may run side by side; built from the sizes of operands and results, which are given
      as for `inferDims`. By default there is one part.
    }], "::mlir::OpFoldResult", "getPartCount",
    (ins "::mlir::OpBuilder &":$builder, "::llvm::ArrayRef<::llvm::SmallVector<::mlir::OpFoldResult>>":$operandDims,
         "::llvm::ArrayRef<::llvm::SmallVector<::mlir::OpFoldResult>>":$resultDims), "",
    [{ return builder.getIndexAttr(1); }]>,
    InterfaceMethod<[{
      Builds the loops that do parts [begin, end), at the insertion point. `inputs` are the operands: tensors as dense
      row-major memrefs whose elements have no sign (`ui8` arrives as `i8`, the op knows its signs), index values as
      they are. `outputs` are memrefs for all results, whose contents are undefined before. No heap is used. For an
      op with `NN_TakesPitches` the rows of a memref may lie further apart than they are long.
    }], "::llvm::LogicalResult", "buildLoops",
    (ins "::mlir::OpBuilder &":$builder, "::mlir::ValueRange":$inputs, "::mlir::ValueRange":$outputs,
         "::mlir::Value":$begin, "::mlir::Value":$end)>
  ];
}

/// An op that builds loops and reaches elements by their indices alone: it may read and write parts of a larger tensor,
/// whose last dimension is dense.
def NN_TakesPitches : NativeOpTrait<"TakesPitches"> {
  let cppNamespace = "::lathe::nn";
}

#endif // LATHE_NN_INTERFACES_TD
