// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The worker's side of the pipe.

#include "WorkerPipe.h"
#include "lathe/Compiler/Worker.h"
#include "lathe/Support/Error.h"

#include "llvm/Support/ErrorHandling.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/raw_ostream.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <new>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

using namespace llvm;
using namespace lathe;

/// Whole lines or nothing: the supervisor may be gone.
static void sendText(StringRef text) {
  while (!text.empty()) {
    ssize_t n = write(workerPipe, text.data(), text.size());
    if (n < 0 && errno == EINTR) {
      continue;
    }
    if (n <= 0) {
      _exit(static_cast<int>(ErrorClass::Internal));
    }
    text = text.drop_front(n);
  }
}

static void send(StringRef key, json::Value value) {
  json::Object message;
  message[key] = std::move(value);
  std::string line;
  raw_string_ostream(line) << json::Value(std::move(message)) << '\n';
  sendText(line);
}

static void sendErrors(ArrayRef<ModelError> errors) {
  json::Array list;
  for (const ModelError &error : errors) {
    list.push_back(error.toJSON());
  }
  send("errors", std::move(list));
}

/// LLVM gives up: "Cannot select", "ran out of registers".
static void handleFatalError(void *, const char *reason, bool) {
  sendErrors(ModelError(ErrorCode::E0902, Twine("the code generator gave up: ") + reason));
  _exit(static_cast<int>(ErrorClass::Internal));
}

static void handleBadAlloc(void *, const char *, bool) {
  // No allocation from here on.
  static const char line[] = "{\"errors\":[{\"code\":\"E0904\",\"message\":\"out of memory\",\"help\":"
                             "\"free some, or raise the limit of this process (ulimit -d, ulimit -v)\"}]}\n";
  sendText(StringRef(line, sizeof line - 1));
  _exit(static_cast<int>(ErrorClass::Internal));
}

static void handleOutOfMemory() { handleBadAlloc(nullptr, nullptr, false); }

/// A mapped file became shorter, or its disk fails.
static void handleBusError(int) {
  static const char line[] =
      "{\"errors\":[{\"code\":\"E0108\",\"message\":\"the model or its data became shorter, or "
      "could not be read from the disk, while it was compiled\"}]}\n";
  [[maybe_unused]] ssize_t n = write(workerPipe, line, sizeof line - 1);
  _exit(static_cast<int>(ErrorClass::Invalid));
}

static void prepareProcess() {
  // Without the supervisor nobody enforces limits.
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  struct rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
  struct sigaction action = {};
  action.sa_handler = handleBusError;
  sigaction(SIGBUS, &action, nullptr);
  fcntl(workerPipe, F_SETFD, FD_CLOEXEC);
  install_fatal_error_handler(handleFatalError);
  install_bad_alloc_error_handler(handleBadAlloc);
  std::set_new_handler(handleOutOfMemory);
}

int lathe::workerMain(function_ref<Error(Report &)> body) {
  prepareProcess();
  Report report;
  report.progress = [](StringRef phase, unsigned step, unsigned steps) {
    send("progress", json::Object{{"phase", phase}, {"step", step}, {"steps", steps}});
  };
  std::vector<ModelError> errors = takeModelErrors(body(report));
  report.endPhases();
  if (!errors.empty()) {
    sendErrors(errors);
  }
  send("report", report.toJSON());
  send("done", true);
  return errors.empty() ? 0 : static_cast<int>(errors.front().errorClass());
}
