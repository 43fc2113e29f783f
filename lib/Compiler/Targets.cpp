// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Targets.h"

#include "lathe/Codegen/CUDA/Images.h"
#include "lathe/Support/Error.h"

#include "llvm/ADT/StringExtras.h"

using namespace llvm;
using namespace lathe;

Expected<Targets> lathe::resolveTargets(const CompileOptions &options) {
  Targets targets;
  for (const std::string &name : options.targets) {
    if (cuda::isDeviceTarget(name)) {
      Expected<cuda::DeviceTarget> device = cuda::resolveDeviceTarget(name);
      if (!device) {
        return device.takeError();
      }
      targets.devices.push_back(std::move(*device));
      continue;
    }
    Expected<cpu::TargetSpec> processor = cpu::resolveTarget(name);
    if (!processor) {
      return processor.takeError();
    }
    targets.processors.push_back(std::move(*processor));
  }
  targets.optimizedFor =
      targets.processors.empty() ? cuda::kHostTarget.str() : targets.processors.front().name;
  if (targets.devices.empty()) {
    if (options.plan.math == Plan::kTF32) {
      return modelError(ErrorCode::E0503, "only CUDA devices multiply tf32")
          .have(join(options.targets, ","))
          .help("name one, or let processors multiply bf16: --target=cuda-sm_80, or --math=bf16");
    }
    return targets;
  }
  if (options.from == Stage::LLVM) {
    return modelError(ErrorCode::E0503, "IR of the LLVM dialect is compiled for processors only")
        .have(join(options.targets, ","))
        .help("begin a stage before: --from=kernel");
  }
  Expected<cpu::TargetSpec> host = cpu::resolveTarget(cuda::kHostTarget);
  if (!host) {
    return host.takeError();
  }
  // As the runtime finds the variant.
  host->name = "cuda";
  targets.processors.insert(targets.processors.begin(), std::move(*host));
  return targets;
}
