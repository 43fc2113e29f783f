// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The compiler as a function: options in, files and a report out.

#ifndef LATHE_COMPILER_COMPILE_H
#define LATHE_COMPILER_COMPILE_H

#include "lathe/Codegen/CPU/TargetSpec.h"
#include "lathe/Compiler/Report.h"
#include "lathe/Import/Limits.h"
#include "lathe/Plan/Latencies.h"
#include "lathe/Plan/Plan.h"
#include "llvm/ADT/ArrayRef.h"
#include "llvm/ADT/STLFunctionalExtras.h"
#include "llvm/ADT/StringRef.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/JSON.h"
#include <optional>
#include <string>
#include <vector>

namespace lathe {

/// The forms a model takes on its way, in order.
enum class Stage {
  Model,    // "model": an ONNX file
  Onnx,     // "onnx": the file as IR
  NN,       // "nn": the model without opset history, optimized when it is left
  Kernel,   // "kernel": launches of kernels
  LLVM,     // "llvm": the LLVM dialect
  LLVMIR,   // "llvm-ir": optimized LLVM IR as text
  Object,   // "object": one relocatable file
  Artifact, // "artifact": the sealed library, or the archive
};
llvm::StringRef stageName(Stage stage);
std::optional<Stage> parseStage(llvm::StringRef name);

/// What `compile` writes at the end of the path.
enum class OutputKind {
  Shared, // m.so
  Static, // m.a, m.h, and the weights as m.weights or m.weights.o
};

/// One `--shape`.
struct ShapeOption {
  /// An input or a symbol.
  std::string name;
  /// `x=1x?x128`: one entry a dimension, -1 where it stays as it is. `S=128` has one entry: a symbol's value
  /// or the shape of an input of rank 1, whichever `name` is.
  std::vector<int64_t> dims;
  /// `S=1..512`: the symbol's bounds, both inclusive; then `dims` is empty.
  std::optional<std::pair<int64_t, int64_t>> range;
  /// `x=none`: the input, an optional, holds nothing; then `dims` is empty.
  bool isNone = false;

  static llvm::Expected<ShapeOption> parse(llvm::StringRef text);
  std::string str() const;
};

struct CompileOptions {
  /// The model; for stages after Model a textual .mlir file.
  std::string input;
  /// The file to write. For textual stages "-" is standard output.
  std::string output;
  OutputKind outputKind = OutputKind::Shared;
  Stage from = Stage::Model, to = Stage::Artifact;
  /// For stages after Model: the ONNX file that holds the weights which the text only names; empty: none.
  std::string weightsFrom;
  /// 0: reference lowerings, no fusion. 2: everything.
  unsigned optLevel = 2;
  /// Names for cpu::resolveTarget, best first in the artifact.
  std::vector<std::string> targets = {"native"};
  std::vector<ShapeOption> shapes;
  /// The bytes that may be computed from weights when the artifact is written, see nn-fold-weights.
  uint64_t foldBudget = uint64_t(1) << 30;
  /// What is to change the model's numbers or size.
  Plan plan;
  /// The file of statistics that the plan may need; empty: none. The plan names its hash.
  std::string stats;
  /// Make outputs of what products read, and of what layers get and pass on: for calibration.
  bool exposeOperands = false;
  /// Add an input that says which products are rounded: for calibration, too.
  bool exposeRounding = false;
  /// What the passes that change formats go by, and whether they do what does not pay all the same.
  LatencyTable latencies;
  bool force = false;
  /// Note the model's graph, what it became and where it lies, for reports.
  bool describeGraph = false;
  /// Write the plan, weight by weight and layer by layer, as JSON instead of compiling the model.
  bool emitPlan = false;
  /// The number of threads that schedules are chosen for; 0: not known. An artifact runs with any.
  unsigned threads = 0;
  /// For Static: an object file instead of a side file.
  bool weightsAsObject = false;
  bool allowLinkedData = false;
  bool uncheckedIndices = false;
  /// Where to write what the output depends on, as a rule for make and ninja; empty: nowhere.
  std::string depFile;
  ModelLimits limits;
  /// For researchers: print the IR on standard error after every pass of this argument ("nn-fuse-attention"),
  /// run only the first of the passes that code can do without (to find the one at fault by bisection),
  /// verify after every pass.
  std::string dumpIRAfter;
  std::optional<unsigned> runPassUntil;
  bool verifyEach = false;

  /// For reports and reproducers.
  llvm::json::Object toJSON() const;

  /// A hash of what code and weights depend on beside the model: of all options but those that name files,
  /// set limits or only make the compiler check more. `targets` are those of this compilation: "native" is
  /// not the same everywhere.
  uint64_t hash(llvm::ArrayRef<cpu::TargetSpec> targets) const;
};

/// Compiles. Reads `options.input` and its external data, writes `options.output` (and for Static the files
/// beside it), each beside its final name first. Filled as far as it went, `report` is good also after an
/// error.
llvm::Error compileModel(const CompileOptions &options, Report &report);

/// The compatibility report: every operator, attribute and type of the model that cannot be compiled, as one
/// error each kind; success if there is none. Stops before any code is generated.
llvm::Error checkModel(const CompileOptions &options, Report &report);

/// What became of one node of the model: the remarks, requests and kernels that concern it are all that is
/// left in the report. Stops before any code is generated.
llvm::Error explainNode(const CompileOptions &options, llvm::StringRef node, Report &report);

/// Prints inputs, outputs, symbols, operator counts and weights of a model, for people or as JSON.
llvm::Error inspectModel(const CompileOptions &options, bool json, llvm::raw_ostream &os);

} // namespace lathe

#endif // LATHE_COMPILER_COMPILE_H
