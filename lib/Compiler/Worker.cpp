// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The supervisor's side: start, watch, read, end.

#include "lathe/Compiler/Worker.h"
#include "WorkerPipe.h"
#include "lathe/Support/Error.h"
#include "lathe/Support/OutputFile.h"
#include "lathe/Support/Text.h"

#include "llvm/ADT/SmallVector.h"
#include "llvm/Support/FormatVariadic.h"

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

using namespace llvm;
using namespace lathe;

namespace {

/// Between two looks at the worker's memory. It can outgrow the limit by what it touches in this time.
constexpr int pollMilliseconds = 20;
/// A report with a remark for each of 200,000 nodes is far below.
constexpr size_t maxLine = 256 << 20;

double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// The number of kB after `key` in the text of /proc/PID/status, in bytes.
uint64_t statusField(StringRef text, StringRef key) {
  size_t at = text.find(key);
  uint64_t kilobytes = 0;
  if (at == StringRef::npos || text.substr(at + key.size()).ltrim(": \t").consumeInteger(10, kilobytes)) {
    return 0;
  }
  return kilobytes << 10;
}

/// Memory that is the process's own: neither pages of mapped files nor shared libraries.
uint64_t ownMemory(pid_t process) {
  char text[4096];
  int fd = open(("/proc/" + std::to_string(process) + "/status").c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return 0;
  }
  ssize_t n = read(fd, text, sizeof text);
  close(fd);
  StringRef status(text, n > 0 ? n : 0);
  return statusField(status, "\nRssAnon") + statusField(status, "\nRssShmem") +
         statusField(status, "\nVmSwap");
}

volatile sig_atomic_t interrupted = 0;

/// Notes interrupts while the worker lives, so that both can end in order.
class SignalGuard {
public:
  SignalGuard() {
    interrupted = 0;
    struct sigaction action = {};
    action.sa_handler = [](int number) { interrupted = number; };
    for (size_t i = 0; i < std::size(numbers); ++i) {
      sigaction(numbers[i], nullptr, &before[i]);
      // What the caller ignores (nohup) stays ignored.
      if (before[i].sa_handler != SIG_IGN) {
        sigaction(numbers[i], &action, nullptr);
      }
    }
  }
  ~SignalGuard() {
    for (size_t i = 0; i < std::size(numbers); ++i) {
      sigaction(numbers[i], &before[i], nullptr);
    }
    if (interrupted != 0) {
      raise(interrupted);
    }
  }

private:
  static constexpr int numbers[] = {SIGINT, SIGTERM, SIGHUP};
  struct sigaction before[std::size(numbers)];
};

class Supervisor {
public:
  Supervisor(const WorkerOptions &options, Report &report) : options(options), report(report) {
    memoryLimit = options.memoryLimit;
    if (memoryLimit == 0) {
      memoryLimit = uint64_t(sysconf(_SC_PHYS_PAGES)) * uint64_t(sysconf(_SC_PAGESIZE)) / 5 * 4;
    }
  }
  ~Supervisor() {
    if (from >= 0) {
      close(from);
    }
  }

  Error run();

private:
  enum class End { Closed, Time, Memory, Interrupted, Garbage };

  Error start();
  End watch();
  bool readAvailable(bool &closed);
  bool handleLine(StringRef line);
  Error judge(End end, int status);

  const WorkerOptions &options;
  Report &report;
  uint64_t memoryLimit, peak = 0;
  pid_t process = -1;
  int from = -1;
  std::string buffer, phase;
  std::vector<ModelError> errors;
  bool done = false;
};

} // namespace

Error Supervisor::start() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    return systemError(ErrorCode::E0907, "no pipe to the compiler process", errno);
  }
  from = ends[0];
  fcntl(from, F_SETFL, O_NONBLOCK);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], workerPipe);
  SmallVector<char *> argv;
  std::string flag = workerFlag.str(), name = "lathe";
  argv.push_back(name.data());
  argv.push_back(flag.data());
  for (const std::string &argument : options.arguments) {
    argv.push_back(const_cast<char *>(argument.c_str()));
  }
  argv.push_back(nullptr);
  int error = posix_spawn(&process, options.executable.c_str(), &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  if (error != 0) {
    return systemError(ErrorCode::E0907, "cannot start the compiler process", error);
  }
  // The polled limit is the exact one. This stops a single allocation that would take the machine's memory.
  rlim_t hard = memoryLimit + memoryLimit / 2 + (rlim_t(1) << 30);
  // A tighter limit of the caller's stays.
  struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};
  prlimit(process, RLIMIT_DATA, nullptr, &limit);
  limit = {std::min(limit.rlim_cur, hard), std::min(limit.rlim_max, hard)};
  prlimit(process, RLIMIT_DATA, &limit, nullptr);
  return Error::success();
}

bool Supervisor::handleLine(StringRef line) {
  Expected<json::Value> value = json::parse(line);
  if (!value) {
    consumeError(value.takeError());
    return false;
  }
  const json::Object *message = value->getAsObject();
  if (!message) {
    return false;
  }
  if (const json::Object *progress = message->getObject("progress")) {
    phase = progress->getString("phase").value_or("").str();
    if (report.progress) {
      report.progress(phase, progress->getInteger("step").value_or(0),
                      progress->getInteger("steps").value_or(0));
    }
  } else if (const json::Array *list = message->getArray("errors")) {
    for (const json::Value &item : *list) {
      if (std::optional<ModelError> error = ModelError::fromJSON(item)) {
        errors.push_back(std::move(*error));
      }
    }
  } else if (const json::Value *sent = message->get("report")) {
    auto progress = std::move(report.progress);
    report = Report::fromJSON(*sent);
    report.progress = std::move(progress);
  } else if (message->get("done")) {
    done = true;
  } else {
    return false;
  }
  return true;
}

/// False for what is no line of ours.
bool Supervisor::readAvailable(bool &closed) {
  char chunk[1 << 16];
  while (true) {
    ssize_t n = read(from, chunk, sizeof chunk);
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n < 0) {
      closed = errno != EAGAIN;
      return true;
    }
    if (n == 0) {
      closed = true;
      return true;
    }
    size_t scanned = buffer.size();
    buffer.append(chunk, n);
    size_t begin = 0;
    for (size_t end; (end = buffer.find('\n', std::max(begin, scanned))) != std::string::npos;
         begin = end + 1) {
      if (!handleLine(StringRef(buffer).slice(begin, end))) {
        return false;
      }
    }
    buffer.erase(0, begin);
    if (buffer.size() > maxLine) {
      return false;
    }
  }
}

Supervisor::End Supervisor::watch() {
  double deadline = seconds() + options.timeLimit;
  while (true) {
    struct pollfd waiting = {from, POLLIN, 0};
    poll(&waiting, 1, pollMilliseconds);
    bool closed = false;
    if (!readAvailable(closed)) {
      return End::Garbage;
    }
    if (interrupted != 0) {
      return End::Interrupted;
    }
    if (closed) {
      return End::Closed;
    }
    uint64_t memory = ownMemory(process);
    peak = std::max(peak, memory);
    if (memory > memoryLimit) {
      return End::Memory;
    }
    if (options.timeLimit > 0 && seconds() > deadline) {
      return End::Time;
    }
  }
}

Error Supervisor::judge(End end, int status) {
  std::string during = phase.empty() ? "" : " during " + phase;
  switch (end) {
  case End::Time:
    return modelError(ErrorCode::E0903, formatv("not done after {0:f1} s", options.timeLimit).str() + during)
        .help("give it more time: --time-limit=SECONDS");
  case End::Memory:
    return modelError(ErrorCode::E0904, "more than " + formatBytes(memoryLimit) + " of memory used" + during)
        .help("give it more memory: --memory-limit=BYTES");
  case End::Garbage:
    return modelError(ErrorCode::E0907, "the compiler process sent what cannot be understood" + during);
  case End::Interrupted:
  case End::Closed:
    break;
  }
  // It said why before it ended.
  if (!errors.empty()) {
    Error all = Error::success();
    for (ModelError &error : errors) {
      all = joinErrors(std::move(all), make_error<ModelError>(std::move(error)));
    }
    return all;
  }
  if (WIFSIGNALED(status)) {
    int number = WTERMSIG(status);
    // Text goes straight to our own standard output: `lathe compile --to=nn m.onnx | head`.
    if (number == SIGPIPE) {
      return modelError(ErrorCode::E0003, "standard output was closed before all was written");
    }
    // Nobody but the kernel's memory killer sends it unasked.
    if (number == SIGKILL) {
      return modelError(ErrorCode::E0904,
                        "the compiler process was killed" + during + ", most likely for its memory");
    }
    return modelError(ErrorCode::E0902, "the compiler process was ended by signal " + Twine(number) + " (" +
                                            strsignal(number) + ")" + during);
  }
  if (!done || WEXITSTATUS(status) != 0) {
    return modelError(ErrorCode::E0902, "the compiler process ended with status " +
                                            Twine(WEXITSTATUS(status)) + " and without a word" + during);
  }
  return Error::success();
}

Error Supervisor::run() {
  SignalGuard signals;
  if (Error error = start()) {
    return error;
  }
  End end = watch();
  if (end != End::Closed) {
    kill(process, SIGKILL);
  }
  int status = 0;
  while (waitpid(process, &status, 0) < 0 && errno == EINTR) {
  }
  for (const std::string &output : options.outputs) {
    OutputFile::removeLeftover(output, process);
  }
  report.setNumber("peak_memory_bytes", int64_t(peak));
  return judge(end, status);
}

Error lathe::runInWorker(const WorkerOptions &options, Report &report) {
  return Supervisor(options, report).run();
}
