// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The files of a model, mapped: the model itself and its external data.

#ifndef LATHE_IMPORT_MODELFILE_H
#define LATHE_IMPORT_MODELFILE_H

#include "lathe/Import/Limits.h"
#include "lathe/Support/Error.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringMap.h"
#include "llvm/Support/MemoryBuffer.h"
#include <memory>

namespace lathe {

/// A file mapped for reading, as long as this lives.
class MappedFile {
public:
  /// Maps what the descriptor refers to, a regular file of at most `maxBytes`, and closes the descriptor.
  static llvm::Expected<std::unique_ptr<MappedFile>> map(int descriptor, llvm::StringRef path,
                                                         uint64_t maxBytes = UINT64_MAX);
  ~MappedFile();
  MappedFile(const MappedFile &) = delete;
  MappedFile &operator=(const MappedFile &) = delete;

  llvm::StringRef path() const { return filePath; }
  llvm::StringRef bytes() const { return {static_cast<const char *>(address), size}; }

  /// E0108 if the file at this path is not what it was when it was mapped.
  llvm::Error verifyUnchanged() const;

private:
  MappedFile() = default;

  std::string filePath;
  void *address = nullptr;
  uint64_t size = 0, device = 0, inode = 0;
  int64_t modifiedSeconds = 0, modifiedNanoseconds = 0;
};

struct FileOptions {
  /// Whether external data may be a symbolic link, lie behind one, or have several hard links.
  bool allowLinkedData = false;
  /// Of the model and of each file of external data: ModelLimits::fileBytes.
  uint64_t maxBytes = ModelLimits().fileBytes;
  /// Where external data of a model in memory lies; empty: nowhere.
  std::string baseDirectory;
  /// Whether to open external data component by component although the kernel could do it in one call. For
  /// tests.
  bool avoidOpenat2 = false;
};

/// A model's bytes, and those of its external data. Must live as long as the module imported from it, whose
/// weights point into the mappings.
///
/// A mapped file that is truncated while it is read raises SIGBUS; see TruncationGuard.
class ModelFile {
public:
  static llvm::Expected<std::unique_ptr<ModelFile>> open(llvm::StringRef path, const FileOptions &options);
  static std::unique_ptr<ModelFile> fromBuffer(std::unique_ptr<llvm::MemoryBuffer> buffer,
                                               const FileOptions &options);
  ~ModelFile();

  /// The path as it was given, or the buffer's name.
  llvm::StringRef path() const { return modelPath; }
  llvm::StringRef bytes() const { return model ? model->bytes() : buffer->getBuffer(); }

  /// The bytes of the external file `location`, relative to the model's folder.
  llvm::Expected<llvm::StringRef> externalData(llvm::StringRef location);

  /// The external files in use, in the order of their first use: for dependency files.
  llvm::ArrayRef<std::unique_ptr<MappedFile>> externalFiles() const { return external; }

  /// E0108 if the model or its external data changed since they were mapped. To be called after the last
  /// read.
  llvm::Error verifyUnchanged() const;

private:
  ModelFile() = default;
  llvm::Expected<int> openExternal(llvm::StringRef location);

  FileOptions options;
  std::string modelPath, directoryPath;
  int directory = -1;
  std::unique_ptr<MappedFile> model;
  std::unique_ptr<llvm::MemoryBuffer> buffer;
  std::vector<std::unique_ptr<MappedFile>> external;
  llvm::StringMap<MappedFile *> byLocation;
};

/// For a process that does nothing but compile: while it lives, a SIGBUS from reading a mapped file that has
/// become shorter writes `message` to `descriptor` and ends the process with `exitStatus`. Any other SIGBUS
/// does what it did before. One at a time.
///
/// The runtime and other libraries do not use this: it changes how a process treats a signal.
class TruncationGuard {
public:
  TruncationGuard(int descriptor, std::string message, int exitStatus);
  ~TruncationGuard();
  TruncationGuard(const TruncationGuard &) = delete;
  TruncationGuard &operator=(const TruncationGuard &) = delete;
};

} // namespace lathe

#endif // LATHE_IMPORT_MODELFILE_H
