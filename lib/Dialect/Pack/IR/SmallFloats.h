// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Floats of 16 bits, without the processor's help: weights are the same on every machine.

#ifndef LATHE_LIB_DIALECT_PACK_IR_SMALLFLOATS_H
#define LATHE_LIB_DIALECT_PACK_IR_SMALLFLOATS_H

#include "llvm/ADT/bit.h"

#include <cstdint>

namespace lathe::pack {

/// The nearest bf16, ties to even, of a finite number.
inline uint16_t roundToBF16(float value) {
  uint32_t bits = llvm::bit_cast<uint32_t>(value);
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

inline float widenBF16(uint16_t bits) { return llvm::bit_cast<float>(uint32_t(bits) << 16); }

/// The nearest f16, ties to even, of a finite number; infinity beyond 65504 and half a step.
inline uint16_t roundToF16(float value) {
  uint32_t bits = llvm::bit_cast<uint32_t>(value), sign = bits & 0x80000000;
  bits ^= sign;
  if (bits >= 0x47800000) { // 2^16
    bits = 0x7c00;
  } else if (bits < 0x38800000) { // 2^-14: what becomes subnormal is rounded by an addition
    bits = llvm::bit_cast<uint32_t>(llvm::bit_cast<float>(bits) + 0.5f) - 0x3f000000;
  } else {
    bits = (bits + (uint32_t(15 - 127) << 23) + 0xfff + (bits >> 13 & 1)) >> 13;
  }
  return bits | sign >> 16;
}

/// Of a finite number.
inline float widenF16(uint16_t half) {
  uint32_t bits = uint32_t(half & 0x7fff) << 13, sign = uint32_t(half & 0x8000) << 16;
  float value = llvm::bit_cast<float>(bits + (uint32_t(127 - 15) << 23));
  if (bits < 0x00800000) { // subnormal
    value = llvm::bit_cast<float>(bits + 0x38800000) - llvm::bit_cast<float>(0x38800000);
  }
  return llvm::bit_cast<float>(llvm::bit_cast<uint32_t>(value) | sign);
}

} // namespace lathe::pack

#endif // LATHE_LIB_DIALECT_PACK_IR_SMALLFLOATS_H
