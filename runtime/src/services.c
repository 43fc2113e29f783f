/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/* The optional parts of the runtime, and calls of their functions. */
#include "session.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

/* Only these are loaded, whatever an artifact says. */
static const char *const components[LATHE_COMPONENTS] = {"image", "text"};

static lathe_error_code load_component(lathe_model_t *model, uint32_t index) {
  if (model->components[index]) {
    return LATHE_OK;
  }
  char name[64];
  snprintf(name, sizeof name, "liblathe-%s.so", components[index]);
  void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    return lathe_fail(LATHE_ERROR_COMPONENT,
                      "the model needs the component \"%s\" of the runtime, but %s cannot be loaded: %s",
                      components[index], name, dlerror());
  }
  model->component_libraries[index] = library;
  const struct lathe_component *component = dlsym(library, LATHE_COMPONENT_SYMBOL);
  if (!component || component->version != LATHE_COMPONENT_VERSION) {
    return lathe_fail(LATHE_ERROR_COMPONENT, "%s is not of this version of the runtime", name);
  }
  model->components[index] = component;
  return LATHE_OK;
}

static lathe_error_code find_service(lathe_model_t *model, const char *name, lathe_component_fn *function) {
  for (uint32_t i = 0; i < LATHE_COMPONENTS; ++i) {
    size_t length = strlen(components[i]);
    if (strncmp(name, components[i], length) != 0 || name[length] != '.') {
      continue;
    }
    lathe_error_code code = load_component(model, i);
    for (uint32_t k = 0; !code && k < model->components[i]->count; ++k) {
      if (strcmp(model->components[i]->services[k].name, name) == 0) {
        *function = model->components[i]->services[k].function;
        return LATHE_OK;
      }
    }
    if (code) {
      return code;
    }
  }
  return lathe_fail(LATHE_ERROR_COMPONENT, "the model needs \"%s\", which no component of the runtime has",
                    name);
}

lathe_error_code lathe_model_load_services(lathe_model_t *model) {
  uint32_t count = lathe_table_service_count(model->table);
  if (!count) {
    return LATHE_OK;
  }
  model->services = lathe_allocate(&model->allocator, count * sizeof *model->services, sizeof(void *));
  if (!model->services) {
    return lathe_fail(LATHE_ERROR_MEMORY, "no memory for a model");
  }
  const struct lathe_service_info *infos = lathe_model_at(model, model->table->services);
  lathe_error_code code = LATHE_OK;
  for (uint32_t i = 0; !code && i < count; ++i) {
    code = find_service(model, lathe_model_at(model, infos[i].name), &model->services[i]);
  }
  return code;
}

void lathe_model_unload_services(lathe_model_t *model) {
  if (model->services) {
    lathe_release(&model->allocator, model->services,
                  lathe_table_service_count(model->table) * sizeof *model->services);
  }
  for (uint32_t i = 0; i < LATHE_COMPONENTS; ++i) {
    if (model->component_libraries[i]) {
      dlclose(model->component_libraries[i]);
    }
  }
}

int32_t lathe_session_serve(void *context, int64_t service, const void *const *pointers,
                            const int64_t *counts) {
  lathe_session_t *session = context;
  const lathe_model_t *model = session->model;
  if (service < 0 || service >= (int64_t)lathe_table_service_count(model->table)) {
    lathe_fail(LATHE_ERROR_INTERNAL, "compiled code calls the unknown service %lld", (long long)service);
    return LATHE_FAULT_SERVICE;
  }
  const struct lathe_service_info *info =
      (const struct lathe_service_info *)lathe_model_at(model, model->table->services) + service;
  struct lathe_service_call call = {.argument = lathe_model_at(model, info->argument),
                                    .argument_bytes = info->argument_bytes,
                                    .operands = pointers,
                                    .counts = counts,
                                    .result = (void *)(uintptr_t)pointers[info->operand_count],
                                    .operand_count = info->operand_count,
                                    .texts = session,
                                    .text = lathe_session_run_text,
                                    .add = lathe_session_add_run_text};
  const char *why = model->services[service](&call);
  if (!why) {
    return LATHE_FAULT_NONE;
  }
  lathe_fail(LATHE_ERROR_DATA, "%s", why);
  return LATHE_FAULT_SERVICE;
}
