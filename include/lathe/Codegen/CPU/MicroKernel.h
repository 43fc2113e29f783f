// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The register tile that matrix products, convolutions and attention share, and which of them have a kernel.

#ifndef LATHE_CODEGEN_CPU_MICROKERNEL_H
#define LATHE_CODEGEN_CPU_MICROKERNEL_H

#include "lathe/Codegen/CPU/TargetSpec.h"
#include "lathe/Dialect/NN/IR/NN.h"

#include "mlir/IR/Builders.h"

#include <string>

namespace lathe::cpu {

/// What a register tile multiplies; its sums are f32.
enum class Factors {
  /// f32 by f32.
  Floats,
  /// bf16 by bf16. Pairs of rows of the right-hand side lie together: element (k, j) stands `k / 2 *
  /// rowStride
  /// + 2 * j + k % 2` elements behind its start. See nn::PanelAttr.
  Pairs
};

/// How many rows of the right-hand side lie together.
inline int64_t getGroup(Factors factors) { return factors == Factors::Floats ? 1 : 2; }

/// The part of a result that stays in registers: `rows` times `vectors` vectors of `lanes` elements. The loop
/// over the reduced dimension is unrolled; `chains` independent sums keep enough additions in flight when
/// there are few rows.
struct RegisterTile {
  int64_t rows = 1, vectors = 1, lanes = 16;
  int64_t unroll = 4, chains = 1;
  Factors factors = Factors::Floats;
  /// Whether one instruction multiplies pairs of bf16 and adds the products up.
  bool hasDot = false;

  int64_t columns() const { return vectors * lanes; }
  int64_t sums() const { return rows * vectors; }
};

/// How a product is divided for a target: the one cost table of matrix products.
struct MatMulTiling {
  /// Rows and width of the tallest register tile; what is left of the rows is done by one lower tile.
  int64_t rows, vectors, lanes;
  /// At most this many rows belong to one task: a multiple of `rows`.
  int64_t blockRows;
  /// At most this much of the reduced dimension is done at a time.
  int64_t blockDepth;
  Factors factors = Factors::Floats;
  bool hasDot = false;

  int64_t columns() const { return vectors * lanes; }
  /// The tile for `height` rows and `vectors` vectors.
  RegisterTile tile(int64_t height, int64_t vectors) const;
};

/// The tiling of products with sums of f32, measured on Zen 4 and Sapphire Rapids.
MatMulTiling chooseMatMulTiling(const TargetSpec &target, Factors factors = Factors::Floats);

/// A matrix in memory: element (i, j) lies at `offset + i * rowStride + j * columnStride` of `base`.
struct MatrixRef {
  mlir::Value base, offset;
  mlir::OpFoldResult rowStride, columnStride;
};

/// Elements of 32 bits, or pairs of those of 16, in a cache line.
inline constexpr int64_t kCacheLine = 16;

/// What a tile fetches into the second-level cache while it computes: with each unrolled step, `lines` cache
/// lines that lie `ahead` elements or pairs behind the step's rows of the right-hand side. More than 4 lines
/// hold a tile up.
struct PrefetchStream {
  mlir::OpFoldResult ahead;
  int64_t lines = 0;
};

/// The cache lines of rows of `panelWidth` elements that an unrolled step of a tile goes through.
int64_t getStepLines(const MatMulTiling &tiling, int64_t panelWidth);

/// Which of a step's lines tile `number` fetches, if every tile fetches `lines` of them: the first one's
/// position.
mlir::OpFoldResult getPrefetchShare(mlir::OpBuilder &builder, mlir::Location loc, mlir::OpFoldResult number,
                                    int64_t lines, int64_t stepLines);

/// Emits `body(lines)` for the least number of lines, a power of two up to 4, at which the tiles of `done`
/// rows cover a panel with their shares: a copy of the code for each number, chosen when it runs.
void emitPrefetchingTiles(mlir::OpBuilder &builder, mlir::Location loc, const MatMulTiling &tiling,
                          mlir::OpFoldResult done, int64_t stepLines, llvm::function_ref<void(int64_t)> body);

/// Emits `sums[r, v] += lhs[r, k] * rhs[k, v * lanes ...]` over `depth` values of k and returns the sums, row
/// by row. Elements of `lhs` are read one by one, or as pairs (its column stride is 1), rows of `rhs` as
/// vectors (its column stride is 1), under `masks` if there are any (one for each vector, null for whole
/// vectors; only of Factors::Floats). Of a pair that `depth` ends in, only the first half is multiplied.
llvm::SmallVector<mlir::Value>
emitRegisterTile(mlir::OpBuilder &builder, mlir::Location loc, const RegisterTile &tile, const MatrixRef &lhs,
                 const MatrixRef &rhs, mlir::OpFoldResult depth, llvm::ArrayRef<mlir::Value> init,
                 llvm::ArrayRef<mlir::Value> masks = {}, const PrefetchStream &prefetch = {});

/// The transpose of a square matrix given by its rows: as many vectors of as many lanes, a power of two.
llvm::SmallVector<mlir::Value> emitTranspose(mlir::OpBuilder &builder, mlir::Location loc,
                                             llvm::ArrayRef<mlir::Value> rows);

/// A buffer of `size` elements on the stack, made at the top of the function around `builder`.
mlir::Value makeScratch(mlir::OpBuilder &builder, mlir::Location loc, mlir::Type elementType, int64_t size);

/// The most elements of a convolution's input that one window may span: they are copied, all channels, where
/// a window needs a border of zeros.
inline constexpr int64_t kMaxConvWindow = 128 << 10;

/// Whether getConvEmitter or getAttentionEmitter take an op; if not, why.
bool canEmitConv(nn::ConvOp op, std::string &whyNot);
bool canEmitAttention(nn::AttentionOp op, std::string &whyNot);

} // namespace lathe::cpu

#endif // LATHE_CODEGEN_CPU_MICROKERNEL_H
