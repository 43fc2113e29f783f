// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Matrices in blocks: packing and unpacking changes nothing, and pruning leaves the greatest.

#include "lathe/Dialect/Pack/IR/Pack.h"

#include "mlir/IR/MLIRContext.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

using namespace mlir;
using namespace lathe;

namespace {

class BlocksTest : public testing::Test {
protected:
  BlocksTest() { context.loadDialect<pack::PackDialect>(); }

  template <typename T>
  nn::ConstantTensor makeTensor(ArrayRef<int64_t> shape, const std::vector<T> &values) {
    auto owner = std::make_shared<std::string>(reinterpret_cast<const char *>(values.data()),
                                               values.size() * sizeof(T));
    Type element = sizeof(T) == 1 ? Type(IntegerType::get(&context, 8)) : Type(Float32Type::get(&context));
    return nn::ConstantTensor::makeDense(RankedTensorType::get(shape, element), owner->data(), owner);
  }

  template <typename T>
  static std::vector<T> read(const nn::ConstantTensor &tensor) {
    std::vector<T> elements(tensor.getType().getNumElements());
    tensor.copy(0, elements.size(), reinterpret_cast<char *>(elements.data()));
    return elements;
  }

  /// The matrix again.
  template <typename T>
  static std::vector<T> unpack(pack::BlocksAttr format, RankedTensorType type,
                               const nn::ConstantParts &parts) {
    int64_t rows = type.getDimSize(0), columns = type.getDimSize(1);
    std::vector<T> matrix(rows * columns);
    auto starts = read<int32_t>(parts[0]);
    auto places = read<uint16_t>(parts[1]);
    auto values = read<T>(parts[2]);
    int64_t height = format.getRows(), width = format.getColumns();
    for (size_t column = 0; column + 1 < starts.size(); ++column) {
      EXPECT_EQ((starts[column + 1] - starts[column]) % 4, 0);
      for (int64_t block = starts[column]; block < starts[column + 1]; ++block) {
        for (int64_t j = 0; j < width; ++j) {
          for (int64_t i = 0; i < height; ++i) {
            int64_t row = places[block] * height + i, to = column * width + j;
            T value = values[(block * width + j) * height + i];
            if (row < rows && to < columns) {
              matrix[row * columns + to] += value;
            } else {
              EXPECT_EQ(value, 0);
            }
          }
        }
      }
    }
    return matrix;
  }

  /// Random numbers, of which about a share is in blocks that are not zero.
  template <typename T>
  std::vector<T> makeMatrix(int64_t rows, int64_t columns, int64_t height, int64_t width, double share) {
    std::vector<bool> stored(llvm::divideCeil(rows, height) * llvm::divideCeil(columns, width));
    std::bernoulli_distribution some(share);
    for (size_t i = 0; i < stored.size(); ++i) {
      stored[i] = some(random);
    }
    std::vector<T> matrix(rows * columns);
    std::uniform_int_distribution<int> number(-127, 127);
    for (int64_t i = 0; i < rows * columns; ++i) {
      int64_t block = i / columns / height * llvm::divideCeil(columns, width) + i % columns / width;
      matrix[i] = stored[block] ? T(number(random)) : T(0);
    }
    return matrix;
  }

  template <typename T>
  void checkRoundTrip(int64_t rows, int64_t columns, int64_t height, int64_t width, double share) {
    std::vector<T> matrix = makeMatrix<T>(rows, columns, height, width, share);
    nn::ConstantTensor tensor = makeTensor<T>({rows, columns}, matrix);
    pack::BlocksAttr format = pack::BlocksAttr::getFor(tensor, height, width);
    ASSERT_EQ(pack::findUnencodable(format, tensor), std::nullopt);
    nn::ConstantParts parts = format.encode(tensor);
    EXPECT_EQ(unpack<T>(format, tensor.getType(), parts), matrix);
    if (sizeof(T) == 1) {
      auto sums = read<int32_t>(parts[3]);
      for (int64_t j = 0; j < columns; ++j) {
        int32_t sum = 0;
        for (int64_t i = 0; i < rows; ++i) {
          sum += matrix[i * columns + j];
        }
        EXPECT_EQ(sums[j], sum);
      }
    }
  }

  pack::SparsityAttr sparsity(pack::ZeroPattern pattern, int64_t zeros) {
    return pack::SparsityAttr::get(&context, pattern, zeros);
  }

  MLIRContext context;
  std::mt19937 random{7};
};

TEST_F(BlocksTest, PackingAndUnpackingChangesNothing) {
  for (int i = 0; i < 60; ++i) {
    std::uniform_int_distribution<int64_t> size(1, 70), block(1, 5);
    std::uniform_real_distribution<double> share(0, 1);
    int64_t rows = size(random), columns = size(random);
    checkRoundTrip<float>(rows, columns, 1, 4, share(random));
    checkRoundTrip<float>(rows, columns, block(random), block(random), share(random));
    checkRoundTrip<int8_t>(rows, columns, 4, 32, share(random));
  }
}

TEST_F(BlocksTest, ZerosHaveNoSign) {
  std::vector<float> matrix(16, -0.0f);
  matrix[5] = -0.0f;
  nn::ConstantTensor tensor = makeTensor<float>({4, 4}, matrix);
  EXPECT_EQ(pack::countBlocks(tensor, 1, 4), 0);
}

TEST_F(BlocksTest, MoreBlocksThanThereIsRoomForAreRefused) {
  nn::ConstantTensor tensor = makeTensor<float>({9, 4}, std::vector<float>(36, 1));
  EXPECT_EQ(pack::findUnencodable(pack::BlocksAttr::get(&context, 1, 4, 12), tensor), std::nullopt);
  EXPECT_EQ(pack::findUnencodable(pack::BlocksAttr::get(&context, 1, 4, 11), tensor),
            "it takes 12 blocks, there is room for 11");
}

TEST_F(BlocksTest, PruningLeavesTheGreatestBlocks) {
  std::vector<float> matrix = makeMatrix<float>(30, 16, 1, 1, 1);
  nn::ConstantTensor tensor = makeTensor<float>({30, 16}, matrix);
  auto pruned = read<float>(pack::prune(tensor, {sparsity(pack::ZeroPattern::Block, 750), 1, 4, {}}));
  auto sum = [&](int64_t block) {
    float total = 0;
    for (int64_t i = 0; i < 4; ++i) {
      total += std::fabs(matrix[block * 4 + i]);
    }
    return total;
  };
  float least[4] = {INFINITY, INFINITY, INFINITY, INFINITY}, greatest[4] = {};
  int64_t kept[4] = {};
  for (int64_t block = 0; block < 120; ++block) {
    int64_t column = block % 4;
    bool stays =
        std::any_of(&pruned[block * 4], &pruned[block * 4] + 4, [](float value) { return value != 0; });
    EXPECT_TRUE(!stays || std::equal(&pruned[block * 4], &pruned[block * 4] + 4, &matrix[block * 4]));
    kept[column] += stays;
    least[column] = stays ? std::min(least[column], sum(block)) : least[column];
    greatest[column] = stays ? greatest[column] : std::max(greatest[column], sum(block));
  }
  for (int64_t column = 0; column < 4; ++column) {
    EXPECT_EQ(kept[column], 30 - 22);
    EXPECT_GE(least[column], greatest[column]);
  }
}

TEST_F(BlocksTest, OfEqualOnesTheFirstStay) {
  nn::ConstantTensor tensor = makeTensor<float>({5, 2}, std::vector<float>(10, 3));
  auto pruned = read<float>(pack::prune(tensor, {sparsity(pack::ZeroPattern::Unstructured, 700), 1, 1, {}}));
  EXPECT_EQ(pruned, (std::vector<float>{3, 3, 3, 3, 0, 0, 0, 0, 0, 0}));
}

TEST_F(BlocksTest, TwoOfFourRowsOfEachColumnStay) {
  nn::ConstantTensor tensor =
      makeTensor<float>({6, 2}, std::vector<float>{1, 8, -5, 7, 3, -6, 4, 5, 1, 0, 2, -9});
  auto pruned = read<float>(pack::prune(tensor, {sparsity(pack::ZeroPattern::TwoOfFour, 500), 1, 1, {}}));
  EXPECT_EQ(pruned, (std::vector<float>{0, 8, -5, 7, 0, 0, 4, 0, 1, 0, 2, -9}));
}

TEST_F(BlocksTest, NormsWeighRowsWithinColumns) {
  nn::ConstantTensor tensor = makeTensor<float>({4, 2}, std::vector<float>{4, 1, 3, 2, 2, 3, 1, 4});
  std::vector<float> norms{1, 1, 1, 10};
  auto pruned =
      read<float>(pack::prune(tensor, {sparsity(pack::ZeroPattern::Unstructured, 500), 1, 1, norms}));
  // 4, 3, 2, 10 and 1, 2, 3, 40.
  EXPECT_EQ(pruned, (std::vector<float>{4, 0, 0, 0, 0, 3, 1, 4}));
}

} // namespace
