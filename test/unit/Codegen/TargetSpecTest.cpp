// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Codegen/CPU/TargetSpec.h"
#include "lathe/Support/Error.h"
#include "lathe/abi.h"
#include "gtest/gtest.h"

using namespace lathe;
using namespace lathe::cpu;

namespace {

HostProcessor hostWith(uint64_t features) {
  HostProcessor host;
  host.features = features;
  return host;
}

uint64_t featuresOf(llvm::StringRef name) { return llvm::cantFail(resolveTarget(name, {})).cpuFeatures; }

ErrorCode codeOf(llvm::Expected<TargetSpec> target) {
  return target ? ErrorCode::E0900 : takeModelErrors(target.takeError()).front().code;
}

TEST(TargetSpec, namedTargetsDoNotDependOnTheMachine) {
  TargetSpec v4 = llvm::cantFail(resolveTarget("x86-64-v4", {}));
  EXPECT_EQ(v4.vectorBits, 512u);
  EXPECT_EQ(v4.lanes(32), 16u);
  EXPECT_EQ(v4.llvmFeatures,
            "+avx,+avx2,+avx512bw,+avx512cd,+avx512dq,+avx512f,+avx512vl,+bmi,+bmi2,+cx16,+cx8,+f16c,"
            "+fma,+fxsr,+lzcnt,+mmx,+movbe,+popcnt,+sahf,+sse,+sse2,+sse3,+sse4.1,+sse4.2,+ssse3,+x87");
  TargetSpec v3 = llvm::cantFail(resolveTarget("x86-64-v3", {}));
  EXPECT_EQ(v3.vectorBits, 256u);
  EXPECT_FALSE(v3.hasAVX512);
  EXPECT_TRUE(v3.hasFMA);
}

TEST(TargetSpec, nativeTakesWhatTheHostHas) {
  TargetSpec native =
      llvm::cantFail(resolveTarget("native", hostWith(featuresOf("x86-64-v4") | LATHE_CPU_AVX512VNNI)));
  EXPECT_TRUE(native.hasAVX512VNNI);
  EXPECT_FALSE(native.hasAVX512BF16);
  EXPECT_EQ(native.name, "native");
}

TEST(TargetSpec, partOfAVX512IsNotUsed) {
  TargetSpec native = llvm::cantFail(
      resolveTarget("native", hostWith(featuresOf("x86-64-v3") | LATHE_CPU_AVX512F | LATHE_CPU_AVXVNNI)));
  EXPECT_EQ(native.vectorBits, 256u);
  EXPECT_EQ(native.cpuFeatures, featuresOf("x86-64-v3") | LATHE_CPU_AVXVNNI);
}

TEST(TargetSpec, oldProcessorIsRefusedWithWhatItLacks) {
  llvm::Expected<TargetSpec> target =
      resolveTarget("native", hostWith(featuresOf("x86-64-v3") & ~LATHE_CPU_FMA));
  ASSERT_FALSE(bool(target));
  ModelError error = std::move(takeModelErrors(target.takeError()).front());
  EXPECT_EQ(error.code, ErrorCode::E0502);
  EXPECT_EQ(error.message, "native needs an x86-64-v3 processor, this one lacks fma");
}

TEST(TargetSpec, unknownNameIsAUsageError) {
  for (const char *name : {"avx9", "x86-64-v4+", "x86-64-v4+sse", "x86-64-v3+bf16", "native+amx"}) {
    EXPECT_EQ(codeOf(resolveTarget(name, {})), ErrorCode::E0501) << name;
  }
}

TEST(TargetSpec, namesAddInstructions) {
  TargetSpec bf16 = llvm::cantFail(resolveTarget("x86-64-v4+bf16", {}));
  EXPECT_TRUE(bf16.hasAVX512BF16 && bf16.hasFastBF16);
  EXPECT_FALSE(bf16.hasAVX512VNNI || bf16.hasAMXBF16);
  TargetSpec amx = llvm::cantFail(resolveTarget("x86-64-v4+amx", {}));
  EXPECT_TRUE(amx.hasAMXInt8 && amx.hasAMXBF16 && amx.hasAVX512VNNI && amx.hasAVX512BF16 && amx.hasFastBF16);
  EXPECT_EQ(amx.cpuFeaturesWithoutMatrices(),
            featuresOf("x86-64-v4") | LATHE_CPU_AVX512VNNI | LATHE_CPU_AVX512BF16);
  EXPECT_EQ(featuresOf("x86-64-v4+vnni+bf16"), amx.cpuFeaturesWithoutMatrices());
}

TEST(TargetSpec, bf16IsOnlyFastWhereItsInstructionIs) {
  HostProcessor host = hostWith(featuresOf("x86-64-v4+bf16"));
  EXPECT_FALSE(llvm::cantFail(resolveTarget("native", host)).hasFastBF16);
  host.hasFastBF16Dot = true;
  EXPECT_TRUE(llvm::cantFail(resolveTarget("native", host)).hasFastBF16);
  EXPECT_TRUE(llvm::cantFail(resolveTarget("native", hostWith(featuresOf("x86-64-v4+amx")))).hasFastBF16);
}

TEST(TargetSpec, absurdCacheSizesAreIgnored) {
  HostProcessor host = hostWith(featuresOf("x86-64-v3"));
  host.l1Bytes = 1;
  host.l2Bytes = 2 << 20;
  TargetSpec native = llvm::cantFail(resolveTarget("native", host));
  EXPECT_EQ(native.l1Bytes, 32u << 10);
  EXPECT_EQ(native.l2Bytes, 2u << 20);
}

} // namespace
