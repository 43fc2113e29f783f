// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Roof.h"
#include "Npz.h"
#include "lathe.h"
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

using namespace lathe;

namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

constexpr int chains = 12; // enough to hide the latency of two FMA units
constexpr int steps = 20000;

#if defined(__x86_64__)
using Vector8 = float __attribute__((vector_size(32)));
using Vector16 = float __attribute__((vector_size(64)));

#define LATHE_FMA_LOOP(Vector)                                                                               \
  Vector sums[chains] = {};                                                                                  \
  Vector factor = Vector{} + 0.999f, addend = Vector{} + 0.001f;                                             \
  for (int i = 0; i < steps; ++i) {                                                                          \
    for (int k = 0; k < chains; ++k) {                                                                       \
      sums[k] = sums[k] * factor + addend;                                                                   \
    }                                                                                                        \
    /* Or the whole loop would be computed once. */                                                          \
    for (int k = 0; k < chains; ++k) {                                                                       \
      __asm__ volatile("" : "+v"(sums[k]));                                                                  \
    }                                                                                                        \
  }

__attribute__((target("avx512f"))) double fma512() {
  LATHE_FMA_LOOP(Vector16)
  return 2.0 * chains * steps * 16;
}
__attribute__((target("avx2,fma"))) double fma256() {
  LATHE_FMA_LOOP(Vector8)
  return 2.0 * chains * steps * 8;
}
#undef LATHE_FMA_LOOP
#endif

/// Operations of one call.
double multiplyAdd(uint64_t features) {
#if defined(__x86_64__)
  if (features & LATHE_CPU_AVX512F) {
    return fma512();
  }
  if (features & LATHE_CPU_FMA) {
    return fma256();
  }
#endif
  return 0;
}

double readAll(const AlignedBytes &memory) {
  uint64_t sum = 0;
  const char *p = memory.data();
  for (size_t at = 0; at < memory.size(); at += 64) {
    uint64_t word;
    memcpy(&word, p + at, sizeof word);
    sum += word;
  }
  __asm__ volatile("" : : "r"(sum));
  return double(memory.size());
}

/// The best of several tries of all threads at once.
template <typename Work>
double bestRate(unsigned threads, double seconds, Work work) {
  std::vector<double> rates(threads, 0);
  std::vector<std::thread> pool;
  double end = now() + seconds;
  for (unsigned t = 0; t < threads; ++t) {
    pool.emplace_back([&, t] {
      while (now() < end) {
        double begin = now(), amount = work(t);
        rates[t] = std::max(rates[t], amount / (now() - begin));
      }
    });
  }
  double sum = 0;
  for (unsigned t = 0; t < threads; ++t) {
    pool[t].join();
    sum += rates[t];
  }
  return sum;
}

} // namespace

Roof lathe::measureRoof(unsigned threads) {
  Roof roof;
  // Asked for once: in a virtual machine CPUID takes longer than what is measured.
  uint64_t features = lathe_cpu_features();
  roof.flopsPerSecond = bestRate(threads, 0.1, [=](unsigned) { return multiplyAdd(features); });
  // Larger together than the last cache of most machines.
  std::vector<AlignedBytes> memory;
  for (unsigned t = 0; t < threads; ++t) {
    memory.emplace_back((size_t(128) << 20) / threads);
    memset(memory.back().data(), 1, memory.back().size());
  }
  roof.bytesPerSecond = bestRate(threads, 0.15, [&](unsigned t) { return readAll(memory[t]); });
  return roof;
}
