/* Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
 * SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception */

/// \file
/// A libcuda.so.1 whose devices are the emulator: what the runtime asks of a driver, as strictly as a driver
/// takes it. Its memory is the host's, but no one may touch it except through the driver or in a kernel.
///
/// The environment says what it is like; it is read by every call:
///   LATHE_MOCK_DEVICES=2               so many devices (default 1)
///   LATHE_MOCK_CAPABILITY=90           of this compute capability (default 80)
///   LATHE_MOCK_VERSION=11040           a driver for CUDA 11.4 (default 13000)
///   LATHE_MOCK_MEMORY=1000000          bytes of a device (default 16 GiB)
///   LATHE_MOCK_FAIL=cuLaunchKernel:3:701   the third call of a function fails with that result
///   LATHE_EMU_SEED=7                   another order of threads
///   LATHE_EMU_OMIT=barrier:2           every thread leaves out its third barrier; "barrier": all; "wait": of
///   copies

#ifndef LATHE_TEST_CUDA_DRIVER_H
#define LATHE_TEST_CUDA_DRIVER_H

#include "../emulator/Emulator.h"

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#define LATHE_MOCK extern "C" __attribute__((visibility("default"))) int

namespace lathe::mock {

/// Results of the driver's interface.
enum Status : int {
  Success = 0,
  InvalidValue = 1,
  OutOfMemory = 2,
  NotInitialized = 3,
  NoDevice = 100,
  InvalidDevice = 101,
  InvalidImage = 200,
  InvalidContext = 201,
  NoBinaryForGpu = 209,
  InvalidHandle = 400,
  NotFound = 500,
  IllegalAddress = 700,
  LaunchFailed = 719
};

struct Module {
  void *library;
  int descriptor; ///< open as long as the library is there, so that no other has its name
};

struct Function {
  Module *module;
  std::string name;
  void (*entry)();
  unsigned mostShared = 48 << 10;
};

struct Stream {};

struct Event {
  int64_t nanoseconds = -1; ///< not recorded
};

/// A launch in a graph, and those that come before it.
struct GraphNode {
  emu::Launch launch;
  std::vector<size_t> before;
};
struct Graph {
  std::vector<std::unique_ptr<GraphNode>> nodes;
};

/// A device's primary context. All others are not used.
struct Context {
  int ordinal = 0;
  int retained = 0;
  /// What every call gives after a kernel has failed.
  Status failed = Success;
  emu::Memory memory{256};
  std::set<Module *> modules;
  std::set<Function *> functions;
  std::set<Stream *> streams;
  std::set<Event *> events;
  std::set<Graph *> graphs, executables;
};

/// Everything, under one lock.
class Driver {
public:
  static Driver &get();

  std::recursive_mutex mutex;
  bool initialized = false;
  std::map<int, std::unique_ptr<Context>> contexts;
  std::map<std::string, int> calls; ///< of each function
  std::string report;               ///< of the last kernel that failed

  /// An entry of the environment.
  static int64_t setting(const char *name, int64_t fallback);
  static int devices() { return int(setting("LATHE_MOCK_DEVICES", 1)); }
  Context &context(int ordinal);
  /// Counts a call; what LATHE_MOCK_FAIL says about it, or Success.
  int enter(const char *function);
};

/// One call of the interface, under the lock.
class Call {
public:
  enum Needs { Nothing, Initialized, Current };
  Call(const char *function, Needs needs);
  /// Not Success: the call ends with it.
  int status;
  Context *context = nullptr; ///< the thread's, where it is needed

private:
  std::lock_guard<std::recursive_mutex> lock;
};

/// The contexts that a thread has pushed.
std::vector<Context *> &contextStack();

/// Checks what a launch asks for and reads its parameters.
int makeLaunch(const Context &context, Function *function, const unsigned (&grid)[3],
               const unsigned (&block)[3], unsigned sharedBytes, void **parameters, void **extra,
               emu::Launch &launch);
/// Runs a launch; what fails in it is told by later calls.
void runLaunch(Context &context, const emu::Launch &launch);

} // namespace lathe::mock

/// Begins the body of a function of the interface.
#define LATHE_MOCK_CALL(needs)                                                                               \
  lathe::mock::Call call(__func__, lathe::mock::Call::needs);                                                \
  if (call.status) {                                                                                         \
    return call.status;                                                                                      \
  }

#endif // LATHE_TEST_CUDA_DRIVER_H
