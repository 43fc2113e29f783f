/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

#include "Fiber.h"

#include <cstdio>
#include <cstdlib>
#include <sys/mman.h>

using namespace lathe::emu;

static constexpr size_t kPage = 4096;

Stacks::Stacks(size_t count) : count(count) {
  void *memory = mmap(nullptr, count * kBytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    perror("emulator: no memory for stacks");
    abort();
  }
  base = static_cast<char *>(memory);
  for (size_t i = 0; i < count; ++i) {
    mprotect(base + i * kBytes, kPage, PROT_NONE);
  }
}

Stacks::~Stacks() { munmap(base, count * kBytes); }

void *Stacks::begin(size_t index, void (*entry)()) const {
  // Six registers, then where to return to; there the stack is as after a call.
  constexpr size_t kRegisters = 6;
  auto *slot = reinterpret_cast<uint64_t *>(top(index)) - 2;
  *slot = reinterpret_cast<uint64_t>(entry);
  for (size_t i = 1; i <= kRegisters; ++i) {
    slot[-ptrdiff_t(i)] = 0;
  }
  return slot - kRegisters;
}

bool Stacks::isBelow(size_t index, uintptr_t address) const {
  auto bottom = reinterpret_cast<uintptr_t>(base + index * kBytes);
  return address >= bottom && address < bottom + kPage;
}
