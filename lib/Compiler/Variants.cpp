// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Variants.h"

#include "lathe/Codegen/Host/HostABI.h"
#include "lathe/Compiler/Codegen.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/AttrTypeSubElements.h"
#include "mlir/IR/SymbolTable.h"
#include "llvm/ADT/STLExtras.h"

using namespace mlir;
using namespace lathe;

/// Ends the name of every function that has a body, intrinsics and C functions have none, with `suffix`: all
/// uses in one pass over the module.
static void addSuffix(ModuleOp module, StringRef suffix) {
  llvm::DenseMap<StringAttr, FlatSymbolRefAttr> renamed;
  for (auto function : module.getOps<LLVM::LLVMFuncOp>()) {
    if (!function.isExternal()) {
      StringAttr name = function.getSymNameAttr();
      function.setSymName((name.getValue() + suffix).str());
      renamed[name] = FlatSymbolRefAttr::get(function);
    }
  }
  AttrTypeReplacer replacer;
  replacer.addReplacement([&](FlatSymbolRefAttr use) -> std::optional<Attribute> {
    auto found = renamed.find(use.getAttr());
    return found == renamed.end() ? use : found->second;
  });
  replacer.recursivelyReplaceElementsIn(module);
}

/// Whether the processor's matrix registers are configured anywhere.
static bool usesMatrices(ModuleOp module) {
  WalkResult result = module.walk([](LLVM::CallIntrinsicOp call) {
    return call.getIntrin() == "llvm.x86.ldtilecfg" ? WalkResult::interrupt() : WalkResult::advance();
  });
  return result.wasInterrupted();
}

void Variants::add(OwningOpRef<ModuleOp> variant, cpu::TargetSpec target) {
  if (!usesMatrices(*variant)) {
    target.cpuFeatures = target.cpuFeaturesWithoutMatrices();
  }
  for (auto function : variant->getOps<LLVM::LLVMFuncOp>()) {
    setTargetAttributes(function, target);
  }
  std::string suffix = ("." + Twine(described.size())).str();
  addSuffix(*variant, suffix);
  described.push_back(
      {std::move(target), codegen::kRunName.str() + suffix, codegen::kLayoutName.str() + suffix, suffix});
  if (!all) {
    all = std::move(variant);
    return;
  }
  // Declarations and constants that the variants share stand in the first.
  for (Operation &op : llvm::make_early_inc_range(*variant->getBody())) {
    auto symbol = dyn_cast<SymbolOpInterface>(op);
    if (!symbol || !SymbolTable::lookupSymbolIn(*all, symbol.getNameAttr())) {
      op.moveBefore(all->getBody(), all->getBody()->end());
    }
  }
}
