// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Rounding of a matrix so that products with it change little, rather than its elements.

#ifndef LATHE_LIB_DIALECT_PACK_IR_COMPENSATION_H
#define LATHE_LIB_DIALECT_PACK_IR_COMPENSATION_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLFunctionalExtras.h"

#include <vector>

namespace lathe::pack {

/// With G, the sum of x^T x over rows x, and D, what rounding takes off W, products change by a sum of
/// squares of tr(D^T G D). If G = U U^T, U upper triangular, that is the square of U^T D, whose row k is
///
///     U[k][k] D[k] + sum over i < k of U[i][k] D[i]
///
/// So row after row is rounded to what is nearest to W[k] + (sum over i < k of U[i][k] D[i]) / U[k][k]: what
/// the rows before have changed is taken back as far as this one can. Rows of large channels come first,
/// while many are left to compensate.
class Compensation {
public:
  /// `gram` is [K, K], row-major. A hundredth of the mean of its diagonal is added to that: channels that
  /// were seldom other than 0 would make it singular.
  Compensation(llvm::ArrayRef<float> gram, size_t rows);

  /// Rounds the rows of `weights`, [K, N]. `round` gets the number of a row and makes of its elements the
  /// nearest that the format has.
  void run(std::vector<float> &weights,
           llvm::function_ref<void(size_t row, llvm::MutableArrayRef<float> elements)> round) const;

private:
  size_t rows;
  /// The rows in the order in which they are rounded.
  std::vector<size_t> order;
  /// Row k: U[i][k] / U[k][k] for i < k, in that order.
  std::vector<float> shares;
};

} // namespace lathe::pack

#endif // LATHE_LIB_DIALECT_PACK_IR_COMPENSATION_H
