// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Compensation.h"

#include "llvm/ADT/STLExtras.h"

#include <cmath>
#include <numeric>

using namespace llvm;
using namespace lathe::pack;

/// Which share of the mean of the diagonal is added to it.
static constexpr double kDamping = 0.01;

Compensation::Compensation(ArrayRef<float> gram, size_t rows) : rows(rows), order(rows), shares(rows * rows) {
  auto diagonal = [&](size_t row) { return std::max<double>(gram[row * rows + row], 0); };
  double damping = 0;
  for (size_t row = 0; row < rows; ++row) {
    damping += diagonal(row) / double(rows);
  }
  damping = damping > 0 ? kDamping * damping : 1;
  std::iota(order.begin(), order.end(), 0);
  llvm::sort(order,
             [&](size_t a, size_t b) { return std::pair(-diagonal(a), a) < std::pair(-diagonal(b), b); });

  // The lower triangle of G, from which one column of U after the other is split off, the last first.
  std::vector<double> rest(rows * rows), column(rows);
  for (size_t i = 0; i < rows; ++i) {
    for (size_t j = 0; j <= i; ++j) {
      rest[i * rows + j] = gram[order[i] * rows + order[j]];
    }
    rest[i * rows + i] = diagonal(order[i]) + damping;
  }
  for (size_t k = rows; k-- > 0;) {
    // Sums of squares have a positive diagonal; rounding must not make it less than what was added.
    double pivot = std::sqrt(std::max(rest[k * rows + k], damping));
    for (size_t i = 0; i < k; ++i) {
      column[i] = rest[k * rows + i] / pivot;
      shares[k * rows + i] = float(column[i] / pivot);
    }
    for (size_t i = 0; i < k; ++i) {
      double factor = column[i];
      for (size_t j = 0; j <= i; ++j) {
        rest[i * rows + j] -= factor * column[j];
      }
    }
  }
}

void Compensation::run(std::vector<float> &weights,
                       function_ref<void(size_t, MutableArrayRef<float>)> round) const {
  size_t columns = rows ? weights.size() / rows : 0;
  // What rounding has taken off each row, in the order of rounding.
  std::vector<float> taken(rows * columns), wanted(columns);
  for (size_t k = 0; k < rows; ++k) {
    MutableArrayRef<float> row(weights.data() + order[k] * columns, columns);
    wanted.assign(row.begin(), row.end());
    for (size_t i = 0; i < k; ++i) {
      float share = shares[k * rows + i];
      const float *from = taken.data() + i * columns;
      for (size_t j = 0; j < columns; ++j) {
        wanted[j] += share * from[j];
      }
    }
    for (size_t j = 0; j < columns; ++j) {
      taken[k * columns + j] = row[j];
    }
    round(order[k], wanted);
    for (size_t j = 0; j < columns; ++j) {
      row[j] = wanted[j];
      taken[k * columns + j] -= wanted[j];
    }
  }
}
