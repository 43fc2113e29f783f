// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Dialect/Kernel/Transforms/RootRules.h"
#include "lathe/Dialect/NN/IR/ShapeTracker.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::kernel;

void lathe::kernel::decomposeComposites(MLIRContext *context, ArrayRef<Block *> blocks, bool fuse,
                                        bool onDevice) {
  IRRewriter rewriter(context);
  SmallVector<nn::ReferenceOpInterface> worklist;
  for (Block *block : blocks) {
    llvm::append_range(worklist, block->getOps<nn::ReferenceOpInterface>());
  }
  while (!worklist.empty()) {
    nn::ReferenceOpInterface op = worklist.pop_back_val();
    std::string whyNot;
    if (fuse && getRootKind(op, whyNot, onDevice)) {
      continue;
    }
    rewriter.setInsertionPoint(op);
    Operation *before = op->getPrevNode();
    FailureOr<SmallVector<Value>> results = op.decompose(rewriter);
    if (failed(results)) {
      continue;
    }
    for (auto [result, old] : llvm::zip_equal(*results, op->getResults())) {
      if (result.getType() == old.getType()) {
        continue;
      }
      // More may be known of the sizes of the parts than of the whole.
      nn::ShapeTracker tracker(rewriter);
      if (auto dims = tracker.getDims(old); succeeded(dims)) {
        SmallVector<OpFoldResult> sizes(*dims);
        rewriter.setInsertionPoint(op);
        result = nn::ReshapeOp::create(rewriter, op.getLoc(), result, sizes);
      }
    }
    Operation *first = before ? before->getNextNode() : &op->getBlock()->front();
    for (Operation *made = first; made != op.getOperation(); made = made->getNextNode()) {
      if (auto reference = dyn_cast<nn::ReferenceOpInterface>(made)) {
        worklist.push_back(reference);
      }
    }
    rewriter.replaceOp(op, *results);
  }
}
