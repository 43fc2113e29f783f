// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// How kernels read a matrix that is stored in a format.

#ifndef LATHE_DIALECT_PACK_IR_PANELS_H
#define LATHE_DIALECT_PACK_IR_PANELS_H

#include "lathe/Dialect/NN/Evaluate/ConstantTensor.h"

#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/MathExtras.h"

#include <numeric>
#include <optional>

namespace lathe::pack {

/// The panels of a matrix. A panel has kWidth columns, the last one is padded with zeros, and holds groups of
/// rows one after the other. A group begins with its parameters, padded to kParameterAlignment bytes: a scale
/// for each column, then a zero point, a byte, for each column. Its codes follow in units of words of 32
/// bits: one for each column, with the codes of consecutive rows, the first in the low bits; then the words
/// of the rows behind them. A unit is the least number of words that hold whole codes, those of unitRows()
/// rows.
struct PanelLayout {
  static constexpr int64_t kWidth = 32, kWordBytes = 4, kParameterAlignment = 64;
  /// Elements of a row that share a scale where the format rounds rows.
  static constexpr int64_t kRoundedGroup = 32;

  int64_t rows, columns;
  /// Of a code.
  int64_t bits;
  /// The rows that share parameters: a multiple of unitRows(), or all.
  int64_t group;
  /// Null if codes stand for elements by themselves.
  mlir::Type scales;
  bool hasZeros = false;
  /// If codes are integers: the one that stands for 0 where there are no zero points.
  std::optional<int64_t> middle = std::nullopt;
  /// Whether codes are signed bytes, to which 128 is added.
  bool isSigned = false;
  /// Whether rows that they are multiplied with are rounded to integers of 8 bits.
  bool roundsRows = false;

  int64_t unitWords() const { return bits / std::gcd(bits, 8 * kWordBytes); }
  int64_t unitRows() const { return 8 * kWordBytes * unitWords() / bits; }
  int64_t scaleBytes() const { return scales ? kWidth * scales.getIntOrFloatBitWidth() / 8 : 0; }
  int64_t parameterBytes() const {
    return llvm::alignTo(scaleBytes() + (hasZeros ? kWidth : 0), kParameterAlignment);
  }
  int64_t groupBytes() const {
    return parameterBytes() + llvm::divideCeil(group, unitRows()) * unitWords() * kWidth * kWordBytes;
  }
  int64_t panelBytes() const { return llvm::divideCeil(rows, group) * groupBytes(); }
  int64_t bytes() const { return llvm::divideCeil(columns, kWidth) * panelBytes(); }
};

/// Arranges the components of a matrix: codes, of which as many as fill an element lie in it, scales and zero
/// points. `reserve` returns room for as many bytes, zeroed, behind what it returned before.
llvm::Error writePanels(const PanelLayout &layout, const nn::ConstantParts &components,
                        llvm::function_ref<llvm::Expected<char *>(size_t)> reserve);

} // namespace lathe::pack

#endif // LATHE_DIALECT_PACK_IR_PANELS_H
