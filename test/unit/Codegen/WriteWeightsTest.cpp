// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Codegen/Host/Weights.h"
#include "lathe/Dialect/Pack/IR/Pack.h"

#include "mlir/IR/OwningOpRef.h"
#include "mlir/Parser/Parser.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <optional>

using namespace mlir;
using namespace lathe;

namespace {

class WriteWeightsTest : public testing::Test {
protected:
  WriteWeightsTest() { context.loadDialect<nn::NNDialect, pack::PackDialect>(); }

  /// The weight section of a module, as floats. Pads what is short of a whole float.
  llvm::Expected<std::vector<float>> write(llvm::StringRef text) {
    module = parseSourceString<ModuleOp>(text, &context);
    if (!module) {
      return llvm::createStringError("the test's module does not parse");
    }
    std::string bytes;
    if (llvm::Error error = codegen::writeWeights(
            *module,
            [&](llvm::ArrayRef<char> piece) {
              bytes.append(piece.data(), piece.size());
              return llvm::Error::success();
            },
            [&](nn::WeightOp weight, codegen::ElementCount count) {
              std::string name = weight.getSymName().str();
              if (count.nan || count.infinite) {
                notFinite[name] = {count.nan, count.infinite};
              }
              zeros[name] = count.zeros;
            })) {
      return error;
    }
    std::vector<float> values(bytes.size() / sizeof(float));
    memcpy(values.data(), bytes.data(), values.size() * sizeof(float));
    return values;
  }

  /// The first elements of the section of a module that can be written.
  std::vector<float> head(llvm::StringRef text, size_t count) {
    llvm::Expected<std::vector<float>> values = write(text);
    if (!values) {
      ADD_FAILURE() << llvm::toString(values.takeError());
      return {};
    }
    EXPECT_GE(values->size(), count);
    values->resize(count);
    return *values;
  }

  std::string failure(llvm::StringRef text) {
    llvm::Expected<std::vector<float>> values = write(text);
    return values ? "" : llvm::toString(values.takeError());
  }

  MLIRContext context;
  OwningOpRef<ModuleOp> module;
  /// NaNs and infinities by weight, as the last write found them.
  std::map<std::string, std::pair<int64_t, int64_t>> notFinite;
  /// Zeros by weight, where they were counted.
  std::map<std::string, std::optional<int64_t>> zeros;
};

TEST_F(WriteWeightsTest, EveryWeightStartsAtAMultipleOf64) {
  llvm::Expected<std::vector<float>> values = write(R"(
    nn.weight private @a : tensor<2xf32> = dense<[1.0, 2.0]> {lathe.offset = 0 : i64}
    nn.weight private @b : tensor<1xf32> = dense<3.0> {lathe.offset = 64 : i64}
  )");
  ASSERT_TRUE(bool(values)) << llvm::toString(values.takeError());
  std::vector<float> expected(32, 0.0f);
  expected[0] = 1;
  expected[1] = 2;
  expected[16] = 3;
  EXPECT_EQ(*values, expected);
}

TEST_F(WriteWeightsTest, WhatHasNoPlaceIsNotWritten) {
  llvm::Expected<std::vector<float>> values = write("nn.weight private @a : tensor<2xf32> = dense<1.0>");
  ASSERT_TRUE(bool(values)) << llvm::toString(values.takeError());
  EXPECT_TRUE(values->empty());
}

TEST_F(WriteWeightsTest, SplatsAreWrittenOut) {
  EXPECT_EQ(head("nn.weight private @a : tensor<3xf32> = dense<5.0> {lathe.offset = 0 : i64}", 4),
            std::vector<float>({5, 5, 5, 0}));
}

TEST_F(WriteWeightsTest, BoolsTakeAByte) {
  llvm::Expected<std::vector<float>> values = write(
      "nn.weight private @a : tensor<4xi1> = dense<[true, false, true, true]> {lathe.offset = 0 : i64}");
  ASSERT_TRUE(bool(values)) << llvm::toString(values.takeError());
  uint32_t word;
  memcpy(&word, values->data(), sizeof word);
  EXPECT_EQ(word, 0x01010001u);
}

TEST_F(WriteWeightsTest, TransposesAsItWrites) {
  EXPECT_EQ(head(R"(
    nn.weight private @a : tensor<2x3xf32> = dense<[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]>
    nn.weight private @t : tensor<3x2xf32> computed {
      %0 = nn.weight_use @a : tensor<2x3xf32>
      %1 = nn.transpose %0 perm([1, 0]) : tensor<2x3xf32> -> tensor<3x2xf32>
      nn.yield %1 : tensor<3x2xf32>
    } {lathe.offset = 0 : i64}
  )",
                 6),
            std::vector<float>({1, 4, 2, 5, 3, 6}));
}

TEST_F(WriteWeightsTest, JoinsWhatIsComputed) {
  EXPECT_EQ(head(R"(
    nn.weight private @a : tensor<1x2xf32> = dense<[[1.0, 2.0]]>
    nn.weight private @b : tensor<2x1xf32> = dense<[[3.0], [4.0]]>
    nn.weight private @t : tensor<2x1xf32> computed {
      %0 = nn.weight_use @a : tensor<1x2xf32>
      %1 = nn.transpose %0 perm([1, 0]) : tensor<1x2xf32> -> tensor<2x1xf32>
      nn.yield %1 : tensor<2x1xf32>
    }
    nn.weight private @c : tensor<2x2xf32> computed {
      %0 = nn.weight_use @t : tensor<2x1xf32>
      %1 = nn.weight_use @b : tensor<2x1xf32>
      %2 = nn.concat %0, %1 axis(1) : tensor<2x1xf32>, tensor<2x1xf32> -> tensor<2x2xf32>
      nn.yield %2 : tensor<2x2xf32>
    } {lathe.offset = 0 : i64}
  )",
                 4),
            std::vector<float>({1, 3, 2, 4}));
}

TEST_F(WriteWeightsTest, PanelsArePaddedWithZeros) {
  // Two panels of two columns: [1 2; 4 5], then [3 0; 6 0].
  EXPECT_EQ(head(R"(
    nn.weight private @a : tensor<2x3xf32> = dense<[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]> panel <2 x 1>
      {lathe.offset = 0 : i64}
  )",
                 8),
            std::vector<float>({1, 2, 4, 5, 3, 0, 6, 0}));
}

TEST_F(WriteWeightsTest, InterleavedRowsStandTogether) {
  EXPECT_EQ(head(R"(
    nn.weight private @a : tensor<2x2xf32> = dense<[[1.0, 2.0], [3.0, 4.0]]> panel <2 x 2> {lathe.offset = 0 : i64}
  )",
                 4),
            std::vector<float>({1, 3, 2, 4}));
}

TEST_F(WriteWeightsTest, GroupsAreMatricesOfTheirOwn) {
  EXPECT_EQ(head(R"(
    nn.weight private @a : tensor<2x1x4xf32> = dense<[[[1.0, 2.0, 3.0, 4.0]], [[5.0, 6.0, 7.0, 8.0]]]>
      panel <2 x 1, groups 2 joined 1> {lathe.offset = 0 : i64}
  )",
                 8),
            std::vector<float>({1, 2, 5, 6, 3, 4, 7, 8}));
}

TEST_F(WriteWeightsTest, JoinedGroupsHaveZerosBetweenThem) {
  EXPECT_EQ(head(R"(
    nn.weight private @a : tensor<2x1x4xf32> = dense<[[[1.0, 2.0, 3.0, 4.0]], [[5.0, 6.0, 7.0, 8.0]]]>
      panel <2 x 1, groups 4 joined 2> {lathe.offset = 0 : i64}
  )",
                 16),
            std::vector<float>({1, 0, 0, 2, 5, 0, 0, 6, 3, 0, 0, 4, 7, 0, 0, 8}));
}

TEST_F(WriteWeightsTest, PlacesThatDoNotFollowAreAnError) {
  EXPECT_EQ(failure("nn.weight private @a : tensor<1xf32> = dense<3.0> {lathe.offset = 64 : i64}"),
            "weight @a ends at byte 4 of its section instead of 68");
}

TEST_F(WriteWeightsTest, BytesThatWereLeftOutAreAnError) {
  EXPECT_EQ(failure("nn.weight private @a : tensor<1xf32> = dense_resource<a> {lathe.offset = 0 : i64}"),
            "weight @a needs 4 bytes, its data has 0");
}

TEST_F(WriteWeightsTest, ComputesPointwiseOpsAndGathers) {
  EXPECT_EQ(head(R"(
    nn.weight private @a : tensor<2x2xi8> = dense<[[1, 2], [3, -4]]>
    nn.weight private @i : tensor<3xi64> = dense<[1, 0, -1]>
    nn.weight private @s : tensor<2x1xf32> = dense<[[0.5], [2.0]]>
    nn.weight private @b : tensor<3x2xf32> computed {
      %0 = nn.weight_use @a : tensor<2x2xi8>
      %1 = nn.cast %0 : tensor<2x2xi8> -> tensor<2x2xf32>
      %2 = nn.weight_use @s : tensor<2x1xf32>
      %3 = nn.binary mul %1, %2 : tensor<2x2xf32>, tensor<2x1xf32> -> tensor<2x2xf32>
      %4 = nn.weight_use @i : tensor<3xi64>
      %5 = nn.gather %3, %4 axis(0) : tensor<2x2xf32>, tensor<3xi64> -> tensor<3x2xf32>
      nn.yield %5 : tensor<3x2xf32>
    } {lathe.offset = 0 : i64}
  )",
                 6),
            std::vector<float>({6, -8, 0.5, 1, 6, -8}));
}

TEST_F(WriteWeightsTest, AnIndexOutOfBoundsIsAnError) {
  EXPECT_EQ(failure(R"(
    nn.weight private @a : tensor<2xf32> = dense<[1.0, 2.0]>
    nn.weight private @i : tensor<1xi64> = dense<[-3]>
    nn.weight private @b : tensor<1xf32> computed {
      %0 = nn.weight_use @a : tensor<2xf32>
      %1 = nn.weight_use @i : tensor<1xi64>
      %2 = nn.gather %0, %1 axis(0) : tensor<2xf32>, tensor<1xi64> -> tensor<1xf32>
      nn.yield %2 : tensor<1xf32>
    } {lathe.offset = 0 : i64}
  )"),
            "index -3 lies outside of dimension 0 of size 2");
}

TEST_F(WriteWeightsTest, AnOpThatIsNotInterpretedIsAnError) {
  EXPECT_EQ(failure(R"(
    nn.weight private @a : tensor<2x2xf32> = dense<1.0>
    nn.weight private @b : tensor<2x2xf32> computed {
      %0 = nn.weight_use @a : tensor<2x2xf32>
      %1 = nn.matmul %0, %0 : tensor<2x2xf32>, tensor<2x2xf32> -> tensor<2x2xf32>
      nn.yield %1 : tensor<2x2xf32>
    } {lathe.offset = 0 : i64}
  )"),
            "weights cannot be made by nn.matmul");
}

TEST_F(WriteWeightsTest, ACycleOfWeightsEnds) {
  EXPECT_EQ(failure(R"(
    nn.weight private @a : tensor<1xf32> computed {
      %0 = nn.weight_use @b : tensor<1xf32>
      nn.yield %0 : tensor<1xf32>
    } {lathe.offset = 0 : i64}
    nn.weight private @b : tensor<1xf32> computed {
      %0 = nn.weight_use @a : tensor<1xf32>
      nn.yield %0 : tensor<1xf32>
    }
  )"),
            "weight @b is made of others more than 16 deep");
}

TEST_F(WriteWeightsTest, CountsWhatIsNotFinite) {
  head(R"(
    nn.weight private @bad : tensor<3xf32> = dense<[0x7FC00000, 1.0, 0xFF800000]> {lathe.offset = 0 : i64}
    nn.weight private @good : tensor<2xf32> = dense<[1.0, 2.0]> {lathe.offset = 64 : i64}
  )",
       1);
  std::map<std::string, std::pair<int64_t, int64_t>> expected = {{"bad", {1, 1}}};
  EXPECT_EQ(notFinite, expected);
}

TEST_F(WriteWeightsTest, CountsZerosButNotWhatFillsUpPanels) {
  // Two panels of 4 columns, the second with 2, and pairs of rows, of which the last has one.
  head(R"(
    nn.weight private @rows : tensor<2x3xf32> = dense<[[0.0, -0.0, 1.0], [0.0, 2.0, 3.0]]> {lathe.offset = 0 : i64}
    nn.weight private @panels : tensor<1x6xf32> = dense<[[0.0, 1.0, 2.0, 3.0, 0.0, 4.0]]>
      panel <4 x 1> {lathe.offset = 64 : i64}
    nn.weight private @pairs : tensor<3x6xbf16> = dense<0.0> panel <4 x 2> {lathe.offset = 128 : i64}
    nn.weight private @codes : tensor<4xi8> = dense<0> {lathe.offset = 192 : i64}
  )",
       1);
  std::map<std::string, std::optional<int64_t>> expected = {
      {"rows", 3}, {"panels", 2}, {"pairs", 18}, {"codes", std::nullopt}};
  EXPECT_EQ(zeros, expected);
}

/// A weight that is encoded as int8, with scales of 1 and 2.
static std::string encoded(llvm::StringRef elements) {
  return ("nn.weight private @w : tensor<2x2xf32> = dense<" + elements + R"(>
    nn.weight private @p : !pack.tensor<2x2xf32, #pack.int8<dynamic>> computed {
      %0 = nn.weight_use @w : tensor<2x2xf32>
      %1 = pack.encode %0 : tensor<2x2xf32> -> !pack.tensor<2x2xf32, #pack.int8<dynamic>>
      nn.yield %1 : !pack.tensor<2x2xf32, #pack.int8<dynamic>>
    } {lathe.offset = 0 : i64}
  )")
      .str();
}

TEST_F(WriteWeightsTest, EncodesAsItWrites) {
  std::vector<float> values = head(encoded("[[127.0, -254.0], [-3.0, 4.0]]"), 32);
  ASSERT_EQ(values.size(), 32u);
  const int8_t codes[] = {127, -127, -3, 2};
  EXPECT_EQ(memcmp(values.data(), codes, sizeof codes), 0);
  // The next component begins at a multiple of 64 bytes.
  EXPECT_EQ(values[16], 1);
  EXPECT_EQ(values[17], 2);
}

TEST_F(WriteWeightsTest, SaysWhatCannotBeEncoded) {
  EXPECT_EQ(failure(encoded("[[1.0, 0x7FC00000], [3.0, 4.0]]")),
            "a weight cannot be stored as #pack.int8<dynamic>: 1 of its 4 elements are not finite");
}

TEST_F(WriteWeightsTest, TheSinksErrorIsHandedOn) {
  module = parseSourceString<ModuleOp>(
      "nn.weight private @a : tensor<1xf32> = dense<3.0> {lathe.offset = 0 : i64}", &context);
  ASSERT_TRUE(module);
  llvm::Error error = codegen::writeWeights(
      *module, [](llvm::ArrayRef<char>) { return llvm::createStringError("the disk is full"); },
      [](nn::WeightOp, codegen::ElementCount) {});
  EXPECT_EQ(llvm::toString(std::move(error)), "the disk is full");
}

} // namespace
