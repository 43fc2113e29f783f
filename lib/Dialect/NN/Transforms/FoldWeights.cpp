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
    ModuleOp module = getOperation();
    SymbolTable symbols(module);
    // The transposed weights made so far, by name and permutation.
    std::map<std::pair<StringRef, std::vector<int64_t>>, WeightOp> made;
    SmallVector<TransposeOp> transposes;
    module.walk([&](TransposeOp op) {
      if (op.getX().getDefiningOp<WeightUseOp>()) {
        transposes.push_back(op);
      }
    });
    OpBuilder builder(&getContext());
    for (TransposeOp op : transposes) {
      auto use = op.getX().getDefiningOp<WeightUseOp>();
      auto weight = symbols.lookup<WeightOp>(use.getWeight());
      auto type = dyn_cast<RankedTensorType>(op.getType());
      // A weight that is arranged for a kernel already is not what its type says.
      if (!weight || weight.getPanel() || !type.hasStaticShape()) {
        continue;
      }
      ArrayRef<int64_t> perm = op.getPerm();
      WeightOp &transposed = made[{weight.getSymName(), std::vector<int64_t>(perm.begin(), perm.end())}];
      if (!transposed) {
        auto source = WeightSourceAttr::get(&getContext(), builder.getStringAttr("transpose"),
                                            {FlatSymbolRefAttr::get(weight.getSymNameAttr())}, perm);
        builder.setInsertionPointAfter(weight);
        transposed = WeightOp::create(builder, weight.getLoc(), (weight.getSymName() + "_t").str(), type,
                                      source, weight.getOnnxName().value_or(""));
        symbols.insert(transposed);
      }
      builder.setInsertionPoint(op);
      op.getResult().replaceAllUsesWith(WeightUseOp::create(
          builder, op.getLoc(), type, FlatSymbolRefAttr::get(transposed.getSymNameAttr())));
      op.erase();
      if (use->use_empty()) {
        use.erase();
      }
    }
  }
};

} // namespace
