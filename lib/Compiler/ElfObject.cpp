// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "ElfObject.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/MathExtras.h"
#include <cstring>
#include <elf.h>

using namespace llvm;
using namespace lathe;

SmallVector<char, 0> lathe::makeElfObject(ArrayRef<ElfSection> sections, SmallVectorImpl<uint64_t> &offsets) {
  // Index 0 of every table is reserved.
  std::string strings(1, '\0');
  auto addString = [&](StringRef text) {
    uint32_t at = strings.size();
    strings.append(text.data(), text.size());
    strings.push_back('\0');
    return at;
  };
  SmallVector<Elf64_Shdr> headers(1, Elf64_Shdr{});
  SmallVector<Elf64_Sym> symbols(1, Elf64_Sym{});
  for (const auto &[index, section] : enumerate(sections)) {
    Elf64_Shdr header = {};
    header.sh_name = addString(section.name);
    header.sh_type = section.type;
    header.sh_flags = section.flags;
    header.sh_addralign = section.alignment;
    header.sh_size = section.size;
    headers.push_back(header);
    if (!section.symbol.empty()) {
      Elf64_Sym symbol = {};
      symbol.st_name = addString(section.symbol);
      symbol.st_info = ELF64_ST_INFO(STB_GLOBAL, STT_OBJECT);
      symbol.st_shndx = index + 1;
      symbol.st_size = section.size;
      symbols.push_back(symbol);
    }
  }
  Elf64_Shdr symbolTable = {}, stringTable = {}, stack = {};
  symbolTable.sh_name = addString(".symtab");
  symbolTable.sh_type = SHT_SYMTAB;
  symbolTable.sh_addralign = 8;
  symbolTable.sh_entsize = sizeof(Elf64_Sym);
  symbolTable.sh_size = symbols.size() * sizeof(Elf64_Sym);
  symbolTable.sh_info = 1; // the first global symbol
  stringTable.sh_name = addString(".strtab");
  stringTable.sh_type = SHT_STRTAB;
  stringTable.sh_addralign = 1;
  // Without this section linkers take the stack to be executable.
  stack.sh_name = addString(".note.GNU-stack");
  stack.sh_type = SHT_PROGBITS;
  stack.sh_addralign = 1;
  stringTable.sh_size = strings.size();

  size_t count = headers.size() + 3;
  symbolTable.sh_link = count - 1;
  uint64_t at = sizeof(Elf64_Ehdr) + count * sizeof(Elf64_Shdr);
  symbolTable.sh_offset = at;
  at += symbolTable.sh_size;
  stringTable.sh_offset = at;
  at += stringTable.sh_size;
  stack.sh_offset = at;
  for (Elf64_Shdr &header : MutableArrayRef(headers).drop_front()) {
    at = alignTo(at, header.sh_addralign);
    header.sh_offset = at;
    offsets.push_back(at);
    at += header.sh_type == SHT_NOBITS ? 0 : header.sh_size;
  }
  headers.append({stack, symbolTable, stringTable});

  Elf64_Ehdr elf = {};
  memcpy(elf.e_ident, ELFMAG, SELFMAG);
  elf.e_ident[EI_CLASS] = ELFCLASS64;
  elf.e_ident[EI_DATA] = ELFDATA2LSB;
  elf.e_ident[EI_VERSION] = EV_CURRENT;
  elf.e_type = ET_REL;
  elf.e_machine = EM_X86_64;
  elf.e_version = EV_CURRENT;
  elf.e_shoff = sizeof elf;
  elf.e_ehsize = sizeof elf;
  elf.e_shentsize = sizeof(Elf64_Shdr);
  elf.e_shnum = count;
  elf.e_shstrndx = count - 1;

  SmallVector<char, 0> bytes;
  auto append = [&](const void *data, size_t size) {
    const char *p = static_cast<const char *>(data);
    bytes.append(p, p + size);
  };
  append(&elf, sizeof elf);
  append(headers.data(), headers.size() * sizeof(Elf64_Shdr));
  append(symbols.data(), symbols.size() * sizeof(Elf64_Sym));
  append(strings.data(), strings.size());
  return bytes;
}
