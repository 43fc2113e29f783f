// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Turns host functions over tensors into functions over pointers: `@main` becomes the artifact's run and
/// layout functions, a layer becomes a function that its instances call with their weights.

#include "HostFunction.h"

#include "lathe/Codegen/Host/HostABI.h"
#include "lathe/Codegen/Passes.h"

#include "mlir/Dialect/ControlFlow/IR/ControlFlowOps.h"

namespace lathe::codegen {
#define GEN_PASS_DEF_LOWERHOSTPASS
#include "lathe/Codegen/Passes.h.inc"
} // namespace lathe::codegen

using namespace mlir;
using namespace lathe;
using namespace lathe::codegen;

namespace {
struct LowerHost : codegen::impl::LowerHostPassBase<LowerHost> {
  int64_t getNumber(StringRef name, int64_t otherwise) {
    auto number = getOperation()->getAttrOfType<IntegerAttr>(name);
    return number ? number.getInt() : otherwise;
  }

  void runOnOperation() override {
    ModuleState state(getOperation());
    auto main = state.symbols.lookup<func::FuncOp>("main");
    if (!main) {
      getOperation().emitError("has no function @main");
      return signalPassFailure();
    }
    for (auto [index, symbol] : llvm::enumerate(collectSymbols(main))) {
      state.symbolIndex[symbol.name] = index;
    }
    SmallVector<func::FuncOp> kernels = collectKernels(getOperation());
    for (auto [index, kernel] : llvm::enumerate(kernels)) {
      if (kernel.getNumResults() != 1 && !isOnDevice(kernel)) {
        kernel.emitError() << "kernel @" << kernel.getName() << " is not emitted yet: it returns no fault";
        return signalPassFailure();
      }
      state.kernelIndex[kernel.getName()] = getNumber(kFirstKernelAttr, 0) + int64_t(index);
    }
    state.firstPlace = getNumber(kFirstPlaceAttr, int64_t(kernels.size()));
    SmallVector<func::FuncOp> hosts;
    for (auto function : getOperation().getOps<func::FuncOp>()) {
      bool isKernel = function->hasAttr(kernel::KernelDialect::kRootAttr) ||
                      function.getName().ends_with(".tasks") || function.getName().ends_with(kCostSuffix);
      if (!isKernel && !function.isExternal()) {
        hosts.push_back(function);
      }
    }
    for (func::FuncOp kernel : kernels) {
      if (!isOnDevice(kernel)) {
        emitEntry(kernel);
      }
      if (auto costs = state.symbols.lookup<func::FuncOp>((kernel.getName() + kCostSuffix).str())) {
        emitCostEntry(kernel, costs);
      }
    }
    for (func::FuncOp host : hosts) {
      if (failed(HostFunction(state, host).lower())) {
        return signalPassFailure();
      }
    }
    for (func::FuncOp host : hosts) {
      host.erase();
    }
    for (auto weight : llvm::make_early_inc_range(getOperation().getOps<nn::WeightOp>())) {
      weight.erase();
    }
    Builder builder(&getContext());
    getOperation()->setAttr(kSlotCountAttr, builder.getI64IntegerAttr(state.slotCount));
    if (state.bufferCount) {
      getOperation()->setAttr(kBufferCountAttr, builder.getI64IntegerAttr(state.bufferCount));
    }
    SmallVector<Attribute> services;
    for (auto &[service, number] : state.services) {
      auto [name, argument, operands] = service;
      services.push_back(builder.getArrayAttr({name, argument, builder.getI64IntegerAttr(operands)}));
    }
    if (!services.empty()) {
      getOperation()->setAttr(kServicesAttr, builder.getArrayAttr(services));
    }
    if (!state.places.empty()) {
      auto toAttribute = [](auto &place) { return Attribute(place.first); };
      getOperation()->setAttr(kPlacesAttr,
                              builder.getArrayAttr(llvm::map_to_vector(state.places, toAttribute)));
    }
  }
};

} // namespace
