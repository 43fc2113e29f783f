// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Python.h"
#include "lathe/Support/Error.h"
#include "lathe/Support/Text.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Program.h"
#include <cerrno>
#include <cstdlib>
#include <unistd.h>

using namespace llvm;
using namespace lathe;

Error lathe::runPythonModule(StringRef module, ArrayRef<StringRef> arguments) {
  const char *wanted = getenv("LATHE_PYTHON");
  std::string name = wanted && *wanted ? wanted : "python3";
  ErrorOr<std::string> python = sys::findProgramByName(name);
  // A name with a slash is taken as it is.
  if (!python || !sys::fs::can_execute(*python)) {
    return modelError(ErrorCode::E0005, "no Python interpreter " + quoteText(name))
        .help("set LATHE_PYTHON to one that has Lathe's package");
  }
  // The import is tried first: Python's own words on a missing package are a stack trace.
  std::string test = ("import " + module).str();
  std::string reason;
  StringRef testArguments[] = {*python, "-c", test};
  std::optional<StringRef> silent[] = {StringRef(""), StringRef(""), StringRef("")};
  if (sys::ExecuteAndWait(*python, testArguments, std::nullopt, silent, /*SecondsToWait=*/60,
                          /*MemoryLimit=*/0, &reason) != 0) {
    return modelError(ErrorCode::E0005,
                      "Lathe's Python package, or what it needs, is not installed for " + quoteText(*python))
        .help("`" + escapeText(*python) + " -c '" + test +
              "'` says what is missing; LATHE_PYTHON chooses another interpreter");
  }
  // The package is to use this very driver.
  std::string self = sys::fs::getMainExecutable(nullptr, nullptr);
  setenv("LATHE_DRIVER", self.c_str(), /*overwrite=*/1);
  SmallVector<std::string> words = {*python, "-m", module.str()};
  for (StringRef argument : arguments) {
    words.push_back(argument.str());
  }
  SmallVector<char *> argv;
  for (std::string &word : words) {
    argv.push_back(word.data());
  }
  argv.push_back(nullptr);
  execv(python->c_str(), argv.data());
  return systemError(ErrorCode::E0005, "cannot start " + quoteText(*python), errno);
}
