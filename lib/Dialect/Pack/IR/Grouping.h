// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What formats have in common whose codes share scales: in groups of rows of a column, or by column.

#ifndef LATHE_LIB_DIALECT_PACK_IR_GROUPING_H
#define LATHE_LIB_DIALECT_PACK_IR_GROUPING_H

#include "lathe/Dialect/NN/Evaluate/ConstantTensor.h"

#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Diagnostics.h"

namespace lathe::pack {

using Buffer = nn::ConstantTensor::Buffer;

/// Zeroed room for the elements of a type, and a tensor of what was written there.
Buffer makeBuffer(mlir::RankedTensorType type);
nn::ConstantTensor makeTensor(mlir::RankedTensorType type, const Buffer &buffer);

/// The rows of a tensor as a matrix, of which the last dimension is the columns; or, if they are compensated,
/// what that makes of them.
class Matrix {
public:
  explicit Matrix(const nn::ConstantTensor &tensor);

  int64_t getRows() const { return rows; }
  int64_t getColumns() const { return columns; }

  /// Copies `count` rows from `first` on.
  void read(int64_t first, int64_t count, float *to) const;

  /// Rounds rows with `round` so that products change little, of which `gram` is the sum (see
  /// Compensation.h).
  void compensate(llvm::ArrayRef<float> gram,
                  llvm::function_ref<void(size_t row, llvm::MutableArrayRef<float> elements)> round);

private:
  const nn::ConstantTensor &tensor;
  int64_t columns, rows;
  std::vector<float> elements;
};

/// Codes of `bits` bits, of which those of `size` rows of a column share a scale. The codes of a column are a
/// string of bits, which begins in the low bits of its first byte.
struct Grouping {
  int64_t bits, size;
  /// f16 or f32.
  mlir::Type scales;

  llvm::LogicalResult verify(llvm::function_ref<mlir::InFlightDiagnostic()> emitError) const;
  llvm::LogicalResult verifyTensor(llvm::function_ref<mlir::InFlightDiagnostic()> emitError,
                                   mlir::RankedTensorType type) const;
  /// Codes, ui8 of [..., K * bits / 8, N], and scales, [..., K / size, N].
  llvm::SmallVector<mlir::RankedTensorType> getComponents(mlir::RankedTensorType type) const;

  /// A scale as it is stored.
  float roundScale(float scale) const;
  /// Stores one that is rounded.
  void writeScale(Buffer &buffer, int64_t place, float scale) const;
  /// Stores the code of a row of a column.
  void writeCode(Buffer &buffer, int64_t row, int64_t column, int64_t columns, uint32_t code) const;

  /// Numbers of type `type`, of which each group is scaled: [..., K, N].
  mlir::Value buildScaled(mlir::OpBuilder &builder, mlir::Location loc, mlir::RankedTensorType type,
                          mlir::Value numbers, mlir::Value scales) const;
};

/// A reshape to static sizes.
mlir::Value buildStaticReshape(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value x,
                               llvm::ArrayRef<int64_t> shape);
/// [..., K, 1, N] of [..., K, N].
mlir::Value buildSplitRows(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value x);

} // namespace lathe::pack

#endif // LATHE_LIB_DIALECT_PACK_IR_GROUPING_H
