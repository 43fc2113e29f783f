/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/* Kernels of the tests' models as the compiler makes them for the emulator: addresses, sizes, the fault's
 * address. */
#include "emulator/Functions.h"

#define KERNEL __attribute__((visibility("default"))) void

static int64_t index_of_thread(void) {
  return (int64_t)lathe_emu_block_x() * lathe_emu_block_size_x() + lathe_emu_thread_x();
}

/* t = 2 x */
KERNEL test_double(const float *x, float *t, int64_t n, int32_t *fault) {
  int64_t i = index_of_thread();
  if (i < n) {
    t[i] = 2 * x[i];
  }
}

/* y = t + w[i % 16]; a negative t is an index out of bounds */
KERNEL test_bias(const float *t, const float *w, float *y, int64_t n, int32_t *fault) {
  int64_t i = index_of_thread();
  if (i < n) {
    if (t[i] < 0) {
      *fault = 1;
    }
    y[i] = t[i] + w[i % 16];
  }
}

/* y[0] = how often it ran with this scratch memory, of which the last word stays 0. */
KERNEL test_count(float *y, int64_t n, int32_t *fault, int32_t *scratch) {
  if (index_of_thread() == 0) {
    y[0] = (float)(++scratch[0] + scratch[127]);
  }
}

/* Writes behind the end of y. */
KERNEL test_stray(float *y, int64_t n, int32_t *fault) {
  if (index_of_thread() == 0) {
    y[n + 100000] = 1;
  }
}

/* Comes to a barrier with half of its threads. */
KERNEL test_diverge(float *y, int64_t n, int32_t *fault) {
  if (lathe_emu_thread_x() < lathe_emu_block_size_x() / 2) {
    lathe_emu_barrier();
  }
}

/* y = the sum of a block's x, by shared memory that only an attribute of the function allows. */
KERNEL test_sum(const float *x, float *y, int64_t n, int32_t *fault) {
  float *shared = lathe_emu_shared();
  int thread = lathe_emu_thread_x(), threads = lathe_emu_block_size_x();
  int64_t i = index_of_thread();
  shared[thread] = i < n ? x[i] : 0;
  lathe_emu_barrier();
  float sum = 0;
  for (int k = 0; k < threads; ++k) {
    sum += shared[k];
  }
  if (i < n) {
    y[i] = sum;
  }
}
