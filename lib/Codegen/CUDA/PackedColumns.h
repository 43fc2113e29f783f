// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Weights that are stored in a format, as kernels of a device read them.

#ifndef LATHE_LIB_CODEGEN_CUDA_PACKEDCOLUMNS_H
#define LATHE_LIB_CODEGEN_CUDA_PACKEDCOLUMNS_H

#include "lathe/Codegen/CUDA/Emitters.h"
#include "lathe/Codegen/Element/IndexMath.h"
#include "lathe/Dialect/Pack/IR/Pack.h"

namespace lathe::cuda {

/// The right-hand side of a product in the panels of its format: codes of consecutive rows of a column lie in
/// words, those of neighbouring columns side by side, and the scales of a group of rows before its words.
class PackedColumns {
public:
  /// Whether a product reads its right-hand side so.
  static bool areRead(mlir::Value rhs) { return rhs.getDefiningOp<pack::DecodeOp>() != nullptr; }
  explicit PackedColumns(mlir::Value rhs);

  /// The rows of a unit, whose codes fill whole words; the units of a column.
  int64_t getUnitRows() const { return layout.unitRows(); }
  int64_t countUnits() const { return layout.rows / layout.unitRows(); }

  /// A unit of some neighbouring columns as it is stored; zero points and scales may be null.
  struct Words {
    llvm::SmallVector<mlir::Value> words;
    mlir::Value zeros, scales;
  };
  /// Loads a unit of `lanes` columns from `column` on, all of one panel and in one piece of so many words.
  Words load(IndexMath math, mlir::OpFoldResult column, mlir::OpFoldResult unit, int64_t lanes) const;

  /// The same as vectors of f32: for each of its rows the codes, and what these are multiplied with, or null.
  struct Unit {
    llvm::SmallVector<mlir::Value> codes;
    mlir::Value scales;
  };
  Unit decode(IndexMath math, const Words &words) const;

private:
  pack::FormatAttrInterface format;
  pack::PanelLayout layout;
  mlir::Value bytes;
};

} // namespace lathe::cuda

#endif // LATHE_LIB_CODEGEN_CUDA_PACKEDCOLUMNS_H
