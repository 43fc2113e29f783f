// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The CUDA devices that code is generated for.

#ifndef LATHE_CODEGEN_CUDA_DEVICETARGET_H
#define LATHE_CODEGEN_CUDA_DEVICETARGET_H

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <string>

namespace lathe::cuda {

/// One of the targets of a file with code for CUDA devices, by what is made for it beside PTX.
struct DeviceTarget {
  /// As on the command line: "cuda-sm_80".
  std::string name;
  /// As ptxas and the table of images call it: "sm_80"; "emulator" for a library that tests run on the
  /// processor.
  std::string architecture;

  bool isEmulator() const { return architecture == "emulator"; }
};

/// Whether `name` is one of a CUDA device, known or not.
bool isDeviceTarget(llvm::StringRef name);

/// The target called `name`, which isDeviceTarget() takes for one.
llvm::Expected<DeviceTarget> resolveDeviceTarget(llvm::StringRef name);

} // namespace lathe::cuda

#endif // LATHE_CODEGEN_CUDA_DEVICETARGET_H
