/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

// Binding and shapes: every check at the border between the host and compiled code.

#include "TestModel.h"
#include "lathe/dlpack.h"

#include <gtest/gtest.h>

#include <cstring>

using namespace lathe::test;

namespace {
struct Session : ::testing::Test {
  void SetUp() override {
    model.reset(maskedDouble().open());
    ASSERT_TRUE(model) << lathe_last_error();
    session = makeSession(model.get());
    ASSERT_TRUE(session) << lathe_last_error();
  }

  lathe_error_code bind(size_t index, lathe_tensor tensor) {
    return lathe_session_bind_input(session.get(), index, &tensor);
  }
  /// x and mask of 2x3, all of the mask 1 but the last.
  void bindBoth() {
    ASSERT_EQ(bind(0, x.view()), LATHE_OK) << lathe_last_error();
    ASSERT_EQ(bind(1, mask.view()), LATHE_OK) << lathe_last_error();
  }
  std::vector<float> result() {
    lathe_tensor y;
    EXPECT_EQ(lathe_session_output(session.get(), 0, &y), LATHE_OK) << lathe_last_error();
    const auto *data = static_cast<const float *>(y.data);
    return {data, data + y.dims[0] * y.dims[1]};
  }

  Tensor<float> x{{1, 2, 3, 4, 5, 6}, {2, 3}, {}};
  Tensor<int64_t> mask{{1, 1, 1, 1, 1, 0}, {2, 3}, {}};
  ModelPtr model;
  SessionPtr session;
};
const std::vector<float> expected = {2, 4, 6, 8, 10, 0};
} // namespace

TEST_F(Session, RunsAndGivesShapeAndContents) {
  bindBoth();
  ASSERT_EQ(lathe_session_run(session.get()), LATHE_OK) << lathe_last_error();
  lathe_tensor y;
  ASSERT_EQ(lathe_session_output(session.get(), 0, &y), LATHE_OK);
  EXPECT_EQ(y.dtype, uint32_t(LATHE_FLOAT32));
  EXPECT_EQ(y.rank, 2u);
  EXPECT_EQ(y.dims[0], 2);
  EXPECT_EQ(y.dims[1], 3);
  EXPECT_EQ(result(), expected);
}

TEST_F(Session, FollowsAChangeOfShape) {
  bindBoth();
  ASSERT_EQ(lathe_session_run(session.get()), LATHE_OK);
  Tensor<float> longer{std::vector<float>(4 * 500, 3), {4, 500}, {}};
  Tensor<int64_t> longerMask{std::vector<int64_t>(4 * 500, 1), {4, 500}, {}};
  ASSERT_EQ(bind(0, longer.view()), LATHE_OK);
  ASSERT_EQ(bind(1, longerMask.view()), LATHE_OK);
  ASSERT_EQ(lathe_session_run(session.get()), LATHE_OK) << lathe_last_error();
  EXPECT_EQ(result(), std::vector<float>(4 * 500, 6));
  bindBoth();
  ASSERT_EQ(lathe_session_run(session.get()), LATHE_OK);
  EXPECT_EQ(result(), expected);
}

TEST_F(Session, ReadsTheHostsMemoryAtEachRun) {
  bindBoth();
  ASSERT_EQ(lathe_session_run(session.get()), LATHE_OK);
  x.data[0] = 50;
  ASSERT_EQ(lathe_session_run(session.get()), LATHE_OK);
  EXPECT_EQ(result()[0], 100);
}

TEST_F(Session, NamesTheInputThatIsMissing) {
  ASSERT_EQ(bind(0, x.view()), LATHE_OK);
  EXPECT_EQ(lathe_session_run(session.get()), LATHE_ERROR_UNBOUND);
  EXPECT_STREQ(lathe_last_error(), "input \"mask\" is not bound");
}

TEST_F(Session, RefusesAnotherElementType) {
  lathe_tensor tensor = x.view();
  tensor.dtype = LATHE_FLOAT64;
  EXPECT_EQ(bind(0, tensor), LATHE_ERROR_TYPE);
  EXPECT_STREQ(lathe_last_error(), "input \"x\" is bound as f64, but the model has f32");
}

TEST_F(Session, RefusesAnotherRank) {
  x.dims = {6};
  EXPECT_EQ(bind(0, x.view()), LATHE_ERROR_SHAPE);
  EXPECT_STREQ(lathe_last_error(), "input \"x\" is bound with 1 dimensions, but the model has 2");
}

TEST_F(Session, RefusesANegativeDimension) {
  x.dims = {2, -3};
  EXPECT_EQ(bind(0, x.view()), LATHE_ERROR_SHAPE);
  EXPECT_STREQ(lathe_last_error(), "input \"x\": dimension 1 is -3");
}

TEST_F(Session, RefusesDimensionsThatOverflow) {
  x.dims = {INT64_MAX, 3};
  EXPECT_EQ(bind(0, x.view()), LATHE_ERROR_SHAPE);
  EXPECT_STREQ(lathe_last_error(), "input \"x\": 9223372036854775807x3 elements fit no memory");
}

TEST_F(Session, SaysWhichInputGaveASymbolAnotherValue) {
  Tensor<int64_t> other{{1, 1, 1, 1}, {2, 2}, {}};
  ASSERT_EQ(bind(0, x.view()), LATHE_OK);
  ASSERT_EQ(bind(1, other.view()), LATHE_OK);
  EXPECT_EQ(lathe_session_run(session.get()), LATHE_ERROR_SHAPE);
  EXPECT_STREQ(lathe_last_error(),
               "input \"mask\": dimension 1 is 2, but the symbol S is already 3 (input \"x\")");
}

TEST_F(Session, RunsAgainAfterAnError) {
  Tensor<int64_t> other{{1, 1, 1, 1}, {2, 2}, {}};
  ASSERT_EQ(bind(0, x.view()), LATHE_OK);
  ASSERT_EQ(bind(1, other.view()), LATHE_OK);
  ASSERT_EQ(lathe_session_run(session.get()), LATHE_ERROR_SHAPE);
  bindBoth();
  ASSERT_EQ(lathe_session_run(session.get()), LATHE_OK);
  EXPECT_EQ(result(), expected);
}

TEST_F(Session, ChecksTheRangeOfASymbol) {
  Tensor<float> wide{std::vector<float>(513), {1, 513}, {}};
  ASSERT_EQ(bind(0, wide.view()), LATHE_OK);
  ASSERT_EQ(bind(1, mask.view()), LATHE_OK);
  EXPECT_EQ(lathe_session_prepare(session.get()), LATHE_ERROR_SHAPE);
  EXPECT_STREQ(lathe_last_error(), "input \"x\": dimension 1 is 513, but the symbol S must be 1 to 512");
}

TEST_F(Session, ChecksStaticDimensions) {
  TestModel fixed([](const int64_t *, int64_t, int64_t *, int64_t *, int64_t *) -> int32_t { return 0; },
                  [](const lathe_call *) -> int32_t { return 0; });
  ModelPtr other(fixed.input("image", LATHE_FLOAT32, {1, 224}).open());
  SessionPtr own = makeSession(other.get());
  lathe_tensor tensor = x.view();
  EXPECT_EQ(lathe_session_bind_input(own.get(), 0, &tensor), LATHE_ERROR_SHAPE);
  EXPECT_STREQ(lathe_last_error(), "input \"image\": dimension 0 is 2, but the model has 1");
}

TEST_F(Session, CopiesTransposedInput) {
  // The same values, column after column.
  Tensor<float> columns{{1, 4, 2, 5, 3, 6}, {2, 3}, {1, 2}};
  bindBoth();
  ASSERT_EQ(bind(0, columns.view()), LATHE_OK);
  ASSERT_EQ(lathe_session_run(session.get()), LATHE_OK) << lathe_last_error();
  EXPECT_EQ(result(), expected);
  columns.data[0] = 7;
  ASSERT_EQ(lathe_session_run(session.get()), LATHE_OK);
  EXPECT_EQ(result()[0], 14);
}

TEST_F(Session, CopiesBroadcastAndReversedInput) {
  bindBoth();
  Tensor<int64_t> one{{1}, {2, 3}, {0, 0}};
  ASSERT_EQ(bind(1, one.view()), LATHE_OK);
  lathe_tensor reversed = x.view();
  const int64_t strides[] = {-3, -1};
  reversed.data = &x.data[5];
  reversed.strides = strides;
  ASSERT_EQ(bind(0, reversed), LATHE_OK);
  ASSERT_EQ(lathe_session_run(session.get()), LATHE_OK) << lathe_last_error();
  EXPECT_EQ(result(), (std::vector<float>{12, 10, 8, 6, 4, 2}));
}

TEST_F(Session, CopiesMisalignedInput) {
  std::vector<char> bytes(6 * 4 + 1);
  memcpy(&bytes[1], x.data.data(), 24);
  bindBoth();
  lathe_tensor tensor = x.view();
  tensor.data = &bytes[1];
  ASSERT_EQ(bind(0, tensor), LATHE_OK);
  ASSERT_EQ(lathe_session_run(session.get()), LATHE_OK);
  EXPECT_EQ(result(), expected);
}

TEST_F(Session, TakesAnyStrideOfADimensionOfOne) {
  Tensor<float> row{{1, 2, 3}, {1, 3}, {77, 1}};
  Tensor<int64_t> rowMask{{1, 1, 1}, {1, 3}, {}};
  ASSERT_EQ(bind(0, row.view()), LATHE_OK);
  ASSERT_EQ(bind(1, rowMask.view()), LATHE_OK);
  ASSERT_EQ(lathe_session_run(session.get()), LATHE_OK);
  EXPECT_EQ(result(), (std::vector<float>{2, 4, 6}));
  EXPECT_LT(lathe_session_memory(session.get()), 512u); // nothing was copied
}

TEST_F(Session, WritesIntoABoundOutput) {
  Tensor<float> y{std::vector<float>(6), {2, 3}, {}};
  bindBoth();
  lathe_tensor tensor = y.view();
  ASSERT_EQ(lathe_session_bind_output(session.get(), 0, &tensor), LATHE_OK);
  ASSERT_EQ(lathe_session_run(session.get()), LATHE_OK) << lathe_last_error();
  EXPECT_EQ(y.data, expected);
  ASSERT_EQ(lathe_session_unbind_output(session.get(), 0), LATHE_OK);
  y.data.assign(6, 0);
  ASSERT_EQ(lathe_session_run(session.get()), LATHE_OK);
  EXPECT_EQ(y.data, std::vector<float>(6));
  EXPECT_EQ(result(), expected);
}

TEST_F(Session, RefusesABoundOutputOfAnotherShape) {
  Tensor<float> y{std::vector<float>(8), {2, 4}, {}};
  bindBoth();
  lathe_tensor tensor = y.view();
  ASSERT_EQ(lathe_session_bind_output(session.get(), 0, &tensor), LATHE_OK);
  EXPECT_EQ(lathe_session_run(session.get()), LATHE_ERROR_SHAPE);
  EXPECT_STREQ(lathe_last_error(), "output \"y\" is bound as 2x4, but the run gives 2x3");
}

TEST_F(Session, RefusesAStridedOutput) {
  Tensor<float> y{std::vector<float>(12), {2, 3}, {6, 1}};
  lathe_tensor tensor = y.view();
  EXPECT_EQ(lathe_session_bind_output(session.get(), 0, &tensor), LATHE_ERROR_SHAPE);
  EXPECT_STREQ(lathe_last_error(), "output \"y\": its strides are not those of a dense row-major tensor");
}

TEST_F(Session, ChecksTheRoomOfBoundMemory) {
  float room[6];
  bindBoth();
  ASSERT_EQ(lathe_session_bind_output_memory(session.get(), 0, room, 20), LATHE_OK);
  EXPECT_EQ(lathe_session_run(session.get()), LATHE_ERROR_SHAPE);
  EXPECT_STREQ(lathe_last_error(), "output \"y\" needs 24 bytes, but 20 are bound");
  ASSERT_EQ(lathe_session_bind_output_memory(session.get(), 0, room, sizeof room), LATHE_OK);
  EXPECT_EQ(lathe_session_run(session.get()), LATHE_OK);
  EXPECT_EQ(room[1], 4);
}

TEST_F(Session, RefusesAnOutputOverAnInput) {
  bindBoth();
  ASSERT_EQ(lathe_session_bind_output_memory(session.get(), 0, &x.data[5], 24), LATHE_OK);
  EXPECT_EQ(lathe_session_run(session.get()), LATHE_ERROR_ARGUMENT);
  EXPECT_STREQ(lathe_last_error(), "output \"y\" is bound to memory of input \"x\"");
}

TEST_F(Session, TellsTheShapeBeforeTheRun) {
  bindBoth();
  lathe_tensor y;
  EXPECT_EQ(lathe_session_output(session.get(), 0, &y), LATHE_ERROR_UNBOUND);
  ASSERT_EQ(lathe_session_prepare(session.get()), LATHE_OK);
  ASSERT_EQ(lathe_session_output(session.get(), 0, &y), LATHE_OK);
  EXPECT_EQ(y.dims[1], 3);
  EXPECT_EQ(lathe_session_symbols(session.get())[0], 2);
}

TEST_F(Session, RefusesIndicesThatDoNotExist) {
  EXPECT_EQ(bind(lathe_model_find_input(model.get(), "ids"), x.view()), LATHE_ERROR_ARGUMENT);
  EXPECT_STREQ(lathe_last_error(), "there is no input -1, the model has 2");
  EXPECT_EQ(lathe_session_unbind_output(session.get(), 1), LATHE_ERROR_ARGUMENT);
  EXPECT_EQ(lathe_session_run(nullptr), LATHE_ERROR_ARGUMENT);
}

namespace {
struct Managed {
  DLManagedTensor tensor = {};
  int64_t shape[2] = {2, 3};
  int deleted = 0;
  explicit Managed(float *data) {
    tensor.dl_tensor = {data, {kDLCPU, 0}, 2, {kDLFloat, 32, 1}, shape, nullptr, 0};
    tensor.manager_ctx = this;
    tensor.deleter = [](DLManagedTensor *self) { ++static_cast<Managed *>(self->manager_ctx)->deleted; };
  }
};
} // namespace

TEST_F(Session, ReadsDLPackWithoutACopyAndGivesItBackOnce) {
  Managed managed(x.data.data() - 1);
  managed.tensor.dl_tensor.byte_offset = 4;
  bindBoth();
  ASSERT_EQ(lathe_session_bind_input_dlpack(session.get(), 0, &managed.tensor), LATHE_OK)
      << lathe_last_error();
  x.data[0] = 9;
  ASSERT_EQ(lathe_session_run(session.get()), LATHE_OK);
  EXPECT_EQ(result()[0], 18);
  EXPECT_EQ(managed.deleted, 0);
  ASSERT_EQ(bind(0, x.view()), LATHE_OK);
  EXPECT_EQ(managed.deleted, 1);
  Managed another(x.data.data());
  ASSERT_EQ(lathe_session_bind_input_dlpack(session.get(), 0, &another.tensor), LATHE_OK);
  session.reset();
  EXPECT_EQ(another.deleted, 1);
  EXPECT_EQ(managed.deleted, 1);
}

TEST_F(Session, LeavesARefusedDLPackTensorToTheCaller) {
  Managed managed(x.data.data());
  managed.tensor.dl_tensor.device.device_type = kDLCUDA;
  EXPECT_EQ(lathe_session_bind_input_dlpack(session.get(), 0, &managed.tensor), LATHE_ERROR_ARGUMENT);
  managed.tensor.dl_tensor.device.device_type = kDLCPU;
  managed.tensor.dl_tensor.dtype.lanes = 4;
  EXPECT_EQ(lathe_session_bind_input_dlpack(session.get(), 0, &managed.tensor), LATHE_ERROR_TYPE);
  EXPECT_EQ(managed.deleted, 0);
}
