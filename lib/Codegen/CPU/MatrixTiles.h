// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Tiles on the matrix registers of AMX.

#ifndef LATHE_LIB_CODEGEN_CPU_MATRIXTILES_H
#define LATHE_LIB_CODEGEN_CPU_MATRIXTILES_H

#include "lathe/Codegen/CPU/MicroKernel.h"

#include <optional>

namespace lathe::cpu {

/// Tiles on the matrix registers of AMX: four of them, 16 rows by 16 columns each, hold the sums of up to 32
/// rows and columns, two the left-hand and two the right-hand side. Four bytes of a row of the left-hand side
/// are multiplied at a time, so as many elements of a column of the right-hand side lie together; see
/// nn::PanelAttr.
class MatrixTiles {
public:
  /// The elements of the left-hand side. Those of the right-hand side are signed bytes, or bf16 as well; sums
  /// are i32, or f32.
  enum class Element { SignedByte, UnsignedByte, BF16 };

  /// Rows of one register; columns of all of them; bytes of a row that are multiplied at a time.
  static constexpr int64_t kRows = 16, kColumns = 16, kDepthBytes = 64;

  /// The rows of one register: up to kRows, from an offset of the left-hand side and of the sums on.
  struct Rows {
    mlir::OpFoldResult lhsOffset, sumsOffset, count;
  };
  /// One or two registers of rows by `vectors` (1 or 2) of columns. The offsets of `lhs` and `sums` do not
  /// count.
  struct Tile {
    MatrixRef lhs, sums;
    llvm::SmallVector<Rows, 2> rows;
    int64_t vectors;
  };

  /// How many elements of a row are multiplied at a time.
  static int64_t getDepth(Element element) { return kDepthBytes / (element == Element::BF16 ? 2 : 1); }

  static bool isSupported(const TargetSpec &target, Element element) {
    return target.hasAVX512 && (element == Element::BF16 ? target.hasAMXBF16 : target.hasAMXInt8);
  }

  /// Prepares the function around `builder`; everything else may then be called anywhere in it.
  MatrixTiles(mlir::OpBuilder &builder, mlir::Location loc, Element element);

  int64_t depth() const { return getDepth(element); }

  /// Begins a tile with sums of 0 if `isFirst` (i1, null: yes), else with those in memory.
  void begin(const Tile &tile, mlir::Value isFirst);
  /// What a tile fetches into the second-level cache while it computes: with each step, `lines` cache lines,
  /// a multiple of kFetchedLines, from `ahead` elements behind the step's rows of the right-hand side on.
  struct Prefetch {
    mlir::OpFoldResult ahead, lines;
  };
  static constexpr int64_t kFetchedLines = 8;

  /// Adds the products over `depth` elements, a multiple of `depth()`, `lhsAhead` elements behind the rows'
  /// offsets.
  void multiply(const Tile &tile, mlir::OpFoldResult lhsAhead, const MatrixRef &rhs, mlir::OpFoldResult depth,
                std::optional<Prefetch> prefetch = {});
  /// Writes the sums to memory.
  void end(const Tile &tile);

  /// Gives the registers back, at the end of the function.
  void release();

private:
  void fetch(const MatrixRef &rhs, mlir::OpFoldResult from, const Prefetch &prefetch);
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
  Element element;
  int64_t elementBytes;
  /// The configuration in memory, and the rows that it was last made for.
  mlir::Value configuration, configured;
};

} // namespace lathe::cpu

#endif // LATHE_LIB_CODEGEN_CPU_MATRIXTILES_H
