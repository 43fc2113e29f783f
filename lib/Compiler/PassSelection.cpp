// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "PassSelection.h"

#include "lathe/Compiler/Pipeline.h"
#include "lathe/Support/Error.h"
#include "lathe/Support/Text.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/PassManager.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace lathe;
using llvm::Error;
using llvm::Twine;

/// The names of all passes between two stages, in order.
static std::vector<std::string> passesBetween(Stage from, Stage to, unsigned optLevel) {
  std::vector<std::string> names;
  PipelineOptions recording;
  recording.optLevel = optLevel;
  recording.filter = [&](StringRef pass, bool) {
    if (!llvm::is_contained(names, pass)) {
      names.push_back(pass.str());
    }
    return true;
  };
  OpPassManager pm(ModuleOp::getOperationName());
  static constexpr std::pair<Stage, void (*)(OpPassManager &, const PipelineOptions &)> stages[] = {
      {Stage::Onnx, buildLegalizePipeline},
      {Stage::NN, buildOptimizePipeline},
      {Stage::NN, buildCompressPipeline},
      {Stage::NN, buildKernelPipeline},
      {Stage::Kernel, buildCodegenPipeline}};
  for (auto [stage, build] : stages) {
    if (from <= stage && stage < to) {
      build(pm, recording);
    }
  }
  return names;
}

Error lathe::checkDumpedPass(const CompileOptions &options) {
  StringRef wanted = options.dumpIRAfter;
  if (wanted.empty() ||
      llvm::is_contained(passesBetween(options.from, options.to, options.optLevel), wanted)) {
    return Error::success();
  }
  std::string what = "--dump-ir-after=" + escapeText(wanted) + ": ";
  std::vector<std::string> all = passesBetween(Stage::Model, Stage::Artifact, /*optLevel=*/2);
  if (llvm::is_contained(all, wanted)) {
    return modelError(ErrorCode::E0001, what + "this pass does not run from " + stageName(options.from) +
                                            " to " + stageName(options.to) + " at -O" +
                                            Twine(options.optLevel));
  }
  SmallVector<std::string> near;
  for (const std::string &name : all) {
    if (StringRef(name).contains(wanted) ||
        wanted.edit_distance(name) <= std::max<size_t>(2, name.size() / 4)) {
      near.push_back(name);
    }
  }
  ErrorBuilder error = modelError(ErrorCode::E0001, what + "no pass has this name");
  return near.empty() ? error.help("passes are " + llvm::join(all, ", "))
                      : error.help("did you mean " + llvm::join(near, ", ") + "?");
}

bool PassBisection::runs(StringRef pass, bool isOptional) {
  if (!isOptional) {
    return true;
  }
  bool runs = ++seen <= limit;
  if (runs) {
    last = pass.str();
  }
  // At once: a pass that crashes is to be known by its number.
  llvm::errs() << (runs ? "running pass (" : "NOT running pass (") << seen << ") " << pass << '\n';
  return runs;
}

void PassBisection::summarize() const {
  unsigned ran = std::min(seen, limit);
  llvm::errs() << "ran " << ran << " of " << seen << " optional passes"
               << (ran ? ", the last was " + last : "") << '\n';
}
