// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Compiler/Worker.h"
#include "lathe/Support/Error.h"
#include "lathe/Support/OutputFile.h"
#include "llvm/Support/FileSystem.h"
#include "gtest/gtest.h"

#include <chrono>

using namespace llvm;
using namespace lathe;

namespace {

struct Worker : testing::Test {
  SmallString<128> folder;
  Report report;

  void SetUp() override { ASSERT_FALSE(sys::fs::createUniqueDirectory("lathe-worker", folder)); }
  void TearDown() override { sys::fs::remove_directories(folder); }

  std::string path() { return (folder + "/m.so").str(); }
  std::vector<ModelError> run(StringRef how, double timeLimit = 20, uint64_t memoryLimit = 0) {
    WorkerOptions options;
    options.executable = LATHE_WORKER_PROBE;
    options.arguments = {how.str(), path()};
    options.timeLimit = timeLimit;
    options.memoryLimit = memoryLimit;
    options.outputs = {path()};
    return takeModelErrors(runInWorker(options, report));
  }
  /// The single error of a worker that behaves so.
  ModelError errorOf(StringRef how, double timeLimit = 20, uint64_t memoryLimit = 0) {
    std::vector<ModelError> errors = run(how, timeLimit, memoryLimit);
    EXPECT_EQ(errors.size(), 1u);
    return errors.empty() ? ModelError(ErrorCode::E0001, "success") : errors.front();
  }
  bool folderIsEmpty() {
    std::error_code error;
    return sys::fs::directory_iterator(folder, error) == sys::fs::directory_iterator();
  }
};

TEST_F(Worker, successBringsProgressAndReport) {
  std::string phases;
  report.progress = [&](StringRef phase, unsigned step, unsigned steps) {
    phases += phase.str() + " " + std::to_string(step) + "/" + std::to_string(steps);
  };
  EXPECT_TRUE(run("succeed").empty());
  EXPECT_EQ(phases, "probing 1/2");
  EXPECT_EQ(report.digest, std::vector<std::string>{"all is well"});
}

TEST_F(Worker, errorsComeThroughWhole) {
  ModelError error = errorOf("fail");
  EXPECT_EQ(error.code, ErrorCode::E0304);
  EXPECT_EQ(error.node, "/conv");
  EXPECT_EQ(error.nodeIndex, 3);
}

TEST_F(Worker, crashNamesSignalAndPhase) {
  ModelError error = errorOf("crash");
  EXPECT_EQ(error.code, ErrorCode::E0902);
  EXPECT_EQ(error.message, "the compiler process was ended by signal 11 (Segmentation fault) during probing");
}

TEST_F(Worker, abortIsAnInternalError) { EXPECT_EQ(errorOf("abort").code, ErrorCode::E0902); }

TEST_F(Worker, fatalErrorOfLLVMKeepsItsText) {
  EXPECT_EQ(errorOf("fatal").message, "the code generator gave up: Cannot select: t1");
}

TEST_F(Worker, silentExitIsNoSuccess) { EXPECT_EQ(errorOf("exit").code, ErrorCode::E0902); }

TEST_F(Worker, garbageIsRefused) { EXPECT_EQ(errorOf("garbage").code, ErrorCode::E0907); }

TEST_F(Worker, timeLimitEndsItAndLeavesNothing) {
  auto begin = std::chrono::steady_clock::now();
  ModelError error = errorOf("hang", /*timeLimit=*/0.3);
  EXPECT_EQ(error.code, ErrorCode::E0903);
  EXPECT_EQ(error.message, "not done after 0.3 s during probing");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(5));
  EXPECT_TRUE(folderIsEmpty());
}

TEST_F(Worker, memoryLimitEndsIt) {
  ModelError error = errorOf("eat", /*timeLimit=*/20, /*memoryLimit=*/100 << 20);
  EXPECT_EQ(error.code, ErrorCode::E0904);
  EXPECT_EQ(error.message, "more than 105 MB of memory used during probing");
}

TEST_F(Worker, oneHugeAllocationFailsCleanly) {
  EXPECT_EQ(errorOf("ask", /*timeLimit=*/20, /*memoryLimit=*/100 << 20).code, ErrorCode::E0904);
}

TEST_F(Worker, truncatedInputIsAnErrorOfTheModel) {
  ASSERT_FALSE(bool(writeFile(path(), std::vector<char>(8192, 'x'))));
  EXPECT_EQ(errorOf("truncate").code, ErrorCode::E0108);
}

TEST_F(Worker, missingProgramIsAnError) {
  WorkerOptions options;
  options.executable = "/no/such/program";
  EXPECT_EQ(takeModelErrors(runInWorker(options, report)).front().code, ErrorCode::E0907);
}

} // namespace
