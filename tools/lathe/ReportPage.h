// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// A report as a page for browsers: one file, which loads nothing.

#ifndef LATHE_TOOLS_LATHE_REPORTPAGE_H
#define LATHE_TOOLS_LATHE_REPORTPAGE_H

#include "llvm/Support/JSON.h"
#include <string>

namespace lathe {

std::string renderReportPage(const llvm::json::Value &report);

} // namespace lathe

#endif // LATHE_TOOLS_LATHE_REPORTPAGE_H
