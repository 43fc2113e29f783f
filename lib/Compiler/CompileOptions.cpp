// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Compiler/Compile.h"
#include "lathe/Support/Error.h"
#include "lathe/Support/Text.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/xxhash.h"

using namespace llvm;
using namespace lathe;

static constexpr StringLiteral stageNames[] = {"model", "onnx",    "nn",     "kernel",
                                               "llvm",  "llvm-ir", "object", "artifact"};

StringRef lathe::stageName(Stage stage) { return stageNames[static_cast<size_t>(stage)]; }

std::optional<Stage> lathe::parseStage(StringRef name) {
  const auto *found = llvm::find(stageNames, name);
  if (found == std::end(stageNames)) {
    return std::nullopt;
  }
  return Stage(found - stageNames);
}

/// Sizes above this are mistakes: 2^40 elements along one dimension.
static constexpr int64_t maxSize = int64_t(1) << 40;

static ErrorBuilder badShape(StringRef text, const Twine &reason) {
  return modelError(ErrorCode::E0001, "--shape=" + escapeText(text) + ": " + reason)
      .help("--shape=x=1x128 for an input, --shape=S=128 or --shape=S=1..512 for a symbol");
}

Expected<ShapeOption> ShapeOption::parse(StringRef text) {
  ShapeOption option;
  // Names may hold '=' themselves, sizes cannot.
  auto [name, value] = text.rsplit('=');
  if (name.empty() || name.size() == text.size()) {
    return badShape(text, "expects NAME=SIZES");
  }
  option.name = name.str();
  auto readSize = [&](StringRef digits, int64_t &size) {
    return !digits.getAsInteger(10, size) && isDigit(digits.front()) && size <= maxSize;
  };
  if (auto [low, high] = value.split(".."); value.contains("..")) {
    int64_t min, max;
    if (!readSize(low, min) || !readSize(high, max) || min < 1 || max < min) {
      return badShape(text, "expects bounds MIN..MAX with 1 <= MIN <= MAX");
    }
    option.range = {min, max};
    return option;
  }
  if (value == "none") {
    option.isNone = true;
    return option;
  }
  SmallVector<StringRef> parts;
  value.split(parts, 'x');
  for (StringRef part : parts) {
    int64_t size = -1;
    if (part != "?" && !readSize(part, size)) {
      return badShape(text, quoteText(part) + " is no size");
    }
    option.dims.push_back(size);
  }
  return option;
}

std::string ShapeOption::str() const {
  std::string text = name + "=";
  if (isNone) {
    return text + "none";
  }
  if (range) {
    return text + std::to_string(range->first) + ".." + std::to_string(range->second);
  }
  return text +
         join(map_range(dims, [](int64_t d) { return d < 0 ? std::string("?") : std::to_string(d); }), "x");
}

json::Object CompileOptions::toJSON() const {
  json::Object o{
      {"input", toUTF8(input)},
      {"output", toUTF8(output)},
      {"static", outputKind == OutputKind::Static},
      {"from", stageName(from)},
      {"to", stageName(to)},
      {"opt_level", optLevel},
      {"fold_budget", int64_t(foldBudget)},
      {"targets", json::Array(map_range(targets, [](const std::string &name) { return toUTF8(name); }))},
      {"shapes", json::Array(map_range(shapes, [](const ShapeOption &s) { return toUTF8(s.str()); }))},
      {"threads", threads},
      {"weights_as_object", weightsAsObject},
      {"allow_linked_data", allowLinkedData},
      {"unchecked_indices", uncheckedIndices},
      {"verify_each", verifyEach}};
  json::Object numbers;
  for (const LimitInfo &limit : allLimits()) {
    numbers[limit.option.drop_front(2)] = int64_t(limits.*limit.field);
  }
  o["limits"] = std::move(numbers);
  if (!plan.empty()) {
    o["plan"] = plan.toJSON();
  }
  if (!stats.empty()) {
    o["stats"] = toUTF8(stats);
  }
  if (exposeOperands) {
    o["expose_operands"] = true;
  }
  if (exposeRounding) {
    o["expose_rounding"] = true;
  }
  if (emitPlan) {
    o["emit_plan"] = true;
  }
  if (!latencies.empty()) {
    o["latencies"] = latencies.toJSON();
  }
  if (force) {
    o["force"] = true;
  }
  if (!weightsFrom.empty()) {
    o["weights_from"] = toUTF8(weightsFrom);
  }
  if (!dumpIRAfter.empty()) {
    o["dump_ir_after"] = toUTF8(dumpIRAfter);
  }
  if (runPassUntil) {
    o["run_pass_until"] = *runPassUntil;
  }
  return o;
}

uint64_t CompileOptions::hash(ArrayRef<cpu::TargetSpec> resolved) const {
  json::Object o = toJSON();
  // An option that is not named here counts: at worst, equal code has two names.
  for (StringRef without : {"input", "output", "static", "to", "weights_as_object", "allow_linked_data",
                            "limits", "verify_each", "weights_from", "dump_ir_after", "stats"}) {
    o.erase(without);
  }
  json::Array specs;
  for (const cpu::TargetSpec &target : resolved) {
    specs.push_back(json::Array{target.name, target.llvmFeatures, target.l1Bytes, target.l2Bytes});
  }
  o["targets"] = std::move(specs);
  // Keys are printed in order.
  return xxh3_64bits(formatv("{0}", json::Value(std::move(o))).str());
}
