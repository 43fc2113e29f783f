// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "ReportFile.h"

#include "ReportTemplate.h"
#include "lathe/Support/Error.h"
#include "lathe/Support/OutputFile.h"
#include "lathe/Support/Text.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MemoryBuffer.h"

using namespace llvm;
using namespace lathe;

/// Where the report stands in a page.
static constexpr StringLiteral kData = "<script type=\"application/json\" id=\"data\">",
                               kDataEnd = "</script>";

/// LLVM's parser calls itself for each level of brackets.
static constexpr size_t kMostLevels = 128;

static std::string renderPage(const json::Value &report) {
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

Error lathe::writeReport(StringRef path, const json::Value &report) {
  return writeFile(path, path.ends_with(".html") ? renderPage(report) : formatv("{0:2}\n", report).str());
}

static bool isTooDeep(StringRef text) {
  size_t levels = 0;
  bool inString = false;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (inString && c == '\\') {
      ++i;
    } else if (c == '"') {
      inString = !inString;
    } else if (!inString && (c == '{' || c == '[')) {
      if (++levels > kMostLevels) {
        return true;
      }
    } else if (!inString && (c == '}' || c == ']')) {
      levels -= levels > 0;
    }
  }
  return false;
}

Expected<json::Object> lathe::readReport(StringRef path) {
  ErrorOr<std::unique_ptr<MemoryBuffer>> buffer = MemoryBuffer::getFile(path, /*IsText=*/true);
  if (!buffer) {
    return systemError(ErrorCode::E0002, "cannot read " + quoteText(path), buffer.getError().value());
  }
  StringRef text = (*buffer)->getBuffer();
  if (size_t begin = text.find(kData); begin != StringRef::npos) {
    text = text.substr(begin + kData.size());
    text = text.take_front(text.find(kDataEnd));
  }
  auto fail = [&](const Twine &what) {
    return modelError(ErrorCode::E0006, what)
        .file(path)
        .help("`lathe compile MODEL.onnx -o OUTPUT.so --report FILE` writes one");
  };
  if (isTooDeep(text)) {
    return fail("values in the report are nested deeper than " + Twine(kMostLevels));
  }
  Expected<json::Value> value = json::parse(text);
  if (!value) {
    return fail("the file is no report: " + toString(value.takeError()));
  }
  json::Object *report = value->getAsObject();
  if (!report || !report->getObject("graph") || !report->getArray("kernels")) {
    return fail("the file is no report of a compilation: it has no graph and kernels");
  }
  return std::move(*report);
}
