// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The order of all passes, stage by stage.

#ifndef LATHE_COMPILER_PIPELINE_H
#define LATHE_COMPILER_PIPELINE_H

#include "lathe/Plan/Latencies.h"
#include "lathe/Plan/Plan.h"
#include "mlir/Pass/PassManager.h"

#include <functional>
#include <string>
#include <vector>

namespace lathe {

class Stats;
namespace pack {
struct RefusedRequest;
}

struct PipelineOptions {
  /// 0: reference lowerings, no fusion. 2: everything.
  unsigned optLevel = 2;
  /// `--shape` texts for the legalization.
  std::vector<std::string> shapes;
  /// Of the code generator; of several, the best one until there is code for each.
  std::string target = "native";
  /// Whether kernels run on a CUDA device; `target` is what the host program is for then.
  bool onDevice = false;
  /// The bytes that may be computed from weights when the artifact is written.
  uint64_t foldBudget = uint64_t(1) << 30;
  /// What is to change the model's numbers or size.
  Plan plan;
  /// What the plan may need to know of runs; may be null.
  const Stats *stats = nullptr;
  /// Make outputs of what products and layers read, instead of following the plan.
  bool exposeOperands = false;
  /// The same with an input that says which products are rounded.
  bool exposeRounding = false;
  /// By what products are refused that would not get faster, and whether they are changed all the same.
  LatencyTable latencies;
  bool force = false;
  /// Gets what the plan says that no op asks for; may be null.
  std::vector<pack::RefusedRequest> *refused = nullptr;
  /// Fail where generated code is only slow: for the compiler's own tests.
  bool strict = false;
  /// Is told of every pass, in order, when a pipeline is built. What it answers counts where `isOptional`:
  /// false leaves the pass out. (Forming kernels is optional as far as it fuses.) Empty: all passes run.
  std::function<bool(llvm::StringRef pass, bool isOptional)> filter;
};

/// onnx → nn, opset-free.
void buildLegalizePipeline(mlir::OpPassManager &pm, const PipelineOptions &options);
/// nn → nn: folding, fusion; ops ask for what the plan says.
void buildOptimizePipeline(mlir::OpPassManager &pm, const PipelineOptions &options);
/// nn → nn: what is asked for is done or refused; layers.
void buildCompressPipeline(mlir::OpPassManager &pm, const PipelineOptions &options);
/// nn → kernels and launches, with all weights placed.
void buildKernelPipeline(mlir::OpPassManager &pm, const PipelineOptions &options);
/// Kernels and launches → the LLVM dialect, for one target.
void buildCodegenPipeline(mlir::OpPassManager &pm, const PipelineOptions &options);

/// Registers the pipelines by name, for lathe-opt: `lathe-legalize`, `lathe-optimize`, `lathe-kernels`,
/// `lathe-codegen`, and all of them as `lathe-compile`.
void registerPipelines();

} // namespace lathe

#endif // LATHE_COMPILER_PIPELINE_H
