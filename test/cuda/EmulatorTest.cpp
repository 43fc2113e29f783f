/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

// What the emulator computes, and that it sees the faults that it is there to see: each test of a fault is a
// kernel that is right, and the same with one thing changed.

#include "emulator/Emulator.h"
#include "emulator/Functions.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>

using namespace lathe::emu;

namespace {
template <typename... Parameters>
Launch launchOf(void (*kernel)(Parameters...), unsigned blocks, unsigned threads, unsigned sharedBytes,
                std::type_identity_t<Parameters>... parameters) {
  Launch launch;
  launch.kernel = "k";
  launch.function = reinterpret_cast<void (*)()>(kernel);
  launch.parameters = {uint64_t(parameters)...};
  launch.blocks = blocks;
  launch.threads = threads;
  launch.sharedBytes = sharedBytes;
  return launch;
}

/// Memory of a device for one test.
struct EmulatorTest : ::testing::Test {
  Memory memory{256};
  template <typename T>
  T *allocate(size_t count) {
    return static_cast<T *>(memory.allocate(count * sizeof(T)));
  }
  Result run(const Launch &launch, uint64_t seed = 0) { return lathe::emu::run(launch, seed, &memory); }
  /// How many of some seeds give another outcome than Done, or make `isWrong` true.
  template <typename Function>
  int countSeen(const Launch &launch, Function isWrong) {
    int seen = 0;
    for (uint64_t seed = 0; seed < 20; ++seed) {
      Result result = run(launch, seed);
      seen += result.outcome != Outcome::Done || isWrong();
    }
    return seen;
  }
};

int64_t globalIndex() {
  return int64_t(lathe_emu_block_x()) * lathe_emu_block_size_x() + lathe_emu_thread_x();
}
} // namespace

//===-- Threads and parameters
//-----------------------------------------------------------------------------===//

namespace {
void manyParameters(int64_t *to, int64_t a, int64_t b, int64_t c, int64_t d, int64_t e, int64_t f, int64_t g,
                    int64_t h) {
  to[globalIndex()] = a + 10 * (b + 10 * (c + 10 * (d + 10 * (e + 10 * (f + 10 * (g + 10 * h))))));
}
void eightParameters(int64_t *to, int64_t a, int64_t b, int64_t c, int64_t d, int64_t e, int64_t f,
                     int64_t g) {
  to[globalIndex()] = a + 10 * (b + 10 * (c + 10 * (d + 10 * (e + 10 * (f + 10 * g)))));
}
} // namespace

TEST_F(EmulatorTest, EveryThreadOfEveryBlockRunsWithItsParameters) {
  auto *to = allocate<int64_t>(3 * 70);
  ASSERT_EQ(run(launchOf(manyParameters, 3, 70, 0, to, 1, 2, 3, 4, 5, 6, 7, 8)).report, "");
  for (int i = 0; i < 3 * 70; ++i) {
    ASSERT_EQ(to[i], 87654321) << i;
  }
  ASSERT_EQ(run(launchOf(eightParameters, 3, 70, 0, to, 1, 2, 3, 4, 5, 6, 7)).report, "");
  EXPECT_EQ(to[209], 7654321);
}

//===-- Barriers and shared memory
//-------------------------------------------------------------------------===//

namespace {
/// Adds up what the threads of a block have, through shared memory.
template <bool kBarrier>
void sumBlock(const float *x, float *sums) {
  auto *shared = static_cast<float *>(lathe_emu_shared());
  int thread = lathe_emu_thread_x(), threads = lathe_emu_block_size_x();
  shared[thread] = x[globalIndex()];
  lathe_emu_barrier();
  for (int half = threads / 2; half > 0; half /= 2) {
    if (thread < half) {
      shared[thread] += shared[thread + half];
    }
    if (kBarrier) {
      lathe_emu_barrier();
    }
  }
  if (thread == 0) {
    sums[lathe_emu_block_x()] = shared[0];
  }
}

/// Reads what its neighbour wrote.
template <bool kBarrier>
void rotate(const float *x, float *y) {
  auto *shared = static_cast<float *>(lathe_emu_shared());
  int thread = lathe_emu_thread_x(), threads = lathe_emu_block_size_x();
  shared[thread] = x[thread];
  if (kBarrier) {
    lathe_emu_barrier();
  }
  y[thread] = shared[(thread + 1) % threads];
}

template <bool kAll>
void barrierForSome() {
  if (kAll || lathe_emu_thread_x() < 40) {
    lathe_emu_barrier();
  }
}

/// Shared memory holds nothing when a block begins.
void readShared(float *y) {
  auto *shared = static_cast<float *>(lathe_emu_shared());
  y[globalIndex()] = shared[lathe_emu_thread_x()];
  shared[lathe_emu_thread_x()] = 1;
}
} // namespace

TEST_F(EmulatorTest, BlocksAddUpThroughSharedMemory) {
  auto *x = allocate<float>(4 * 128), *sums = allocate<float>(4);
  std::iota(x, x + 4 * 128, 1.f);
  for (uint64_t seed = 0; seed < 20; ++seed) {
    ASSERT_EQ(run(launchOf(sumBlock<true>, 4, 128, 512, x, sums), seed).report, "");
    for (int block = 0; block < 4; ++block) {
      ASSERT_EQ(sums[block], 128.f * 129 / 2 + 128.f * 128 * float(block));
    }
  }
}

TEST_F(EmulatorTest, AMissingBarrierIsSeen) {
  auto *x = allocate<float>(128), *y = allocate<float>(128);
  std::iota(x, x + 128, 1.f);
  auto isWrong = [&] {
    for (int i = 0; i < 128; ++i) {
      if (!(y[i] == x[(i + 1) % 128])) {
        return true;
      }
    }
    return false;
  };
  EXPECT_EQ(countSeen(launchOf(rotate<true>, 1, 128, 512, x, y), isWrong), 0);
  EXPECT_EQ(countSeen(launchOf(rotate<false>, 1, 128, 512, x, y), isWrong), 20);
  EXPECT_EQ(countSeen(launchOf(sumBlock<true>, 1, 128, 512, x, y), [&] { return y[0] != 8256; }), 0);
  EXPECT_GE(countSeen(launchOf(sumBlock<false>, 1, 128, 512, x, y), [&] { return y[0] != 8256; }), 15);
}

TEST_F(EmulatorTest, ABarrierThatSomeThreadsMissIsSeen) {
  EXPECT_EQ(run(launchOf(barrierForSome<true>, 1, 64, 0)).outcome, Outcome::Done);
  Result result = run(launchOf(barrierForSome<false>, 2, 64, 0));
  EXPECT_EQ(result.outcome, Outcome::BadProgram);
  EXPECT_EQ(result.report,
            "kernel \"k\", block 0: divergent barrier: of 64 threads 40 wait at a barrier, 24 have ended");
}

TEST_F(EmulatorTest, SharedMemoryIsPoisonInEveryBlock) {
  auto *y = allocate<float>(2 * 32);
  std::fill(y, y + 64, 0.f);
  ASSERT_EQ(run(launchOf(readShared, 2, 32, 128, y)).report, "");
  for (int i = 0; i < 64; ++i) {
    ASSERT_TRUE(std::isnan(y[i])) << i;
  }
}

//===-- Shuffles
//-------------------------------------------------------------------------------------------===//

namespace {
void shuffle(int64_t kind, int64_t b, int64_t c, uint32_t *y) {
  auto thread = uint32_t(lathe_emu_thread_x());
  y[thread] = lathe_emu_shuffle(int32_t(kind), ~0u, thread % 32 + 100, uint32_t(b), uint32_t(c));
}

/// kChange 0: all take part in the same. 1: half of them do not come. 2: half of them do another one.
/// 3: a lane takes part that is not in its own mask.
template <int kChange>
void shuffleSome(uint32_t *y) {
  auto thread = uint32_t(lathe_emu_thread_x());
  if (kChange == 1 && thread >= 16) {
    return;
  }
  int kind = kChange == 2 && thread >= 16 ? LATHE_EMU_SHUFFLE_UP : LATHE_EMU_SHUFFLE_DOWN;
  y[thread] =
      lathe_emu_shuffle(kind, kChange == 3 ? ~1u : ~0u, thread, 1, kind == LATHE_EMU_SHUFFLE_UP ? 0 : 31);
}

/// Half a warp by itself.
void shuffleHalves(uint32_t *y) {
  auto thread = uint32_t(lathe_emu_thread_x());
  if (thread < 16) {
    y[thread] = lathe_emu_shuffle(LATHE_EMU_SHUFFLE_BFLY, 0xffff, thread, 1, 31);
  } else {
    y[thread] = lathe_emu_shuffle(LATHE_EMU_SHUFFLE_BFLY, 0xffff0000, thread, 2, 31);
  }
}
} // namespace

TEST_F(EmulatorTest, ShufflesAreThoseOfPTX) {
  auto *y = allocate<uint32_t>(64);
  auto expect = [&](int kind, unsigned b, unsigned c, auto source) {
    ASSERT_EQ(run(launchOf(shuffle, 1, 64, 0, kind, b, c, y)).report, "");
    for (unsigned i = 0; i < 64; ++i) {
      ASSERT_EQ(y[i], 100 + unsigned(source(int(i % 32)))) << i;
    }
  };
  expect(LATHE_EMU_SHUFFLE_DOWN, 4, 31, [](int i) { return i + 4 < 32 ? i + 4 : i; });
  expect(LATHE_EMU_SHUFFLE_UP, 4, 0, [](int i) { return i >= 4 ? i - 4 : i; });
  expect(LATHE_EMU_SHUFFLE_BFLY, 16, 31, [](int i) { return i ^ 16; });
  expect(LATHE_EMU_SHUFFLE_IDX, 7, 31, [](int) { return 7; });
  // In segments of eight lanes.
  constexpr unsigned kSegment = (32 - 8) << 8 | 31;
  expect(LATHE_EMU_SHUFFLE_DOWN, 4, kSegment, [](int i) { return i % 8 < 4 ? i + 4 : i; });
  expect(LATHE_EMU_SHUFFLE_UP, 4, (32 - 8) << 8, [](int i) { return i % 8 >= 4 ? i - 4 : i; });
  expect(LATHE_EMU_SHUFFLE_IDX, 3, kSegment, [](int i) { return i / 8 * 8 + 3; });
}

TEST_F(EmulatorTest, ADivergentShuffleIsSeen) {
  auto *y = allocate<uint32_t>(32);
  EXPECT_EQ(run(launchOf(shuffleSome<0>, 1, 32, 0, y)).outcome, Outcome::Done);
  EXPECT_EQ(run(launchOf(shuffleHalves, 1, 32, 0, y)).outcome, Outcome::Done);
  EXPECT_EQ(y[17], 19u);
  Result ended = run(launchOf(shuffleSome<1>, 1, 32, 0, y));
  EXPECT_EQ(ended.outcome, Outcome::BadProgram);
  EXPECT_EQ(ended.report, "kernel \"k\", block 0: divergent collective: of warp 0 16 wait for their warp, 16 "
                          "have ended, for different things");
  EXPECT_EQ(run(launchOf(shuffleSome<2>, 1, 32, 0, y)).outcome, Outcome::BadProgram);
  EXPECT_EQ(run(launchOf(shuffleSome<3>, 1, 32, 0, y)).outcome, Outcome::BadProgram);
  // A mask with lanes that the block does not have.
  EXPECT_EQ(run(launchOf(shuffleSome<0>, 1, 16, 0, y)).outcome, Outcome::BadProgram);
}

//===-- Addresses
//------------------------------------------------------------------------------------------===//

namespace {
void writeAt(char *base, int64_t offset) {
  if (globalIndex() == 37) {
    *static_cast<volatile char *>(base + offset) = 1;
  }
}
void readAt(char *base, int64_t offset) {
  if (globalIndex() == 37) {
    (void)*static_cast<volatile char *>(base + offset);
  }
}
void writeShared(int64_t offset) {
  *static_cast<volatile char *>(static_cast<char *>(lathe_emu_shared()) + offset) = 1;
}
void divide(int64_t *x) { x[0] = x[0] / x[1]; }
int64_t deep(volatile int64_t *x, int64_t n) {
  volatile char room[1000];
  room[n % 1000] = char(n);
  return n ? deep(x, n - 1) + room[n % 1000] : x[0];
}
void recurse(int64_t *x) { x[0] = deep(x, 1000); }
} // namespace

TEST_F(EmulatorTest, AnAccessOutsideOfAnAllocationIsSeen) {
  auto *x = allocate<char>(512);
  EXPECT_EQ(run(launchOf(writeAt, 2, 32, 0, x, 511)).report, "");
  Result result = run(launchOf(writeAt, 2, 32, 0, x, 512));
  EXPECT_EQ(result.outcome, Outcome::BadAddress);
  EXPECT_EQ(result.report,
            "kernel \"k\", block 1, thread 5: writes 0 bytes behind the end of an allocation of 512 bytes");
  EXPECT_EQ(run(launchOf(readAt, 2, 32, 0, x, 600)).report,
            "kernel \"k\", block 1, thread 5: reads 88 bytes behind the end of an allocation of 512 bytes");
  // The page in which the allocation begins belongs to no one else; what is before faults from there on.
  EXPECT_EQ(run(launchOf(readAt, 2, 32, 0, x, -4096)).report,
            "kernel \"k\", block 1, thread 5: reads 4096 bytes before an allocation of 512 bytes");
  EXPECT_EQ(run(launchOf(readAt, 2, 32, 0, nullptr, 0)).report,
            "kernel \"k\", block 1, thread 5: reads where no memory is");
  EXPECT_EQ(run(launchOf(writeAt, 2, 32, 0, x, 0)).outcome, Outcome::Done) << "and the next launch runs";
}

TEST_F(EmulatorTest, FreedMemoryFaults) {
  auto *x = allocate<char>(512);
  ASSERT_TRUE(memory.release(x));
  EXPECT_EQ(run(launchOf(readAt, 2, 32, 0, x, 3)).report,
            "kernel \"k\", block 1, thread 5: reads at byte 3 of a freed allocation of 512 bytes");
  EXPECT_FALSE(memory.release(x));
}

TEST_F(EmulatorTest, AWriteIntoTheRestOfAnAllocationIsSeen) {
  auto *x = allocate<char>(500);
  EXPECT_EQ(run(launchOf(writeAt, 2, 32, 0, x, 499)).report, "");
  EXPECT_EQ(memory.damage(), "");
  EXPECT_EQ(run(launchOf(writeAt, 2, 32, 0, x, 505)).report, "");
  EXPECT_EQ(memory.damage(), "writes 5 bytes behind the end of an allocation of 500 bytes");
}

TEST_F(EmulatorTest, AnAccessOutsideOfSharedMemoryIsSeen) {
  EXPECT_EQ(run(launchOf(writeShared, 1, 1, 256, 255)).outcome, Outcome::Done);
  EXPECT_EQ(
      run(launchOf(writeShared, 1, 1, 256, 256)).report,
      "kernel \"k\", block 0, thread 0: writes in shared memory 0 bytes behind the end of an allocation "
      "of 256 bytes");
  EXPECT_EQ(run(launchOf(writeShared, 1, 1, 200, 201)).report,
            "kernel \"k\", block 0: in shared memory writes 1 bytes behind the end of an allocation of 200 "
            "bytes");
}

TEST_F(EmulatorTest, WhatTheProcessorRefusesEndsTheLaunchAlone) {
  auto *x = allocate<int64_t>(2);
  x[0] = 6;
  x[1] = 0;
  EXPECT_EQ(run(launchOf(divide, 1, 1, 0, x)).report,
            "kernel \"k\", block 0, thread 0: divides by zero, which a device does not notice");
  x[1] = 3;
  EXPECT_EQ(run(launchOf(divide, 1, 1, 0, x)).report, "");
  EXPECT_EQ(x[0], 2);
  EXPECT_EQ(run(launchOf(recurse, 1, 1, 0, x)).report,
            "kernel \"k\", block 0, thread 0: needs more than 128 KiB of stack");
}

//===-- Asynchronous copies
//--------------------------------------------------------------------------------===//

namespace {
/// Copies tiles of 4 floats a thread through two buffers; kLeft: how many groups may be under way when a tile
/// is read, which must be 1.
template <int kLeft>
void copyTiles(const float *x, float *y, int64_t tiles) {
  auto *shared = static_cast<float *>(lathe_emu_shared());
  int thread = lathe_emu_thread_x(), threads = lathe_emu_block_size_x();
  auto start = [&](int64_t tile) {
    if (tile < tiles) {
      lathe_emu_cp_async_cg_shared_global_16(shared + (tile % 2 * threads + thread) * 4,
                                             x + (tile * threads + thread) * 4);
    }
    lathe_emu_cp_async_commit_group();
  };
  start(0);
  for (int64_t tile = 0; tile < tiles; ++tile) {
    start(tile + 1);
    lathe_emu_cp_async_wait_group(kLeft);
    lathe_emu_barrier();
    int other = (thread + 5) % threads;
    memcpy(y + (tile * threads + other) * 4, shared + (tile % 2 * threads + other) * 4, 16);
    lathe_emu_barrier();
  }
}

void copyThree(const float *x, float *y) {
  auto *shared = static_cast<float *>(lathe_emu_shared());
  lathe_emu_cp_async_ca_shared_global_16_s(shared, x, 12);
  lathe_emu_cp_async_wait_all();
  memcpy(y, shared, 16);
}
} // namespace

TEST_F(EmulatorTest, AWrongCountOfCopiesUnderWayIsSeen) {
  constexpr int kCount = 3 * 32 * 4;
  auto *x = allocate<float>(kCount), *y = allocate<float>(kCount);
  std::iota(x, x + kCount, 1.f);
  auto isWrong = [&] { return !std::equal(x, x + kCount, y); };
  EXPECT_EQ(countSeen(launchOf(copyTiles<1>, 1, 32, 1024, x, y, 3), isWrong), 0);
  EXPECT_EQ(countSeen(launchOf(copyTiles<2>, 1, 32, 1024, x, y, 3), isWrong), 20);
}

TEST_F(EmulatorTest, AShortCopyIsFilledWithZeros) {
  auto *x = allocate<float>(4), *y = allocate<float>(4);
  std::iota(x, x + 4, 1.f);
  ASSERT_EQ(run(launchOf(copyThree, 1, 1, 16, x, y)).report, "");
  EXPECT_EQ(std::vector<float>(y, y + 4), (std::vector<float>{1, 2, 3, 0}));
}

//===-- Matrices
//-------------------------------------------------------------------------------------------===//

namespace {
/// C[16, 8] = A[16, 16] B[8, 16]^T in f16, the way kernels do it: ldmatrix, then mma.
template <bool kAllLanes>
void multiplyHalf(const uint16_t *a, const uint16_t *b, float *c) {
  auto *shared = static_cast<uint16_t *>(lathe_emu_shared());
  int lane = lathe_emu_thread_x();
  for (int i = lane; i < 16 * 16; i += 32) {
    shared[i] = a[i];
  }
  for (int i = lane; i < 8 * 16; i += 32) {
    shared[256 + i] = b[i];
  }
  lathe_emu_barrier();
  struct {
    uint32_t a[4], b[2];
    float c[4];
  } registers = {};
  const uint16_t *row = shared + lane % 16 * 16 + lane / 16 * 8;
  lathe_emu_ldmatrix_sync_aligned_m8n8_x4_b16_p3(registers.a, &row);
  row = shared + 256 + lane % 8 * 16 + lane / 8 % 2 * 8;
  lathe_emu_ldmatrix_sync_aligned_m8n8_x2_b16_p3(registers.b, &row);
  if (kAllLanes || lane != 3) {
    lathe_emu_mma_m16n8k16_row_col_f32_f32(registers.c, &registers);
  }
  for (int r = 0; r < 4; ++r) {
    c[(lane / 4 + r / 2 * 8) * 8 + lane % 4 * 2 + r % 2] = registers.c[r];
  }
}

/// C[16, 8] = A[16, K] B[8, K]^T of elements with `kEach` in a register, which are loaded one by one.
template <typename T, typename Number, void (*kMultiply)(void *, const void *)>
void multiplyPlain(const T *a, const T *b, Number *c) {
  constexpr int kEach = 4 / sizeof(T), kHalf = 4 * kEach, kDepth = 2 * kHalf;
  int lane = lathe_emu_thread_x();
  struct {
    T a[4][kEach], b[2][kEach];
    Number c[4];
  } registers = {};
  for (int i = 0; i < kEach; ++i) {
    for (int r = 0; r < 4; ++r) {
      registers.a[r][i] = a[(lane / 4 + r % 2 * 8) * kDepth + r / 2 * kHalf + lane % 4 * kEach + i];
    }
    for (int r = 0; r < 2; ++r) {
      registers.b[r][i] = b[lane / 4 * kDepth + r * kHalf + lane % 4 * kEach + i];
    }
  }
  kMultiply(registers.c, &registers);
  for (int r = 0; r < 4; ++r) {
    c[(lane / 4 + r / 2 * 8) * 8 + lane % 4 * 2 + r % 2] = registers.c[r];
  }
}

/// Small integers, whose products every format has.
int small(int i) { return (i * 7 + i / 5) % 9 - 4; }

template <typename T, typename Store>
void fillSmall(T *to, int count, Store store) {
  for (int i = 0; i < count; ++i) {
    to[i] = store(small(i));
  }
}

template <typename Number>
void expectProduct(const Number *c, int depth) {
  for (int i = 0; i < 16; ++i) {
    for (int j = 0; j < 8; ++j) {
      int sum = 0;
      for (int k = 0; k < depth; ++k) {
        sum += small(i * depth + k) * small(j * depth + k);
      }
      ASSERT_EQ(c[i * 8 + j], Number(sum)) << i << ", " << j;
    }
  }
}

/// Of a number up to 8.
uint16_t toHalf(int value) {
  int exponent = 0;
  double fraction = std::frexp(std::abs(value), &exponent);
  return uint16_t(value ? (value < 0) << 15 | (exponent + 14) << 10 | (int(fraction * 2048) - 1024) : 0);
}
uint32_t toBits(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}
} // namespace

TEST_F(EmulatorTest, MatricesOfHalvesAreMultiplied) {
  auto *a = allocate<uint16_t>(256), *b = allocate<uint16_t>(128);
  auto *c = allocate<float>(128);
  fillSmall(a, 256, toHalf);
  fillSmall(b, 128, toHalf);
  ASSERT_EQ(run(launchOf(multiplyHalf<true>, 1, 32, 768, a, b, c)).report, "");
  expectProduct(c, 16);
  EXPECT_EQ(run(launchOf(multiplyHalf<false>, 1, 32, 768, a, b, c)).outcome, Outcome::BadProgram);
}

TEST_F(EmulatorTest, MatricesOfOtherFormatsAreMultiplied) {
  auto *c = allocate<float>(128);
  auto *sums = allocate<int32_t>(128);
  auto *brain = allocate<uint16_t>(256);
  fillSmall(brain, 256, [](int value) { return uint16_t(toBits(float(value)) >> 16); });
  ASSERT_EQ(run(launchOf(multiplyPlain<uint16_t, float, lathe_emu_mma_m16n8k16_row_col_bf16>, 1, 32, 0, brain,
                         brain, c))
                .report,
            "");
  expectProduct(c, 16);
  auto *tensor = allocate<uint32_t>(128);
  // The last bits are not looked at.
  fillSmall(tensor, 128, [](int value) { return toBits(float(value)) | (value ? 0x1fff : 0); });
  ASSERT_EQ(run(launchOf(multiplyPlain<uint32_t, float, lathe_emu_mma_m16n8k8_row_col_tf32>, 1, 32, 0, tensor,
                         tensor, c))
                .report,
            "");
  expectProduct(c, 8);
  auto *bytes = allocate<int8_t>(512);
  fillSmall(bytes, 512, [](int value) { return int8_t(value); });
  ASSERT_EQ(run(launchOf(multiplyPlain<int8_t, int32_t, lathe_emu_mma_m16n8k32_row_col_s8>, 1, 32, 0, bytes,
                         bytes, sums))
                .report,
            "");
  expectProduct(sums, 32);
}
