// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Import/ModelFile.h"
#include "lathe/Support/Text.h"
#include "llvm/ADT/ScopeExit.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/Path.h"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

using namespace lathe;

//===----------------------------------------------------------------------===//
// TruncationGuard
//===----------------------------------------------------------------------===//

namespace {

/// The live mappings, for a signal handler: no lock, no memory.
struct MappedRange {
  std::atomic<uintptr_t> begin{0}, end{0};
};
constexpr size_t maxRanges = 4096;
MappedRange mappedRanges[maxRanges];

struct GuardState {
  int descriptor = -1;
  int exitStatus = 0;
  std::string message;
  struct sigaction before = {};
};
GuardState *activeGuard = nullptr;

void noteMapping(void *address, uint64_t size) {
  auto begin = reinterpret_cast<uintptr_t>(address);
  for (MappedRange &range : mappedRanges) {
    uintptr_t none = 0;
    if (range.begin.compare_exchange_strong(none, begin)) {
      range.end = begin + size;
      return;
    }
  }
}

void forgetMapping(void *address) {
  auto begin = reinterpret_cast<uintptr_t>(address);
  for (MappedRange &range : mappedRanges) {
    if (range.begin == begin) {
      range.end = 0;
      range.begin = 0;
      return;
    }
  }
}

void onBusError(int signal, siginfo_t *info, void *) {
  auto address = reinterpret_cast<uintptr_t>(info->si_addr);
  for (MappedRange &range : mappedRanges) {
    if (address >= range.begin && address < range.end) {
      const std::string &text = activeGuard->message;
      for (size_t done = 0; done < text.size();) {
        ssize_t written = write(activeGuard->descriptor, text.data() + done, text.size() - done);
        if (written <= 0) {
          break;
        }
        done += size_t(written);
      }
      _exit(activeGuard->exitStatus);
    }
  }
  // Not ours: the instruction runs again, under the handler that was there before.
  sigaction(signal, &activeGuard->before, nullptr);
}

} // namespace

TruncationGuard::TruncationGuard(int descriptor, std::string message, int exitStatus) {
  activeGuard = new GuardState{descriptor, exitStatus, std::move(message), {}};
  struct sigaction action = {};
  action.sa_sigaction = onBusError;
  action.sa_flags = SA_SIGINFO;
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, &action, &activeGuard->before);
}

TruncationGuard::~TruncationGuard() {
  sigaction(SIGBUS, &activeGuard->before, nullptr);
  delete activeGuard;
  activeGuard = nullptr;
}

//===----------------------------------------------------------------------===//
// MappedFile
//===----------------------------------------------------------------------===//

static constexpr const char *notRegular = "is not a regular file";

llvm::Expected<std::unique_ptr<MappedFile>> MappedFile::map(int descriptor, llvm::StringRef path,
                                                            uint64_t maxBytes) {
  std::unique_ptr<MappedFile> file(new MappedFile());
  file->filePath = path.str();
  llvm::scope_exit closeDescriptor([&] { close(descriptor); });
  struct stat status;
  if (fstat(descriptor, &status) != 0) {
    return systemError(ErrorCode::E0002, "cannot read " + quoteText(path), errno);
  }
  if (!S_ISREG(status.st_mode)) {
    return modelError(ErrorCode::E0002, quoteText(path) + " " + notRegular);
  }
  file->size = uint64_t(status.st_size);
  if (file->size > maxBytes) {
    return limitError(ErrorCode::E0103,
                      quoteText(path) + " has " + llvm::Twine(file->size) + " bytes, the limit is " +
                          llvm::Twine(maxBytes),
                      &ModelLimits::fileBytes);
  }
  file->device = status.st_dev;
  file->inode = status.st_ino;
  file->modifiedSeconds = status.st_mtim.tv_sec;
  file->modifiedNanoseconds = status.st_mtim.tv_nsec;
  if (file->size == 0) {
    return file;
  }
  void *address = mmap(nullptr, file->size, PROT_READ, MAP_PRIVATE | MAP_NORESERVE, descriptor, 0);
  if (address == MAP_FAILED) {
    return systemError(ErrorCode::E0002, "cannot map " + quoteText(path), errno);
  }
  file->address = address;
  noteMapping(address, file->size);
  return file;
}

MappedFile::~MappedFile() {
  if (address) {
    forgetMapping(address);
    munmap(address, size);
  }
}

llvm::Error MappedFile::verifyUnchanged() const {
  struct stat status;
  if (stat(filePath.c_str(), &status) != 0) {
    return systemError(ErrorCode::E0108, "cannot find " + quoteText(filePath) + " any more", errno)
        .file(filePath);
  }
  if (status.st_dev != device || status.st_ino != inode) {
    return modelError(ErrorCode::E0108, quoteText(filePath) + " was replaced while it was read")
        .file(filePath);
  }
  if (uint64_t(status.st_size) != size) {
    return modelError(ErrorCode::E0108, quoteText(filePath) + " had " + llvm::Twine(size) +
                                            " bytes and now has " + llvm::Twine(int64_t(status.st_size)))
        .file(filePath);
  }
  if (status.st_mtim.tv_sec != modifiedSeconds || status.st_mtim.tv_nsec != modifiedNanoseconds) {
    return modelError(ErrorCode::E0108, quoteText(filePath) + " was written to while it was read")
        .file(filePath);
  }
  return llvm::Error::success();
}

//===----------------------------------------------------------------------===//
// ModelFile
//===----------------------------------------------------------------------===//

llvm::Expected<std::unique_ptr<ModelFile>> ModelFile::open(llvm::StringRef path, const FileOptions &options) {
  std::unique_ptr<ModelFile> file(new ModelFile());
  file->options = options;
  file->modelPath = path.str();
  file->directoryPath =
      options.baseDirectory.empty() ? llvm::sys::path::parent_path(path).str() : options.baseDirectory;
  if (file->directoryPath.empty()) {
    file->directoryPath = ".";
  }
  // Without O_NONBLOCK a pipe in the file's place would wait for its writer.
  int descriptor = ::open(file->modelPath.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (descriptor < 0) {
    return systemError(ErrorCode::E0002, "cannot open " + quoteText(path), errno).file(path);
  }
  llvm::Expected<std::unique_ptr<MappedFile>> mapped = MappedFile::map(descriptor, path, options.maxBytes);
  if (!mapped) {
    return mapped.takeError();
  }
  file->model = std::move(*mapped);
  return file;
}

std::unique_ptr<ModelFile> ModelFile::fromBuffer(std::unique_ptr<llvm::MemoryBuffer> buffer,
                                                 const FileOptions &options) {
  std::unique_ptr<ModelFile> file(new ModelFile());
  file->options = options;
  file->modelPath = buffer->getBufferIdentifier().str();
  file->directoryPath = options.baseDirectory;
  file->buffer = std::move(buffer);
  return file;
}

ModelFile::~ModelFile() {
  if (directory >= 0) {
    close(directory);
  }
}

/// `location` without "." and "..", or an error if it is no path below a folder.
static llvm::Expected<std::string> normalized(llvm::StringRef location) {
  auto refuse = [&](const char *why) {
    return modelError(ErrorCode::E0105, "external data " + quoteText(location) + " " + why);
  };
  if (location.empty()) {
    return refuse("has no name");
  }
  if (location.contains('\0')) {
    return refuse("has a zero byte in its name");
  }
  if (location.starts_with("/")) {
    return refuse("is an absolute path");
  }
  llvm::SmallVector<llvm::StringRef> parts, kept;
  location.split(parts, '/');
  for (llvm::StringRef part : parts) {
    if (part == "..") {
      if (kept.empty()) {
        return refuse("leaves the model's folder");
      }
      kept.pop_back();
    } else if (!part.empty() && part != ".") {
      kept.push_back(part);
    }
  }
  if (kept.empty()) {
    return refuse("is a folder");
  }
  return llvm::join(kept, "/");
}

/// Opens `path` below `directory` without following any link, one component after the other. -1 and errno on
/// failure.
static int openStepwise(int directory, llvm::StringRef path) {
  llvm::SmallVector<llvm::StringRef> parts;
  path.split(parts, '/');
  int current = directory;
  for (size_t i = 0; i < parts.size(); ++i) {
    bool last = i + 1 == parts.size();
    int flags = O_CLOEXEC | O_NOFOLLOW | (last ? O_RDONLY | O_NONBLOCK | O_NOCTTY : O_PATH | O_DIRECTORY);
    int next = openat(current, parts[i].str().c_str(), flags);
    int failure = errno;
    if (next < 0 && !last && failure == ENOTDIR) {
      // A link to a folder says ENOTDIR here, like a file.
      struct stat status;
      if (fstatat(current, parts[i].str().c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
          S_ISLNK(status.st_mode)) {
        failure = ELOOP;
      }
    }
    if (current != directory) {
      close(current);
    }
    if (next < 0) {
      errno = failure;
      return -1;
    }
    current = next;
  }
  return current;
}

llvm::Expected<int> ModelFile::openExternal(llvm::StringRef location) {
  llvm::Expected<std::string> path = normalized(location);
  if (!path) {
    return path.takeError();
  }
  if (directoryPath.empty()) {
    return modelError(ErrorCode::E0105,
                      "external data " + quoteText(location) + " of a model without a folder")
        .help("compile the model from its file");
  }
  if (directory < 0) {
    directory = ::open(directoryPath.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0) {
      return systemError(ErrorCode::E0002, "cannot open the folder " + quoteText(directoryPath), errno);
    }
  }
  int descriptor = -1;
  if (options.allowLinkedData) {
    descriptor = openat(directory, path->c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  } else {
    struct open_how how = {};
    how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
    if (options.avoidOpenat2) {
      errno = ENOSYS;
    } else {
      descriptor = int(syscall(SYS_openat2, directory, path->c_str(), &how, sizeof how));
    }
    // EPERM: a seccomp filter that does not know the call.
    if (descriptor < 0 && (errno == ENOSYS || errno == EPERM)) {
      descriptor = openStepwise(directory, *path);
    }
  }
  if (descriptor >= 0) {
    return descriptor;
  }
  if (errno == ELOOP || errno == EXDEV) {
    return modelError(ErrorCode::E0107,
                      "external data " + quoteText(location) + " is a symbolic link or lies behind one")
        .help("--allow-linked-data accepts links, which caches of model hubs make");
  }
  if (errno == ENXIO) { // a socket
    return modelError(ErrorCode::E0105, "external data " + quoteText(location) + " " + notRegular);
  }
  return systemError(ErrorCode::E0106, "cannot open external data " + quoteText(location), errno);
}

llvm::Expected<llvm::StringRef> ModelFile::externalData(llvm::StringRef location) {
  if (auto known = byLocation.find(location); known != byLocation.end()) {
    return known->second->bytes();
  }
  llvm::Expected<int> descriptor = openExternal(location);
  if (!descriptor) {
    return descriptor.takeError();
  }
  llvm::SmallString<128> path(directoryPath);
  llvm::sys::path::append(path, location);
  struct stat status;
  bool known = fstat(*descriptor, &status) == 0;
  if (known && !S_ISREG(status.st_mode)) {
    close(*descriptor);
    return modelError(ErrorCode::E0105, "external data " + quoteText(location) + " " + notRegular);
  }
  if (known && status.st_nlink > 1 && !options.allowLinkedData) {
    close(*descriptor);
    return modelError(ErrorCode::E0107, "external data " + quoteText(location) + " has " +
                                            llvm::Twine(uint64_t(status.st_nlink)) + " hard links")
        .help("--allow-linked-data accepts links, which caches of model hubs make");
  }
  llvm::Expected<std::unique_ptr<MappedFile>> mapped = MappedFile::map(*descriptor, path, options.maxBytes);
  if (!mapped) {
    return mapped.takeError();
  }
  external.push_back(std::move(*mapped));
  byLocation[location] = external.back().get();
  return external.back()->bytes();
}

llvm::Error ModelFile::verifyUnchanged() const {
  if (model) {
    if (llvm::Error error = model->verifyUnchanged()) {
      return error;
    }
  }
  for (const std::unique_ptr<MappedFile> &file : external) {
    if (llvm::Error error = file->verifyUnchanged()) {
      return error;
    }
  }
  return llvm::Error::success();
}
