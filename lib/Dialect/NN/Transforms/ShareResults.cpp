// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Results that may lie in the memory of an argument.

#include "lathe/Dialect/NN/IR/NNScatter.h"
#include "lathe/Dialect/NN/Transforms/Passes.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"

using namespace mlir;
using namespace lathe::nn;

namespace lathe::nn {
#define GEN_PASS_DEF_SHARERESULTSPASS
#include "lathe/Dialect/NN/Transforms/Passes.h.inc"
} // namespace lathe::nn

/// The argument that only this result's update reads.
static BlockArgument getSharedArgument(Value result) {
  auto update = result.getDefiningOp<UpdateCacheOp>();
  auto argument = update ? dyn_cast<BlockArgument>(update.getCache()) : BlockArgument();
  return argument && argument.hasOneUse() && argument.getOwner() == update->getBlock() ? argument
                                                                                       : BlockArgument();
}

namespace {
struct ShareResultsPass : lathe::nn::impl::ShareResultsPassBase<ShareResultsPass> {
  void runOnOperation() override {
    auto main = getOperation().lookupSymbol<func::FuncOp>("main");
    if (!main || main.isExternal()) {
      return;
    }
    Builder builder(&getContext());
    for (OpOperand &result : main.getBody().front().getTerminator()->getOpOperands()) {
      if (BlockArgument argument = getSharedArgument(result.get())) {
        main.setResultAttr(result.getOperandNumber(), NNDialect::kSharesAttr,
                           builder.getI64IntegerAttr(argument.getArgNumber()));
      }
    }
  }
};
} // namespace
