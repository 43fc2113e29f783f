// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Targets.h"

#include "lathe/Npz/Npz.h"

#include <sys/mman.h>
#include <unistd.h>

using namespace lathe;

void fuzz::npz(llvm::StringRef bytes) {
  static const int file = memfd_create("fuzz", 0);
  if (file < 0 || ftruncate(file, 0) != 0 ||
      pwrite(file, bytes.data(), bytes.size(), 0) != ssize_t(bytes.size())) {
    abort();
  }
  std::string path = "/proc/self/fd/" + std::to_string(file);
  if (bytes.starts_with("P")) {
    llvm::Expected<std::vector<Array>> arrays = readNpz(path);
    if (!arrays) {
      expectFaultOfTheInput(arrays.takeError());
    }
    return;
  }
  llvm::Expected<Array> array = readNpy(path);
  if (!array) {
    expectFaultOfTheInput(array.takeError());
  }
}
