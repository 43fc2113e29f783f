/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/* What both the sealer and the runtime's check need of ELF: bounded views of a file in memory. No pointer is
 * formed before its range is checked, and no sum of values from the file is trusted not to wrap. Good for C11
 * and C++. */
#ifndef LATHE_ELFVIEW_H
#define LATHE_ELFVIEW_H

#include "crc32c.h"
#include "lathe/container.h"

#include <elf.h>
#include <string.h>

#define LATHE_ELF_MAX_PHDRS 32

enum lathe_elf_status {
  LATHE_ELF_OK = 0,
  LATHE_ELF_FOREIGN,   /* not an x86-64 ELF shared library */
  LATHE_ELF_TRUNCATED, /* the headers speak of bytes past the end */
  LATHE_ELF_CORRUPT
};

struct lathe_elf_view {
  const unsigned char *data;
  uint64_t size;
  Elf64_Ehdr ehdr;
  Elf64_Phdr phdr[LATHE_ELF_MAX_PHDRS];
  const char *why; /* of a status that is not LATHE_ELF_OK: lower-case, no full stop */
};

/* Whether [at, at + n) lies in [0, size). */
static inline int lathe_elf_inside(uint64_t at, uint64_t n, uint64_t size) {
  return at <= size && n <= size - at;
}

static inline enum lathe_elf_status lathe_elf_fail(struct lathe_elf_view *view, enum lathe_elf_status status,
                                                   const char *why) {
  view->why = why;
  return status;
}

/* Where the contents of an image range lie: null when they are not all in the file contents of one segment.
 */
static inline const unsigned char *lathe_elf_at(const struct lathe_elf_view *view, uint64_t address,
                                                uint64_t n) {
  for (int i = 0; i < view->ehdr.e_phnum; ++i) {
    const Elf64_Phdr *p = &view->phdr[i];
    if (p->p_type == PT_LOAD && address >= p->p_vaddr &&
        lathe_elf_inside(address - p->p_vaddr, n, p->p_filesz)) {
      return view->data + p->p_offset + (address - p->p_vaddr);
    }
  }
  return 0;
}

/* Reads and bounds the headers of `size` bytes at `data`, which must outlive the view. */
static inline enum lathe_elf_status lathe_elf_open(struct lathe_elf_view *view, const void *data,
                                                   uint64_t size) {
  memset(view, 0, sizeof *view);
  view->data = (const unsigned char *)data;
  view->size = size;
  if (size < SELFMAG || memcmp(data, ELFMAG, SELFMAG) != 0) {
    return lathe_elf_fail(view, LATHE_ELF_FOREIGN, "it is not an ELF file");
  }
  if (size < sizeof view->ehdr) {
    return lathe_elf_fail(view, LATHE_ELF_TRUNCATED, "it is shorter than an ELF header");
  }
  memcpy(&view->ehdr, data, sizeof view->ehdr);
  const Elf64_Ehdr *e = &view->ehdr;
  if (e->e_ident[EI_CLASS] != ELFCLASS64 || e->e_ident[EI_DATA] != ELFDATA2LSB || e->e_type != ET_DYN ||
      e->e_machine != EM_X86_64) {
    return lathe_elf_fail(view, LATHE_ELF_FOREIGN, "it is not an x86-64 shared library");
  }
  if (e->e_phentsize != sizeof(Elf64_Phdr) || e->e_phnum == 0 || e->e_phnum > LATHE_ELF_MAX_PHDRS ||
      e->e_phoff != sizeof(Elf64_Ehdr)) {
    return lathe_elf_fail(view, LATHE_ELF_CORRUPT, "its program header table is not one of an artifact");
  }
  if (!lathe_elf_inside(e->e_phoff, e->e_phnum * sizeof(Elf64_Phdr), size)) {
    return lathe_elf_fail(view, LATHE_ELF_TRUNCATED, "its program headers end past the end of the file");
  }
  memcpy(view->phdr, view->data + e->e_phoff, e->e_phnum * sizeof(Elf64_Phdr));
  uint64_t last = 0;
  int loads = 0;
  for (int i = 0; i < e->e_phnum; ++i) {
    const Elf64_Phdr *p = &view->phdr[i];
    if (p->p_type != PT_LOAD) {
      continue;
    }
    if (p->p_vaddr > (UINT64_C(1) << 46) || p->p_memsz > (UINT64_C(1) << 46) || p->p_memsz < p->p_filesz ||
        p->p_vaddr < last) {
      return lathe_elf_fail(view, LATHE_ELF_CORRUPT, "a segment has an impossible address or size");
    }
    if (!lathe_elf_inside(p->p_offset, p->p_filesz, size)) {
      return lathe_elf_fail(view, LATHE_ELF_TRUNCATED, "a segment ends past the end of the file");
    }
    if (p->p_filesz != 0 && (p->p_vaddr - p->p_offset) % 4096 != 0) {
      return lathe_elf_fail(view, LATHE_ELF_CORRUPT, "a segment's file offset does not fit its address");
    }
    if ((p->p_flags & (PF_W | PF_X)) == (PF_W | PF_X)) {
      return lathe_elf_fail(view, LATHE_ELF_CORRUPT, "a segment is writable and executable");
    }
    if (loads++ == 0 && (p->p_vaddr != 0 || p->p_offset != 0)) {
      return lathe_elf_fail(view, LATHE_ELF_CORRUPT, "its first segment does not hold the ELF header");
    }
    last = p->p_vaddr + p->p_memsz;
  }
  if (!lathe_elf_at(view, 0, e->e_phoff + e->e_phnum * sizeof(Elf64_Phdr))) {
    return lathe_elf_fail(view, LATHE_ELF_CORRUPT, "its headers are not in its first segment");
  }
  return LATHE_ELF_OK;
}

/* The image address of the header note (from its name size on), or 0 when there is none of the right size. */
static inline uint64_t lathe_elf_note(const struct lathe_elf_view *view) {
  static const unsigned char owner[8] = {'L', 'a', 't', 'h', 'e', 0, 0, 0};
  for (int i = 0; i < view->ehdr.e_phnum; ++i) {
    const Elf64_Phdr *p = &view->phdr[i];
    const unsigned char *data = p->p_type == PT_NOTE ? lathe_elf_at(view, p->p_vaddr, p->p_filesz) : 0;
    if (!data) {
      continue;
    }
    for (uint64_t at = 0; lathe_elf_inside(at, LATHE_NOTE_PREFIX_BYTES, p->p_filesz);) {
      uint32_t sizes[3]; /* name, payload, type */
      memcpy(sizes, data + at, sizeof sizes);
      uint64_t bytes = sizeof sizes + ((sizes[0] + UINT64_C(3)) & ~UINT64_C(3)) +
                       ((sizes[1] + UINT64_C(3)) & ~UINT64_C(3));
      if (!lathe_elf_inside(at, bytes, p->p_filesz)) {
        break;
      }
      if (sizes[0] == sizeof LATHE_NOTE_OWNER && sizes[2] == LATHE_NOTE_TYPE &&
          sizes[1] == sizeof(struct lathe_artifact_header) &&
          memcmp(data + at + sizeof sizes, owner, sizeof owner) == 0) {
        return p->p_vaddr + at;
      }
      at += bytes;
    }
  }
  return 0;
}

/* The sum of the LATHE_SECTION_HEADERS tile: of everything but what strip and objcopy change. */
static inline uint32_t lathe_elf_headers_crc(const struct lathe_elf_view *view) {
  Elf64_Ehdr ehdr = view->ehdr;
  ehdr.e_shoff = 0;
  ehdr.e_shentsize = ehdr.e_shnum = ehdr.e_shstrndx = 0;
  uint32_t crc = lathe_crc32c(0, &ehdr, sizeof ehdr);
  for (int i = 0; i < view->ehdr.e_phnum; ++i) {
    Elf64_Phdr phdr = view->phdr[i];
    phdr.p_offset = 0;
    crc = lathe_crc32c(crc, &phdr, sizeof phdr);
  }
  return crc;
}

#endif
