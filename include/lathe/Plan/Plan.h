// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The plan: what is to change the numbers or the size of a model, weight by weight and layer by layer.
///
/// `plan.json` and the shorthands of the command line are the same thing, and `--emit-plan` prints it; its
/// schema is docs/plan.schema.json. What a plan asks for and what came of it stand side by side in the
/// report.

#ifndef LATHE_PLAN_PLAN_H
#define LATHE_PLAN_PLAN_H

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/JSON.h"
#include <array>
#include <optional>
#include <string>
#include <vector>

namespace lathe {

/// The version of plans that this release reads and writes.
inline constexpr int64_t planVersion = 1;

/// How ranges are found unless a plan says otherwise.
inline constexpr llvm::StringLiteral defaultRanges = "mse";

/// A format that keeps what it names out of the plan's defaults.
inline constexpr llvm::StringLiteral keptFormat = "none";

/// What becomes of the weight, or of the weights of the node, of this name.
struct PlanEntry {
  std::string name;
  /// As an attribute of the dialect `pack` is written, without its prefix: "int4<group = 32>". Empty: as all.
  std::string format;
  /// Of a weight: between which numbers what it is multiplied with is rounded, in order. None: as statistics
  /// say.
  std::optional<std::array<float, 2>> range;
  /// Of a weight: how far channels that are larger than others are evened out before they are rounded, from 0
  /// to 1. None: as the plan's default.
  std::optional<double> migrate;
  /// Of a weight: "nearest" or "compensated"; empty: as the plan's default.
  std::string rounding;
  /// As a PlanSparsity is written: "block:75%". Empty: as all.
  std::string sparsity;
  /// Of a weight: its hash, 16 hexadecimal digits; empty: not checked.
  std::string fingerprint;
  std::string why;
  /// Line and column in the plan's file.
  std::string position;
};

/// What of a layer is left out.
enum class SkippedPart { All, Attention, FeedForward };
llvm::StringRef skippedPartName(SkippedPart part);
std::optional<SkippedPart> parseSkippedPart(llvm::StringRef name);

struct PlanLayer {
  /// Counted from 0, in the order in which the model computes them.
  int64_t layer = 0;
  SkippedPart skip = SkippedPart::All;
  /// Nodes that are in it; may be empty.
  std::vector<std::string> nodes;
  std::string why, position;
};

struct Plan {
  /// The file it was read from, for messages; empty for the command line's.
  std::string file;
  /// The model's fingerprint; empty: not checked.
  std::string model;
  /// The hash of the statistics that it was made from; empty: from none.
  std::string calibration;
  std::string why;
  /// For all products of which no entry says otherwise; empty: they stay as they are.
  std::string format;
  /// In which type products are computed that have no format of their own, "bf16" or "tf32"; empty: in that
  /// of their operands.
  std::string math;
  /// The type that stores f32 and multiplies fewer bits of it, on CUDA devices.
  static constexpr llvm::StringLiteral kTF32 = "tf32";
  /// How far results may move by `math`: the largest difference over the largest magnitude of an output.
  /// Statistics say which products stay as they are for it. None: however far.
  std::optional<double> maxError;
  /// The format in which weights are stored that are multiplied so; empty: as they are.
  llvm::StringRef getFormatOfMath() const {
    return math == kTF32 ? llvm::StringRef() : llvm::StringRef(math);
  }
  /// How ranges are found in statistics, as "percentile:99.99"; empty: by `defaultRanges`.
  std::string ranges;
  /// As of entries, for all products of which no entry says otherwise.
  std::optional<double> migrate;
  std::string rounding;
  /// Which elements of the weights of all products become zero of which no entry says otherwise; empty: none.
  std::string sparsity;
  /// Leave out as many layers, evenly, as make it so many times faster if all time goes to layers.
  std::optional<double> speedup;
  std::vector<PlanEntry> weights, nodes;
  std::vector<PlanLayer> layers;

  /// Whether it asks for nothing.
  bool empty() const {
    return format.empty() && math.empty() && sparsity.empty() && !speedup && weights.empty() &&
           nodes.empty() && layers.empty();
  }

  /// Reads the text of a plan; `file` is its name in messages. Every mistake is a ModelError with its place.
  static llvm::Expected<Plan> parse(llvm::StringRef text, llvm::StringRef file);
  /// The same of a file.
  static llvm::Expected<Plan> read(llvm::StringRef path);

  /// Adds what `other` asks for; what both ask for must be the same.
  llvm::Error merge(const Plan &other);

  llvm::json::Object toJSON() const;
};

} // namespace lathe

#endif // LATHE_PLAN_PLAN_H
