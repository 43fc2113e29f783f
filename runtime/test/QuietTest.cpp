/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

// What a run does not do after the first of a shape: allocate, or enter the kernel.

#include "Seal.h"
#include "TestModel.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace lathe::test;

namespace {
struct Counter {
  int live = 0, total = 0, failAt = -1;
  size_t bytes = 0;
  lathe_allocator hook() {
    return {[](void *context, size_t bytes, size_t alignment) -> void * {
              auto *counter = static_cast<Counter *>(context);
              if (counter->total++ == counter->failAt) {
                return nullptr;
              }
              ++counter->live;
              counter->bytes += bytes;
              return aligned_alloc(alignment, (bytes + alignment - 1) & ~(alignment - 1));
            },
            [](void *context, void *memory, size_t bytes) {
              auto *counter = static_cast<Counter *>(context);
              --counter->live;
              counter->bytes -= bytes;
              free(memory);
            },
            this};
  }
};

lathe_error_code bindBoth(lathe_session_t *session, Tensor<float> &x, Tensor<int64_t> &mask) {
  lathe_tensor a = x.view(), b = mask.view();
  lathe_error_code code = lathe_session_bind_input(session, 0, &a);
  return code ? code : lathe_session_bind_input(session, 1, &b);
}

/// Kills the process at its next system call but write and exit_group.
bool forbidSystemCalls() {
  sock_filter filter[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
                          BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_exit_group, 2, 0),
                          BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 1, 0),
                          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
                          BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
  sock_fprog program = {sizeof filter / sizeof *filter, filter};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}
} // namespace

TEST(Quiet, AllocatesNothingAfterTheFirstRunOfAShape) {
  ModelPtr model(maskedDouble().open());
  Counter counter;
  lathe_allocator hook = counter.hook();
  lathe_session_options options = LATHE_SESSION_OPTIONS;
  options.threads = 1;
  options.allocator = &hook;
  SessionPtr session = makeSession(model.get(), options);
  // A transposed input is copied, which takes memory too.
  Tensor<float> x{{1, 4, 2, 5, 3, 6}, {2, 3}, {1, 2}};
  Tensor<int64_t> mask{{1, 1, 1, 1, 1, 0}, {2, 3}, {}};
  ASSERT_EQ(bindBoth(session.get(), x, mask), LATHE_OK);
  ASSERT_EQ(lathe_session_run(session.get()), LATHE_OK);
  int before = counter.total;
  for (int i = 0; i < 10; ++i) {
    ASSERT_EQ(bindBoth(session.get(), x, mask), LATHE_OK);
    ASSERT_EQ(lathe_session_run(session.get()), LATHE_OK);
  }
  EXPECT_EQ(counter.total, before);
  Tensor<float> smaller{{1}, {1, 1}, {}};
  Tensor<int64_t> smallerMask{{1}, {1, 1}, {}};
  ASSERT_EQ(bindBoth(session.get(), smaller, smallerMask), LATHE_OK);
  ASSERT_EQ(lathe_session_run(session.get()), LATHE_OK);
  EXPECT_EQ(counter.total, before) << "a smaller shape fits the memory that is there";
  session.reset();
  EXPECT_EQ(counter.live, 0);
  EXPECT_EQ(counter.bytes, 0u);
}

TEST(Quiet, EntersNoSystemCallAfterTheFirstRunOfAShape) {
  TempFile file(sealTiny("tiny"));
  pid_t child = fork();
  if (child == 0) {
    lathe_model_t *model = nullptr;
    lathe_session_t *session = nullptr;
    lathe_session_options options = LATHE_SESSION_OPTIONS;
    options.threads = 1;
    Tensor<float> x{{1, 2, 3, 4}, {1, 4}, {}};
    lathe_tensor tensor = x.view();
    if (lathe_open(file.path(), nullptr, &model) || lathe_session_create(model, &options, &session) ||
        lathe_session_bind_input(session, 0, &tensor) || lathe_session_run(session) || !forbidSystemCalls()) {
      _exit(2);
    }
    bool good = true;
    for (int i = 0; i < 3; ++i) {
      x.data[0] = float(i);
      good &= lathe_session_bind_input(session, 0, &tensor) == LATHE_OK &&
              lathe_session_run(session) == LATHE_OK &&
              lathe_session_output(session, 0, &tensor) == LATHE_OK &&
              static_cast<float *>(tensor.data)[0] == i + 1;
      tensor = x.view();
    }
    syscall(SYS_exit_group, good ? 0 : 3);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_FALSE(WIFSIGNALED(status)) << "killed by signal " << WTERMSIG(status) << ": it made a system call";
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

/// Lets one allocation after the other fail on the way from a model to its results: each is an error, nothing
/// leaks, and a session that lacked memory runs when there is some again.
template <typename Open, typename Bind>
static void failEveryAllocation(Open open, Bind bind) {
  bool finished = false;
  int failAt = 0;
  for (; failAt < 100 && !finished; ++failAt) {
    Counter counter;
    counter.failAt = failAt;
    lathe_allocator hook = counter.hook();
    lathe_open_options openOptions = LATHE_OPEN_OPTIONS;
    openOptions.allocator = &hook;
    lathe_model_t *model = nullptr;
    lathe_session_t *session = nullptr;
    lathe_session_options options = LATHE_SESSION_OPTIONS;
    options.threads = 2;
    lathe_error_code code = open(openOptions, model);
    code = code ? code : lathe_session_create(model, &options, &session);
    code = code ? code : bind(session);
    code = code ? code : lathe_session_run(session);
    finished = code == LATHE_OK;
    EXPECT_TRUE(finished || code == LATHE_ERROR_MEMORY) << lathe_last_error();
    if (session && !finished) {
      counter.failAt = -1;
      EXPECT_EQ(bind(session), LATHE_OK) << lathe_last_error();
      EXPECT_EQ(lathe_session_run(session), LATHE_OK) << "and runs when there is memory again";
    }
    lathe_session_close(session);
    lathe_close(model);
    EXPECT_EQ(counter.live, 0) << failAt;
  }
  EXPECT_TRUE(finished);
  EXPECT_GT(failAt, 4) << "that many allocations at least could fail";
}

TEST(Quiet, ReportsEveryAllocationThatFails) {
  // A transposed input is copied, which takes memory too.
  Tensor<float> x{{1, 4, 2, 5, 3, 6}, {2, 3}, {1, 2}};
  Tensor<int64_t> mask{{1, 1, 1, 1, 1, 0}, {2, 3}, {}};
  failEveryAllocation(
      [](const lathe_open_options &options, lathe_model_t *&model) {
        return lathe_open_table(maskedDouble().build(), nullptr, 0, &options, &model);
      },
      [&](lathe_session_t *session) { return bindBoth(session, x, mask); });
}

TEST(Quiet, ReportsEveryAllocationThatFailsForAnArtifact) {
  TempFile file(sealTiny("tiny"));
  Tensor<float> x{{1, 2, 3, 4}, {1, 4}, {}};
  failEveryAllocation([&](const lathe_open_options &options,
                          lathe_model_t *&model) { return lathe_open(file.path(), &options, &model); },
                      [&](lathe_session_t *session) {
                        lathe_tensor tensor = x.view();
                        return lathe_session_bind_input(session, 0, &tensor);
                      });
}

TEST(Quiet, ReportsEveryAllocationThatFailsForSizesThatDependOnData) {
  Tensor<int64_t> n{{5000}, {}, {}};
  failEveryAllocation(
      [](const lathe_open_options &options, lathe_model_t *&model) {
        return lathe_open_table(countUp().build(), nullptr, 0, &options, &model);
      },
      [&](lathe_session_t *session) {
        lathe_tensor tensor = n.view();
        return lathe_session_bind_input(session, 0, &tensor);
      });
}
