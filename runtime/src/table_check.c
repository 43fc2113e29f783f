/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/* Whether a lathe_table holds together, so that the rest of the runtime can follow it without a look. */
#include "artifact.h"

#include <stdbool.h>

/* No model has so many; they bound what a session allocates. */
enum { MAX_COUNT = 1 << 20, MAX_RANK = 64 };

struct walk {
  const struct lathe_table *table;
  const struct lathe_bounds
      *bounds; /* null: the table is linked, what it says about addresses is the linker's */
  const char *why;
};

/* The contents from `offset` to the end of the tile of that kind which holds it, or null; `room` gets their
 * size. */
static const void *reach(struct walk *walk, int64_t offset, uint32_t kind, uint64_t alignment,
                         uint64_t *room) {
  if (!walk->bounds) {
    const char *address = (const char *)walk->table + offset;
    *room = UINT64_MAX;
    return (uintptr_t)address % alignment == 0 ? address : NULL;
  }
  const struct lathe_artifact_header *header = walk->bounds->header;
  int64_t address =
      (int64_t)header->entry + offset; /* both far from the limits: an image has at most 2^47 bytes */
  if (address < 0 || (uint64_t)address % alignment) {
    return NULL;
  }
  for (uint32_t i = 0; i < header->section_count; ++i) {
    const struct lathe_artifact_section *tile = &header->sections[i];
    if (tile->kind == kind && (uint64_t)address >= tile->address &&
        (uint64_t)address - tile->address < tile->size) {
      *room = tile->size - ((uint64_t)address - tile->address);
      return lathe_elf_at(walk->bounds->view, (uint64_t)address, *room);
    }
  }
  return NULL;
}

static bool fail(struct walk *walk, const char *why) {
  walk->why = why;
  return false;
}

/* An array of `count` elements at `offset`; fine when it is empty. */
static const void *array(struct walk *walk, int32_t offset, uint64_t count, uint64_t size,
                         uint64_t alignment) {
  uint64_t room;
  const void *data = reach(walk, offset, LATHE_SECTION_CONSTANTS, alignment, &room);
  return data && count <= MAX_COUNT && count * size <= room ? data : NULL;
}

static bool check_string(struct walk *walk, int32_t offset) {
  uint64_t room;
  const char *text = reach(walk, offset, LATHE_SECTION_CONSTANTS, 1, &room);
  if (!text || (walk->bounds && !memchr(text, 0, room))) {
    return fail(walk, "a name in its table lies outside its constants");
  }
  return true;
}

static bool check_function(struct walk *walk, int32_t offset, bool optional) {
  uint64_t room;
  if ((optional && offset == 0) || (offset != 0 && reach(walk, offset, LATHE_SECTION_CODE, 1, &room))) {
    return true;
  }
  return fail(walk, "a function in its table lies outside its code");
}

static bool check_values(struct walk *walk, int32_t offset, uint32_t count, bool input,
                         uint8_t *seen_symbols) {
  const struct lathe_table *table = walk->table;
  const struct lathe_value_info *values = array(walk, offset, count, sizeof *values, 4);
  if (count && !values) {
    return fail(walk, "its list of inputs or outputs lies outside its constants");
  }
  for (uint32_t i = 0; i < count; ++i) {
    if (!check_string(walk, values[i].name)) {
      return false;
    }
    if (lathe_dtype_bytes(values[i].dtype) == 0) {
      return fail(walk, "an input or output has an unknown element type");
    }
    const int64_t *dims =
        values[i].rank <= MAX_RANK ? array(walk, values[i].dims, values[i].rank, 8, 8) : NULL;
    if (!dims && values[i].rank) {
      return fail(walk, "the dimensions of an input or output lie outside its constants");
    }
    for (uint32_t k = 0; k < values[i].rank; ++k) {
      if (dims[k] == LATHE_DIM_COMPUTED ? input : dims[k] < 0 && ~dims[k] >= (int64_t)table->symbol_count) {
        return fail(walk, "a dimension of an input or output is no symbol of the model");
      }
      if (input && dims[k] < 0) {
        seen_symbols[~dims[k]] = 1;
      }
    }
  }
  return true;
}

/* Symbols get their values from the inputs, unless they have but one. */
static bool check_symbols(struct walk *walk, const uint8_t *seen) {
  const struct lathe_table *table = walk->table;
  const struct lathe_symbol_info *symbols =
      array(walk, table->symbols, table->symbol_count, sizeof *symbols, 8);
  if (table->symbol_count && !symbols) {
    return fail(walk, "its list of symbols lies outside its constants");
  }
  for (uint32_t i = 0; i < table->symbol_count; ++i) {
    if (!check_string(walk, symbols[i].name)) {
      return false;
    }
    if (symbols[i].min < 0 || symbols[i].max < symbols[i].min) {
      return fail(walk, "a symbol has an impossible range");
    }
    if (!seen[i] && symbols[i].min != symbols[i].max) {
      return fail(walk, "a symbol is no dimension of an input");
    }
  }
  return true;
}

static bool check_kernels(struct walk *walk) {
  const struct lathe_table *table = walk->table;
  const struct lathe_kernel_info *kernels =
      array(walk, table->kernels, table->kernel_count, sizeof *kernels, 4);
  if (table->kernel_count && !kernels) {
    return fail(walk, "its list of kernels lies outside its constants");
  }
  for (uint32_t i = 0; i < table->kernel_count; ++i) {
    if (!check_string(walk, kernels[i].name) || !check_string(walk, kernels[i].nodes) ||
        !check_function(walk, kernels[i].cost, /*optional=*/true)) {
      return false;
    }
  }
  return true;
}

static bool check_shared_inputs(struct walk *walk) {
  const struct lathe_table *table = walk->table;
  if (table->bytes < sizeof *table || table->shared_inputs == 0) {
    return true;
  }
  const int32_t *inputs = array(walk, table->shared_inputs, table->output_count, sizeof *inputs, 4);
  if (!inputs) {
    return fail(walk, "its list of shared inputs lies outside its constants");
  }
  for (uint32_t i = 0; i < table->output_count; ++i) {
    if (inputs[i] < -1 || inputs[i] >= (int64_t)table->input_count) {
      return fail(walk, "an output shares the memory of no input");
    }
  }
  return true;
}

/* What the driver follows without knowing where the image ends. */
static bool check_image(struct walk *walk, const struct lathe_image_info *info) {
  uint64_t room;
  if (!memchr(info->target, 0, sizeof info->target)) {
    return fail(walk, "the name of a device image has no end");
  }
  const unsigned char *image = reach(walk, info->image, LATHE_SECTION_CONSTANTS, 8, &room);
  if (!image || info->bytes == 0 || info->bytes > room) {
    return fail(walk, "a device image lies outside its constants");
  }
  if (lathe_image_is_ptx(info)) {
    return image[info->bytes - 1] == 0 || fail(walk, "the text of a device image has no end");
  }
  Elf64_Ehdr ehdr;
  if (info->bytes < sizeof ehdr || memcmp(image, ELFMAG, SELFMAG) != 0) {
    return fail(walk, "a device image is no ELF file");
  }
  memcpy(&ehdr, image, sizeof ehdr);
  uint64_t segments = ehdr.e_phnum * (uint64_t)ehdr.e_phentsize;
  uint64_t sections = ehdr.e_shnum * (uint64_t)ehdr.e_shentsize;
  return (lathe_elf_inside(ehdr.e_phoff, segments, info->bytes) &&
          lathe_elf_inside(ehdr.e_shoff, sections, info->bytes)) ||
         fail(walk, "the headers of a device image end outside of it");
}

static bool check_images(struct walk *walk) {
  enum { MAX_IMAGES = 64 };
  const struct lathe_table *table = walk->table;
  uint32_t count = lathe_table_image_count(table);
  const struct lathe_image_info *images =
      count && count <= MAX_IMAGES ? array(walk, table->images, count, sizeof *images, 4) : NULL;
  if (count && !images) {
    return fail(walk, "its list of device images lies outside its constants");
  }
  for (uint32_t i = 0; i < count; ++i) {
    if (!check_image(walk, &images[i])) {
      return false;
    }
  }
  return true;
}

/* Bounds that hold on every device. */
static bool check_device_kernels(struct walk *walk) {
  enum { MAX_THREADS = 1024, MAX_SHARED_BYTES = 227 << 10, MAX_REGISTERS = 255, MAX_PARAMETERS = 500 };
  const struct lathe_table *table = walk->table;
  if (!lathe_table_has_device_kernels(table)) {
    return true;
  }
  const struct lathe_device_kernel_info *kernels =
      array(walk, table->device_kernels, table->kernel_count, sizeof *kernels, 4);
  if (!kernels) {
    return fail(walk, "its list of device kernels lies outside its constants");
  }
  if (lathe_table_device_weights(table) > table->weight_bytes) {
    return fail(walk, "the weights of its device kernels begin behind the last one");
  }
  for (uint32_t i = 0; i < table->kernel_count; ++i) {
    if (kernels[i].entry == 0) {
      continue;
    }
    if (!check_string(walk, kernels[i].entry)) {
      return false;
    }
    if (kernels[i].threads == 0 || kernels[i].threads > MAX_THREADS ||
        kernels[i].shared_bytes > MAX_SHARED_BYTES || kernels[i].registers > MAX_REGISTERS ||
        kernels[i].parameters > MAX_PARAMETERS) {
      return fail(walk, "a device kernel wants what no device has");
    }
  }
  return true;
}

static bool check_variants(struct walk *walk) {
  const struct lathe_table *table = walk->table;
  const struct lathe_variant_info *variants =
      array(walk, table->variants, table->variant_count, sizeof *variants, 8);
  if (table->variant_count == 0 || !variants) {
    return fail(walk, "its list of variants is empty or lies outside its constants");
  }
  if (walk->bounds && walk->bounds->header->target_count != table->variant_count) {
    return fail(walk, "its table and its header speak of different targets");
  }
  for (uint32_t i = 0; i < table->variant_count; ++i) {
    if (!memchr(variants[i].isa, 0, sizeof variants[i].isa)) {
      return fail(walk, "the name of a variant has no end");
    }
    if (lathe_variant_is_cuda(&variants[i]) &&
        (lathe_table_image_count(table) == 0 || !lathe_table_has_device_kernels(table))) {
      return fail(walk, "a variant for a device has no device images or kernels");
    }
    const struct lathe_artifact_target *target = walk->bounds ? &walk->bounds->header->targets[i] : NULL;
    if (target &&
        (strcmp(target->isa, variants[i].isa) != 0 || target->cpu_features != variants[i].cpu_features)) {
      return fail(walk, "its table and its header speak of different targets");
    }
    if (!check_function(walk, variants[i].layout, /*optional=*/false) ||
        !check_function(walk, variants[i].run, /*optional=*/false)) {
      return false;
    }
  }
  return true;
}

static bool check_places(struct walk *walk) {
  const struct lathe_table *table = walk->table;
  uint32_t count = lathe_table_place_count(table);
  const struct lathe_place_info *places = count ? array(walk, table->places, count, sizeof *places, 4) : NULL;
  if (count && !places) {
    return fail(walk, "its list of places lies outside its constants");
  }
  for (uint32_t i = 0; i < count; ++i) {
    if (!check_string(walk, places[i].nodes)) {
      return false;
    }
  }
  return true;
}

static bool check_bytes(struct walk *walk, int32_t offset, uint32_t bytes) {
  uint64_t room;
  const char *text = reach(walk, offset, LATHE_SECTION_CONSTANTS, 1, &room);
  return (text && bytes <= room) || fail(walk, "a text in its table lies outside its constants");
}

static bool check_texts(struct walk *walk) {
  const struct lathe_table *table = walk->table;
  uint32_t count = lathe_table_text_count(table);
  const struct lathe_text_info *texts = count ? array(walk, table->texts, count, sizeof *texts, 4) : NULL;
  if (count && !texts) {
    return fail(walk, "its list of texts lies outside its constants");
  }
  for (uint32_t i = 0; i < count; ++i) {
    if (!check_bytes(walk, texts[i].text, texts[i].bytes)) {
      return false;
    }
  }
  return true;
}

static bool check_services(struct walk *walk) {
  enum { MAX_OPERANDS = 16 };
  const struct lathe_table *table = walk->table;
  uint32_t count = lathe_table_service_count(table);
  const struct lathe_service_info *services =
      count ? array(walk, table->services, count, sizeof *services, 4) : NULL;
  if (count && !services) {
    return fail(walk, "its list of services lies outside its constants");
  }
  for (uint32_t i = 0; i < count; ++i) {
    if (!check_string(walk, services[i].name) ||
        !check_bytes(walk, services[i].argument, services[i].argument_bytes)) {
      return false;
    }
    if (services[i].operand_count > MAX_OPERANDS) {
      return fail(walk, "a service in its table has an impossible number of operands");
    }
  }
  return true;
}

static bool check_metadata(struct walk *walk) {
  const struct lathe_table *table = walk->table;
  const struct lathe_metadata_info *items =
      array(walk, table->metadata, table->metadata_count, sizeof *items, 4);
  if (table->metadata_count && !items) {
    return fail(walk, "its metadata lies outside its constants");
  }
  for (uint32_t i = 0; i < table->metadata_count; ++i) {
    if (!check_string(walk, items[i].key) || !check_string(walk, items[i].value)) {
      return false;
    }
  }
  return true;
}

const char *lathe_table_check(const struct lathe_table *table, const struct lathe_bounds *bounds) {
  /* One bit of "stands in an input" a symbol would be enough; models have a handful. */
  enum { MAX_SYMBOLS = 4096 };
  uint8_t seen[MAX_SYMBOLS] = {0};
  struct walk walk = {table, bounds, NULL};
  uint64_t room;
  const void *self = reach(&walk, 0, LATHE_SECTION_CONSTANTS, 8, &room);
  if (!self || room < LATHE_TABLE_MIN_BYTES) {
    return "its table lies outside its constants";
  }
  if (memcmp(table->magic, LATHE_TABLE_MAGIC, sizeof table->magic) != 0) {
    return "its table has another magic number";
  }
  if (table->abi_major != LATHE_ABI_MAJOR || table->abi_minor > LATHE_ABI_MINOR ||
      table->bytes < (table->abi_minor >= 5   ? sizeof *table
                      : table->abi_minor == 4 ? LATHE_TABLE_BYTES_1_4
                      : table->abi_minor == 3 ? LATHE_TABLE_BYTES_1_3
                      : table->abi_minor == 2 ? LATHE_TABLE_BYTES_1_2
                                              : LATHE_TABLE_MIN_BYTES)) {
    return "its table is of another runtime ABI";
  }
  if (room < table->bytes) {
    return "its table lies outside its constants";
  }
  if (table->symbol_count > MAX_SYMBOLS || table->slot_count > (1u << 24) ||
      lathe_table_buffer_count(table) > MAX_COUNT) {
    return "its table has an impossible number of symbols, slots or buffers";
  }
  if (check_string(&walk, table->name) &&
      check_values(&walk, table->inputs, table->input_count, /*input=*/true, seen) &&
      check_values(&walk, table->outputs, table->output_count, /*input=*/false, seen) &&
      check_symbols(&walk, seen) && check_kernels(&walk) && check_places(&walk) && check_variants(&walk) &&
      check_texts(&walk) && check_services(&walk) && check_metadata(&walk) && check_shared_inputs(&walk) &&
      check_images(&walk) && check_device_kernels(&walk)) {
    return NULL;
  }
  return walk.why;
}
