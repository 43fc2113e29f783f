// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Compilation in a process of its own, under limits: LLVM aborts on some inputs, and neither LLVM nor lld
/// can be interrupted.
///
/// The supervisor starts its own program again with `workerFlag` before the arguments. The worker sends JSON
/// lines through a pipe: `{"progress": {...}}`, `{"errors": [...]}`, `{"report": {...}}` and at the end
/// `{"done": true}`.

#ifndef LATHE_COMPILER_WORKER_H
#define LATHE_COMPILER_WORKER_H

#include "lathe/Compiler/Report.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/Support/Error.h"
#include <string>
#include <vector>

namespace lathe {

/// The first argument of a worker.
inline constexpr llvm::StringLiteral workerFlag = "--lathe-worker";

struct WorkerOptions {
  /// What the worker runs; its arguments follow the flag.
  std::string executable = "/proc/self/exe";
  std::vector<std::string> arguments;
  /// Seconds of wall-clock time; 0: none.
  double timeLimit = 600;
  /// Bytes that belong to the worker alone (mapped files do not count); 0: four fifths of the machine's.
  uint64_t memoryLimit = 0;
  /// Files that the worker writes: what it leaves of them when it dies is removed.
  std::vector<std::string> outputs;
};

/// Runs a worker to its end. Errors are those it sent, or why it died: E0902 to E0904. Calls report.progress,
/// fills the rest of `report` with what the worker sent, and its number "peak_memory_bytes".
///
/// An interrupt or termination of the supervisor ends the worker first.
llvm::Error runInWorker(const WorkerOptions &options, Report &report);

/// The worker's side: runs `body` and sends what comes of it. Returns the exit status.
int workerMain(llvm::function_ref<llvm::Error(Report &)> body);

} // namespace lathe

#endif // LATHE_COMPILER_WORKER_H
