/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/// \file
/// Memory in which every access that no kernel may make is found.

#ifndef LATHE_TEST_CUDA_MEMORY_H
#define LATHE_TEST_CUDA_MEMORY_H

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <string>

namespace lathe::emu {

/// What memory holds that nobody wrote: a float of these bytes is not a number.
inline constexpr unsigned char kPoison = 0xff;

/// Allocations between pages that fault. An allocation ends at such a page, or less than its alignment
/// before; the bytes between are poison, and damage() finds what was written there. Freed memory faults, too.
class Memory {
public:
  explicit Memory(size_t alignment) : alignment(alignment) {}
  ~Memory();
  Memory(const Memory &) = delete;
  Memory &operator=(const Memory &) = delete;

  /// Poisoned memory, or null.
  void *allocate(size_t bytes);
  /// False if the address is none that allocate() gave.
  bool release(void *address);
  /// Writes poison to all of it.
  void poison(void *address);
  /// Whether all bytes from an address on are in one allocation.
  bool holds(uintptr_t address, size_t bytes) const;

  /// Whether it may be accessed at all. At first it may.
  void setAccess(bool allowed);
  /// "" or where something was written behind the end of an allocation; only while access is allowed.
  std::string damage() const;
  /// Where an address is: "16 bytes behind the end of an allocation of 64 bytes". "" if it is far from all.
  std::string describe(uintptr_t address) const;

  size_t used() const { return usedBytes; }
  size_t count() const { return blocks.size(); }

private:
  struct Block {
    size_t bytes;
    char *mapping; ///< with the pages that fault
    size_t mapped;
  };
  struct Freed {
    uintptr_t address;
    Block block;
  };
  size_t alignment, usedBytes = 0;
  std::map<uintptr_t, Block> blocks;
  /// Those freed last stay reserved, so that errors can name them.
  std::deque<Freed> freed;
};

} // namespace lathe::emu

#endif // LATHE_TEST_CUDA_MEMORY_H
