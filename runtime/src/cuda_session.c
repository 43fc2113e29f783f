/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/* Runs on a device: where everything lies there, and copies. */
#include "cuda.h"

#include <stdio.h>
#include <string.h>

/* -- Create and close -------------------------------------------------------------------------- */

static size_t block_bytes(const struct lathe_table *table) {
  return sizeof(struct lathe_cuda_session) +
         (table->input_count + table->output_count) * sizeof(lathe_cu_address) +
         LATHE_CUDA_GRAPHS * lathe_cuda_key_count(table) * sizeof(uint64_t) +
         table->kernel_count * sizeof(int32_t);
}

static lathe_error_code make_stream(lathe_session_t *session) {
  struct lathe_cuda_session *cuda = session->cuda;
  const struct lathe_cuda_model *model = session->model->cuda;
  int result = model->driver->stream_create(&cuda->stream, 0);
  if (!result && session->record_room) {
    (void)((result = model->driver->event_create(&cuda->begin, 0)) ||
           (result = model->driver->event_create(&cuda->end, 0)));
  }
  if (result) {
    return lathe_cuda_fail(model->driver, result, "", "no stream on device %u, %s", model->ordinal,
                           model->device_name);
  }
  return lathe_cuda_grow(session->model, &cuda->faults,
                         session->model->table->kernel_count * sizeof(int32_t) + 4, "a session");
}

static lathe_error_code make_scratch(lathe_session_t *session) {
  struct lathe_cuda_session *cuda = session->cuda;
  const struct lathe_cuda_model *model = session->model->cuda;
  uint64_t bytes = lathe_table_device_scratch(session->model->table);
  lathe_error_code code = lathe_cuda_grow(session->model, &cuda->scratch, bytes, "what kernels work with");
  int result = code || !bytes ? LATHE_CU_SUCCESS
                              : model->driver->fill_async(cuda->scratch.address, 0, bytes / sizeof(int32_t),
                                                          cuda->stream);
  return result ? lathe_cuda_fail(model->driver, result, "",
                                  "what kernels work with on device %u, %s, cannot "
                                  "be cleared",
                                  model->ordinal, model->device_name)
                : code;
}

lathe_error_code lathe_cuda_session_create(lathe_session_t *session, uint64_t flags) {
  const struct lathe_table *table = session->model->table;
  size_t bytes = block_bytes(table);
  struct lathe_cuda_session *cuda =
      lathe_allocate(&session->allocator, bytes, _Alignof(struct lathe_cuda_session));
  if (!cuda) {
    return lathe_fail(LATHE_ERROR_MEMORY, "no memory for a session (%zu bytes)", bytes);
  }
  memset(cuda, 0, bytes);
  cuda->bytes = bytes;
  cuda->flags = flags;
  cuda->input_addresses = (lathe_cu_address *)(cuda + 1);
  cuda->output_addresses = cuda->input_addresses + table->input_count;
  uint64_t *keys = cuda->output_addresses + table->output_count;
  for (uint32_t i = 0; i < LATHE_CUDA_GRAPHS; ++i, keys += lathe_cuda_key_count(table)) {
    cuda->graphs[i].key = keys;
  }
  cuda->fault_words = (int32_t *)keys;
  session->cuda = cuda;
  lathe_error_code code = lathe_cuda_enter(session->model);
  if (!code) {
    code = make_stream(session);
    if (!code) {
      code = make_scratch(session);
    }
    lathe_cuda_leave(session->model);
  }
  return code;
}

void lathe_cuda_session_close(lathe_session_t *session) {
  struct lathe_cuda_session *cuda = session->cuda;
  if (!cuda) {
    return;
  }
  const struct lathe_cuda_model *model = session->model->cuda;
  const struct lathe_cuda_buffer *buffers[] = {&cuda->arena, &cuda->values, &cuda->faults, &cuda->scratch};
  /* A device that failed gives errors here; there is nothing left to do about them. */
  if (model->driver->context_push(model->context) == LATHE_CU_SUCCESS) {
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; ++i) {
      if (buffers[i]->address) {
        model->driver->release(buffers[i]->address);
      }
    }
    lathe_cuda_release_graphs(session);
    if (cuda->begin) {
      model->driver->event_destroy(cuda->begin);
    }
    if (cuda->end) {
      model->driver->event_destroy(cuda->end);
    }
    if (cuda->stream) {
      model->driver->stream_destroy(cuda->stream);
    }
    lathe_cuda_leave(session->model);
  }
  session->cuda = NULL;
  lathe_release(&session->allocator, cuda, cuda->bytes);
}

uint64_t lathe_cuda_session_memory(const lathe_session_t *session) {
  const struct lathe_cuda_session *cuda = session->cuda;
  return cuda ? cuda->arena.bytes + cuda->values.bytes + cuda->faults.bytes + cuda->scratch.bytes : 0;
}

/* -- Places ------------------------------------------------------------------------------------ */

lathe_error_code lathe_cuda_locate(const lathe_session_t *session, const char *what, const char *name,
                                   const void *data, bool *on_device) {
  *on_device = false;
  if (!session->cuda || !data) {
    return LATHE_OK;
  }
  const struct lathe_cuda_model *cuda = session->model->cuda;
  lathe_error_code code = lathe_cuda_enter(session->model);
  if (code) {
    return code;
  }
  unsigned type = 0, device = 0;
  int attributes[] = {LATHE_CU_POINTER_MEMORY_TYPE, LATHE_CU_POINTER_DEVICE};
  void *values[] = {&type, &device};
  int result = cuda->driver->pointer_attributes(2, attributes, values, (uintptr_t)data);
  if (result) {
    code = lathe_cuda_fail(cuda->driver, result, "", "%s \"%s\": the CUDA driver does not tell where it lies",
                           what, name);
  } else if (type == LATHE_CU_MEMORY_DEVICE) {
    *on_device = true;
    code = device == cuda->ordinal
               ? LATHE_OK
               : lathe_fail(LATHE_ERROR_ARGUMENT, "%s \"%s\" lies on device %u, but the model on device %u",
                            what, name, device, cuda->ordinal);
  }
  lathe_cuda_leave(session->model);
  return code;
}

/* The next piece of a buffer that begins at `base`. */
static lathe_cu_address take(lathe_cu_address base, uint64_t *at, uint64_t bytes) {
  const uint64_t alignment = 256; /* of the driver's own allocations */
  lathe_cu_address piece = base + *at;
  *at += (bytes + alignment - 1) / alignment * alignment;
  return piece;
}

/* Whether kernels can work on a tensor of the caller's where it lies: on the device, at an address as they
 * expect it. */
static bool is_usable(bool on_device, const void *data) {
  enum { ALIGNMENT = 16 }; /* kernels access so many bytes at once */
  return on_device && (uintptr_t)data % ALIGNMENT == 0;
}

/* Gives every input and output its address, with pieces from `base` on, and returns the bytes of all. */
static uint64_t place_values(lathe_session_t *session, lathe_cu_address base) {
  struct lathe_cuda_session *cuda = session->cuda;
  const struct lathe_table *table = session->model->table;
  uint64_t at = 0;
  for (uint32_t i = 0; i < table->input_count; ++i) {
    const struct lathe_bound_input *input = &session->inputs[i];
    cuda->input_addresses[i] =
        is_usable(input->on_device, input->data) ? (uintptr_t)input->data : take(base, &at, input->bytes);
  }
  for (uint32_t i = 0; i < table->output_count; ++i) {
    const struct lathe_bound_output *output = &session->outputs[i];
    cuda->output_addresses[i] =
        is_usable(output->on_device, output->data) ? (uintptr_t)output->data : take(base, &at, output->bytes);
  }
  return at;
}

lathe_error_code lathe_cuda_place(lathe_session_t *session) {
  struct lathe_cuda_session *cuda = session->cuda;
  for (uint32_t i = 0; i < session->model->table->output_count; ++i) {
    if (session->outputs[i].from_run) {
      return lathe_fail(LATHE_ERROR_INTERNAL, "the shape of an output depends on data, which no code for a "
                                              "device gives");
    }
  }
  lathe_error_code code = lathe_cuda_enter(session->model);
  if (code) {
    return code;
  }
  /* A byte at least, so that no address is null. */
  uint64_t values = place_values(session, 0);
  if (!(code =
            lathe_cuda_grow(session->model, &cuda->arena, (uint64_t)session->arena_bytes + 1, "the arena"))) {
    code = lathe_cuda_grow(session->model, &cuda->values, values + 1, "inputs and outputs");
  }
  lathe_cuda_leave(session->model);
  if (!code) {
    place_values(session, cuda->values.address);
  }
  return code;
}

/* -- Run --------------------------------------------------------------------------------------- */

/* To where kernels read it, unless they read it where it lies. */
static int copy_input(const lathe_session_t *session, uint32_t i, const struct lathe_bound_input *input) {
  const struct lathe_cuda_session *cuda = session->cuda;
  const struct lathe_cuda_driver *driver = session->model->cuda->driver;
  lathe_cu_address to = cuda->input_addresses[i];
  if (!input->on_device) {
    return driver->copy_in_async(to, session->input_pointers[i], input->bytes, cuda->stream);
  }
  lathe_cu_address from = (uintptr_t)input->data;
  return to == from ? LATHE_CU_SUCCESS : driver->copy_within_async(to, from, input->bytes, cuda->stream);
}

/* From where kernels write it. */
static int copy_output(const lathe_session_t *session, uint32_t i, const struct lathe_bound_output *output) {
  const struct lathe_cuda_session *cuda = session->cuda;
  const struct lathe_cuda_driver *driver = session->model->cuda->driver;
  lathe_cu_address from = cuda->output_addresses[i];
  if (!output->on_device) {
    return driver->copy_out_async(session->output_pointers[i], from, output->bytes, cuda->stream);
  }
  lathe_cu_address to = (uintptr_t)output->data;
  return to == from ? LATHE_CU_SUCCESS : driver->copy_within_async(to, from, output->bytes, cuda->stream);
}

static lathe_error_code copy_in(lathe_session_t *session) {
  struct lathe_cuda_session *cuda = session->cuda;
  const lathe_model_t *model = session->model;
  const struct lathe_cuda_driver *driver = model->cuda->driver;
  int result = driver->fill_async(cuda->faults.address, 0, model->table->kernel_count + 1, cuda->stream);
  if (result) {
    return lathe_cuda_fail(driver, result, "", "a run on device %u, %s, cannot begin", model->cuda->ordinal,
                           model->cuda->device_name);
  }
  for (uint32_t i = 0; i < model->table->input_count; ++i) {
    const struct lathe_bound_input *input = &session->inputs[i];
    if (input->bytes && (result = copy_input(session, i, input))) {
      return lathe_cuda_fail(driver, result, "", "input \"%s\" cannot be copied to device %u, %s",
                             (const char *)lathe_model_at(model, lathe_model_inputs(model)[i].name),
                             model->cuda->ordinal, model->cuda->device_name);
    }
  }
  return LATHE_OK;
}

static int copy_out(lathe_session_t *session) {
  struct lathe_cuda_session *cuda = session->cuda;
  const lathe_model_t *model = session->model;
  const struct lathe_cuda_driver *driver = model->cuda->driver;
  uint64_t fault_bytes = model->table->kernel_count * sizeof(int32_t);
  int result =
      fault_bytes ? driver->copy_out_async(cuda->fault_words, cuda->faults.address, fault_bytes, cuda->stream)
                  : LATHE_CU_SUCCESS;
  for (uint32_t i = 0; !result && i < model->table->output_count; ++i) {
    const struct lathe_bound_output *output = &session->outputs[i];
    if (output->bytes) {
      result = copy_output(session, i, output);
    }
  }
  return result;
}

/* What the kernels left, or 0. */
static int32_t device_fault(const lathe_session_t *session) {
  for (uint32_t i = 0; i < session->model->table->kernel_count; ++i) {
    if (session->cuda->fault_words[i]) {
      return lathe_fault_in((int32_t)i, session->cuda->fault_words[i] & 255);
    }
  }
  return LATHE_FAULT_NONE;
}

/* Until the stream is empty: the caller's memory is not touched afterwards, whatever went wrong. */
static lathe_error_code run_and_wait(lathe_session_t *session, struct lathe_call *call, int32_t *fault) {
  struct lathe_cuda_session *cuda = session->cuda;
  const struct lathe_cuda_model *device = session->model->cuda;
  lathe_error_code code = copy_in(session);
  if (!code) {
    code = lathe_cuda_execute(session, call, fault);
  }
  int result = !code && !*fault ? copy_out(session) : LATHE_CU_SUCCESS;
  int waited = device->driver->stream_wait(cuda->stream);
  result = result ? result : waited;
  if (!result || code) {
    return code;
  }
  /* Launches do not wait, so that what went wrong in a kernel is told by what comes after it. */
  return lathe_cuda_fail(device->driver, result, "",
                         "device %u, %s, failed in a run of model \"%s\" (`lathe profile`, or a session "
                         "with LATHE_DEVICE_WAIT, tells in which kernel)",
                         device->ordinal, device->device_name,
                         (const char *)lathe_model_at(session->model, session->model->table->name));
}

lathe_error_code lathe_cuda_run(lathe_session_t *session, struct lathe_call *call) {
  struct lathe_cuda_session *cuda = session->cuda;
  lathe_error_code code = lathe_cuda_upload(session->model);
  if (code || (code = lathe_cuda_enter(session->model))) {
    return code;
  }
  call->inputs = (const void *const *)cuda->input_addresses;
  call->outputs = (void *const *)cuda->output_addresses;
  call->arena = (void *)cuda->arena.address;
  /* Those before the first one that the device has are not read. */
  call->weights =
      (const uint8_t *)(session->model->cuda->weights - lathe_table_device_weights(session->model->table));
  int32_t fault = LATHE_FAULT_NONE;
  code = run_and_wait(session, call, &fault);
  lathe_cuda_leave(session->model);
  if (code) {
    return code;
  }
  if (fault || (fault = device_fault(session))) {
    return lathe_session_fault(session, fault);
  }
  if (session->deadline_ns && lathe_now_ns() > session->deadline_ns) {
    return lathe_fail(LATHE_ERROR_DEADLINE, "the run took longer than its timeout of %lld us",
                      (long long)(session->timeout_ns / 1000));
  }
  return LATHE_OK;
}
