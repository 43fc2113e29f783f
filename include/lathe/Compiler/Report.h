// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What a compilation did, refused and found: for the digest, for `--report`, and for the progress line.

#ifndef LATHE_COMPILER_REPORT_H
#define LATHE_COMPILER_REPORT_H

#include "llvm/ADT/StringRef.h"
#include "llvm/Support/JSON.h"
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace lathe {

/// One thing that a pass did, did not do, or saw.
struct Remark {
  enum Kind { Passed, Missed, Failed, Analysis };
  Kind kind = Passed;
  /// The pass's argument, and what the remark is about: "nn-fuse-attention", "FusedAttention".
  std::string pass, name;
  std::string message;
  /// The node it concerns; empty for the whole model.
  std::string node;
  /// All nodes that it concerns, while remarks are collected; not written.
  std::vector<std::string> nodes = {};
  /// Tells apart the ops that remarks are about, while they are collected; not written.
  const void *place = nullptr;
};

/// What a plan asked for, of one weight or layer, and what came of it.
struct CompressionEntry {
  /// "weight" or "layer".
  std::string kind;
  /// The weights that one op reads as one, by their names in the file; the number of a layer.
  std::vector<std::string> names;
  std::vector<std::string> nodes;
  /// Formats as plans write them, or the part of a layer that is left out. Where nothing came of it, `became`
  /// is the type of the elements as they are, "kept", or "left out" of a weight that only such layers read,
  /// and `reason` says why.
  std::string requested, became, reason;
  bool done = false;
  /// In the artifact.
  int64_t bytesBefore = 0, bytesAfter = 0;
};

/// How much an output differs from that of the model without a plan, on the inputs that were given.
struct OutputLoss {
  std::string output;
  /// The latter relative to the output's largest magnitude.
  double maxAbs = 0, maxRelative = 0;
  double cosine = 0;
};

/// A kernel: of explainNode those that compute a node, of compileModel all, as the artifact has them.
struct KernelEntry {
  /// Its function, and what it is built around: "matmul", "rows".
  std::string name, root;
  std::vector<std::string> nodes;
};

struct Report {
  /// The digest's clauses, in the order in which they are to stand: "fused 6/6 attentions".
  std::vector<std::string> digest;
  std::vector<Remark> remarks;
  std::vector<KernelEntry> kernels;
  std::vector<CompressionEntry> compression;
  std::vector<OutputLoss> losses;
  /// The program's loud words on standard error: a target that is not this machine, NaN weights.
  std::vector<std::string> warnings;
  /// Milliseconds by phase, in order.
  std::vector<std::pair<std::string, double>> phases;
  /// Numbers of all kinds: "weight_bytes", "artifact_bytes", "kernels", "nodes".
  std::vector<std::pair<std::string, int64_t>> numbers;
  /// The targets compiled for.
  std::vector<std::string> targets;
  /// Nodes, layers, launches, stored weights and the arena, if CompileOptions::describeGraph asks for them.
  std::optional<llvm::json::Object> graph;

  /// Called when a phase begins, and as it goes on: `step` of `steps`, 0 of 0 where that is unknown. May be
  /// empty.
  std::function<void(llvm::StringRef phase, unsigned step, unsigned steps)> progress;

  /// Ends the phase before, and begins one.
  void beginPhase(llvm::StringRef phase, unsigned step = 0, unsigned steps = 0);
  /// Ends the last phase.
  void endPhases();
  void setNumber(llvm::StringRef name, int64_t value);

  llvm::json::Object toJSON() const;
  static Report fromJSON(const llvm::json::Value &value);

private:
  double phaseBegin = 0;
  bool inPhase = false;
};

} // namespace lathe

#endif // LATHE_COMPILER_REPORT_H
