/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/* Finding the CUDA driver, and its errors. */
#define _GNU_SOURCE
#include "cuda_driver.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Loaded once and never unloaded: drivers start threads. */
static struct {
  pthread_once_t once;
  struct lathe_cuda_driver functions;
  char why[512]; /* it cannot be used; "": it can */
} loaded = {.once = PTHREAD_ONCE_INIT};

static void load(void) {
  static const struct {
    const char *symbol;
    size_t member;
  } functions[] = {
#define LATHE_CUDA_ENTRY(name, symbol, parameters) {#symbol, offsetof(struct lathe_cuda_driver, name)},
      LATHE_CUDA_FUNCTIONS(LATHE_CUDA_ENTRY)
#undef LATHE_CUDA_ENTRY
  };
  const char *given = secure_getenv("LATHE_CUDA_DRIVER"), *name = given && *given ? given : "libcuda.so.1";
  void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    snprintf(loaded.why, sizeof loaded.why, "the CUDA driver cannot be loaded: %s", dlerror());
    return;
  }
  for (size_t i = 0; i < sizeof functions / sizeof *functions; ++i) {
    void *function = dlsym(library, functions[i].symbol);
    if (!function) {
      snprintf(loaded.why, sizeof loaded.why, "the CUDA driver %s is too old: it has no %s", name,
               functions[i].symbol);
      return;
    }
    memcpy((char *)&loaded.functions + functions[i].member, &function, sizeof function);
  }
}

lathe_error_code lathe_cuda_load(const struct lathe_cuda_driver **driver) {
  pthread_once(&loaded.once, load);
  if (loaded.why[0]) {
    return lathe_fail(LATHE_ERROR_DEVICE, "%s", loaded.why);
  }
  *driver = &loaded.functions;
  return LATHE_OK;
}

const char *lathe_cuda_error_name(const struct lathe_cuda_driver *driver, int result) {
  const char *name = NULL;
  return driver->error_name(result, &name) == LATHE_CU_SUCCESS && name ? name : "an unknown error";
}

lathe_error_code lathe_cuda_fail(const struct lathe_cuda_driver *driver, int result, const char *nodes,
                                 const char *format, ...) {
  char what[700];
  const char *text = NULL;
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(what, sizeof what, format, arguments);
  va_end(arguments);
  if (driver->error_text(result, &text) != LATHE_CU_SUCCESS || !text) {
    text = "the driver does not say more";
  }
  return lathe_fail_at(result == LATHE_CU_OUT_OF_MEMORY ? LATHE_ERROR_MEMORY : LATHE_ERROR_DEVICE, nodes,
                       "%s: %s (%s)", what, lathe_cuda_error_name(driver, result), text);
}
