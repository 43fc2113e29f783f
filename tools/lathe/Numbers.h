// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The elements of arrays as numbers.

#ifndef LATHE_TOOLS_LATHE_NUMBERS_H
#define LATHE_TOOLS_LATHE_NUMBERS_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include <cstdint>

namespace lathe {

/// Calls `visit` with every element of an array of `dtype` (enum lathe_dtype), none of which are texts.
void visitNumbers(uint32_t dtype, llvm::ArrayRef<char> bytes, llvm::function_ref<void(double)> visit);

} // namespace lathe

#endif // LATHE_TOOLS_LATHE_NUMBERS_H
