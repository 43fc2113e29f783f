// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The driver: one program, sub-commands.

#include "Commands.h"
#include "Supervise.h"
#include "lathe/Compiler/Worker.h"
#include "lathe/Support/Error.h"
#include "lathe/Support/Text.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"
#include <csignal>

using namespace llvm;
using namespace lathe;

namespace {

struct Command {
  StringRef name, summary;
  int (*run)(const CommandContext &);
};

constexpr Command commands[] = {
    {"compile", "compile a model to a shared library or a static archive", compileCommand},
    {"run", "run a compiled model on files or random inputs", runCommand},
    {"bench", "measure a compiled model, alone or against its peers", benchCommand},
    {"verify", "compare a model's results with ONNX Runtime's", verifyCommand},
    {"check", "say whether a model can be compiled, or explain an error code", checkCommand},
    {"explain", "say what becomes of one node of a model", explainCommand},
    {"inspect", "print what a model or a compiled model takes, gives and holds", inspectCommand},
    {"calibrate", "measure what a model multiplies with its weights, to quantize it", calibrateCommand},
    {"profile", "time of every kernel, by the ONNX nodes that it computes", profileCommand},
    {"latencies", "measure which formats pay on this machine", latenciesCommand},
};

void printHelp(raw_ostream &os) {
  os << "usage: lathe COMMAND [options]\n\nCompiles ONNX models to native code.\n\n";
  for (const Command &command : commands) {
    os << "  " << left_justify(command.name, 10) << command.summary << '\n';
  }
  os << "  " << left_justify("help", 10) << "print this, or the options of a command\n\n"
     << "  lathe compile model.onnx -o model.so && lathe run model.so --random\n";
}

const Command *findCommand(StringRef name) {
  for (const Command &command : commands) {
    if (command.name == name) {
      return &command;
    }
  }
  return nullptr;
}

int unknownCommand(StringRef name) {
  StringRef nearest;
  unsigned best = 3;
  for (const Command &command : commands) {
    unsigned distance = name.edit_distance(command.name, /*AllowReplacements=*/true, best);
    if (distance < best) {
      best = distance;
      nearest = command.name;
    }
  }
  std::string guess = nearest.empty() ? "" : ", did you mean " + nearest.str() + "?";
  return reportError(modelError(ErrorCode::E0001, "unknown command " + quoteText(name) + guess)
                         .help("`lathe help` lists the commands"),
                     errs());
}

int runLathe(SmallVector<StringRef> arguments) {
  CommandContext context;
  if (!arguments.empty() && arguments.front() == workerFlag) {
    context.isWorker = true;
    arguments.erase(arguments.begin());
  }
  if (arguments.empty()) {
    printHelp(errs());
    return static_cast<int>(ErrorClass::Usage);
  }
  StringRef name = arguments.front();
  if (name == "help" || name == "--help" || name == "-h") {
    if (arguments.size() == 1) {
      printHelp(outs());
      return 0;
    }
    const Command *command = findCommand(arguments[1]);
    StringRef help = "--help";
    context.arguments = help;
    return command ? command->run(context) : unknownCommand(arguments[1]);
  }
  if (name == "--version" || name == "version") {
    outs() << "lathe " LATHE_VERSION "\n";
    return 0;
  }
  const Command *command = findCommand(name);
  if (!command) {
    return unknownCommand(name);
  }
  context.arguments = ArrayRef(arguments).drop_front();
  return command->run(context);
}

} // namespace

int main(int argc, char **argv) {
  // A file that outgrows the limit of its size is an error of the write, like a full disk.
  signal(SIGXFSZ, SIG_IGN);
  int status = runLathe(SmallVector<StringRef>(argv + 1, argv + argc));
  Error error = flushStandardOutput();
  return status == 0 ? reportError(std::move(error), errs()) : (consumeError(std::move(error)), status);
}
