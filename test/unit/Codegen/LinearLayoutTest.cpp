// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// Layouts of tiles: that they are permutations, and that what a warp reads in one step lies in different
// banks.

#include "lathe/Codegen/CUDA/LinearLayout.h"

#include <gtest/gtest.h>

#include <set>

using namespace lathe::cuda;

TEST(LinearLayout, ThePlaceOfASumIsTheXorOfPlaces) {
  LinearLayout layout = LinearLayout::identity(6).swizzled(/*from=*/3, /*to=*/0, /*count=*/3);
  EXPECT_EQ(layout.apply(0b101000), 0b101101u);
  EXPECT_EQ(layout.apply(0b101011), layout.apply(0b101000) ^ layout.apply(0b000011));
  EXPECT_EQ(layout.getImage(0b001000), 0b001001u);
  EXPECT_TRUE(layout.isBijective());
  EXPECT_EQ(layout.then(layout).apply(0b101000), 0b101000u) << "a swizzle is its own inverse";
}

TEST(LinearLayout, WhatLosesABitIsNoPermutation) {
  EXPECT_FALSE(LinearLayout({1, 1}).isBijective());
  EXPECT_FALSE(LinearLayout({1, 3, 2}).isBijective());
  EXPECT_FALSE(LinearLayout({1, 4}).isBijective());
  EXPECT_TRUE(LinearLayout({2, 1}).isBijective());
}

/// Eight chunks of 16 bytes lie in different banks if they lie in different places of the 128 bytes that all
/// banks have.
static void expectNoConflict(const SharedTileShape &shape, int64_t lines) {
  LinearLayout layout = shape.getLayout();
  ASSERT_TRUE(layout.isBijective()) << shape.lines << " x " << shape.chunks;
  for (int64_t line = 0; line < shape.lines; line += lines) {
    for (int64_t chunk = 0; chunk < shape.chunks; chunk += 8 / lines) {
      std::set<uint64_t> banks;
      for (int64_t i = 0; i < 8; ++i) {
        int64_t number = (line + i % lines) * shape.chunks + chunk + i / lines;
        banks.insert(layout.apply(uint64_t(number)) % 8);
      }
      ASSERT_EQ(banks.size(), 8u) << shape.lines << " x " << shape.chunks << ", line " << line << ", chunk "
                                  << chunk;
    }
  }
}

TEST(LinearLayout, MatricesAreReadWithoutConflicts) {
  for (int64_t lines : {8, 16, 32, 64, 128}) {
    for (int64_t chunks : {2, 4, 8, 16, 32}) {
      expectNoConflict({lines, chunks}, 8);
    }
  }
}

TEST(LinearLayout, WordsOfFourLinesAreReadWithoutConflicts) {
  for (int64_t lines : {8, 16, 32}) {
    for (int64_t chunks : {8, 16, 32}) {
      expectNoConflict({lines, chunks, /*chunksAtOnce=*/2}, 4);
    }
  }
}

TEST(LinearLayout, ALineOfOneChunkStaysAsItIs) {
  SharedTileShape shape{/*lines=*/64, /*chunks=*/1};
  EXPECT_EQ(shape.getLayout().apply(37), 37u);
}

TEST(LinearLayout, SumsOfATileAreInAllLanes) {
  LinearLayout layout = getAccumulatorLayout();
  ASSERT_TRUE(layout.isBijective());
  auto place = [&](uint64_t lane, uint64_t sum) { return layout.apply(lane | sum << 5); };
  EXPECT_EQ(place(0, 1), 1u) << "row 0, column 1";
  EXPECT_EQ(place(3, 0), 6u) << "row 0, column 6";
  EXPECT_EQ(place(4, 0), 8u) << "row 1";
  EXPECT_EQ(place(31, 3), 15u * 8 + 7);
}

TEST(LinearLayout, LanesGiveTheRowsOfFourMatrices) {
  SharedTileShape shape{/*lines=*/32, /*chunks=*/4};
  LinearLayout lines = getMatrixRows(shape, /*linesFirst=*/true),
               chunks = getMatrixRows(shape, /*linesFirst=*/false);
  EXPECT_EQ(lines.apply(7), 7u * 4);
  EXPECT_EQ(lines.apply(8), 8u * 4);
  EXPECT_EQ(lines.apply(16), 1u);
  EXPECT_EQ(chunks.apply(8), 1u);
  EXPECT_EQ(chunks.apply(19), 11u * 4);
}
