// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The right-hand side of a product in the panels of a format.

#ifndef LATHE_LIB_CODEGEN_CPU_PACKEDPANELS_H
#define LATHE_LIB_CODEGEN_CPU_PACKEDPANELS_H

#include "MatMulGrid.h"
#include "lathe/Codegen/CPU/Emitters.h"
#include "lathe/Codegen/CPU/MicroKernel.h"
#include "lathe/Codegen/Element/IndexMath.h"
#include "lathe/Dialect/Pack/IR/Pack.h"

namespace lathe::cpu {

/// Panels of codes and their parameters (pack::PanelLayout), decoded in registers.
class PackedPanels {
public:
  /// The panels from which the right-hand side is decoded, if it is.
  static std::optional<PackedPanels> find(EmitContext &context, const MatMulProblem &problem);

  /// Rows are decoded so many at a time.
  int64_t getUnitRows() const { return layout.unitRows(); }
  /// Whether `emitFewRows` reads no row behind the last one.
  bool hasWholeUnits() const { return layout.rows % layout.unitRows() == 0; }

  /// Decodes `depth` rows from `firstDepth`, a multiple of getUnitRows(), on into `buffer`, whose rows have
  /// the columns of a tile and whose number is a multiple of getUnitRows(), too.
  void decode(mlir::OpBuilder &builder, mlir::Location loc, const MatMulTiling &tiling,
              mlir::OpFoldResult firstColumn, mlir::Value firstDepth, mlir::OpFoldResult depth,
              mlir::Value buffer) const;

  /// Makes ready for the products of a few rows, all that there are: whether there are so few, and what they
  /// hold fits. In front of all tasks.
  mlir::Value prepareFewRows(mlir::OpBuilder &builder, mlir::Location loc, const TargetSpec &target,
                             mlir::OpFoldResult rows, const MatrixRef &lhs);
  /// Their products with all rows of the panel, into `scratch`, whose rows have the columns of a tile. What
  /// is decoded stays in registers, and is scaled once it is summed up over a group.
  void emitFewRows(mlir::OpBuilder &builder, mlir::Location loc, const MatMulTiling &tiling,
                   mlir::OpFoldResult rows, const MatrixRef &lhs, mlir::OpFoldResult firstColumn,
                   mlir::Value scratch) const;

  // Where rows have been rounded (pack-round-rows), all rows are multiplied as emitFewRows does:
  // PackedDots.cpp.
  /// The rows of a task of at most `tiling.blockRows`.
  static int64_t getBlockRows(const TargetSpec &target, const MatMulProblem &problem,
                              const MatMulTiling &tiling);
  /// Makes room for so many rows, or returns false: the target has no such products of these. In front of all
  /// tasks.
  bool makeRoundedRows(mlir::OpBuilder &builder, mlir::Location loc, const TargetSpec &target,
                       const MatrixRef &lhs, int64_t most);
  /// Splits rows into digits. Whether all elements are finite.
  mlir::Value splitRows(mlir::OpBuilder &builder, mlir::Location loc, mlir::OpFoldResult rows,
                        const MatrixRef &lhs);

private:
  llvm::SmallVector<mlir::Value> emitProducts(mlir::OpBuilder &builder, mlir::Location loc,
                                              const RegisterTile &tile, const MatrixRef &lhs,
                                              mlir::OpFoldResult firstColumn) const;

  // By dot products of bytes: PackedDots.cpp.
  /// So many elements of a row share a power of two, or a scale; 0 if groups are no multiples of such. The
  /// number of digits of an element, and the bytes that a span takes.
  int64_t getSpan() const;
  int64_t getDigits() const;
  int64_t getSpanBytes() const;
  /// For how many rows there are digits: 0 without the instruction, or if codes are no integers.
  int64_t getMostDigitRows(const TargetSpec &target, const MatrixRef &lhs) const;
  /// Makes room for the digits of `most` rows.
  void makeDigits(mlir::OpBuilder &builder, mlir::Location loc, int64_t most);
  llvm::SmallVector<mlir::Value> emitDots(mlir::OpBuilder &builder, mlir::Location loc,
                                          const RegisterTile &tile, mlir::Value firstRow,
                                          mlir::OpFoldResult firstColumn) const;
  void emitDotRows(mlir::OpBuilder &builder, mlir::Location loc, const MatMulTiling &tiling,
                   mlir::OpFoldResult rows, mlir::OpFoldResult firstColumn, mlir::Value scratch) const;

  /// Whether pack-round-rows has rounded the rows of a product: formats that ask for it say so, too, but then
  /// they may be as they were.
  static bool areRounded(const MatMulProblem &problem);

  PackedPanels(pack::PackedTensorType type, bool areRounded)
      : format(type.getFormat()), layout(*format.getPanelLayout(type.getTensorType())) {
    layout.roundsRows &= areRounded;
  }

  /// Of each vector of columns; empty where the format has none.
  struct Parameters {
    llvm::SmallVector<mlir::Value> scales, zeros;
  };
  Parameters loadParameters(mlir::OpBuilder &builder, mlir::Location loc, const RegisterTile &tile,
                            mlir::OpFoldResult firstColumn, mlir::OpFoldResult group) const;
  /// The place, in bytes, of the panel that holds a column, and of a group in it.
  mlir::OpFoldResult getGroupPlace(mlir::OpBuilder &builder, mlir::Location loc,
                                   mlir::OpFoldResult firstColumn, mlir::OpFoldResult group) const;
  /// The place of unit number `unit` of a group, in words.
  mlir::OpFoldResult getUnitPlace(mlir::OpBuilder &builder, mlir::Location loc,
                                  mlir::OpFoldResult firstColumn, mlir::OpFoldResult group,
                                  mlir::OpFoldResult unit) const;
  mlir::Value loadWords(mlir::OpBuilder &builder, mlir::Location loc, const RegisterTile &tile,
                        mlir::OpFoldResult place, int64_t vector) const;
  /// All words of the unit at `place`.
  llvm::SmallVector<mlir::Value> loadUnit(mlir::OpBuilder &builder, mlir::Location loc,
                                          const RegisterTile &tile, mlir::OpFoldResult place,
                                          int64_t vector) const;
  /// What code number `position` of a unit stands for before it is scaled.
  mlir::Value buildCode(mlir::OpBuilder &builder, mlir::Location loc, mlir::ValueRange unit, int64_t position,
                        mlir::Value zeros) const;
  /// Fetches what lies behind the words at `place`.
  void fetchAhead(mlir::OpBuilder &builder, mlir::Location loc, const RegisterTile &tile,
                  mlir::OpFoldResult place, int64_t vector) const;

  pack::FormatAttrInterface format;
  pack::PanelLayout layout;
  /// The panels as words, as scales (null if there are none), and as bytes.
  mlir::Value words, scales, bytes;
  /// The rows' digits, as words and as bytes; null if there are none.
  mlir::Value digits, digitBytes;
  /// Without digits: the most rows that are few.
  int64_t few = 0;
};

/// The grain of a product: rows that are few are made ready by each worker that takes some of the tasks.
mlir::OpFoldResult raisePackedGrain(IndexMath math, const MatMulProblem &problem, mlir::OpFoldResult grain);

} // namespace lathe::cpu

#endif // LATHE_LIB_CODEGEN_CPU_PACKEDPANELS_H
