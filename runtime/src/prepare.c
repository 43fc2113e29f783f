/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/* From bound tensors to what a run works on: symbols, layout, memory, pointers. */
#include "cuda.h"

#include <string.h>

static const char *name_at(const lathe_session_t *session, int32_t offset) {
  return lathe_model_at(session->model, offset);
}

/* Gives every symbol the value that the inputs have, or says which two disagree. */
static lathe_error_code resolve_symbols(lathe_session_t *session) {
  const struct lathe_table *table = session->model->table;
  const struct lathe_value_info *inputs = lathe_model_inputs(session->model);
  const struct lathe_symbol_info *symbols = lathe_model_symbols(session->model);
  for (uint32_t i = 0; i < table->symbol_count; ++i) {
    session->new_symbols[i] = -1;
  }
  for (uint32_t i = 0; i < table->input_count; ++i) {
    const char *name = name_at(session, inputs[i].name);
    const int64_t *dims = lathe_model_at(session->model, inputs[i].dims);
    if (!session->inputs[i].bound) {
      return lathe_fail(LATHE_ERROR_UNBOUND, "input \"%s\" is not bound", name);
    }
    for (uint32_t k = 0; k < inputs[i].rank; ++k) {
      if (dims[k] >= 0) {
        continue;
      }
      uint32_t s = (uint32_t)~dims[k];
      int64_t value = session->inputs[i].dims[k];
      const char *symbol = name_at(session, symbols[s].name);
      if (value < symbols[s].min || value > symbols[s].max) {
        return lathe_fail(LATHE_ERROR_SHAPE,
                          "input \"%s\": dimension %u is %lld, but the symbol %s must be %lld to %lld", name,
                          k, (long long)value, symbol, (long long)symbols[s].min, (long long)symbols[s].max);
      }
      if (session->new_symbols[s] < 0) {
        session->new_symbols[s] = value;
        session->symbol_inputs[s] = i;
      } else if (session->new_symbols[s] != value) {
        return lathe_fail(LATHE_ERROR_SHAPE,
                          "input \"%s\": dimension %u is %lld, but the symbol %s is already %lld "
                          "(input \"%s\")",
                          name, k, (long long)value, symbol, (long long)session->new_symbols[s],
                          name_at(session, inputs[session->symbol_inputs[s]].name));
      }
    }
  }
  for (uint32_t i = 0; i < table->symbol_count; ++i) {
    if (session->new_symbols[i] < 0) {
      session->new_symbols[i] = symbols[i].min; /* in no input, so it has but one value */
    }
  }
  return LATHE_OK;
}

/* Compiled code's answer must agree with its own table. */
static lathe_error_code check_layout(lathe_session_t *session) {
  const struct lathe_table *table = session->model->table;
  const struct lathe_value_info *outputs = lathe_model_outputs(session->model);
  if (session->arena_bytes < 0) {
    return lathe_fail(LATHE_ERROR_INTERNAL, "the layout asks for %lld bytes",
                      (long long)session->arena_bytes);
  }
  for (uint32_t i = 0; i < table->output_count; ++i) {
    struct lathe_bound_output *output = &session->outputs[i];
    const int64_t *dims = lathe_model_at(session->model, outputs[i].dims);
    uint64_t bytes = lathe_dtype_bytes(outputs[i].dtype);
    bool empty = false;
    output->from_run = false;
    for (uint32_t k = 0; k < outputs[i].rank; ++k) {
      int64_t value = output->run_dims[k];
      if (value == LATHE_DIM_COMPUTED && dims[k] == LATHE_DIM_COMPUTED) {
        output->from_run = session->dims_from_run = true;
        continue;
      }
      int64_t declared = dims[k] == LATHE_DIM_COMPUTED ? value
                         : dims[k] >= 0                ? dims[k]
                                                       : session->symbols[~dims[k]];
      if (value < 0 || value != declared) {
        return lathe_fail(LATHE_ERROR_INTERNAL,
                          "output \"%s\": dimension %u comes out as %lld instead of %lld",
                          name_at(session, outputs[i].name), k, (long long)value, (long long)declared);
      }
      empty |= value == 0;
    }
    empty |= output->from_run;
    for (uint32_t k = 0; k < outputs[i].rank && !empty; ++k) {
      if (__builtin_mul_overflow(bytes, (uint64_t)output->run_dims[k], &bytes) || bytes > PTRDIFF_MAX) {
        return lathe_fail(LATHE_ERROR_MEMORY, "output \"%s\" would fit no memory",
                          name_at(session, outputs[i].name));
      }
    }
    output->bytes = empty ? 0 : bytes;
  }
  return LATHE_OK;
}

lathe_error_code lathe_session_resolve(lathe_session_t *session) {
  if (!session->inputs_dirty) {
    return LATHE_OK;
  }
  lathe_error_code code = resolve_symbols(session);
  if (code) {
    return code;
  }
  const lathe_model_t *model = session->model;
  size_t symbol_bytes = model->table->symbol_count * sizeof(int64_t);
  if (!session->laid_out || memcmp(session->symbols, session->new_symbols, symbol_bytes) != 0) {
    session->laid_out = false;
    session->places_dirty = true;
    memcpy(session->symbols, session->new_symbols, symbol_bytes);
    lathe_layout_fn layout = (lathe_layout_fn)(uintptr_t)lathe_model_at(model, model->variant->layout);
    session->arena_bytes = 0;
    session->dims_from_run = false;
    int32_t fault = layout(session->symbols, session->workers, session->slots, session->output_dims,
                           &session->arena_bytes);
    if ((code = fault ? lathe_session_fault(session, fault) : check_layout(session))) {
      return code;
    }
    if (model->output_dim_count) {
      memcpy(session->layout_dims, session->output_dims, model->output_dim_count * sizeof(int64_t));
    }
    session->laid_out = true;
  }
  session->inputs_dirty = false;
  return LATHE_OK;
}

/* -- Memory
 * -------------------------------------------------------------------------------------------------- */

static bool overlap(const void *a, uint64_t a_bytes, const void *b, uint64_t b_bytes) {
  uintptr_t x = (uintptr_t)a, y = (uintptr_t)b;
  return a_bytes && b_bytes && x < y + b_bytes && y < x + a_bytes;
}

/* Whether a bound output has room, and shares no byte with what the run reads or writes. */
static lathe_error_code check_output(const lathe_session_t *session, uint32_t index) {
  const struct lathe_value_info *info = &lathe_model_outputs(session->model)[index];
  const struct lathe_bound_output *output = &session->outputs[index];
  const char *name = name_at(session, info->name);
  if (output->place == LATHE_OUTPUT_TENSOR && info->rank && !output->from_run &&
      memcmp(output->dims, output->run_dims, info->rank * sizeof(int64_t)) != 0) {
    char bound[256], actual[256];
    return lathe_fail(LATHE_ERROR_SHAPE, "output \"%s\" is bound as %s, but the run gives %s", name,
                      lathe_format_dims(bound, sizeof bound, output->dims, info->rank),
                      lathe_format_dims(actual, sizeof actual, output->run_dims, info->rank));
  }
  /* What the run will ask for fits the room or is refused then. */
  uint64_t bytes = output->from_run ? output->room : output->bytes;
  if (output->place == LATHE_OUTPUT_MEMORY && output->room < bytes) {
    return lathe_fail(LATHE_ERROR_SHAPE, "output \"%s\" needs %llu bytes, but %llu are bound", name,
                      (unsigned long long)output->bytes, (unsigned long long)output->room);
  }
  const int64_t shared = lathe_table_shared_input(session->model->table, index);
  for (uint32_t i = 0; i < session->model->table->input_count; ++i) {
    const struct lathe_bound_input *input = &session->inputs[i];
    if (i == shared && !output->from_run && output->data == input->data && bytes == input->bytes) {
      continue;
    }
    if (!input->copied && overlap(output->data, bytes, input->data, input->bytes)) {
      const char *other = name_at(session, lathe_model_inputs(session->model)[i].name);
      return i == shared
                 ? lathe_fail(LATHE_ERROR_ARGUMENT,
                              "output \"%s\" has %llu bytes and may lie in memory of input \"%s\" only where "
                              "that begins and if it has as many, not %llu",
                              name, (unsigned long long)bytes, other, (unsigned long long)input->bytes)
                 : lathe_fail(LATHE_ERROR_ARGUMENT, "output \"%s\" is bound to memory of input \"%s\"", name,
                              other);
    }
  }
  for (uint32_t i = 0; i < index; ++i) {
    const struct lathe_bound_output *other = &session->outputs[i];
    uint64_t other_bytes = other->from_run ? other->room : other->bytes;
    if (other->place != LATHE_OUTPUT_OWN && overlap(output->data, bytes, other->data, other_bytes)) {
      return lathe_fail(LATHE_ERROR_ARGUMENT, "output \"%s\" is bound to memory of output \"%s\"", name,
                        name_at(session, lathe_model_outputs(session->model)[i].name));
    }
  }
  return LATHE_OK;
}

/* Adds a piece to a sum of pieces aligned to 64 bytes; false when it wraps. */
static bool add_piece(uint64_t *total, uint64_t bytes, uint64_t *offset) {
  *offset = *total;
  return !__builtin_add_overflow(*total, (bytes + 63) & ~UINT64_C(63), total) && *total <= PTRDIFF_MAX;
}

lathe_error_code lathe_session_place(lathe_session_t *session) {
  if (!session->places_dirty) {
    return LATHE_OK;
  }
  const struct lathe_table *table = session->model->table;
  uint64_t results = 0, copies = 0, offset;
  lathe_error_code code;
  for (uint32_t i = 0; i < table->output_count; ++i) {
    struct lathe_bound_output *output = &session->outputs[i];
    if (output->place != LATHE_OUTPUT_OWN) {
      if ((code = check_output(session, i))) {
        return code;
      }
    } else if (!output->from_run && !add_piece(&results, output->bytes, &offset)) {
      return lathe_fail(LATHE_ERROR_MEMORY, "the outputs would fit no memory");
    }
  }
  for (uint32_t i = 0; i < table->input_count; ++i) {
    if (session->inputs[i].copied &&
        !add_piece(&copies, session->inputs[i].bytes, &session->inputs[i].copy_offset)) {
      return lathe_fail(LATHE_ERROR_MEMORY, "the inputs would fit no memory");
    }
  }
  /* At least a byte each, so that no pointer is null. */
  uint64_t arena = session->cuda ? 0 : (uint64_t)session->arena_bytes + 64;
  if ((code = lathe_session_grow(session, &session->arena, arena, /*keep=*/0, "the arena")) ||
      (code = lathe_session_grow(session, &session->results, results + 64, /*keep=*/0, "the outputs")) ||
      (code =
           lathe_session_grow(session, &session->copies, copies, /*keep=*/0, "copies of strided inputs"))) {
    return code;
  }
  results = 0;
  for (uint32_t i = 0; i < table->output_count; ++i) {
    struct lathe_bound_output *output = &session->outputs[i];
    session->output_pointers[i] = output->data;
    if (output->from_run) {
      session->output_pointers[i] = NULL; /* the run asks for it */
    } else if (output->place == LATHE_OUTPUT_OWN) {
      add_piece(&results, output->bytes, &offset);
      session->output_pointers[i] = session->results.data + offset;
    }
  }
  for (uint32_t i = 0; i < table->input_count; ++i) {
    const struct lathe_bound_input *input = &session->inputs[i];
    session->input_pointers[i] = input->copied ? session->copies.data + input->copy_offset : input->data;
  }
  if (session->cuda && (code = lathe_cuda_place(session))) {
    return code;
  }
  session->places_dirty = false;
  return LATHE_OK;
}

/* -- Strided inputs
 * ------------------------------------------------------------------------------------------ */

static void copy_row(uint8_t *to, const uint8_t *from, int64_t count, int64_t stride, size_t element) {
  if (stride == 1) {
    memcpy(to, from, (size_t)count * element);
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    memcpy(to + (size_t)i * element, from + i * stride * (int64_t)element, element);
  }
}

static void copy_strided(uint8_t *to, const struct lathe_bound_input *input, uint32_t rank, size_t element) {
  enum { MAX_RANK = 64 }; /* of any value: the table was checked */
  int64_t index[MAX_RANK] = {0};
  const uint8_t *from = input->data;
  if (rank == 0) {
    memcpy(to, from, element);
    return;
  }
  int64_t row = input->dims[rank - 1];
  for (;;) {
    copy_row(to, from, row, input->strides[rank - 1], element);
    to += (size_t)row * element;
    uint32_t k = rank - 1;
    for (; k-- > 0;) {
      from += input->strides[k] * (int64_t)element;
      if (++index[k] < input->dims[k]) {
        break;
      }
      from -= input->strides[k] * input->dims[k] * (int64_t)element;
      index[k] = 0;
    }
    if (k == UINT32_MAX) {
      return;
    }
  }
}

void lathe_session_copy_inputs(lathe_session_t *session) {
  const struct lathe_value_info *infos = lathe_model_inputs(session->model);
  for (uint32_t i = 0; i < session->model->table->input_count; ++i) {
    const struct lathe_bound_input *input = &session->inputs[i];
    if (input->copied && input->bytes) {
      copy_strided(session->copies.data + input->copy_offset, input, infos[i].rank,
                   lathe_dtype_bytes(infos[i].dtype));
    }
  }
}
