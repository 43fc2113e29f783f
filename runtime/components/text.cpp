// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The component "text": what models do to strings that is more than moving and comparing them.

#include "lathe/component.h"

#include <re2/re2.h>
#include <utf8proc.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <new>
#include <numeric>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr const char *kNoText = "an element of a tensor of strings is no number of a text";
constexpr const char *kNoMemory = "there is no memory for a text";

/// One call, with its texts as views.
struct Call {
  const lathe_service_call &call;

  int64_t count(unsigned operand) const { return call.counts[operand]; }
  int64_t resultCount() const { return call.counts[call.operand_count]; }
  std::string_view argument() const { return {call.argument, call.argument_bytes}; }
  template <typename T>
  const T *operand(unsigned i) const {
    return static_cast<const T *>(call.operands[i]);
  }
  template <typename T>
  T *result() const {
    return static_cast<T *>(call.result);
  }
  /// Text `i` of an operand; false if there is none.
  bool read(unsigned operandNumber, int64_t i, std::string_view &text) const {
    size_t bytes = 0;
    const char *at = call.text(call.texts, operand<int64_t>(operandNumber)[i], &bytes);
    text = {at, bytes};
    return at;
  }
  bool write(int64_t i, std::string_view text) const {
    int64_t number = call.add(call.texts, text.empty() ? "" : text.data(), text.size());
    result<int64_t>()[i] = number;
    return number >= 0;
  }
};

/// Calls `compute(i, text)` for all texts of operand 0, until one says what is wrong.
template <typename Compute>
const char *forEach(const Call &call, Compute compute) {
  for (int64_t i = 0; i < call.count(0); ++i) {
    std::string_view text;
    if (!call.read(0, i, text)) {
      return kNoText;
    }
    if (const char *why = compute(i, text)) {
      return why;
    }
  }
  return nullptr;
}

const char *concat(const Call &call) {
  std::string joined;
  return forEach(call, [&](int64_t i, std::string_view text) {
    std::string_view other;
    if (!call.read(1, i, other)) {
      return kNoText;
    }
    joined.assign(text).append(other);
    return call.write(i, joined) ? nullptr : kNoMemory;
  });
}

const char *match(const Call &call) {
  RE2::Options options;
  options.set_log_errors(false);
  RE2 pattern(re2::StringPiece(call.argument().data(), call.argument().size()), options);
  if (!pattern.ok()) {
    thread_local std::string why;
    why = "the pattern is no regular expression of RE2: " + pattern.error();
    return why.c_str();
  }
  return forEach(call, [&](int64_t i, std::string_view text) -> const char * {
    call.result<bool>()[i] = RE2::FullMatch(re2::StringPiece(text.data(), text.size()), pattern);
    return nullptr;
  });
}

/// Each code point by itself; bytes that are no UTF-8 stay.
template <utf8proc_int32_t (*convert)(utf8proc_int32_t)>
const char *changeCase(const Call &call) {
  std::string changed;
  return forEach(call, [&](int64_t i, std::string_view text) {
    changed.clear();
    while (!text.empty()) {
      const auto *bytes = reinterpret_cast<const utf8proc_uint8_t *>(text.data());
      utf8proc_int32_t point;
      utf8proc_ssize_t length = utf8proc_iterate(bytes, utf8proc_ssize_t(text.size()), &point);
      if (length < 1) {
        changed += text.front();
        text.remove_prefix(1);
        continue;
      }
      utf8proc_uint8_t encoded[4];
      utf8proc_ssize_t written = utf8proc_encode_char(convert(point), encoded);
      changed.append(reinterpret_cast<char *>(encoded), size_t(written));
      text.remove_prefix(size_t(length));
    }
    return call.write(i, changed) ? nullptr : kNoMemory;
  });
}

//===----------------------------------------------------------------------===//
// Parts
//===----------------------------------------------------------------------===//

/// Splits a text; the argument is the largest number of splits ("" for any), a blank, and the delimiter.
class Splitter {
public:
  explicit Splitter(std::string_view argument) {
    size_t blank = argument.find(' ');
    std::string_view number = argument.substr(0, blank);
    std::from_chars(number.data(), number.data() + number.size(), most);
    delimiter = argument.substr(blank + 1);
  }

  /// Calls `take(part)` for every part.
  template <typename Take>
  void split(std::string_view text, Take take) const {
    int64_t splits = 0;
    if (delimiter.empty()) {
      text = skipBlanks(text);
      while (!text.empty()) {
        size_t end = splits++ < most ? text.find_first_of(kBlanks) : std::string_view::npos;
        // What is left behind the last split keeps its blanks.
        take(text.substr(0, end));
        text = end == std::string_view::npos ? std::string_view() : skipBlanks(text.substr(end));
      }
      return;
    }
    for (size_t end; splits < most && (end = text.find(delimiter)) != std::string_view::npos; ++splits) {
      take(text.substr(0, end));
      text.remove_prefix(end + delimiter.size());
    }
    take(text);
  }

private:
  static constexpr const char *kBlanks = " \t\n\v\f\r";
  static std::string_view skipBlanks(std::string_view text) {
    return text.substr(std::min(text.find_first_not_of(kBlanks), text.size()));
  }
  int64_t most = INT64_MAX;
  std::string_view delimiter;
};

const char *count(const Call &call) {
  Splitter splitter(call.argument());
  return forEach(call, [&](int64_t i, std::string_view text) -> const char * {
    int64_t parts = 0;
    splitter.split(text, [&](std::string_view) { ++parts; });
    call.result<int64_t>()[i] = parts;
    return nullptr;
  });
}

/// Row i of the result gets the parts of text i, then empty texts.
const char *split(const Call &call) {
  Splitter splitter(call.argument());
  int64_t width = call.count(0) ? call.resultCount() / call.count(0) : 0;
  return forEach(call, [&](int64_t i, std::string_view text) {
    int64_t column = 0;
    bool ok = true;
    splitter.split(text, [&](std::string_view part) {
      ok = ok && column < width && call.write(i * width + column++, part);
    });
    while (ok && column < width) {
      ok = call.write(i * width + column++, "");
    }
    return ok ? nullptr : kNoMemory;
  });
}

/// The rank of each text in the order of their bytes; equal ones have the same.
const char *order(const Call &call) {
  std::vector<std::string_view> texts(size_t(call.count(0)));
  const char *why = forEach(call, [&](int64_t i, std::string_view text) -> const char * {
    texts[size_t(i)] = text;
    return nullptr;
  });
  std::vector<std::string_view> sorted = texts;
  std::sort(sorted.begin(), sorted.end());
  for (size_t i = 0; !why && i < texts.size(); ++i) {
    call.result<int64_t>()[i] = std::lower_bound(sorted.begin(), sorted.end(), texts[i]) - sorted.begin();
  }
  return why;
}

//===----------------------------------------------------------------------===//
// Numbers
//===----------------------------------------------------------------------===//

std::string_view trim(std::string_view text) {
  constexpr const char *blanks = " \t\n\v\f\r";
  size_t first = std::min(text.find_first_not_of(blanks), text.size());
  text.remove_prefix(first);
  text = text.substr(0, text.find_last_not_of(blanks) + 1);
  if (text.size() > 1 && text.front() == '+' && text[1] != '-' && text[1] != '+') {
    text.remove_prefix(1);
  }
  return text;
}

const char *notNumber(std::string_view text) {
  thread_local std::string why;
  why = "\"" + std::string(text.substr(0, 60)) + "\" is no number";
  return why.c_str();
}

/// Whether all of `text` is a number, also "inf" and "nan".
bool parse(std::string_view text, double &number) {
  const char *end = text.data() + text.size();
  auto [stop, error] = std::from_chars(text.data(), end, number);
  if (stop != end || text.empty() || error == std::errc::invalid_argument) {
    return false;
  }
  if (error == std::errc::result_out_of_range) {
    // Too large, or too small: the sign of the exponent tells.
    bool isSmall = text.find("e-") != text.npos || text.find("E-") != text.npos ||
                   text.find_first_of("123456789") > text.find('.');
    number = std::copysign(isSmall ? 0.0 : HUGE_VAL, text.front() == '-' ? -1.0 : 1.0);
  }
  return true;
}

const char *toFloat(const Call &call) {
  return forEach(call, [&](int64_t i, std::string_view text) {
    return parse(trim(text), call.result<double>()[i]) ? nullptr : notNumber(text);
  });
}

/// As far as numbers reach; what has a fraction loses it.
template <typename T>
const char *toInteger(const Call &call) {
  return forEach(call, [&](int64_t i, std::string_view text) -> const char * {
    std::string_view digits = trim(text);
    T &number = call.result<T>()[i];
    auto [stop, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (error == std::errc() && stop == digits.data() + digits.size()) {
      return nullptr;
    }
    double real;
    constexpr double limit = sizeof(T) == 8 && T(-1) > T(0) ? 18446744073709551616.0 : 9223372036854775808.0;
    if (!parse(digits, real) || !(real < limit) || !(real > (T(-1) > T(0) ? -1.0 : -limit))) {
      return notNumber(text);
    }
    number = T(real);
    return nullptr;
  });
}

/// The fewest digits that are this number again; no exponent where a person would write none.
template <typename T>
const char *printFloats(const Call &call) {
  for (int64_t i = 0; i < call.count(0); ++i) {
    T number = call.operand<T>(0)[i];
    char text[64];
    std::string_view printed = number > 0 ? "INF" : "-INF";
    if (std::isnan(number)) {
      printed = "NaN";
    } else if (!std::isinf(number)) {
      T size = std::fabs(number);
      auto format = size != 0 && (size < T(1e-4) || size >= T(1e16)) ? std::chars_format::scientific
                                                                     : std::chars_format::fixed;
      printed = {text, size_t(std::to_chars(text, text + sizeof text, number, format).ptr - text)};
    }
    if (!call.write(i, printed)) {
      return kNoMemory;
    }
  }
  return nullptr;
}

template <typename T>
const char *printIntegers(const Call &call) {
  for (int64_t i = 0; i < call.count(0); ++i) {
    if (!call.write(i, std::to_string(call.operand<T>(0)[i]))) {
      return kNoMemory;
    }
  }
  return nullptr;
}

/// No exception leaves a component.
template <const char *(*compute)(const Call &)>
const char *serve(const lathe_service_call *call) {
  try {
    return compute(Call{*call});
  } catch (const std::bad_alloc &) {
    return kNoMemory;
  }
}

constexpr lathe_component_service services[] = {
    {"text.concat", serve<concat>},
    {"text.match", serve<match>},
    {"text.lower", serve<changeCase<utf8proc_tolower>>},
    {"text.upper", serve<changeCase<utf8proc_toupper>>},
    {"text.count", serve<count>},
    {"text.split", serve<split>},
    {"text.order", serve<order>},
    {"text.to_f64", serve<toFloat>},
    {"text.to_i64", serve<toInteger<int64_t>>},
    {"text.to_u64", serve<toInteger<uint64_t>>},
    {"text.from_f32", serve<printFloats<float>>},
    {"text.from_f64", serve<printFloats<double>>},
    {"text.from_i64", serve<printIntegers<int64_t>>},
    {"text.from_u64", serve<printIntegers<uint64_t>>},
};

} // namespace

extern "C" __attribute__((visibility("default"))) const lathe_component lathe_component = {
    LATHE_COMPONENT_VERSION, sizeof services / sizeof *services, services};
