/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/// \file
/// Threads that give way of their own accord: a stack, and a switch that costs a few nanoseconds. x86-64.

#ifndef LATHE_TEST_CUDA_FIBER_H
#define LATHE_TEST_CUDA_FIBER_H

#include <cstddef>
#include <cstdint>

extern "C" {
/// Leaves a stack, keeps in *from where, and goes on where `to` was left.
void lathe_emu_switch(void **from, void *to);
/// Calls a function with that many 64-bit integers; `values` has room for six at least.
void lathe_emu_call(void (*function)(), const uint64_t *values, size_t count);
}

namespace lathe::emu {

/// Stacks of a fixed size in one mapping, each above a page that faults.
class Stacks {
public:
  static constexpr size_t kBytes = 128 << 10;
  explicit Stacks(size_t count);
  ~Stacks();
  Stacks(const Stacks &) = delete;
  Stacks &operator=(const Stacks &) = delete;

  /// The end of a stack, aligned to 16 bytes.
  char *top(size_t index) const { return base + (index + 1) * kBytes; }
  /// Where a new fiber is left: the first switch to it calls `entry`, which must not return.
  void *begin(size_t index, void (*entry)()) const;
  /// Whether an address is on a stack's faulting page.
  bool isBelow(size_t index, uintptr_t address) const;

private:
  char *base;
  size_t count;
};

} // namespace lathe::emu

#endif // LATHE_TEST_CUDA_FIBER_H
