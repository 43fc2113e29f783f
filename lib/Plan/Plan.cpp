// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Plan/Plan.h"
#include "lathe/Support/Error.h"
#include "lathe/Support/Text.h"

#include "llvm/ADT/STLExtras.h"

using namespace llvm;
using namespace lathe;

static constexpr StringLiteral partNames[] = {"all", "attention", "ffn"};

StringRef lathe::skippedPartName(SkippedPart part) { return partNames[static_cast<size_t>(part)]; }

std::optional<SkippedPart> lathe::parseSkippedPart(StringRef name) {
  const auto *found = llvm::find(partNames, name);
  if (found == std::end(partNames)) {
    return std::nullopt;
  }
  return SkippedPart(found - partNames);
}

/// Two requests for the same thing that are not the same.
static Error contradiction(const Twine &what, const Plan &plan, StringRef position) {
  return modelError(ErrorCode::E0805, what).file(plan.file).position(position);
}

static Error mergeEntries(StringRef kind, std::vector<PlanEntry> &entries, const Plan &other,
                          ArrayRef<PlanEntry> added) {
  for (const PlanEntry &entry : added) {
    auto same = find_if(entries, [&](const PlanEntry &e) { return e.name == entry.name; });
    if (same == entries.end()) {
      entries.push_back(entry);
      continue;
    }
    for (std::string PlanEntry::*field : {&PlanEntry::format, &PlanEntry::sparsity}) {
      std::string &mine = (*same).*field;
      const std::string &theirs = entry.*field;
      if (!mine.empty() && !theirs.empty() && mine != theirs) {
        return contradiction("the " + kind + " " + quoteText(entry.name) + " is to be both " +
                                 quoteText(mine) + " and " + quoteText(theirs),
                             other, entry.position);
      }
      mine = mine.empty() ? theirs : mine;
    }
    if (same->range != entry.range || same->migrate != entry.migrate || same->rounding != entry.rounding) {
      return contradiction("the " + kind + " " + quoteText(entry.name) + " is to be rounded in two ways",
                           other, entry.position);
    }
  }
  return Error::success();
}

Error Plan::merge(const Plan &other) {
  auto take = [&](std::string &mine, const std::string &theirs, const Twine &what) -> Error {
    if (!mine.empty() && !theirs.empty() && mine != theirs) {
      return contradiction(what + " is both " + quoteText(mine) + " and " + quoteText(theirs), other, "");
    }
    mine = mine.empty() ? theirs : mine;
    return Error::success();
  };
  if (Error error = take(model, other.model, "the model")) {
    return error;
  }
  if (Error error = take(calibration, other.calibration, "the hash of the statistics")) {
    return error;
  }
  if (Error error = take(format, other.format, "the format of all products")) {
    return error;
  }
  if (Error error = take(math, other.math, "the type of all products")) {
    return error;
  }
  if (maxError && other.maxError && *maxError != *other.maxError) {
    return contradiction("results may move by two amounts", other, "");
  }
  maxError = maxError ? maxError : other.maxError;
  if (Error error = take(ranges, other.ranges, "how ranges are found")) {
    return error;
  }
  if (Error error = take(rounding, other.rounding, "rounding")) {
    return error;
  }
  if (migrate && other.migrate && *migrate != *other.migrate) {
    return contradiction("scales are to be migrated in two ways", other, "");
  }
  migrate = migrate ? migrate : other.migrate;
  if (Error error = take(sparsity, other.sparsity, "the sparsity of all products")) {
    return error;
  }
  if (Error error = mergeEntries("weight", weights, other, other.weights)) {
    return error;
  }
  if (Error error = mergeEntries("node", nodes, other, other.nodes)) {
    return error;
  }
  if (speedup && other.speedup && *speedup != *other.speedup) {
    return contradiction("layers are to be left out for two speed-ups", other, "");
  }
  speedup = speedup ? speedup : other.speedup;
  for (const PlanLayer &layer : other.layers) {
    auto same = find_if(layers, [&](const PlanLayer &l) { return l.layer == layer.layer; });
    if (same == layers.end()) {
      layers.push_back(layer);
    } else if (same->skip != layer.skip) {
      return contradiction("of layer " + Twine(layer.layer) + " both " + skippedPartName(same->skip) +
                               " and " + skippedPartName(layer.skip) + " are to be left out",
                           other, layer.position);
    }
  }
  if (speedup && !layers.empty()) {
    return contradiction("layers are to be left out both by a list and for a speed-up", other, "");
  }
  why = why.empty() ? other.why : why;
  file = file.empty() ? other.file : file;
  return Error::success();
}

static json::Object toObject(ArrayRef<PlanEntry> entries) {
  json::Object object;
  for (const PlanEntry &entry : entries) {
    json::Object o;
    if (!entry.format.empty()) {
      o["format"] = toUTF8(entry.format);
    }
    if (!entry.sparsity.empty()) {
      o["sparsity"] = entry.sparsity;
    }
    if (entry.range) {
      o["range"] = json::Array{(*entry.range)[0], (*entry.range)[1]};
    }
    if (entry.migrate) {
      o["migrate"] = *entry.migrate;
    }
    if (!entry.rounding.empty()) {
      o["rounding"] = entry.rounding;
    }
    if (!entry.fingerprint.empty()) {
      o["fingerprint"] = entry.fingerprint;
    }
    if (!entry.why.empty()) {
      o["why"] = toUTF8(entry.why);
    }
    object[toUTF8(entry.name)] = std::move(o);
  }
  return object;
}

json::Object Plan::toJSON() const {
  json::Object o{{"version", planVersion}};
  auto add = [](json::Object &to, StringRef key, const std::string &value) {
    if (!value.empty()) {
      to[key] = toUTF8(value);
    }
  };
  add(o, "model", model);
  add(o, "calibration", calibration);
  add(o, "why", why);
  json::Object defaults;
  add(defaults, "format", format);
  add(defaults, "math", math);
  if (maxError) {
    defaults["max_error"] = *maxError;
  }
  add(defaults, "ranges", ranges);
  add(defaults, "rounding", rounding);
  if (migrate) {
    defaults["migrate"] = *migrate;
  }
  add(defaults, "sparsity", sparsity);
  if (speedup) {
    defaults["speedup"] = *speedup;
  }
  if (!defaults.empty()) {
    o["defaults"] = std::move(defaults);
  }
  if (!weights.empty()) {
    o["weights"] = toObject(weights);
  }
  if (!nodes.empty()) {
    o["nodes"] = toObject(nodes);
  }
  json::Array list;
  for (const PlanLayer &layer : layers) {
    json::Object l{{"layer", layer.layer}, {"skip", skippedPartName(layer.skip)}};
    if (!layer.nodes.empty()) {
      l["nodes"] = json::Array(map_range(layer.nodes, toUTF8));
    }
    add(l, "why", layer.why);
    list.push_back(std::move(l));
  }
  if (!list.empty()) {
    o["layers"] = std::move(list);
  }
  return o;
}
