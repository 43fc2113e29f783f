/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

// Parallel loops, deadlines, hosts' threads, faults and the profile.

#include "TestModel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <dirent.h>
#include <thread>
#include <xmmintrin.h>

using namespace lathe::test;

namespace {
/// What the functions of the test's model do; a run finds it through the pointer that is its only input.
struct Plan {
  int64_t count = 0, grain = 1, loops = 1;
  int32_t kernel = 0, result = 0, faultAt = -1, fault = 0;
  int64_t busyUs = 0;
  std::vector<std::atomic<int>> visits;
  std::vector<std::atomic<int>> insideWorker;
  std::atomic<int> parts{0}, partsOfHelpers{0}, shortParts{0}, clashes{0}, badWorkers{0};
  int64_t workers = 0;
  std::atomic<unsigned> floatState{0}; ///< all bits that were set in any part's MXCSR, less the sticky ones

  explicit Plan(int64_t count, int64_t grain = 1)
      : count(count), grain(grain), visits(size_t(count)), insideWorker(64) {}
};

int32_t visit(const void *opaque, int64_t begin, int64_t end, int32_t worker) {
  Plan &plan = **static_cast<Plan *const *>(opaque);
  ++plan.parts;
  plan.floatState |= _mm_getcsr() & ~0x3fu;
  plan.partsOfHelpers += worker != 0;
  plan.shortParts += end - begin < plan.grain && end - begin < plan.count;
  if (worker < 0 || worker >= plan.workers) {
    ++plan.badWorkers;
    return 0;
  }
  plan.clashes += plan.insideWorker[size_t(worker)].fetch_add(1) != 0;
  auto until = std::chrono::steady_clock::now() + std::chrono::microseconds(plan.busyUs);
  while (plan.busyUs && std::chrono::steady_clock::now() < until) {
  }
  int32_t fault = 0;
  for (int64_t i = begin; i < end; ++i) {
    ++plan.visits[size_t(i)];
    fault = i == plan.faultAt ? plan.fault : fault;
  }
  plan.insideWorker[size_t(worker)].fetch_sub(1);
  return fault;
}

int32_t noLayout(const int64_t *, int64_t, int64_t *, int64_t *, int64_t *) { return 0; }

int32_t runPlan(const lathe_call *call) {
  Plan *plan = *static_cast<Plan *const *>(call->inputs[0]);
  plan->workers = call->workers;
  for (int64_t i = 0; i < plan->loops; ++i) {
    if (int32_t fault =
            call->parallel_for(call->context, plan->kernel, visit, &plan, plan->count, plan->grain)) {
      return fault;
    }
  }
  return plan->result;
}

struct Run : ::testing::Test {
  ModelPtr model{TestModel(noLayout, runPlan)
                     .input("plan", LATHE_UINT64, {1})
                     .kernel("first", "/first/MatMul")
                     .kernel("second", "/second/Gather\n/second/Add")
                     .open()};
  SessionPtr session;

  void start(uint32_t threads) { session = makeSession(model.get(), threads); }
  lathe_error_code run(Plan &plan) {
    const int64_t one = 1;
    Plan *pointer = &plan;
    lathe_tensor tensor = {&pointer, LATHE_UINT64, 1, &one, nullptr};
    EXPECT_EQ(lathe_session_bind_input(session.get(), 0, &tensor), LATHE_OK) << lathe_last_error();
    return lathe_session_run(session.get());
  }
};

void expectAllOnce(const Plan &plan, int times = 1) {
  for (size_t i = 0; i < plan.visits.size(); ++i) {
    ASSERT_EQ(plan.visits[i].load(), times) << "iteration " << i;
  }
  EXPECT_EQ(plan.shortParts.load(), 0);
  EXPECT_EQ(plan.clashes.load(), 0);
  EXPECT_EQ(plan.badWorkers.load(), 0);
}

size_t countThreads() {
  size_t count = 0;
  DIR *folder = opendir("/proc/self/task");
  while (dirent *entry = readdir(folder)) {
    count += entry->d_name[0] != '.';
  }
  closedir(folder);
  return count;
}
} // namespace

TEST_F(Run, VisitsEveryIterationOnce) {
  for (uint32_t threads : {1u, 2u, 3u, 8u}) {
    start(threads);
    for (int64_t count : {0, 1, 2, 3, 7, 8, 9, 31, 100, 1000}) {
      for (int64_t grain : {1, 3, 50, 5000}) {
        Plan plan(count, grain);
        ASSERT_EQ(run(plan), LATHE_OK) << lathe_last_error();
        expectAllOnce(plan);
      }
    }
  }
}

TEST_F(Run, LosesNothingInManyShortLoops) {
  start(3);
  Plan plan(12);
  plan.loops = 20000;
  ASSERT_EQ(run(plan), LATHE_OK);
  expectAllOnce(plan, 20000);
}

TEST_F(Run, WakesHelpersThatSleep) {
  lathe_session_options options = LATHE_SESSION_OPTIONS;
  options.threads = 4;
  options.spin_ns = 0;
  session = makeSession(model.get(), options);
  for (int i = 0; i < 300; ++i) {
    Plan plan(16);
    ASSERT_EQ(run(plan), LATHE_OK);
    expectAllOnce(plan);
    if (i % 10 == 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
}

TEST_F(Run, UsesItsHelpers) {
  start(2);
  Plan plan(8);
  plan.busyUs = 20000;
  ASSERT_EQ(run(plan), LATHE_OK);
  EXPECT_EQ(plan.parts.load(), 8);
  EXPECT_GT(plan.partsOfHelpers.load(), 0);
  expectAllOnce(plan);
}

TEST_F(Run, StartsNoThreadForOne) {
  size_t before = countThreads();
  start(1);
  EXPECT_EQ(countThreads(), before);
  start(3);
  EXPECT_EQ(countThreads(), before + 2);
  session.reset();
  // A thread that was joined may still be listed for a moment.
  for (int i = 0; i < 1000 && countThreads() != before; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_EQ(countThreads(), before);
}

TEST_F(Run, SplitsNothingForOneThread) {
  start(1);
  Plan plan(1000);
  ASSERT_EQ(run(plan), LATHE_OK);
  EXPECT_EQ(plan.parts.load(), 1);
}

TEST_F(Run, StopsAtItsDeadline) {
  for (uint32_t threads : {1u, 2u}) {
    start(threads);
    ASSERT_EQ(lathe_session_set_timeout(session.get(), 5000000), LATHE_OK);
    Plan plan(16);
    plan.busyUs = 3000;
    plan.loops = 1000;
    plan.kernel = 1;
    EXPECT_EQ(run(plan), LATHE_ERROR_DEADLINE);
    EXPECT_STREQ(lathe_last_error(), "the run took longer than its timeout of 5000 us, it stopped in nodes "
                                     "\"/second/Gather\", \"/second/Add\"");
    EXPECT_LT(plan.parts.load(), 16);
    ASSERT_EQ(lathe_session_set_timeout(session.get(), INT64_C(60000000000)), LATHE_OK);
    Plan quick(16);
    EXPECT_EQ(run(quick), LATHE_OK) << "the next run has a deadline of its own";
  }
}

TEST_F(Run, NamesTheNodesOfAFault) {
  start(2);
  Plan plan(100);
  plan.faultAt = 57;
  plan.fault = LATHE_FAULT_INDEX | 1 << 8;
  EXPECT_EQ(run(plan), LATHE_ERROR_INDEX);
  EXPECT_STREQ(lathe_last_error(), "an index is out of bounds in nodes \"/second/Gather\", \"/second/Add\"");
  EXPECT_STREQ(lathe_last_error_node(), "/second/Gather\n/second/Add");
  EXPECT_EQ(lathe_last_error_code(), LATHE_ERROR_INDEX);
}

TEST_F(Run, ExplainsEveryFault) {
  start(1);
  const std::pair<int32_t, lathe_error_code> cases[] = {{LATHE_FAULT_INDEX, LATHE_ERROR_INDEX},
                                                        {LATHE_FAULT_DIVISION, LATHE_ERROR_DIVISION},
                                                        {LATHE_FAULT_SHAPE, LATHE_ERROR_SHAPE},
                                                        {LATHE_FAULT_HOST, LATHE_ERROR_HOST},
                                                        {77, LATHE_ERROR_INTERNAL},
                                                        {-1, LATHE_ERROR_INTERNAL}};
  for (auto [fault, code] : cases) {
    Plan plan(1);
    plan.result = fault;
    EXPECT_EQ(run(plan), code) << lathe_last_error();
  }
}

namespace {
/// Runs the tasks one after the other, from the last, on a thread of its own.
int32_t hostParallelFor(void *context, void (*task)(void *, int32_t), void *argument, int32_t count) {
  *static_cast<int *>(context) += 1;
  std::thread([&] {
    for (int32_t i = count; i-- > 0;) {
      task(argument, i);
    }
  }).join();
  return 0;
}
} // namespace

TEST_F(Run, RunsInTheThreadsOfTheHost) {
  lathe_session_options options = LATHE_SESSION_OPTIONS;
  int calls = 0;
  options.threads = 4;
  options.parallel_for = hostParallelFor;
  options.parallel_for_context = &calls;
  size_t before = countThreads();
  session = makeSession(model.get(), options);
  EXPECT_EQ(countThreads(), before);
  Plan plan(100);
  plan.loops = 3;
  ASSERT_EQ(run(plan), LATHE_OK);
  expectAllOnce(plan, 3);
  EXPECT_EQ(calls, 3);
}

TEST_F(Run, ReportsAHostThatFails) {
  lathe_session_options options = LATHE_SESSION_OPTIONS;
  options.threads = 4;
  options.parallel_for = [](void *, void (*)(void *, int32_t), void *, int32_t) { return 1; };
  session = makeSession(model.get(), options);
  Plan plan(100);
  EXPECT_EQ(run(plan), LATHE_ERROR_HOST);
  EXPECT_STREQ(lathe_last_error(), "the host's parallel_for failed in node \"/first/MatMul\"");
}

TEST_F(Run, ComputesInTheDefaultFloatState) {
  unsigned before = _mm_getcsr();
  _mm_setcsr(before | 0x8040); // flush to zero, denormals are zero
  start(2);
  Plan plan(8);
  plan.busyUs = 5000; // so that the helper takes part
  EXPECT_EQ(run(plan), LATHE_OK);
  EXPECT_EQ(_mm_getcsr() & ~0x3fu, (before | 0x8040) & ~0x3fu);
  _mm_setcsr(before);
  EXPECT_EQ(plan.floatState.load(), 0x1f80u);
}

TEST_F(Run, RecordsAProfileAndKeepsTheNewest) {
  lathe_session_options options = LATHE_SESSION_OPTIONS;
  options.threads = 2;
  options.profile_records = 8;
  session = makeSession(model.get(), options);
  Plan plan(4);
  plan.loops = 3;
  plan.kernel = 1;
  ASSERT_EQ(run(plan), LATHE_OK);
  lathe_profile_record records[8];
  ASSERT_EQ(lathe_session_profile(session.get(), records, 8), 3u);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(records[i].kernel, 1);
    EXPECT_EQ(records[i].run, 1u);
    EXPECT_EQ(records[i].parts, 4u);
    EXPECT_LE(records[i].begin_ns, records[i].end_ns);
    EXPECT_TRUE(i == 0 || records[i - 1].end_ns <= records[i].begin_ns);
  }
  plan.kernel = 0;
  for (int i = 0; i < 3; ++i) {
    ASSERT_EQ(run(plan), LATHE_OK);
  }
  ASSERT_EQ(lathe_session_profile(session.get(), records, 8), 8u);
  EXPECT_EQ(records[0].run, 2u);
  EXPECT_EQ(records[7].run, 4u);
  EXPECT_EQ(lathe_session_profile(session.get(), records, 2), 8u);
  EXPECT_EQ(records[0].run, 4u);
  lathe_session_profile_reset(session.get());
  EXPECT_EQ(lathe_session_profile(session.get(), nullptr, 0), 0u);
}

TEST_F(Run, KeepsSessionsOfTwoThreadsApart) {
  ModelPtr masked(maskedDouble().open());
  auto loop = [&](float value) {
    SessionPtr own = makeSession(masked.get(), 2);
    Tensor<float> x{std::vector<float>(64 * 512, value), {64, 512}, {}};
    Tensor<int64_t> mask{std::vector<int64_t>(64 * 512, 1), {64, 512}, {}};
    lathe_tensor a = x.view(), b = mask.view(), y;
    lathe_session_bind_input(own.get(), 0, &a);
    lathe_session_bind_input(own.get(), 1, &b);
    for (int i = 0; i < 50; ++i) {
      ASSERT_EQ(lathe_session_run(own.get()), LATHE_OK) << lathe_last_error();
      lathe_session_output(own.get(), 0, &y);
      for (int k = 0; k < 64 * 512; ++k) {
        ASSERT_EQ(static_cast<float *>(y.data)[k], 2 * value);
      }
    }
  };
  std::thread first(loop, 3.0f), second(loop, 5.0f);
  first.join();
  second.join();
}
