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

/// Tiles on the matrix registers of AMX: four of them, 16 rows by 16 columns each, hold the sums of up to 32
/// rows and columns, two the left-hand and two the right-hand side.
class MatrixTiles {
public:
  /// Rows of one register; columns of all of them; bytes of a row that are multiplied at a time.
  static constexpr int64_t kRows = 16, kColumns = 16, kDepth = 64;

  /// The rows of one register: up to kRows, from an offset of the left-hand side and of the sums on.
  struct Rows {
    mlir::OpFoldResult lhsOffset, sumsOffset, count;
  };
  /// One or two registers of rows by `vectors` (1 or 2) of columns. The offsets of `lhs` and `sums`, a buffer
  /// of i32, do not count.
  struct Tile {
    ByteRows lhs;
    MatrixRef sums;
    llvm::SmallVector<Rows, 2> rows;
    int64_t vectors;
  };

  static bool isSupported(const TargetSpec &target) { return target.hasAMXInt8 && target.hasAVX512; }

  /// Prepares the function around `builder`; everything else may then be called anywhere in it.
  MatrixTiles(mlir::OpBuilder &builder, mlir::Location loc);

  /// Begins a tile with sums of 0 if `isFirst` (i1, null: yes), else with those in memory.
  void begin(const Tile &tile, mlir::Value isFirst);
  /// Adds the products over `depth` bytes, a multiple of kDepth, `lhsAhead` bytes behind the rows' offsets.
  void multiply(const Tile &tile, mlir::OpFoldResult lhsAhead, const MatrixRef &rhs,
                mlir::OpFoldResult depth);
  /// Writes the sums to memory.
  void end(const Tile &tile);

  /// Gives the registers back, at the end of the function.
  void release();

private:
  mlir::Value pointer(mlir::Value base, mlir::OpFoldResult offset, int64_t bytes);
  mlir::Value stride(mlir::OpFoldResult elements, int64_t bytes);
  void call(llvm::StringRef intrinsic, mlir::ValueRange operands);
  mlir::Value number(int64_t value);
  /// Makes the registers fit the rows, unless they do.
  void configure(const Tile &tile);
  /// Moves all sums between registers and memory.
  void move(llvm::StringRef intrinsic, const Tile &tile);

  mlir::OpBuilder &builder;
  mlir::Location loc;
  /// The configuration in memory, and the rows that it was last made for.
  mlir::Value configuration, configured;
};

} // namespace lathe::cpu

#endif // LATHE_LIB_CODEGEN_CPU_INTEGERTILE_H
