/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/* What the processor can do, from CPUID and XCR0 alone: names of processors are wrong in virtual machines. */
#define _GNU_SOURCE
#include "cpu.h"

#include "lathe/abi.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

struct feature {
  uint32_t bit;
  const char *name;
};

static const struct feature features_known[] = {
    {LATHE_CPU_SSE42, "sse4.2"},
    {LATHE_CPU_AVX, "avx"},
    {LATHE_CPU_AVX2, "avx2"},
    {LATHE_CPU_FMA, "fma"},
    {LATHE_CPU_F16C, "f16c"},
    {LATHE_CPU_BMI2, "bmi2"},
    {LATHE_CPU_AVX512F, "avx512f"},
    {LATHE_CPU_AVX512BW, "avx512bw"},
    {LATHE_CPU_AVX512DQ, "avx512dq"},
    {LATHE_CPU_AVX512VL, "avx512vl"},
    {LATHE_CPU_AVX512CD, "avx512cd"},
    {LATHE_CPU_AVX512VNNI, "avx512vnni"},
    {LATHE_CPU_AVX512BF16, "avx512bf16"},
    {LATHE_CPU_AVX512FP16, "avx512fp16"},
    {LATHE_CPU_AVX512VBMI, "avx512vbmi"},
    {LATHE_CPU_AVXVNNI, "avxvnni"},
    {LATHE_CPU_AMX_TILE, "amx-tile"},
    {LATHE_CPU_AMX_INT8, "amx-int8"},
    {LATHE_CPU_AMX_BF16, "amx-bf16"},
    {LATHE_CPU_LZCNT, "lzcnt"},
    {LATHE_CPU_BMI, "bmi"},
    {LATHE_CPU_MOVBE, "movbe"},
    {LATHE_CPU_POPCNT, "popcnt"},
};

#define FEATURES_AMX ((uint64_t)(LATHE_CPU_AMX_TILE | LATHE_CPU_AMX_INT8 | LATHE_CPU_AMX_BF16))

#if defined(__x86_64__)
/* One bit of a CPUID register, and which registers the operating system must save for it to be usable. */
struct cpuid_bit {
  uint32_t feature;
  uint8_t reg; /* index into the four registers of the leaf */
  uint8_t bit;
  uint8_t state; /* enum state */
};

enum state { STATE_NONE = 0, STATE_AVX = 1, STATE_AVX512 = 2, STATE_AMX = 4 };
enum { EAX, EBX, ECX, EDX };

static const struct cpuid_bit leaf_1[] = {
    {LATHE_CPU_SSE42, ECX, 20, STATE_NONE}, {LATHE_CPU_POPCNT, ECX, 23, STATE_NONE},
    {LATHE_CPU_MOVBE, ECX, 22, STATE_NONE}, {LATHE_CPU_AVX, ECX, 28, STATE_AVX},
    {LATHE_CPU_FMA, ECX, 12, STATE_AVX},    {LATHE_CPU_F16C, ECX, 29, STATE_AVX},
};
static const struct cpuid_bit leaf_7[] = {
    {LATHE_CPU_BMI, EBX, 3, STATE_NONE},           {LATHE_CPU_BMI2, EBX, 8, STATE_NONE},
    {LATHE_CPU_AVX2, EBX, 5, STATE_AVX},           {LATHE_CPU_AVX512F, EBX, 16, STATE_AVX512},
    {LATHE_CPU_AVX512DQ, EBX, 17, STATE_AVX512},   {LATHE_CPU_AVX512CD, EBX, 28, STATE_AVX512},
    {LATHE_CPU_AVX512BW, EBX, 30, STATE_AVX512},   {LATHE_CPU_AVX512VL, EBX, 31, STATE_AVX512},
    {LATHE_CPU_AVX512VBMI, ECX, 1, STATE_AVX512},  {LATHE_CPU_AVX512VNNI, ECX, 11, STATE_AVX512},
    {LATHE_CPU_AVX512FP16, EDX, 23, STATE_AVX512}, {LATHE_CPU_AMX_BF16, EDX, 22, STATE_AMX},
    {LATHE_CPU_AMX_TILE, EDX, 24, STATE_AMX},      {LATHE_CPU_AMX_INT8, EDX, 25, STATE_AMX},
};
static const struct cpuid_bit leaf_7_1[] = {
    {LATHE_CPU_AVXVNNI, EAX, 4, STATE_AVX},
    {LATHE_CPU_AVX512BF16, EAX, 5, STATE_AVX512},
};
static const struct cpuid_bit leaf_ext_1[] = {
    {LATHE_CPU_LZCNT, ECX, 5, STATE_NONE},
};

static uint64_t collect(const struct cpuid_bit *bits, size_t count, const unsigned regs[4], unsigned states) {
  uint64_t features = 0;
  for (size_t i = 0; i < count; ++i) {
    if ((regs[bits[i].reg] >> bits[i].bit & 1) && (bits[i].state & ~states) == 0) {
      features |= bits[i].feature;
    }
  }
  return features;
}

/* Which register files XCR0 says are saved. */
static unsigned saved_states(void) {
  unsigned low, high, states = STATE_NONE;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  if ((low & 0x6) == 0x6) {
    states |= STATE_AVX;
    states |= (low & 0xe0) == 0xe0 ? STATE_AVX512 : 0;
  }
  states |= (low & 0x60000) == 0x60000 ? STATE_AMX : 0;
  return states;
}

uint64_t lathe_cpu_detect(void) {
  uint64_t features = 0;
  unsigned r[4];
  if (!__get_cpuid_count(1, 0, &r[0], &r[1], &r[2], &r[3])) {
    return 0;
  }
  unsigned states = r[ECX] >> 27 & 1 ? saved_states() : STATE_NONE;
#define COLLECT(leaf) features |= collect(leaf, sizeof leaf / sizeof *leaf, r, states)
  COLLECT(leaf_1);
  if (__get_cpuid_count(7, 0, &r[0], &r[1], &r[2], &r[3])) {
    unsigned sub_leaves = r[EAX];
    COLLECT(leaf_7);
    if (sub_leaves >= 1 && __get_cpuid_count(7, 1, &r[0], &r[1], &r[2], &r[3])) {
      COLLECT(leaf_7_1);
    }
  }
  if (__get_cpuid_count(0x80000001u, 0, &r[0], &r[1], &r[2], &r[3])) {
    COLLECT(leaf_ext_1);
  }
#undef COLLECT
  return features;
}

uint64_t lathe_cpu_permit(uint64_t features) {
  enum { ARCH_REQ_XCOMP_PERM_ = 0x1023, XFEATURE_XTILEDATA_ = 18 };
  if ((features & FEATURES_AMX) && syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM_, XFEATURE_XTILEDATA_) != 0) {
    return features & ~FEATURES_AMX;
  }
  return features;
}
#else
uint64_t lathe_cpu_detect(void) { return 0; }
uint64_t lathe_cpu_permit(uint64_t features) { return features; }
#endif

const char *lathe_cpu_feature_name(uint64_t bit) {
  for (size_t i = 0; i < sizeof features_known / sizeof *features_known; ++i) {
    if (features_known[i].bit == bit) {
      return features_known[i].name;
    }
  }
  return NULL;
}

size_t lathe_cpu_names(uint64_t features, char *text, size_t size) {
  size_t length = 0;
  if (size) {
    text[0] = 0;
  }
  for (; features; features &= features - 1) {
    const char *name = lathe_cpu_feature_name(features & -features);
    int n = snprintf(length < size ? text + length : NULL, length < size ? size - length : 0, "%s%s",
                     length ? ", " : "", name ? name : "a feature this runtime does not know");
    length += n > 0 ? (size_t)n : 0;
  }
  return length;
}

/* The first number of a list such as "0,2" or "0-1", or -1. */
static int first_sibling(int cpu) {
  char path[96], text[16];
  snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
  if (fd >= 0) {
    close(fd);
  }
  if (n <= 0) {
    return -1;
  }
  text[n] = 0;
  return atoi(text);
}

uint32_t lathe_cpu_cores(void) {
  cpu_set_t set, seen;
  CPU_ZERO(&seen);
  if (sched_getaffinity(0, sizeof set, &set) != 0) {
    return 1;
  }
  uint32_t cores = 0;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &set)) {
      continue;
    }
    int core = first_sibling(cpu);
    if (core < 0 || core >= CPU_SETSIZE || !CPU_ISSET(core, &seen)) {
      ++cores;
    }
    if (core >= 0 && core < CPU_SETSIZE) {
      CPU_SET(core, &seen);
    }
  }
  return cores ? cores : 1;
}
