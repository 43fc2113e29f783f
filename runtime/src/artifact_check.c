/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/* Whether a file is an artifact, whole and unchanged. See container.h for what is under which sum. */
#define _GNU_SOURCE
#include "artifact.h"

#include "error.h"

#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>

/* Linux 5.14; not in the headers of every C library. */
#define MADV_POPULATE_READ_ 22

struct check {
  struct lathe_elf_view view;
  struct lathe_artifact *artifact;
  const char *name;
  unsigned flags;
};

static lathe_error_code corrupt(const struct check *check, const char *what) {
  return lathe_fail(LATHE_ERROR_CORRUPT, "\"%s\" is corrupt: %s", check->name, what);
}

static bool terminated(const char *text, size_t size) { return memchr(text, 0, size) != NULL; }

static const char *kind_name(uint32_t kind) {
  static const char *const names[] = {"",          "headers", "note",       "code",
                                      "constants", "linkage", "chunk sums", "weights"};
  return kind < sizeof names / sizeof *names ? names[kind] : "";
}

/* Reads the header note and checks what can be known from it alone. */
static lathe_error_code check_header(struct check *check) {
  struct lathe_artifact *artifact = check->artifact;
  struct lathe_artifact_header *header = &artifact->header;
  artifact->note = lathe_elf_note(&check->view);
  const unsigned char *note =
      artifact->note ? lathe_elf_at(&check->view, artifact->note, LATHE_NOTE_BYTES) : NULL;
  if (!note) {
    return lathe_fail(LATHE_ERROR_NOT_ARTIFACT, "\"%s\" is not a Lathe artifact: it has no header note",
                      check->name);
  }
  memcpy(header, note + LATHE_NOTE_PREFIX_BYTES, sizeof *header);
  if (memcmp(header->magic, LATHE_ARTIFACT_MAGIC, sizeof header->magic) != 0) {
    return lathe_fail(LATHE_ERROR_NOT_ARTIFACT,
                      "\"%s\" is not a Lathe artifact: its header has another magic number", check->name);
  }
  bool sound = lathe_crc32c(0, header, offsetof(struct lathe_artifact_header, crc)) == header->crc ||
               (check->flags & LATHE_CHECK_IGNORE_SUMS);
  if (header->container_version != LATHE_CONTAINER_VERSION) {
    return lathe_fail(LATHE_ERROR_VERSION, "\"%s\" has container version %u, this runtime reads version %u",
                      check->name, header->container_version, LATHE_CONTAINER_VERSION);
  }
  if (!sound) {
    return corrupt(check, "the checksum of its header is wrong");
  }
  if (header->abi_major != LATHE_ABI_MAJOR || header->abi_minor > LATHE_ABI_MINOR) {
    return lathe_fail(LATHE_ERROR_VERSION, "\"%s\" needs runtime ABI %u.%u, this runtime has %u.%u",
                      check->name, header->abi_major, header->abi_minor, LATHE_ABI_MAJOR, LATHE_ABI_MINOR);
  }
  if (header->bytes != sizeof *header || header->reserved0 || header->reserved1) {
    return corrupt(check, "its header has an impossible size or reserved field");
  }
  if (!terminated(header->compiler, sizeof header->compiler) ||
      !terminated(header->triple, sizeof header->triple)) {
    return corrupt(check, "a name in its header has no end");
  }
  if (header->target_count == 0 || header->target_count > LATHE_MAX_TARGETS || header->section_count == 0 ||
      header->section_count > LATHE_MAX_SECTIONS) {
    return corrupt(check, "its header has an impossible number of targets or sections");
  }
  for (uint32_t i = 0; i < header->target_count; ++i) {
    if (!terminated(header->targets[i].isa, sizeof header->targets[i].isa)) {
      return corrupt(check, "a name in its header has no end");
    }
  }
  return LATHE_OK;
}

/* Checks that a tile is what its kind says and lies in a segment that such a kind may lie in. */
static const char *check_tile(const struct check *check, const struct lathe_artifact_section *tile,
                              const Elf64_Phdr *segment) {
  struct lathe_artifact *artifact = check->artifact;
  const struct lathe_artifact_header *header = &artifact->header;
  switch (tile->kind) {
  case LATHE_SECTION_HEADERS: {
    uint64_t bytes = sizeof(Elf64_Ehdr) + check->view.ehdr.e_phnum * sizeof(Elf64_Phdr);
    return tile->address == 0 && tile->size == bytes ? NULL : "its headers are not where they should be";
  }
  case LATHE_SECTION_NOTE:
    return tile->address == artifact->note && tile->size == LATHE_NOTE_BYTES
               ? NULL
               : "its note is not where it should be";
  case LATHE_SECTION_CODE:
    return segment->p_flags & PF_X ? NULL : "its code is not executable";
  case LATHE_SECTION_CONSTANTS:
    return segment->p_flags & PF_W ? "its constants are writable" : NULL;
  case LATHE_SECTION_LINKAGE:
    return NULL;
  case LATHE_SECTION_CHUNK_SUMS:
    if (artifact->chunk_sums || tile->address % 4 || segment->p_flags & PF_W) {
      return "its chunk sums are not where they should be";
    }
    artifact->chunk_sums = tile->address;
    return NULL;
  case LATHE_SECTION_WEIGHTS:
    if (artifact->weights || tile->address % 64 || tile->address != segment->p_vaddr ||
        tile->size != segment->p_memsz || segment->p_flags != PF_R) {
      return "its weights are not a segment of their own";
    }
    for (uint32_t i = 0; i < header->section_count; ++i) {
      const struct lathe_artifact_section *sums = &header->sections[i];
      if (sums->kind == LATHE_SECTION_CHUNK_SUMS && artifact->chunk_sums == sums->address &&
          sums->size >= 4 * LATHE_CHUNK_COUNT(tile->size) && sums->crc == tile->crc) {
        artifact->weights = tile->address;
        artifact->weight_bytes = tile->size;
        return NULL;
      }
    }
    return "its weights have no chunk sums";
  default:
    return "it has a section of an unknown kind";
  }
}

/* Walks the segments and the section table side by side: the tiles must cover the segments exactly. */
static lathe_error_code check_tiling(struct check *check) {
  const struct lathe_artifact_header *header = &check->artifact->header;
  uint32_t next = 0, headers = 0, notes = 0;
  uint64_t image_end = 0;
  for (int i = 0; i < check->view.ehdr.e_phnum; ++i) {
    const Elf64_Phdr *segment = &check->view.phdr[i];
    if (segment->p_type != PT_LOAD) {
      continue;
    }
    image_end = segment->p_vaddr + segment->p_memsz;
    for (uint64_t at = 0; at < segment->p_filesz; ++next) {
      const struct lathe_artifact_section *tile = &header->sections[next];
      if (next == header->section_count || tile->size == 0 || tile->address != segment->p_vaddr + at ||
          tile->size > segment->p_filesz - at) {
        return corrupt(check, "its section table does not cover its segments");
      }
      const char *why = check_tile(check, tile, segment);
      if (why) {
        return corrupt(check, why);
      }
      headers += tile->kind == LATHE_SECTION_HEADERS;
      notes += tile->kind == LATHE_SECTION_NOTE;
      at += tile->size;
    }
  }
  if (next != header->section_count || headers != 1 || notes != 1) {
    return corrupt(check, "its section table does not cover its segments");
  }
  if (image_end != header->image_end) {
    return corrupt(check, "its image ends elsewhere than its header says");
  }
  return LATHE_OK;
}

static lathe_error_code check_sums(const struct check *check) {
  const struct lathe_artifact_header *header = &check->artifact->header;
  for (uint32_t i = 0; i < header->section_count; ++i) {
    const struct lathe_artifact_section *tile = &header->sections[i];
    if (tile->kind == LATHE_SECTION_HEADERS || tile->kind == LATHE_SECTION_NOTE ||
        tile->kind == LATHE_SECTION_WEIGHTS) {
      continue; /* compared before; has its own; by chunks */
    }
    const unsigned char *data = lathe_elf_at(&check->view, tile->address, tile->size);
    uint32_t crc = lathe_crc32c(0, data, tile->size);
    if (crc != tile->crc) {
      return lathe_fail(LATHE_ERROR_CORRUPT,
                        "\"%s\" is corrupt: the checksum of its %s is %08x instead of %08x", check->name,
                        kind_name(tile->kind), crc, tile->crc);
    }
  }
  return LATHE_OK;
}

/* The headers' sum comes before anything is concluded from a program header. */
static lathe_error_code check_headers_crc(const struct check *check) {
  const struct lathe_artifact_header *header = &check->artifact->header;
  for (uint32_t i = 0; i < header->section_count; ++i) {
    if (header->sections[i].kind == LATHE_SECTION_HEADERS &&
        header->sections[i].crc != lathe_elf_headers_crc(&check->view)) {
      return corrupt(check, "the checksum of its ELF headers is wrong");
    }
  }
  return LATHE_OK;
}

static lathe_error_code check_table(const struct check *check) {
  const struct lathe_artifact *artifact = check->artifact;
  const struct lathe_artifact_header *header = &artifact->header;
  struct lathe_bounds bounds = {&check->view, header};
  const struct lathe_table *table =
      (const void *)lathe_elf_at(&check->view, header->entry, LATHE_TABLE_MIN_BYTES);
  if (!table || header->entry % 8 != 0) {
    return corrupt(check, "its table lies outside its segments");
  }
  const char *why = lathe_table_check(table, &bounds);
  if (why) {
    return corrupt(check, why);
  }
  if (table->fingerprint != header->fingerprint || table->weight_bytes != artifact->weight_bytes ||
      table->abi_major != header->abi_major || table->abi_minor != header->abi_minor) {
    return corrupt(check, "its table and its header contradict each other");
  }
  return LATHE_OK;
}

int64_t lathe_weights_compare(const uint8_t *weights, uint64_t bytes, const uint32_t *sums, uint64_t first,
                              uint64_t step) {
  for (uint64_t i = first; i < LATHE_CHUNK_COUNT(bytes); i += step) {
    uint64_t left = bytes - i * LATHE_CHUNK_BYTES;
    uint64_t size = left < LATHE_CHUNK_BYTES ? left : LATHE_CHUNK_BYTES;
    /* One call instead of a fault every few pages: 90 MiB take 10 ms and not 14. It may fail, the faults are
     * still there. */
    madvise((void *)(uintptr_t)(weights + i * LATHE_CHUNK_BYTES), size, MADV_POPULATE_READ_);
    if (lathe_crc32c(0, weights + i * LATHE_CHUNK_BYTES, size) != sums[i]) {
      return (int64_t)i;
    }
  }
  return -1;
}

lathe_error_code lathe_artifact_check(const void *data, uint64_t size, const char *name, unsigned flags,
                                      struct lathe_artifact *artifact) {
  struct check check = {.artifact = artifact, .name = name, .flags = flags};
  memset(artifact, 0, sizeof *artifact);
  switch (lathe_elf_open(&check.view, data, size)) {
  case LATHE_ELF_OK:
    break;
  case LATHE_ELF_FOREIGN:
    return lathe_fail(LATHE_ERROR_NOT_ARTIFACT, "\"%s\" is not a Lathe artifact: %s", name, check.view.why);
  case LATHE_ELF_TRUNCATED:
    return lathe_fail(LATHE_ERROR_TRUNCATED, "\"%s\" is truncated: %s (the file has %llu bytes)", name,
                      check.view.why, (unsigned long long)size);
  case LATHE_ELF_CORRUPT:
    return corrupt(&check, check.view.why);
  }
  bool sums = !(flags & LATHE_CHECK_IGNORE_SUMS);
  lathe_error_code code = check_header(&check);
  if (code || (sums && (code = check_headers_crc(&check))) || (code = check_tiling(&check)) ||
      (sums && (code = check_sums(&check)))) {
    return code;
  }
  const char *why = lathe_elf_check_dynamic(&check.view);
  if (why) {
    return lathe_fail(LATHE_ERROR_CORRUPT, "\"%s\" is not as the compiler writes artifacts: it %s", name,
                      why);
  }
  if ((code = check_table(&check))) {
    return code;
  }
  if (sums && artifact->weights && (flags & LATHE_CHECK_WEIGHTS)) {
    const uint8_t *weights = lathe_elf_at(&check.view, artifact->weights, artifact->weight_bytes);
    const uint32_t *chunk_sums = (const void *)lathe_elf_at(&check.view, artifact->chunk_sums,
                                                            4 * LATHE_CHUNK_COUNT(artifact->weight_bytes));
    if (lathe_weights_compare(weights, artifact->weight_bytes, chunk_sums, 0, 1) >= 0) {
      return corrupt(&check, "the checksum of its weights is wrong");
    }
  }
  return LATHE_OK;
}
