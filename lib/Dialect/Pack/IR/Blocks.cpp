// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Which blocks of a matrix are zero, and which are to become so.

#include "lathe/Dialect/Pack/IR/Blocks.h"

#include "lathe/Dialect/Pack/IR/Pack.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>

using namespace mlir;
using namespace lathe;
using namespace lathe::pack;

static int64_t placeAfter(int64_t place, int64_t bytes) {
  return llvm::alignTo(place + bytes, nn::kComponentAlignment);
}

int64_t BlockLayout::placesAt() const {
  return placeAfter(startsAt(), (columnBlocks() + 1) * sizeof(int32_t));
}

int64_t BlockLayout::valuesAt() const { return placeAfter(placesAt(), count * sizeof(uint16_t)); }

int64_t BlockLayout::sumsAt() const {
  return placeAfter(valuesAt(), count * blockElements() * nn::getElementBytes(element));
}

/// Whether any of `elements`, f32 or i8, is no zero.
static bool hasElements(Type element, ArrayRef<char> elements) {
  if (!element.isF32()) {
    return llvm::any_of(elements, [](char byte) { return byte != 0; });
  }
  for (size_t i = 0; i < elements.size(); i += sizeof(float)) {
    float value;
    memcpy(&value, elements.data() + i, sizeof value);
    if (value != 0) { // nor -0
      return true;
    }
  }
  return false;
}

void pack::forEachBlock(const nn::ConstantTensor &tensor, int64_t rows, int64_t columns,
                        llvm::function_ref<void(int64_t, int64_t, ArrayRef<char>)> visit) {
  RankedTensorType type = tensor.getType();
  int64_t bytes = nn::getElementBytes(type.getElementType());
  int64_t matrixRows = getMatrixRows(type), matrixColumns = type.getShape().back();
  int64_t padded = llvm::alignTo(matrixColumns, columns);
  std::vector<char> lines(rows * padded * bytes), block(rows * columns * bytes);
  for (int64_t first = 0; first < matrixRows; first += rows) {
    int64_t count = std::min(rows, matrixRows - first);
    if (count < rows) {
      std::fill(lines.begin(), lines.end(), 0);
    }
    for (int64_t row = 0; row < count; ++row) {
      tensor.copy((first + row) * matrixColumns, matrixColumns, lines.data() + row * padded * bytes);
    }
    for (int64_t column = 0; column < padded; column += columns) {
      for (int64_t j = 0; j < columns; ++j) {
        for (int64_t i = 0; i < rows; ++i) {
          memcpy(block.data() + (j * rows + i) * bytes, lines.data() + (i * padded + column + j) * bytes,
                 bytes);
        }
      }
      if (hasElements(type.getElementType(), block)) {
        visit(first / rows, column / columns, block);
      }
    }
  }
}

int64_t pack::countBlocks(const nn::ConstantTensor &tensor, int64_t rows, int64_t columns) {
  int64_t count = 0;
  forEachBlock(tensor, rows, columns, [&](int64_t, int64_t, ArrayRef<char>) { ++count; });
  return count;
}

//===----------------------------------------------------------------------===//
// Pruning
//===----------------------------------------------------------------------===//

namespace {

/// Chooses what stays of a matrix.
class Pruner {
public:
  Pruner(const nn::ConstantTensor &tensor, const Pruning &pruning)
      : pruning(pruning), rows(getMatrixRows(tensor.getType())), columns(tensor.getType().getShape().back()),
        values(rows * columns) {
    tensor.copy(0, rows * columns, reinterpret_cast<char *>(values.data()));
  }

  std::vector<float> run();

private:
  int64_t rowBlocks() const { return llvm::divideCeil(rows, pruning.rows); }
  int64_t columnBlocks() const { return llvm::divideCeil(columns, pruning.columns); }
  void score();
  /// Of the blocks of a column, keeps all but as many as are to go.
  void choose(int64_t column);
  void chooseTwoOfFour();

  const Pruning &pruning;
  int64_t rows, columns;
  std::vector<float> values, scores;
  std::vector<bool> stays;
};

} // namespace

void Pruner::score() {
  scores.resize(rowBlocks() * columnBlocks());
  std::vector<double> sums(columnBlocks());
  for (int64_t block = 0; block < rowBlocks(); ++block) {
    std::fill(sums.begin(), sums.end(), 0);
    for (int64_t row = block * pruning.rows; row < std::min((block + 1) * pruning.rows, rows); ++row) {
      double norm = pruning.norms.empty() ? 1 : pruning.norms[row];
      for (int64_t column = 0; column < columns; ++column) {
        sums[column / pruning.columns] += std::fabs(values[row * columns + column]) * norm;
      }
    }
    for (int64_t i = 0; i < columnBlocks(); ++i) {
      // What is not a number stays, so that it is found.
      scores[block * columnBlocks() + i] = std::isnan(sums[i]) ? HUGE_VALF : float(sums[i]);
    }
  }
}

void Pruner::choose(int64_t column) {
  int64_t count = rowBlocks(), kept = count - count * pruning.sparsity.getZeros() / 1000;
  std::vector<float> own(count);
  for (int64_t i = 0; i < count; ++i) {
    own[i] = scores[i * columnBlocks() + column];
  }
  std::nth_element(own.begin(), own.begin() + (kept - 1), own.end(), std::greater<float>());
  float least = own[kept - 1];
  int64_t equal = kept - std::count_if(own.begin(), own.end(), [&](float score) { return score > least; });
  for (int64_t i = column; i < count * columnBlocks(); i += columnBlocks()) {
    stays[i] = scores[i] > least || (scores[i] == least && equal-- > 0);
  }
}

void Pruner::chooseTwoOfFour() {
  constexpr int64_t kGroup = 4;
  for (int64_t row = 0; row < rows; row += kGroup) {
    int64_t last = std::min(row + kGroup, rows);
    for (int64_t column = 0; column < columns; ++column) {
      for (int64_t i = row; i < last; ++i) {
        float own = scores[i * columns + column];
        int64_t greater = 0;
        for (int64_t j = row; j < last; ++j) {
          float other = scores[j * columns + column];
          greater += other > own || (other == own && j < i);
        }
        stays[i * columns + column] = greater < kGroup / 2;
      }
    }
  }
}

std::vector<float> Pruner::run() {
  score();
  stays.resize(scores.size());
  if (pruning.sparsity.getPattern() == ZeroPattern::TwoOfFour) {
    chooseTwoOfFour();
  } else {
    for (int64_t column = 0; column < columnBlocks(); ++column) {
      choose(column);
    }
  }
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < columns; ++column) {
      if (!stays[row / pruning.rows * columnBlocks() + column / pruning.columns]) {
        values[row * columns + column] = 0;
      }
    }
  }
  return std::move(values);
}

nn::ConstantTensor pack::prune(const nn::ConstantTensor &tensor, const Pruning &pruning) {
  if (tensor.getType().getNumElements() == 0) {
    return tensor;
  }
  std::vector<float> values = Pruner(tensor, pruning).run();
  auto owner = std::make_shared<std::string>(reinterpret_cast<const char *>(values.data()),
                                             values.size() * sizeof(float));
  return nn::ConstantTensor::makeDense(tensor.getType(), owner->data(), owner);
}

LogicalResult SparsityAttr::verify(function_ref<InFlightDiagnostic()> emitError, ZeroPattern pattern,
                                   int64_t zeros) {
  if (zeros < 1 || zeros > 999) {
    return emitError() << "expects 1 to 999 zeros of a thousand elements, but they are " << zeros;
  }
  if (pattern == ZeroPattern::TwoOfFour && zeros != 500) {
    return emitError() << "expects 500 zeros of a thousand elements, as two of four are, but they are "
                       << zeros;
  }
  return success();
}
