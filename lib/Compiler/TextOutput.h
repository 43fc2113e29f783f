// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Text as an output.

#ifndef LATHE_LIB_COMPILER_TEXTOUTPUT_H
#define LATHE_LIB_COMPILER_TEXTOUTPUT_H

#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/raw_ostream.h"

#include <string>

namespace lathe {

/// Writes what `print` prints to the file `output`, whole like all outputs; to standard output, if it is
/// empty, and to devices as it comes.
llvm::Error writeText(const std::string &output, llvm::function_ref<void(llvm::raw_ostream &)> print);

} // namespace lathe

#endif // LATHE_LIB_COMPILER_TEXTOUTPUT_H
