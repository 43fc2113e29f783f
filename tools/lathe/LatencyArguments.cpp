// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "LatencyArguments.h"

#include "lathe/Codegen/CPU/TargetSpec.h"
#include "lathe/Codegen/CUDA/DeviceTarget.h"
#include "lathe/Support/Error.h"
#include "lathe/Support/Text.h"
#include "llvm/Support/FileSystem.h"

using namespace llvm;
using namespace lathe;

LatencyOrigin lathe::getLatencyOrigin() {
  cpu::HostProcessor host = cpu::detectHost();
  return {host.brand, host.features, LATHE_VERSION};
}

void LatencyArguments::addTo(Arguments &arguments, CompileOptions &options) {
  arguments.text("--latencies", "FILE|native|none",
                 "refuse formats that this table shows not to pay; native (default): this machine's, if "
                 "`lathe latencies` "
                 "has measured it; none: built-in rules alone",
                 file);
  arguments.flag("--force", "do what does not pay all the same, and say so", options.force);
}

Error LatencyArguments::complete(CompileOptions &options) const {
  if (file == "none" || options.plan.empty()) {
    return Error::success();
  }
  LatencyOrigin here = getLatencyOrigin();
  bool isNative = options.targets.size() == 1 && options.targets.front() == "native";
  std::string path = file;
  if (file == "native") {
    path = getLatencyCache(here);
    // For other targets than this machine nobody asked for its table.
    if (!isNative || path.empty() || !sys::fs::exists(path)) {
      return Error::success();
    }
  }
  if (Error error = LatencyTable::read(path).moveInto(options.latencies)) {
    return error;
  }
  if (isNative) {
    return options.latencies.checkOrigin(here);
  }
  for (const std::string &name : options.targets) {
    if (cuda::isDeviceTarget(name)) {
      return modelError(ErrorCode::E0820, "latencies of processors say nothing of " + name).file(path);
    }
    Expected<cpu::TargetSpec> target = cpu::resolveTarget(name);
    if (!target) {
      return target.takeError();
    }
    if ((target->cpuFeatures & ~options.latencies.origin.features) != 0) {
      return modelError(ErrorCode::E0820,
                        "the latencies were measured on a processor that cannot run code for " + name)
          .file(path)
          .have("measured on " + quoteText(options.latencies.origin.processor))
          .help("`lathe latencies` on a machine of the target measures it; --latencies=none goes by built-in "
                "rules");
    }
  }
  return Error::success();
}
