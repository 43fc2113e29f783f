// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Codegen/Host/HostABI.h"

#include "lathe/Dialect/Kernel/IR/Kernel.h"

#include "llvm/ADT/StringMap.h"

using namespace mlir;
using namespace lathe;

llvm::SmallVector<codegen::Symbol> codegen::collectSymbols(func::FuncOp main) {
  SmallVector<Symbol> symbols;
  llvm::StringMap<size_t> known;
  for (BlockArgument argument : main.getArguments()) {
    auto dims = main.getArgAttrOfType<ArrayAttr>(argument.getArgNumber(), nn::NNDialect::kDimsAttr);
    for (Attribute dim : dims ? dims.getValue() : ArrayRef<Attribute>()) {
      StringRef name = cast<StringAttr>(dim).getValue();
      if (!name.empty() && known.try_emplace(name, symbols.size()).second) {
        symbols.push_back({name.str(), 0, nn::kMaxDim});
      }
    }
  }
  auto bounds = main->getAttrOfType<DictionaryAttr>(nn::NNDialect::kBoundsAttr);
  for (Symbol &symbol : symbols) {
    if (auto range = bounds ? bounds.getAs<DenseI64ArrayAttr>(symbol.name) : DenseI64ArrayAttr()) {
      symbol.min = range[0];
      symbol.max = range[1];
    }
  }
  return symbols;
}

llvm::SmallVector<func::FuncOp> codegen::collectKernels(ModuleOp module) {
  SmallVector<func::FuncOp> kernels;
  for (auto function : module.getOps<func::FuncOp>()) {
    if (function->hasAttr(kernel::KernelDialect::kRootAttr)) {
      kernels.push_back(function);
    }
  }
  return kernels;
}
