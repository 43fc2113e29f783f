// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Relocatable ELF files of our own making: data only, no relocations.

#ifndef LATHE_COMPILER_ELFOBJECT_H
#define LATHE_COMPILER_ELFOBJECT_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/SmallVector.h"
#include <cstdint>
#include <string>

namespace lathe {

/// A section, and the global symbol at its beginning if it has one.
struct ElfSection {
  std::string name;
  uint32_t type = 0;  // SHT_*
  uint64_t flags = 0; // SHF_*
  uint64_t alignment = 1;
  uint64_t size = 0;
  std::string symbol;
};

/// Everything of an x86-64 relocatable file but the contents of its sections. `offsets` receives where each
/// section's contents belong: at the end, in order, after the returned bytes. Sections of type SHT_NOBITS
/// have none.
llvm::SmallVector<char, 0> makeElfObject(llvm::ArrayRef<ElfSection> sections,
                                         llvm::SmallVectorImpl<uint64_t> &offsets);

} // namespace lathe

#endif // LATHE_COMPILER_ELFOBJECT_H
