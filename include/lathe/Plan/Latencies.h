// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// How long products take on one processor, by shape and format, in kernels of this compiler: what is asked
/// before a product is computed in another format. `lathe latencies` measures it.

#ifndef LATHE_PLAN_LATENCIES_H
#define LATHE_PLAN_LATENCIES_H

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/JSON.h"
#include <optional>
#include <string>
#include <vector>

namespace lathe {

/// The version of tables that this release reads and writes.
inline constexpr int64_t latenciesVersion = 1;

/// The format that others are compared with.
inline constexpr llvm::StringLiteral plainFormat = "f32";

/// What a table was measured on and with.
struct LatencyOrigin {
  /// The processor's name for people, its features, and the release of the compiler.
  std::string processor;
  uint64_t features = 0;
  std::string compiler;

  bool operator==(const LatencyOrigin &) const = default;
};

/// The product of [rows, depth] and a weight [depth, columns] in `format`, one thread.
struct LatencyEntry {
  std::string format;
  int64_t rows = 0, depth = 0, columns = 0;
  double microseconds = 0;
  /// Of formats that leave out blocks of zeros: the share of blocks that are not zero.
  double kept = 1;
};

struct LatencyTable {
  /// The file it was read from; empty: there is none, and built-in rules alone decide.
  std::string file;
  LatencyOrigin origin;
  std::vector<LatencyEntry> entries;

  bool empty() const { return entries.empty(); }

  /// How many times as long as in f32 a product takes, of the measured shape that is nearest.
  struct Comparison {
    double ratio = 1;
    int64_t rows = 0, depth = 0, columns = 0;
  };
  /// Nothing if this format was not measured. Without `rows` it is the number of rows that the format suits
  /// best. Between shares of blocks that were measured, and beyond, times lie on a line.
  std::optional<Comparison> compare(llvm::StringRef format, std::optional<int64_t> rows, int64_t depth,
                                    int64_t columns, double kept = 1) const;

  /// Fails unless the table was measured where code for `target` runs, with this compiler.
  llvm::Error checkOrigin(const LatencyOrigin &expected) const;

  static llvm::Expected<LatencyTable> parse(llvm::StringRef text, llvm::StringRef file);
  static llvm::Expected<LatencyTable> read(llvm::StringRef path);
  llvm::json::Object toJSON() const;
};

/// Where the table of this processor and compiler is kept: in $XDG_CACHE_HOME/lathe, or ~/.cache/lathe. Empty
/// if there is no such folder.
std::string getLatencyCache(const LatencyOrigin &origin);

} // namespace lathe

#endif // LATHE_PLAN_LATENCIES_H
