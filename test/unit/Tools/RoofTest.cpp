// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Roof.h"
#include "gtest/gtest.h"

using namespace lathe;

namespace {

TEST(Roof, boundsByTheCachesThatHoldTheBytes) {
  Roof roof;
  roof.bandwidths = {{1000, 8}, {2000, 4}, {3000, 2}};
  EXPECT_EQ(roof.bytesPerSecond(0), 8);
  EXPECT_EQ(roof.bytesPerSecond(1000), 8);
  EXPECT_EQ(roof.bytesPerSecond(1500), 6);
  EXPECT_EQ(roof.bytesPerSecond(2000), 4);
  EXPECT_EQ(roof.bytesPerSecond(5000), 2);
  EXPECT_EQ(roof.memoryBytesPerSecond(), 2);
}

TEST(Roof, measuresEveryLevel) {
  Roof roof = measureRoof(2);
  EXPECT_GT(roof.flopsPerSecond, 1e9);
  ASSERT_GT(roof.bandwidths.size(), 2u);
  for (size_t i = 1; i < roof.bandwidths.size(); ++i) {
    EXPECT_LT(roof.bandwidths[i - 1].bytes, roof.bandwidths[i].bytes);
    EXPECT_GE(roof.bandwidths[i - 1].bytesPerSecond, roof.bandwidths[i].bytesPerSecond);
  }
  EXPECT_GT(roof.memoryBytesPerSecond(), 1e8);
}

} // namespace
