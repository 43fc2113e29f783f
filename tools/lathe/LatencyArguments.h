// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Which table of latencies a compilation goes by.

#ifndef LATHE_TOOLS_LATHE_LATENCYARGUMENTS_H
#define LATHE_TOOLS_LATHE_LATENCYARGUMENTS_H

#include "Arguments.h"
#include "lathe/Compiler/Compile.h"

namespace lathe {

/// What this machine and this program would measure.
LatencyOrigin getLatencyOrigin();

class LatencyArguments {
public:
  /// Declares --latencies and --force.
  void addTo(Arguments &arguments, CompileOptions &options);
  /// Reads the table that `options` are to go by.
  llvm::Error complete(CompileOptions &options) const;

private:
  std::string file = "native";
};

} // namespace lathe

#endif // LATHE_TOOLS_LATHE_LATENCYARGUMENTS_H
