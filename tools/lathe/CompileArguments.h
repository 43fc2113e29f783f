// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The options of commands that read a model, and the whole command line of `lathe compile`.

#ifndef LATHE_TOOLS_LATHE_COMPILEARGUMENTS_H
#define LATHE_TOOLS_LATHE_COMPILEARGUMENTS_H

#include "Arguments.h"
#include "Progress.h"
#include "lathe/Compiler/Compile.h"

namespace lathe {

struct SupervisionOptions {
  /// As a page for browsers where the name ends in .html, else as JSON.
  std::vector<std::string> reportPaths;
  Progress::Mode progress = Progress::Auto;
  double timeLimit = 600;
  uint64_t memoryLimit = 0;
  /// For debuggers: no worker.
  bool inProcess = false;
};

/// `--shape`.
void addShapeOption(Arguments &arguments, CompileOptions &options);
/// Links to external data, and limits.
void addModelOptions(Arguments &arguments, CompileOptions &options);
void addSupervisionOptions(Arguments &arguments, SupervisionOptions &options);
void addHiddenSupervisionOptions(Arguments &arguments, SupervisionOptions &options);

struct CompileArguments {
  CompileOptions options;
  SupervisionOptions supervision;
  bool quiet = false;
  /// An archive of inputs on which the loss is measured; empty: it is not.
  std::string inputs;
  /// For that: leave the plan out.
  bool withoutPlan = false;

  /// Reads them, and decides what follows from several together. False if help was asked for and printed.
  llvm::Expected<bool> parse(llvm::ArrayRef<llvm::StringRef> words);
};

} // namespace lathe

#endif // LATHE_TOOLS_LATHE_COMPILEARGUMENTS_H
