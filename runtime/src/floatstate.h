/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/* Hosts may have set flush-to-zero or another rounding in their threads; results must not depend on it. */
#ifndef LATHE_FLOATSTATE_H
#define LATHE_FLOATSTATE_H

#include <stdint.h>
#if defined(__x86_64__)
#include <xmmintrin.h>

/* Rounding to nearest, denormals kept, no exception trapped. Returns what was set before. */
static inline uint32_t lathe_enter_float_state(void) {
  uint32_t before = _mm_getcsr();
  _mm_setcsr(0x1f80);
  return before;
}
static inline void lathe_leave_float_state(uint32_t before) { _mm_setcsr(before); }
#else
static inline uint32_t lathe_enter_float_state(void) { return 0; }
static inline void lathe_leave_float_state(uint32_t before) {}
#endif

#endif
