// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Text of unknown origin, made safe to print.

#ifndef LATHE_SUPPORT_TEXT_H
#define LATHE_SUPPORT_TEXT_H

#include "llvm/ADT/StringRef.h"
#include <string>

namespace lathe {

/// `text` as printable UTF-8: control characters, bytes that are no UTF-8 and characters that reorder or hide
/// what follows them become escapes (`\n`, `\x1b`, `\u{202e}`). More than `limit` bytes are cut, with the
/// full length named.
std::string escapeText(llvm::StringRef text, size_t limit = 400);

/// The same between double quotes; quotes inside become `\"`.
std::string quoteText(llvm::StringRef text, size_t limit = 400);

/// `text` with only its invalid bytes escaped: for JSON, which has escapes of its own for the rest.
std::string toUTF8(llvm::StringRef text);

/// A number of bytes for people: "512 B", "1.5 MB", "548 MB" (powers of 1000).
std::string formatBytes(uint64_t bytes);

} // namespace lathe

#endif // LATHE_SUPPORT_TEXT_H
