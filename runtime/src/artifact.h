/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/* The checks of an artifact's bytes, before the dynamic loader sees them. None of them runs or changes
 * anything. */
#ifndef LATHE_ARTIFACT_H
#define LATHE_ARTIFACT_H

#include "elfview.h"
#include "lathe.h"

enum lathe_check_flags {
  LATHE_CHECK_WEIGHTS = 1, /* compare the chunk sums too */
  /* Compare no sum. For fuzzing alone: it lets random changes reach what stands behind the sums. */
  LATHE_CHECK_IGNORE_SUMS = 2
};

/* What the rest of the runtime needs to know of a checked artifact. */
struct lathe_artifact {
  struct lathe_artifact_header header;
  uint64_t note;    /* image address of the header note */
  uint64_t weights; /* image addresses, 0 when there are none */
  uint64_t chunk_sums;
  uint64_t weight_bytes;
};

/* Checks everything but the processor. `name` is for messages. */
lathe_error_code lathe_artifact_check(const void *data, uint64_t size, const char *name, unsigned flags,
                                      struct lathe_artifact *artifact);

/* Compares weights with their chunk sums, chunks first, first + step, ...; returns the first bad chunk or -1.
 */
int64_t lathe_weights_compare(const uint8_t *weights, uint64_t bytes, const uint32_t *sums, uint64_t first,
                              uint64_t step);

/* The dynamic section may do nothing but import three functions of libc and relocate within its own writable
 * data: then loading runs no code of the artifact. Null, or what is wrong: "has constructors". */
const char *lathe_elf_check_dynamic(const struct lathe_elf_view *view);

/* Where a table's offsets may point: into the tiles of a file, or, when `view` is null (a linked table),
 * anywhere. */
struct lathe_bounds {
  const struct lathe_elf_view *view;
  const struct lathe_artifact_header *header;
};

/* Checks every count, offset and string of a table. With bounds, `table` is where the view holds
 * header->entry. Null, or what is wrong. */
const char *lathe_table_check(const struct lathe_table *table, const struct lathe_bounds *bounds);

/* The bytes that every table has: those of ABI 1.1. */
enum { LATHE_TABLE_MIN_BYTES = offsetof(struct lathe_table, buffer_count) };

/* Those of ABI 1.2, 1.3 and 1.4. */
enum {
  LATHE_TABLE_BYTES_1_2 = offsetof(struct lathe_table, texts),
  LATHE_TABLE_BYTES_1_3 = offsetof(struct lathe_table, images),
  LATHE_TABLE_BYTES_1_4 = offsetof(struct lathe_table, shared_inputs)
};

/* Fields that older tables do not have. */
static inline uint32_t lathe_table_buffer_count(const struct lathe_table *table) {
  return table->bytes >= LATHE_TABLE_BYTES_1_2 ? table->buffer_count : 0;
}
static inline uint32_t lathe_table_place_count(const struct lathe_table *table) {
  return table->bytes >= LATHE_TABLE_BYTES_1_2 ? table->place_count : 0;
}
static inline uint32_t lathe_table_text_count(const struct lathe_table *table) {
  return table->bytes >= LATHE_TABLE_BYTES_1_3 ? table->text_count : 0;
}
static inline uint32_t lathe_table_service_count(const struct lathe_table *table) {
  return table->bytes >= LATHE_TABLE_BYTES_1_3 ? table->service_count : 0;
}
static inline uint32_t lathe_table_image_count(const struct lathe_table *table) {
  return table->bytes >= LATHE_TABLE_BYTES_1_4 ? table->image_count : 0;
}
/* Whether its kernels have a lathe_device_kernel_info. */
static inline int lathe_table_has_device_kernels(const struct lathe_table *table) {
  return table->bytes >= LATHE_TABLE_BYTES_1_4 && table->device_kernels != 0;
}

/* The scratch memory of a session on a device, in bytes. */
static inline uint64_t lathe_table_device_scratch(const struct lathe_table *table) {
  return table->bytes >= LATHE_TABLE_BYTES_1_4 ? (uint64_t)table->device_scratch * LATHE_SCRATCH_UNIT : 0;
}
/* Where the weights begin that a device's kernels read. */
static inline uint64_t lathe_table_device_weights(const struct lathe_table *table) {
  return table->bytes >= LATHE_TABLE_BYTES_1_4 ? (uint64_t)table->device_weights * LATHE_WEIGHT_ALIGNMENT : 0;
}

/* The input in whose memory an output may lie, or -1. */
static inline int32_t lathe_table_shared_input(const struct lathe_table *table, uint32_t output) {
  if (table->bytes < sizeof *table || table->shared_inputs == 0) {
    return -1;
  }
  const int32_t *inputs = (const int32_t *)((const char *)table + table->shared_inputs);
  return inputs[output];
}

/* Whether a variant's kernels run on a device. */
static inline int lathe_variant_is_cuda(const struct lathe_variant_info *variant) {
  return strcmp(variant->isa, "cuda") == 0;
}
/* Whether an image is PTX, which the driver compiles. */
static inline int lathe_image_is_ptx(const struct lathe_image_info *image) {
  return strncmp(image->target, "compute_", sizeof "compute_" - 1) == 0;
}

/* What stands `offset` bytes from the table. */
static inline const void *lathe_table_at(const struct lathe_table *table, int32_t offset) {
  return (const char *)table + offset;
}

#endif
