/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/* What the dynamic loader would do with an artifact: nothing but map it and relocate its writable data. */
#include "artifact.h"

#include <stdbool.h>

/* The parts of the dynamic section that matter here. */
struct dynamic {
  uint64_t rela, rela_size, jmprel, jmprel_size, symtab, strtab, strtab_size;
};

static const char *check_segments(const struct lathe_elf_view *view, const Elf64_Phdr **dynamic) {
  bool stack = false;
  for (int i = 0; i < view->ehdr.e_phnum; ++i) {
    const Elf64_Phdr *p = &view->phdr[i];
    switch (p->p_type) {
    case PT_LOAD:
      continue;
    case PT_GNU_STACK:
      stack = true;
      if (p->p_flags & PF_X) {
        return "wants an executable stack";
      }
      continue;
    case PT_DYNAMIC:
      if (*dynamic) {
        return "has two dynamic sections";
      }
      *dynamic = p;
      break;
    case PT_PHDR:
    case PT_NOTE:
    case PT_GNU_RELRO:
    case PT_GNU_EH_FRAME:
    case PT_GNU_PROPERTY:
      break;
    default:
      return "has a segment that no artifact has";
    }
    /* These are parts of loaded segments; a file offset that says otherwise would show other bytes to other
     * tools. */
    const unsigned char *data = lathe_elf_at(view, p->p_vaddr, p->p_filesz);
    if (p->p_filesz && (!data || data != view->data + p->p_offset)) {
      return "has a segment outside its loaded ones";
    }
  }
  if (!stack) {
    return "wants an executable stack";
  }
  return *dynamic ? NULL : "has no dynamic section";
}

static const char *read_dynamic(const struct lathe_elf_view *view, const Elf64_Phdr *segment,
                                struct dynamic *dynamic) {
  const unsigned char *data = lathe_elf_at(view, segment->p_vaddr, segment->p_filesz);
  if (!data || segment->p_filesz > 4096) {
    return "has a dynamic section outside its segments";
  }
  for (uint64_t at = 0; lathe_elf_inside(at, sizeof(Elf64_Dyn), segment->p_filesz); at += sizeof(Elf64_Dyn)) {
    Elf64_Dyn entry;
    memcpy(&entry, data + at, sizeof entry);
    uint64_t value = entry.d_un.d_val;
    switch (entry.d_tag) {
    case DT_NULL:
      return dynamic->strtab_size ? NULL : "has no string table";
    case DT_INIT:
    case DT_INIT_ARRAY:
    case DT_PREINIT_ARRAY:
    case DT_FINI:
    case DT_FINI_ARRAY:
      return "has constructors or destructors";
    case DT_NEEDED:
      return "needs other libraries";
    case DT_TEXTREL:
      return "relocates its code";
    case DT_FLAGS:
      if (value & DF_TEXTREL) {
        return "relocates its code";
      }
      if (value & ~(uint64_t)(DF_BIND_NOW | DF_SYMBOLIC)) {
        return "has loader flags that no artifact has";
      }
      break;
    case DT_FLAGS_1:
      if (value & ~(uint64_t)DF_1_NOW) {
        return "has loader flags that no artifact has";
      }
      break;
    case DT_RELA:
      dynamic->rela = value;
      break;
    case DT_RELASZ:
      dynamic->rela_size = value;
      break;
    case DT_JMPREL:
      dynamic->jmprel = value;
      break;
    case DT_PLTRELSZ:
      dynamic->jmprel_size = value;
      break;
    case DT_SYMTAB:
      dynamic->symtab = value;
      break;
    case DT_STRTAB:
      dynamic->strtab = value;
      break;
    case DT_STRSZ:
      dynamic->strtab_size = value;
      break;
    case DT_PLTREL:
      if (value != DT_RELA) {
        return "has relocations of another kind";
      }
      break;
    case DT_RELAENT:
      if (value != sizeof(Elf64_Rela)) {
        return "has relocations of another size";
      }
      break;
    case DT_SYMENT:
      if (value != sizeof(Elf64_Sym)) {
        return "has symbols of another size";
      }
      break;
    case DT_HASH:
    case DT_GNU_HASH:
    case DT_PLTGOT:
    case DT_RELACOUNT:
    case DT_SONAME:
    case DT_SYMBOLIC:
    case DT_BIND_NOW:
    case DT_DEBUG:
      break;
    default:
      return "has a dynamic entry that no artifact has";
    }
  }
  return "has a dynamic section without an end";
}

/* Only these are imported. The loader runs code for an indirect function that an artifact defines itself. */
static const char *check_symbol(const struct lathe_elf_view *view, const struct dynamic *dynamic,
                                uint64_t index) {
  static const char *const allowed[] = {"memcpy", "memmove", "memset"};
  Elf64_Sym symbol;
  const unsigned char *data = dynamic->symtab <= UINT64_MAX / 2
                                  ? lathe_elf_at(view, dynamic->symtab + index * sizeof symbol, sizeof symbol)
                                  : NULL;
  const char *strings = (const char *)lathe_elf_at(view, dynamic->strtab, dynamic->strtab_size);
  if (!data || !strings) {
    return "has a relocation against a symbol outside its segments";
  }
  memcpy(&symbol, data, sizeof symbol);
  if (symbol.st_name >= dynamic->strtab_size ||
      !memchr(strings + symbol.st_name, 0, dynamic->strtab_size - symbol.st_name)) {
    return "has a symbol name outside its string table";
  }
  if (symbol.st_shndx != SHN_UNDEF) {
    return "has a relocation against a symbol of its own";
  }
  for (size_t i = 0; i < sizeof allowed / sizeof *allowed; ++i) {
    if (strcmp(strings + symbol.st_name, allowed[i]) == 0) {
      return NULL;
    }
  }
  return "imports a function other than memcpy, memmove and memset";
}

static const char *check_relocations(const struct lathe_elf_view *view, const struct dynamic *dynamic,
                                     uint64_t address, uint64_t size) {
  if (size == 0) {
    return NULL;
  }
  const unsigned char *data = lathe_elf_at(view, address, size);
  if (!data || size % sizeof(Elf64_Rela)) {
    return "has relocations outside its segments";
  }
  for (uint64_t at = 0; at < size; at += sizeof(Elf64_Rela)) {
    Elf64_Rela rela;
    memcpy(&rela, data + at, sizeof rela);
    uint32_t type = ELF64_R_TYPE(rela.r_info);
    if (type != R_X86_64_RELATIVE && type != R_X86_64_JUMP_SLOT && type != R_X86_64_GLOB_DAT) {
      return "has a kind of relocation that no artifact has";
    }
    bool writable = false;
    for (int i = 0; i < view->ehdr.e_phnum; ++i) {
      const Elf64_Phdr *p = &view->phdr[i];
      writable |= p->p_type == PT_LOAD && p->p_flags & PF_W && rela.r_offset >= p->p_vaddr &&
                  lathe_elf_inside(rela.r_offset - p->p_vaddr, 8, p->p_memsz);
    }
    if (!writable) {
      return "has a relocation outside its writable data";
    }
    const char *why =
        type == R_X86_64_RELATIVE ? NULL : check_symbol(view, dynamic, ELF64_R_SYM(rela.r_info));
    if (why) {
      return why;
    }
  }
  return NULL;
}

const char *lathe_elf_check_dynamic(const struct lathe_elf_view *view) {
  const Elf64_Phdr *segment = NULL;
  struct dynamic dynamic = {0};
  const char *why = check_segments(view, &segment);
  if (!why) {
    why = read_dynamic(view, segment, &dynamic);
  }
  if (!why) {
    why = check_relocations(view, &dynamic, dynamic.rela, dynamic.rela_size);
  }
  return why ? why : check_relocations(view, &dynamic, dynamic.jmprel, dynamic.jmprel_size);
}
