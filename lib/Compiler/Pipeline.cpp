// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Compiler/Pipeline.h"

#include "lathe/Codegen/Passes.h"
#include "lathe/Conversion/Passes.h"
#include "lathe/Dialect/Kernel/Transforms/Passes.h"
#include "lathe/Dialect/NN/Transforms/Passes.h"

#include "mlir/Conversion/Passes.h"
#include "mlir/Dialect/Affine/Transforms/Passes.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/MemRef/Transforms/Passes.h"
#include "mlir/Transforms/Passes.h"

using namespace mlir;
using namespace lathe;

static void addCleanup(OpPassManager &pm) {
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
}

void lathe::buildLegalizePipeline(OpPassManager &pm, const PipelineOptions &options) {
  OnnxToNNPassOptions legalize;
  legalize.shapes.assign(options.shapes.begin(), options.shapes.end());
  pm.addPass(createOnnxToNNPass(legalize));
}

void lathe::buildOptimizePipeline(OpPassManager &pm, const PipelineOptions &options) {
  addCleanup(pm);
  if (options.optLevel > 0) {
    // Patterns of many ops first, while they stand as the exporter wrote them.
    pm.addNestedPass<func::FuncOp>(nn::createFuseNormPass());
    pm.addNestedPass<func::FuncOp>(nn::createFuseGeluPass());
    pm.addNestedPass<func::FuncOp>(nn::createFuseAttentionPass());
    // Attention has taken its own transposes; those that are left cancel or move to where they cost least.
    pm.addNestedPass<func::FuncOp>(nn::createPropagateTransposesPass());
    addCleanup(pm);
    // Weights that were exported transposed join, too.
    pm.addPass(nn::createFoldWeightsPass());
    pm.addPass(nn::createFuseProjectionsPass());
    addCleanup(pm);
  }
  pm.addPass(nn::createOutlineConstantsPass());
  if (options.optLevel > 0) {
    pm.addPass(nn::createOutlineLayersPass());
  }
}

void lathe::buildKernelPipeline(OpPassManager &pm, const PipelineOptions &options) {
  bool fuse = options.optLevel > 0;
  pm.addNestedPass<func::FuncOp>(kernel::createFormKernelsPass({/*fuse=*/fuse}));
  pm.addPass(kernel::createOutlineKernelsPass());
  addCleanup(pm);
  pm.addPass(codegen::createAssignWeightsPass());
}

void lathe::buildCodegenPipeline(OpPassManager &pm, const PipelineOptions &options) {
  pm.addPass(codegen::createCountKernelCostsPass());
  pm.addPass(codegen::createEmitCPUKernelsPass({/*target=*/options.target}));
  addCleanup(pm);
  pm.addNestedPass<func::FuncOp>(createLoopInvariantCodeMotionPass());
  pm.addNestedPass<func::FuncOp>(
      codegen::createCheckKernelsPass({/*target=*/options.target, /*strict=*/options.strict}));
  pm.addPass(codegen::createLowerHostPass());

  // Vector transfers become one-dimensional loads before anything knows of LLVM.
  pm.addNestedPass<func::FuncOp>(createConvertVectorToSCFPass());
  pm.addPass(memref::createExpandStridedMetadataPass());
  pm.addPass(createLowerAffinePass());
  addCleanup(pm);
  pm.addPass(createSCFToControlFlowPass());
  pm.addPass(createConvertVectorToLLVMPass());
  pm.addPass(memref::createExpandStridedMetadataPass());
  pm.addPass(createLowerAffinePass());
  pm.addPass(createFinalizeMemRefToLLVMConversionPass());
  pm.addPass(createConvertFuncToLLVMPass());
  pm.addPass(createConvertMathToLLVMPass());
  pm.addPass(createArithToLLVMConversionPass());
  pm.addPass(createConvertIndexToLLVMPass());
  pm.addPass(createConvertControlFlowToLLVMPass());
  // Vectorization leaves poison behind.
  pm.addPass(createUBToLLVMConversionPass());
  pm.addPass(createReconcileUnrealizedCastsPass());
  addCleanup(pm);
}
