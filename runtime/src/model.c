/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/* Opening and closing models. */
#define _GNU_SOURCE
#include "cpu.h"
#include "cuda.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* -- Memory
 * -------------------------------------------------------------------------------------------------- */

static void *default_allocate(void *context, size_t bytes, size_t alignment) {
  /* Arenas are walked from end to end by every run: large pages save their TLB misses. */
  const size_t huge = (size_t)2 << 20;
  void *memory = NULL;
  if (bytes > SIZE_MAX - huge) {
    return NULL;
  }
  if (bytes < 2 * huge) {
    return posix_memalign(&memory, alignment < 64 ? 64 : alignment, bytes ? bytes : 1) == 0 ? memory : NULL;
  }
  size_t rounded = (bytes + huge - 1) & ~(huge - 1);
  if (posix_memalign(&memory, alignment < huge ? huge : alignment, rounded) != 0) {
    return NULL;
  }
  madvise(memory, rounded, MADV_HUGEPAGE);
  return memory;
}

static void default_release(void *context, void *memory, size_t bytes) { free(memory); }

lathe_allocator lathe_allocator_or_default(const lathe_allocator *allocator) {
  lathe_allocator fallback = {default_allocate, default_release, NULL};
  return allocator && allocator->allocate && allocator->release ? *allocator : fallback;
}

/* -- Options
 * ------------------------------------------------------------------------------------------------- */

static lathe_error_code read_options(const lathe_open_options *given, lathe_open_options *options) {
  *options = (lathe_open_options)LATHE_OPEN_OPTIONS;
  if (!given) {
    return LATHE_OK;
  }
  if (given->struct_size < offsetof(lathe_open_options, check_threads)) {
    return lathe_fail(LATHE_ERROR_ARGUMENT, "the open options have struct_size %zu, use LATHE_OPEN_OPTIONS",
                      given->struct_size);
  }
  memcpy(options, given, given->struct_size < sizeof *options ? given->struct_size : sizeof *options);
  if (options->check > LATHE_CHECK_OFF) {
    return lathe_fail(LATHE_ERROR_ARGUMENT, "the open options have check %u, there is none such",
                      (unsigned)options->check);
  }
  return LATHE_OK;
}

static lathe_error_code new_model(const lathe_open_options *options, lathe_model_t **result) {
  lathe_allocator allocator = lathe_allocator_or_default(options->allocator);
  lathe_model_t *model = lathe_allocate(&allocator, sizeof *model, _Alignof(lathe_model_t));
  if (!model) {
    return lathe_fail(LATHE_ERROR_MEMORY, "no memory for a model");
  }
  memset(model, 0, sizeof *model);
  atomic_init(&model->references, 1);
  atomic_init(&model->weights_state, LATHE_WEIGHTS_UNCHECKED);
  model->allocator = allocator;
  model->log = options->log;
  model->log_context = options->log_context;
  model->check_threads = options->check_threads;
  *result = model;
  return LATHE_OK;
}

__attribute__((format(printf, 3, 4))) static void log_text(const lathe_model_t *model, lathe_log_level level,
                                                           const char *format, ...) {
  if (model->log) {
    char text[800];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    model->log(model->log_context, level, text);
  }
}

/* -- Variants
 * ------------------------------------------------------------------------------------------------ */

/* Appends to a message; what does not fit is left out. */
__attribute__((format(printf, 4, 5))) static void append(char *text, size_t size, size_t *length,
                                                         const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  int n = vsnprintf(text + *length, size - *length, format, arguments);
  va_end(arguments);
  *length = n < 0 ? *length : (size_t)n < size - *length ? *length + (size_t)n : size - 1;
}

/* The index of the first variant that runs here, or the one that was asked for. */
static lathe_error_code choose_variant(const lathe_model_t *model, const struct lathe_table *table,
                                       const lathe_open_options *options, const char *name,
                                       uint32_t *chosen) {
  const struct lathe_variant_info *variants = lathe_table_at(table, table->variants);
  uint64_t features = lathe_cpu_detect();
  char text[700];
  size_t length = 0;
  bool device_missing = false;
  text[0] = 0;
  for (uint32_t i = 0; i < table->variant_count; ++i) {
    if (options->variant && strcmp(options->variant, variants[i].isa) != 0) {
      continue;
    }
    uint64_t missing = variants[i].cpu_features & ~features;
    if (!missing) {
      missing = variants[i].cpu_features & ~lathe_cpu_permit(variants[i].cpu_features);
    }
    if (missing) {
      char names[300];
      lathe_cpu_names(missing, names, sizeof names);
      append(text, sizeof text, &length, "%s%s needs %s, which is not there", length ? "; " : "",
             variants[i].isa, names);
    } else if (lathe_variant_is_cuda(&variants[i]) && lathe_cuda_probe(table, options->device)) {
      append(text, sizeof text, &length, "%s%s: %s", length ? "; " : "", variants[i].isa, lathe_last_error());
      device_missing = true;
    } else {
      *chosen = i;
      if (length) {
        log_text(model, LATHE_LOG_WARNING, "\"%s\" runs as %s: %s", name, variants[i].isa, text);
      }
      return LATHE_OK;
    }
  }
  if (!length) {
    for (uint32_t i = 0; i < table->variant_count; ++i) {
      append(text, sizeof text, &length, "%s%s", length ? ", " : "", variants[i].isa);
    }
    return lathe_fail(LATHE_ERROR_CPU, "\"%s\" has no variant \"%s\", only %s", name, options->variant, text);
  }
  return device_missing
             ? lathe_fail(LATHE_ERROR_DEVICE, "\"%s\" does not run here: %s", name, text)
             : lathe_fail(LATHE_ERROR_CPU, "\"%s\" does not run on this processor: %s", name, text);
}

/* -- Weights
 * ------------------------------------------------------------------------------------------------- */

struct weights_part {
  const lathe_model_t *model;
  uint64_t first, step;
  int64_t bad;
};

static void *compare_part(void *argument) {
  struct weights_part *part = argument;
  const lathe_model_t *model = part->model;
  part->bad = lathe_weights_compare(model->weights, model->table->weight_bytes, model->chunk_sums,
                                    part->first, part->step);
  return NULL;
}

lathe_error_code lathe_model_check_weights(lathe_model_t *model) {
  enum { MAX_THREADS = 16 };
  if (atomic_load_explicit(&model->weights_state, memory_order_acquire) == LATHE_WEIGHTS_GOOD) {
    return LATHE_OK;
  }
  uint64_t wanted = model->check_threads ? model->check_threads : 1 + (model->table->weight_bytes >> 27);
  if (wanted > 1 && !model->check_threads) {
    uint64_t cores = lathe_cpu_cores();
    wanted = wanted < cores ? wanted : cores;
  }
  uint32_t count = wanted < MAX_THREADS ? (uint32_t)wanted : MAX_THREADS;
  struct weights_part parts[MAX_THREADS];
  pthread_t threads[MAX_THREADS];
  bool started[MAX_THREADS] = {false};
  for (uint32_t i = 0; i < count; ++i) {
    parts[i] = (struct weights_part){model, i, count, -1};
    started[i] = i && pthread_create(&threads[i], NULL, compare_part, &parts[i]) == 0;
  }
  int64_t bad = -1;
  for (uint32_t i = 0; i < count; ++i) {
    if (started[i]) {
      pthread_join(threads[i], NULL);
    } else {
      compare_part(&parts[i]);
    }
    bad = bad < 0 ? parts[i].bad : bad;
  }
  if (bad >= 0) {
    return lathe_fail(LATHE_ERROR_CORRUPT, "the weights of model \"%s\" are corrupt in chunk %lld of 4 MiB",
                      (const char *)lathe_model_at(model, model->table->name), (long long)bad);
  }
  atomic_store_explicit(&model->weights_state, LATHE_WEIGHTS_GOOD, memory_order_release);
  return LATHE_OK;
}

/* -- Open
 * ---------------------------------------------------------------------------------------------------- */

/* A file in memory, read-only. */
struct mapping {
  void *data;
  uint64_t size;
};

static lathe_error_code map_file(int fd, const char *name, struct mapping *mapping) {
  struct stat status;
  if (fstat(fd, &status) != 0) {
    return lathe_fail(LATHE_ERROR_FILE, "\"%s\" cannot be read: %s", name, strerror(errno));
  }
  if (!S_ISREG(status.st_mode)) {
    return lathe_fail(LATHE_ERROR_FILE, "\"%s\" is not a regular file", name);
  }
  if (status.st_size == 0) {
    return lathe_fail(LATHE_ERROR_NOT_ARTIFACT, "\"%s\" is empty", name);
  }
  mapping->size = (uint64_t)status.st_size;
  mapping->data = mmap(NULL, mapping->size, PROT_READ, MAP_SHARED, fd, 0);
  if (mapping->data == MAP_FAILED) {
    return lathe_fail(LATHE_ERROR_FILE, "\"%s\" cannot be mapped: %s", name, strerror(errno));
  }
  return LATHE_OK;
}

static lathe_error_code open_file(const char *path, int *fd) {
  if (!path) {
    return lathe_fail(LATHE_ERROR_ARGUMENT, "the path is null");
  }
  /* A pipe or a device must not make us wait; what is no regular file is refused afterwards. */
  *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  return *fd < 0 ? lathe_fail(LATHE_ERROR_FILE, "\"%s\" cannot be opened: %s", path, strerror(errno))
                 : LATHE_OK;
}

static void count_output_dims(lathe_model_t *model) {
  for (uint32_t i = 0; i < model->table->output_count; ++i) {
    model->output_dim_count += lathe_model_outputs(model)[i].rank;
  }
}

/* Of a variant whose kernels run there. */
static lathe_error_code open_device(lathe_model_t *model, const lathe_open_options *options) {
  if (!lathe_variant_is_cuda(model->variant)) {
    return LATHE_OK;
  }
  lathe_error_code code = lathe_cuda_open(model, options->device);
  if (!code) {
    log_text(model, LATHE_LOG_INFO, "kernels for %s on device %u, %s", model->cuda->image,
             model->cuda->ordinal, model->cuda->device_name);
  }
  return code;
}

/* Checks, chooses a variant and loads, in this order. */
static lathe_error_code load_checked(lathe_model_t *model, int fd, const char *name,
                                     const struct mapping *mapping, const lathe_open_options *options) {
  struct lathe_artifact artifact;
  lathe_error_code code = lathe_artifact_check(mapping->data, mapping->size, name, 0, &artifact);
  if (code) {
    return code;
  }
  struct lathe_elf_view view;
  lathe_elf_open(&view, mapping->data, mapping->size);
  uint32_t variant = UINT32_MAX;
  const struct lathe_table *table =
      (const void *)lathe_elf_at(&view, artifact.header.entry, LATHE_TABLE_MIN_BYTES);
  if ((code = choose_variant(model, table, options, name, &variant)) && !options->inspect_only) {
    return code;
  }
  const uint8_t *base;
  if ((code = lathe_load(fd, name, &view, &artifact, &model->library, &base))) {
    return code;
  }
  model->table = (const void *)(base + artifact.header.entry);
  model->header = artifact.header;
  if (artifact.weights) {
    const unsigned char *place = lathe_elf_at(&view, artifact.weights, artifact.weight_bytes);
    model->weights =
        lathe_map_weights(fd, (uint64_t)(place - view.data), artifact.weight_bytes, &model->weights_map);
    model->weights = model->weights ? model->weights : base + artifact.weights;
  }
  model->chunk_sums = artifact.weights ? (const void *)(base + artifact.chunk_sums) : NULL;
  if (variant != UINT32_MAX) {
    model->variant =
        (const struct lathe_variant_info *)lathe_model_at(model, model->table->variants) + variant;
  }
  if (options->check == LATHE_CHECK_OFF || !artifact.weights) {
    atomic_store(&model->weights_state, LATHE_WEIGHTS_GOOD);
  }
  if (options->check == LATHE_CHECK_FULL && (code = lathe_model_check_weights(model))) {
    return code;
  }
  count_output_dims(model);
  if (!options->inspect_only &&
      ((code = lathe_model_load_services(model)) || (code = open_device(model, options)))) {
    return code;
  }
  log_text(model, LATHE_LOG_INFO, "opened \"%s\", variant %s", name,
           model->variant ? model->variant->isa : "none");
  return LATHE_OK;
}

static lathe_error_code open_descriptor(int fd, const char *name, const lathe_open_options *options,
                                        lathe_model_t **result) {
  struct mapping mapping;
  lathe_error_code code = map_file(fd, name, &mapping);
  if (code) {
    return code;
  }
  lathe_model_t *model = NULL;
  if (!(code = new_model(options, &model)) && (code = load_checked(model, fd, name, &mapping, options))) {
    lathe_close(model);
    model = NULL;
  }
  munmap(mapping.data, mapping.size);
  *result = model;
  return code;
}

lathe_error_code lathe_open(const char *path, const lathe_open_options *given, lathe_model_t **result) {
  lathe_open_options options;
  int fd;
  if (!result) {
    return lathe_fail(LATHE_ERROR_ARGUMENT, "the result is null");
  }
  *result = NULL;
  lathe_error_code code = read_options(given, &options);
  if (code || (code = open_file(path, &fd))) {
    return code;
  }
  code = open_descriptor(fd, path, &options, result);
  close(fd);
  return code;
}

lathe_error_code lathe_open_fd(int fd, const lathe_open_options *given, lathe_model_t **result) {
  lathe_open_options options;
  char name[32];
  if (!result) {
    return lathe_fail(LATHE_ERROR_ARGUMENT, "the result is null");
  }
  *result = NULL;
  lathe_error_code code = read_options(given, &options);
  if (code) {
    return code;
  }
  snprintf(name, sizeof name, "descriptor %d", fd);
  return open_descriptor(fd, name, &options, result);
}

lathe_error_code lathe_check_artifact(const char *path, lathe_weight_check check,
                                      struct lathe_artifact_header *header) {
  struct mapping mapping;
  int fd;
  lathe_error_code code = open_file(path, &fd);
  if (code) {
    return code;
  }
  if (!(code = map_file(fd, path, &mapping))) {
    struct lathe_artifact artifact;
    code = lathe_artifact_check(mapping.data, mapping.size, path,
                                check == LATHE_CHECK_FULL ? LATHE_CHECK_WEIGHTS : 0, &artifact);
    if (header && !code) {
      *header = artifact.header;
    }
    munmap(mapping.data, mapping.size);
  }
  close(fd);
  return code;
}

/* -- Linked tables
 * ------------------------------------------------------------------------------------------- */

static lathe_error_code open_weights(lathe_model_t *model, const char *path) {
  struct mapping mapping;
  int fd;
  lathe_error_code code = open_file(path, &fd);
  if (code) {
    return code;
  }
  if (!(code = map_file(fd, path, &mapping))) {
    model->weights = mapping.data;
    model->weights_map = (struct lathe_weights_map){mapping.data, mapping.size};
    if (mapping.size != model->table->weight_bytes) {
      code =
          lathe_fail(LATHE_ERROR_CORRUPT, "\"%s\" has %llu bytes, but the weights of the model have %llu",
                     path, (unsigned long long)mapping.size, (unsigned long long)model->table->weight_bytes);
    }
  }
  struct lathe_weights_map large;
  const uint8_t *weights = code ? NULL : lathe_map_weights(fd, 0, mapping.size, &large);
  if (weights) {
    munmap(mapping.data, mapping.size);
    model->weights = weights;
    model->weights_map = large;
  }
  close(fd);
  return code;
}

/* Finds the weights of a linked table, where they are given. */
static lathe_error_code attach_weights(lathe_model_t *model, const void *weights, uint64_t weight_bytes,
                                       const lathe_open_options *options) {
  const struct lathe_table *table = model->table;
  const char *name = lathe_table_at(table, table->name);
  if (!weights && table->weight_bytes && options->weights_path) {
    return open_weights(model, options->weights_path);
  }
  if (weight_bytes != table->weight_bytes || (!weights && weight_bytes)) {
    return lathe_fail(LATHE_ERROR_ARGUMENT, "model \"%s\" has %llu bytes of weights, but %llu are given",
                      name, (unsigned long long)table->weight_bytes,
                      (unsigned long long)(weights ? weight_bytes : 0));
  }
  if ((uintptr_t)weights % 64) {
    return lathe_fail(LATHE_ERROR_ARGUMENT, "the weights of model \"%s\" are not aligned to 64 bytes", name);
  }
  model->weights = weights;
  return LATHE_OK;
}

static lathe_error_code attach_table(lathe_model_t *model, const void *weights, uint64_t weight_bytes,
                                     const lathe_open_options *options) {
  const struct lathe_table *table = model->table;
  lathe_error_code code;
  uint32_t variant = UINT32_MAX;
  if ((code = choose_variant(model, table, options, lathe_table_at(table, table->name), &variant)) &&
      !options->inspect_only) {
    return code;
  }
  if (variant != UINT32_MAX) {
    model->variant = (const struct lathe_variant_info *)lathe_model_at(model, table->variants) + variant;
  }
  atomic_store(&model->weights_state, LATHE_WEIGHTS_GOOD);
  count_output_dims(model);
  if ((!options->inspect_only && (code = lathe_model_load_services(model))) ||
      (code = attach_weights(model, weights, weight_bytes, options))) {
    return code;
  }
  return options->inspect_only ? LATHE_OK : open_device(model, options);
}

lathe_error_code lathe_open_table(const struct lathe_table *table, const void *weights, uint64_t weight_bytes,
                                  const lathe_open_options *given, lathe_model_t **result) {
  lathe_open_options options;
  if (!result || !table) {
    return lathe_fail(LATHE_ERROR_ARGUMENT, "the %s is null", result ? "table" : "result");
  }
  *result = NULL;
  lathe_error_code code = read_options(given, &options);
  if (code) {
    return code;
  }
  const char *why = lathe_table_check(table, /*bounds=*/NULL);
  if (why) {
    return lathe_fail(memcmp(table->magic, LATHE_TABLE_MAGIC, sizeof table->magic) == 0 &&
                              (table->abi_major != LATHE_ABI_MAJOR || table->abi_minor > LATHE_ABI_MINOR)
                          ? LATHE_ERROR_VERSION
                          : LATHE_ERROR_CORRUPT,
                      "the linked model cannot be used: %s", why);
  }
  lathe_model_t *model;
  if ((code = new_model(&options, &model))) {
    return code;
  }
  model->table = table;
  if ((code = attach_table(model, weights, weight_bytes, &options))) {
    lathe_close(model);
    return code;
  }
  *result = model;
  return LATHE_OK;
}

/* -- Close
 * --------------------------------------------------------------------------------------------------- */

void lathe_model_retain(lathe_model_t *model) {
  atomic_fetch_add_explicit(&model->references, 1, memory_order_relaxed);
}

void lathe_close(lathe_model_t *model) {
  if (!model || atomic_fetch_sub_explicit(&model->references, 1, memory_order_acq_rel) != 1) {
    return;
  }
  if (model->weights_map.data) {
    munmap(model->weights_map.data, model->weights_map.bytes);
  }
  lathe_cuda_close(model);
  lathe_model_unload_services(model);
  lathe_unload(model->library);
  lathe_allocator allocator = model->allocator;
  lathe_release(&allocator, model, sizeof *model);
}
