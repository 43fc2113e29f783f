// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Any bytes as a model: the walk, the schema's classes, every check and the import. What is imported must
/// verify.

#include "lathe/Import/Import.h"
#include "mlir/IR/Verifier.h"
#include <cstdlib>

using namespace lathe;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  ImportOptions options;
  // Small enough that memory is not what is found.
  options.limits.structureBytes = 1 << 20;
  options.limits.messages = 1 << 16;
  options.limits.nodes = 10'000;
  options.limits.denseBytes = 1 << 20;
  std::unique_ptr<ModelFile> file;
  auto buffer = llvm::MemoryBuffer::getMemBuffer(llvm::StringRef(reinterpret_cast<const char *>(data), size),
                                                 "fuzz", /*RequiresNullTerminator=*/false);
  auto module = importOnnx(context, std::move(buffer), options, file);
  if (!module) {
    for (const ModelError &error : takeModelErrors(module.takeError())) {
      // Every error is one of ours, and can be shown.
      if (error.errorClass() == ErrorClass::Internal || error.render().empty()) {
        abort();
      }
    }
    return 0;
  }
  if (mlir::failed(mlir::verify(**module))) {
    abort();
  }
  return 0;
}
