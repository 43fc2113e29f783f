// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "FusionUtils.h"

#include "lathe/Dialect/NN/Transforms/Passes.h"

#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/SymbolTable.h"

#include <map>

using namespace mlir;
using namespace lathe::nn;

namespace lathe::nn {
#define GEN_PASS_DEF_FOLDWEIGHTSPASS
#include "lathe/Dialect/NN/Transforms/Passes.h.inc"
} // namespace lathe::nn

namespace {

struct FoldWeightsPass : lathe::nn::impl::FoldWeightsPassBase<FoldWeightsPass> {
  void runOnOperation() override {
    // An op is visited after the one that makes its operand, so chains fold from their start.
    SmallVector<Operation *> ops;
    getOperation().walk([&](Operation *op) {
      if (isa<TransposeOp, ReshapeOp>(op)) {
        ops.push_back(op);
      }
    });
    SymbolTable symbols(getOperation());
    folded.clear();
    for (Operation *op : ops) {
      fold(op, symbols);
    }
  }

private:
  /// Whether a reshape is worth a weight of its own: others are another name for the same bytes, which any
  /// number of kernels may read.
  static bool isWanted(Operation *op, WeightOp weight) {
    auto isProduct = [](Operation *user) { return isa<MatMulOp, ConvOp, TransposeOp>(user); };
    return isa<TransposeOp>(op) || isa<WeightSourceAttr>(weight.getValue()) ||
           (!op->use_empty() && llvm::all_of(op->getUsers(), isProduct));
  }

  void fold(Operation *op, SymbolTable &symbols) {
    auto use = op->getOperand(0).getDefiningOp<WeightUseOp>();
    auto weight = use ? symbols.lookup<WeightOp>(use.getWeight()) : WeightOp();
    auto type = dyn_cast<RankedTensorType>(op->getResult(0).getType());
    // A weight that is arranged for a kernel already is not what its type says.
    if (!weight || weight.getPanel() || !type.hasStaticShape() || !isWanted(op, weight)) {
      return;
    }
    auto transpose = dyn_cast<TransposeOp>(op);
    StringRef kind = transpose ? "transpose" : "reshape";
    ArrayRef<int64_t> indices = transpose ? transpose.getPerm() : type.getShape();
    WeightOp &made =
        folded[{weight.getSymName(), kind, std::vector<int64_t>(indices.begin(), indices.end())}];
    OpBuilder builder(&getContext());
    if (!made) {
      auto source = WeightSourceAttr::get(&getContext(), builder.getStringAttr(kind),
                                          {FlatSymbolRefAttr::get(weight.getSymNameAttr())}, indices);
      builder.setInsertionPointAfter(weight);
      made =
          WeightOp::create(builder, weight.getLoc(), (weight.getSymName() + (transpose ? "_t" : "_r")).str(),
                           type, source, weight.getOnnxName().value_or(""));
      symbols.insert(made);
    }
    builder.setInsertionPoint(op);
    op->getResult(0).replaceAllUsesWith(
        WeightUseOp::create(builder, op->getLoc(), type, FlatSymbolRefAttr::get(made.getSymNameAttr())));
    op->erase();
    if (use->use_empty()) {
      use.erase();
    }
  }

  /// The weights made so far, by what they are made of and how.
  std::map<std::tuple<StringRef, StringRef, std::vector<int64_t>>, WeightOp> folded;
};

} // namespace
