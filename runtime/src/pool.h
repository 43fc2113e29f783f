/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

#ifndef LATHE_POOL_H
#define LATHE_POOL_H

#include "lathe.h"

/* Threads that help one thread: they spin for a while after each job and then sleep. */
typedef struct lathe_pool lathe_pool_t;
typedef void (*lathe_pool_work_fn)(void *job, int32_t worker);

/* `helpers` threads, at least 1. */
lathe_error_code lathe_pool_create(uint32_t helpers, int64_t spin_ns, const lathe_allocator *allocator,
                                   lathe_pool_t **pool);
void lathe_pool_close(lathe_pool_t *pool);
/* Calls work(job, 0) and, on each helper that comes before that returns, work(job, 1 to helpers); returns
 * when all of these have. At most `most` helpers are woken. A helper that sleeps too long is not waited for.
 */
void lathe_pool_run(lathe_pool_t *pool, lathe_pool_work_fn work, void *job, uint32_t most);
/* Work will come soon: wakes who sleeps. */
void lathe_pool_wake(lathe_pool_t *pool);
/* One step of waiting on a processor that others may share. */
void lathe_pool_pause(void);
/* CLOCK_MONOTONIC */
int64_t lathe_now_ns(void);

#endif
