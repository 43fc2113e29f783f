// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// numpy's files: .npy and .npz. A strict reader, no pickles.

#ifndef LATHE_NPZ_NPZ_H
#define LATHE_NPZ_NPZ_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace lathe {

/// Memory aligned for every kernel.
class AlignedBytes {
public:
  AlignedBytes() = default;
  explicit AlignedBytes(size_t size);
  AlignedBytes(AlignedBytes &&other) { *this = std::move(other); }
  AlignedBytes &operator=(AlignedBytes &&other);
  ~AlignedBytes();

  char *data() const { return memory; }
  size_t size() const { return bytes; }

private:
  char *memory = nullptr;
  size_t bytes = 0;
};

/// A dense array in C order.
struct Array {
  std::string name;
  uint32_t dtype = 0; // enum lathe_dtype
  std::vector<int64_t> dims;
  AlignedBytes bytes;
  /// Of LATHE_STRING as numpy has it: so many UTF-32 code points for each element, 0 behind its end. -1:
  /// numbers.
  int64_t width = -1;
};

/// Whether numpy has no such element type: arrays then are of unsigned integers with the same bits.
bool isSavedAsBits(uint32_t dtype);

/// numpy's spelling of an element type ("<f4"), or empty.
llvm::StringRef numpyName(uint32_t dtype);

llvm::Expected<Array> readNpy(llvm::StringRef path);
llvm::Expected<std::vector<Array>> readNpz(llvm::StringRef path);

/// A .npz file whose arrays are read one by one.
class NpzFile {
public:
  static llvm::Expected<NpzFile> open(llvm::StringRef path);
  NpzFile(NpzFile &&);
  NpzFile &operator=(NpzFile &&);
  ~NpzFile();

  /// In the order of the file.
  std::vector<std::string> names() const;
  bool contains(llvm::StringRef name) const;
  llvm::Expected<Array> read(llvm::StringRef name) const;
  llvm::Expected<std::vector<Array>> readAll() const;

private:
  struct Contents;
  explicit NpzFile(std::unique_ptr<Contents> contents);
  std::unique_ptr<Contents> contents;
};

/// An array whose bytes lie elsewhere.
struct ArrayView {
  std::string name;
  uint32_t dtype;
  llvm::ArrayRef<int64_t> dims;
  llvm::ArrayRef<char> bytes;
  /// As of an Array.
  int64_t width = -1;
};
llvm::Error writeNpy(llvm::StringRef path, const ArrayView &array);
/// Uncompressed, with the time stamps of 1980: equal arrays give equal bytes.
llvm::Error writeNpz(llvm::StringRef path, llvm::ArrayRef<ArrayView> arrays);

} // namespace lathe

#endif // LATHE_NPZ_NPZ_H
