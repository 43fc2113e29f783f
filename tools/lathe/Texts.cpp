// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Texts.h"

#include "llvm/Support/ConvertUTF.h"

using namespace llvm;
using namespace lathe;

bool lathe::toNumbers(lathe_session_t *session, Array &array) {
  int64_t count = 1;
  for (int64_t dim : array.dims) {
    count *= dim;
  }
  AlignedBytes numbers(size_t(count) * sizeof(int64_t));
  const auto *characters = reinterpret_cast<const UTF32 *>(array.bytes.data());
  for (int64_t i = 0; i < count; ++i) {
    ArrayRef<UTF32> text(characters + i * array.width, size_t(array.width));
    while (!text.empty() && text.back() == 0) {
      text = text.drop_back();
    }
    std::string bytes(4 * text.size(), '\0');
    const UTF32 *from = text.begin();
    auto *to = reinterpret_cast<UTF8 *>(bytes.data());
    // What is no character becomes U+FFFD.
    ConvertUTF32toUTF8(&from, text.end(), &to, to + bytes.size(), lenientConversion);
    size_t length = size_t(reinterpret_cast<char *>(to) - bytes.data());
    if (lathe_session_add_text(session, bytes.data(), length,
                               reinterpret_cast<int64_t *>(numbers.data()) + i) != LATHE_OK) {
      return false;
    }
  }
  array.bytes = std::move(numbers);
  array.width = -1;
  return true;
}

bool lathe::toCharacters(lathe_session_t *session, ArrayView &array, std::vector<uint32_t> &storage) {
  ArrayRef<int64_t> numbers(reinterpret_cast<const int64_t *>(array.bytes.data()),
                            array.bytes.size() / sizeof(int64_t));
  std::vector<std::vector<UTF32>> texts;
  size_t width = 1;
  for (int64_t number : numbers) {
    const char *text;
    size_t bytes;
    if (lathe_session_text(session, number, &text, &bytes) != LATHE_OK) {
      return false;
    }
    std::vector<UTF32> &characters = texts.emplace_back(bytes);
    const auto *from = reinterpret_cast<const UTF8 *>(text);
    UTF32 *to = characters.data();
    ConvertUTF8toUTF32(&from, from + bytes, &to, to + bytes, lenientConversion);
    characters.resize(size_t(to - characters.data()));
    width = std::max(width, characters.size());
  }
  storage.assign(width * texts.size(), 0);
  for (size_t i = 0; i < texts.size(); ++i) {
    copy(texts[i], storage.begin() + ptrdiff_t(i * width));
  }
  array.bytes = ArrayRef(reinterpret_cast<const char *>(storage.data()), storage.size() * sizeof(uint32_t));
  array.width = int64_t(width);
  return true;
}
