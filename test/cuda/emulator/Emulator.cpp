/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

#include "Emulator.h"
#include "Block.h"

#include <cstdlib>

using namespace lathe::emu;

namespace {
/// Of the launch that runs in this thread of the process.
thread_local Block *running = nullptr;
} // namespace

Block *lathe::emu::runningBlock() { return running; }

Result lathe::emu::run(const Launch &launch, uint64_t seed, const Memory *memory) {
  Block block(launch, seed, memory);
  FaultHandler handler;
  running = &block;
  for (unsigned index = 0; index < launch.blocks && block.result.outcome == Outcome::Done; ++index) {
    block.run(index);
  }
  running = nullptr;
  return block.result;
}

uint64_t lathe::emu::seedFromEnvironment() {
  const char *text = getenv("LATHE_EMU_SEED");
  return text ? strtoull(text, nullptr, 0) : 0;
}

Omission Omission::fromEnvironment() {
  const char *text = getenv("LATHE_EMU_OMIT");
  Omission omission;
  if (text) {
    omission.what = text;
    if (size_t colon = omission.what.find(':'); colon != std::string::npos) {
      omission.number = unsigned(strtoul(text + colon + 1, nullptr, 10));
      omission.what.resize(colon);
    }
  }
  return omission;
}

unsigned lathe::emu::threadIndex() { return running->current->index; }
unsigned lathe::emu::blockIndex() { return running->index; }
unsigned lathe::emu::blockCount() { return running->launch.blocks; }
unsigned lathe::emu::blockThreads() { return running->launch.threads; }
void *lathe::emu::sharedMemory() { return running->shared; }

void lathe::emu::waitForBlock() {
  if (!running->omission.omits("barrier", running->current->barriers++)) {
    running->giveWay(Thread::AtBarrier);
  }
}

void lathe::emu::together(const Collective &collective, uint32_t mask, int value, const void *operands,
                          void *results) {
  Thread &thread = *running->current;
  thread.collective = &collective;
  thread.mask = mask;
  thread.value = value;
  thread.operands = operands;
  thread.results = results;
  running->giveWay(Thread::AtCollective);
}

void lathe::emu::copyLater(void *to, const void *from, size_t bytes, size_t zeros) {
  memset(to, kPoison, bytes + zeros);
  running->current->copies.push_back({to, from, bytes, zeros});
}

void lathe::emu::commitCopies() {
  Thread &thread = *running->current;
  thread.groups.push_back(std::move(thread.copies));
  thread.copies.clear();
}

static void perform(std::vector<Thread::Copy> &copies) {
  for (const Thread::Copy &copy : copies) {
    memcpy(copy.to, copy.from, copy.bytes);
    memset(static_cast<char *>(copy.to) + copy.bytes, 0, copy.zeros);
  }
  copies.clear();
}

void lathe::emu::waitForCopies(size_t left, bool uncommitted) {
  Thread &thread = *running->current;
  if (running->omission.omits("wait", thread.copyWaits++)) {
    return;
  }
  while (thread.groups.size() > left) {
    perform(thread.groups.front());
    thread.groups.pop_front();
  }
  if (uncommitted) {
    perform(thread.copies);
  }
}
