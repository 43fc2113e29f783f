// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "PlanArguments.h"

#include "lathe/Plan/Sparsity.h"
#include "lathe/Plan/Stats.h"
#include "lathe/Support/Error.h"
#include "lathe/Support/Text.h"
#include "llvm/ADT/STLExtras.h"

using namespace llvm;
using namespace lathe;

/// "3,4:attention": numbers of layers, and which part of them.
static Error parseSkippedLayers(StringRef text, Plan &plan) {
  auto refuse = [&](const Twine &what) {
    return modelError(ErrorCode::E0001, "--skip-layers=" + escapeText(text) + ": " + what)
        .help("--skip-layers=3,4 leaves out layers 3 and 4, counted from 0; --skip-layers=4:attention,5:ffn "
              "parts of "
              "them");
  };
  SmallVector<StringRef> words;
  text.split(words, ',');
  for (StringRef word : words) {
    auto [number, part] = word.split(':');
    PlanLayer layer;
    if (number.getAsInteger(10, layer.layer) || layer.layer < 0) {
      return refuse(quoteText(number) + " is no number of a layer");
    }
    if (word.contains(':')) {
      std::optional<SkippedPart> skip = parseSkippedPart(part);
      if (!skip) {
        return refuse(quoteText(part) + " is no part of a layer, expects attention or ffn");
      }
      layer.skip = *skip;
    }
    layer.why = "--skip-layers";
    if (any_of(plan.layers, [&](const PlanLayer &l) { return l.layer == layer.layer; })) {
      return refuse("layer " + Twine(layer.layer) + " stands there twice");
    }
    plan.layers.push_back(std::move(layer));
  }
  return Error::success();
}

/// Short names of formats with their usual parameters.
static constexpr std::pair<StringLiteral, StringLiteral> shortFormats[] = {
    {"fp8", "codebook<f8E4M3FN, group = 32>"},
    {"int3", "codebook<int3, group = 32>"},
    {"int4", "int4<group = 32>"},
    {"int4-dynamic", "int4<group = 32, dynamic = true>"},
    {"int8-dynamic", "int8<dynamic>"},
    {"int8-static", "int8<static>"},
    {"int8-weights", "int8<weight_only>"},
    {"nf4", "codebook<nf4, group = 64>"},
};

/// A short name, or a format as plans write it.
static Error parseFormat(StringRef text, Plan &plan) {
  if (text.empty()) {
    return modelError(ErrorCode::E0001, "--quantize expects a format, as int4");
  }
  const auto *found = find_if(shortFormats, [&](const auto &pair) { return pair.first == text; });
  plan.format = found == std::end(shortFormats) ? text.str() : found->second.str();
  return Error::success();
}

void PlanArguments::addTo(Arguments &arguments) {
  arguments.text("--plan", "PLAN.json", "do to weights and layers what this file says", file);
  arguments.value("--quantize", "FORMAT",
                  "of weights: int8-dynamic, int8-static, int8-weights, fp8, int4, int4-dynamic, nf4, int3, "
                  "or as a plan has it",
                  [this](StringRef text) { return parseFormat(text, shorthand); });
  arguments.text("--stats", "STATS.npz", "what `lathe calibrate` has found of the model", stats);
  arguments.value("--ranges", "METHOD",
                  "of int8-static: minmax, percentile:P or mse (default " + defaultRanges.str() + ")",
                  [this](StringRef text) -> Error {
                    if (!RangeMethod::parse(text)) {
                      return modelError(ErrorCode::E0001,
                                        "--ranges=" + escapeText(text) +
                                            ": expects minmax, mse or percentile:P with P from 50 to 100");
                    }
                    shorthand.ranges = text.str();
                    return Error::success();
                  });
  arguments.value("--migrate", "STRENGTH",
                  "even out channels before they are rounded, by factors in the weights: 0 to 1, as 0.5",
                  [this](StringRef text) -> Error {
                    double strength = 0;
                    if (text.getAsDouble(strength) || !(strength >= 0 && strength <= 1)) {
                      return modelError(ErrorCode::E0001,
                                        "--migrate=" + escapeText(text) + ": expects a number from 0 to 1");
                    }
                    shorthand.migrate = strength;
                    return Error::success();
                  });
  arguments.value("--rounding", "HOW",
                  "of weights: nearest (default), or compensated for what it changes of products",
                  [this](StringRef text) -> Error {
                    if (text != "nearest" && text != "compensated") {
                      return modelError(ErrorCode::E0001, "--rounding=" + escapeText(text) +
                                                              ": expects nearest or compensated");
                    }
                    shorthand.rounding = text.str();
                    return Error::success();
                  });
  arguments.value("--math", "TYPE",
                  "compute products that have no format of their own in bf16, or on CUDA devices in tf32",
                  [this](StringRef text) -> Error {
                    if (text != "bf16" && text != Plan::kTF32) {
                      return modelError(ErrorCode::E0001,
                                        "--math=" + escapeText(text) + ": expects bf16 or tf32");
                    }
                    shorthand.math = text.str();
                    return Error::success();
                  });
  arguments.value("--max-error", "SHARE",
                  "of --math bf16: how far results may move, of the largest magnitude of an output, as 0.01",
                  [this](StringRef text) -> Error {
                    double error = 0;
                    if (text.getAsDouble(error) || !(error > 0 && error < 1)) {
                      return modelError(ErrorCode::E0001, "--max-error=" + escapeText(text) +
                                                              ": expects a number between 0 and 1");
                    }
                    shorthand.maxError = error;
                    return Error::success();
                  });
  arguments.value("--prune", "SPARSITY",
                  "of weights make zero the least in size: block:75%, unstructured:90% or 2:4",
                  [this](StringRef text) -> Error {
                    std::string why;
                    std::optional<PlanSparsity> sparsity = PlanSparsity::parse(text, why);
                    if (!sparsity) {
                      return modelError(ErrorCode::E0001, "--prune=" + escapeText(text) + ": " + why);
                    }
                    shorthand.sparsity = sparsity->str();
                    return Error::success();
                  });
  arguments.value("--skip-layers", "N[:PART],...",
                  "leave out these layers, counted from 0, or their PART: attention or ffn",
                  [this](StringRef text) { return parseSkippedLayers(text, shorthand); });
  arguments.value("--skip-to-speedup", "RATIO",
                  "leave out as many layers as that needs if all time goes to layers, evenly spread",
                  [this](StringRef text) -> Error {
                    double ratio = 0;
                    if (text.getAsDouble(ratio) || !(ratio > 1 && ratio < 1e6)) {
                      return modelError(ErrorCode::E0001, "--skip-to-speedup=" + escapeText(text) +
                                                              ": expects a number above 1, as 1.5");
                    }
                    shorthand.speedup = ratio;
                    return Error::success();
                  });
}

Expected<Plan> PlanArguments::complete() const {
  Plan plan;
  if (!file.empty()) {
    if (Error error = Plan::read(file).moveInto(plan)) {
      return error;
    }
  }
  if (Error error = plan.merge(shorthand)) {
    return error;
  }
  if (plan.maxError && plan.math != "bf16") {
    return modelError(ErrorCode::E0001, "--max-error is for --math=bf16");
  }
  if (stats.empty()) {
    return plan;
  }
  if (plan.empty()) {
    return modelError(ErrorCode::E0001, "--stats is for compiling with a plan, or an option that is one");
  }
  Expected<std::string> hash = Stats::hashFile(stats);
  if (!hash) {
    return hash.takeError();
  }
  if (!plan.calibration.empty() && plan.calibration != *hash) {
    return modelError(ErrorCode::E0809, "the plan was made from statistics of hash " + plan.calibration +
                                            ", those in " + quoteText(stats) + " have " + *hash)
        .file(plan.file)
        .help("make the plan again; or, if what it asks for still holds, leave out the field "
              "\"calibration\"");
  }
  plan.calibration = *hash;
  return plan;
}
