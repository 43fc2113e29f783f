// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#ifndef LATHE_COMPILER_WORKERPIPE_H
#define LATHE_COMPILER_WORKERPIPE_H

namespace lathe {

/// The descriptor in the worker on which it sends.
inline constexpr int workerPipe = 3;

} // namespace lathe

#endif // LATHE_COMPILER_WORKERPIPE_H
