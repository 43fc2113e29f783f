// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Plan/Latencies.h"

#include "JsonPositions.h"
#include "lathe/Support/Error.h"
#include "lathe/Support/Text.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/xxhash.h"

#include <cmath>
#include <cstdlib>

using namespace llvm;
using namespace lathe;

//===----------------------------------------------------------------------===//
// What it says
//===----------------------------------------------------------------------===//

static double distance(const LatencyEntry &entry, std::optional<int64_t> rows, int64_t depth,
                       int64_t columns) {
  auto between = [](int64_t a, int64_t b) {
    return std::abs(std::log2(double(std::max<int64_t>(a, 1)) / double(std::max<int64_t>(b, 1))));
  };
  return between(entry.depth, depth) + between(entry.columns, columns) +
         (rows ? between(entry.rows, *rows) : 0);
}

std::optional<LatencyTable::Comparison> LatencyTable::compare(StringRef format, std::optional<int64_t> rows,
                                                              int64_t depth, int64_t columns) const {
  std::optional<Comparison> best;
  double nearest = 0;
  for (const LatencyEntry &entry : entries) {
    if (entry.format != format) {
      continue;
    }
    auto plain = find_if(entries, [&](const LatencyEntry &e) {
      return e.format == plainFormat && e.rows == entry.rows && e.depth == entry.depth &&
             e.columns == entry.columns;
    });
    if (plain == entries.end()) {
      continue;
    }
    Comparison one{entry.microseconds / plain->microseconds, entry.rows, entry.depth, entry.columns};
    double away = distance(entry, rows, depth, columns);
    if (!best || away < nearest || (away == nearest && one.ratio < best->ratio)) {
      best = one;
      nearest = away;
    }
  }
  return best;
}

Error LatencyTable::checkOrigin(const LatencyOrigin &expected) const {
  if (origin.processor != expected.processor || origin.features != expected.features) {
    return modelError(ErrorCode::E0820, "the latencies were measured on another processor")
        .file(file)
        .have("measured on " + quoteText(origin.processor) + ", this is " + quoteText(expected.processor))
        .help("`lathe latencies` measures this one; --latencies=none goes by built-in rules");
  }
  if (origin.compiler != expected.compiler) {
    return modelError(ErrorCode::E0820, "the latencies are those of another compiler's kernels")
        .file(file)
        .have("measured with " + quoteText(origin.compiler) + ", this is " + quoteText(expected.compiler))
        .help("`lathe latencies` measures again; --latencies=none goes by built-in rules");
  }
  return Error::success();
}

//===----------------------------------------------------------------------===//
// Files
//===----------------------------------------------------------------------===//

std::string lathe::getLatencyCache(const LatencyOrigin &origin) {
  SmallString<256> path;
  if (const char *cache = getenv("XDG_CACHE_HOME"); cache && *cache) {
    path = cache;
  } else if (!sys::path::home_directory(path)) {
    return "";
  } else {
    sys::path::append(path, ".cache");
  }
  uint64_t hash =
      xxh3_64bits(formatv("{0}\n{1:x}\n{2}", origin.processor, origin.features, origin.compiler).str());
  sys::path::append(path, "lathe", formatv("latencies-{0}.json", format_hex_no_prefix(hash, 16)).str());
  return path.str().str();
}

json::Object LatencyTable::toJSON() const {
  json::Array list;
  for (const LatencyEntry &entry : entries) {
    list.push_back(json::Object{{"format", toUTF8(entry.format)},
                                {"rows", entry.rows},
                                {"depth", entry.depth},
                                {"columns", entry.columns},
                                {"microseconds", entry.microseconds}});
  }
  return json::Object{{"version", latenciesVersion},
                      {"processor", toUTF8(origin.processor)},
                      {"features", utohexstr(origin.features, /*LowerCase=*/true)},
                      {"compiler", toUTF8(origin.compiler)},
                      {"products", std::move(list)}};
}

static Error malformed(StringRef file, const Twine &what) {
  return modelError(ErrorCode::E0821, what).file(file).help("`lathe latencies -o FILE` writes such a table");
}

static Error parseEntry(const json::Value &value, size_t number, StringRef file, LatencyEntry &to) {
  auto fail = [&](const Twine &what) { return malformed(file, "products[" + Twine(number) + "]: " + what); };
  const json::Object *object = value.getAsObject();
  std::optional<StringRef> format = object ? object->getString("format") : std::nullopt;
  if (!format || format->empty()) {
    return fail("expects an object with a format");
  }
  to.format = format->str();
  for (auto [key, field] :
       {std::pair("rows", &to.rows), std::pair("depth", &to.depth), std::pair("columns", &to.columns)}) {
    std::optional<int64_t> size = object->getInteger(key);
    if (!size || *size < 1) {
      return fail(Twine(key) + " is no number of at least 1");
    }
    *field = *size;
  }
  std::optional<double> time = object->getNumber("microseconds");
  if (!time || !(*time > 0) || !std::isfinite(*time)) {
    return fail("microseconds is no number above 0");
  }
  to.microseconds = *time;
  return Error::success();
}

Expected<LatencyTable> LatencyTable::parse(StringRef text, StringRef file) {
  LatencyTable table;
  table.file = file.str();
  // LLVM's parser calls itself for each level.
  if (JsonPositions(text).isTooDeep()) {
    return malformed(file, "values in the table of latencies are nested deeper than " +
                               Twine(JsonPositions::maxDepth));
  }
  Expected<json::Value> value = json::parse(text);
  if (!value) {
    return malformed(file, "the table of latencies is not JSON: " + toString(value.takeError()));
  }
  const json::Object *root = value->getAsObject();
  if (!root || root->getInteger("version") != latenciesVersion) {
    return malformed(file, "the table of latencies is not of version " + Twine(latenciesVersion));
  }
  std::optional<StringRef> processor = root->getString("processor"), features = root->getString("features"),
                           compiler = root->getString("compiler");
  const json::Array *products = root->getArray("products");
  if (!processor || !features || features->getAsInteger(16, table.origin.features) || !compiler ||
      !products) {
    return malformed(file, "the table of latencies lacks its processor, features, compiler or products");
  }
  table.origin.processor = processor->str();
  table.origin.compiler = compiler->str();
  for (auto [number, entry] : enumerate(*products)) {
    if (Error error = parseEntry(entry, number, file, table.entries.emplace_back())) {
      return error;
    }
  }
  return table;
}

Expected<LatencyTable> LatencyTable::read(StringRef path) {
  ErrorOr<std::unique_ptr<MemoryBuffer>> buffer = MemoryBuffer::getFile(path, /*IsText=*/true);
  if (!buffer) {
    return systemError(ErrorCode::E0002, "cannot read " + quoteText(path), buffer.getError().value());
  }
  return parse((*buffer)->getBuffer(), path);
}
