// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Dialect/NN/IR/NN.h"
#include "lathe/Dialect/NN/Transforms/Passes.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;

namespace lathe::nn {
#define GEN_PASS_DEF_DECOMPOSEPASS
#include "lathe/Dialect/NN/Transforms/Passes.h.inc"

namespace {

struct DecomposePass : impl::DecomposePassBase<DecomposePass> {
  void runOnOperation() override {
    IRRewriter rewriter(&getContext());
    SmallVector<ReferenceOpInterface> worklist;
    auto collect = [&](ReferenceOpInterface op) { worklist.push_back(op); };
    getOperation().walk(collect);
    // A decomposition may hold composite ops in turn; those are next. Primitive ops fail at once and stay.
    while (!worklist.empty()) {
      ReferenceOpInterface op = worklist.pop_back_val();
      rewriter.setInsertionPoint(op);
      Operation *before = op->getPrevNode();
      FailureOr<SmallVector<Value>> results = op.decompose(rewriter);
      if (failed(results)) {
        continue;
      }
      Operation *first = before ? before->getNextNode() : &op->getBlock()->front();
      for (Operation *made = first; made != op.getOperation(); made = made->getNextNode()) {
        if (auto reference = dyn_cast<ReferenceOpInterface>(made)) {
          collect(reference);
        }
      }
      for (auto [result, old] : llvm::zip_equal(*results, op->getResults())) {
        // What was known of its sizes before may be more or less than what follows from the parts.
        if (result.getType() != old.getType()) {
          result = tensor::CastOp::create(rewriter, op.getLoc(), old.getType(), result);
        }
      }
      rewriter.replaceOp(op, *results);
    }
  }
};

} // namespace
} // namespace lathe::nn
