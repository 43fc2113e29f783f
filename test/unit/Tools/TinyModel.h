// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The runtime tests' model y[B, 4] = x[B, 4] + w[4], made by the compiler's linker and sealer.

#ifndef LATHE_TEST_UNIT_TOOLS_TINYMODEL_H
#define LATHE_TEST_UNIT_TOOLS_TINYMODEL_H

#include "lathe/Compiler/Link.h"
#include "lathe/Compiler/Seal.h"
#include "llvm/Support/MemoryBuffer.h"

namespace lathe::test {

/// The weights are 1, 2, 3, 4.
inline llvm::Error makeTinyModel(llvm::StringRef path) {
  auto object =
      llvm::MemoryBuffer::getFile(LATHE_TINY_OBJECT, /*IsText=*/false, /*RequiresNullTerminator=*/false);
  if (!object) {
    return llvm::errorCodeToError(object.getError());
  }
  ArtifactInfo info;
  info.fingerprint = 0xab;
  info.weightBytes = 64;
  info.targets = {{"x86-64-v9", uint64_t(1) << 62}, {"any", 0}};
  llvm::Expected<llvm::SmallVector<char, 0>> library =
      linkShared(llvm::ArrayRef((*object)->getBufferStart(), (*object)->getBufferSize()), info.weightBytes);
  if (!library) {
    return library.takeError();
  }
  auto weights = [](ByteSink sink) {
    float values[16] = {1, 2, 3, 4};
    return sink(llvm::ArrayRef(reinterpret_cast<const char *>(values), sizeof values));
  };
  return sealArtifact(*library, info, weights, path);
}

} // namespace lathe::test

#endif // LATHE_TEST_UNIT_TOOLS_TINYMODEL_H
