// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Complex numbers, which ONNX only moves. A tensor of them is two, of the real and of the imaginary parts,
/// and an operator is legalized once for each. As a weight, an argument or a result it is one tensor that has
/// both in a last dimension of its own.

#ifndef LATHE_CONVERSION_ONNXTONN_COMPLEX_H
#define LATHE_CONVERSION_ONNXTONN_COMPLEX_H

#include "Legalizer.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

namespace lathe::onnx {

/// Argument attribute for a while, and mark of a weight's use: the last dimension has the two parts.
inline constexpr llvm::StringLiteral kPartsAttr = "lathe.parts";

/// Gives the weights of `module` that hold complex numbers, and their uses, a dimension for the parts.
void expandComplexWeights(mlir::ModuleOp module);

/// The value of a constant of complex numbers.
LegalValue bindComplex(mlir::OpBuilder &builder, mlir::arith::ConstantOp constant);

/// A tensor whose last dimension has the parts as two tensors, and the other way round.
LegalValue splitParts(LegalizeContext &c, mlir::Value joined);
mlir::Value joinParts(LegalizeContext &c, const LegalValue &value);

enum class Part { Real, Imaginary };

/// Operands with one of the parts in the place of complex numbers.
class PartOperands {
public:
  PartOperands(llvm::ArrayRef<LegalValue *> operands, Part part);

  llvm::SmallVector<LegalValue *> operands;

private:
  std::vector<std::unique_ptr<LegalValue>> parts;
};

} // namespace lathe::onnx

#endif // LATHE_CONVERSION_ONNXTONN_COMPLEX_H
