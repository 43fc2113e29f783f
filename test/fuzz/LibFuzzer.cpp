// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// One of the targets, for libFuzzer.

#include "Targets.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  lathe::fuzz::LATHE_FUZZ_TARGET(llvm::StringRef(reinterpret_cast<const char *>(data), size));
  return 0;
}
