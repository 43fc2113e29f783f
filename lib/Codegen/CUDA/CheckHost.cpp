// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Codegen/Passes.h"
#include "lathe/Dialect/Kernel/IR/Kernel.h"
#include "lathe/Dialect/NN/IR/NNControl.h"
#include "lathe/Dialect/NN/IR/NNHost.h"
#include "lathe/Dialect/NN/IR/NNService.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/TypeSwitch.h"

namespace lathe::codegen {
#define GEN_PASS_DEF_CHECKDEVICEHOSTPASS
#include "lathe/Codegen/Passes.h.inc"
} // namespace lathe::codegen

using namespace mlir;
using namespace lathe;

namespace {
struct CheckDeviceHost : codegen::impl::CheckDeviceHostPassBase<CheckDeviceHost> {
  void runOnOperation() override {
    if (getOperation()->hasAttr(kernel::KernelDialect::kRootAttr)) {
      return;
    }
    bool hasFailed = false;
    getOperation().walk([&](Operation *op) {
      StringRef what = llvm::TypeSwitch<Operation *, StringRef>(op)
                           .Case([](nn::ReadIndexOp) { return "a size or a condition depends on data"; })
                           .Case([](nn::LoopOp) { return "a loop copies its tensors"; })
                           .Case([](nn::ServiceOp) { return "a component of the runtime computes it"; })
                           .Default(StringRef());
      if (!what.empty()) {
        hasFailed = true;
        InFlightDiagnostic error = emitError(op->getLoc())
                                   << "[E0503] cannot be done on a CUDA device: " << what
                                   << ", for which the host would have to read what lies on the device";
        error.attachNote() << "help: compile this model for a processor: --target=native";
      }
    });
    if (hasFailed) {
      signalPassFailure();
    }
  }
};
} // namespace
