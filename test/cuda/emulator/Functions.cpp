/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/// \file
/// What the code of an "emulator" image calls: a function for each intrinsic of the device. Those that give
/// more than a number get the addresses of their result and of their operands, each a struct as LLVM lays it
/// out.

#include "Functions.h"
#include "Emulator.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

using namespace lathe::emu;

//===-- Places
//---------------------------------------------------------------------------------------------===//

int32_t lathe_emu_thread_x() { return int32_t(threadIndex()); }
int32_t lathe_emu_block_x() { return int32_t(blockIndex()); }
int32_t lathe_emu_grid_x() { return int32_t(blockCount()); }
int32_t lathe_emu_block_size_x() { return int32_t(blockThreads()); }
void *lathe_emu_shared() { return sharedMemory(); }

void lathe_emu_barrier() { waitForBlock(); }

//===-- Shuffles
//-------------------------------------------------------------------------------------------===//

namespace {
struct Shuffle {
  int32_t kind;
  uint32_t value, b, c;
};

/// Whose value a lane gets, or its own number; as PTX defines shfl.sync.
unsigned sourceOf(const Shuffle &shuffle, unsigned lane) {
  unsigned b = shuffle.b & 31, clamp = shuffle.c & 31, segment = shuffle.c >> 8 & 31;
  int most = int((lane & segment) | (clamp & ~segment & 31)), source = 0;
  bool inside = false;
  switch (shuffle.kind) {
  case LATHE_EMU_SHUFFLE_IDX:
    source = int((lane & segment) | (b & ~segment & 31));
    inside = source <= most;
    break;
  case LATHE_EMU_SHUFFLE_UP:
    source = int(lane) - int(b);
    inside = source >= most;
    break;
  case LATHE_EMU_SHUFFLE_DOWN:
    source = int(lane + b);
    inside = source <= most;
    break;
  default:
    source = int(lane ^ b);
    inside = source <= most;
  }
  return inside ? unsigned(source) : lane;
}

void shuffleWarp(const void *const *operands, void *const *results) {
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    if (!operands[lane]) {
      continue;
    }
    unsigned source = sourceOf(*static_cast<const Shuffle *>(operands[lane]), lane);
    // Of a lane that does not take part there is no value.
    uint32_t value = ~uint32_t(0);
    if (source < kWarp && operands[source]) {
      value = static_cast<const Shuffle *>(operands[source])->value;
    }
    *static_cast<uint32_t *>(results[lane]) = value;
  }
}

constexpr Collective shuffleTogether = {"shuffle", shuffleWarp};
} // namespace

uint32_t lathe_emu_shuffle(int32_t kind, uint32_t mask, uint32_t value, uint32_t b, uint32_t c) {
  Shuffle operands = {kind, value, b, c};
  uint32_t result = 0;
  together(shuffleTogether, mask, kind, &operands, &result);
  return result;
}

//===-- Conversions
//-------------------------------------------------------------------------------------------===//

float lathe_emu_exp2(float x) {
  float power = std::exp2(x);
  return std::fpclassify(power) == FP_SUBNORMAL ? 0 : power;
}

uint32_t lathe_emu_pack_f16(float high, float low) {
  auto toBits = [](float x) { return std::bit_cast<uint16_t>(_Float16(x)); };
  return uint32_t(toBits(high)) << 16 | toBits(low);
}

uint32_t lathe_emu_pack_bf16(float high, float low) {
  auto toBits = [](float x) -> uint32_t {
    auto bits = std::bit_cast<uint32_t>(x);
    return std::isnan(x) ? 0x7fff : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
  };
  return toBits(high) << 16 | toBits(low);
}

/// Sums wrap, so that they are those of unsigned numbers.
template <typename Byte>
static uint32_t dot(uint32_t a, uint32_t b, uint32_t sum) {
  for (unsigned shift = 0; shift < 32; shift += 8) {
    sum += uint32_t(int32_t(Byte(a >> shift)) * int32_t(Byte(b >> shift)));
  }
  return sum;
}

uint32_t lathe_emu_dot_s8(uint32_t a, uint32_t b, uint32_t sum) { return dot<int8_t>(a, b, sum); }
uint32_t lathe_emu_dot_u8(uint32_t a, uint32_t b, uint32_t sum) { return dot<uint8_t>(a, b, sum); }

//===-- Asynchronous copies
//--------------------------------------------------------------------------------===//

void lathe_emu_cp_async_ca_shared_global_4(void *to, const void *from) { copyLater(to, from, 4, 0); }
void lathe_emu_cp_async_ca_shared_global_8(void *to, const void *from) { copyLater(to, from, 8, 0); }
void lathe_emu_cp_async_ca_shared_global_16(void *to, const void *from) { copyLater(to, from, 16, 0); }
void lathe_emu_cp_async_cg_shared_global_16(void *to, const void *from) { copyLater(to, from, 16, 0); }

/// The first `bytes` of so many; the rest becomes 0.
static void copySome(void *to, const void *from, uint32_t all, int32_t bytes) {
  uint32_t some = std::min(all, uint32_t(std::max(bytes, 0)));
  copyLater(to, from, some, all - some);
}

void lathe_emu_cp_async_ca_shared_global_4_s(void *to, const void *from, int32_t bytes) {
  copySome(to, from, 4, bytes);
}
void lathe_emu_cp_async_ca_shared_global_8_s(void *to, const void *from, int32_t bytes) {
  copySome(to, from, 8, bytes);
}
void lathe_emu_cp_async_ca_shared_global_16_s(void *to, const void *from, int32_t bytes) {
  copySome(to, from, 16, bytes);
}
void lathe_emu_cp_async_cg_shared_global_16_s(void *to, const void *from, int32_t bytes) {
  copySome(to, from, 16, bytes);
}
void lathe_emu_cp_async_commit_group() { commitCopies(); }
void lathe_emu_cp_async_wait_group(int32_t left) { waitForCopies(size_t(left), /*uncommitted=*/false); }
void lathe_emu_cp_async_wait_all() { waitForCopies(0, /*uncommitted=*/true); }
