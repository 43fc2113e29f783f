// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// ptxas as a child process. It takes paths: PTX goes in, machine code and log come out through memfds, which
/// the child inherits.

#include "lathe/Codegen/CUDA/Images.h"
#include "lathe/Support/Error.h"
#include "lathe/Support/Text.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/Program.h"
#include "llvm/Support/Regex.h"

#include <cerrno>
#include <cstdlib>
#include <sys/mman.h>
#include <unistd.h>

using namespace llvm;
using namespace lathe;

namespace {
/// A file without a name that child processes inherit.
class InheritedFile {
public:
  InheritedFile() : fd(memfd_create("lathe", 0)) {}
  ~InheritedFile() {
    if (fd >= 0) {
      close(fd);
    }
  }
  InheritedFile(const InheritedFile &) = delete;
  InheritedFile &operator=(const InheritedFile &) = delete;

  std::string path() const { return "/dev/fd/" + std::to_string(fd); }

  Error write(StringRef bytes) {
    while (!bytes.empty()) {
      ssize_t n = ::write(fd, bytes.data(), bytes.size());
      if (n < 0 && errno == EINTR) {
        continue;
      }
      if (n <= 0) {
        return systemError(ErrorCode::E0504, "cannot hand PTX to ptxas", errno);
      }
      bytes = bytes.drop_front(size_t(n));
    }
    return Error::success();
  }

  SmallVector<char, 0> read() const {
    SmallVector<char, 0> bytes;
    char chunk[1 << 16];
    for (off_t at = 0; ssize_t n = pread(fd, chunk, sizeof chunk, at); at += n) {
      if (n < 0) {
        break;
      }
      bytes.append(chunk, chunk + n);
    }
    return bytes;
  }

private:
  int fd;
};
} // namespace

std::optional<std::string> cuda::findPtxas() {
  if (const char *named = getenv("LATHE_PTXAS")) {
    return *named ? std::optional(std::string(named)) : std::nullopt;
  }
  SmallVector<std::string> folders;
  if (const char *home = getenv("CUDA_HOME")) {
    folders.push_back(home);
  }
  folders.push_back("/usr/local/cuda");
  for (StringRef folder : folders) {
    SmallString<128> path(folder);
    sys::path::append(path, "bin", "ptxas");
    if (sys::fs::can_execute(path)) {
      return path.str().str();
    }
  }
  ErrorOr<std::string> found = sys::findProgramByName("ptxas");
  return found ? std::optional(*found) : std::nullopt;
}

/// Reads what `ptxas -v` says:
///   ptxas info    : Compiling entry function 'k' for 'sm_80'
///       0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
///   ptxas info    : Used 12 registers, ...
static void readLog(StringRef log, cuda::Cubin &cubin) {
  Regex entry("Compiling entry function '([^']*)'"), registers("Used ([0-9]+) registers"),
      stack("([0-9]+) bytes stack frame, ([0-9]+) bytes spill stores, ([0-9]+) bytes spill loads"),
      warning("\\(C[0-9]+\\)");
  SmallVector<StringRef> lines, parts;
  log.split(lines, '\n');
  auto number = [](StringRef text) {
    unsigned value = 0;
    (void)text.getAsInteger(10, value);
    return value;
  };
  std::string kernel;
  for (StringRef line : lines) {
    if (entry.match(line, &parts)) {
      kernel = parts[1].str();
      cubin.kernels.try_emplace(kernel);
    } else if (stack.match(line, &parts)) {
      cubin.kernels[kernel].stackBytes = number(parts[1]);
      cubin.kernels[kernel].spillBytes = number(parts[2]) + number(parts[3]);
    } else if (registers.match(line, &parts)) {
      cubin.kernels[kernel].registers = number(parts[1]);
    } else if (warning.match(line)) {
      cubin.warnings.push_back(line.trim().str());
    }
  }
}

Expected<cuda::Cubin> cuda::assemble(StringRef ptxas, StringRef ptx, StringRef architecture) {
  InheritedFile input, output, log;
  if (Error error = input.write(ptx)) {
    return error;
  }
  std::string flag = "-arch=" + architecture.str(), from = input.path(), to = output.path(),
              said = log.path();
  StringRef arguments[] = {ptxas, "-v", "-O3", flag, from, "-o", to};
  std::optional<StringRef> redirects[] = {StringRef(""), StringRef(said), StringRef(said)};
  std::string reason;
  bool couldNotStart = false;
  int status = sys::ExecuteAndWait(ptxas, arguments, std::nullopt, redirects, /*SecondsToWait=*/0,
                                   /*MemoryLimit=*/0, &reason, &couldNotStart);
  SmallVector<char, 0> text = log.read();
  StringRef words = StringRef(text.data(), text.size()).trim();
  if (couldNotStart) {
    return modelError(ErrorCode::E0504, "cannot start " + quoteText(ptxas) + ": " + reason)
        .help("LATHE_PTXAS names ptxas; without one, a file holds PTX alone");
  }
  if (status != 0) {
    return modelError(ErrorCode::E0504, quoteText(ptxas) + " failed for " + architecture + ": " +
                                            (words.empty() ? StringRef(reason) : words.take_front(2000)));
  }
  Cubin cubin;
  cubin.bytes = output.read();
  readLog(words, cubin);
  if (cubin.bytes.empty()) {
    return modelError(ErrorCode::E0504, quoteText(ptxas) + " wrote nothing for " + architecture);
  }
  return cubin;
}
