// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Support/Text.h"
#include "llvm/Support/ConvertUTF.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/raw_ostream.h"

using namespace llvm;

namespace {

/// One decoded character: its length in bytes, and its code point or -1 where the bytes are no UTF-8.
struct Character {
  size_t length;
  int64_t codePoint;
};

Character decode(StringRef text) {
  const auto *bytes = reinterpret_cast<const UTF8 *>(text.data());
  const UTF8 *next = bytes;
  UTF32 codePoint = 0;
  if (convertUTF8Sequence(&next, bytes + text.size(), &codePoint, strictConversion) != conversionOK) {
    return {1, -1};
  }
  return {size_t(next - bytes), codePoint};
}

/// Characters that move the cursor, change the direction of text, or cannot be seen.
bool isHarmful(int64_t c) {
  return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x200b && c <= 0x200f) ||
         (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff ||
         (c >= 0xe0000 && c <= 0xe0fff);
}

void escapeInto(raw_ostream &os, StringRef text, bool quotes, size_t limit) {
  size_t total = text.size();
  for (size_t done = 0; !text.empty();) {
    auto [length, c] = decode(text);
    if (done + length > limit) {
      os << "... (" << total << " bytes)";
      return;
    }
    if (c < 0) {
      os << format("\\x%02x", static_cast<unsigned char>(text.front()));
    } else if (c == '\n') {
      os << "\\n";
    } else if (c == '\t') {
      os << "\\t";
    } else if (c == '\r') {
      os << "\\r";
    } else if (quotes && c == '"') {
      os << "\\\"";
    } else if (isHarmful(c)) {
      os << (c < 0x100 ? format("\\x%02x", unsigned(c)) : format("\\u{%x}", unsigned(c)));
    } else {
      os << text.take_front(length);
    }
    text = text.drop_front(length);
    done += length;
  }
}

} // namespace

std::string lathe::escapeText(StringRef text, size_t limit) {
  std::string result;
  raw_string_ostream os(result);
  escapeInto(os, text, /*quotes=*/false, limit);
  return result;
}

std::string lathe::quoteText(StringRef text, size_t limit) {
  std::string result;
  raw_string_ostream os(result);
  os << '"';
  escapeInto(os, text, /*quotes=*/true, limit);
  os << '"';
  return result;
}

std::string lathe::toUTF8(StringRef text) {
  std::string result;
  raw_string_ostream os(result);
  while (!text.empty()) {
    auto [length, c] = decode(text);
    if (c < 0) {
      os << format("\\x%02x", static_cast<unsigned char>(text.front()));
    } else {
      os << text.take_front(length);
    }
    text = text.drop_front(length);
  }
  return result;
}

std::string lathe::formatBytes(uint64_t bytes) {
  static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
  double value = double(bytes);
  unsigned unit = 0;
  while (value >= 999.5 && unit + 1 < std::size(units)) {
    value /= 1000;
    ++unit;
  }
  std::string result;
  raw_string_ostream(result) << format(unit == 0 || value >= 99.5 ? "%.0f"
                                       : value >= 9.95            ? "%.1f"
                                                                  : "%.2f",
                                       value)
                             << ' ' << units[unit];
  return result;
}
