/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

#ifndef LATHE_CRC32C_H
#define LATHE_CRC32C_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* CRC-32C (Castagnoli) of `size` bytes, continuing `crc`, which is 0 at the start. */
uint32_t lathe_crc32c(uint32_t crc, const void *data, uint64_t size);

/* The same without special instructions: what lathe_crc32c does on a processor that has none, and its test.
 */
uint32_t lathe_crc32c_portable(uint32_t crc, const void *data, uint64_t size);

#ifdef __cplusplus
}
#endif
#endif
