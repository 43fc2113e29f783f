/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

#ifndef LATHE_MODEL_H
#define LATHE_MODEL_H

#include "artifact.h"
#include "error.h"
#include "lathe.h"
#include "lathe/component.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

/* The optional parts of the runtime that there are. */
enum { LATHE_COMPONENTS = 2 };

enum lathe_weights_state { LATHE_WEIGHTS_UNCHECKED = 0, LATHE_WEIGHTS_GOOD = 1 };

/* What has to be unmapped. */
struct lathe_weights_map {
  void *data; /* null: nothing */
  uint64_t bytes;
};

struct lathe_cuda_model;

struct lathe_model {
  atomic_uint references; /* the opener's and one for each session */
  lathe_allocator allocator;
  lathe_log_fn log;
  void *log_context;

  const struct lathe_table *table;
  const struct lathe_variant_info *variant; /* null: for inspection only */
  const uint8_t *weights;
  const uint32_t *chunk_sums; /* null when there are none to compare */
  atomic_int weights_state;
  uint32_t check_threads;

  void *library; /* from dlopen, or null */
  struct lathe_weights_map weights_map;
  uint32_t output_dim_count;           /* of all outputs together */
  struct lathe_artifact_header header; /* zero for a linked table */
  lathe_component_fn *services;        /* [service_count], or null */
  void *component_libraries[LATHE_COMPONENTS];
  const struct lathe_component *components[LATHE_COMPONENTS]; /* in them; null: not loaded */
  struct lathe_cuda_model *cuda;                              /* of a variant "cuda", or null */
};

/* The default allocator, for null. */
lathe_allocator lathe_allocator_or_default(const lathe_allocator *allocator);
static inline void *lathe_allocate(const lathe_allocator *allocator, size_t bytes, size_t alignment) {
  return allocator->allocate(allocator->context, bytes, alignment);
}
static inline void lathe_release(const lathe_allocator *allocator, void *memory, size_t bytes) {
  if (memory) {
    allocator->release(allocator->context, memory, bytes);
  }
}

/* Loads the library behind a checked descriptor and gives where its image begins. */
lathe_error_code lathe_load(int fd, const char *name, const struct lathe_elf_view *view,
                            const struct lathe_artifact *artifact, void **library, const uint8_t **base);
void lathe_unload(void *library);
/* Maps weights of a file for large pages; null when there are too few of them, or it cannot be done. */
const uint8_t *lathe_map_weights(int fd, uint64_t offset, uint64_t bytes, struct lathe_weights_map *map);

/* Loads the components that the model asks for, and finds its services in them. */
lathe_error_code lathe_model_load_services(lathe_model_t *model);
void lathe_model_unload_services(lathe_model_t *model);

/* Compares the weights with their sums unless that was done before. Any thread may call it. */
lathe_error_code lathe_model_check_weights(lathe_model_t *model);

static inline const void *lathe_model_at(const lathe_model_t *model, int32_t offset) {
  return lathe_table_at(model->table, offset);
}
static inline const struct lathe_value_info *lathe_model_inputs(const lathe_model_t *model) {
  return lathe_model_at(model, model->table->inputs);
}
static inline const struct lathe_value_info *lathe_model_outputs(const lathe_model_t *model) {
  return lathe_model_at(model, model->table->outputs);
}
static inline const struct lathe_symbol_info *lathe_model_symbols(const lathe_model_t *model) {
  return lathe_model_at(model, model->table->symbols);
}
static inline const struct lathe_kernel_info *lathe_model_kernels(const lathe_model_t *model) {
  return lathe_model_at(model, model->table->kernels);
}

void lathe_model_retain(lathe_model_t *model);

#endif
