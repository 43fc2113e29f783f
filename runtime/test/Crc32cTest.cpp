/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

#include "crc32c.h"

#include <gtest/gtest.h>

#include <vector>

TEST(Crc32c, GivesTheCheckValueOfTheStandard) {
  EXPECT_EQ(lathe_crc32c(0, "123456789", 9), 0xe3069283u);
  EXPECT_EQ(lathe_crc32c_portable(0, "123456789", 9), 0xe3069283u);
}

TEST(Crc32c, IsTheSameWithAndWithoutTheInstruction) {
  std::vector<unsigned char> data(200001);
  for (size_t i = 0; i < data.size(); ++i) {
    data[i] = static_cast<unsigned char>(i * 2654435761u >> 13);
  }
  for (size_t size : {0, 1, 7, 8, 9, 49151, 49152, 49153, 98304, 150001, 200000}) {
    for (size_t start : {0, 1}) {
      EXPECT_EQ(lathe_crc32c(17, data.data() + start, size),
                lathe_crc32c_portable(17, data.data() + start, size))
          << size;
    }
  }
}

TEST(Crc32c, ContinuesASum) {
  uint32_t whole = lathe_crc32c(0, "123456789", 9);
  EXPECT_EQ(lathe_crc32c(lathe_crc32c(0, "1234", 4), "56789", 5), whole);
}
