/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/// \file
/// Modules, streams, events and launches.

#include "Driver.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <dlfcn.h>
#include <elf.h>
#include <sys/mman.h>
#include <unistd.h>

using namespace lathe;
using namespace lathe::mock;

/// Of compute capability 8.0: 163 KiB.
static constexpr unsigned kMostShared = 163 << 10;

//===-- Modules
//--------------------------------------------------------------------------------------------===//

/// The bytes of an ELF file, by its headers.
static size_t fileBytes(const unsigned char *image, const Elf64_Ehdr &ehdr) {
  size_t end = ehdr.e_shoff + size_t(ehdr.e_shnum) * ehdr.e_shentsize;
  for (size_t i = 0; i < ehdr.e_phnum; ++i) {
    Elf64_Phdr phdr;
    memcpy(&phdr, image + ehdr.e_phoff + i * sizeof phdr, sizeof phdr);
    end = std::max<size_t>(end, phdr.p_offset + phdr.p_filesz);
  }
  return end;
}

/// What it is linked against are our own functions: they must be among those of the process.
static void showOwnFunctions() {
  Dl_info info;
  if (dladdr(reinterpret_cast<void *>(&showOwnFunctions), &info)) {
    dlopen(info.dli_fname, RTLD_NOW | RTLD_GLOBAL | RTLD_NOLOAD);
  }
}

/// Loads a shared object that lies in memory; null when that cannot be done.
static Module *loadLibrary(const unsigned char *image, size_t bytes) {
  int descriptor = memfd_create("lathe-emulator", MFD_CLOEXEC);
  if (descriptor < 0 || write(descriptor, image, bytes) != ssize_t(bytes)) {
    return nullptr;
  }
  showOwnFunctions();
  // Not /proc/self: artifacts are loaded by such names, which outlive their descriptors, and the loader takes
  // a library of the same name for the one that is asked for.
  char path[48];
  snprintf(path, sizeof path, "/proc/%d/fd/%d", int(getpid()), descriptor);
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    fprintf(stderr, "emulator: %s\n", dlerror());
    close(descriptor);
    return nullptr;
  }
  return new Module{library, descriptor};
}

/// Writes into the buffer that the options give for messages of the compiler.
static void logMessage(unsigned count, const int *options, void **values, const char *text) {
  constexpr int kLog = 5, kLogBytes = 6;
  char *log = nullptr;
  size_t bytes = 0;
  for (unsigned i = 0; i < count; ++i) {
    log = options[i] == kLog ? static_cast<char *>(values[i]) : log;
    bytes = options[i] == kLogBytes ? reinterpret_cast<size_t>(values[i]) : bytes;
  }
  if (log) {
    snprintf(log, bytes, "%s", text);
  }
}

LATHE_MOCK cuModuleLoadDataEx(Module **module, const void *image, unsigned count, int *options,
                              void **values) {
  LATHE_MOCK_CALL(Current);
  Elf64_Ehdr ehdr;
  if (memcmp(image, ELFMAG, SELFMAG) != 0) {
    logMessage(count, options, values, "the emulator compiles no PTX");
    return NoBinaryForGpu;
  }
  memcpy(&ehdr, image, sizeof ehdr);
  if (ehdr.e_machine != EM_X86_64) {
    return NoBinaryForGpu;
  }
  const auto *bytes = static_cast<const unsigned char *>(image);
  *module = loadLibrary(bytes, fileBytes(bytes, ehdr));
  if (!*module) {
    return InvalidImage;
  }
  call.context->modules.insert(*module);
  return Success;
}

LATHE_MOCK cuModuleUnload(Module *module) {
  LATHE_MOCK_CALL(Current);
  if (call.context->modules.erase(module) == 0) {
    return InvalidHandle;
  }
  std::set<Function *> &functions = call.context->functions;
  for (auto at = functions.begin(); at != functions.end();) {
    Function *function = *at;
    at = function->module == module ? functions.erase(at) : std::next(at);
    if (function->module == module) {
      delete function;
    }
  }
  dlclose(module->library);
  close(module->descriptor);
  delete module;
  return Success;
}

LATHE_MOCK cuModuleGetFunction(Function **function, Module *module, const char *name) {
  LATHE_MOCK_CALL(Current);
  if (!call.context->modules.count(module)) {
    return InvalidHandle;
  }
  void *entry = dlsym(module->library, name);
  if (!entry) {
    return NotFound;
  }
  *function = new Function{module, name, reinterpret_cast<void (*)()>(entry)};
  call.context->functions.insert(*function);
  return Success;
}

LATHE_MOCK cuFuncSetAttribute(Function *function, int attribute, int value) {
  LATHE_MOCK_CALL(Current);
  constexpr int kMaxDynamicShared = 8;
  if (!call.context->functions.count(function)) {
    return InvalidHandle;
  }
  if (attribute != kMaxDynamicShared || value < 0 || unsigned(value) > kMostShared) {
    return InvalidValue;
  }
  function->mostShared = unsigned(value);
  return Success;
}

//===-- Streams and events
//---------------------------------------------------------------------------------===//

LATHE_MOCK cuStreamCreate(Stream **stream, unsigned flags) {
  LATHE_MOCK_CALL(Current);
  *stream = new Stream;
  call.context->streams.insert(*stream);
  return Success;
}

LATHE_MOCK cuStreamDestroy_v2(Stream *stream) {
  LATHE_MOCK_CALL(Current);
  if (call.context->streams.erase(stream) == 0) {
    return InvalidHandle;
  }
  delete stream;
  return Success;
}

LATHE_MOCK cuStreamSynchronize(Stream *stream) {
  LATHE_MOCK_CALL(Current);
  return call.context->streams.count(stream) ? Success : InvalidHandle;
}

LATHE_MOCK cuEventCreate(Event **event, unsigned flags) {
  LATHE_MOCK_CALL(Current);
  *event = new Event;
  call.context->events.insert(*event);
  return Success;
}

LATHE_MOCK cuEventDestroy_v2(Event *event) {
  LATHE_MOCK_CALL(Current);
  if (call.context->events.erase(event) == 0) {
    return InvalidHandle;
  }
  delete event;
  return Success;
}

LATHE_MOCK cuEventRecord(Event *event, Stream *stream) {
  LATHE_MOCK_CALL(Current);
  if (!call.context->events.count(event) || !call.context->streams.count(stream)) {
    return InvalidHandle;
  }
  event->nanoseconds = std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
  return Success;
}

LATHE_MOCK cuEventElapsedTime(float *milliseconds, Event *from, Event *to) {
  LATHE_MOCK_CALL(Current);
  if (!call.context->events.count(from) || !call.context->events.count(to) || from->nanoseconds < 0 ||
      to->nanoseconds < 0) {
    return InvalidHandle;
  }
  *milliseconds = float(double(to->nanoseconds - from->nanoseconds) * 1e-6);
  return Success;
}

//===-- Launches
//-------------------------------------------------------------------------------------------===//

void lathe::mock::runLaunch(Context &context, const emu::Launch &launch) {
  if (context.failed) {
    return;
  }
  context.memory.setAccess(true);
  emu::Result result = emu::run(launch, emu::seedFromEnvironment(), &context.memory);
  std::string damage = context.memory.damage();
  context.memory.setAccess(false);
  if (result.outcome == emu::Outcome::Done && !damage.empty()) {
    result = {emu::Outcome::BadAddress, "kernel \"" + launch.kernel + "\": " + damage};
  }
  if (result.outcome == emu::Outcome::Done) {
    return;
  }
  context.failed = result.outcome == emu::Outcome::BadAddress ? IllegalAddress : LaunchFailed;
  Driver::get().report = result.report;
  fprintf(stderr, "emulator: %s\n", result.report.c_str());
}

/// Reads what CU_LAUNCH_PARAM_BUFFER_POINTER and CU_LAUNCH_PARAM_BUFFER_SIZE give.
static bool readParameters(void **extra, std::vector<uint64_t> &parameters) {
  const void *buffer = nullptr;
  size_t bytes = 0;
  for (; extra && *extra; extra += 2) {
    auto what = reinterpret_cast<uintptr_t>(*extra);
    if (what == 1) {
      buffer = extra[1];
    } else if (what == 2) {
      bytes = *static_cast<size_t *>(extra[1]);
    } else {
      return false;
    }
  }
  constexpr size_t kMostBytes = 4096;
  if (!buffer || bytes % 8 || bytes > kMostBytes) {
    return false;
  }
  parameters.resize(bytes / 8);
  memcpy(parameters.data(), buffer, bytes);
  return true;
}

int lathe::mock::makeLaunch(const Context &context, Function *function, const unsigned (&grid)[3],
                            const unsigned (&block)[3], unsigned sharedBytes, void **parameters, void **extra,
                            emu::Launch &launch) {
  constexpr unsigned kMostThreads = 1024, kMostBlocks = INT32_MAX;
  if (!context.functions.count(function)) {
    return InvalidHandle;
  }
  launch.kernel = function->name;
  launch.function = function->entry;
  launch.blocks = grid[0];
  launch.threads = block[0];
  launch.sharedBytes = sharedBytes;
  bool good = grid[0] && grid[0] <= kMostBlocks && grid[1] == 1 && grid[2] == 1 && block[0] &&
              block[0] <= kMostThreads && block[1] == 1 && block[2] == 1 &&
              sharedBytes <= function->mostShared && !parameters && readParameters(extra, launch.parameters);
  return good ? Success : InvalidValue;
}

LATHE_MOCK cuLaunchKernel(Function *function, unsigned gridX, unsigned gridY, unsigned gridZ, unsigned blockX,
                          unsigned blockY, unsigned blockZ, unsigned sharedBytes, Stream *stream,
                          void **parameters, void **extra) {
  LATHE_MOCK_CALL(Current);
  emu::Launch launch;
  if (!call.context->streams.count(stream)) {
    return InvalidHandle;
  }
  if (int status = makeLaunch(*call.context, function, {gridX, gridY, gridZ}, {blockX, blockY, blockZ},
                              sharedBytes, parameters, extra, launch)) {
    return status;
  }
  runLaunch(*call.context, launch);
  return Success;
}
