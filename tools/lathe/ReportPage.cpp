// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "ReportPage.h"

#include "ReportTemplate.h"
#include "llvm/Support/FormatVariadic.h"

using namespace llvm;
using namespace lathe;

std::string lathe::renderReportPage(const json::Value &report) {
  auto [before, after] = StringRef(reportTemplate).split("%REPORT%");
  std::string page = before.str();
  for (char c : formatv("{0}", report).str()) {
    // Names come from the model: none may end the element that they stand in. Outside of strings JSON has no
    // such character.
    if (c == '<') {
      page += "\\u003c";
    } else {
      page += c;
    }
  }
  page += after;
  return page;
}
