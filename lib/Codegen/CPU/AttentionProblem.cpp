// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Which attention has a kernel, on vectors or on matrix registers, and its division into tasks.

#include "AttentionFewQueries.h"
#include "AttentionKernel.h"
#include "AttentionMatrices.h"

#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cpu;

bool cpu::canEmitAttention(nn::AttentionOp op, std::string &whyNot) {
  for (Value operand : {op.getQ(), op.getK(), op.getV()}) {
    auto type = cast<RankedTensorType>(operand.getType());
    if (!type.getElementType().isF32() && !type.getElementType().isBF16()) {
      whyNot = "only attention of f32 and bf16 is fused";
      return false;
    }
    if (type.getRank() != 4 || type.isDynamicDim(2) || type.isDynamicDim(3)) {
      whyNot = "the number or size of the heads is dynamic";
      return false;
    }
    if (type.getElementType().isBF16() && type.getDimSize(3) % MatrixTiles::kColumns != 0) {
      whyNot = "of attention of bf16, only heads with multiples of 16 features are fused";
      return false;
    }
  }
  if (Value mask = op.getMask()) {
    Type element = cast<RankedTensorType>(mask.getType()).getElementType();
    if (!element.isF32() && !element.isBF16() && !element.isInteger(1)) {
      whyNot = "only masks of bool, f32 and bf16 are fused";
      return false;
    }
  }
  return true;
}

static FailureOr<cpu::AttentionProblem> divideAttention(EmitContext &context) {
  FailureOr<codegen::AttentionProblem> found = analyzeAttention(context);
  if (failed(found)) {
    return failure();
  }
  cpu::AttentionProblem problem{*found};
  std::string whyNot;
  if (!canEmitAttention(problem.op, whyNot)) {
    return problem.op.emitOpError(whyNot);
  }
  IndexMath math{context.builder, problem.op.getLoc()};
  problem.onMatrices = MatrixAttention::isSupported(context.target, problem.op);
  problem.queryBlock = problem.onMatrices
                           ? MatrixAttention::kQueryBlock
                           : AttentionKernel::kVectors * chooseMatMulTiling(context.target).lanes;
  problem.queryBlocks = math.ceilDiv(problem.queryCount, math.constant(problem.queryBlock));
  problem.tasks = math.product({problem.batch, math.constant(problem.heads), problem.queryBlocks});
  // What takes some 10 microseconds, by what a task does: floating-point operations, or, where these take
  // little, exponentials.
  int64_t workOfKey = problem.onMatrices ? 15 * problem.queryBlock
                                         : 2 * problem.queryBlock * (problem.depth + problem.valueDepth);
  OpFoldResult work = math.mul(math.max(problem.keyCount, math.constant(1)), math.constant(workOfKey));
  problem.grain = math.max(math.floorDiv(math.constant(500000), work), math.constant(1));
  return problem;
}

static FailureOr<TaskSplit> splitAttention(EmitContext &context) {
  FailureOr<cpu::AttentionProblem> problem = divideAttention(context);
  if (failed(problem)) {
    return failure();
  }
  IndexMath math{context.builder, problem->op.getLoc()};
  return TaskSplit{math.value(problem->tasks), math.value(problem->grain)};
}

static LogicalResult emitAttention(EmitContext &context) {
  FailureOr<cpu::AttentionProblem> problem = divideAttention(context);
  if (failed(problem)) {
    return failure();
  }
  if (problem->onMatrices) {
    return MatrixAttention(context, *problem).emit();
  }
  std::optional<int64_t> queries = getConstantIntValue(problem->queryCount);
  if (queries) {
    return *queries <= FewQueriesAttention::kMostQueries ? FewQueriesAttention(context, *problem).emit()
                                                         : AttentionKernel(context, *problem).emit();
  }
  OpBuilder &builder = context.builder;
  IndexMath math{builder, problem->op.getLoc()};
  Value most = math.value(math.constant(FewQueriesAttention::kMostQueries));
  Value areFew = arith::CmpIOp::create(builder, problem->op.getLoc(), arith::CmpIPredicate::sle,
                                       math.value(problem->queryCount), most);
  auto choice = scf::IfOp::create(builder, problem->op.getLoc(), areFew, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToStart(choice.thenBlock());
  if (failed(FewQueriesAttention(context, *problem).emit())) {
    return failure();
  }
  builder.setInsertionPointToStart(choice.elseBlock());
  return AttentionKernel(context, *problem).emit();
}

cpu::Emitter cpu::getAttentionEmitter() { return {splitAttention, emitAttention}; }
