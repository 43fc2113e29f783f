// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Weights that the file holds in a format of the pack dialect.

#ifndef LATHE_CONVERSION_ONNXTONN_PACKEDWEIGHTS_H
#define LATHE_CONVERSION_ONNXTONN_PACKEDWEIGHTS_H

#include "Legalizer.h"

namespace lathe::onnx {

/// A [rows, columns] matrix in blocks of rows: `bytes`, for each column its codes, first ones in low bits,
/// then `scales` and, unless null, `zeros`, codes like the others, for each column its blocks.
struct PackedBlocks {
  int64_t rows, columns, bits, blockSize;
  mlir::Value bytes, scales, zeros;
  /// Whether what the matrix is multiplied with is rounded to 8 bits, as formats do.
  bool roundsRows = false;
};

/// The matrix, decoded from a weight that is made of the file's bytes when the artifact is written. Null if
/// there is no such format, or something is no constant: `whyNot` says what.
mlir::Value buildPackedBlocks(LegalizeContext &c, const PackedBlocks &blocks, std::string &whyNot);

} // namespace lathe::onnx

#endif // LATHE_CONVERSION_ONNXTONN_PACKEDWEIGHTS_H
