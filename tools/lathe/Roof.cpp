// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Roof.h"
#include "lathe.h"
#include "lathe/Npz/Npz.h"
#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <thread>

using namespace lathe;

namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

constexpr int chains = 12; // enough to hide the latency of two FMA units
constexpr int steps = 20000;

/// One step of all chains between reads of memory: eight vectors, so that several loads are under way.
constexpr size_t readStep = 512;

#if defined(__x86_64__)
using Vector8 = float __attribute__((vector_size(32)));
using Vector16 = float __attribute__((vector_size(64)));
using Long4 = uint64_t __attribute__((vector_size(32)));
using Long8 = uint64_t __attribute__((vector_size(64)));

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

#define LATHE_READ_LOOP(Vector)                                                                              \
  constexpr int count = readStep / sizeof(Vector);                                                           \
  Vector sums[count] = {};                                                                                   \
  for (size_t at = 0; at < bytes; at += readStep) {                                                          \
    for (int k = 0; k < count; ++k) {                                                                        \
      sums[k] ^= *reinterpret_cast<const Vector *>(p + at + k * sizeof(Vector));                             \
    }                                                                                                        \
  }                                                                                                          \
  for (int k = 0; k < count; ++k) {                                                                          \
    __asm__ volatile("" : : "v"(sums[k]));                                                                   \
  }

__attribute__((target("avx512f"))) double fma512() {
  LATHE_FMA_LOOP(Vector16)
  return 2.0 * chains * steps * 16;
}
__attribute__((target("avx2,fma"))) double fma256() {
  LATHE_FMA_LOOP(Vector8)
  return 2.0 * chains * steps * 8;
}
__attribute__((target("avx512f"))) void read512(const char *p, size_t bytes) { LATHE_READ_LOOP(Long8) }
__attribute__((target("avx2"))) void read256(const char *p, size_t bytes) { LATHE_READ_LOOP(Long4) }
#undef LATHE_FMA_LOOP
#undef LATHE_READ_LOOP
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

/// Reads `bytes`, a multiple of readStep, once.
void readAll(const char *data, size_t bytes, uint64_t features) {
#if defined(__x86_64__)
  if (features & LATHE_CPU_AVX512F) {
    return read512(data, bytes);
  }
  if (features & LATHE_CPU_AVX2) {
    return read256(data, bytes);
  }
#endif
  uint64_t sum = 0;
  for (size_t at = 0; at < bytes; at += sizeof sum) {
    uint64_t word;
    memcpy(&word, data + at, sizeof word);
    sum ^= word;
  }
  __asm__ volatile("" : : "r"(sum));
}

/// How much `work` gets done in a second by all threads at once; a call returns its amount.
///
/// Many short tries: where other processes share the machine, some go undisturbed. What slows a try down is
/// never the limit that is looked for, so of each thread the median of the faster half counts.
template <typename Work>
double measureRate(unsigned threads, Work work) {
  constexpr int warmups = 4, tries = 24;
  constexpr double seconds = 0.001;
  std::vector<double> rates(threads);
  std::barrier together{std::ptrdiff_t(threads)};
  std::vector<std::thread> pool;
  for (unsigned t = 0; t < threads; ++t) {
    pool.emplace_back([&, t] {
      std::vector<double> own;
      for (int i = -warmups; i < tries; ++i) {
        together.arrive_and_wait();
        double begin = now(), end = begin, amount = 0;
        do {
          amount += work(t);
          end = now();
        } while (end - begin < seconds);
        if (i >= 0) {
          own.push_back(amount / (end - begin));
        }
      }
      std::sort(own.begin(), own.end());
      rates[t] = own[own.size() * 3 / 4];
    });
  }
  for (std::thread &thread : pool) {
    thread.join();
  }
  return std::accumulate(rates.begin(), rates.end(), 0.0);
}

} // namespace

double Roof::bytesPerSecond(double workingSet) const {
  // Between two levels a part of the bytes stays in the cache.
  for (size_t i = 0; i < bandwidths.size(); ++i) {
    const Bandwidth &larger = bandwidths[i];
    if (workingSet > larger.bytes) {
      continue;
    }
    if (i == 0) {
      return larger.bytesPerSecond;
    }
    const Bandwidth &smaller = bandwidths[i - 1];
    double part = (workingSet - smaller.bytes) / (larger.bytes - smaller.bytes);
    return smaller.bytesPerSecond + part * (larger.bytesPerSecond - smaller.bytesPerSecond);
  }
  return memoryBytesPerSecond();
}

Roof lathe::measureRoof(unsigned threads) {
  Roof roof;
  // Asked for once: in a virtual machine CPUID takes longer than what is measured.
  uint64_t features = lathe_cpu_features();
  roof.flopsPerSecond = measureRate(threads, [=](unsigned) { return multiplyAdd(features); });

  // The last is larger than the last cache of most machines.
  constexpr size_t sizes[] = {64 << 10, 256 << 10, 1 << 20, 4 << 20, 16 << 20, 32 << 20, 64 << 20, 128 << 20};
  // Read at a time: long enough for the clock not to matter, a fraction of a try.
  constexpr size_t chunk = 1 << 20;
  std::vector<AlignedBytes> memory;
  for (unsigned t = 0; t < threads; ++t) {
    memory.emplace_back(std::end(sizes)[-1] / threads);
    memset(memory.back().data(), 1, memory.back().size());
  }
  for (size_t size : sizes) {
    size_t own = std::max(size / threads / readStep * readStep, readStep);
    std::vector<size_t> at(threads, 0);
    double rate = measureRate(threads, [&](unsigned t) {
      size_t bytes = 0;
      while (bytes < chunk) {
        size_t part = std::min(own - at[t], chunk);
        readAll(memory[t].data() + at[t], part, features);
        at[t] = (at[t] + part) % own;
        bytes += part;
      }
      return double(bytes);
    });
    roof.bandwidths.push_back({double(size), rate});
  }
  for (size_t i = roof.bandwidths.size() - 1; i > 0; --i) {
    double &faster = roof.bandwidths[i - 1].bytesPerSecond;
    faster = std::max(faster, roof.bandwidths[i].bytesPerSecond);
  }
  return roof;
}
