// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What this machine can do at most, measured.

#ifndef LATHE_TOOLS_LATHE_ROOF_H
#define LATHE_TOOLS_LATHE_ROOF_H

#include <cstddef>
#include <vector>

namespace lathe {

/// Reading a buffer of `bytes`, all threads' parts together, again and again.
struct Bandwidth {
  double bytes = 0, bytesPerSecond = 0;
};

struct Roof {
  /// f32 multiply-adds count as two operations.
  double flopsPerSecond = 0;
  /// From what fits the caches next to a core to what only memory holds; never faster than the one before.
  std::vector<Bandwidth> bandwidths;

  /// Of memory.
  double memoryBytesPerSecond() const { return bandwidths.empty() ? 0 : bandwidths.back().bytesPerSecond; }
  /// Of what lies within `workingSet` bytes that are used again and again.
  double bytesPerSecond(double workingSet) const;
};

/// Measures with `threads` threads at once, for about a third of a second.
Roof measureRoof(unsigned threads);

} // namespace lathe

#endif // LATHE_TOOLS_LATHE_ROOF_H
