// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "WeightWriter.h"
#include "crc32c.h"
#include "lathe/Support/Error.h"
#include "lathe/container.h"
#include "llvm/ADT/STLExtras.h"

using namespace llvm;
using namespace lathe;

static constexpr uint64_t kLargePage = uint64_t(2) << 20;

void WeightWriter::addToSums(ArrayRef<char> piece) {
  uint64_t at = written;
  while (!piece.empty()) {
    uint64_t inChunk = at % LATHE_CHUNK_BYTES;
    size_t n = std::min<uint64_t>(piece.size(), LATHE_CHUNK_BYTES - inChunk);
    if (inChunk == 0) {
      sums->push_back(0);
    }
    sums->back() = lathe_crc32c(sums->back(), piece.data(), n);
    piece = piece.drop_front(n);
    at += n;
  }
}

Error WeightWriter::take(ArrayRef<char> piece) {
  if (piece.size() > bytes - written) {
    return modelError(ErrorCode::E0900,
                      "the weights have more than the announced " + Twine(bytes) + " bytes");
  }
  if (sums) {
    addToSums(piece);
  }
  while (!piece.empty()) {
    size_t n = std::min<uint64_t>(piece.size(), kLargePage - (offset + written) % kLargePage);
    llvm::append_range(block, piece.take_front(n));
    piece = piece.drop_front(n);
    written += n;
    if ((offset + written) % kLargePage == 0) {
      if (Error error = flush()) {
        return error;
      }
    }
  }
  return Error::success();
}

Error WeightWriter::flush() {
  Error error = file.writeSparseAt(offset + written - block.size(), block);
  block.clear();
  return error;
}

Error WeightWriter::writeAll(WeightSource source) {
  if (Error error = source([&](ArrayRef<char> piece) { return take(piece); })) {
    return error;
  }
  if (Error error = flush()) {
    return error;
  }
  if (written != bytes) {
    return modelError(ErrorCode::E0900,
                      "the weights have " + Twine(written) + " bytes, announced were " + Twine(bytes));
  }
  return file.resize(offset + bytes);
}
