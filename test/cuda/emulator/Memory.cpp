/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

#include "Memory.h"

#include <cstring>
#include <sys/mman.h>

using namespace lathe::emu;

static constexpr size_t kPage = 4096;

Memory::~Memory() {
  for (auto &[address, block] : blocks) {
    munmap(block.mapping, block.mapped);
  }
  for (Freed &old : freed) {
    munmap(old.block.mapping, old.block.mapped);
  }
}

void *Memory::allocate(size_t bytes) {
  // What strays by less than this faults.
  constexpr size_t kGuard = 1 << 20;
  if (bytes > SIZE_MAX / 2) {
    return nullptr;
  }
  size_t room = (bytes + alignment - 1) / alignment * alignment;
  size_t inside = (room + kPage - 1) / kPage * kPage, mapped = inside + 2 * kGuard;
  void *mapping = mmap(nullptr, mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) {
    return nullptr;
  }
  char *begin = static_cast<char *>(mapping) + kGuard;
  if (inside && mprotect(begin, inside, PROT_READ | PROT_WRITE) != 0) {
    munmap(mapping, mapped);
    return nullptr;
  }
  memset(begin, kPoison, inside);
  char *address = begin + inside - room;
  blocks.emplace(reinterpret_cast<uintptr_t>(address), Block{bytes, static_cast<char *>(mapping), mapped});
  usedBytes += bytes;
  return address;
}

bool Memory::release(void *address) {
  constexpr size_t kRemembered = 64;
  auto found = blocks.find(reinterpret_cast<uintptr_t>(address));
  if (found == blocks.end()) {
    return false;
  }
  Block block = found->second;
  usedBytes -= block.bytes;
  mprotect(block.mapping, block.mapped, PROT_NONE);
  madvise(block.mapping, block.mapped, MADV_DONTNEED);
  freed.push_back({found->first, block});
  blocks.erase(found);
  if (freed.size() > kRemembered) {
    munmap(freed.front().block.mapping, freed.front().block.mapped);
    freed.pop_front();
  }
  return true;
}

void Memory::poison(void *address) {
  memset(address, kPoison, blocks.at(reinterpret_cast<uintptr_t>(address)).bytes);
}

bool Memory::holds(uintptr_t address, size_t bytes) const {
  auto next = blocks.upper_bound(address);
  if (next == blocks.begin()) {
    return false;
  }
  auto &[begin, block] = *std::prev(next);
  size_t at = address - begin;
  return at <= block.bytes && bytes <= block.bytes - at;
}

void Memory::setAccess(bool allowed) {
  for (auto &[address, block] : blocks) {
    uintptr_t begin = address / kPage * kPage, end = (address + block.bytes + alignment - 1) / kPage * kPage;
    if (begin < end) {
      mprotect(reinterpret_cast<void *>(begin), end - begin, allowed ? PROT_READ | PROT_WRITE : PROT_NONE);
    }
  }
}

std::string Memory::damage() const {
  for (auto &[address, block] : blocks) {
    auto *data = reinterpret_cast<const unsigned char *>(address);
    size_t room = (block.bytes + alignment - 1) / alignment * alignment;
    for (size_t at = block.bytes; at < room; ++at) {
      if (data[at] != kPoison) {
        return "writes " + describe(address + at);
      }
    }
  }
  return "";
}

std::string Memory::describe(uintptr_t address) const {
  auto place = [&](uintptr_t begin, const Block &block, const char *what) -> std::string {
    auto mapping = reinterpret_cast<uintptr_t>(block.mapping);
    if (address < mapping || address >= mapping + block.mapped) {
      return "";
    }
    std::string of = std::string(what) + " of " + std::to_string(block.bytes) + " bytes";
    if (address < begin) {
      return std::to_string(begin - address) + " bytes before " + of;
    }
    return address < begin + block.bytes
               ? "at byte " + std::to_string(address - begin) + " of " + of
               : std::to_string(address - begin - block.bytes) + " bytes behind the end of " + of;
  };
  std::string text;
  for (auto &[begin, block] : blocks) {
    text = text.empty() ? place(begin, block, "an allocation") : text;
  }
  for (const Freed &old : freed) {
    text = text.empty() ? place(old.address, old.block, "a freed allocation") : text;
  }
  return text;
}
