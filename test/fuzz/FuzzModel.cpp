// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Targets.h"

#include "lathe/Conversion/Passes.h"
#include "lathe/Import/Import.h"
#include "lathe/Support/Diagnostics.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Pass/PassManager.h"

using namespace lathe;

void fuzz::model(llvm::StringRef bytes) {
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  ImportOptions options;
  // Small enough that neither memory nor time is what is found.
  options.limits.structureBytes = 1 << 20;
  options.limits.messages = 1 << 16;
  options.limits.nodes = options.limits.inlinedNodes = 1000;
  options.limits.denseBytes = 1 << 20;
  std::unique_ptr<ModelFile> file;
  auto buffer = llvm::MemoryBuffer::getMemBuffer(bytes, "fuzz", /*RequiresNullTerminator=*/false);
  auto module = importOnnx(context, std::move(buffer), options, file);
  if (!module) {
    return expectFaultOfTheInput(module.takeError());
  }
  if (mlir::failed(mlir::verify(**module))) {
    abort();
  }
  DiagnosticCollector diagnostics(&context, "fuzz");
  mlir::PassManager pm(&context);
  pm.addPass(createOnnxToNNPass());
  if (mlir::failed(pm.run(**module)) || mlir::failed(mlir::verify(**module))) {
    return expectFaultOfTheInput(diagnostics.takeFailure("legalize"));
  }
  llvm::consumeError(diagnostics.takeError());
}
