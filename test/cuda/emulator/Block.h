/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/// \file
/// The threads of the block that runs.

#ifndef LATHE_TEST_CUDA_BLOCK_H
#define LATHE_TEST_CUDA_BLOCK_H

#include "Emulator.h"
#include "Fiber.h"

#include <csignal>
#include <cstring>
#include <deque>
#include <random>

namespace lathe::emu {

struct Thread {
  enum State { Ready, AtBarrier, AtCollective, Ended };
  struct Copy {
    void *to;
    const void *from;
    size_t bytes, zeros;
  };
  unsigned index = 0;
  State state = Ended;
  void *stack = nullptr; ///< where it was left
  /// At a collective.
  const Collective *collective = nullptr;
  uint32_t mask = 0;
  int value = 0;
  const void *operands = nullptr;
  void *results = nullptr;
  /// How often it was told to wait for others, and for copies.
  unsigned barriers = 0, copyWaits = 0;
  /// Copies that have not happened: those in no group, and the groups, oldest first.
  std::vector<Copy> copies;
  std::deque<std::vector<Copy>> groups;
};

/// What LATHE_EMU_OMIT says: "barrier" or "wait", of which ":N" is the N-th one alone of each thread.
struct Omission {
  std::string what;
  unsigned number = ~0u;

  static Omission fromEnvironment();
  bool omits(const char *instruction, unsigned count) const {
    return what == instruction && (number == ~0u || number == count);
  }
};

class Block {
public:
  Block(const Launch &launch, uint64_t seed, const Memory *memory);

  /// Runs all threads of one block to their end, or until one does what none may.
  void run(unsigned index);
  /// Leaves the running thread in a state in which it waits.
  void giveWay(Thread::State state);
  /// Ends the launch from the running thread, which is not gone on with.
  [[noreturn]] void stop(Outcome outcome, const std::string &what);
  /// Where an address in or about the shared memory is; "" for others.
  std::string sharedPlace(uintptr_t address) const;
  /// `kernel "k", block 3, thread 17: `
  std::string place(const Thread *thread) const;

  const Launch &launch;
  const Memory *deviceMemory;
  Result result;
  unsigned index = 0;
  Thread *current = nullptr; ///< null while the scheduler runs
  void *shared = nullptr;
  Stacks stacks;
  Omission omission;

private:
  [[noreturn]] static void begin();
  void runWarp(unsigned warp);
  void switchTo(Thread &thread);
  /// Lets those go on who all are at the same collective; false where some of a mask are not.
  bool resolveCollectives(unsigned warp);
  bool hasReady(unsigned warp) const;
  void fail(Outcome outcome, const std::string &what);
  /// "12 at a barrier, 20 ended".
  std::string census(unsigned first, unsigned count) const;

  Memory sharedMemory;
  std::minstd_rand random;
  uint64_t seed;
  std::vector<uint64_t> parameters; ///< room for six at least
  std::vector<Thread> threads;
  void *scheduler = nullptr; ///< where it was left
};

Block *runningBlock();

/// While it lives, an access that faults in a kernel ends the launch and not the process.
class FaultHandler {
public:
  FaultHandler();
  ~FaultHandler();
  FaultHandler(const FaultHandler &) = delete;
  FaultHandler &operator=(const FaultHandler &) = delete;

private:
  static constexpr int kSignals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};
  struct sigaction before[4];
  stack_t stackBefore;
  char *stack;
};

} // namespace lathe::emu

#endif // LATHE_TEST_CUDA_BLOCK_H
