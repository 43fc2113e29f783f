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

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <tuple>

using namespace llvm;
using namespace lathe;

//===----------------------------------------------------------------------===//
// What it says
//===----------------------------------------------------------------------===//

/// How far a measured shape is from another: factors count, whichever is the larger.
static double distance(const LatencyTable::Comparison &entry, std::optional<int64_t> rows, int64_t depth,
                       int64_t columns) {
  auto between = [](int64_t a, int64_t b) {
    return std::abs(std::log2(double(std::max<int64_t>(a, 1)) / double(std::max<int64_t>(b, 1))));
  };
  return between(entry.depth, depth) + between(entry.columns, columns) +
         (rows ? between(entry.rows, *rows) : 0);
}

/// The value at `x` of the line through the two points, in the order of their places, that are next to it.
static double interpolate(ArrayRef<std::pair<double, double>> points, double x) {
  if (points.size() == 1) {
    return points.front().second;
  }
  size_t above = partition_point(points, [&](const auto &point) { return point.first < x; }) - points.begin();
  above = std::clamp<size_t>(above, 1, points.size() - 1);
  auto [x0, y0] = points[above - 1];
  auto [x1, y1] = points[above];
  return std::max(y0 + (y1 - y0) * (x - x0) / (x1 - x0), 0.0);
}

std::optional<LatencyTable::Comparison> LatencyTable::compare(StringRef format, std::optional<int64_t> rows,
                                                              int64_t depth, int64_t columns,
                                                              double kept) const {
  using Shape = std::tuple<int64_t, int64_t, int64_t>;
  std::map<Shape, double> plain;
  std::map<Shape, std::map<double, double>> measured; // times by the share of blocks
  for (const LatencyEntry &entry : entries) {
    Shape shape{entry.rows, entry.depth, entry.columns};
    if (entry.format == plainFormat) {
      plain.try_emplace(shape, entry.microseconds);
    }
    if (entry.format == format) {
      measured[shape].try_emplace(entry.kept, entry.microseconds);
    }
  }
  std::optional<Comparison> best;
  double nearest = 0;
  for (const auto &[shape, times] : measured) {
    auto dense = plain.find(shape);
    if (dense == plain.end()) {
      continue;
    }
    SmallVector<std::pair<double, double>> points(times.begin(), times.end());
    auto [ownRows, ownDepth, ownColumns] = shape;
    Comparison one{interpolate(points, kept) / dense->second, ownRows, ownDepth, ownColumns};
    double away = distance(one, rows, depth, columns);
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
    json::Object o{{"format", toUTF8(entry.format)},
                   {"rows", entry.rows},
                   {"depth", entry.depth},
                   {"columns", entry.columns},
                   {"microseconds", entry.microseconds}};
    if (entry.kept != 1) {
      o["kept"] = entry.kept;
    }
    list.push_back(std::move(o));
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
  if (const json::Value *kept = object->get("kept")) {
    to.kept = kept->getAsNumber().value_or(-1);
    if (!(to.kept >= 0 && to.kept <= 1)) {
      return fail("kept is no number from 0 to 1");
    }
  }
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
