/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/* What tests ask of the mock driver, besides what every driver does. See Driver.h for what the environment
 * sets. */
#ifndef LATHE_TEST_CUDA_MOCK_H
#define LATHE_TEST_CUDA_MOCK_H

#ifdef __cplusplus
extern "C" {
#endif

/* How often a function of the interface was called since the last reset. */
__attribute__((visibility("default"))) int lathe_mock_calls(const char *function);
/* Everything that somebody has to give back: references to contexts, memory, modules, streams, events,
 * graphs. */
__attribute__((visibility("default"))) int lathe_mock_live(void);
/* What the last kernel that failed did, or "". Lives until the thread's next call. */
__attribute__((visibility("default"))) const char *lathe_mock_report(void);
/* Forgets counts, the report and that kernels failed. What is live stays. */
__attribute__((visibility("default"))) void lathe_mock_reset(void);

#ifdef __cplusplus
}
#endif
#endif
