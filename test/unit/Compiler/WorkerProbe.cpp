// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

// A worker that behaves, or misbehaves, as its arguments say.

#include "lathe/Compiler/Worker.h"
#include "lathe/Support/Error.h"
#include "lathe/Support/OutputFile.h"
#include "llvm/Support/ErrorHandling.h"

#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

using namespace lathe;

/// The compiler must not see that memory is never used.
static char *volatile keep;

static llvm::Error behave(llvm::StringRef how, const char *path, Report &report) {
  report.beginPhase("probing", 1, 2);
  if (how == "succeed") {
    report.digest = {"all is well"};
    return llvm::Error::success();
  }
  if (how == "fail") {
    return modelError(ErrorCode::E0304, "strides[0] is 0").node("/conv", 3);
  }
  if (how == "crash") {
    raise(SIGSEGV);
  }
  if (how == "abort") {
    abort();
  }
  if (how == "fatal") {
    llvm::report_fatal_error("Cannot select: t1");
  }
  if (how == "exit") {
    _exit(0);
  }
  if (how == "garbage") {
    [[maybe_unused]] ssize_t n = write(3, "hello\n", 6);
    pause();
  }
  if (how == "hang") {
    llvm::Expected<OutputFile> file = OutputFile::create(path);
    pause();
  }
  if (how == "eat") {
    while (true) {
      keep = static_cast<char *>(malloc(1 << 20));
      memset(keep, 1, 1 << 20);
      usleep(1000);
    }
  }
  if (how == "ask") {
    keep = new char[size_t(1) << 42];
  }
  if (how == "truncate") {
    int fd = open(path, O_RDWR);
    const volatile char *data = static_cast<const char *>(mmap(nullptr, 8192, PROT_READ, MAP_SHARED, fd, 0));
    [[maybe_unused]] int cut = ftruncate(fd, 0);
    return data[4096] ? llvm::Error::success() : llvm::Error::success();
  }
  return modelError(ErrorCode::E0001, "no such behaviour");
}

int main(int argc, char **argv) {
  if (argc < 4 || argv[1] != workerFlag) {
    return 9;
  }
  return workerMain([&](Report &report) { return behave(argv[2], argv[3], report); });
}
