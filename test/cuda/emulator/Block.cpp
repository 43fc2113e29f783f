/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

#include "Block.h"

#include <algorithm>
#include <bit>
#include <cstdlib>

using namespace lathe::emu;

/// Kernels may count on so much; a block's shared memory ends at a page that faults or less before.
static constexpr size_t kSharedAlignment = 128;

Block::Block(const Launch &launch, uint64_t seed, const Memory *memory)
    : launch(launch), deviceMemory(memory), stacks(launch.threads), omission(Omission::fromEnvironment()),
      sharedMemory(kSharedAlignment), seed(seed), parameters(launch.parameters), threads(launch.threads) {
  constexpr size_t kInRegisters = 6;
  parameters.resize(std::max(parameters.size(), kInRegisters));
  shared = sharedMemory.allocate(launch.sharedBytes);
}

void Block::begin() {
  Block *block = runningBlock();
  lathe_emu_call(block->launch.function, block->parameters.data(), block->launch.parameters.size());
  block->giveWay(Thread::Ended);
  abort(); // nobody goes on with a thread that ended
}

void Block::giveWay(Thread::State state) {
  Thread &thread = *current;
  thread.state = state;
  current = nullptr;
  lathe_emu_switch(&thread.stack, scheduler);
}

void Block::switchTo(Thread &thread) {
  current = &thread;
  lathe_emu_switch(&scheduler, thread.stack);
}

void Block::stop(Outcome outcome, const std::string &what) {
  result = {outcome, place(current) + what};
  giveWay(Thread::Ended);
  abort();
}

void Block::fail(Outcome outcome, const std::string &what) {
  if (result.outcome == Outcome::Done) {
    result = {outcome, place(nullptr) + what};
  }
}

std::string Block::place(const Thread *thread) const {
  std::string text = "kernel \"" + launch.kernel + "\", block " + std::to_string(index);
  return text + (thread ? ", thread " + std::to_string(thread->index) : "") + ": ";
}

std::string Block::sharedPlace(uintptr_t address) const {
  std::string text = sharedMemory.describe(address);
  return text.empty() ? "" : "in shared memory " + text;
}

bool Block::hasReady(unsigned warp) const {
  auto first = threads.begin() + warp * kWarp;
  auto last = threads.begin() + std::min<size_t>(threads.size(), (warp + 1) * kWarp);
  return std::any_of(first, last, [](const Thread &thread) { return thread.state == Thread::Ready; });
}

std::string Block::census(unsigned first, unsigned count) const {
  static constexpr const char *names[] = {"go on", "wait at a barrier", "wait for their warp", "have ended"};
  unsigned counts[4] = {};
  for (unsigned i = first; i < first + count && i < threads.size(); ++i) {
    ++counts[threads[i].state];
  }
  std::string text;
  for (unsigned state = 0; state < 4; ++state) {
    if (counts[state]) {
      text += (text.empty() ? "" : ", ") + std::to_string(counts[state]) + " " + names[state];
    }
  }
  return text;
}

void Block::run(unsigned block) {
  index = block;
  // The order is the block's own, whatever ran before.
  random.seed(uint32_t(std::hash<uint64_t>()(seed * 1000003 + block) ^ 0x9e3779b9u));
  sharedMemory.poison(shared);
  for (unsigned i = 0; i < threads.size(); ++i) {
    threads[i] = {};
    threads[i].index = i;
    threads[i].state = Thread::Ready;
    threads[i].stack = stacks.begin(i, begin);
  }
  unsigned warps = (launch.threads + kWarp - 1) / kWarp;
  std::vector<unsigned> ready;
  while (result.outcome == Outcome::Done) {
    ready.clear();
    for (unsigned warp = 0; warp < warps; ++warp) {
      if (hasReady(warp)) {
        ready.push_back(warp);
      }
    }
    if (!ready.empty()) {
      runWarp(ready[random() % ready.size()]);
      continue;
    }
    auto at = [&](Thread::State state) {
      return std::all_of(threads.begin(), threads.end(), [&](const Thread &t) { return t.state == state; });
    };
    if (at(Thread::Ended)) {
      break;
    }
    if (!at(Thread::AtBarrier)) {
      return fail(Outcome::BadProgram, "divergent barrier: of " + std::to_string(threads.size()) +
                                           " threads " + census(0, threads.size()));
    }
    for (Thread &thread : threads) {
      thread.state = Thread::Ready;
    }
  }
  if (std::string damage = sharedMemory.damage(); !damage.empty()) {
    fail(Outcome::BadAddress, "in shared memory " + damage);
  }
}

/// Lets every thread of a warp that can go on do so, in some order, until it waits.
void Block::runWarp(unsigned warp) {
  unsigned start = random() % kWarp, step = 2 * (random() % (kWarp / 2)) + 1;
  for (unsigned i = 0; i < kWarp; ++i) {
    unsigned number = warp * kWarp + (start + i * step) % kWarp;
    if (number < threads.size() && threads[number].state == Thread::Ready) {
      switchTo(threads[number]);
      if (result.outcome != Outcome::Done) {
        return;
      }
    }
  }
  if (!resolveCollectives(warp)) {
    fail(Outcome::BadProgram, "divergent collective: of warp " + std::to_string(warp) + " " +
                                  census(warp * kWarp, kWarp) + ", for different things");
  }
}

bool Block::resolveCollectives(unsigned warp) {
  for (unsigned lane = 0; lane < kWarp && warp * kWarp + lane < threads.size(); ++lane) {
    const Thread &first = threads[warp * kWarp + lane];
    if (first.state != Thread::AtCollective) {
      continue;
    }
    const uint32_t mask = first.mask;
    if (!(mask >> lane & 1)) {
      return false;
    }
    const void *operands[kWarp] = {};
    void *results[kWarp] = {};
    for (uint32_t rest = mask; rest; rest &= rest - 1) {
      unsigned number = warp * kWarp + unsigned(std::countr_zero(rest));
      if (number >= threads.size() || threads[number].state != Thread::AtCollective ||
          threads[number].collective != first.collective || threads[number].mask != mask ||
          threads[number].value != first.value) {
        return false;
      }
      operands[number % kWarp] = threads[number].operands;
      results[number % kWarp] = threads[number].results;
    }
    first.collective->run(operands, results);
    for (uint32_t rest = mask; rest; rest &= rest - 1) {
      threads[warp * kWarp + unsigned(std::countr_zero(rest))].state = Thread::Ready;
    }
  }
  return true;
}
