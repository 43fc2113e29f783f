/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

// The shared library itself: its size, what it needs and what it shows.

#include "Seal.h"

#include <gtest/gtest.h>

#include <cstring>
#include <elf.h>
#include <set>
#include <string>

using namespace lathe::test;

#ifndef LATHE_SANITIZED
namespace {
/// The names that dynamic entries or defined symbols refer to.
struct Library {
  Bytes bytes = readFile(LATHE_LIBRARY);
  std::set<std::string> needed, defined;

  Library() {
    auto *ehdr = reinterpret_cast<const Elf64_Ehdr *>(bytes.data());
    auto *sections = reinterpret_cast<const Elf64_Shdr *>(bytes.data() + ehdr->e_shoff);
    for (int i = 0; i < ehdr->e_shnum; ++i) {
      const Elf64_Shdr &section = sections[i];
      const char *names = reinterpret_cast<const char *>(bytes.data()) + sections[section.sh_link].sh_offset;
      if (section.sh_type == SHT_DYNAMIC) {
        auto *entries = reinterpret_cast<const Elf64_Dyn *>(bytes.data() + section.sh_offset);
        for (uint64_t k = 0; k < section.sh_size / sizeof *entries; ++k) {
          if (entries[k].d_tag == DT_NEEDED) {
            needed.insert(names + entries[k].d_un.d_val);
          }
        }
      } else if (section.sh_type == SHT_DYNSYM) {
        auto *symbols = reinterpret_cast<const Elf64_Sym *>(bytes.data() + section.sh_offset);
        for (uint64_t k = 1; k < section.sh_size / sizeof *symbols; ++k) {
          if (symbols[k].st_shndx != SHN_UNDEF) {
            defined.insert(names + symbols[k].st_name);
          }
        }
      }
    }
  }
};
} // namespace

TEST(Library, HasAtMost300KiB) { EXPECT_LE(Library().bytes.size(), 300u << 10); }

TEST(Library, NeedsTheCLibraryAlone) {
  for (const std::string &name : Library().needed) {
    EXPECT_TRUE(name == "libc.so.6" || name == "libpthread.so.0" || name == "libdl.so.2" ||
                name == "ld-linux-x86-64.so.2")
        << name;
  }
}

TEST(Library, ShowsItsInterfaceAlone) {
  Library library;
  EXPECT_TRUE(library.defined.count("lathe_session_run"));
  for (const char *name : {"lathe_crc32c", "lathe_artifact_check", "lathe_pool_run"}) {
    EXPECT_FALSE(library.defined.count(name)) << name;
  }
  for (const std::string &name : library.defined) {
    EXPECT_EQ(name.rfind("lathe_", 0), 0u) << name;
  }
}
#endif
