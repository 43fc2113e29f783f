// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Compiler/Compile.h"
#include "lathe/Support/Error.h"
#include "gtest/gtest.h"

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

TEST(Report, survivesJSON) {
  Report report;
  report.digest = {"fused 6/6 attentions"};
  report.warnings = {"cross-compiling"};
  report.remarks.push_back(
      {Remark::Missed, "nn-fuse-attention", "FusedAttention", "the mask has 3 dimensions", "/a"});
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
  EXPECT_EQ(back.numbers, (std::vector<std::pair<std::string, int64_t>>{{"nodes", 4}}));
  EXPECT_EQ(back.phases.size(), 1u);
}

} // namespace
