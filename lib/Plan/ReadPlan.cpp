// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// From the text of a plan to the plan. docs/plan.schema.json says the same for other programs.

#include "JsonPositions.h"

#include "lathe/Plan/Plan.h"
#include "lathe/Plan/Sparsity.h"
#include "lathe/Plan/Stats.h"
#include "lathe/Support/Error.h"
#include "lathe/Support/Text.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MemoryBuffer.h"

#include <cmath>

using namespace llvm;
using namespace lathe;

/// More than a plan with an entry for each of a million weights has.
static constexpr uint64_t maxBytes = uint64_t(1) << 30;

static StringRef kindOf(const json::Value &value) {
  switch (value.kind()) {
  case json::Value::Null:
    return "null";
  case json::Value::Boolean:
    return "a truth value";
  case json::Value::Number:
    return "a number";
  case json::Value::String:
    return "a string";
  case json::Value::Array:
    return "a list";
  case json::Value::Object:
    return "an object";
  }
  return "";
}

namespace {

/// Reads one plan; the first mistake ends it.
class PlanReader {
public:
  PlanReader(StringRef text, StringRef file) : positions(text) { plan.file = file.str(); }

  Expected<Plan> read(StringRef text);

private:
  using Path = ArrayRef<StringRef>;

  Error fail(ErrorCode code, Path path, const Twine &what, const Twine &help = "") const;
  /// A field of `object`, or null where it is missing.
  static const json::Value *find(const json::Object &object, StringRef key) { return object.get(key); }
  Error checkFields(const json::Object &object, Path path, ArrayRef<StringRef> known) const;
  Error wrongType(const json::Value &value, Path path, StringRef expected) const;
  Error readText(const json::Object &object, Path path, StringRef key, std::string &to) const;
  Error readHash(const json::Object &object, Path path, StringRef key, std::string &to) const;
  Error readFormat(const json::Object &object, Path path, std::string &to) const;
  /// "rounding" and "migrate".
  Error readRounding(const json::Object &object, Path path, std::string &rounding,
                     std::optional<double> &migrate) const;
  Error readRange(const json::Object &object, Path path, PlanEntry &to) const;
  Error readSparsity(const json::Object &object, Path path, std::string &to) const;
  Error readObject(const json::Object &object, StringRef key, const json::Object *&to) const;
  Error readVersion(const json::Object &root) const;
  Error readDefaults(const json::Object &root);
  Error readEntries(const json::Object &root, StringRef kind, std::vector<PlanEntry> &to) const;
  Error readLayers(const json::Object &root);
  Error readLayer(const json::Value &value, StringRef number);
  Error readNodes(const json::Object &layer, Path path, std::vector<std::string> &to) const;

  JsonPositions positions;
  Plan plan;
};

} // namespace

Error PlanReader::fail(ErrorCode code, Path path, const Twine &what, const Twine &help) const {
  std::string where;
  for (StringRef step : path) {
    bool isNumber = !step.empty() && llvm::all_of(step, isDigit);
    where += isNumber ? ("[" + step + "]").str() : (where.empty() ? "" : ".") + escapeText(step);
  }
  return modelError(code, (where.empty() ? "" : where + ": ") + what)
      .file(plan.file)
      .position(positions.of(path))
      .help(help);
}

Error PlanReader::wrongType(const json::Value &value, Path path, StringRef expected) const {
  return fail(ErrorCode::E0801, path, "expects " + expected + ", found " + kindOf(value));
}

Error PlanReader::checkFields(const json::Object &object, Path path, ArrayRef<StringRef> known) const {
  // The order of a json::Object is none that a reader of messages knows.
  std::optional<StringRef> first;
  for (const auto &[key, value] : object) {
    StringRef name = key;
    if (!is_contained(known, name) && (!first || name < *first)) {
      first = name;
    }
  }
  if (!first) {
    return Error::success();
  }
  SmallVector<StringRef> place(path);
  place.push_back(*first);
  const StringRef *near = min_element(
      known, [&](StringRef a, StringRef b) { return first->edit_distance(a) < first->edit_distance(b); });
  std::string guess = first->edit_distance(*near) < 3 ? ", did you mean " + quoteText(*near) + "?" : "";
  return fail(ErrorCode::E0801, place, "this field is unknown" + guess, "known are " + join(known, ", "));
}

Error PlanReader::readText(const json::Object &object, Path path, StringRef key, std::string &to) const {
  const json::Value *value = find(object, key);
  if (!value) {
    return Error::success();
  }
  SmallVector<StringRef> place(path);
  place.push_back(key);
  std::optional<StringRef> text = value->getAsString();
  if (!text) {
    return wrongType(*value, place, "a string");
  }
  to = text->str();
  return Error::success();
}

Error PlanReader::readHash(const json::Object &object, Path path, StringRef key, std::string &to) const {
  if (Error error = readText(object, path, key, to)) {
    return error;
  }
  if (find(object, key) && (to.size() != 16 || !llvm::all_of(to, isHexDigit))) {
    SmallVector<StringRef> place(path);
    place.push_back(key);
    return fail(ErrorCode::E0801, place, "expects 16 hexadecimal digits, found " + quoteText(to));
  }
  to = StringRef(to).lower();
  return Error::success();
}

Error PlanReader::readFormat(const json::Object &object, Path path, std::string &to) const {
  if (Error error = readText(object, path, "format", to)) {
    return error;
  }
  if (find(object, "format") && to.empty()) {
    SmallVector<StringRef> place(path);
    place.push_back("format");
    return fail(ErrorCode::E0801, place, "expects a format, found an empty string");
  }
  return Error::success();
}

Error PlanReader::readRounding(const json::Object &object, Path path, std::string &rounding,
                               std::optional<double> &migrate) const {
  if (Error error = readText(object, path, "rounding", rounding)) {
    return error;
  }
  SmallVector<StringRef> place(path);
  place.push_back("rounding");
  if (find(object, "rounding") && rounding != "nearest" && rounding != "compensated") {
    return fail(ErrorCode::E0801, place,
                "expects \"nearest\" or \"compensated\", found " + quoteText(rounding));
  }
  place.back() = "migrate";
  if (const json::Value *value = find(object, "migrate")) {
    migrate = value->getAsNumber();
    if (!migrate) {
      return wrongType(*value, place, "a number");
    }
    if (!(*migrate >= 0 && *migrate <= 1)) {
      return fail(ErrorCode::E0801, place, "expects a number from 0 to 1");
    }
  }
  return Error::success();
}

Error PlanReader::readSparsity(const json::Object &object, Path path, std::string &to) const {
  if (Error error = readText(object, path, "sparsity", to)) {
    return error;
  }
  std::string why;
  if (find(object, "sparsity") && to != keptFormat && !PlanSparsity::parse(to, why)) {
    SmallVector<StringRef> place(path);
    place.push_back("sparsity");
    return fail(ErrorCode::E0801, place, why + ", found " + quoteText(to));
  }
  return Error::success();
}

Error PlanReader::readRange(const json::Object &object, Path path, PlanEntry &to) const {
  const json::Value *value = find(object, "range");
  if (!value) {
    return Error::success();
  }
  SmallVector<StringRef> place(path);
  place.push_back("range");
  const json::Array *list = value->getAsArray();
  if (!list) {
    return wrongType(*value, place, "a list");
  }
  std::array<float, 2> range = {};
  bool isRange = list->size() == 2;
  for (size_t i = 0; isRange && i < 2; ++i) {
    std::optional<double> number = (*list)[i].getAsNumber();
    range[i] = float(number.value_or(0));
    isRange = number && std::isfinite(range[i]);
  }
  if (!isRange || range[0] >= range[1]) {
    return fail(ErrorCode::E0801, place, "expects two numbers, the lesser first");
  }
  to.range = range;
  return Error::success();
}

Error PlanReader::readObject(const json::Object &object, StringRef key, const json::Object *&to) const {
  const json::Value *value = find(object, key);
  to = value ? value->getAsObject() : nullptr;
  return value && !to ? wrongType(*value, key, "an object") : Error::success();
}

Error PlanReader::readVersion(const json::Object &root) const {
  const json::Value *value = find(root, "version");
  if (!value) {
    return fail(ErrorCode::E0801, {}, "a plan has to have a version",
                "\"version\": " + Twine(planVersion) + " is that of this release");
  }
  std::optional<int64_t> version = value->getAsInteger();
  if (!version) {
    return wrongType(*value, StringRef("version"), "a whole number");
  }
  if (*version != planVersion) {
    return fail(ErrorCode::E0802, StringRef("version"),
                "the plan is of version " + Twine(*version) + ", this release reads version " +
                    Twine(planVersion));
  }
  return Error::success();
}

Error PlanReader::readDefaults(const json::Object &root) {
  const json::Object *defaults = nullptr;
  Error error = readObject(root, "defaults", defaults);
  if (error || !defaults) {
    return error;
  }
  if (Error error = checkFields(
          *defaults, StringRef("defaults"),
          {"format", "math", "max_error", "migrate", "ranges", "rounding", "sparsity", "speedup"})) {
    return error;
  }
  if (Error error = readFormat(*defaults, StringRef("defaults"), plan.format)) {
    return error;
  }
  if (Error error = readText(*defaults, StringRef("defaults"), "math", plan.math)) {
    return error;
  }
  if (Error error = readSparsity(*defaults, StringRef("defaults"), plan.sparsity)) {
    return error;
  }
  if (find(*defaults, "math") && plan.math != "bf16" && plan.math != Plan::kTF32) {
    return fail(ErrorCode::E0801, {"defaults", "math"},
                "expects \"bf16\" or \"tf32\", found " + quoteText(plan.math));
  }
  if (Error error = readText(*defaults, StringRef("defaults"), "ranges", plan.ranges)) {
    return error;
  }
  if (find(*defaults, "ranges") && !RangeMethod::parse(plan.ranges)) {
    return fail(ErrorCode::E0801, {"defaults", "ranges"},
                "expects \"minmax\", \"mse\" or \"percentile:P\" with P from 50 to 100, found " +
                    quoteText(plan.ranges));
  }
  if (Error error = readRounding(*defaults, StringRef("defaults"), plan.rounding, plan.migrate)) {
    return error;
  }
  if (const json::Value *value = find(*defaults, "max_error")) {
    plan.maxError = value->getAsNumber();
    if (!plan.maxError) {
      return wrongType(*value, {"defaults", "max_error"}, "a number");
    }
    if (!(*plan.maxError > 0 && *plan.maxError < 1)) {
      return fail(ErrorCode::E0801, {"defaults", "max_error"}, "expects a number between 0 and 1");
    }
    if (plan.math != "bf16") {
      return fail(ErrorCode::E0801, {"defaults", "max_error"}, "is for \"math\": \"bf16\"");
    }
  }
  if (const json::Value *value = find(*defaults, "speedup")) {
    plan.speedup = value->getAsNumber();
    if (!plan.speedup) {
      return wrongType(*value, {"defaults", "speedup"}, "a number");
    }
    if (!(*plan.speedup > 1) || !std::isfinite(*plan.speedup)) {
      return fail(ErrorCode::E0801, {"defaults", "speedup"}, "expects a number above 1");
    }
  }
  return Error::success();
}

Error PlanReader::readEntries(const json::Object &root, StringRef kind, std::vector<PlanEntry> &to) const {
  const json::Object *entries = nullptr;
  Error error = readObject(root, kind, entries);
  if (error || !entries) {
    return error;
  }
  bool isWeight = kind == "weights";
  for (const auto &[key, value] : *entries) {
    StringRef name = key;
    SmallVector<StringRef> path{kind, name};
    const json::Object *object = value.getAsObject();
    if (!object) {
      return wrongType(value, path, "an object");
    }
    SmallVector<StringRef> known{"format", "sparsity", "why"};
    if (isWeight) {
      known.push_back("fingerprint");
      known.append({"range", "migrate", "rounding"});
    }
    if (Error error = checkFields(*object, path, known)) {
      return error;
    }
    PlanEntry entry;
    entry.name = name.str();
    entry.position = positions.of(path);
    if (!find(*object, "format") && !find(*object, "sparsity")) {
      return fail(ErrorCode::E0801, path, "an entry has to have a format or a sparsity");
    }
    if (Error error = readFormat(*object, path, entry.format)) {
      return error;
    }
    if (Error error = readSparsity(*object, path, entry.sparsity)) {
      return error;
    }
    if (Error error = readRange(*object, path, entry)) {
      return error;
    }
    if (Error error = readRounding(*object, path, entry.rounding, entry.migrate)) {
      return error;
    }
    if (Error error = readHash(*object, path, "fingerprint", entry.fingerprint)) {
      return error;
    }
    if (Error error = readText(*object, path, "why", entry.why)) {
      return error;
    }
    to.push_back(std::move(entry));
  }
  llvm::sort(to, [](const PlanEntry &a, const PlanEntry &b) { return a.name < b.name; });
  return Error::success();
}

Error PlanReader::readNodes(const json::Object &layer, Path path, std::vector<std::string> &to) const {
  const json::Value *value = find(layer, "nodes");
  if (!value) {
    return Error::success();
  }
  SmallVector<StringRef> place(path);
  place.push_back("nodes");
  const json::Array *list = value->getAsArray();
  if (!list) {
    return wrongType(*value, place, "a list");
  }
  for (const json::Value &node : *list) {
    std::optional<StringRef> name = node.getAsString();
    if (!name) {
      return wrongType(node, place, "a list of strings");
    }
    to.push_back(name->str());
  }
  return Error::success();
}

Error PlanReader::readLayer(const json::Value &value, StringRef number) {
  SmallVector<StringRef> path{"layers", number};
  const json::Object *object = value.getAsObject();
  if (!object) {
    return wrongType(value, path, "an object");
  }
  if (Error error = checkFields(*object, path, {"layer", "skip", "nodes", "why"})) {
    return error;
  }
  PlanLayer layer;
  layer.position = positions.of(path);
  const json::Value *index = find(*object, "layer");
  std::optional<int64_t> integer = index ? index->getAsInteger() : std::nullopt;
  if (!integer || *integer < 0) {
    return fail(ErrorCode::E0801, path, "expects the number of a layer, counted from 0, as \"layer\"");
  }
  layer.layer = *integer;
  std::string part;
  if (Error error = readText(*object, path, "skip", part)) {
    return error;
  }
  std::optional<SkippedPart> skip = parseSkippedPart(part);
  if (!skip) {
    return fail(ErrorCode::E0801, path,
                "expects \"skip\" to be \"all\", \"attention\" or \"ffn\"" +
                    (find(*object, "skip") ? ", found " + quoteText(part) : std::string()));
  }
  layer.skip = *skip;
  if (Error error = readNodes(*object, path, layer.nodes)) {
    return error;
  }
  if (Error error = readText(*object, path, "why", layer.why)) {
    return error;
  }
  if (llvm::any_of(plan.layers, [&](const PlanLayer &l) { return l.layer == layer.layer; })) {
    return fail(ErrorCode::E0805, path, "layer " + Twine(layer.layer) + " has two entries");
  }
  plan.layers.push_back(std::move(layer));
  return Error::success();
}

Error PlanReader::readLayers(const json::Object &root) {
  const json::Value *value = find(root, "layers");
  if (!value) {
    return Error::success();
  }
  const json::Array *list = value->getAsArray();
  if (!list) {
    return wrongType(*value, StringRef("layers"), "a list");
  }
  for (const auto &[number, entry] : enumerate(*list)) {
    if (Error error = readLayer(entry, std::to_string(number))) {
      return error;
    }
  }
  if (plan.speedup && !plan.layers.empty()) {
    return fail(ErrorCode::E0805, StringRef("layers"),
                "layers are to be left out both by this list and for defaults.speedup");
  }
  return Error::success();
}

Expected<Plan> PlanReader::read(StringRef text) {
  if (positions.isTooDeep()) {
    return fail(ErrorCode::E0801, {}, "values are nested deeper than " + Twine(JsonPositions::maxDepth));
  }
  Expected<json::Value> parsed = json::parse(text);
  if (!parsed) {
    return fail(ErrorCode::E0801, {}, "this is no JSON: " + toString(parsed.takeError()));
  }
  if (const auto &again = positions.repeated()) {
    return modelError(ErrorCode::E0805, quoteText(again->key) + " stands twice in one object")
        .file(plan.file)
        .position(again->position);
  }
  const json::Object *root = parsed->getAsObject();
  if (!root) {
    return wrongType(*parsed, {}, "an object");
  }
  // Before the fields: another version may have others.
  if (Error error = readVersion(*root)) {
    return error;
  }
  if (Error error = checkFields(
          *root, {}, {"version", "model", "calibration", "why", "defaults", "weights", "nodes", "layers"})) {
    return error;
  }
  for (auto [key, field] : {std::pair("model", &plan.model), std::pair("calibration", &plan.calibration)}) {
    if (Error error = readHash(*root, {}, key, *field)) {
      return error;
    }
  }
  if (Error error = readText(*root, {}, "why", plan.why)) {
    return error;
  }
  if (Error error = readDefaults(*root)) {
    return error;
  }
  if (Error error = readEntries(*root, "weights", plan.weights)) {
    return error;
  }
  if (Error error = readEntries(*root, "nodes", plan.nodes)) {
    return error;
  }
  if (Error error = readLayers(*root)) {
    return error;
  }
  return std::move(plan);
}

Expected<Plan> Plan::parse(StringRef text, StringRef file) { return PlanReader(text, file).read(text); }

Expected<Plan> Plan::read(StringRef path) {
  ErrorOr<std::unique_ptr<MemoryBuffer>> buffer = MemoryBuffer::getFile(path);
  if (!buffer) {
    return systemError(ErrorCode::E0002, "cannot read " + quoteText(path), buffer.getError().value());
  }
  if ((*buffer)->getBufferSize() > maxBytes) {
    return modelError(ErrorCode::E0801, "the plan has " + Twine((*buffer)->getBufferSize()) +
                                            " bytes, expects at most " + Twine(maxBytes))
        .file(path);
  }
  return parse((*buffer)->getBuffer(), path);
}
