// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What long work shows while it goes on, on standard error.

#ifndef LATHE_TOOLS_LATHE_PROGRESS_H
#define LATHE_TOOLS_LATHE_PROGRESS_H

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

namespace lathe {

/// One line that is written over, lines, JSON lines, or nothing.
class Progress {
public:
  enum Mode { Auto, Plain, Json, None };
  static llvm::Expected<Mode> parseMode(llvm::StringRef text);

  /// Auto is a line on a terminal and nothing elsewhere.
  explicit Progress(Mode mode);
  ~Progress() { finish(); }

  void show(llvm::StringRef phase, unsigned step, unsigned steps);
  /// Removes the line.
  void finish();

private:
  Mode mode;
  double begin;
  bool shown = false;
};

} // namespace lathe

#endif // LATHE_TOOLS_LATHE_PROGRESS_H
