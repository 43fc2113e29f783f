// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What threads of a block do together.

#ifndef LATHE_LIB_CODEGEN_CUDA_DEVICEOPS_H
#define LATHE_LIB_CODEGEN_CUDA_DEVICEOPS_H

#include "lathe/Codegen/CUDA/Emitters.h"
#include "lathe/Codegen/Element/IndexMath.h"

namespace lathe::cuda {

/// Waits until all threads of the block are here, and what they wrote to shared memory is there.
void emitBarrier(mlir::OpBuilder &builder, mlir::Location loc);

/// The value that the lane with the number of this one, xor `distance`, has; all lanes of the warp take part.
/// Values of up to 64 bits.
mlir::Value emitExchange(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value value, int64_t distance);

/// The i32 that lane number `lane`, an index, has; all lanes of the warp take part.
mlir::Value emitRead(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value word, mlir::Value lane);

/// `position < end`; null where that is evident, as `end` is a multiple of the tile that positions are in.
mlir::Value emitIsInside(IndexMath math, mlir::OpFoldResult position, mlir::OpFoldResult end, int64_t tile);
/// Of two conditions, each of which may be null.
mlir::Value emitBoth(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value lhs, mlir::Value rhs);

/// `ptr` as a memref of one dynamic dimension.
mlir::Value makeMemRef(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value ptr, mlir::MemRefType type);

/// The elements of shared memory that are read by one instruction, and its alignment.
inline constexpr int64_t kSharedVector = 4, kSharedAlignment = 16;
/// `kSharedVector` elements of 32 bits from a place that is a multiple of it on.
llvm::SmallVector<mlir::Value> loadShared(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value memory,
                                          mlir::Value place);

} // namespace lathe::cuda

#endif // LATHE_LIB_CODEGEN_CUDA_DEVICEOPS_H
