// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Support/OutputFile.h"
#include "lathe/Support/Error.h"
#include "lathe/Support/Text.h"
#include "llvm/Support/Path.h"
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace llvm;
using namespace lathe;

/// Hidden, beside `path`, and known to whoever knows the process: the supervisor of a dead worker removes it.
static std::string temporaryFor(StringRef path, int processId) {
  StringRef folder = sys::path::parent_path(path), name = sys::path::filename(path);
  return (folder + (folder.empty() || folder.ends_with("/") ? "" : "/") + "." + name + "." +
          Twine(processId) + ".tmp")
      .str();
}

static Error failed(const char *what, StringRef path, int error = errno) {
  return systemError(ErrorCode::E0003, Twine("cannot ") + what + " " + quoteText(path), error);
}

Expected<OutputFile> OutputFile::create(StringRef path, unsigned mode) {
  std::string finalPath = path.str(), temporaryPath = temporaryFor(path, getpid());
  struct stat status;
  if (stat(finalPath.c_str(), &status) == 0 && !S_ISREG(status.st_mode)) {
    return modelError(ErrorCode::E0003,
                      "cannot write " + quoteText(path) + ": it exists and is not a regular file");
  }
  // Left by an earlier process of the same number.
  unlink(temporaryPath.c_str());
  int fd = open(temporaryPath.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
  if (fd < 0) {
    return failed("create", path);
  }
  return OutputFile(std::move(finalPath), std::move(temporaryPath), fd);
}

OutputFile::OutputFile(OutputFile &&other)
    : finalPath(std::move(other.finalPath)), temporaryPath(std::move(other.temporaryPath)), fd(other.fd) {
  other.fd = -1;
}

OutputFile::~OutputFile() {
  if (fd >= 0) {
    close(fd);
    unlink(temporaryPath.c_str());
  }
}

Error OutputFile::writeAt(uint64_t offset, ArrayRef<char> bytes) {
  while (!bytes.empty()) {
    ssize_t n = pwrite(fd, bytes.data(), bytes.size(), off_t(offset));
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n <= 0) {
      return failed("write", finalPath, n < 0 ? errno : ENOSPC);
    }
    offset += n;
    bytes = bytes.drop_front(n);
  }
  return Error::success();
}

Error OutputFile::writeSparseAt(uint64_t offset, ArrayRef<char> bytes) {
  constexpr size_t page = 4096;
  static const char zeros[page] = {};
  size_t begin = 0, at = 0;
  auto flush = [&](size_t end) {
    return begin < end ? writeAt(offset + begin, bytes.slice(begin, end - begin)) : Error::success();
  };
  while (at < bytes.size()) {
    // Only pages that are whole in the file can become holes.
    size_t next = std::min(bytes.size(), at + size_t(page - (offset + at) % page));
    if (next - at == page && memcmp(bytes.data() + at, zeros, page) == 0) {
      if (Error error = flush(at)) {
        return error;
      }
      begin = next;
    }
    at = next;
  }
  return flush(at);
}

Error OutputFile::resize(uint64_t size) {
  return ftruncate(fd, off_t(size)) == 0 ? Error::success() : failed("write", finalPath);
}

Error OutputFile::commit() {
  int closed = close(fd);
  fd = -1;
  // Some file systems report a full disk only now.
  if (closed != 0 || rename(temporaryPath.c_str(), finalPath.c_str()) != 0) {
    int error = errno;
    unlink(temporaryPath.c_str());
    return failed("write", finalPath, error);
  }
  return Error::success();
}

void OutputFile::removeLeftover(StringRef path, int processId) {
  unlink(temporaryFor(path, processId).c_str());
}

Error lathe::writeFile(StringRef path, ArrayRef<char> bytes, unsigned mode) {
  Expected<OutputFile> file = OutputFile::create(path, mode);
  if (!file) {
    return file.takeError();
  }
  if (Error error = file->writeAt(0, bytes)) {
    return error;
  }
  return file->commit();
}
