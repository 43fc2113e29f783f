/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

// Shapes that depend on data: what a run asks for, and where it goes.

#include "TestModel.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>

using namespace lathe::test;

namespace {
struct Fixture : testing::Test {
  void SetUp() override { ASSERT_TRUE(model); }
  void start(const lathe_session_options &options) { session = makeSession(model.get(), options); }
  lathe_error_code run(int64_t n) {
    value = n;
    lathe_tensor tensor = {
        .data = &value, .dtype = LATHE_INT64, .rank = 0, .dims = nullptr, .strides = nullptr};
    lathe_error_code code = lathe_session_bind_input(session.get(), 0, &tensor);
    return code ? code : lathe_session_run(session.get());
  }
  lathe_tensor output() {
    lathe_tensor tensor = {};
    EXPECT_EQ(lathe_session_output(session.get(), 0, &tensor), LATHE_OK);
    return tensor;
  }
  void expectCount(int64_t n) {
    lathe_tensor tensor = output();
    ASSERT_EQ(tensor.dims[0], n);
    for (int64_t i = 0; i < n; ++i) {
      ASSERT_EQ(static_cast<float *>(tensor.data)[i], float(i));
    }
  }

  ModelPtr model{countUp().open()};
  SessionPtr session{makeSession(model.get())};
  int64_t value = 0;
};

struct Allocations {
  int total = 0;
  lathe_allocator hook() {
    return {[](void *context, size_t bytes, size_t alignment) -> void * {
              ++static_cast<Allocations *>(context)->total;
              return aligned_alloc(alignment, (bytes + alignment - 1) & ~(alignment - 1));
            },
            [](void *, void *memory, size_t) { free(memory); }, this};
  }
};
} // namespace

using Reserve = Fixture;

TEST_F(Reserve, TellsTheShapeAfterTheRun) {
  for (int64_t n : {5, 0, 400, 3}) {
    ASSERT_EQ(run(n), LATHE_OK) << lathe_last_error();
    expectCount(n);
  }
}

TEST_F(Reserve, HasNoShapeAfterPrepare) {
  ASSERT_EQ(run(5), LATHE_OK);
  ASSERT_EQ(lathe_session_prepare(session.get()), LATHE_OK);
  EXPECT_EQ(output().dims[0], LATHE_DIM_COMPUTED);
}

TEST_F(Reserve, AllocatesNothingForWhatIsNotLarger) {
  Allocations allocations;
  lathe_allocator hook = allocations.hook();
  lathe_session_options options = LATHE_SESSION_OPTIONS;
  options.threads = 1;
  options.allocator = &hook;
  start(options);
  ASSERT_EQ(run(100), LATHE_OK);
  int before = allocations.total;
  for (int64_t n : {100, 7, 0, 99}) {
    ASSERT_EQ(run(n), LATHE_OK);
  }
  EXPECT_EQ(allocations.total, before);
}

TEST_F(Reserve, CountsWhatItHolds) {
  ASSERT_EQ(run(100), LATHE_OK);
  uint64_t before = lathe_session_memory(session.get());
  ASSERT_EQ(run(10000), LATHE_OK);
  EXPECT_GE(lathe_session_memory(session.get()), before + 2 * 9900 * sizeof(float));
}

TEST_F(Reserve, KeepsToItsLimit) {
  lathe_session_options options = LATHE_SESSION_OPTIONS;
  options.threads = 1;
  options.memory_limit = 1 << 16;
  start(options);
  EXPECT_EQ(run(100000), LATHE_ERROR_MEMORY);
  EXPECT_TRUE(strstr(lathe_last_error(), "the session would exceed its limit, 65536")) << lathe_last_error();
  EXPECT_STREQ(lathe_last_error_node(), "/range");
  ASSERT_EQ(run(50), LATHE_OK) << "and goes on";
  expectCount(50);
}

TEST_F(Reserve, WritesToBoundMemory) {
  alignas(64) float memory[8] = {};
  ASSERT_EQ(lathe_session_bind_output_memory(session.get(), 0, memory, sizeof memory), LATHE_OK);
  ASSERT_EQ(run(8), LATHE_OK) << lathe_last_error();
  expectCount(8);
  EXPECT_EQ(output().data, memory);
  EXPECT_EQ(run(9), LATHE_ERROR_SHAPE);
  EXPECT_STREQ(lathe_last_error(), "output \"y\" needs 36 bytes, but 32 are bound in node \"/range\"");
  ASSERT_EQ(run(2), LATHE_OK);
  expectCount(2);
}

TEST_F(Reserve, WritesToABoundTensorOfThatShapeOnly) {
  float memory[8] = {};
  int64_t dims[] = {6};
  lathe_tensor tensor = {.data = memory, .dtype = LATHE_FLOAT32, .rank = 1, .dims = dims, .strides = nullptr};
  ASSERT_EQ(lathe_session_bind_output(session.get(), 0, &tensor), LATHE_OK);
  ASSERT_EQ(run(6), LATHE_OK) << lathe_last_error();
  EXPECT_EQ(memory[5], 5);
  EXPECT_EQ(run(5), LATHE_ERROR_SHAPE);
  EXPECT_STREQ(lathe_last_error(), "output \"y\" is bound as 6, but the run gives 5");
  EXPECT_EQ(run(7), LATHE_ERROR_SHAPE);
  ASSERT_EQ(lathe_session_unbind_output(session.get(), 0), LATHE_OK);
  ASSERT_EQ(run(7), LATHE_OK);
  expectCount(7);
}

TEST_F(Reserve, NamesThePlaceOfAFault) {
  EXPECT_EQ(run(-1), LATHE_ERROR_SHAPE);
  EXPECT_STREQ(lathe_last_error(), "sizes contradict each other in node \"/range\"");
  EXPECT_EQ(run(1000), LATHE_ERROR_LOOP);
  EXPECT_STREQ(lathe_last_error(), "a loop did not end within 100000000 iterations in node \"/range\"");
  ASSERT_EQ(run(4), LATHE_OK);
}

TEST(ReserveOptions, AreChecked) {
  ModelPtr model(countUp().open());
  lathe_session_options options = LATHE_SESSION_OPTIONS;
  options.loop_limit = -1;
  lathe_session_t *session = nullptr;
  EXPECT_EQ(lathe_session_create(model.get(), &options, &session), LATHE_ERROR_ARGUMENT);
  EXPECT_STREQ(lathe_last_error(), "the loop limit of -1 is negative");
}

TEST(ReserveTable, OfAbi11StillOpens) {
  lathe_table *table = maskedDouble().build();
  table->abi_minor = 1;
  table->bytes = offsetof(lathe_table, buffer_count);
  // What stands behind an older table is something else.
  table->buffer_count = table->place_count = 0xffffffff;
  lathe_model_t *model = nullptr;
  ASSERT_EQ(lathe_open_table(table, nullptr, 0, nullptr, &model), LATHE_OK) << lathe_last_error();
  EXPECT_TRUE(makeSession(model));
  lathe_close(model);
}

TEST(ReserveTable, MustHoldItsPlaces) {
  lathe_table *table = countUp().build();
  table->buffer_count = 0xffffffff;
  lathe_model_t *model = nullptr;
  EXPECT_EQ(lathe_open_table(table, nullptr, 0, nullptr, &model), LATHE_ERROR_CORRUPT);
  table = countUp().build();
  table->place_count = 1 << 24;
  EXPECT_EQ(lathe_open_table(table, nullptr, 0, nullptr, &model), LATHE_ERROR_CORRUPT);
}
