// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "TextOutput.h"

#include "lathe/Support/Error.h"
#include "lathe/Support/OutputFile.h"
#include "lathe/Support/Text.h"

#include "llvm/Support/FileSystem.h"

using namespace llvm;
using namespace lathe;

Error lathe::writeText(const std::string &output, function_ref<void(raw_ostream &)> print) {
  std::string name = output.empty() ? "-" : output;
  if (name != "-" && !(sys::fs::exists(name) && !sys::fs::is_regular_file(name))) {
    std::string text;
    raw_string_ostream stream(text);
    print(stream);
    return writeFile(name, text);
  }
  std::error_code code;
  raw_fd_ostream stream(name, code);
  if (!code) {
    print(stream);
    stream.flush();
    code = stream.error();
    stream.clear_error();
  }
  if (code) {
    return systemError(ErrorCode::E0003, "cannot write " + quoteText(name), code.value());
  }
  return Error::success();
}
