// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Compiler/Report.h"
#include "lathe/Support/Text.h"
#include "llvm/ADT/STLExtras.h"
#include <chrono>
#include <cmath>

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
  json::Array compressionList;
  for (const CompressionEntry &entry : compression) {
    json::Object o{{"kind", entry.kind},
                   {"names", json::Array(map_range(entry.names, toUTF8))},
                   {"nodes", json::Array(map_range(entry.nodes, toUTF8))},
                   {"requested", toUTF8(entry.requested)},
                   {"became", toUTF8(entry.became)},
                   {"done", entry.done},
                   {"bytes_before", entry.bytesBefore},
                   {"bytes_after", entry.bytesAfter}};
    if (!entry.reason.empty()) {
      o["reason"] = toUTF8(entry.reason);
    }
    compressionList.push_back(std::move(o));
  }
  json::Array kernelList;
  for (const KernelEntry &kernel : kernels) {
    kernelList.push_back(json::Object{{"name", toUTF8(kernel.name)},
                                      {"root", toUTF8(kernel.root)},
                                      {"nodes", json::Array(map_range(kernel.nodes, toUTF8))}});
  }
  json::Array lossList;
  // JSON has no infinity.
  auto number = [](double value) { return std::isfinite(value) ? json::Value(value) : json::Value(nullptr); };
  for (const OutputLoss &loss : losses) {
    lossList.push_back(json::Object{{"output", toUTF8(loss.output)},
                                    {"max_abs", number(loss.maxAbs)},
                                    {"max_rel", number(loss.maxRelative)},
                                    {"cosine", number(loss.cosine)}});
  }
  json::Object numberMap;
  for (const auto &[name, value] : numbers) {
    numberMap[toUTF8(name)] = value;
  }
  json::Object result{{"digest", json::Array(map_range(digest, toUTF8))},
                      {"warnings", json::Array(map_range(warnings, toUTF8))},
                      {"targets", json::Array(map_range(targets, toUTF8))},
                      {"phases", std::move(phaseList)},
                      {"numbers", std::move(numberMap)},
                      {"compression", std::move(compressionList)},
                      {"loss", std::move(lossList)},
                      {"kernels", std::move(kernelList)},
                      {"remarks", std::move(remarkList)}};
  if (graph) {
    result["graph"] = json::Object(*graph);
  }
  return result;
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
  if (const json::Object *graph = o->getObject("graph")) {
    report.graph = *graph;
  }
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
  if (const json::Array *list = o->getArray("kernels")) {
    for (const json::Value &v : *list) {
      if (const json::Object *k = v.getAsObject()) {
        report.kernels.push_back({k->getString("name").value_or("").str(),
                                  k->getString("root").value_or("").str(), strings(*k, "nodes")});
      }
    }
  }
  if (const json::Array *list = o->getArray("compression")) {
    for (const json::Value &v : *list) {
      if (const json::Object *e = v.getAsObject()) {
        auto text = [&](StringRef key) { return e->getString(key).value_or("").str(); };
        report.compression.push_back(
            {text("kind"), strings(*e, "names"), strings(*e, "nodes"), text("requested"), text("became"),
             text("reason"), e->getBoolean("done").value_or(false), e->getInteger("bytes_before").value_or(0),
             e->getInteger("bytes_after").value_or(0)});
      }
    }
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
