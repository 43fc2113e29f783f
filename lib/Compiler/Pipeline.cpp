// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Compiler/Pipeline.h"

#include "lathe/Codegen/CUDA/Images.h"
#include "lathe/Codegen/Passes.h"
#include "lathe/Conversion/Passes.h"
#include "lathe/Dialect/Kernel/Transforms/Passes.h"
#include "lathe/Dialect/NN/Transforms/Passes.h"
#include "lathe/Dialect/Pack/Transforms/ApplyPlan.h"
#include "lathe/Dialect/Pack/Transforms/ByLatencies.h"
#include "lathe/Dialect/Pack/Transforms/Passes.h"

#include "mlir/Conversion/Passes.h"
#include "mlir/Dialect/Affine/Transforms/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/MemRef/Transforms/Passes.h"
#include "mlir/Pass/PassOptions.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;
using namespace lathe;

namespace {
/// Adds passes to a pipeline and asks the options' filter about each.
class Adder {
public:
  Adder(OpPassManager &pm, const PipelineOptions &options) : pm(pm), options(options) {}

  /// A pass without which the next stage cannot work.
  void require(std::unique_ptr<Pass> pass, bool onFunctions = false) {
    if (options.filter) {
      options.filter(pass->getArgument(), /*isOptional=*/false);
    }
    add(std::move(pass), onFunctions);
  }

  /// A pass without which code is only slower.
  void prefer(std::unique_ptr<Pass> pass, bool onFunctions = false) {
    if (asks(pass->getArgument())) {
      add(std::move(pass), onFunctions);
    }
  }

  void cleanUp() {
    prefer(createCanonicalizerPass());
    prefer(createCSEPass());
  }

  /// Whether an optional pass, or the optional part of one, is to run.
  bool asks(StringRef pass) { return !options.filter || options.filter(pass, /*isOptional=*/true); }

  /// `onFunctions`: a pass for all ops is to run on each function. Passes that are for functions do anyway.
  void add(std::unique_ptr<Pass> pass, bool onFunctions = false) {
    if (onFunctions || pass->getOpName() == func::FuncOp::getOperationName()) {
      pm.addNestedPass<func::FuncOp>(std::move(pass));
    } else {
      pm.addPass(std::move(pass));
    }
  }

private:
  OpPassManager &pm;
  const PipelineOptions &options;
};
} // namespace

void lathe::buildLegalizePipeline(OpPassManager &pm, const PipelineOptions &options) {
  OnnxToNNPassOptions legalize;
  legalize.shapes.assign(options.shapes.begin(), options.shapes.end());
  Adder(pm, options).require(createOnnxToNNPass(legalize));
}

void lathe::buildOptimizePipeline(OpPassManager &pm, const PipelineOptions &options) {
  Adder passes(pm, options);
  passes.cleanUp();
  if (options.optLevel > 0) {
    // Patterns of many ops first, while they stand as the exporter wrote them.
    passes.prefer(nn::createFuseQuantizedPass());
    passes.prefer(nn::createFuseNormPass());
    passes.prefer(nn::createFuseGeluPass());
    passes.prefer(nn::createFuseAttentionPass());
    // Attention has taken its own transposes; those that are left cancel or move to where they cost least.
    passes.prefer(nn::createPropagateTransposesPass());
    passes.cleanUp();
    // Scales that nothing stands between any more, before what is known is computed.
    passes.prefer(nn::createFuseScalesPass());
    // Weights that were exported transposed join, too.
    passes.prefer(nn::createFoldWeightsPass({/*budget=*/options.foldBudget}));
    passes.prefer(nn::createFuseProjectionsPass());
    passes.cleanUp();
  }
  // Weights are now what products read: joined and transposed.
  if (options.exposeOperands || options.exposeRounding) {
    return passes.require(pack::createExposeOperandsPass({/*rounding=*/options.exposeRounding}));
  }
  passes.require(pack::createApplyPlanPass(options.plan, options.stats, options.refused));
}

void lathe::buildCompressPipeline(OpPassManager &pm, const PipelineOptions &options) {
  Adder passes(pm, options);
  // What is left out need not be stored in another format.
  passes.require(nn::createSkipLayersPass());
  passes.require(pack::createRefuseSlowPass(options.latencies, options.force));
  passes.require(pack::createMigrateScalesPass());
  // Scales move into all of a weight; what is left of it is quantized.
  pack::PruneWeightsPassOptions prune;
  prune.target = options.target;
  prune.find = options.optLevel > 0;
  prune.force = options.force;
  passes.prefer(pack::createPruneWeightsPass(options.latencies, prune));
  passes.prefer(pack::createQuantizeInt8Pass({options.force}));
  // What is computed in bf16 is stored so; the rest of what asks for it may still be stored.
  pack::ConvertBF16PassOptions bf16;
  bf16.target = options.target;
  bf16.force = options.force;
  bf16.onDevice = options.onDevice;
  passes.prefer(pack::createConvertBF16Pass(bf16));
  passes.prefer(pack::createEncodeWeightsPass());
  passes.prefer(pack::createRoundRowsPass({options.target, options.force}));
  passes.prefer(nn::createShareResultsPass());
  passes.require(nn::createOutlineConstantsPass());
  if (options.optLevel > 0) {
    passes.prefer(nn::createOutlineLayersPass());
  }
}

void lathe::buildKernelPipeline(OpPassManager &pm, const PipelineOptions &options) {
  Adder passes(pm, options);
  // Kernels are formed in any case, what may be left out is the fusion.
  bool fuse = options.optLevel > 0 && passes.asks("kernel-form");
  passes.add(kernel::createFormKernelsPass({/*fuse=*/fuse, options.onDevice}));
  if (fuse) {
    passes.prefer(kernel::createMergeRowsPass());
    passes.prefer(kernel::createPlaceConcatsPass({/*alignment=*/options.onDevice ? 16u : 1u}));
  }
  passes.require(kernel::createOutlineKernelsPass());
  passes.cleanUp();
  if (fuse) {
    passes.prefer(nn::createKeepRoundedPass());
  }
  passes.require(codegen::createAssignWeightsPass({options.onDevice}));
}

void lathe::buildCodegenPipeline(OpPassManager &pm, const PipelineOptions &options) {
  Adder passes(pm, options);
  passes.require(codegen::createCountKernelCostsPass());
  if (options.onDevice) {
    passes.require(codegen::createCheckDeviceHostPass());
    passes.require(codegen::createEmitCUDAKernelsPass({/*tf32=*/options.plan.math == Plan::kTF32}));
  } else {
    passes.require(codegen::createEmitCPUKernelsPass({/*target=*/options.target}));
  }
  passes.cleanUp();
  passes.prefer(createLoopInvariantCodeMotionPass(), /*onFunctions=*/true);
  if (!options.onDevice) {
    passes.require(codegen::createCheckKernelsPass({/*target=*/options.target, /*strict=*/options.strict}));
  }
  passes.require(codegen::createLowerHostPass());

  // Vector transfers become one-dimensional loads before anything knows of LLVM.
  passes.require(createConvertVectorToSCFPass(), /*onFunctions=*/true);
  passes.require(memref::createExpandStridedMetadataPass());
  passes.require(createLowerAffinePass());
  passes.cleanUp();
  passes.require(createSCFToControlFlowPass());
  passes.require(createConvertVectorToLLVMPass());
  passes.require(memref::createExpandStridedMetadataPass());
  passes.require(createLowerAffinePass());
  passes.require(createFinalizeMemRefToLLVMConversionPass());
  passes.require(createConvertFuncToLLVMPass());
  passes.require(createConvertMathToLLVMPass());
  passes.require(createArithToLLVMConversionPass());
  passes.require(createConvertIndexToLLVMPass());
  passes.require(createConvertControlFlowToLLVMPass());
  // Vectorization leaves poison behind.
  passes.require(createUBToLLVMConversionPass());
  passes.require(createReconcileUnrealizedCastsPass());
  passes.cleanUp();
  if (options.onDevice) {
    passes.require(codegen::createOutlineDevicePass());
  }
}

namespace {
/// The options of the named pipelines, spelled as those of passes.
struct NamedPipelineOptions : PassPipelineOptions<NamedPipelineOptions> {
  Option<unsigned> optLevel{*this, "opt-level", llvm::cl::desc("0: reference lowerings, no fusion"),
                            llvm::cl::init(2)};
  ListOption<std::string> shapes{*this, "shape", llvm::cl::desc("as of convert-onnx-to-nn")};
  Option<std::string> target{*this, "target", llvm::cl::desc("as of emit-cpu-kernels, or cuda"),
                             llvm::cl::init("native")};
  Option<bool> strict{*this, "strict", llvm::cl::desc("fail on what is only slow"), llvm::cl::init(false)};

  Option<uint64_t> foldBudget{*this, "fold-budget", llvm::cl::desc("as of nn-fold-weights"),
                              llvm::cl::init(PipelineOptions().foldBudget)};

  PipelineOptions toOptions() const {
    PipelineOptions options;
    options.optLevel = optLevel;
    options.shapes.assign(shapes.begin(), shapes.end());
    options.onDevice = target == "cuda";
    options.target = options.onDevice ? cuda::kHostTarget.str() : std::string(target);
    options.strict = strict;
    options.foldBudget = foldBudget;
    return options;
  }
};

using Builder = void (*)(OpPassManager &, const PipelineOptions &);

void registerPipeline(StringRef name, StringRef description, ArrayRef<Builder> builders) {
  PassPipelineRegistration<NamedPipelineOptions>(
      name, description,
      [builders = SmallVector<Builder>(builders)](OpPassManager &pm, const NamedPipelineOptions &named) {
        PipelineOptions options = named.toOptions();
        for (Builder build : builders) {
          build(pm, options);
        }
      });
}
} // namespace

void lathe::registerPipelines() {
  registerPipeline("lathe-legalize", "onnx to nn", {buildLegalizePipeline});
  registerPipeline("lathe-optimize", "nn to nn: folding, fusion, compression, layers",
                   {buildOptimizePipeline, buildCompressPipeline});
  registerPipeline("lathe-kernels", "nn to kernels and launches, with all weights placed",
                   {buildKernelPipeline});
  registerPipeline("lathe-codegen", "kernels and launches to the LLVM dialect, for one target",
                   {buildCodegenPipeline});
  registerPipeline("lathe-compile", "all of these: onnx to the LLVM dialect",
                   {buildLegalizePipeline, buildOptimizePipeline, buildCompressPipeline, buildKernelPipeline,
                    buildCodegenPipeline});
}
