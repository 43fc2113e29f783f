// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "AttentionBlocks.h"
#include "lathe/Codegen/Element/IndexMath.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cuda;

AttentionGrid::AttentionGrid(IndexMath math, const AttentionProblem &problem, int64_t queries) {
  parts = math.ceilDiv(problem.queryCount, math.constant(queries));
  blocks = math.mul(math.mul(problem.batch, math.constant(problem.heads)), parts);
}

AttentionGrid AttentionGrid::byKeys(IndexMath math, const AttentionProblem &problem, int64_t keysAtOnce) {
  AttentionGrid grid;
  OpFoldResult one = math.constant(1), groups = math.mul(problem.batch, math.constant(problem.keyHeads));
  OpFoldResult most = math.ceilDiv(problem.keyCount, math.constant(kLeastKeys));
  most = math.min(most, math.floorDiv(math.constant(kMostBlocks), math.max(groups, one)));
  grid.parts = math.max(most, one);
  grid.keys = math.ceilDiv(math.ceilDiv(problem.keyCount, grid.parts), math.constant(keysAtOnce));
  grid.keys = math.mul(grid.keys, math.constant(keysAtOnce));
  grid.rows = math.mul(problem.queryCount, math.constant(problem.heads / problem.keyHeads));
  // None where there are no rows.
  grid.blocks = math.mul(math.mul(groups, grid.parts), math.min(problem.queryCount, one));
  return grid;
}

AttentionChoice::AttentionChoice(const AttentionProblem &problem, int64_t mostRows)
    : kind(ByQueries), mostRows(mostRows) {
  int64_t group = problem.heads / problem.keyHeads;
  std::optional<int64_t> queries = getConstantIntValue(problem.queryCount);
  if (group * queries.value_or(1) <= mostRows) {
    kind = queries ? ByKeys : ByRun;
  }
}

Value AttentionChoice::hasFew(IndexMath math, const AttentionProblem &problem) const {
  OpFoldResult most = math.constant(mostRows / (problem.heads / problem.keyHeads));
  return arith::CmpIOp::create(math.builder, math.loc, arith::CmpIPredicate::ule,
                               math.value(problem.queryCount), math.value(most));
}

OpFoldResult AttentionChoice::countBlocks(IndexMath math, const AttentionProblem &problem, int64_t queries,
                                          int64_t keysAtOnce) const {
  OpFoldResult byQueries = kind == ByKeys ? OpFoldResult() : AttentionGrid(math, problem, queries).blocks;
  if (kind == ByQueries) {
    return byQueries;
  }
  OpFoldResult byKeys = AttentionGrid::byKeys(math, problem, keysAtOnce).blocks;
  if (kind == ByKeys) {
    return byKeys;
  }
  return arith::SelectOp::create(math.builder, math.loc, hasFew(math, problem), math.value(byKeys),
                                 math.value(byQueries))
      .getResult();
}

LogicalResult AttentionChoice::emit(EmitContext &context, const AttentionProblem &problem,
                                    llvm::function_ref<LogicalResult()> byQueries,
                                    llvm::function_ref<LogicalResult()> byKeys) const {
  if (kind != ByRun) {
    return kind == ByKeys ? byKeys() : byQueries();
  }
  IndexMath math{context.builder, nn::AttentionOp(problem.op).getLoc()};
  return context.emitEither(math.loc, hasFew(math, problem), byKeys, byQueries);
}
