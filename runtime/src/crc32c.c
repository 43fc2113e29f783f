/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/* CRC-32C by the SSE4.2 instruction in three independent streams (one alone waits for its own latency two
 * thirds of the time), and by a table of nibbles where there is no such instruction. No state, nothing to
 * initialise. */
#include "crc32c.h"

#include <string.h>
#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

/* Bytes a stream takes before the three are combined. */
#define STREAM_BYTES 16384

uint32_t lathe_crc32c_portable(uint32_t crc, const void *data, uint64_t size) {
  /* What the four bits of an index leave behind: i shifted out through the polynomial 0x82f63b78. */
  static const uint32_t nibble[16] = {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3,
                                      0x61c69362, 0x7198540d, 0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
                                      0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};
  const unsigned char *p = data;
  crc = ~crc;
  for (; size; --size) {
    crc ^= *p++;
    crc = crc >> 4 ^ nibble[crc & 15];
    crc = crc >> 4 ^ nibble[crc & 15];
  }
  return ~crc;
}

#if defined(__x86_64__)
/* x^(8 * STREAM_BYTES) and x^(16 * STREAM_BYTES) modulo the polynomial, bits reflected (x^0 is the top bit).
 * Multiplying a sum by the first is appending STREAM_BYTES zero bytes; the tests compare with the portable
 * form. */
#define SHIFT_ONE 0xbf455269u
#define SHIFT_TWO 0xe2ea32dcu

static uint32_t multiply(uint32_t a, uint32_t b) {
  uint32_t product = 0;
  for (uint32_t bit = UINT32_C(1) << 31; bit; bit >>= 1) {
    product ^= a & bit ? b : 0;
    b = b >> 1 ^ (b & 1 ? 0x82f63b78u : 0);
  }
  return product;
}

__attribute__((target("sse4.2"))) static uint32_t with_sse42(uint32_t crc, const unsigned char *p,
                                                             uint64_t size) {
  uint64_t a = crc;
  for (; size >= 3 * STREAM_BYTES; p += 3 * STREAM_BYTES, size -= 3 * STREAM_BYTES) {
    uint64_t b = 0, c = 0;
    for (int i = 0; i < STREAM_BYTES; i += 8) {
      uint64_t x, y, z;
      memcpy(&x, p + i, 8);
      memcpy(&y, p + STREAM_BYTES + i, 8);
      memcpy(&z, p + 2 * STREAM_BYTES + i, 8);
      a = _mm_crc32_u64(a, x);
      b = _mm_crc32_u64(b, y);
      c = _mm_crc32_u64(c, z);
    }
    a = multiply(SHIFT_TWO, (uint32_t)a) ^ multiply(SHIFT_ONE, (uint32_t)b) ^ (uint32_t)c;
  }
  for (; size >= 8; p += 8, size -= 8) {
    uint64_t x;
    memcpy(&x, p, 8);
    a = _mm_crc32_u64(a, x);
  }
  for (; size; --size) {
    a = _mm_crc32_u8((uint32_t)a, *p++);
  }
  return (uint32_t)a;
}
#endif

uint32_t lathe_crc32c(uint32_t crc, const void *data, uint64_t size) {
#if defined(__x86_64__)
  /* Not CPUID itself: it traps in virtual machines, and costs more than a small sum. */
  if (__builtin_cpu_supports("sse4.2")) {
    return ~with_sse42(~crc, data, size);
  }
#endif
  return lathe_crc32c_portable(crc, data, size);
}
