/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/* The header of an artifact: what a runtime reads and checks before it lets the dynamic loader near the file.
 *
 * An artifact is an x86-64 ELF shared library. Its header, a lathe_artifact_header, is the payload of an
 * ELF note (owner "Lathe", type LATHE_NOTE_TYPE), found through PT_NOTE. Every address in it is an image
 * address (relative to the load base), because strip, llvm-strip and objcopy move bytes within the file
 * but never within the image.
 *
 * What a sealer has to do
 * -----------------------
 * 1. Link with a note of LATHE_NOTE_BYTES, and, where the model has weights, a section for 4 *
 *    LATHE_CHUNK_COUNT(weight bytes) bytes of chunk sums and a page-aligned placeholder that becomes a
 *    PT_LOAD of its own, flags PF_R, p_filesz == p_memsz == the exact number of weight bytes. The first
 *    PT_LOAD has p_vaddr 0 and p_offset 0; program headers follow the ELF header at once (e_phoff == 64).
 * 2. Write zeros to every byte of a PT_LOAD's file contents that no section owns (strip does the same).
 * 3. Fill the section table so that it *tiles* the image: sorted by address, it covers exactly [p_vaddr,
 *    p_vaddr + p_filesz) of each PT_LOAD, no byte twice and none left out; no tile crosses a PT_LOAD's
 *    end. Exactly one tile is HEADERS, [0, 64 + 56 * e_phnum); exactly one is NOTE, the header note
 *    itself, LATHE_NOTE_BYTES from its name size on; at most one is WEIGHTS, the whole weight segment,
 *    with one CHUNK_SUMS before it that begins with LATHE_CHUNK_COUNT(size) sums. A gap between ELF
 *    sections belongs to the tile before it, but behind HEADERS and NOTE it is a LINKAGE tile of its own.
 *    Neighbours of one kind may be one tile.
 * 4. Compute the sums in this order: chunk sums (uint32_t, one for each LATHE_CHUNK_BYTES of the weights, the
 *    last one of what is left), then the crc of every tile:
 *    - HEADERS: lathe_elf_headers_crc(), the ELF header without its section fields and the program headers
 *      without their file offsets, after the last change to a program header;
 *    - NOTE: 0 (the header has its own sum, the 20 bytes before it are compared literally);
 *    - WEIGHTS: the crc of the CHUNK_SUMS tile;
 *    - others: lathe_crc32c(0, bytes, size);
 *    and last the header's `crc`, over all its bytes before it.
 * With this every bit that the loader or a kernel can see is under a sum. All reserved fields are zero. */
#ifndef LATHE_CONTAINER_H
#define LATHE_CONTAINER_H

#include <stdint.h>

/* "LATHE\r\n\x1a", without a terminator: a transfer in text mode breaks it visibly. */
#define LATHE_ARTIFACT_MAGIC "LATHE\r\n\x1a"
#define LATHE_CONTAINER_VERSION 1u
#define LATHE_NOTE_OWNER "Lathe"
#define LATHE_NOTE_TYPE 1u
#define LATHE_MAX_SECTIONS 32
#define LATHE_MAX_TARGETS 8
#define LATHE_CHUNK_BYTES (UINT64_C(4) << 20)
#define LATHE_CHUNK_COUNT(bytes) (((bytes) + LATHE_CHUNK_BYTES - 1) / LATHE_CHUNK_BYTES)
/* Name size, payload size, type; then "Lathe\0" padded to eight bytes. */
#define LATHE_NOTE_PREFIX_BYTES 20
#define LATHE_NOTE_BYTES (LATHE_NOTE_PREFIX_BYTES + sizeof(struct lathe_artifact_header))

/* The kind of a tile decides how it is summed (above) and how an error names it. */
enum lathe_section_kind {
  LATHE_SECTION_HEADERS = 1,    /* ELF header and program headers */
  LATHE_SECTION_NOTE = 2,       /* this header */
  LATHE_SECTION_CODE = 3,       /* executable code */
  LATHE_SECTION_CONSTANTS = 4,  /* read-only data, among it the lathe_table */
  LATHE_SECTION_LINKAGE = 5,    /* what the loader reads: symbols, relocations, dynamic section, GOT */
  LATHE_SECTION_CHUNK_SUMS = 6, /* uint32_t[LATHE_CHUNK_COUNT(weight bytes)] */
  LATHE_SECTION_WEIGHTS = 7
};

struct lathe_artifact_section {
  uint32_t kind; /* enum lathe_section_kind */
  uint32_t crc;
  uint64_t address, size; /* in the image */
};

/* One set of kernels; the same as the lathe_variant_info of the same index. */
struct lathe_artifact_target {
  char isa[16];          /* NUL-terminated: "x86-64-v4" */
  uint64_t cpu_features; /* enum lathe_cpu_feature of abi.h; all of them must be present */
};

struct lathe_artifact_header {
  char magic[8];
  uint32_t container_version;
  uint32_t bytes; /* sizeof(struct lathe_artifact_header) */
  uint16_t abi_major, abi_minor;
  uint32_t reserved0;
  uint64_t fingerprint; /* the same as in the lathe_table */
  uint64_t entry;       /* image address of the lathe_table */
  uint64_t image_end;   /* p_vaddr + p_memsz of the last PT_LOAD */
  char compiler[32];    /* NUL-terminated: "lathe 0.1.0" */
  char triple[32];      /* NUL-terminated: "x86_64-unknown-linux-gnu" */
  uint32_t target_count, section_count;
  struct lathe_artifact_target targets[LATHE_MAX_TARGETS];
  struct lathe_artifact_section sections[LATHE_MAX_SECTIONS];
  uint32_t reserved1;
  uint32_t crc; /* of the bytes before it */
};

#endif
