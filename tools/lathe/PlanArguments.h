// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The options of `lathe compile` that change a model's numbers or size: shorthands for what a plan says.

#ifndef LATHE_TOOLS_LATHE_PLANARGUMENTS_H
#define LATHE_TOOLS_LATHE_PLANARGUMENTS_H

#include "Arguments.h"
#include "lathe/Plan/Plan.h"

namespace lathe {

struct PlanArguments {
  /// `--plan`.
  std::string file;
  /// `--stats`.
  std::string stats;
  /// What the other options say.
  Plan shorthand;

  void addTo(Arguments &arguments);
  /// The file's plan and the shorthands together, with the hash of the statistics.
  llvm::Expected<Plan> complete() const;
};

} // namespace lathe

#endif // LATHE_TOOLS_LATHE_PLANARGUMENTS_H
