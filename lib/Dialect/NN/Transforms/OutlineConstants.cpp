// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Dialect/NN/IR/NN.h"
#include "lathe/Dialect/NN/Transforms/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/DenseMap.h"

namespace lathe::nn {
#define GEN_PASS_DEF_OUTLINECONSTANTSPASS
#include "lathe/Dialect/NN/Transforms/Passes.h.inc"
} // namespace lathe::nn

using namespace mlir;
using namespace lathe;

/// A splat becomes part of a kernel, but kernels of loops read memory, of which they have little of their
/// own.
static bool isLongTable(arith::ConstantOp constant, ElementsAttr elements) {
  constexpr int64_t kLocalElements = 256;
  return elements.getNumElements() > kLocalElements &&
         llvm::any_of(constant->getUsers(), [](Operation *user) { return isa<nn::LoopsOpInterface>(user); });
}

namespace {
struct OutlineConstants : nn::impl::OutlineConstantsPassBase<OutlineConstants> {
  void runOnOperation() override {
    ModuleOp module = getOperation();
    SymbolTable symbols(module);
    llvm::DenseMap<Attribute, nn::WeightOp> known;
    SmallVector<arith::ConstantOp> constants;
    module.walk([&](arith::ConstantOp constant) {
      auto elements = dyn_cast<ElementsAttr>(constant.getValue());
      if (elements && isa<RankedTensorType>(elements.getType()) &&
          (!elements.isSplat() || isLongTable(constant, elements))) {
        constants.push_back(constant);
      }
    });
    OpBuilder builder(&getContext());
    for (arith::ConstantOp constant : constants) {
      auto type = cast<RankedTensorType>(constant.getType());
      nn::WeightOp &weight = known[constant.getValue()];
      if (!weight) {
        builder.setInsertionPointToStart(module.getBody());
        weight = nn::WeightOp::create(builder, constant.getLoc(), "constant", type, constant.getValue());
        weight.setSymVisibility("private");
        symbols.insert(weight);
      }
      builder.setInsertionPoint(constant);
      auto use = nn::WeightUseOp::create(builder, constant.getLoc(), type, FlatSymbolRefAttr::get(weight));
      constant.replaceAllUsesWith(use.getResult());
      constant.erase();
    }
  }
};
} // namespace
