// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Options of a compilation that go by passes: to print IR after one, and to find one at fault by bisection.

#ifndef LATHE_COMPILER_PASSSELECTION_H
#define LATHE_COMPILER_PASSSELECTION_H

#include "lathe/Compiler/Compile.h"

#include <string>

namespace lathe {

/// Whether IR can be printed after the pass `options.dumpIRAfter`, if there is one: it has to run in this
/// compilation.
llvm::Error checkDumpedPass(const CompileOptions &options);

/// Runs only the first of the passes that code can do without.
class PassBisection {
public:
  explicit PassBisection(unsigned limit) : limit(limit) {}

  /// Whether the pass is to run; counts optional ones, and says so on standard error.
  bool runs(llvm::StringRef pass, bool isOptional);

  /// Says on standard error how many ran, and which was the last.
  void summarize() const;

private:
  unsigned limit, seen = 0;
  std::string last;
};

} // namespace lathe

#endif // LATHE_COMPILER_PASSSELECTION_H
