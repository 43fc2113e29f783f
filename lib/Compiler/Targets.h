// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The targets of one compilation.

#ifndef LATHE_LIB_COMPILER_TARGETS_H
#define LATHE_LIB_COMPILER_TARGETS_H

#include "lathe/Codegen/CPU/TargetSpec.h"
#include "lathe/Codegen/CUDA/DeviceTarget.h"
#include "lathe/Compiler/Compile.h"

#include <vector>

namespace lathe {

/// What code is generated for.
struct Targets {
  /// Best first; where there are devices, the first is what their host program is for.
  std::vector<cpu::TargetSpec> processors;
  std::vector<cuda::DeviceTarget> devices;
  /// What optimizations go by that are made once for all.
  std::string optimizedFor;

  bool areDevicesAlone() const { return !devices.empty() && processors.size() == 1; }
};

/// The targets that the options name, which have to fit each other.
llvm::Expected<Targets> resolveTargets(const CompileOptions &options);

} // namespace lathe

#endif // LATHE_LIB_COMPILER_TARGETS_H
