// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Rules for make and ninja.

#ifndef LATHE_LIB_COMPILER_DEPFILE_H
#define LATHE_LIB_COMPILER_DEPFILE_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include <string>

namespace lathe {

/// Writes into `path` that `output` is made from `inputs`.
llvm::Error writeDepFile(llvm::StringRef path, llvm::StringRef output, llvm::ArrayRef<std::string> inputs);

} // namespace lathe

#endif // LATHE_LIB_COMPILER_DEPFILE_H
