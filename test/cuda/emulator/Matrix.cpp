/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/// \file
/// Matrices spread over the registers of a warp: PTX's ldmatrix and mma.sync. In the layouts below `group` is
/// lane / 4 and `place` is lane % 4.

#include "Emulator.h"
#include "Functions.h"

#include <algorithm>
#include <cmath>
#include <cstring>

using namespace lathe::emu;

static constexpr uint32_t kAllLanes = ~uint32_t(0);

//===-- ldmatrix
//-------------------------------------------------------------------------------------------===//

namespace {
/// Lanes 8 i to 8 i + 7 have the rows of matrix i. A lane gets elements 2 place and 2 place + 1 of row
/// `group`, of each matrix; transposed, those of column `group`.
template <unsigned kMatrices, bool kTransposed>
void loadMatrices(const void *const *operands, void *const *results) {
  auto element = [&](unsigned matrix, unsigned row, unsigned column) {
    const char *address;
    memcpy(&address, operands[matrix * 8 + row], sizeof address);
    uint16_t bits;
    memcpy(&bits, address + column * sizeof bits, sizeof bits);
    return bits;
  };
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    for (unsigned matrix = 0; matrix < kMatrices; ++matrix) {
      for (unsigned half = 0; half < 2; ++half) {
        unsigned group = lane / 4, along = 2 * (lane % 4) + half;
        uint16_t bits = kTransposed ? element(matrix, along, group) : element(matrix, group, along);
        memcpy(static_cast<char *>(results[lane]) + 4 * matrix + 2 * half, &bits, sizeof bits);
      }
    }
  }
}

template <unsigned kMatrices, bool kTransposed>
void loadTogether(void *result, const void *operands) {
  static constexpr Collective collective = {"ldmatrix", loadMatrices<kMatrices, kTransposed>};
  together(collective, kAllLanes, 0, operands, result);
}

template <bool kTransposed>
uint32_t loadOne(const void *row) {
  uint32_t result;
  loadTogether<1, kTransposed>(&result, &row);
  return result;
}
} // namespace

uint32_t lathe_emu_ldmatrix_sync_aligned_m8n8_x1_b16_p3(const void *row) { return loadOne<false>(row); }
uint32_t lathe_emu_ldmatrix_sync_aligned_m8n8_x1_trans_b16_p3(const void *row) { return loadOne<true>(row); }
void lathe_emu_ldmatrix_sync_aligned_m8n8_x2_b16_p3(void *result, const void *operands) {
  loadTogether<2, false>(result, operands);
}
void lathe_emu_ldmatrix_sync_aligned_m8n8_x2_trans_b16_p3(void *result, const void *operands) {
  loadTogether<2, true>(result, operands);
}
void lathe_emu_ldmatrix_sync_aligned_m8n8_x4_b16_p3(void *result, const void *operands) {
  loadTogether<4, false>(result, operands);
}
void lathe_emu_ldmatrix_sync_aligned_m8n8_x4_trans_b16_p3(void *result, const void *operands) {
  loadTogether<4, true>(result, operands);
}

//===-- mma.sync
//-------------------------------------------------------------------------------------------===//

namespace {
struct Half {
  using Bits = uint16_t;
  using Sum = double;
  static double value(Bits bits) {
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    double number = exponent == 31 ? (fraction ? NAN : INFINITY)
                    : exponent     ? std::ldexp(1024 + fraction, exponent - 25)
                                   : std::ldexp(fraction, -24);
    return bits >> 15 ? -number : number;
  }
};
struct Brain {
  using Bits = uint16_t;
  using Sum = double;
  static double value(Bits bits) {
    uint32_t wide = uint32_t(bits) << 16;
    float number;
    memcpy(&number, &wide, sizeof number);
    return number;
  }
};
/// A float of which the device does not look at the last 13 bits.
struct Tensor32 {
  using Bits = uint32_t;
  using Sum = double;
  static double value(Bits bits) {
    bits &= ~uint32_t(0x1fff);
    float number;
    memcpy(&number, &bits, sizeof number);
    return number;
  }
};
template <typename Number>
struct Byte {
  using Bits = uint8_t;
  using Sum = int64_t;
  static int64_t value(Bits bits) { return Number(bits); }
};
using Signed = Byte<int8_t>;
using Unsigned = Byte<uint8_t>;

template <typename Format>
struct Stored {
  using Type = float;
  static float store(double sum) { return float(sum); }
};
template <typename Number>
struct Stored<Byte<Number>> {
  using Type = int32_t;
  static int32_t store(int64_t sum) { return int32_t(uint32_t(uint64_t(sum))); }
};

/// D = A B + C for a 16 x K matrix A, row by row, and a K x 8 matrix B, column by column. A register holds
/// neighbours along K. A has four: rows `group` and `group` + 8 of the first half of K, then of the second. B
/// has two: column `group`, both halves. C and D have columns 2 place and 2 place + 1 of row `group`, then of
/// row `group` + 8. The device rounds more often than once; how is not known.
template <typename Left, typename Right, bool kSaturates>
void multiply(const void *const *operands, void *const *results) {
  using Bits = typename Left::Bits;
  using Sum = typename Left::Sum;
  using Number = typename Stored<Left>::Type;
  constexpr unsigned kEach = 4 / sizeof(Bits), kHalf = 4 * kEach, kDepth = 2 * kHalf;
  struct Registers {
    Bits a[4][kEach], b[2][kEach];
    Number c[4];
  };
  Sum a[16][kDepth], b[kDepth][8];
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    Registers registers;
    memcpy(&registers, operands[lane], sizeof registers);
    unsigned group = lane / 4, place = lane % 4;
    for (unsigned i = 0; i < kEach; ++i) {
      for (unsigned r = 0; r < 4; ++r) {
        a[group + 8 * (r & 1)][place * kEach + i + kHalf * (r >> 1)] = Left::value(registers.a[r][i]);
      }
      for (unsigned r = 0; r < 2; ++r) {
        b[place * kEach + i + kHalf * r][group] = Right::value(registers.b[r][i]);
      }
    }
  }
  for (unsigned lane = 0; lane < kWarp; ++lane) {
    Registers registers;
    memcpy(&registers, operands[lane], sizeof registers);
    for (unsigned r = 0; r < 4; ++r) {
      unsigned row = lane / 4 + 8 * (r >> 1), column = 2 * (lane % 4) + (r & 1);
      Sum sum = Sum(registers.c[r]);
      for (unsigned k = 0; k < kDepth; ++k) {
        sum += a[row][k] * b[k][column];
      }
      if (kSaturates) {
        sum = std::clamp(sum, Sum(INT32_MIN), Sum(INT32_MAX));
      }
      registers.c[r] = Stored<Left>::store(sum);
    }
    memcpy(results[lane], registers.c, sizeof registers.c);
  }
}

template <typename Left, typename Right = Left, bool kSaturates = false>
void multiplyTogether(void *result, const void *operands) {
  static constexpr Collective collective = {"mma", multiply<Left, Right, kSaturates>};
  together(collective, kAllLanes, 0, operands, result);
}
} // namespace

void lathe_emu_mma_m16n8k16_row_col_f32_f32(void *result, const void *operands) {
  multiplyTogether<Half>(result, operands);
}
void lathe_emu_mma_m16n8k16_row_col_bf16(void *result, const void *operands) {
  multiplyTogether<Brain>(result, operands);
}
void lathe_emu_mma_m16n8k8_row_col_tf32(void *result, const void *operands) {
  multiplyTogether<Tensor32>(result, operands);
}
void lathe_emu_mma_m16n8k32_row_col_s8(void *result, const void *operands) {
  multiplyTogether<Signed>(result, operands);
}
void lathe_emu_mma_m16n8k32_row_col_u8(void *result, const void *operands) {
  multiplyTogether<Unsigned>(result, operands);
}
void lathe_emu_mma_m16n8k32_row_col_u8_s8(void *result, const void *operands) {
  multiplyTogether<Unsigned, Signed>(result, operands);
}
void lathe_emu_mma_m16n8k32_row_col_s8_u8(void *result, const void *operands) {
  multiplyTogether<Signed, Unsigned>(result, operands);
}
void lathe_emu_mma_m16n8k32_row_col_satfinite_s8(void *result, const void *operands) {
  multiplyTogether<Signed, Signed, true>(result, operands);
}
