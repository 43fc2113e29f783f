// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Codegen/Element/AttentionProblem.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::codegen;

FailureOr<AttentionProblem> codegen::analyzeAttention(ElementContext &context) {
  AttentionProblem problem;
  for (Operation &op : context.kernel.getBody().front()) {
    if (auto attention = dyn_cast<nn::AttentionOp>(op)) {
      problem.op = attention;
    } else if (auto output = dyn_cast<kernel::OutputOp>(op)) {
      problem.output = output;
    }
  }
  if (!problem.op || !problem.output) {
    return context.kernel.emitOpError("expects one attention with one result");
  }
  auto shapeOf = [](Value tensor) { return cast<RankedTensorType>(tensor.getType()).getShape(); };
  if (shapeOf(problem.output.getValue()) != shapeOf(problem.op.getResult())) {
    return problem.output.emitOpError()
           << "expects a result of the attention's shape, that of " << problem.op.getResult().getType()
           << ", but it has type " << problem.output.getValue().getType();
  }
  ArrayRef<int64_t> q = shapeOf(problem.op.getQ()), k = shapeOf(problem.op.getK()),
                    v = shapeOf(problem.op.getV());
  problem.heads = q[2];
  problem.depth = q[3];
  problem.keyHeads = k[2];
  problem.valueDepth = v[3];
  if (llvm::any_of(ArrayRef{problem.heads, problem.depth, problem.keyHeads, problem.valueDepth},
                   ShapedType::isDynamic)) {
    return problem.op.emitOpError("has heads whose number or size is dynamic");
  }
  FailureOr<ArrayRef<OpFoldResult>> keyDims = context.shapes.getDims(problem.op.getK());
  if (failed(keyDims)) {
    return problem.op.emitOpError("has keys of unknown shape");
  }
  problem.keyCount = (*keyDims)[1];
  FailureOr<ArrayRef<OpFoldResult>> queryDims = context.shapes.getDims(problem.op.getQ());
  if (failed(queryDims)) {
    return problem.op.emitOpError("has queries of unknown shape");
  }
  problem.batch = (*queryDims)[0];
  problem.queryCount = (*queryDims)[1];
  return problem;
}
