// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Codegen/CPU/TargetSpec.h"
#include "lathe/Support/Error.h"
#include "lathe/Support/Text.h"
#include "lathe/abi.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringExtras.h"
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include <cstring>
#include <optional>

using namespace llvm;
using namespace lathe;
using namespace lathe::cpu;

namespace {

/// A feature of the runtime's numbering, LLVM's name for it, and its place in CPUID.
struct Feature {
  uint64_t bit;
  const char *llvmName;
  unsigned leaf, subleaf;
  enum Register { EAX, EBX, ECX, EDX } reg;
  unsigned position;
  /// Bits of XCR0 that the operating system must have set: 6 for ymm, e6 for zmm.
  uint64_t state;
};

constexpr uint64_t ymm = 0x6, zmm = 0xe6, matrix = 0x60000;

const Feature features[] = {
    {LATHE_CPU_SSE42, "sse4.2", 1, 0, Feature::ECX, 20, 0},
    {LATHE_CPU_POPCNT, "popcnt", 1, 0, Feature::ECX, 23, 0},
    {LATHE_CPU_MOVBE, "movbe", 1, 0, Feature::ECX, 22, 0},
    {LATHE_CPU_LZCNT, "lzcnt", 0x80000001, 0, Feature::ECX, 5, 0},
    {LATHE_CPU_BMI, "bmi", 7, 0, Feature::EBX, 3, 0},
    {LATHE_CPU_BMI2, "bmi2", 7, 0, Feature::EBX, 8, 0},
    {LATHE_CPU_AVX, "avx", 1, 0, Feature::ECX, 28, ymm},
    {LATHE_CPU_F16C, "f16c", 1, 0, Feature::ECX, 29, ymm},
    {LATHE_CPU_FMA, "fma", 1, 0, Feature::ECX, 12, ymm},
    {LATHE_CPU_AVX2, "avx2", 7, 0, Feature::EBX, 5, ymm},
    {LATHE_CPU_AVXVNNI, "avxvnni", 7, 1, Feature::EAX, 4, ymm},
    {LATHE_CPU_AVX512F, "avx512f", 7, 0, Feature::EBX, 16, zmm},
    {LATHE_CPU_AVX512BW, "avx512bw", 7, 0, Feature::EBX, 30, zmm},
    {LATHE_CPU_AVX512DQ, "avx512dq", 7, 0, Feature::EBX, 17, zmm},
    {LATHE_CPU_AVX512VL, "avx512vl", 7, 0, Feature::EBX, 31, zmm},
    {LATHE_CPU_AVX512CD, "avx512cd", 7, 0, Feature::EBX, 28, zmm},
    {LATHE_CPU_AVX512VNNI, "avx512vnni", 7, 0, Feature::ECX, 11, zmm},
    {LATHE_CPU_AVX512VBMI, "avx512vbmi", 7, 0, Feature::ECX, 1, zmm},
    {LATHE_CPU_AVX512BF16, "avx512bf16", 7, 1, Feature::EAX, 5, zmm},
    {LATHE_CPU_AVX512FP16, "avx512fp16", 7, 0, Feature::EDX, 23, zmm},
    {LATHE_CPU_AMX_TILE, "amx-tile", 7, 0, Feature::EDX, 24, matrix},
    {LATHE_CPU_AMX_INT8, "amx-int8", 7, 0, Feature::EDX, 25, matrix},
    {LATHE_CPU_AMX_BF16, "amx-bf16", 7, 0, Feature::EDX, 22, matrix},
};

constexpr uint64_t v3 = LATHE_CPU_SSE42 | LATHE_CPU_POPCNT | LATHE_CPU_MOVBE | LATHE_CPU_LZCNT |
                        LATHE_CPU_BMI | LATHE_CPU_BMI2 | LATHE_CPU_AVX | LATHE_CPU_F16C | LATHE_CPU_FMA |
                        LATHE_CPU_AVX2;
constexpr uint64_t v4 = v3 | LATHE_CPU_AVX512F | LATHE_CPU_AVX512BW | LATHE_CPU_AVX512DQ |
                        LATHE_CPU_AVX512VL | LATHE_CPU_AVX512CD;
constexpr uint64_t anyAVX512 =
    (v4 & ~v3) | LATHE_CPU_AVX512VNNI | LATHE_CPU_AVX512VBMI | LATHE_CPU_AVX512BF16 | LATHE_CPU_AVX512FP16;

constexpr uint64_t matrixFeatures = LATHE_CPU_AMX_TILE | LATHE_CPU_AMX_INT8 | LATHE_CPU_AMX_BF16;

/// What can be added to the name of x86-64-v4. Whoever names bf16 has processors in mind on which it is fast;
/// those with matrix registers have the other instructions, too.
struct Extension {
  const char *name;
  uint64_t features;
  bool hasFastBF16;
};
const Extension extensions[] = {
    {"vnni", LATHE_CPU_AVX512VNNI, false},
    {"bf16", LATHE_CPU_AVX512BF16, true},
    {"amx", LATHE_CPU_AVX512VNNI | LATHE_CPU_AVX512BF16 | matrixFeatures, true},
};

/// Features that every x86-64-v2 processor has and nobody checks one by one.
constexpr const char *baseline = "+cx16,+cx8,+fxsr,+mmx,+sahf,+sse,+sse2,+sse3,+sse4.1,+ssse3,+x87";

std::string namesOf(uint64_t bits) {
  SmallVector<StringRef> names;
  for (const Feature &f : features) {
    if (bits & f.bit) {
      names.push_back(f.llvmName);
    }
  }
  return join(names, ", ");
}

TargetSpec makeSpec(StringRef name, uint64_t bits) {
  TargetSpec spec;
  spec.name = name.str();
  spec.cpuFeatures = bits;
  SmallVector<StringRef> names;
  StringRef(baseline).split(names, ',');
  SmallVector<std::string> own;
  for (const Feature &f : features) {
    if (bits & f.bit) {
      own.push_back(std::string("+") + f.llvmName);
    }
  }
  names.append(own.begin(), own.end());
  llvm::sort(names);
  spec.llvmFeatures = join(names, ",");
  spec.hasFMA = bits & LATHE_CPU_FMA;
  spec.hasF16C = bits & LATHE_CPU_F16C;
  spec.hasAVX512 = bits & LATHE_CPU_AVX512F;
  spec.hasAVX512VNNI = bits & LATHE_CPU_AVX512VNNI;
  spec.hasAVX512BF16 = bits & LATHE_CPU_AVX512BF16;
  spec.hasAVX512FP16 = bits & LATHE_CPU_AVX512FP16;
  spec.hasAVXVNNI = bits & LATHE_CPU_AVXVNNI;
  spec.hasAMXInt8 = (~bits & (LATHE_CPU_AMX_TILE | LATHE_CPU_AMX_INT8)) == 0;
  spec.hasAMXBF16 = (~bits & (LATHE_CPU_AMX_TILE | LATHE_CPU_AMX_BF16)) == 0;
  spec.vectorBits = spec.hasAVX512 ? 512 : 256;
  spec.vectorRegisters = spec.hasAVX512 ? 32 : 16;
  spec.l2Bytes = spec.hasAVX512 ? 1 << 20 : 512 << 10;
  return spec;
}

/// x86-64-v4 and what its name is followed by, each with a plus; nothing if one of these is unknown.
std::optional<TargetSpec> makeExtended(StringRef name) {
  SmallVector<StringRef> parts;
  name.split(parts, '+');
  if (parts.front() != "x86-64-v4") {
    return std::nullopt;
  }
  uint64_t bits = v4;
  bool hasFastBF16 = false;
  for (StringRef part : ArrayRef(parts).drop_front()) {
    const Extension *found = llvm::find_if(extensions, [&](const Extension &e) { return part == e.name; });
    if (found == std::end(extensions)) {
      return std::nullopt;
    }
    bits |= found->features;
    hasFastBF16 |= found->hasFastBF16;
  }
  TargetSpec spec = makeSpec(name, bits);
  spec.hasFastBF16 = hasFastBF16;
  return spec;
}

#if defined(__x86_64__)

/// Whether the vendor's name is `text`.
bool isVendor(const unsigned (&regs)[4], StringRef text) {
  char name[12];
  memcpy(name, &regs[1], 4);
  memcpy(name + 4, &regs[3], 4);
  memcpy(name + 8, &regs[2], 4);
  return StringRef(name, sizeof name) == text;
}

struct CpuId {
  unsigned regs[4] = {};
  CpuId(unsigned leaf, unsigned subleaf) {
    if (!__get_cpuid_count(leaf, subleaf, &regs[0], &regs[1], &regs[2], &regs[3])) {
      memset(regs, 0, sizeof regs);
    }
  }
  bool bit(unsigned reg, unsigned position) const { return regs[reg] >> position & 1; }
};

uint64_t enabledStates() {
  if (!CpuId(1, 0).bit(Feature::ECX, 27)) { // OSXSAVE
    return 0;
  }
  uint32_t low = 0, high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return uint64_t(high) << 32 | low;
}

/// Data caches of levels 1 and 2, from the deterministic cache parameters of either vendor.
void detectCaches(HostProcessor &host) {
  bool amd = CpuId(0x80000001, 0).bit(Feature::ECX, 22); // topology extensions
  unsigned leaf = amd ? 0x8000001d : 4;
  for (unsigned i = 0; i < 8; ++i) {
    CpuId c(leaf, i);
    unsigned type = c.regs[Feature::EAX] & 31, level = c.regs[Feature::EAX] >> 5 & 7;
    if (type == 0) {
      break;
    }
    if (type == 2) { // instructions only
      continue;
    }
    unsigned ebx = c.regs[Feature::EBX];
    uint64_t bytes = uint64_t((ebx >> 22) + 1) * ((ebx >> 12 & 1023) + 1) * ((ebx & 4095) + 1) *
                     (uint64_t(c.regs[Feature::ECX]) + 1);
    if (level == 1) {
      host.l1Bytes = bytes;
    } else if (level == 2) {
      host.l2Bytes = bytes;
    }
  }
}

#endif

} // namespace

uint64_t TargetSpec::cpuFeaturesWithoutMatrices() const { return cpuFeatures & ~matrixFeatures; }

HostProcessor cpu::detectHost() {
  HostProcessor host;
#if defined(__x86_64__)
  uint64_t states = enabledStates();
  for (const Feature &f : features) {
    if (CpuId(f.leaf, f.subleaf).bit(f.reg, f.position) && (states & f.state) == f.state) {
      host.features |= f.bit;
    }
  }
  detectCaches(host);
  host.hasFastBF16Dot = host.features & LATHE_CPU_AVX512BF16 && isVendor(CpuId(0, 0).regs, "AuthenticAMD");
  char brand[49] = {};
  if (CpuId(0x80000000, 0).regs[0] >= 0x80000004) {
    for (unsigned i = 0; i < 3; ++i) {
      memcpy(brand + 16 * i, CpuId(0x80000002 + i, 0).regs, 16);
    }
  }
  host.brand = StringRef(brand).trim().str();
#endif
  return host;
}

Expected<TargetSpec> cpu::resolveTarget(StringRef name, const HostProcessor &host) {
  if (name == "x86-64-v3") {
    return makeSpec(name, v3);
  }
  if (std::optional<TargetSpec> extended = makeExtended(name)) {
    return *extended;
  }
  if (name != "native") {
    return modelError(ErrorCode::E0501, "unknown target " + quoteText(name))
        .help("targets are native, x86-64-v3 and x86-64-v4; the last with +vnni, +bf16 or +amx, too");
  }
  if ((host.features & v3) != v3) {
    return modelError(ErrorCode::E0502,
                      "native needs an x86-64-v3 processor, this one lacks " + namesOf(v3 & ~host.features))
        .have(host.brand)
        .help("name a target to compile for another machine: --target=x86-64-v3");
  }
  // All of v4 or nothing: kernels for AVX-512 assume the five parts together.
  uint64_t bits = (host.features & v4) == v4 ? host.features : host.features & ~(anyAVX512 | matrixFeatures);
  TargetSpec spec = makeSpec(name, bits);
  spec.hasFastBF16 = spec.hasAMXBF16 || (spec.hasAVX512BF16 && host.hasFastBF16Dot);
  // A hypervisor may report nothing, or nonsense.
  if (host.l1Bytes >= 16 << 10 && host.l1Bytes <= 256 << 10) {
    spec.l1Bytes = host.l1Bytes;
  }
  if (host.l2Bytes >= 128 << 10 && host.l2Bytes <= 64 << 20) {
    spec.l2Bytes = host.l2Bytes;
  }
  return spec;
}
