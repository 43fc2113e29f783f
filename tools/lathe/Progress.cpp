// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Progress.h"
#include "lathe/Support/Error.h"
#include "lathe/Support/Text.h"
#include "llvm/ADT/StringSwitch.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"
#include <chrono>
#include <unistd.h>

using namespace llvm;
using namespace lathe;

static double seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Expected<Progress::Mode> Progress::parseMode(StringRef text) {
  int mode = StringSwitch<int>(text)
                 .Case("auto", Auto)
                 .Case("plain", Plain)
                 .Case("json", Json)
                 .Case("none", None)
                 .Default(-1);
  if (mode < 0) {
    return modelError(ErrorCode::E0001,
                      "--progress=" + escapeText(text) + ": expects auto, plain, json or none");
  }
  return Mode(mode);
}

Progress::Progress(Mode mode) : mode(mode), begin(seconds()) {
  if (mode == Auto && !isatty(STDERR_FILENO)) {
    this->mode = None;
  }
}

void Progress::show(StringRef phase, unsigned step, unsigned steps) {
  double elapsed = seconds() - begin;
  std::string count = steps > 0 ? "[" + std::to_string(step) + "/" + std::to_string(steps) + "] " : "";
  switch (mode) {
  case Auto:
    errs() << "\r\x1b[K" << count << escapeText(phase) << format(" %.1f s", elapsed);
    shown = true;
    break;
  case Plain:
    errs() << count << escapeText(phase) << format(" %.1f s\n", elapsed);
    break;
  case Json:
    errs() << json::Value(
                  json::Object{{"phase", phase}, {"step", step}, {"steps", steps}, {"seconds", elapsed}})
           << '\n';
    break;
  case None:
    break;
  }
}

void Progress::finish() {
  if (shown) {
    errs() << "\r\x1b[K";
    shown = false;
  }
}
