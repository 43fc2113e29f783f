// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The register tiles of products of bytes with sums of i32.
///
/// The left-hand side is read four bytes of a row at a time, of either sign. The right-hand side is signed
/// and lies in groups of four rows: element (k, j) stands `k / 4 * rowStride + 4 * j + k % 4` bytes behind
/// its start. This is how weights of 8 bits are stored for every target; see nn::PanelAttr.

#ifndef LATHE_LIB_CODEGEN_CPU_INTEGERTILE_H
#define LATHE_LIB_CODEGEN_CPU_INTEGERTILE_H

#include "lathe/Codegen/CPU/MicroKernel.h"

namespace lathe::cpu {

/// Rows of the right-hand side that lie together.
inline constexpr int64_t kByteGroup = 4;

/// The tiling of products of bytes; see chooseMatMulTiling.
MatMulTiling chooseIntegerTiling(const TargetSpec &target);

/// The tile for `height` rows and `vectors` vectors.
RegisterTile getIntegerTile(const TargetSpec &target, int64_t height, int64_t vectors);

/// A matrix of bytes that is read row by row.
struct ByteRows {
  MatrixRef matrix;
  bool isSigned;
};

/// Groups of rows that stand in a list, as the blocks of a pack::BlocksAttr: the right-hand side has those
/// from number `first` on, and the left-hand side is read at their places. `places` are i16, without sign.
/// There are a multiple of RegisterTile::unroll of them.
struct ListedGroups {
  mlir::Value places;
  mlir::OpFoldResult first, count;
};

/// The sums of a register tile over the groups of a list; see emitIntegerTile.
llvm::SmallVector<mlir::Value> emitListedTile(mlir::OpBuilder &builder, mlir::Location loc,
                                              const TargetSpec &target, const RegisterTile &tile,
                                              const ByteRows &lhs, const MatrixRef &rhs,
                                              const ListedGroups &groups);

/// The sums of a register tile over `depth` bytes, a multiple of kByteGroup, added to `init`: exact for all
/// operands, up to what wraps in 32 bits. `prefetch` counts bytes where others count elements.
llvm::SmallVector<mlir::Value> emitIntegerTile(mlir::OpBuilder &builder, mlir::Location loc,
                                               const TargetSpec &target, const RegisterTile &tile,
                                               const ByteRows &lhs, const MatrixRef &rhs,
                                               mlir::OpFoldResult depth, llvm::ArrayRef<mlir::Value> init,
                                               const PrefetchStream &prefetch = {});

/// The sums of `vectors` vectors of columns of the right-hand side over `depth` rows.
llvm::SmallVector<mlir::Value> emitColumnSums(mlir::OpBuilder &builder, mlir::Location loc,
                                              const TargetSpec &target, int64_t vectors, int64_t lanes,
                                              const MatrixRef &rhs, mlir::OpFoldResult depth);

/// The sum, i32, of `depth` bytes from element `offset` of a buffer on.
mlir::Value emitByteSum(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value base,
                        mlir::OpFoldResult offset, mlir::OpFoldResult depth, bool isSigned);

} // namespace lathe::cpu

#endif // LATHE_LIB_CODEGEN_CPU_INTEGERTILE_H
