// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Support/Diagnostics.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/MLIRContext.h"
#include "gtest/gtest.h"

using namespace mlir;
using namespace lathe;

namespace {

struct Diagnostics : testing::Test {
  MLIRContext context;
  Builder builder{&context};

  Location node(StringRef name, int64_t index, ArrayRef<Location> inner = {}) {
    auto metadata = builder.getDictionaryAttr(
        {builder.getNamedAttr("node", builder.getStringAttr(name)),
         builder.getNamedAttr("op", builder.getStringAttr("Conv")),
         builder.getNamedAttr("opset", builder.getI64IntegerAttr(17)),
         builder.getNamedAttr("index", builder.getI64IntegerAttr(index)),
         builder.getNamedAttr("graph", builder.getStrArrayAttr({"graph \"g\"", "If \"/i\" then_branch"}))});
    return FusedLoc::get(&context, inner.empty() ? ArrayRef<Location>(builder.getUnknownLoc()) : inner,
                         metadata);
  }

  std::string textOf(llvm::Error error) { return llvm::toString(std::move(error)); }
};

TEST_F(Diagnostics, errorsFindTheirNode) {
  DiagnosticCollector collector(&context, "m.onnx");
  emitError(node("/conv", 3)) << "[E0304] strides[0] is 0";
  EXPECT_EQ(textOf(collector.takeError()), "error[E0304]: strides[0] is 0\n"
                                           "  --> m.onnx: node #3 \"/conv\" (Conv, opset 17)\n"
                                           "  in: graph \"g\" > If \"/i\" then_branch\n");
}

TEST_F(Diagnostics, notesFillFields) {
  DiagnosticCollector collector(&context, "m.onnx");
  InFlightDiagnostic d = emitError(node("/conv", 3)) << "[E0304] 'nn.conv' op is bad";
  d.attachNote() << "have: strides = [0]";
  d.attachNote() << "help: do not";
  d.attachNote() << "attribute: strides";
  d.attachNote() << "more";
  d.report();
  std::string text = textOf(collector.takeError());
  EXPECT_NE(text.find(", attribute `strides`\n"), std::string::npos) << text;
  EXPECT_NE(text.find("  have: strides = [0]\n  note: more\n  help: do not\n"), std::string::npos) << text;
}

TEST_F(Diagnostics, codeMayFollowTheOpName) {
  DiagnosticCollector collector(&context, "m.onnx");
  emitError(node("/conv", 3)) << "'nn.conv' op [E0307] ranks differ";
  EXPECT_EQ(StringRef(textOf(collector.takeError())).split('\n').first,
            "error[E0307]: 'nn.conv' op ranks differ");
}

TEST_F(Diagnostics, errorsWithoutCodeAreInternal) {
  DiagnosticCollector collector(&context, "m.onnx");
  emitError(builder.getUnknownLoc()) << "odd";
  EXPECT_EQ(textOf(collector.takeError()), "error[E0901]: odd\n  --> m.onnx\n");
}

TEST_F(Diagnostics, keepsErrorsOfTheFirstKind) {
  DiagnosticCollector collector(&context, "m.onnx");
  emitError(node("/a", 1)) << "[E0301] no Foo";
  emitError(node("/b", 2)) << "consequence";
  emitError(node("/c", 3)) << "[E0301] no Bar";
  std::vector<ModelError> all = takeModelErrors(collector.takeError());
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].node, "/a");
  EXPECT_EQ(all[1].node, "/c");
}

TEST_F(Diagnostics, failureWithoutWordsIsStillAnError) {
  DiagnosticCollector collector(&context, "m.onnx");
  EXPECT_EQ(textOf(collector.takeFailure("bufferization")),
            "error[E0901]: bufferization failed without a message\n  --> m.onnx\n");
}

TEST_F(Diagnostics, originsOfFusedAndInlinedCode) {
  Location a = node("/a", 1), b = node("/b", 2);
  Location fused = builder.getFusedLoc({a, NameLoc::get(builder.getStringAttr("/n")), a});
  std::vector<NodeOrigin> origins = originsOf(CallSiteLoc::get(fused, b));
  ASSERT_EQ(origins.size(), 3u);
  EXPECT_EQ(origins[0].name, "/a");
  EXPECT_EQ(origins[1].name, "/n");
  EXPECT_EQ(origins[2].name, "/b");
}

TEST_F(Diagnostics, textualInputHasLineAndColumn) {
  DiagnosticCollector collector(&context, "m.onnx", ErrorCode::E0403);
  emitError(FileLineColLoc::get(&context, "x.mlir", 12, 3)) << "expected ')'";
  EXPECT_EQ(textOf(collector.takeError()), "error[E0403]: expected ')'\n  --> x.mlir:12:3\n");
}

} // namespace
