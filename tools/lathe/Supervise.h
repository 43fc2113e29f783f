// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Commands that look at a model: in a worker under limits, with progress, a report, and a reproducer when
/// Lathe fails.

#ifndef LATHE_TOOLS_LATHE_SUPERVISE_H
#define LATHE_TOOLS_LATHE_SUPERVISE_H

#include "Commands.h"
#include "CompileArguments.h"
#include "lathe/Compiler/Report.h"
#include "lathe/Compiler/Worker.h"
#include "lathe/Import/Limits.h"
#include "lathe/Support/Error.h"
#include "llvm/ADT/STLFunctionalExtras.h"

namespace lathe {

/// Whether all that was printed on standard output has arrived.
llvm::Error flushStandardOutput();

class Supervision {
public:
  Supervision(llvm::StringRef command, const CommandContext &context, const SupervisionOptions &options)
      : command(command), context(context), options(options) {}

  /// What is read within which limits, and what the work writes.
  std::string model;
  std::vector<std::string> outputs;
  ModelLimits limits;
  /// The command's options, for the report.
  llvm::json::Object description;
  Report report;
  /// What the supervisor does with what a worker made, before the report is written; may be empty.
  std::function<llvm::Error(Report &)> finish;

  /// In the supervisor starts the worker, prints warnings and errors, writes the report, and calls
  /// `succeeded`; in the worker runs `body`. Returns the exit status.
  int run(llvm::function_ref<llvm::Error(Report &)> body,
          llvm::function_ref<void(const Report &, double seconds)> succeeded);

  /// A worker that runs the command with these arguments behind its own.
  WorkerOptions makeWorker(llvm::ArrayRef<std::string> more) const;

private:
  llvm::Error work(llvm::function_ref<llvm::Error(Report &)> body);
  llvm::Error writeReport(llvm::ArrayRef<ModelError> errors, double seconds);
  void writeReproducer(llvm::MutableArrayRef<ModelError> errors);

  std::string command;
  const CommandContext &context;
  const SupervisionOptions &options;
};

} // namespace lathe

#endif // LATHE_TOOLS_LATHE_SUPERVISE_H
