// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Matrices of which only some blocks are not zero.

#ifndef LATHE_DIALECT_PACK_IR_BLOCKS_H
#define LATHE_DIALECT_PACK_IR_BLOCKS_H

#include "lathe/Dialect/NN/Evaluate/ConstantTensor.h"

#include "llvm/Support/MathExtras.h"

namespace lathe::pack {

/// How the blocks of a matrix are stored; see BlocksAttr.
struct BlockLayout {
  /// A column's blocks are filled up to a multiple of this, so that loops over them can be unrolled.
  static constexpr int64_t kStep = 4;
  /// Products of floats read blocks of one row and up to so many columns, a power of two, of matrices of up
  /// to so many rows: these many elements of rows they keep transposed.
  static constexpr int64_t kMostRows = 4096, kMostColumns = 4;
  /// Those of bytes read blocks of this size.
  static constexpr int64_t kByteRows = 4, kByteColumns = 32;

  /// Of the matrix, and of a block.
  int64_t rows, columns, blockRows, blockColumns;
  /// The room for blocks.
  int64_t count;
  mlir::Type element;

  int64_t rowBlocks() const { return llvm::divideCeil(rows, blockRows); }
  int64_t columnBlocks() const { return llvm::divideCeil(columns, blockColumns); }
  int64_t blockElements() const { return blockRows * blockColumns; }
  /// The places, in bytes, of the components one behind the other.
  int64_t startsAt() const { return 0; }
  int64_t placesAt() const;
  int64_t valuesAt() const;
  int64_t sumsAt() const;
};

/// A tensor whose dimensions before the last count as rows.
inline int64_t getMatrixRows(mlir::RankedTensorType type) {
  return type.getShape().back() ? type.getNumElements() / type.getShape().back() : 0;
}

/// Calls `visit(row of blocks, column of blocks, elements)` for the blocks of a tensor that are not zero, row
/// after row. The elements are [columns][rows]; what lies outside of the matrix is zero.
void forEachBlock(const nn::ConstantTensor &tensor, int64_t rows, int64_t columns,
                  llvm::function_ref<void(int64_t, int64_t, llvm::ArrayRef<char>)> visit);

/// How many blocks are not zero.
int64_t countBlocks(const nn::ConstantTensor &tensor, int64_t rows, int64_t columns);

} // namespace lathe::pack

#endif // LATHE_DIALECT_PACK_IR_BLOCKS_H
