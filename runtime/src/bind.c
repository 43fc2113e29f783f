/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/* Binding tensors: everything that can be checked without the other inputs is checked here. */
#include "cuda.h"
#include "lathe/dlpack.h"

#include <stdio.h>
#include <string.h>

static const char *input_name(const lathe_session_t *session, size_t index) {
  return lathe_model_at(session->model, lathe_model_inputs(session->model)[index].name);
}

static const char *output_name(const lathe_session_t *session, size_t index) {
  return lathe_model_at(session->model, lathe_model_outputs(session->model)[index].name);
}

const char *lathe_format_dims(char *text, size_t size, const int64_t *dims, uint32_t rank) {
  size_t at = 0;
  snprintf(text, size, "scalar");
  for (uint32_t i = 0; i < rank && at < size; ++i) {
    int n = snprintf(text + at, size - at, i ? "x%lld" : "%lld", (long long)dims[i]);
    at += n > 0 ? (size_t)n : 0;
  }
  return text;
}

/* The bytes of a dense tensor; false when they do not fit any memory. */
static bool dense_bytes(const int64_t *dims, uint32_t rank, uint64_t element, uint64_t *bytes) {
  uint64_t total = element;
  for (uint32_t i = 0; i < rank; ++i) {
    if (dims[i] == 0) {
      *bytes = 0;
      return true;
    }
  }
  for (uint32_t i = 0; i < rank; ++i) {
    if (__builtin_mul_overflow(total, (uint64_t)dims[i], &total) || total > PTRDIFF_MAX) {
      return false;
    }
  }
  *bytes = total;
  return true;
}

/* Whether strides are those of a dense row-major tensor; dimensions of 1 may have any. */
static bool is_dense(const lathe_tensor *tensor, uint64_t bytes) {
  int64_t expected = 1;
  if (!tensor->strides || bytes == 0) {
    return true;
  }
  for (uint32_t i = tensor->rank; i-- > 0;) {
    if (tensor->dims[i] != 1 && tensor->strides[i] != expected) {
      return false;
    }
    expected *= tensor->dims[i];
  }
  return true;
}

/* What inputs and outputs have in common. `what` is "input" or "output". */
static lathe_error_code check_tensor(const struct lathe_value_info *info, const char *what, const char *name,
                                     const lathe_tensor *tensor, uint64_t *bytes) {
  if (tensor->dtype != info->dtype) {
    const char *given = lathe_dtype_name(tensor->dtype);
    return lathe_fail(LATHE_ERROR_TYPE, "%s \"%s\" is bound as %s, but the model has %s", what, name,
                      given ? given : "an unknown element type", lathe_dtype_name(info->dtype));
  }
  if (tensor->rank != info->rank) {
    return lathe_fail(LATHE_ERROR_SHAPE, "%s \"%s\" is bound with %u dimensions, but the model has %u", what,
                      name, tensor->rank, info->rank);
  }
  if (tensor->rank && !tensor->dims) {
    return lathe_fail(LATHE_ERROR_ARGUMENT, "%s \"%s\": dims is null", what, name);
  }
  for (uint32_t i = 0; i < tensor->rank; ++i) {
    if (tensor->dims[i] < 0) {
      return lathe_fail(LATHE_ERROR_SHAPE, "%s \"%s\": dimension %u is %lld", what, name, i,
                        (long long)tensor->dims[i]);
    }
  }
  if (!dense_bytes(tensor->dims, tensor->rank, lathe_dtype_bytes(info->dtype), bytes)) {
    char text[256];
    return lathe_fail(LATHE_ERROR_SHAPE, "%s \"%s\": %s elements fit no memory", what, name,
                      lathe_format_dims(text, sizeof text, tensor->dims, tensor->rank));
  }
  if (*bytes && !tensor->data) {
    return lathe_fail(LATHE_ERROR_ARGUMENT, "%s \"%s\": data is null", what, name);
  }
  return LATHE_OK;
}

void lathe_session_release_owner(struct lathe_bound_input *input) {
  if (input->owner && input->owner->deleter) {
    input->owner->deleter(input->owner);
  }
  input->owner = NULL;
}

lathe_error_code lathe_session_bind_input(lathe_session_t *session, size_t index,
                                          const lathe_tensor *tensor) {
  if (!session || !tensor) {
    return lathe_fail(LATHE_ERROR_ARGUMENT, "the %s is null", session ? "tensor" : "session");
  }
  const struct lathe_table *table = session->model->table;
  if (index >= table->input_count) {
    return lathe_fail(LATHE_ERROR_ARGUMENT, "there is no input %td, the model has %u", (ptrdiff_t)index,
                      table->input_count);
  }
  const struct lathe_value_info *info = &lathe_model_inputs(session->model)[index];
  uint64_t bytes;
  lathe_error_code code = check_tensor(info, "input", input_name(session, index), tensor, &bytes);
  if (code) {
    return code;
  }
  const int64_t *wanted = lathe_model_at(session->model, info->dims);
  for (uint32_t i = 0; i < info->rank; ++i) {
    if (wanted[i] >= 0 && wanted[i] != tensor->dims[i]) {
      return lathe_fail(LATHE_ERROR_SHAPE, "input \"%s\": dimension %u is %lld, but the model has %lld",
                        input_name(session, index), i, (long long)tensor->dims[i], (long long)wanted[i]);
    }
  }
  struct lathe_bound_input *input = &session->inputs[index];
  bool misaligned = bytes && (uintptr_t)tensor->data % lathe_dtype_bytes(info->dtype);
  bool copied = misaligned || !is_dense(tensor, bytes), on_device;
  if ((code = lathe_cuda_locate(session, "input", input_name(session, index), bytes ? tensor->data : NULL,
                                &on_device))) {
    return code;
  }
  if (on_device && copied) {
    return lathe_fail(LATHE_ERROR_SHAPE,
                      "input \"%s\" lies on a device, where it must be dense, row-major and aligned to its "
                      "element",
                      input_name(session, index));
  }
  /* The same memory and shape again, as in a loop that refills its buffers, leaves everything as it is. */
  bool same = input->bound && !copied && !input->copied && input->on_device == on_device &&
              (input->data == tensor->data || !bytes) &&
              (info->rank == 0 || memcmp(input->dims, tensor->dims, info->rank * sizeof(int64_t)) == 0);
  lathe_session_release_owner(input);
  if (same) {
    return LATHE_OK;
  }
  int64_t stride = 1;
  for (uint32_t i = info->rank; i-- > 0; stride *= tensor->dims[i]) {
    input->strides[i] = tensor->strides ? tensor->strides[i] : stride;
    input->dims[i] = tensor->dims[i];
  }
  /* Kernels get no null pointer, even where there is nothing to read. */
  input->data = bytes ? tensor->data : session;
  input->bytes = bytes;
  input->copied = copied;
  input->on_device = on_device;
  input->bound = true;
  session->inputs_dirty = session->places_dirty = true;
  return LATHE_OK;
}

/* ONNX's number of a DLPack type, or 0. */
static uint32_t dtype_of(DLDataType type) {
  static const struct {
    uint8_t code, bits, dtype;
  } known[] = {
      {kDLFloat, 32, LATHE_FLOAT32},
      {kDLFloat, 64, LATHE_FLOAT64},
      {kDLFloat, 16, LATHE_FLOAT16},
      {kDLBfloat, 16, LATHE_BFLOAT16},
      {kDLInt, 8, LATHE_INT8},
      {kDLInt, 16, LATHE_INT16},
      {kDLInt, 32, LATHE_INT32},
      {kDLInt, 64, LATHE_INT64},
      {kDLUInt, 8, LATHE_UINT8},
      {kDLUInt, 16, LATHE_UINT16},
      {kDLUInt, 32, LATHE_UINT32},
      {kDLUInt, 64, LATHE_UINT64},
      {kDLBool, 8, LATHE_BOOL},
      {kDLComplex, 64, LATHE_COMPLEX64},
      {kDLComplex, 128, LATHE_COMPLEX128},
      /* Narrower elements are packed there, which strides do not know of. */
      {kDLFloat8_e4m3fn, 8, LATHE_FLOAT8E4M3FN},
      {kDLFloat8_e4m3fnuz, 8, LATHE_FLOAT8E4M3FNUZ},
      {kDLFloat8_e5m2, 8, LATHE_FLOAT8E5M2},
      {kDLFloat8_e5m2fnuz, 8, LATHE_FLOAT8E5M2FNUZ},
      {kDLFloat8_e8m0fnu, 8, LATHE_FLOAT8E8M0},
  };
  for (size_t i = 0; i < sizeof known / sizeof *known; ++i) {
    if (known[i].code == type.code && known[i].bits == type.bits && type.lanes == 1) {
      return known[i].dtype;
    }
  }
  return 0;
}

lathe_error_code lathe_session_bind_input_dlpack(lathe_session_t *session, size_t index,
                                                 struct DLManagedTensor *managed) {
  if (!session || !managed) {
    return lathe_fail(LATHE_ERROR_ARGUMENT, "the %s is null", session ? "tensor" : "session");
  }
  const DLTensor *given = &managed->dl_tensor;
  bool on_device = given->device.device_type == kDLCUDA && session->cuda;
  if (given->device.device_type != kDLCPU && given->device.device_type != kDLCUDAHost && !on_device) {
    return lathe_fail(LATHE_ERROR_ARGUMENT, "the tensor is on device type %d, not in the processor's memory",
                      (int)given->device.device_type);
  }
  if (given->ndim < 0) {
    return lathe_fail(LATHE_ERROR_SHAPE, "the tensor has %d dimensions", (int)given->ndim);
  }
  lathe_tensor tensor = {.data = given->data ? (char *)given->data + given->byte_offset : NULL,
                         .dtype = dtype_of(given->dtype),
                         .rank = (uint32_t)given->ndim,
                         .dims = given->shape,
                         .strides = given->strides};
  lathe_error_code code = lathe_session_bind_input(session, index, &tensor);
  if (!code) {
    session->inputs[index].owner = managed;
  }
  return code;
}

static lathe_error_code check_output_index(const lathe_session_t *session, size_t index) {
  if (!session) {
    return lathe_fail(LATHE_ERROR_ARGUMENT, "the session is null");
  }
  if (index >= session->model->table->output_count) {
    return lathe_fail(LATHE_ERROR_ARGUMENT, "there is no output %td, the model has %u", (ptrdiff_t)index,
                      session->model->table->output_count);
  }
  return LATHE_OK;
}

static lathe_error_code check_output_alignment(const lathe_session_t *session, size_t index,
                                               const void *data) {
  uint32_t dtype = lathe_model_outputs(session->model)[index].dtype;
  if ((uintptr_t)data % lathe_dtype_bytes(dtype)) {
    return lathe_fail(LATHE_ERROR_ARGUMENT,
                      "output \"%s\": the address is not a multiple of %zu, the size of %s",
                      output_name(session, index), lathe_dtype_bytes(dtype), lathe_dtype_name(dtype));
  }
  return LATHE_OK;
}

lathe_error_code lathe_session_bind_output(lathe_session_t *session, size_t index,
                                           const lathe_tensor *tensor) {
  lathe_error_code code = check_output_index(session, index);
  if (code) {
    return code;
  }
  if (!tensor) {
    return lathe_fail(LATHE_ERROR_ARGUMENT, "the tensor is null");
  }
  const struct lathe_value_info *info = &lathe_model_outputs(session->model)[index];
  uint64_t bytes;
  if ((code = check_tensor(info, "output", output_name(session, index), tensor, &bytes)) ||
      (code = check_output_alignment(session, index, bytes ? tensor->data : NULL))) {
    return code;
  }
  if (!is_dense(tensor, bytes)) {
    return lathe_fail(LATHE_ERROR_SHAPE,
                      "output \"%s\": its strides are not those of a dense row-major tensor",
                      output_name(session, index));
  }
  bool on_device;
  if ((code = lathe_cuda_locate(session, "output", output_name(session, index), bytes ? tensor->data : NULL,
                                &on_device))) {
    return code;
  }
  struct lathe_bound_output *output = &session->outputs[index];
  for (uint32_t i = 0; i < info->rank; ++i) {
    output->dims[i] = tensor->dims[i];
  }
  output->on_device = on_device;
  output->data = bytes ? tensor->data : session;
  output->room = bytes;
  output->place = LATHE_OUTPUT_TENSOR;
  session->places_dirty = true;
  return LATHE_OK;
}

lathe_error_code lathe_session_bind_output_memory(lathe_session_t *session, size_t index, void *data,
                                                  size_t bytes) {
  lathe_error_code code = check_output_index(session, index);
  if (code || (code = check_output_alignment(session, index, data))) {
    return code;
  }
  if (!data) {
    return lathe_fail(LATHE_ERROR_ARGUMENT, "output \"%s\": data is null", output_name(session, index));
  }
  bool on_device;
  if ((code = lathe_cuda_locate(session, "output", output_name(session, index), data, &on_device))) {
    return code;
  }
  struct lathe_bound_output *output = &session->outputs[index];
  output->on_device = on_device;
  output->data = data;
  output->room = bytes;
  output->place = LATHE_OUTPUT_MEMORY;
  session->places_dirty = true;
  return LATHE_OK;
}

lathe_error_code lathe_session_unbind_output(lathe_session_t *session, size_t index) {
  lathe_error_code code = check_output_index(session, index);
  if (!code) {
    session->outputs[index].data = NULL;
    session->outputs[index].on_device = false;
    session->outputs[index].place = LATHE_OUTPUT_OWN;
    session->places_dirty = true;
  }
  return code;
}
