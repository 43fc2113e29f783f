/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/* Making and closing sessions, and what they tell. */
#include "cpu.h"
#include "cuda.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MAX_THREADS = 1024, DEFAULT_SPIN_NS = 100000, DEFAULT_LOOP_LIMIT = 100000000 };

/* That of the machine. */
static uint64_t default_memory_limit(void) {
  long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
  return pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : PTRDIFF_MAX;
}

static lathe_error_code read_options(const lathe_session_options *given, lathe_session_options *options) {
  *options = (lathe_session_options)LATHE_SESSION_OPTIONS;
  if (given) {
    if (given->struct_size < offsetof(lathe_session_options, profile_records)) {
      return lathe_fail(LATHE_ERROR_ARGUMENT,
                        "the session options have struct_size %zu, use LATHE_SESSION_OPTIONS",
                        given->struct_size);
    }
    memcpy(options, given, given->struct_size < sizeof *options ? given->struct_size : sizeof *options);
  }
  if (options->threads > MAX_THREADS) {
    return lathe_fail(LATHE_ERROR_ARGUMENT, "%u threads are more than %d", options->threads,
                      (int)MAX_THREADS);
  }
  if (options->timeout_ns < 0) {
    return lathe_fail(LATHE_ERROR_ARGUMENT, "the timeout of %lld ns is negative",
                      (long long)options->timeout_ns);
  }
  if (options->loop_limit < 0) {
    return lathe_fail(LATHE_ERROR_ARGUMENT, "the loop limit of %lld is negative",
                      (long long)options->loop_limit);
  }
  options->loop_limit = options->loop_limit ? options->loop_limit : DEFAULT_LOOP_LIMIT;
  options->memory_limit = options->memory_limit ? options->memory_limit : default_memory_limit();
  options->threads = options->threads ? options->threads : lathe_cpu_cores();
  options->spin_ns = options->spin_ns < 0 ? DEFAULT_SPIN_NS : options->spin_ns;
  return LATHE_OK;
}

/* Hands out pieces of the session's block; with a null base it only counts. */
static void *take(uint8_t *base, size_t *at, uint64_t count, size_t size) {
  size_t start = (*at + 15) & ~(size_t)15;
  *at = start + count * size;
  return base ? base + start : NULL;
}

/* Sets all arrays of a session in the block at `base` and returns the block's size. */
static size_t carve(lathe_session_t *session, uint8_t *base, const lathe_model_t *model, uint32_t records) {
  const struct lathe_table *table = model->table;
  size_t at = sizeof *session;
  session->symbols = take(base, &at, table->symbol_count, sizeof(int64_t));
  session->new_symbols = take(base, &at, table->symbol_count, sizeof(int64_t));
  session->symbol_inputs = take(base, &at, table->symbol_count, sizeof(uint32_t));
  session->slots = take(base, &at, table->slot_count, sizeof(int64_t));
  session->output_dims = take(base, &at, model->output_dim_count, sizeof(int64_t));
  session->layout_dims = take(base, &at, model->output_dim_count, sizeof(int64_t));
  session->buffers = take(base, &at, lathe_table_buffer_count(table), sizeof *session->buffers);
  session->inputs = take(base, &at, table->input_count, sizeof *session->inputs);
  session->outputs = take(base, &at, table->output_count, sizeof *session->outputs);
  session->input_pointers = take(base, &at, table->input_count, sizeof(void *));
  session->output_pointers = take(base, &at, table->output_count, sizeof(void *));
  session->records = take(base, &at, records, sizeof *session->records);
  for (uint32_t i = 0; i < table->input_count; ++i) {
    uint32_t rank = lathe_model_inputs(model)[i].rank;
    int64_t *dims = take(base, &at, rank, sizeof(int64_t)), *strides = take(base, &at, rank, sizeof(int64_t));
    if (base) {
      session->inputs[i].dims = dims;
      session->inputs[i].strides = strides;
    }
  }
  const int64_t *run_dims = session->output_dims;
  for (uint32_t i = 0; i < table->output_count; ++i) {
    uint32_t rank = lathe_model_outputs(model)[i].rank;
    int64_t *dims = take(base, &at, rank, sizeof(int64_t));
    if (base) {
      session->outputs[i].dims = dims;
      session->outputs[i].run_dims = run_dims;
      run_dims += rank;
    }
  }
  return at;
}

lathe_error_code lathe_session_create(lathe_model_t *model, const lathe_session_options *given,
                                      lathe_session_t **result) {
  lathe_session_options options;
  if (!model || !result) {
    return lathe_fail(LATHE_ERROR_ARGUMENT, "the %s is null", model ? "result" : "model");
  }
  *result = NULL;
  lathe_error_code code = read_options(given, &options);
  if (code) {
    return code;
  }
  if (!model->variant) {
    return lathe_fail(LATHE_ERROR_CPU,
                      "model \"%s\" was opened for inspection, it has no variant for this processor",
                      (const char *)lathe_model_at(model, model->table->name));
  }
  if (lathe_variant_is_cuda(model->variant) && !model->cuda) {
    return lathe_fail(LATHE_ERROR_DEVICE, "model \"%s\" was opened for inspection, it is not on its device",
                      (const char *)lathe_model_at(model, model->table->name));
  }
  lathe_allocator allocator =
      options.allocator ? lathe_allocator_or_default(options.allocator) : model->allocator;
  lathe_session_t measure;
  size_t bytes = carve(&measure, NULL, model, options.profile_records);
  lathe_session_t *session = lathe_allocate(&allocator, bytes, 64);
  if (!session) {
    return lathe_fail(LATHE_ERROR_MEMORY, "no memory for a session (%zu bytes)", bytes);
  }
  memset(session, 0, bytes);
  carve(session, (uint8_t *)session, model, options.profile_records);
  session->model = model;
  session->allocator = allocator;
  session->bytes = bytes;
  session->workers = options.threads;
  session->host = options.parallel_for;
  session->host_context = options.parallel_for_context;
  session->timeout_ns = options.timeout_ns;
  session->record_room = options.profile_records;
  session->memory_limit = options.memory_limit;
  session->loop_limit = options.loop_limit;
  session->inputs_dirty = session->places_dirty = true;
  lathe_model_retain(model);
  if (model->cuda) {
    session->workers = 1; /* the device's own do the work */
    if ((code = lathe_cuda_session_create(session, options.device_flags))) {
      lathe_session_close(session);
      return code;
    }
  }
  if (!session->host && session->workers > 1 &&
      (code = lathe_pool_create(session->workers - 1, options.spin_ns, &allocator, &session->pool))) {
    lathe_session_close(session);
    return code;
  }
  *result = session;
  return LATHE_OK;
}

void lathe_session_close(lathe_session_t *session) {
  if (!session) {
    return;
  }
  lathe_pool_close(session->pool);
  for (uint32_t i = 0; i < session->model->table->input_count; ++i) {
    lathe_session_release_owner(&session->inputs[i]);
  }
  lathe_cuda_session_close(session);
  lathe_allocator allocator = session->allocator;
  lathe_release(&allocator, session->arena.data, session->arena.bytes);
  lathe_release(&allocator, session->results.data, session->results.bytes);
  lathe_release(&allocator, session->copies.data, session->copies.bytes);
  lathe_session_release_buffers(session);
  lathe_session_release_texts(session);
  lathe_close(session->model);
  lathe_release(&allocator, session, session->bytes);
}

uint32_t lathe_session_threads(const lathe_session_t *session) { return session ? session->workers : 0; }

lathe_error_code lathe_session_set_timeout(lathe_session_t *session, int64_t timeout_ns) {
  if (!session || timeout_ns < 0) {
    return lathe_fail(LATHE_ERROR_ARGUMENT, session ? "the timeout is negative" : "the session is null");
  }
  session->timeout_ns = timeout_ns;
  return LATHE_OK;
}

lathe_error_code lathe_session_output(const lathe_session_t *session, size_t index, lathe_tensor *tensor) {
  if (!session || !tensor) {
    return lathe_fail(LATHE_ERROR_ARGUMENT, "the %s is null", session ? "result" : "session");
  }
  const struct lathe_table *table = session->model->table;
  if (index >= table->output_count) {
    return lathe_fail(LATHE_ERROR_ARGUMENT, "there is no output %td, the model has %u", (ptrdiff_t)index,
                      table->output_count);
  }
  if (!session->laid_out || session->inputs_dirty) {
    return lathe_fail(LATHE_ERROR_UNBOUND, "outputs have no shape before prepare or run");
  }
  const struct lathe_value_info *info = &lathe_model_outputs(session->model)[index];
  const struct lathe_bound_output *output = &session->outputs[index];
  *tensor = (lathe_tensor){.data = session->places_dirty ? output->data : session->output_pointers[index],
                           .dtype = info->dtype,
                           .rank = info->rank,
                           .dims = output->run_dims};
  return LATHE_OK;
}

const int64_t *lathe_session_symbols(const lathe_session_t *session) {
  return session && session->laid_out ? session->symbols : NULL;
}

uint64_t lathe_session_host_memory(const lathe_session_t *session) {
  const struct lathe_texts *texts = &session->texts;
  uint64_t bytes = session->arena.bytes + session->results.bytes + session->copies.bytes +
                   texts->entries.bytes + texts->index.bytes + texts->chunk_bytes;
  for (uint32_t i = 0; i < lathe_table_buffer_count(session->model->table); ++i) {
    bytes += session->buffers[i].bytes;
  }
  for (uint32_t i = 0; i < session->model->table->output_count; ++i) {
    bytes += session->outputs[i].own.bytes;
  }
  return bytes;
}

uint64_t lathe_session_memory(const lathe_session_t *session) {
  return session ? lathe_session_host_memory(session) + lathe_cuda_session_memory(session) : 0;
}

/* -- Profile
 * ------------------------------------------------------------------------------------------------- */

size_t lathe_session_profile(const lathe_session_t *session, lathe_profile_record *records, size_t room) {
  if (!session) {
    return 0;
  }
  uint64_t held = session->record_count < session->record_room ? session->record_count : session->record_room;
  uint64_t wanted = records ? (room < held ? room : held) : 0;
  for (uint64_t i = 0; i < wanted; ++i) {
    records[i] = session->records[(session->record_count - wanted + i) % session->record_room];
  }
  return held;
}

void lathe_session_profile_reset(lathe_session_t *session) {
  if (session) {
    session->record_count = 0;
  }
}
