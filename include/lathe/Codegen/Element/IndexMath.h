// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Index arithmetic that folds constants as it is built, and what can be said about products of sizes.

#ifndef LATHE_CODEGEN_ELEMENT_INDEXMATH_H
#define LATHE_CODEGEN_ELEMENT_INDEXMATH_H

#include "mlir/IR/Builders.h"
#include "mlir/IR/OpDefinition.h"

#include "llvm/ADT/SmallVector.h"

#include <optional>

namespace lathe::codegen {

/// Builds index arithmetic on sizes and positions, which are never negative but for strides and what is
/// multiplied by them.
struct IndexMath {
  mlir::OpBuilder &builder;
  mlir::Location loc;

  mlir::OpFoldResult constant(int64_t value) { return builder.getIndexAttr(value); }
  mlir::OpFoldResult add(mlir::OpFoldResult lhs, mlir::OpFoldResult rhs);
  mlir::OpFoldResult sub(mlir::OpFoldResult lhs, mlir::OpFoldResult rhs);
  mlir::OpFoldResult mul(mlir::OpFoldResult lhs, mlir::OpFoldResult rhs);
  mlir::OpFoldResult floorDiv(mlir::OpFoldResult lhs, mlir::OpFoldResult rhs);
  mlir::OpFoldResult ceilDiv(mlir::OpFoldResult lhs, mlir::OpFoldResult rhs);
  mlir::OpFoldResult rem(mlir::OpFoldResult lhs, mlir::OpFoldResult rhs);
  mlir::OpFoldResult min(mlir::OpFoldResult lhs, mlir::OpFoldResult rhs);
  mlir::OpFoldResult max(mlir::OpFoldResult lhs, mlir::OpFoldResult rhs);
  mlir::OpFoldResult product(llvm::ArrayRef<mlir::OpFoldResult> factors);

  mlir::Value value(mlir::OpFoldResult size);
  llvm::SmallVector<mlir::Value> values(llvm::ArrayRef<mlir::OpFoldResult> sizes);

  /// The row-major strides of a dense tensor of the given sizes.
  llvm::SmallVector<mlir::OpFoldResult> denseStrides(llvm::ArrayRef<mlir::OpFoldResult> sizes);
  /// The position of `index` in a dense row-major tensor.
  mlir::OpFoldResult linearize(llvm::ArrayRef<mlir::OpFoldResult> index,
                               llvm::ArrayRef<mlir::OpFoldResult> sizes);
  /// The index of position `linear`; the first one is not taken modulo its size.
  llvm::SmallVector<mlir::OpFoldResult> delinearize(mlir::OpFoldResult linear,
                                                    llvm::ArrayRef<mlir::OpFoldResult> sizes);
};

/// Whether a size is the constant `value`.
bool isConstantSize(mlir::OpFoldResult size, int64_t value);

/// Whether two sizes are evidently equal (false: unknown).
bool areEqualSizes(mlir::OpFoldResult lhs, mlir::OpFoldResult rhs);

/// Whether `value` is evidently a multiple of `factor`: constants, sums, products, remainders and minima of
/// multiples, induction variables of loops whose bound and step are.
bool isMultipleOf(mlir::OpFoldResult value, int64_t factor);

/// A product of sizes, comparable up to the order of its factors; products made by `arith.muli` are taken
/// apart.
class SizeProduct {
public:
  SizeProduct() = default;
  explicit SizeProduct(mlir::OpFoldResult size) { multiply(size); }

  void multiply(mlir::OpFoldResult size);
  bool operator==(const SizeProduct &other) const {
    return constant == other.constant && (constant == 0 || factors == other.factors);
  }
  /// Whether all factors of this product are among those of `other`.
  bool divides(const SizeProduct &other) const;

private:
  int64_t constant = 1;
  llvm::SmallVector<mlir::Value> factors; ///< Sorted by address: for comparison only.
};

/// Ranges [oldBegin, oldEnd) and [newBegin, newEnd) of dimensions that hold the same elements.
struct DimGroup {
  int64_t oldBegin, oldEnd, newBegin, newEnd;
};

/// Splits a reshape between two shapes of equal element counts into the smallest groups that are evident.
llvm::SmallVector<DimGroup> getReshapeGroups(llvm::ArrayRef<mlir::OpFoldResult> oldDims,
                                             llvm::ArrayRef<mlir::OpFoldResult> newDims);

} // namespace lathe::codegen

#endif // LATHE_CODEGEN_ELEMENT_INDEXMATH_H
