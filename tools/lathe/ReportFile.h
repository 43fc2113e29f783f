// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Reports as files: JSON, or a page for browsers, which is one file and loads nothing.

#ifndef LATHE_TOOLS_LATHE_REPORTFILE_H
#define LATHE_TOOLS_LATHE_REPORTFILE_H

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/JSON.h"
#include <string>

namespace lathe {

/// Writes a report to FILE.html as a page, to other files as JSON.
llvm::Error writeReport(llvm::StringRef path, const llvm::json::Value &report);

/// Reads what writeReport has written, of either kind. Fails with E0006 on anything else.
llvm::Expected<llvm::json::Object> readReport(llvm::StringRef path);

} // namespace lathe

#endif // LATHE_TOOLS_LATHE_REPORTFILE_H
