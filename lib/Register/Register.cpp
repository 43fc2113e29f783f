// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Compiler/Register.h"

#include "lathe/Codegen/Passes.h"
#include "lathe/Conversion/Passes.h"
#include "lathe/Dialect/Kernel/IR/Kernel.h"
#include "lathe/Dialect/Kernel/Transforms/Passes.h"
#include "lathe/Dialect/NN/IR/NN.h"
#include "lathe/Dialect/NN/Transforms/Passes.h"
#include "lathe/Dialect/Onnx/IR/Onnx.h"
#include "lathe/Dialect/Pack/IR/Pack.h"
#include "lathe/Dialect/Pack/Transforms/Passes.h"

#include "mlir/InitAllDialects.h"
#include "mlir/InitAllExtensions.h"
#include "mlir/Target/LLVMIR/Dialect/All.h"

void lathe::registerDialects(mlir::DialectRegistry &registry) {
  mlir::registerAllDialects(registry);
  mlir::registerAllExtensions(registry);
  registry.insert<nn::NNDialect, pack::PackDialect, kernel::KernelDialect, onnx::OnnxDialect>();
}

void lathe::registerPasses() {
  registerConversionPasses();
  nn::registerNNPasses();
  pack::registerPackPasses();
  kernel::registerKernelPasses();
  codegen::registerCodegenPasses();
}
