// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Support/Error.h"
#include "lathe/Support/Text.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/Support/raw_ostream.h"
#include "gtest/gtest.h"

using namespace lathe;

namespace {

ModelError strideError() {
  return modelError(ErrorCode::E0304, "Conv: strides[0] is 0, must be at least 1")
      .file("model.onnx")
      .node("/backbone/conv1/Conv", 17)
      .op("Conv", "", 17)
      .attribute("strides")
      .graphPath({"graph \"main_graph\"", "If \"/gate\" then_branch"})
      .have("strides = [0, 0]; X = 1x3x8x8 f32")
      .help("re-export the model, or run `lathe check --explain E0304`")
      .take();
}

TEST(ModelError, rendersCodePlaceValuesAndHelp) {
  EXPECT_EQ(strideError().render(),
            "error[E0304]: Conv: strides[0] is 0, must be at least 1\n"
            "  --> model.onnx: node #17 \"/backbone/conv1/Conv\" (Conv, opset 17), attribute `strides`\n"
            "  in: graph \"main_graph\" > If \"/gate\" then_branch\n"
            "  have: strides = [0, 0]; X = 1x3x8x8 f32\n"
            "  help: re-export the model, or run `lathe check --explain E0304`\n");
}

TEST(ModelError, leavesOutWhatIsNotKnown) {
  EXPECT_EQ(modelError(ErrorCode::E0001, "no input").take().render(), "error[E0001]: no input\n");
}

TEST(ModelError, namesEscapeControlCharactersAndInvalidBytes) {
  ModelError e = modelError(ErrorCode::E0201, "bad").node("a\x1b[31m\n\xff\"\u202e").take();
  EXPECT_EQ(e.render(), "error[E0201]: bad\n  --> node \"a\\x1b[31m\\n\\xff\\\"\\u{202e}\"\n");
}

TEST(ModelError, longNamesAreCutAtACharacter) {
  std::string cut = escapeText(std::string(399, 'a') + "\u00e4\u00e4");
  EXPECT_EQ(cut, std::string(399, 'a') + "... (403 bytes)");
}

TEST(ModelError, survivesJSON) {
  ModelError e = strideError();
  e.notes = {"one", "two"};
  std::string text = llvm::formatv("{0}", llvm::json::Value(e.toJSON()));
  llvm::Expected<llvm::json::Value> parsed = llvm::json::parse(text);
  ASSERT_TRUE(bool(parsed));
  std::optional<ModelError> back = ModelError::fromJSON(*parsed);
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(back->render(), e.render());
}

TEST(ModelError, jsonOfInvalidBytesIsValid) {
  ModelError e = modelError(ErrorCode::E0201, "m\xfe").node("\xff").take();
  std::string text = llvm::formatv("{0}", llvm::json::Value(e.toJSON()));
  EXPECT_TRUE(llvm::json::isUTF8(text));
  EXPECT_NE(text.find("\\\\xff"), std::string::npos);
}

TEST(ModelError, exitStatusIsThatOfTheFirstError) {
  std::string text;
  llvm::raw_string_ostream os(text);
  llvm::Error both =
      llvm::joinErrors(modelError(ErrorCode::E0301, "first"), modelError(ErrorCode::E0900, "second"));
  EXPECT_EQ(reportError(std::move(both), os), 2);
  EXPECT_EQ(text, "error[E0301]: first\nerror[E0900]: second\n");
  EXPECT_EQ(reportError(llvm::Error::success(), os), 0);
}

TEST(ModelError, foreignErrorsAreInternal) {
  std::string text;
  llvm::raw_string_ostream os(text);
  EXPECT_EQ(reportError(llvm::createStringError("odd"), os), 4);
  EXPECT_EQ(text, "error[E0900]: odd\n");
}

TEST(ErrorCodes, areUniqueAndExplained) {
  llvm::StringSet<> names;
  for (const ErrorCodeInfo &info : allErrorCodes()) {
    EXPECT_TRUE(names.insert(info.name).second) << info.name.str();
    EXPECT_FALSE(info.title.empty() || info.explanation.empty()) << info.name.str();
    EXPECT_EQ(parseErrorCode(info.name), info.code);
  }
  EXPECT_FALSE(parseErrorCode("E9999").has_value());
}

TEST(Text, bytesForPeople) {
  EXPECT_EQ(formatBytes(512), "512 B");
  EXPECT_EQ(formatBytes(1'500'000), "1.50 MB");
  EXPECT_EQ(formatBytes(90'900'000), "90.9 MB");
  EXPECT_EQ(formatBytes(548'000'000), "548 MB");
}

} // namespace
