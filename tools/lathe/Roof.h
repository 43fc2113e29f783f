// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What this machine can do at most, measured.

#ifndef LATHE_TOOLS_LATHE_ROOF_H
#define LATHE_TOOLS_LATHE_ROOF_H

namespace lathe {

struct Roof {
  /// f32 multiply-adds count as two operations.
  double flopsPerSecond = 0;
  /// Read from memory, by all threads together.
  double bytesPerSecond = 0;
};

/// Measures with `threads` threads at once, for about a quarter of a second.
Roof measureRoof(unsigned threads);

} // namespace lathe

#endif // LATHE_TOOLS_LATHE_ROOF_H
