/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/// \file
/// A fault in a kernel is a signal. Its handler makes the fiber go on in a function that ends the launch.

#include "Block.h"

#include <cstdlib>
#include <ucontext.h>

using namespace lathe::emu;

namespace {
/// Of the fault that is being handled.
struct Fault {
  int signal;
  uintptr_t address;
  bool writes;
};
thread_local Fault fault;

/// Runs on the fiber's stack, which is nobody's any more.
[[noreturn]] void endLaunch() {
  Block &block = *runningBlock();
  if (fault.signal == SIGFPE) {
    block.stop(Outcome::BadProgram, "divides by zero, which a device does not notice");
  }
  if (fault.signal == SIGILL) {
    block.stop(Outcome::BadProgram, "comes where its code has no end");
  }
  if (block.stacks.isBelow(block.current->index, fault.address)) {
    block.stop(Outcome::BadProgram,
               "needs more than " + std::to_string(Stacks::kBytes >> 10) + " KiB of stack");
  }
  std::string what = fault.writes ? "writes " : "reads ";
  std::string where = block.sharedPlace(fault.address);
  if (where.empty() && block.deviceMemory) {
    where = block.deviceMemory->describe(fault.address);
  }
  block.stop(Outcome::BadAddress, what + (where.empty() ? "where no memory is" : where));
}

void handle(int signal, siginfo_t *info, void *opaque) {
  auto *context = static_cast<ucontext_t *>(opaque);
  Block *block = runningBlock();
  if (!block || !block->current) {
    // Not ours: it happens again without us.
    ::signal(signal, SIG_DFL);
    return;
  }
  constexpr greg_t kWriteBit = 2;
  fault = {signal, reinterpret_cast<uintptr_t>(info->si_addr),
           (context->uc_mcontext.gregs[REG_ERR] & kWriteBit) != 0};
  // As after a call.
  context->uc_mcontext.gregs[REG_RSP] =
      reinterpret_cast<greg_t>(block->stacks.top(block->current->index)) - 8;
  context->uc_mcontext.gregs[REG_RIP] = reinterpret_cast<greg_t>(&endLaunch);
}
} // namespace

FaultHandler::FaultHandler() {
  constexpr size_t kStackBytes = 64 << 10;
  stack = static_cast<char *>(malloc(kStackBytes));
  stack_t own = {};
  own.ss_sp = stack;
  own.ss_size = kStackBytes;
  sigaltstack(&own, &stackBefore);
  struct sigaction action = {};
  action.sa_sigaction = handle;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  for (size_t i = 0; i < std::size(kSignals); ++i) {
    sigaction(kSignals[i], &action, &before[i]);
  }
}

FaultHandler::~FaultHandler() {
  for (size_t i = 0; i < std::size(kSignals); ++i) {
    sigaction(kSignals[i], &before[i], nullptr);
  }
  sigaltstack(&stackBefore, nullptr);
  free(stack);
}
