// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Writes the stream of weights into a file and sums it up.

#ifndef LATHE_COMPILER_WEIGHTWRITER_H
#define LATHE_COMPILER_WEIGHTWRITER_H

#include "lathe/Compiler/Seal.h"
#include "lathe/Support/OutputFile.h"
#include "llvm/ADT/SmallVector.h"
#include <vector>

namespace lathe {

class WeightWriter {
public:
  /// `sums` may be null; otherwise it receives the crc of every LATHE_CHUNK_BYTES.
  WeightWriter(OutputFile &file, uint64_t offset, uint64_t bytes, llvm::SmallVectorImpl<uint32_t> *sums)
      : file(file), offset(offset), bytes(bytes), sums(sums) {}

  /// Fails unless `source` gives exactly the bytes announced. The file then ends behind them.
  llvm::Error writeAll(WeightSource source);

private:
  llvm::Error take(llvm::ArrayRef<char> piece);
  llvm::Error flush();
  void addToSums(llvm::ArrayRef<char> piece);

  OutputFile &file;
  uint64_t offset, bytes, written = 0;
  /// What was taken and is not written yet. It ends before the next multiple of a large page in the file:
  /// systems that cache files in large pages take the size of a write for a hint, and map those as a whole.
  std::vector<char> block;
  llvm::SmallVectorImpl<uint32_t> *sums;
};

} // namespace lathe

#endif // LATHE_COMPILER_WEIGHTWRITER_H
