// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What needs Python, because the peers that we compare with do.

#ifndef LATHE_TOOLS_LATHE_PYTHON_H
#define LATHE_TOOLS_LATHE_PYTHON_H

#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"

namespace lathe {

/// Becomes `python3 -m module arguments…`. Returns only if that is impossible. The module finds this driver
/// in the environment as LATHE_DRIVER.
llvm::Error runPythonModule(llvm::StringRef module, llvm::ArrayRef<llvm::StringRef> arguments);

} // namespace lathe

#endif // LATHE_TOOLS_LATHE_PYTHON_H
