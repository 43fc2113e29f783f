/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/* A model on a device: which image of its kernels, and its weights. */
#define _GNU_SOURCE
#include "cuda.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* -- Devices ----------------------------------------------------------------------------------- */

struct device {
  const struct lathe_cuda_driver *driver;
  int device;
  uint32_t ordinal;
  int capability; /* 90 is compute capability 9.0 */
  char name[96];
};

static lathe_error_code find_device(uint64_t ordinal, struct device *device) {
  /* Of CUDA 12.0, whose PTX the compiler writes. */
  enum { MIN_VERSION = 12000 };
  lathe_error_code code = lathe_cuda_load(&device->driver);
  if (code) {
    return code;
  }
  const struct lathe_cuda_driver *driver = device->driver;
  int result, version = 0, count = 0, major = 0, minor = 0;
  if ((result = driver->init(0)) || (result = driver->device_count(&count))) {
    return lathe_cuda_fail(driver, result, "", "the CUDA driver finds no device");
  }
  if ((result = driver->driver_version(&version))) {
    return lathe_cuda_fail(driver, result, "", "the CUDA driver does not tell its version");
  }
  if (version < MIN_VERSION) {
    return lathe_fail(LATHE_ERROR_DEVICE,
                      "the CUDA driver is too old: it is for CUDA %d.%d, at least %d.%d is needed",
                      version / 1000, version % 1000 / 10, MIN_VERSION / 1000, MIN_VERSION % 1000 / 10);
  }
  if (ordinal >= (uint64_t)count) {
    return lathe_fail(LATHE_ERROR_DEVICE, "there is no device %llu, the CUDA driver has %d",
                      (unsigned long long)ordinal, count);
  }
  device->ordinal = (uint32_t)ordinal;
  if ((result = driver->device_get(&device->device, (int)ordinal)) ||
      (result = driver->device_name(device->name, sizeof device->name, device->device)) ||
      (result = driver->device_attribute(&major, LATHE_CU_CAPABILITY_MAJOR, device->device)) ||
      (result = driver->device_attribute(&minor, LATHE_CU_CAPABILITY_MINOR, device->device))) {
    return lathe_cuda_fail(driver, result, "", "device %u cannot be asked what it is", device->ordinal);
  }
  device->name[sizeof device->name - 1] = 0;
  device->capability = 10 * major + minor;
  return LATHE_OK;
}

/* -- Images ------------------------------------------------------------------------------------ */

/* How good an image is for a device; 0: it cannot run there. Code for exactly this architecture, then code
 * for an older one of the same generation, then what the driver has to compile. */
static int rank_image(const struct lathe_image_info *image, int capability) {
  enum { EXACT = 3000, SAME_GENERATION = 2000, PTX = 1000, EMULATOR = 1 };
  const char *target = image->target;
  char *end;
  if (strcmp(target, "emulator") == 0) {
    return EMULATOR; /* a device refuses it */
  }
  bool ptx = lathe_image_is_ptx(image);
  if (!ptx && strncmp(target, "sm_", 3) != 0) {
    return 0;
  }
  long number = strtol(strchr(target, '_') + 1, &end, 10);
  if (number <= 0 || number > 999) {
    return 0;
  }
  if (*end) { /* "sm_90a": features that no other architecture has */
    return number == capability ? EXACT + !ptx : 0;
  }
  if (ptx) {
    return number <= capability ? PTX + (int)number : 0;
  }
  return number / 10 == capability / 10 && number <= capability ? SAME_GENERATION + (int)number : 0;
}

/* The best image that is not in the set `tried`, or -1. */
static int best_image(const struct lathe_table *table, int capability, uint64_t tried) {
  const struct lathe_image_info *images = lathe_table_at(table, table->images);
  int best = -1, best_rank = 0;
  for (uint32_t i = 0; i < lathe_table_image_count(table); ++i) {
    int rank = tried >> i & 1 ? 0 : rank_image(&images[i], capability);
    if (rank > best_rank) {
      best = (int)i;
      best_rank = rank;
    }
  }
  return best;
}

/* What there is, for messages: "sm_80, sm_90a". */
static const char *format_images(char *text, size_t size, const struct lathe_table *table) {
  const struct lathe_image_info *images = lathe_table_at(table, table->images);
  size_t length = 0;
  text[0] = 0;
  for (uint32_t i = 0; i < lathe_table_image_count(table) && length < size; ++i) {
    int n = snprintf(text + length, size - length, "%s%s", i ? ", " : "", images[i].target);
    length += n > 0 ? (size_t)n : 0;
  }
  return text;
}

static lathe_error_code check_images(const struct lathe_table *table, const struct device *device) {
  char text[300];
  return best_image(table, device->capability, 0) >= 0
             ? LATHE_OK
             : lathe_fail(
                   LATHE_ERROR_DEVICE,
                   "device %u, %s, has compute capability %d.%d, but the artifact has code for %s only",
                   device->ordinal, device->name, device->capability / 10, device->capability % 10,
                   format_images(text, sizeof text, table));
}

lathe_error_code lathe_cuda_probe(const struct lathe_table *table, uint64_t ordinal) {
  struct device device;
  lathe_error_code code = find_device(ordinal, &device);
  return code ? code : check_images(table, &device);
}

/* Loads one image after the other, best first, until the driver takes one. */
static lathe_error_code load_image(lathe_model_t *model, const struct device *device) {
  struct lathe_cuda_model *cuda = model->cuda;
  const struct lathe_table *table = model->table;
  const struct lathe_image_info *images = lathe_table_at(table, table->images);
  lathe_error_code code = check_images(table, device);
  char refused[600] = "";
  size_t length = 0;
  uint64_t tried = 0;
  for (int i; !code && (i = best_image(table, device->capability, tried)) >= 0;) {
    char log[200] = "";
    int options[] = {LATHE_CU_JIT_ERROR_LOG, LATHE_CU_JIT_ERROR_LOG_BYTES};
    void *values[] = {log, (void *)(uintptr_t)sizeof log};
    int result =
        cuda->driver->module_load(&cuda->module, lathe_table_at(table, images[i].image), 2, options, values);
    if (result == LATHE_CU_SUCCESS) {
      cuda->image = images[i].target;
      return LATHE_OK;
    }
    cuda->module = NULL;
    if (result == LATHE_CU_OUT_OF_MEMORY) {
      return lathe_cuda_fail(cuda->driver, result, "", "no memory for the kernels on device %u, %s",
                             device->ordinal, device->name);
    }
    log[sizeof log - 1] = 0;
    tried |= UINT64_C(1) << i;
    if (length < sizeof refused) {
      int n = snprintf(refused + length, sizeof refused - length, "%s%s: %s%s%s", length ? "; " : "",
                       images[i].target, lathe_cuda_error_name(cuda->driver, result), *log ? " " : "", log);
      length += n > 0 ? (size_t)n : 0;
    }
  }
  return code ? code
              : lathe_fail(LATHE_ERROR_DEVICE,
                           "the CUDA driver loads no image of the kernels on device %u, %s, compute "
                           "capability %d.%d (%s)",
                           device->ordinal, device->name, device->capability / 10, device->capability % 10,
                           refused);
}

static lathe_error_code find_functions(lathe_model_t *model) {
  enum { DEFAULT_SHARED_BYTES = 48 << 10 }; /* more must be asked for */
  struct lathe_cuda_model *cuda = model->cuda;
  const struct lathe_device_kernel_info *infos = lathe_model_at(model, model->table->device_kernels);
  for (uint32_t i = 0; i < model->table->kernel_count; ++i) {
    if (!infos[i].entry) {
      continue;
    }
    const char *entry = lathe_model_at(model, infos[i].entry);
    const char *nodes = lathe_model_at(model, lathe_model_kernels(model)[i].nodes);
    int result = cuda->driver->module_function(&cuda->functions[i], cuda->module, entry);
    if (result) {
      return lathe_cuda_fail(cuda->driver, result, nodes, "the image %s has no kernel \"%s\"", cuda->image,
                             entry);
    }
    if (infos[i].shared_bytes > DEFAULT_SHARED_BYTES &&
        (result = cuda->driver->function_set(cuda->functions[i], LATHE_CU_FUNCTION_MAX_SHARED,
                                             (int)infos[i].shared_bytes))) {
      return lathe_cuda_fail(cuda->driver, result, nodes,
                             "kernel \"%s\" needs %u bytes of shared memory, which device %u, %s, does not "
                             "give",
                             entry, infos[i].shared_bytes, cuda->ordinal, cuda->device_name);
    }
  }
  return LATHE_OK;
}

/* -- Weights ----------------------------------------------------------------------------------- */

/* Those that kernels of a device read, a piece of the file at a time; what was copied leaves our memory: it
 * is in the file. */
static lathe_error_code copy_weights(lathe_model_t *model, lathe_cu_address to) {
  enum { PIECE = 16 << 20 };
  const struct lathe_cuda_driver *driver = model->cuda->driver;
  uint64_t first = lathe_table_device_weights(model->table), bytes = model->table->weight_bytes - first;
  const uint8_t *weights = model->weights + first;
  bool from_file = model->weights_map.data || model->library;
  for (uint64_t at = 0; at < bytes; at += PIECE) {
    uint64_t size = bytes - at < PIECE ? bytes - at : PIECE;
    int result = driver->copy_in(to + at, weights + at, size);
    if (result) {
      return lathe_cuda_fail(driver, result, "", "the weights cannot be copied to device %u, %s",
                             model->cuda->ordinal, model->cuda->device_name);
    }
    if (from_file) {
      const uintptr_t page = 4096;
      uintptr_t begin = ((uintptr_t)weights + at + page - 1) & ~(page - 1);
      uintptr_t end = ((uintptr_t)weights + at + size) & ~(page - 1);
      if (begin < end) {
        madvise((void *)begin, end - begin, MADV_DONTNEED);
      }
    }
  }
  return LATHE_OK;
}

static lathe_error_code upload(lathe_model_t *model) {
  struct lathe_cuda_model *cuda = model->cuda;
  struct lathe_cuda_buffer weights = {0, 0};
  lathe_error_code code = lathe_cuda_enter(model);
  if (code) {
    return code;
  }
  /* A byte at least, so that no address is null. */
  uint64_t bytes = model->table->weight_bytes - lathe_table_device_weights(model->table);
  code = lathe_cuda_grow(model, &weights, bytes + 1, "the weights");
  if (!code && (code = copy_weights(model, weights.address))) {
    cuda->driver->release(weights.address);
  }
  lathe_cuda_leave(model);
  cuda->weights = code ? 0 : weights.address;
  return code;
}

lathe_error_code lathe_cuda_upload(lathe_model_t *model) {
  struct lathe_cuda_model *cuda = model->cuda;
  if (atomic_load_explicit(&cuda->uploaded, memory_order_acquire)) {
    return LATHE_OK;
  }
  pthread_mutex_lock(&cuda->uploading);
  lathe_error_code code = LATHE_OK;
  if (!atomic_load_explicit(&cuda->uploaded, memory_order_relaxed) && !(code = upload(model))) {
    atomic_store_explicit(&cuda->uploaded, true, memory_order_release);
  }
  pthread_mutex_unlock(&cuda->uploading);
  return code;
}

/* -- Contexts and memory ----------------------------------------------------------------------- */

lathe_error_code lathe_cuda_enter(const lathe_model_t *model) {
  const struct lathe_cuda_model *cuda = model->cuda;
  int result = cuda->driver->context_push(cuda->context);
  return result ? lathe_cuda_fail(cuda->driver, result, "", "device %u, %s, cannot be used", cuda->ordinal,
                                  cuda->device_name)
                : LATHE_OK;
}

void lathe_cuda_leave(const lathe_model_t *model) {
  lathe_cu_context context;
  model->cuda->driver->context_pop(&context);
}

lathe_error_code lathe_cuda_grow(const lathe_model_t *model, struct lathe_cuda_buffer *buffer, uint64_t bytes,
                                 const char *what) {
  const struct lathe_cuda_model *cuda = model->cuda;
  if (bytes <= buffer->bytes) {
    return LATHE_OK;
  }
  /* The old contents are of no use to anyone: giving them back first keeps the peak low. */
  if (buffer->address) {
    cuda->driver->release(buffer->address);
    *buffer = (struct lathe_cuda_buffer){0, 0};
  }
  lathe_cu_address address = 0;
  int result = cuda->driver->allocate(&address, bytes);
  if (result) {
    size_t free = 0, total = 0;
    cuda->driver->memory_info(&free, &total);
    return lathe_cuda_fail(cuda->driver, result, "",
                           "no memory for %s (%llu bytes) on device %u, %s, which has %zu of %zu bytes free",
                           what, (unsigned long long)bytes, cuda->ordinal, cuda->device_name, free, total);
  }
  *buffer = (struct lathe_cuda_buffer){address, bytes};
  return LATHE_OK;
}

/* -- Open and close ---------------------------------------------------------------------------- */

static lathe_error_code load_kernels(lathe_model_t *model, const struct device *device) {
  lathe_error_code code = lathe_cuda_enter(model);
  if (code) {
    return code;
  }
  if (!(code = load_image(model, device))) {
    code = find_functions(model);
  }
  lathe_cuda_leave(model);
  return code;
}

lathe_error_code lathe_cuda_open(lathe_model_t *model, uint64_t ordinal) {
  struct device device;
  lathe_error_code code = find_device(ordinal, &device);
  if (code) {
    return code;
  }
  size_t kernels = model->table->kernel_count * sizeof(lathe_cu_function);
  struct lathe_cuda_model *cuda =
      lathe_allocate(&model->allocator, sizeof *cuda + kernels, _Alignof(struct lathe_cuda_model));
  if (!cuda) {
    return lathe_fail(LATHE_ERROR_MEMORY, "no memory for a model");
  }
  memset(cuda, 0, sizeof *cuda + kernels);
  pthread_mutex_init(&cuda->uploading, NULL);
  atomic_init(&cuda->uploaded, false);
  cuda->driver = device.driver;
  cuda->device = device.device;
  cuda->ordinal = device.ordinal;
  memcpy(cuda->device_name, device.name, sizeof device.name);
  cuda->functions = (lathe_cu_function *)(cuda + 1);
  model->cuda = cuda;
  int result = cuda->driver->context_retain(&cuda->context, cuda->device);
  if (result) {
    cuda->context = NULL;
    return lathe_cuda_fail(cuda->driver, result, "", "device %u, %s, cannot be used", cuda->ordinal,
                           cuda->device_name);
  }
  if ((code = load_kernels(model, &device))) {
    return code;
  }
  bool checked = atomic_load(&model->weights_state) == LATHE_WEIGHTS_GOOD;
  return checked ? lathe_cuda_upload(model) : LATHE_OK;
}

void lathe_cuda_close(lathe_model_t *model) {
  struct lathe_cuda_model *cuda = model->cuda;
  if (!cuda) {
    return;
  }
  /* A device that failed gives errors here; there is nothing left to do about them. */
  if (cuda->context && cuda->driver->context_push(cuda->context) == LATHE_CU_SUCCESS) {
    if (cuda->weights) {
      cuda->driver->release(cuda->weights);
    }
    if (cuda->module) {
      cuda->driver->module_unload(cuda->module);
    }
    lathe_cuda_leave(model);
  }
  if (cuda->context) {
    cuda->driver->context_release(cuda->device);
  }
  pthread_mutex_destroy(&cuda->uploading);
  model->cuda = NULL;
  lathe_release(&model->allocator, cuda,
                sizeof *cuda + model->table->kernel_count * sizeof(lathe_cu_function));
}
