// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What formats make of numbers, against formulas written out here.

#include "lathe/Dialect/Pack/IR/Pack.h"

#include "mlir/AsmParser/AsmParser.h"
#include "mlir/IR/MLIRContext.h"
#include "llvm/ADT/APFloat.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>

using namespace mlir;
using namespace lathe;

namespace {

class FormatsTest : public testing::Test {
protected:
  FormatsTest() { context.loadDialect<pack::PackDialect>(); }

  pack::FormatAttrInterface parse(llvm::StringRef text) {
    return cast<pack::FormatAttrInterface>(parseAttribute(text, &context));
  }

  nn::ConstantTensor makeTensor(ArrayRef<int64_t> shape, const std::vector<float> &values) {
    auto owner =
        std::make_shared<std::string>(reinterpret_cast<const char *>(values.data()), values.size() * 4);
    return nn::ConstantTensor::makeDense(RankedTensorType::get(shape, Float32Type::get(&context)),
                                         owner->data(), owner);
  }

  /// Numbers of very different sizes, some of which are 0.
  std::vector<float> makeNumbers(size_t count, unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    std::uniform_int_distribution<int> kind(0, 9), exponent(-12, 4);
    std::vector<float> numbers(count);
    for (float &number : numbers) {
      number = kind(random) ? std::ldexp(normal(random), exponent(random)) : 0;
    }
    return numbers;
  }

  template <typename T>
  static std::vector<T> read(const nn::ConstantTensor &tensor) {
    std::vector<T> elements(tensor.getType().getNumElements());
    tensor.copy(0, elements.size(), reinterpret_cast<char *>(elements.data()));
    return elements;
  }

  static float widen(uint16_t bits, const llvm::fltSemantics &semantics) {
    APFloat number(semantics, APInt(16, bits));
    bool lost;
    number.convert(APFloat::IEEEsingle(), APFloat::rmNearestTiesToEven, &lost);
    return number.convertToFloat();
  }

  MLIRContext context;
};

TEST_F(FormatsTest, FloatsAreRoundedAsByLLVM) {
  std::vector<float> numbers = makeNumbers(4096, 1);
  // Ties, subnormals and the ends of the ranges.
  for (uint32_t bits :
       {0u, 0x80000000u, 1u, 0x33000000u, 0x33000001u, 0x33800000u, 0x387fe000u, 0x387ff000u, 0x38800000u,
        0x3f801000u, 0x3f803000u, 0x3f808000u, 0x3f818000u, 0x477fe000u, 0xc77fe000u, 0x00400000u}) {
    numbers.push_back(llvm::bit_cast<float>(bits));
  }
  for (auto [text, semantics] :
       {std::pair("#pack.f16", &APFloat::IEEEhalf()), {"#pack.bf16", &APFloat::BFloat()}}) {
    nn::ConstantParts parts = parse(text).encode(makeTensor({int64_t(numbers.size())}, numbers));
    std::vector<uint16_t> codes = read<uint16_t>(parts[0]);
    for (auto [number, code] : llvm::zip_equal(numbers, codes)) {
      APFloat expected(number);
      bool lost;
      expected.convert(*semantics, APFloat::rmNearestTiesToEven, &lost);
      EXPECT_EQ(code, expected.bitcastToAPInt().getZExtValue()) << text << " of " << number;
    }
  }
}

TEST_F(FormatsTest, Int8TakesTheNearestOf255Steps) {
  constexpr int64_t rows = 40, columns = 9;
  std::vector<float> numbers = makeNumbers(rows * columns, 2);
  for (int64_t i = 0; i < rows; ++i) {
    numbers[i * columns + 3] = 0; // a column of zeros
  }
  nn::ConstantParts parts = parse("#pack.int8<dynamic>").encode(makeTensor({rows, columns}, numbers));
  std::vector<int8_t> codes = read<int8_t>(parts[0]);
  std::vector<float> scales = read<float>(parts[1]);
  ASSERT_EQ(scales.size(), size_t(columns));
  EXPECT_EQ(scales[3], 0);
  for (int64_t j = 0; j < columns; ++j) {
    int largest = 0;
    for (int64_t i = 0; i < rows; ++i) {
      int code = codes[i * columns + j];
      // Half a step, and the rounding of the quotient: 127 has 7 bits, so it is less than 2^-16 of a step.
      EXPECT_LE(std::fabs(numbers[i * columns + j] - float(code) * scales[j]), scales[j] * 0.5001f);
      largest = std::max(largest, std::abs(code));
    }
    EXPECT_EQ(largest, j == 3 ? 0 : 127);
  }
}

struct GroupCase {
  const char *format;
  int bits, group;
  bool zeros, half;
};

class GroupsTest : public FormatsTest, public testing::WithParamInterface<GroupCase> {};

TEST_P(GroupsTest, CodesAreTheNearest) {
  auto [text, bits, group, zeros, half] = GetParam();
  constexpr int64_t rows = 64, columns = 7;
  std::vector<float> numbers = makeNumbers(rows * columns, 3);
  for (int64_t i = 0; i < group; ++i) {
    numbers[i * columns + 2] = 0;                                   // a group of zeros
    numbers[i * columns + 4] = std::fabs(numbers[i * columns + 4]); // one without negative numbers
  }
  nn::ConstantParts parts = parse(text).encode(makeTensor({rows, columns}, numbers));
  ASSERT_EQ(parts.size(), zeros ? 3u : 2u);
  std::vector<uint8_t> bytes = read<uint8_t>(parts[0]), zero;
  ASSERT_EQ(bytes.size(), size_t(rows * columns * bits / 8));
  std::vector<float> scales;
  if (half) {
    for (uint16_t scale : read<uint16_t>(parts[1])) {
      scales.push_back(widen(scale, APFloat::IEEEhalf()));
    }
  } else {
    scales = read<float>(parts[1]);
  }
  if (zeros) {
    zero = read<uint8_t>(parts[2]);
  }
  int each = 8 / bits, last = (1 << bits) - 1, middle = 1 << (bits - 1);
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      int code = bytes[i / each * columns + j] >> (i % each * bits) & last;
      int64_t place = i / group * columns + j;
      float scale = scales[place], number = numbers[i * columns + j];
      int from = zeros ? zero[place] : middle;
      float value = float(code - from) * scale;
      if (scale == 0) {
        EXPECT_EQ(code, from);
        continue;
      }
      // Half a step, unless the code is the first or last: what a rounded scale or zero point leaves beyond
      // is up to one step (without zero points, that is where the range has one code less).
      bool atEnd = code == 0 || code == last;
      EXPECT_LE(std::fabs(number - value), std::fabs(scale) * (atEnd ? 1.01f : 0.5001f)) << i << ", " << j;
    }
  }
  EXPECT_EQ(scales[2], 0);
}

TEST_P(GroupsTest, EncodingAgainChangesNothing) {
  auto [text, bits, group, zeros, half] = GetParam();
  // Numbers that the format has: codes that use the first one, times powers of two.
  constexpr int64_t rows = 64, columns = 5;
  std::mt19937 random(4);
  std::uniform_int_distribution<int> any(0, (1 << bits) - 1), exponent(-6, 6);
  std::vector<float> numbers(rows * columns);
  int middle = 1 << (bits - 1);
  std::vector<int> wanted(rows * columns);
  for (int64_t j = 0; j < columns; ++j) {
    for (int64_t first = 0; first < rows; first += group) {
      float scale = std::ldexp(1.0f, exponent(random));
      for (int64_t i = first; i < first + group; ++i) {
        int code = i == first ? 0 : i == first + 1 ? (1 << bits) - 1 : any(random);
        wanted[i * columns + j] = code;
        numbers[i * columns + j] = float(code - middle) * scale;
      }
    }
  }
  nn::ConstantParts parts = parse(text).encode(makeTensor({rows, columns}, numbers));
  std::vector<uint8_t> bytes = read<uint8_t>(parts[0]);
  int each = 8 / bits;
  for (int64_t i = 0; i < rows * columns; ++i) {
    int64_t row = i / columns, column = i % columns;
    EXPECT_EQ(bytes[row / each * columns + column] >> (row % each * bits) & ((1 << bits) - 1), wanted[i]);
  }
}

struct TableCase {
  const char *name, *format;
  int bits, group;
};

class TableTest : public FormatsTest, public testing::WithParamInterface<TableCase> {
protected:
  /// The code of a row of a column, from the string of bits of the column.
  static unsigned readCode(const std::vector<uint8_t> &bytes, int64_t row, int64_t column, int64_t columns,
                           int bits) {
    unsigned code = 0;
    for (int i = 0; i < bits; ++i) {
      int64_t bit = row * bits + i;
      code |= unsigned(bytes[bit / 8 * columns + column] >> (bit % 8) & 1) << i;
    }
    return code;
  }
};

/// No number of the table is nearer than the one that an element became, and the largest of a group is hit.
TEST_P(TableTest, NumbersAreTheNearest) {
  auto [name, text, bits, group] = GetParam();
  constexpr int64_t rows = 64, columns = 7;
  std::vector<float> numbers = makeNumbers(rows * columns, 3);
  for (int64_t i = 0; i < group; ++i) {
    numbers[i * columns + 2] = 0;
    numbers[i * columns + 4] = -std::fabs(numbers[i * columns + 4]);
  }
  nn::ConstantParts parts = parse(text).encode(makeTensor({rows, columns}, numbers));
  ASSERT_EQ(parts.size(), 3u);
  std::vector<uint8_t> bytes = read<uint8_t>(parts[0]);
  ASSERT_EQ(bytes.size(), size_t(rows * columns * bits / 8));
  std::vector<float> scales = read<float>(parts[1]), table = read<float>(parts[2]);
  float most = 0;
  for (float number : table) {
    most = std::max(most, std::fabs(number));
  }
  for (int64_t first = 0; first < rows; first += group) {
    for (int64_t j = 0; j < columns; ++j) {
      float scale = scales[first / group * columns + j], largest = 0, found = 0;
      for (int64_t i = first; i < first + group; ++i) {
        float number = numbers[i * columns + j];
        unsigned code = readCode(bytes, i, j, columns, bits);
        ASSERT_LT(code, table.size());
        float error = std::fabs(number - table[code] * scale);
        for (float other : table) {
          // The quotient is rounded, by 2^-24 of numbers of the size of the table's.
          EXPECT_LE(error, std::fabs(number - other * scale) + std::fabs(scale) * most * 0x1p-22f);
        }
        largest = std::max(largest, std::fabs(number));
        found = std::max(found, std::fabs(table[code] * scale));
      }
      EXPECT_NEAR(largest, found, largest * 0x1p-22f);
    }
  }
  EXPECT_EQ(scales[2], 0);
}

/// Every number of the table in every place of a byte, and twice the same matrix.
TEST_P(TableTest, EncodingAgainChangesNothing) {
  auto [name, text, bits, group] = GetParam();
  pack::FormatAttrInterface format = parse(text);
  constexpr int64_t rows = 64, columns = 40;
  nn::ConstantParts once = format.encode(makeTensor({rows, columns}, makeNumbers(rows * columns, 5)));
  std::vector<uint8_t> bytes = read<uint8_t>(once[0]);
  std::vector<float> scales = read<float>(once[1]), table = read<float>(once[2]), numbers;
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < columns; ++j) {
      numbers.push_back(table[readCode(bytes, i, j, columns, bits)] * scales[i / group * columns + j]);
    }
  }
  nn::ConstantParts twice = format.encode(makeTensor({rows, columns}, numbers));
  EXPECT_EQ(read<uint8_t>(twice[0]), bytes);
}

TEST_P(TableTest, WithoutCommonProductsCompensationChangesNothing) {
  constexpr int64_t rows = 64, columns = 5;
  std::vector<float> gram(rows * rows);
  for (int64_t i = 0; i < rows; ++i) {
    gram[i * rows + i] = float(1 + i % 7);
  }
  pack::FormatAttrInterface format = parse(GetParam().format);
  nn::ConstantTensor tensor = makeTensor({rows, columns}, makeNumbers(rows * columns, 7));
  nn::ConstantParts nearest = format.encode(tensor), compensated = format.encodeCompensated(tensor, gram);
  EXPECT_EQ(read<uint8_t>(nearest[0]), read<uint8_t>(compensated[0]));
  EXPECT_EQ(read<float>(nearest[1]), read<float>(compensated[1]));
}

INSTANTIATE_TEST_SUITE_P(
    Formats, TableTest,
    testing::Values(TableCase{"Int3", "#pack.codebook<int3, group = 32, scales = f32>", 3, 32},
                    TableCase{"Int3Short", "#pack.codebook<int3, group = 8, scales = f32>", 3, 8},
                    TableCase{"NF4", "#pack.codebook<nf4, group = 64, scales = f32>", 4, 64},
                    TableCase{"F4", "#pack.codebook<f4E2M1FN, group = 32, scales = f32>", 4, 32},
                    TableCase{"F8E4M3", "#pack.codebook<f8E4M3FN, group = 16, scales = f32>", 8, 16},
                    TableCase{"F8E5M2", "#pack.codebook<f8E5M2, group = 32, scales = f32>", 8, 32},
                    TableCase{"OneSided", "#pack.codebook<[0.0, 1.0, 3.0], group = 4, scales = f32>", 2, 4},
                    TableCase{"FiveBits",
                              "#pack.codebook<[-4.0, -3.0, -2.5, -2.0, -1.5, -1.0, -0.75, -0.5, -0.25, 0.0, "
                              "0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5], group = 32, scales = f32>",
                              5, 32}),
    [](const testing::TestParamInfo<TableCase> &info) { return info.param.name; });

/// Rows that are alike, so that many channels can take back what rounding one changes.
static std::vector<float> makeRows(int64_t count, int64_t channels) {
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  std::vector<float> rows(count * channels);
  for (int64_t i = 0; i < count; ++i) {
    float common = normal(random);
    for (int64_t j = 0; j < channels; ++j) {
      rows[i * channels + j] = 2 * common + normal(random);
    }
  }
  return rows;
}

static std::vector<float> multiplyWithItself(const std::vector<float> &rows, int64_t channels) {
  std::vector<float> gram(channels * channels);
  for (size_t first = 0; first < rows.size(); first += channels) {
    for (int64_t i = 0; i < channels; ++i) {
      for (int64_t j = 0; j < channels; ++j) {
        gram[i * channels + j] += rows[first + i] * rows[first + j];
      }
    }
  }
  return gram;
}

TEST_F(FormatsTest, CompensatedRoundingChangesProductsLess) {
  constexpr int64_t rows = 64, columns = 6, count = 200;
  std::mt19937 random(6);
  std::normal_distribution<float> normal;
  std::vector<float> numbers(rows * columns);
  std::generate(numbers.begin(), numbers.end(), [&] { return normal(random); });
  std::vector<float> x = makeRows(count, rows), gram = multiplyWithItself(x, rows);
  pack::FormatAttrInterface format = parse("#pack.int8<dynamic>");
  nn::ConstantTensor tensor = makeTensor({rows, columns}, numbers);
  auto measure = [&](const nn::ConstantParts &parts) {
    std::vector<int8_t> codes = read<int8_t>(parts[0]);
    std::vector<float> scales = read<float>(parts[1]);
    double sum = 0;
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t j = 0; j < columns; ++j) {
        double difference = 0;
        for (int64_t k = 0; k < rows; ++k) {
          double element = double(codes[k * columns + j]) * scales[j];
          difference += x[i * rows + k] * (numbers[k * columns + j] - element);
        }
        sum += difference * difference;
      }
    }
    return sum;
  };
  nn::ConstantParts nearest = format.encode(tensor), compensated = format.encodeCompensated(tensor, gram);
  EXPECT_EQ(read<float>(nearest[1]), read<float>(compensated[1]));
  // Four fifths of the sum lie in the direction that all channels share, in which little is left.
  EXPECT_LT(measure(compensated), 0.5 * measure(nearest));
}

TEST_P(GroupsTest, WithoutCommonProductsCompensationChangesNothing) {
  constexpr int64_t rows = 64, columns = 5;
  std::vector<float> gram(rows * rows);
  for (int64_t i = 0; i < rows; ++i) {
    gram[i * rows + i] = float(1 + i % 7);
  }
  pack::FormatAttrInterface format = parse(GetParam().format);
  nn::ConstantTensor tensor = makeTensor({rows, columns}, makeNumbers(rows * columns, 7));
  nn::ConstantParts nearest = format.encode(tensor), compensated = format.encodeCompensated(tensor, gram);
  ASSERT_EQ(nearest.size(), compensated.size());
  for (auto [one, other] : llvm::zip_equal(nearest, compensated)) {
    size_t bytes = one.getType().getNumElements() * nn::getElementBytes(one.getType().getElementType());
    EXPECT_EQ(memcmp(one.getData(), other.getData(), bytes), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Formats, GroupsTest,
    testing::Values(GroupCase{"#pack.int4<group = 32>", 4, 32, false, true},
                    GroupCase{"#pack.int4<group = 32, zeros = true>", 4, 32, true, true},
                    GroupCase{"#pack.int4<group = 64, scales = f32>", 4, 64, false, false},
                    GroupCase{"#pack.int2<group = 16, zeros = true, scales = f32>", 2, 16, true, false},
                    GroupCase{"#pack.int2<group = 32>", 2, 32, false, true},
                    GroupCase{"#pack.int8_groups<group = 32>", 8, 32, false, true},
                    GroupCase{"#pack.int8_groups<group = 16, zeros = true>", 8, 16, true, true}),
    [](const testing::TestParamInfo<GroupCase> &info) {
      return "Bits" + std::to_string(info.param.bits) + "Group" + std::to_string(info.param.group) +
             (info.param.zeros ? "Zeros" : "") + (info.param.half ? "F16" : "F32");
    });

TEST_F(FormatsTest, TransposedTensorsAreEncodedAsTheyAreSeen) {
  std::vector<float> numbers = makeNumbers(32 * 3, 5), turned(numbers.size());
  for (int64_t i = 0; i < 32; ++i) {
    for (int64_t j = 0; j < 3; ++j) {
      turned[j * 32 + i] = numbers[i * 3 + j];
    }
  }
  pack::FormatAttrInterface format = parse("#pack.int4<group = 32>");
  nn::ConstantParts straight = format.encode(makeTensor({32, 3}, numbers));
  nn::ConstantParts viewed = format.encode(makeTensor({3, 32}, turned).transpose({1, 0}));
  EXPECT_EQ(read<uint8_t>(straight[0]), read<uint8_t>(viewed[0]));
  EXPECT_EQ(read<uint16_t>(straight[1]), read<uint16_t>(viewed[1]));
}

TEST_F(FormatsTest, WhatCannotBeEncodedIsSaid) {
  pack::FormatAttrInterface format = parse("#pack.f16");
  EXPECT_EQ(pack::findUnencodable(format, makeTensor({2}, {65504, -65504})), std::nullopt);
  EXPECT_EQ(pack::findUnencodable(format, makeTensor({2}, {1, -65505})),
            "its largest magnitude is 65505, the limit is 65504");
  EXPECT_EQ(pack::findUnencodable(format, makeTensor({3}, {1, NAN, INFINITY})),
            "2 of its 3 elements are not finite");
}

/// Panels hold what their description says, padded with zeros.
TEST_F(FormatsTest, PanelsOfInt4) {
  constexpr int64_t rows = 64, columns = 35;
  auto format = parse("#pack.int4<group = 32, zeros = true>");
  nn::ConstantParts parts = format.encode(makeTensor({rows, columns}, makeNumbers(rows * columns, 6)));
  auto type = RankedTensorType::get({rows, columns}, Float32Type::get(&context));
  pack::PanelLayout layout = *format.getPanelLayout(type);
  // Scales of two bytes, zero points of one, padded to 128; 4 words of 32 columns.
  EXPECT_EQ(layout.groupBytes(), 128 + 4 * 32 * 4);
  EXPECT_EQ(layout.bytes(), 2 * 2 * layout.groupBytes());
  std::string panels;
  std::vector<std::unique_ptr<std::string>> pieces;
  llvm::Error error = pack::writePanels(layout, parts, [&](size_t size) -> llvm::Expected<char *> {
    pieces.push_back(std::make_unique<std::string>(size, '\0'));
    return pieces.back()->data();
  });
  ASSERT_FALSE(bool(error));
  for (auto &piece : pieces) {
    panels += *piece;
  }
  ASSERT_EQ(int64_t(panels.size()), layout.bytes());
  std::vector<uint8_t> bytes = read<uint8_t>(parts[0]), zeros = read<uint8_t>(parts[2]);
  std::vector<uint16_t> scales = read<uint16_t>(parts[1]);
  for (int64_t column = 0; column < 64; ++column) {
    for (int64_t row = 0; row < rows; ++row) {
      const char *group = panels.data() + column / 32 * layout.panelBytes() + row / 32 * layout.groupBytes();
      uint16_t scale;
      memcpy(&scale, group + column % 32 * 2, 2);
      uint8_t zero = group[64 + column % 32];
      uint32_t word;
      memcpy(&word, group + 128 + (row % 32 / 8 * 32 + column % 32) * 4, 4);
      bool exists = column < columns;
      EXPECT_EQ(scale, exists ? scales[row / 32 * columns + column] : 0);
      EXPECT_EQ(zero, exists ? zeros[row / 32 * columns + column] : 0);
      EXPECT_EQ(word >> (row % 8 * 4) & 15,
                exists ? bytes[row / 2 * columns + column] >> (row % 2 * 4) & 15u : 0u);
    }
  }
}

} // namespace
