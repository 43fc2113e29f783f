// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Import/Wire.h"

#include <gtest/gtest.h>

using namespace lathe;

namespace {

std::string number(uint64_t value) {
  std::string out;
  for (; value > 127; value >>= 7) {
    out += char((value & 127) | 128);
  }
  return out + char(value);
}

std::string field(unsigned number_, const std::string &body) {
  return number(number_ << 3 | 2) + number(body.size()) + body;
}

std::string modelOf(const std::string &graph) { return "\x08\x0a" + field(7, graph); }

TEST(WireTest, RawDataBecomesARange) {
  std::string data = "sixteen bytes...";
  std::string file = modelOf(field(5, field(8, "w") + field(9, data)));
  WireResult result = walkModel(file);
  ASSERT_EQ(result.status, WireStatus::Ok) << result.error;
  EXPECT_EQ(result.tensors, 1u);
  EXPECT_EQ(result.structure.find(data), std::string::npos);
  // The range is the last thing in the tensor, and the tensor the last thing in the model.
  std::vector<DataRange> ranges =
      dataRanges(std::string_view(result.structure).substr(result.structure.size() - sizeof(DataRange)));
  ASSERT_EQ(ranges.size(), 1u);
  EXPECT_EQ(ranges[0].field, 9u);
  EXPECT_EQ(file.substr(ranges[0].offset, ranges[0].length), data);
}

TEST(WireTest, PackedValuesBecomeRanges) {
  std::string file = modelOf(field(5, field(7, "\x01\x02\x03") + field(8, "w")));
  WireResult result = walkModel(file);
  ASSERT_EQ(result.status, WireStatus::Ok) << result.error;
  std::vector<DataRange> ranges =
      dataRanges(std::string_view(result.structure).substr(result.structure.size() - sizeof(DataRange)));
  EXPECT_EQ(ranges[0].field, 7u);
  EXPECT_EQ(ranges[0].length, 3u);
}

TEST(WireTest, DocumentationIsDropped) {
  WireResult result =
      walkModel(modelOf(field(2, "main") + field(10, std::string(1000, 'd'))) + field(6, "doc"));
  ASSERT_EQ(result.status, WireStatus::Ok) << result.error;
  EXPECT_LT(result.structure.size(), 100u);
}

TEST(WireTest, DocumentationDoesNotCountAgainstTheLimit) {
  ModelLimits limits;
  limits.structureBytes = 100;
  EXPECT_EQ(walkModel(modelOf(field(10, std::string(1000, 'd'))), limits).status, WireStatus::Ok);
  EXPECT_EQ(walkModel(modelOf(field(2, std::string(1000, 'd'))), limits).status, WireStatus::TooLarge);
}

TEST(WireTest, EveryPrefixIsRefused) {
  std::string file =
      modelOf(field(1, field(1, "x") + field(2, "y") + field(4, "Relu")) + field(12, field(1, "y")));
  ASSERT_EQ(walkModel(file).status, WireStatus::Ok);
  // The first field alone is a whole, if poor, message.
  for (size_t length = 3; length < file.size(); ++length) {
    EXPECT_NE(walkModel(file.substr(0, length)).status, WireStatus::Ok) << length;
  }
}

TEST(WireTest, NodesOfSubgraphsCount) {
  std::string inner = field(1, field(4, "Relu")) + field(1, field(4, "Relu"));
  std::string file = modelOf(field(1, field(4, "If") + field(5, field(1, "then_branch") + field(6, inner))));
  ModelLimits limits;
  limits.nodes = 3;
  EXPECT_EQ(walkModel(file, limits).nodes, 3u);
  limits.nodes = 2;
  WireResult refused = walkModel(file, limits);
  EXPECT_EQ(refused.status, WireStatus::TooLarge);
  EXPECT_EQ(refused.limit, &ModelLimits::nodes);
}

} // namespace
