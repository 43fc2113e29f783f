// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Files that appear whole or not at all.

#ifndef LATHE_SUPPORT_OUTPUTFILE_H
#define LATHE_SUPPORT_OUTPUTFILE_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <string>

namespace lathe {

/// A file that is written beside its name and renamed by commit(). Destroyed before that, it leaves nothing.
class OutputFile {
public:
  /// Refuses a path that names something other than a regular file: a rename would replace it. `mode` is
  /// subject to the umask.
  static llvm::Expected<OutputFile> create(llvm::StringRef path, unsigned mode = 0666);
  OutputFile(OutputFile &&other);
  OutputFile &operator=(OutputFile &&other) = delete;
  ~OutputFile();

  /// Writes at `offset`, which may lie past the end.
  llvm::Error writeAt(uint64_t offset, llvm::ArrayRef<char> bytes);
  /// The same, but leaves holes where whole pages are zero. `offset` + size must then be covered by resize().
  llvm::Error writeSparseAt(uint64_t offset, llvm::ArrayRef<char> bytes);
  llvm::Error resize(uint64_t size);
  /// Gives the file its name.
  llvm::Error commit();

  llvm::StringRef path() const { return finalPath; }

  /// Removes what a process that died while it wrote `path` left behind.
  static void removeLeftover(llvm::StringRef path, int processId);

private:
  OutputFile(std::string finalPath, std::string temporaryPath, int fd)
      : finalPath(std::move(finalPath)), temporaryPath(std::move(temporaryPath)), fd(fd) {}

  std::string finalPath, temporaryPath;
  int fd;
};

/// Writes the whole of a small file.
llvm::Error writeFile(llvm::StringRef path, llvm::ArrayRef<char> bytes, unsigned mode = 0666);

} // namespace lathe

#endif // LATHE_SUPPORT_OUTPUTFILE_H
