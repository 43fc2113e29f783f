// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Codegen/CUDA/Emitters.h"
#include "lathe/Codegen/CUDA/Images.h"
#include "lathe/Codegen/Passes.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "llvm/ADT/SetVector.h"

namespace lathe::codegen {
#define GEN_PASS_DEF_OUTLINEDEVICEPASS
#include "lathe/Codegen/Passes.h.inc"
} // namespace lathe::codegen

using namespace mlir;
using namespace lathe;

namespace {
struct OutlineDevice : codegen::impl::OutlineDevicePassBase<OutlineDevice> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    SymbolTable symbols(module);
    llvm::SetVector<Operation *> moved;
    for (auto function : module.getOps<LLVM::LLVMFuncOp>()) {
      if (!function->hasAttr(cuda::kThreadsAttr)) {
        continue;
      }
      function.walk([&](LLVM::AddressOfOp use) {
        if (Operation *global = symbols.lookup(use.getGlobalName())) {
          moved.insert(global);
        }
      });
      moved.insert(function);
    }
    OpBuilder builder = OpBuilder::atBlockEnd(module.getBody());
    auto device = ModuleOp::create(builder, module.getLoc(), cuda::kDeviceModule);
    for (Operation *op : moved) {
      op->moveBefore(device.getBody(), device.getBody()->end());
    }
  }
};
} // namespace
