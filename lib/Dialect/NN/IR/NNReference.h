// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What the reference lowerings share.

#ifndef LATHE_LIB_DIALECT_NN_IR_NNREFERENCE_H
#define LATHE_LIB_DIALECT_NN_IR_NNREFERENCE_H

#include "lathe/Codegen/Math/Emitter.h"
#include "lathe/Dialect/NN/IR/NN.h"

#include "mlir/IR/AffineMap.h"

namespace lathe::nn::reference {

using LoweredResults = llvm::FailureOr<llvm::SmallVector<mlir::Value>>;

/// The element type of a tensor, a vector or a scalar.
inline mlir::Type elementOf(mlir::Value value) { return mlir::getElementTypeOrSelf(value.getType()); }

inline mlir::RankedTensorType tensorOf(mlir::Value value) {
  return mlir::cast<mlir::RankedTensorType>(value.getType());
}

/// The type in which numbers of type `element` are accumulated: f32 for narrower floats, else the same.
mlir::Type getAccumulatorType(mlir::Type element);

/// The size of a dimension as a constant, or as a value if it is evident where the tensor is made; else null.
/// Two tensors with the same answer have the same size.
mlir::OpFoldResult getKnownSize(mlir::OpBuilder &b, mlir::Value tensor, int64_t dim);

/// The size of a dimension, by `tensor.dim` if nothing better is known.
mlir::Value getSize(mlir::OpBuilder &b, mlir::Location loc, mlir::Value tensor, int64_t dim);

/// A tensor of the shape of `like` with other elements.
mlir::Value buildEmptyLike(mlir::OpBuilder &b, mlir::Location loc, mlir::Value like, mlir::Type element);
mlir::Value buildFill(mlir::OpBuilder &b, mlir::Location loc, mlir::Value init, mlir::Value scalar);

/// The body of a linalg.generic: from the elements of its inputs, then of its outputs, to the new ones.
using Body =
    llvm::function_ref<llvm::SmallVector<mlir::Value>(mlir::OpBuilder &, mlir::Location, mlir::ValueRange)>;

/// linalg.generic with one loop for each entry of `isReduction`.
llvm::SmallVector<mlir::Value> buildGeneric(mlir::OpBuilder &b, mlir::Location loc, mlir::ValueRange inputs,
                                            mlir::ValueRange inits, llvm::ArrayRef<mlir::AffineMap> maps,
                                            llvm::ArrayRef<bool> isReduction, Body body);

/// linalg.generic that writes every element of `init` once, given inputs with their maps.
mlir::Value buildParallel(mlir::OpBuilder &b, mlir::Location loc, mlir::ValueRange inputs,
                          llvm::ArrayRef<mlir::AffineMap> inputMaps, mlir::Value init, Body body);

/// `kernel.trap_if`: notes a fault where `condition` holds, and goes on.
void buildTrapIf(mlir::OpBuilder &b, mlir::Location loc, mlir::Value condition, int32_t fault);

/// The values that all `operands` (tensors) have where the loops' dimensions `loops` stand: operand dimension
/// i runs with loop `operandLoops[k][i]`, or stays at 0 where its size is 1. Where that is decided now, the
/// operand becomes an input of the generic with a map; else it is read by tensor.extract. Loops from
/// `firstExact` on never broadcast.
class BroadcastReader {
public:
  BroadcastReader(mlir::OpBuilder &b, mlir::ValueRange operands,
                  llvm::ArrayRef<llvm::SmallVector<int64_t>> operandLoops, int64_t numLoops,
                  int64_t firstExact);

  mlir::ValueRange getInputs() const { return inputs; }
  llvm::ArrayRef<mlir::AffineMap> getMaps() const { return maps; }
  /// In the body, whose first arguments are the inputs: one element for each operand.
  llvm::SmallVector<mlir::Value> read(mlir::OpBuilder &b, mlir::Location loc,
                                      mlir::ValueRange arguments) const;
  mlir::Value readOne(mlir::OpBuilder &b, mlir::Location loc, int64_t operand,
                      mlir::ValueRange arguments) const;

private:
  llvm::SmallVector<mlir::Value> operands, inputs;
  llvm::SmallVector<mlir::AffineMap> maps;
  llvm::SmallVector<llvm::SmallVector<int64_t>> operandLoops;
  /// Position among the inputs, or -1.
  llvm::SmallVector<int64_t> position;
  int64_t firstExact;
};

/// For each operand the loops that its dimensions run with when it broadcasts to `rank` dimensions like
/// numpy.
llvm::SmallVector<llvm::SmallVector<int64_t>> alignAtEnd(mlir::ValueRange operands, int64_t rank);

/// One linalg.generic around the element function of a pointwise op.
LoweredResults lowerPointwise(PointwiseOpInterface op, mlir::OpBuilder &b, mlir::ValueRange operands,
                              mlir::ValueRange inits);

/// `x[indices]` where `inBounds` (i1) holds, else zero; nothing is read then. Null `inBounds` is true.
mlir::Value buildGuardedExtract(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x,
                                mlir::ValueRange indices, mlir::Value inBounds);

/// Converts an integer to index, minding its sign.
mlir::Value toIndex(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x, bool isUnsigned);

/// A tensor with the type `type`, which differs from its own at most in what is known of sizes.
mlir::Value castTo(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x, mlir::Type type);

} // namespace lathe::nn::reference

#endif // LATHE_LIB_DIALECT_NN_IR_NNREFERENCE_H
