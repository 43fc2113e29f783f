// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What code is generated for: one processor, or one family of them.

#ifndef LATHE_CODEGEN_CPU_TARGETSPEC_H
#define LATHE_CODEGEN_CPU_TARGETSPEC_H

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <string>

namespace lathe::cpu {

/// A target. The processor is described by features alone: LLVM's name for the host is wrong in virtual
/// machines.
struct TargetSpec {
  /// As on the command line, and as the variant in the artifact: "native", "x86-64-v3", "x86-64-v4+amx".
  std::string name;
  /// LLVM's triple, `target-cpu`, `tune-cpu` and `target-features` (sorted).
  std::string triple = "x86_64-unknown-linux-gnu";
  std::string cpu = "x86-64", tuneCpu = "generic", llvmFeatures;
  /// lathe_cpu_feature bits that a processor must have to run the code.
  uint64_t cpuFeatures = 0;
  /// Width and number of the vector registers.
  unsigned vectorBits = 256, vectorRegisters = 16;
  bool hasFMA = false, hasF16C = false, hasAVX512 = false, hasAVX512VNNI = false, hasAVX512BF16 = false,
       hasAVX512FP16 = false, hasAVXVNNI = false, hasAMXInt8 = false, hasAMXBF16 = false;
  /// Whether products of bf16 take less time than those of f32: not so where AVX512_BF16 has half the rate of
  /// f32, as on Intel's processors.
  bool hasFastBF16 = false;
  /// Sizes of the data caches of one core. Fixed for named targets, so that their code does not depend on the
  /// machine.
  uint64_t l1Bytes = 32 << 10, l2Bytes = 512 << 10;

  /// The features without those whose use a process must ask the kernel for: a model that has no use for them
  /// runs without.
  uint64_t cpuFeaturesWithoutMatrices() const;

  /// Elements of `bits` bits in one vector register.
  unsigned lanes(unsigned bits) const { return vectorBits / bits; }
};

/// What the machine that runs this can do.
struct HostProcessor {
  uint64_t features = 0;             // lathe_cpu_feature bits, those that the operating system lets us use
  uint64_t l1Bytes = 0, l2Bytes = 0; // 0: unknown
  std::string brand;                 // for people: "AMD EPYC 9V74"
  bool hasFastBF16Dot = false;       // AVX512_BF16 at the rate of AVX-512's other instructions
};
HostProcessor detectHost();

/// The target called `name`. "native" is what `host` can do.
llvm::Expected<TargetSpec> resolveTarget(llvm::StringRef name, const HostProcessor &host = detectHost());

} // namespace lathe::cpu

#endif // LATHE_CODEGEN_CPU_TARGETSPEC_H
