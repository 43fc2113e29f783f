// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Codegen/CUDA/DeviceTarget.h"
#include "lathe/Support/Error.h"
#include "lathe/Support/Text.h"
#include "llvm/ADT/STLExtras.h"

using namespace llvm;
using namespace lathe;

static constexpr StringLiteral kPrefix = "cuda-";
static constexpr StringLiteral kArchitectures[] = {"sm_80", "sm_89", "sm_90a", "emulator"};

bool cuda::isDeviceTarget(StringRef name) { return name.starts_with(kPrefix); }

Expected<cuda::DeviceTarget> cuda::resolveDeviceTarget(StringRef name) {
  StringRef architecture = name.substr(kPrefix.size());
  if (!is_contained(kArchitectures, architecture)) {
    return modelError(ErrorCode::E0501, "unknown target " + quoteText(name))
        .help("targets for CUDA devices are cuda-sm_80, cuda-sm_89 and cuda-sm_90a; each has PTX for newer "
              "devices, "
              "too");
  }
  return DeviceTarget{name.str(), architecture.str()};
}
