// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "DepFile.h"

#include "lathe/Support/OutputFile.h"

using namespace llvm;
using namespace lathe;

/// A path as rules of make spell it.
static std::string escapeForMake(StringRef path) {
  std::string text;
  for (char c : path) {
    if (c == '$') {
      text += '$';
    } else if (c == ' ' || c == '#' || c == '\\') {
      text += '\\';
    }
    text += c;
  }
  return text;
}

Error lathe::writeDepFile(StringRef path, StringRef output, ArrayRef<std::string> inputs) {
  std::string text = escapeForMake(output) + ":";
  for (StringRef separator = " "; const std::string &input : inputs) {
    text += separator.str() + escapeForMake(input);
    separator = " \\\n  ";
  }
  return writeFile(path, text + "\n");
}
