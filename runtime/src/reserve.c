/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/* Memory of a session, and what a run asks for when it knows sizes that depend on data. */
#include "session.h"

#include <string.h>

lathe_error_code lathe_session_grow(lathe_session_t *session, struct lathe_buffer *buffer, uint64_t bytes,
                                    uint64_t keep, const char *what) {
  if (bytes <= buffer->bytes) {
    return LATHE_OK;
  }
  uint64_t others = lathe_session_host_memory(session) - buffer->bytes;
  if (others > session->memory_limit || bytes > session->memory_limit - others) {
    return lathe_fail(LATHE_ERROR_MEMORY,
                      "no memory for %s (%llu bytes): the session would exceed its limit, %llu", what,
                      (unsigned long long)bytes, (unsigned long long)session->memory_limit);
  }
  /* What grows piece by piece is made twice as large each time. */
  uint64_t wanted = bytes;
  if (keep && buffer->bytes <= (session->memory_limit - others) / 2 && bytes < 2 * buffer->bytes) {
    wanted = 2 * buffer->bytes;
  }
  if (!keep) {
    /* The old contents are of no use to anyone: giving them back first keeps the peak low. */
    lathe_release(&session->allocator, buffer->data, buffer->bytes);
    *buffer = (struct lathe_buffer){NULL, 0};
  }
  uint8_t *data = lathe_allocate(&session->allocator, wanted, 64);
  if (!data) {
    return lathe_fail(LATHE_ERROR_MEMORY, "no memory for %s (%llu bytes)", what, (unsigned long long)wanted);
  }
  if (keep) {
    memcpy(data, buffer->data, keep);
    lathe_release(&session->allocator, buffer->data, buffer->bytes);
  }
  *buffer = (struct lathe_buffer){data, wanted};
  return LATHE_OK;
}

/* Memory for an output: that of the caller, if it has room. */
static lathe_error_code reserve_output(lathe_session_t *session, uint32_t index, uint64_t bytes,
                                       uint64_t keep, void **memory) {
  struct lathe_bound_output *output = &session->outputs[index];
  const char *name = lathe_model_at(session->model, lathe_model_outputs(session->model)[index].name);
  output->bytes = bytes;
  if (output->place == LATHE_OUTPUT_OWN) {
    lathe_error_code code = lathe_session_grow(session, &output->own, bytes + 64, keep, "an output");
    *memory = output->own.data;
    return code;
  }
  *memory = output->data;
  return bytes <= output->room
             ? LATHE_OK
             : lathe_fail(LATHE_ERROR_SHAPE, "output \"%s\" needs %llu bytes, but %llu are bound", name,
                          (unsigned long long)bytes, (unsigned long long)output->room);
}

void *lathe_session_reserve(void *context, int64_t buffer, int64_t bytes, int64_t keep) {
  lathe_session_t *session = context;
  const struct lathe_table *table = session->model->table;
  void *memory = NULL;
  if (bytes < 0 || keep < 0 || keep > bytes) {
    session->reserve_error =
        lathe_fail(LATHE_ERROR_INTERNAL, "compiled code asks for %lld bytes", (long long)bytes);
  } else if (buffer >= 0 && buffer < (int64_t)lathe_table_buffer_count(table)) {
    /* A byte at least, so that no pointer is null. */
    session->reserve_error = lathe_session_grow(session, &session->buffers[buffer], (uint64_t)bytes + 64,
                                                (uint64_t)keep, "a tensor whose size depends on data");
    memory = session->buffers[buffer].data;
  } else if (buffer < 0 && ~buffer < (int64_t)table->output_count && session->outputs[~buffer].from_run) {
    session->reserve_error =
        reserve_output(session, (uint32_t)~buffer, (uint64_t)bytes, (uint64_t)keep, &memory);
    session->output_pointers[~buffer] = memory;
  } else {
    session->reserve_error =
        lathe_fail(LATHE_ERROR_INTERNAL, "compiled code asks for the unknown buffer %lld", (long long)buffer);
  }
  return session->reserve_error ? NULL : memory;
}

void lathe_session_release_buffers(lathe_session_t *session) {
  for (uint32_t i = 0; i < lathe_table_buffer_count(session->model->table); ++i) {
    lathe_release(&session->allocator, session->buffers[i].data, session->buffers[i].bytes);
    session->buffers[i] = (struct lathe_buffer){NULL, 0};
  }
  for (uint32_t i = 0; i < session->model->table->output_count; ++i) {
    struct lathe_bound_output *output = &session->outputs[i];
    lathe_release(&session->allocator, output->own.data, output->own.bytes);
    output->own = (struct lathe_buffer){NULL, 0};
    session->output_pointers[i] = output->from_run ? NULL : session->output_pointers[i];
  }
}

void lathe_session_begin_dims(lathe_session_t *session) {
  if (session->dims_from_run) {
    memcpy(session->output_dims, session->layout_dims, session->model->output_dim_count * sizeof(int64_t));
  }
}

lathe_error_code lathe_session_end_dims(lathe_session_t *session) {
  const struct lathe_value_info *infos = lathe_model_outputs(session->model);
  for (uint32_t i = 0; session->dims_from_run && i < session->model->table->output_count; ++i) {
    const struct lathe_bound_output *output = &session->outputs[i];
    if (!output->from_run) {
      continue;
    }
    const char *name = lathe_model_at(session->model, infos[i].name);
    uint64_t bytes = lathe_dtype_bytes(infos[i].dtype);
    for (uint32_t k = 0; k < infos[i].rank; ++k) {
      bytes = output->run_dims[k] == 0 ? 0 : bytes;
    }
    for (uint32_t k = 0; k < infos[i].rank; ++k) {
      int64_t dim = output->run_dims[k];
      if (dim < 0 || __builtin_mul_overflow(bytes, (uint64_t)dim, &bytes)) {
        return lathe_fail(LATHE_ERROR_INTERNAL, "output \"%s\": dimension %u comes out as %lld", name, k,
                          (long long)dim);
      }
    }
    if (!session->output_pointers[i] || bytes > output->bytes) {
      return lathe_fail(LATHE_ERROR_INTERNAL, "output \"%s\" was not written", name);
    }
    if (output->place == LATHE_OUTPUT_TENSOR && infos[i].rank &&
        memcmp(output->dims, output->run_dims, infos[i].rank * sizeof(int64_t)) != 0) {
      char bound[256], actual[256];
      return lathe_fail(LATHE_ERROR_SHAPE, "output \"%s\" is bound as %s, but the run gives %s", name,
                        lathe_format_dims(bound, sizeof bound, output->dims, infos[i].rank),
                        lathe_format_dims(actual, sizeof actual, output->run_dims, infos[i].rank));
    }
  }
  return LATHE_OK;
}
