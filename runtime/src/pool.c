/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

#define _GNU_SOURCE
#include "pool.h"

#include "error.h"
#include "floatstate.h"
#include "model.h"

#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* The state is one word: the number of the job, whether it still takes helpers, and how many are inside. A
 * helper enters by adding one to a word that says open, so none can enter a job that was closed, and the
 * caller waits only for those inside. */
#define STATE_INSIDE UINT64_C(0x7fffffff)
#define STATE_OPEN UINT64_C(0x80000000)
#define STATE_JOB(state) ((uint32_t)((state) >> 32))

struct helper {
  pthread_t thread;
  struct lathe_pool *pool;
  int32_t worker;
};

struct lathe_pool {
  /* Written by the caller for each job; on a line of its own. */
  _Alignas(64) atomic_uint_least64_t state;
  lathe_pool_work_fn work;
  void *job;
  /* Touched only around sleeping. */
  _Alignas(64) atomic_uint wake; /* the futex */
  atomic_uint sleepers;
  atomic_bool stop;
  /* Constant. */
  _Alignas(64) lathe_allocator allocator;
  int64_t spin_ns;
  uint32_t helper_count, started;
  size_t bytes;
  struct helper helpers[];
};

int64_t lathe_now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

void lathe_pool_pause(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  sched_yield();
#endif
}

static void sleep_until_woken(struct lathe_pool *pool, uint32_t seen) {
  unsigned ticket = atomic_load(&pool->wake);
  atomic_fetch_add(&pool->sleepers, 1);
  /* The caller publishes a job and then looks for sleepers, we do it the other way round: one of us sees the
   * other. */
  uint64_t state = atomic_load(&pool->state);
  if (!((state & STATE_OPEN) && STATE_JOB(state) != seen) && !atomic_load(&pool->stop)) {
    syscall(SYS_futex, &pool->wake, FUTEX_WAIT_PRIVATE, ticket, NULL, NULL, 0);
  }
  atomic_fetch_sub(&pool->sleepers, 1);
}

static void wake_sleepers(struct lathe_pool *pool, uint32_t most) {
  if (atomic_load(&pool->sleepers)) {
    atomic_fetch_add(&pool->wake, 1);
    syscall(SYS_futex, &pool->wake, FUTEX_WAKE_PRIVATE, most, NULL, NULL, 0);
  }
}

static void *help(void *argument) {
  enum { PAUSES_PER_LOOK_AT_THE_CLOCK = 64 };
  struct helper *helper = argument;
  struct lathe_pool *pool = helper->pool;
  uint32_t seen = 0;
  lathe_enter_float_state(); /* a thread begins with its maker's */
  int64_t idle_since = lathe_now_ns();
  for (uint32_t pauses = 0;;) {
    uint64_t state = atomic_load_explicit(&pool->state, memory_order_relaxed);
    if ((state & STATE_OPEN) && STATE_JOB(state) != seen) {
      if (atomic_compare_exchange_weak_explicit(&pool->state, &state, state + 1, memory_order_acquire,
                                                memory_order_relaxed)) {
        seen = STATE_JOB(state);
        pool->work(pool->job, helper->worker);
        atomic_fetch_sub_explicit(&pool->state, 1, memory_order_release);
        pauses = 0;
        idle_since = 0;
      }
      continue;
    }
    lathe_pool_pause();
    if (++pauses % PAUSES_PER_LOOK_AT_THE_CLOCK) {
      continue;
    }
    if (atomic_load_explicit(&pool->stop, memory_order_relaxed)) {
      return NULL;
    }
    int64_t now = lathe_now_ns();
    if (!idle_since) {
      idle_since = now;
    } else if (now - idle_since >= pool->spin_ns) {
      sleep_until_woken(pool, seen);
      idle_since = 0;
    }
  }
}

void lathe_pool_run(lathe_pool_t *pool, lathe_pool_work_fn work, void *job, uint32_t most) {
  uint32_t number = STATE_JOB(atomic_load_explicit(&pool->state, memory_order_relaxed)) + 1;
  number += number == 0; /* helpers begin having seen 0 */
  pool->work = work;
  pool->job = job;
  atomic_store(&pool->state, (uint64_t)number << 32 | STATE_OPEN);
  wake_sleepers(pool, most < pool->helper_count ? most : pool->helper_count);
  work(job, 0);
  atomic_fetch_and_explicit(&pool->state, ~STATE_OPEN, memory_order_relaxed);
  for (uint32_t pauses = 1; atomic_load_explicit(&pool->state, memory_order_acquire) & STATE_INSIDE;
       ++pauses) {
    lathe_pool_pause();
    if (pauses % 4096 == 0) {
      sched_yield(); /* the helper may be waiting for our processor */
    }
  }
}

void lathe_pool_wake(lathe_pool_t *pool) { wake_sleepers(pool, pool->helper_count); }

lathe_error_code lathe_pool_create(uint32_t helpers, int64_t spin_ns, const lathe_allocator *allocator,
                                   lathe_pool_t **result) {
  size_t bytes = sizeof(struct lathe_pool) + helpers * sizeof(struct helper);
  struct lathe_pool *pool = lathe_allocate(allocator, bytes, 64);
  if (!pool) {
    return lathe_fail(LATHE_ERROR_MEMORY, "no memory for %u threads", helpers);
  }
  memset(pool, 0, bytes);
  atomic_init(&pool->state, 0);
  pool->allocator = *allocator;
  pool->spin_ns = spin_ns;
  pool->helper_count = helpers;
  pool->bytes = bytes;
  /* The host's signals are not for us. */
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int failed = 0;
  for (uint32_t i = 0; i < helpers && !failed; ++i) {
    pool->helpers[i].pool = pool;
    pool->helpers[i].worker = (int32_t)i + 1;
    failed = pthread_create(&pool->helpers[i].thread, NULL, help, &pool->helpers[i]);
    if (!failed) {
      pthread_setname_np(pool->helpers[i].thread, "lathe");
      ++pool->started;
    }
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (failed) {
    lathe_pool_close(pool);
    return lathe_fail(LATHE_ERROR_LOAD, "cannot start %u threads: %s", helpers, strerror(failed));
  }
  *result = pool;
  return LATHE_OK;
}

void lathe_pool_close(lathe_pool_t *pool) {
  if (!pool) {
    return;
  }
  atomic_store(&pool->stop, true);
  atomic_fetch_add(&pool->wake, 1);
  syscall(SYS_futex, &pool->wake, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
  for (uint32_t i = 0; i < pool->started; ++i) {
    pthread_join(pool->helpers[i].thread, NULL);
  }
  lathe_allocator allocator = pool->allocator;
  lathe_release(&allocator, pool, pool->bytes);
}
