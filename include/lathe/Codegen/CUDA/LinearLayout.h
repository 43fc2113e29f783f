// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Where the elements of a tile lie: in the registers of a warp's lanes, or in shared memory.
///
/// A layout maps the bits of a number to those of a place, linearly over xor: the place of a number is the
/// xor of the images of its bits. That covers powers of two in any order and what spreads rows over the banks
/// of shared memory, and the place of a sum of numbers without common bits is the xor of their places: what
/// is known when code is emitted is a constant.

#ifndef LATHE_CODEGEN_CUDA_LINEARLAYOUT_H
#define LATHE_CODEGEN_CUDA_LINEARLAYOUT_H

#include "mlir/IR/Builders.h"
#include "llvm/ADT/SmallVector.h"

namespace lathe::cuda {

class LinearLayout {
public:
  /// A layout with these images, of bit 0 first.
  explicit LinearLayout(llvm::ArrayRef<uint64_t> images) : images(images) {}
  /// Of numbers of so many bits, each of which is its own place.
  static LinearLayout identity(unsigned bits);

  /// The layout with bits [from, from + count) of a number xored into bits [to, to + count) of its place.
  LinearLayout swizzled(unsigned from, unsigned to, unsigned count) const;
  /// The place that `next` gives the place of a number.
  LinearLayout then(const LinearLayout &next) const;

  unsigned getBits() const { return unsigned(images.size()); }
  uint64_t apply(uint64_t number) const;
  /// All bits that places of numbers with no bits but those of `mask` have.
  uint64_t getImage(uint64_t mask) const;
  /// Whether every place below 2^getBits() has exactly one number.
  bool isBijective() const;

  /// The place of `number`, an integer or an index.
  mlir::Value build(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value number) const;

private:
  llvm::SmallVector<uint64_t, 16> images;
};

/// An operand's tile in shared memory: `lines` of neighbours in memory, in chunks of 16 bytes, of which a
/// line has a power of two. Numbers count chunks line by line, and so do places.
struct SharedTileShape {
  int64_t lines, chunks;
  /// The chunks of a line that a warp reads in one step: 1 by ldmatrix, of 8 lines; 2 by single words, of 4.
  int64_t chunksAtOnce = 1;
  /// Of single words, how far these lines lie apart: 1 or 2.
  int64_t lineStep = 1;

  int64_t getBytes() const { return lines * chunks * 16; }
  /// The layout in which what is read in one step lies in different banks.
  LinearLayout getLayout() const;
};

/// Of mma.sync m16n8: the number of a sum is `lane | register << 5`, its place `row << 3 | column`.
LinearLayout getAccumulatorLayout();

/// Of ldmatrix x4: which chunk's address lane `lane` gives, as `line * chunks + chunk`. The four matrices are
/// two blocks of 8 lines in each of two chunks. `linesFirst`: the second one is the next block of the first
/// chunk, else the first block of the next chunk.
LinearLayout getMatrixRows(const SharedTileShape &shape, bool linesFirst);

} // namespace lathe::cuda

#endif // LATHE_CODEGEN_CUDA_LINEARLAYOUT_H
