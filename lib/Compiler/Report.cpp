// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Compiler/Report.h"
#include "lathe/Support/Text.h"
#include "llvm/ADT/STLExtras.h"
#include <chrono>

using namespace llvm;
using namespace lathe;

static double milliseconds() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

static constexpr StringLiteral kindNames[] = {"passed", "missed", "failed", "analysis"};

void Report::beginPhase(StringRef phase, unsigned step, unsigned steps) {
  endPhases();
  phases.emplace_back(phase.str(), 0);
  phaseBegin = milliseconds();
  inPhase = true;
  if (progress) {
    progress(phase, step, steps);
  }
}

void Report::endPhases() {
  if (inPhase) {
    phases.back().second = milliseconds() - phaseBegin;
    inPhase = false;
  }
}

void Report::setNumber(StringRef name, int64_t value) {
  for (auto &number : numbers) {
    if (number.first == name) {
      number.second = value;
      return;
    }
  }
  numbers.emplace_back(name.str(), value);
}

json::Object Report::toJSON() const {
  json::Array remarkList, phaseList;
  for (const Remark &r : remarks) {
    json::Object o{{"kind", kindNames[r.kind]},
                   {"pass", toUTF8(r.pass)},
                   {"name", toUTF8(r.name)},
                   {"message", toUTF8(r.message)}};
    if (!r.node.empty()) {
      o["node"] = toUTF8(r.node);
    }
    remarkList.push_back(std::move(o));
  }
  for (const auto &[name, ms] : phases) {
    phaseList.push_back(json::Object{{"name", toUTF8(name)}, {"ms", ms}});
  }
  json::Object numberMap;
  for (const auto &[name, value] : numbers) {
    numberMap[toUTF8(name)] = value;
  }
  return json::Object{{"digest", json::Array(map_range(digest, toUTF8))},
                      {"warnings", json::Array(map_range(warnings, toUTF8))},
                      {"targets", json::Array(map_range(targets, toUTF8))},
                      {"phases", std::move(phaseList)},
                      {"numbers", std::move(numberMap)},
                      {"remarks", std::move(remarkList)}};
}

static std::vector<std::string> strings(const json::Object &o, StringRef key) {
  std::vector<std::string> result;
  if (const json::Array *list = o.getArray(key)) {
    for (const json::Value &v : *list) {
      result.push_back(v.getAsString().value_or("").str());
    }
  }
  return result;
}

Report Report::fromJSON(const json::Value &value) {
  Report report;
  const json::Object *o = value.getAsObject();
  if (!o) {
    return report;
  }
  report.digest = strings(*o, "digest");
  report.warnings = strings(*o, "warnings");
  report.targets = strings(*o, "targets");
  if (const json::Array *list = o->getArray("phases")) {
    for (const json::Value &v : *list) {
      if (const json::Object *phase = v.getAsObject()) {
        report.phases.emplace_back(phase->getString("name").value_or("").str(),
                                   phase->getNumber("ms").value_or(0));
      }
    }
  }
  if (const json::Object *map = o->getObject("numbers")) {
    for (const auto &[name, number] : *map) {
      report.numbers.emplace_back(StringRef(name).str(), number.getAsInteger().value_or(0));
    }
    // The map of a json::Object has no order of its own.
    llvm::sort(report.numbers);
  }
  if (const json::Array *list = o->getArray("remarks")) {
    for (const json::Value &v : *list) {
      const json::Object *r = v.getAsObject();
      if (!r) {
        continue;
      }
      Remark remark;
      StringRef kind = r->getString("kind").value_or("");
      const auto *found = llvm::find(kindNames, kind);
      remark.kind = found == std::end(kindNames) ? Remark::Analysis : Remark::Kind(found - kindNames);
      remark.pass = r->getString("pass").value_or("").str();
      remark.name = r->getString("name").value_or("").str();
      remark.message = r->getString("message").value_or("").str();
      remark.node = r->getString("node").value_or("").str();
      report.remarks.push_back(std::move(remark));
    }
  }
  return report;
}
