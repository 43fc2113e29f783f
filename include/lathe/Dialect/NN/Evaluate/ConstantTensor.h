// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Tensors whose elements lie somewhere in memory, seldom copied.

#ifndef LATHE_DIALECT_NN_EVALUATE_CONSTANTTENSOR_H
#define LATHE_DIALECT_NN_EVALUATE_CONSTANTTENSOR_H

#include "mlir/IR/BuiltinTypes.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"

#include <memory>
#include <string>

namespace lathe::nn {

/// The bytes of one element in memory; what is narrower than a byte takes one.
int64_t getElementBytes(mlir::Type type);

/// Elements `[lo, lo + size)` of a tensor, at `base + sum of (index - lo) * stride` bytes. Strides may be
/// zero or negative.
struct StridedBlock {
  const char *base;
  llvm::SmallVector<int64_t> lo, size, stride;
};

/// A tensor as a list of strided blocks: a transposition permutes strides, a slice moves the base and scales
/// strides, a broadcast sets them to zero, a concatenation shifts and collects blocks, a reshape splits
/// dimensions. A copy is made only where a reshape merges dimensions that do not follow each other in memory,
/// and where a tensor of several blocks is sliced, broadcast or reshaped.
///
/// Memory that was made for it is shared between tensors; mapped memory must outlive them.
class ConstantTensor {
public:
  using Buffer = std::shared_ptr<std::string>;

  /// Row-major elements of `type` (static) at `data`, which lie in `owner` unless that is null.
  static ConstantTensor makeDense(mlir::RankedTensorType type, const char *data, Buffer owner = {});
  /// One element everywhere.
  static ConstantTensor makeSplat(mlir::RankedTensorType type, llvm::ArrayRef<char> element);

  mlir::RankedTensorType getType() const { return type; }
  llvm::ArrayRef<StridedBlock> getBlocks() const { return blocks; }

  ConstantTensor transpose(llvm::ArrayRef<int64_t> perm) const;
  ConstantTensor reshape(llvm::ArrayRef<int64_t> shape) const;
  /// To a shape to which this one broadcasts.
  ConstantTensor expand(llvm::ArrayRef<int64_t> shape) const;
  /// Everything must lie within the tensor; strides may be negative.
  ConstantTensor slice(llvm::ArrayRef<int64_t> offsets, llvm::ArrayRef<int64_t> sizes,
                       llvm::ArrayRef<int64_t> strides) const;
  static ConstantTensor concat(llvm::ArrayRef<ConstantTensor> parts, int64_t axis);

  /// The same elements row after row in memory.
  ConstantTensor toDense() const;
  /// The elements of a dense tensor.
  const char *getData() const { return blocks.front().base; }

  /// Copies elements [first, first + count) in row-major order.
  void copy(int64_t first, int64_t count, char *to) const;

private:
  explicit ConstantTensor(mlir::RankedTensorType type) : type(type) {}
  bool isDense() const;
  /// Itself if it is one block, else a dense copy.
  ConstantTensor toOneBlock() const;
  ConstantTensor withShape(llvm::ArrayRef<int64_t> shape, StridedBlock block) const;

  mlir::RankedTensorType type;
  llvm::SmallVector<StridedBlock> blocks;
  llvm::SmallVector<Buffer> owners;
};

/// A tensor or, of a packed one, its components.
using ConstantParts = llvm::SmallVector<ConstantTensor, 1>;

/// Copies the part of row `index` (all dimensions but the last) between columns [first, last) to `to`.
void copyRow(llvm::ArrayRef<StridedBlock> blocks, llvm::ArrayRef<int64_t> index, int64_t first, int64_t last,
             int64_t elementBytes, char *to);

/// Advances a row-major index to the next position; after the last one comes the first.
void advance(llvm::MutableArrayRef<int64_t> index, llvm::ArrayRef<int64_t> shape);

} // namespace lathe::nn

#endif // LATHE_DIALECT_NN_EVALUATE_CONSTANTTENSOR_H
