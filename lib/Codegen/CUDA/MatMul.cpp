// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "PackedMatMul.h"
#include "TiledMatMul.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cuda;

/// Finds a product; emits a diagnostic if its operands are nothing that is multiplied.
static FailureOr<MatMulProblem> findProduct(ElementContext &context) {
  FailureOr<MatMulProblem> problem = analyzeMatMul(context);
  if (succeeded(problem) && !isTiledProduct(context, *problem)) {
    return problem->root->emitOpError("multiplies ")
           << problem->lhs.getType() << " by " << problem->rhs.getType()
           << ", but CUDA devices multiply floats of at most 32 bits, of one type, and bytes";
  }
  return problem;
}

static FailureOr<Launch> planMatMul(ElementContext &context) {
  FailureOr<MatMulProblem> problem = findProduct(context);
  if (failed(problem)) {
    return failure();
  }
  return PackedColumns::areRead(problem->rhs) ? planPackedMatMul(context, *problem)
                                              : planTiledMatMul(context, *problem);
}

static LogicalResult emitMatMul(EmitContext &context) {
  FailureOr<MatMulProblem> problem = findProduct(context);
  if (failed(problem)) {
    return failure();
  }
  return PackedColumns::areRead(problem->rhs) ? emitPackedMatMul(context, *problem)
                                              : emitTiledMatMul(context, *problem);
}

cuda::Emitter cuda::getMatMulEmitter() { return {planMatMul, emitMatMul}; }
