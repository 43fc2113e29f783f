/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/// \file
/// Runs kernels of a GPU on the processor: one fiber a thread, one block at a time. A fiber runs until it
/// waits for others; warps, and the threads of a warp, take turns in an order that a seed decides, so that a
/// kernel which lacks a barrier reads what was not written yet. What no kernel may do ends the launch with a
/// report.

#ifndef LATHE_TEST_CUDA_EMULATOR_H
#define LATHE_TEST_CUDA_EMULATOR_H

#include "Memory.h"

#include <cstdint>
#include <string>
#include <vector>

namespace lathe::emu {

inline constexpr unsigned kWarp = 32;

struct Launch {
  std::string kernel;
  void (*function)() = nullptr;
  /// Integers and addresses, each as 64 bits.
  std::vector<uint64_t> parameters;
  unsigned blocks = 0, threads = 0, sharedBytes = 0;
};

enum class Outcome {
  Done,
  BadAddress, ///< an access outside of the memory that there is
  BadProgram  ///< threads wait for each other in vain, or an instruction that does not exist
};

struct Result {
  Outcome outcome = Outcome::Done;
  /// `kernel "k", block 3, thread 17: reads 16 bytes behind the end of an allocation of 64 bytes`.
  std::string report;
};

/// Runs a launch to its end. `memory` is the device's; null: there is none. One launch runs at a time.
Result run(const Launch &launch, uint64_t seed, const Memory *memory);

/// The seed that LATHE_EMU_SEED gives, or 0.
uint64_t seedFromEnvironment();

//===-- For the functions that kernels call
//----------------------------------------------------------------===//

/// What the threads of a warp do together: `run` gets the operands and results of those that take part, by
/// their place in the warp; null for the others.
struct Collective {
  const char *name;
  void (*run)(const void *const *operands, void *const *results);
};

/// Of the running thread.
unsigned threadIndex();
unsigned blockIndex();
unsigned blockCount();
unsigned blockThreads();
void *sharedMemory();
/// Waits until all threads of the block are here.
void waitForBlock();
/// Waits until all threads of the warp that are in `mask` are at the same collective with the same mask.
/// `value` tells apart forms of one collective.
void together(const Collective &collective, uint32_t mask, int value, const void *operands, void *results);

/// A copy that has not happened yet: its destination is poison until it is waited for.
void copyLater(void *to, const void *from, size_t bytes, size_t zeros);
void commitCopies();
/// Until all but the newest `left` groups have happened; with `uncommitted`, those in no group, too.
void waitForCopies(size_t left, bool uncommitted);

} // namespace lathe::emu

#endif // LATHE_TEST_CUDA_EMULATOR_H
