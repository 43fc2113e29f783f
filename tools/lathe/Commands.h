// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The driver's sub-commands. Each prints its errors itself and returns the exit status.

#ifndef LATHE_TOOLS_LATHE_COMMANDS_H
#define LATHE_TOOLS_LATHE_COMMANDS_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"

namespace lathe {

/// `isWorker`: this process is the supervised one.
struct CommandContext {
  llvm::ArrayRef<llvm::StringRef> arguments;
  bool isWorker = false;
};

int compileCommand(const CommandContext &context);
int checkCommand(const CommandContext &context);
int explainCommand(const CommandContext &context);
int inspectCommand(const CommandContext &context);
int runCommand(const CommandContext &context);
int benchCommand(const CommandContext &context);
int profileCommand(const CommandContext &context);
int calibrateCommand(const CommandContext &context);
int latenciesCommand(const CommandContext &context);
int verifyCommand(const CommandContext &context);

} // namespace lathe

#endif // LATHE_TOOLS_LATHE_COMMANDS_H
