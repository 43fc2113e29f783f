/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/* What a model says about itself. */
#include "cpu.h"
#include "model.h"

#include <string.h>

const char *lathe_version(void) { return LATHE_VERSION; }

uint64_t lathe_cpu_features(void) { return lathe_cpu_detect(); }
size_t lathe_cpu_feature_names(uint64_t features, char *text, size_t size) {
  return lathe_cpu_names(features, text, size);
}

/* Shared by everything that takes an index: `place` must point at something and the index must exist. */
static lathe_error_code check_index(const lathe_model_t *model, const void *place, size_t index,
                                    uint32_t count, const char *what) {
  if (!model || !place) {
    return lathe_fail(LATHE_ERROR_ARGUMENT, "the %s is null", model ? "result" : "model");
  }
  if (index >= count) {
    return lathe_fail(LATHE_ERROR_ARGUMENT, "there is no %s %td, the model has %u", what, (ptrdiff_t)index,
                      count);
  }
  return LATHE_OK;
}

lathe_error_code lathe_model_get_info(const lathe_model_t *model, lathe_model_info *info) {
  if (!model || !info) {
    return lathe_fail(LATHE_ERROR_ARGUMENT, "the %s is null", model ? "result" : "model");
  }
  const struct lathe_table *table = model->table;
  *info = (lathe_model_info){.name = lathe_model_at(model, table->name),
                             .variant = model->variant ? model->variant->isa : "",
                             .compiler = model->header.compiler,
                             .triple = model->header.triple,
                             .fingerprint = table->fingerprint,
                             .weight_bytes = table->weight_bytes,
                             .abi_major = table->abi_major,
                             .abi_minor = table->abi_minor,
                             .input_count = table->input_count,
                             .output_count = table->output_count,
                             .symbol_count = table->symbol_count,
                             .kernel_count = table->kernel_count,
                             .variant_count = table->variant_count,
                             .metadata_count = table->metadata_count};
  return LATHE_OK;
}

static lathe_value describe(const lathe_model_t *model, const struct lathe_value_info *info) {
  return (lathe_value){lathe_model_at(model, info->name), info->dtype, info->rank,
                       lathe_model_at(model, info->dims)};
}

lathe_error_code lathe_model_input(const lathe_model_t *model, size_t index, lathe_value *value) {
  lathe_error_code code = check_index(model, value, index, model ? model->table->input_count : 0, "input");
  if (!code) {
    *value = describe(model, &lathe_model_inputs(model)[index]);
  }
  return code;
}

size_t lathe_model_shared_input(const lathe_model_t *model, size_t output) {
  int32_t input = model && output < model->table->output_count
                      ? lathe_table_shared_input(model->table, (uint32_t)output)
                      : -1;
  return input < 0 ? SIZE_MAX : (size_t)input;
}

lathe_error_code lathe_model_output(const lathe_model_t *model, size_t index, lathe_value *value) {
  lathe_error_code code = check_index(model, value, index, model ? model->table->output_count : 0, "output");
  if (!code) {
    *value = describe(model, &lathe_model_outputs(model)[index]);
  }
  return code;
}

lathe_error_code lathe_model_symbol(const lathe_model_t *model, size_t index, lathe_symbol *symbol) {
  lathe_error_code code = check_index(model, symbol, index, model ? model->table->symbol_count : 0, "symbol");
  if (!code) {
    const struct lathe_symbol_info *info = &lathe_model_symbols(model)[index];
    *symbol = (lathe_symbol){lathe_model_at(model, info->name), info->min, info->max};
  }
  return code;
}

lathe_error_code lathe_model_kernel(const lathe_model_t *model, size_t index, lathe_kernel *kernel) {
  lathe_error_code code = check_index(model, kernel, index, model ? model->table->kernel_count : 0, "kernel");
  if (!code) {
    const struct lathe_kernel_info *info = &lathe_model_kernels(model)[index];
    *kernel = (lathe_kernel){lathe_model_at(model, info->name), lathe_model_at(model, info->nodes),
                             info->layers ? info->layers : 1};
  }
  return code;
}

lathe_error_code lathe_model_variant(const lathe_model_t *model, size_t index, lathe_variant *variant) {
  lathe_error_code code =
      check_index(model, variant, index, model ? model->table->variant_count : 0, "variant");
  if (!code) {
    const struct lathe_variant_info *variants = lathe_model_at(model, model->table->variants);
    *variant = (lathe_variant){variants[index].isa, variants[index].cpu_features};
  }
  return code;
}

lathe_error_code lathe_model_metadata(const lathe_model_t *model, size_t index, const char **key,
                                      const char **value) {
  lathe_error_code code = check_index(model, key && value ? key : NULL, index,
                                      model ? model->table->metadata_count : 0, "metadata entry");
  if (!code) {
    const struct lathe_metadata_info *items = lathe_model_at(model, model->table->metadata);
    *key = lathe_model_at(model, items[index].key);
    *value = lathe_model_at(model, items[index].value);
  }
  return code;
}

static size_t find(const lathe_model_t *model, const struct lathe_value_info *values, uint32_t count,
                   const char *name) {
  for (uint32_t i = 0; i < count && name; ++i) {
    if (strcmp(lathe_model_at(model, values[i].name), name) == 0) {
      return i;
    }
  }
  return SIZE_MAX;
}

size_t lathe_model_find_input(const lathe_model_t *model, const char *name) {
  return model ? find(model, lathe_model_inputs(model), model->table->input_count, name) : SIZE_MAX;
}

size_t lathe_model_find_output(const lathe_model_t *model, const char *name) {
  return model ? find(model, lathe_model_outputs(model), model->table->output_count, name) : SIZE_MAX;
}
