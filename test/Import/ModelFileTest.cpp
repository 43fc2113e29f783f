// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Import/ModelFile.h"

#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"
#include <csignal>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace lathe;

namespace {

class ModelFileTest : public testing::Test {
protected:
  void SetUp() override {
    ASSERT_FALSE(llvm::sys::fs::createUniqueDirectory("lathe-model-file", folder));
    write("model.onnx", std::string(100'000, 'm'));
  }
  void TearDown() override { llvm::sys::fs::remove_directories(folder); }

  std::string path(llvm::StringRef name) {
    llvm::SmallString<128> result(folder);
    llvm::sys::path::append(result, name);
    return std::string(result);
  }
  void write(llvm::StringRef name, const std::string &text) {
    std::error_code error;
    llvm::raw_fd_ostream(path(name), error) << text;
    ASSERT_FALSE(error);
  }
  std::unique_ptr<ModelFile> open() {
    llvm::Expected<std::unique_ptr<ModelFile>> file = ModelFile::open(path("model.onnx"), {});
    EXPECT_TRUE(bool(file));
    return std::move(*file);
  }
  static ErrorCode codeOf(llvm::Error error) { return takeModelErrors(std::move(error)).front().code; }

  llvm::SmallString<128> folder;
};

TEST_F(ModelFileTest, AnUnchangedFileVerifies) {
  auto file = open();
  write("w.bin", "data");
  EXPECT_EQ(*file->externalData("w.bin"), "data");
  EXPECT_FALSE(bool(file->verifyUnchanged()));
}

TEST_F(ModelFileTest, ExternalFilesAreMappedOnce) {
  auto file = open();
  write("w.bin", "data");
  EXPECT_EQ(file->externalData("w.bin")->data(), file->externalData("w.bin")->data());
  EXPECT_EQ(file->externalFiles().size(), 1u);
}

TEST_F(ModelFileTest, ATruncatedFileIsNoticed) {
  auto file = open();
  ASSERT_EQ(truncate(path("model.onnx").c_str(), 10), 0);
  EXPECT_EQ(codeOf(file->verifyUnchanged()), ErrorCode::E0108);
}

TEST_F(ModelFileTest, AReplacedFileIsNoticed) {
  auto file = open();
  write("other", std::string(100'000, 'm'));
  ASSERT_EQ(rename(path("other").c_str(), path("model.onnx").c_str()), 0);
  EXPECT_EQ(codeOf(file->verifyUnchanged()), ErrorCode::E0108);
  EXPECT_EQ(file->bytes().back(), 'm');
}

TEST_F(ModelFileTest, ChangedExternalDataIsNoticed) {
  auto file = open();
  write("w.bin", "data");
  ASSERT_TRUE(bool(file->externalData("w.bin")));
  write("w.bin", "longer data");
  EXPECT_EQ(codeOf(file->verifyUnchanged()), ErrorCode::E0108);
}

TEST_F(ModelFileTest, ReadingATruncatedFileEndsWithAMessage) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(
      {
        auto file = open();
        if (truncate(path("model.onnx").c_str(), 10) != 0) {
          _exit(1);
        }
        TruncationGuard guard(STDERR_FILENO, "error[E0108]: truncated\n", 3);
        _exit(*static_cast<const volatile char *>(file->bytes().data() + 90'000));
      },
      testing::ExitedWithCode(3), "E0108");
}

TEST_F(ModelFileTest, OtherBusErrorsStayWhatTheyWere) {
  testing::FLAGS_gtest_death_test_style = "threadsafe";
  EXPECT_EXIT(
      {
        TruncationGuard guard(STDERR_FILENO, "ours\n", 3);
        raise(SIGBUS);
        raise(SIGBUS);
      },
      testing::KilledBySignal(SIGBUS), "");
}

TEST_F(ModelFileTest, AModelInMemoryHasNoExternalData) {
  auto file = ModelFile::fromBuffer(llvm::MemoryBuffer::getMemBuffer("bytes", "memory"), {});
  EXPECT_EQ(codeOf(file->externalData("w.bin").takeError()), ErrorCode::E0105);
}

} // namespace
