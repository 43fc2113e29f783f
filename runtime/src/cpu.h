/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

#ifndef LATHE_CPU_H
#define LATHE_CPU_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* enum lathe_cpu_feature bits that the processor has and the operating system saves the registers of. */
uint64_t lathe_cpu_detect(void);
/* The name of one bit's feature as /proc/cpuinfo spells it, or null. */
const char *lathe_cpu_feature_name(uint64_t bit);
/* Writes the names of the bits, separated by ", "; returns the length that all of them have (as snprintf). */
size_t lathe_cpu_names(uint64_t features, char *text, size_t size);
/* AMX registers need the kernel's permission, once per process. Returns the features less those it refused.
 */
uint64_t lathe_cpu_permit(uint64_t features);
/* Cores that this process may run on, hyper-threads of one core counted once; at least 1. */
uint32_t lathe_cpu_cores(void);

#ifdef __cplusplus
}
#endif
#endif
