// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "MatMulBlocks.h"
#include "DeviceOps.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cuda;

MatMulGrid::MatMulGrid(IndexMath math, const MatMulProblem &problem, int64_t rows, int64_t columns) {
  rowTiles = math.ceilDiv(problem.m, math.constant(rows));
  columnTiles = math.ceilDiv(problem.n, math.constant(columns));
  blocks = math.mul(math.mul(rowTiles, columnTiles), math.product(problem.batch));
}

MatMulBlocks::MatMulBlocks(EmitContext &context, const MatMulProblem &problem)
    : LoopEmitter(context.builder, problem.root->getLoc()), context(context), problem(problem),
      elements(context), factors(builder, loc, elements, getElement(problem.lhs)) {}

LogicalResult MatMulBlocks::findOperands() {
  for (auto [tensor, dims] : {std::pair(problem.lhs, &lhsDims), std::pair(problem.rhs, &rhsDims)}) {
    FailureOr<ArrayRef<OpFoldResult>> known = context.shapes.getDims(tensor);
    if (failed(known)) {
      return problem.root->emitOpError("has an operand of unknown shape");
    }
    dims->assign(known->begin(), known->end());
  }
  FailureOr<StridedView> view = getStridedView(context, problem.lhs);
  if (!problem.flattened.empty() && succeeded(view)) {
    int64_t rank = lhsDims.size();
    flatLhs = mergeDims(builder, loc, *view, {{0, rank - 1}, {rank - 1, rank}});
  }
  return success();
}

void MatMulBlocks::decodeBlock(int64_t rows, int64_t columns) {
  MatMulGrid grid(math(), problem, rows, columns);
  // Blocks that run at the same time share their columns of the right-hand side, most often weights.
  OpFoldResult row = math().rem(context.block, grid.rowTiles);
  OpFoldResult rest = math().floorDiv(context.block, grid.rowTiles);
  firstRow = math().value(math().mul(row, math().constant(rows)));
  OpFoldResult column = problem.batch.empty() ? rest : math().rem(rest, grid.columnTiles);
  firstColumn = math().value(math().mul(column, math().constant(columns)));
  if (!problem.batch.empty()) {
    batchIndex = math().delinearize(math().floorDiv(rest, grid.columnTiles), problem.batch);
  }
}

SmallVector<Value> MatMulBlocks::getLhsIndex(Value row, OpFoldResult k) {
  SmallVector<OpFoldResult> index;
  if (problem.flattened.empty()) {
    index = broadcastBatchIndex(builder, loc, ArrayRef(lhsDims).drop_back(2), batchIndex);
    index.push_back(row);
  } else {
    index = math().delinearize(row, problem.flattened);
  }
  index.push_back(k);
  return math().values(index);
}

SmallVector<Value> MatMulBlocks::getRhsIndex(OpFoldResult k, Value column) {
  SmallVector<OpFoldResult> index =
      broadcastBatchIndex(builder, loc, ArrayRef(rhsDims).drop_back(2), batchIndex);
  index.append({k, column});
  return math().values(index);
}

FailureOr<Value> MatMulBlocks::loadLhs(Value row, Value k) {
  if (flatLhs && !problem.lhsZero) {
    return factors.widen(loadTile(builder, loc, *flatLhs, Tile{{row, k}, 0, Value()}),
                         getElement(problem.lhs));
  }
  return factors.load(problem.lhs, problem.lhsZero, getLhsIndex(row, k));
}

FailureOr<Value> MatMulBlocks::loadRhs(Value k, Value column) {
  return factors.load(problem.rhs, problem.rhsZero, getRhsIndex(k, column));
}

Value MatMulBlocks::isInResult(Value row, int64_t rows, Value column, int64_t columns) {
  return emitBoth(builder, loc, emitIsInside(math(), row, problem.m, rows),
                  emitIsInside(math(), column, problem.n, columns));
}

LogicalResult MatMulBlocks::emitInside(Value condition, llvm::function_ref<LogicalResult()> body) {
  ElementEmitter::Scope scope(elements);
  LogicalResult result = success();
  if (condition) {
    emitIf(condition, [&] { result = body(); });
  } else {
    result = body();
  }
  return result;
}
