// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// What the compiler seals, the runtime opens and runs.

#include "TinyModel.h"
#include "lathe.h"
#include "llvm/Support/FileSystem.h"
#include "gtest/gtest.h"
#include <fcntl.h>
#include <unistd.h>

using namespace llvm;

namespace {

struct SealedModel : testing::Test {
  SmallString<128> path;
  void SetUp() override {
    ASSERT_FALSE(sys::fs::createTemporaryFile("lathe-sealed", "so", path));
    Error error = lathe::test::makeTinyModel(path);
    ASSERT_FALSE(bool(error)) << toString(std::move(error));
  }
  void TearDown() override { sys::fs::remove(path); }
};

TEST_F(SealedModel, passesTheRuntimesCheck) {
  lathe_artifact_header header;
  ASSERT_EQ(lathe_check_artifact(path.c_str(), LATHE_CHECK_FULL, &header), LATHE_OK) << lathe_last_error();
  EXPECT_EQ(header.fingerprint, 0xabu);
  EXPECT_STREQ(header.targets[1].isa, "any");
}

TEST_F(SealedModel, computes) {
  lathe_model_t *model;
  lathe_session_t *session;
  ASSERT_EQ(lathe_open(path.c_str(), nullptr, &model), LATHE_OK) << lathe_last_error();
  ASSERT_EQ(lathe_session_create(model, nullptr, &session), LATHE_OK) << lathe_last_error();
  float x[8] = {10, 10, 10, 10, 20, 20, 20, 20};
  const int64_t dims[] = {2, 4};
  lathe_tensor input = {x, LATHE_FLOAT32, 2, dims, nullptr}, output;
  ASSERT_EQ(lathe_session_bind_input(session, 0, &input), LATHE_OK) << lathe_last_error();
  ASSERT_EQ(lathe_session_run(session), LATHE_OK) << lathe_last_error();
  ASSERT_EQ(lathe_session_output(session, 0, &output), LATHE_OK) << lathe_last_error();
  EXPECT_EQ(static_cast<float *>(output.data)[0], 11);
  EXPECT_EQ(static_cast<float *>(output.data)[7], 24);
  lathe_session_close(session);
  lathe_close(model);
}

TEST_F(SealedModel, aFlippedWeightIsFound) {
  int fd = ::open(path.c_str(), O_RDWR);
  uint64_t size = 0;
  ASSERT_FALSE(sys::fs::file_size(path, size));
  char byte;
  ASSERT_EQ(pread(fd, &byte, 1, off_t(size - 1)), 1);
  byte ^= 1;
  ASSERT_EQ(pwrite(fd, &byte, 1, off_t(size - 1)), 1);
  close(fd);
  EXPECT_EQ(lathe_check_artifact(path.c_str(), LATHE_CHECK_FULL, nullptr), LATHE_ERROR_CORRUPT);
  EXPECT_EQ(lathe_check_artifact(path.c_str(), LATHE_CHECK_OFF, nullptr), LATHE_OK) << lathe_last_error();
}

} // namespace
