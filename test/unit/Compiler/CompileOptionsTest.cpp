// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Compiler/Compile.h"
#include "lathe/Support/Error.h"
#include "lathe/abi.h"
#include "gtest/gtest.h"

#include <set>

using namespace lathe;

namespace {

TEST(ShapeOption, fixesAllDimensionsOfAnInput) {
  ShapeOption shape = llvm::cantFail(ShapeOption::parse("x=1x?x128"));
  EXPECT_EQ(shape.name, "x");
  EXPECT_EQ(shape.dims, (std::vector<int64_t>{1, -1, 128}));
  EXPECT_EQ(shape.str(), "x=1x?x128");
}

TEST(ShapeOption, boundsASymbol) {
  ShapeOption shape = llvm::cantFail(ShapeOption::parse("S=1..512"));
  EXPECT_EQ(shape.range, (std::pair<int64_t, int64_t>(1, 512)));
  EXPECT_TRUE(shape.dims.empty());
  EXPECT_EQ(shape.str(), "S=1..512");
}

TEST(ShapeOption, namesMayHoldEqualSigns) {
  EXPECT_EQ(llvm::cantFail(ShapeOption::parse("a=b=3")).name, "a=b");
}

TEST(ShapeOption, refusesWhatIsNoShape) {
  for (const char *text : {"", "x", "=1", "x=", "x=1x", "x=-1", "x=1..0", "S=0..4", "S=1..",
                           "x=99999999999999999999", "x=1e3", "x=2000000000000"}) {
    llvm::Expected<ShapeOption> shape = ShapeOption::parse(text);
    ASSERT_FALSE(bool(shape)) << text;
    EXPECT_EQ(takeModelErrors(shape.takeError()).front().code, ErrorCode::E0001) << text;
  }
}

TEST(CompileOptions, hashFollowsWhatChangesCodeOrWeights) {
  std::vector<cpu::TargetSpec> targets = {llvm::cantFail(cpu::resolveTarget("x86-64-v3"))};
  CompileOptions options;
  const uint64_t hash = options.hash(targets);

  auto with = [&](llvm::function_ref<void(CompileOptions &)> change) {
    CompileOptions changed = options;
    change(changed);
    return changed.hash(targets);
  };
  std::set<uint64_t> hashes = {hash};
  EXPECT_TRUE(hashes.insert(with([](auto &o) { o.optLevel = 0; })).second);
  EXPECT_TRUE(hashes.insert(with([](auto &o) { o.threads = 2; })).second);
  EXPECT_TRUE(hashes.insert(with([](auto &o) { o.uncheckedIndices = true; })).second);
  EXPECT_TRUE(hashes.insert(with([](auto &o) { o.runPassUntil = 3; })).second);
  EXPECT_TRUE(hashes.insert(with([](auto &o) { o.from = Stage::NN; })).second);
  for (const char *shape : {"N=1", "N=2", "N=1..2", "x=none"}) {
    auto give = [&](auto &o) { o.shapes = {llvm::cantFail(ShapeOption::parse(shape))}; };
    EXPECT_TRUE(hashes.insert(with(give)).second) << shape;
  }

  EXPECT_EQ(hash, with([](auto &o) { o.input = "other.onnx"; }));
  EXPECT_EQ(hash, with([](auto &o) { o.output = "other.a"; }));
  EXPECT_EQ(hash, with([](auto &o) { o.outputKind = OutputKind::Static; }));
  EXPECT_EQ(hash, with([](auto &o) { o.weightsAsObject = true; }));
  EXPECT_EQ(hash, with([](auto &o) { o.limits.nodes = 7; }));
  EXPECT_EQ(hash, with([](auto &o) { o.verifyEach = true; }));
}

TEST(CompileOptions, hashKnowsTargetsByWhatTheyCanDo) {
  CompileOptions options;
  auto native = [&](uint64_t without) {
    cpu::HostProcessor host;
    host.features = ~without;
    return llvm::cantFail(cpu::resolveTarget("native", host));
  };
  cpu::TargetSpec all = native(0), less = native(LATHE_CPU_AVX512FP16), smallCache = all;
  smallCache.l1Bytes /= 2;
  std::set<uint64_t> hashes = {options.hash({all}), options.hash({less}), options.hash({smallCache}),
                               options.hash({all, less}), options.hash({less, all})};
  EXPECT_EQ(hashes.size(), 5u);
  EXPECT_EQ(options.hash({all}), options.hash({native(0)}));
}

TEST(Report, survivesJSON) {
  Report report;
  report.digest = {"fused 6/6 attentions"};
  report.warnings = {"cross-compiling"};
  report.remarks.push_back(
      {Remark::Missed, "nn-fuse-attention", "FusedAttention", "the mask has 3 dimensions", "/a"});
  report.compression.push_back(
      {"weight", {"q", "k"}, {"/q", "/k"}, "int4<group = 32>", "f32", "its rows are 50", false, 8000, 8000});
  report.kernels.push_back({"kernel0", "matmul", {"/q"}});
  report.setNumber("nodes", 3);
  report.setNumber("nodes", 4);
  report.beginPhase("import");
  report.endPhases();
  Report back = Report::fromJSON(report.toJSON());
  EXPECT_EQ(back.digest, report.digest);
  EXPECT_EQ(back.warnings, report.warnings);
  ASSERT_EQ(back.remarks.size(), 1u);
  EXPECT_EQ(back.remarks[0].kind, Remark::Missed);
  EXPECT_EQ(back.remarks[0].node, "/a");
  ASSERT_EQ(back.compression.size(), 1u);
  EXPECT_EQ(llvm::json::Value(back.toJSON()), llvm::json::Value(report.toJSON()));
  EXPECT_EQ(back.numbers, (std::vector<std::pair<std::string, int64_t>>{{"nodes", 4}}));
  EXPECT_EQ(back.phases.size(), 1u);
}

} // namespace
