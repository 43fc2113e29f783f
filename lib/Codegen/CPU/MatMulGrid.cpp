// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "MatMulGrid.h"

#include "lathe/Codegen/CPU/Emitters.h"
#include "lathe/Codegen/Element/IndexMath.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cpu;

MatMulGrid::MatMulGrid(EmitContext &context, const MatMulProblem &problem, const MatMulTiling &tiling,
                       int64_t grainOperations, int64_t elementBytes) {
  IndexMath math{context.builder, problem.root->getLoc()};
  OpFoldResult one = math.constant(1), height = math.constant(tiling.rows);
  rowBlocks = math.ceilDiv(problem.m, math.constant(tiling.blockRows));
  // Blocks of equal size. At most tiling.blockRows, a multiple of the height, so the last block is not empty.
  blockRows = math.mul(math.ceilDiv(math.ceilDiv(problem.m, math.max(rowBlocks, one)), height), height);
  columnTiles = math.ceilDiv(problem.n, math.constant(tiling.columns()));
  OpFoldResult batches = problem.batch.empty() ? one : math.product(problem.batch);
  tasks = math.mul(batches, math.mul(rowBlocks, columnTiles));

  // Few rows are bound by the bandwidth of the right-hand side, not by arithmetic.
  OpFoldResult columnWork = math.mul(problem.k, math.constant(2 * tiling.columns()));
  OpFoldResult taskWork = math.mul(columnWork, math.max(math.min(blockRows, problem.m), math.constant(4)));
  grain = math.max(math.floorDiv(math.constant(grainOperations), math.max(taskWork, one)), one);

  OpFoldResult blockBytes = math.mul(problem.k, math.constant(tiling.blockRows * elementBytes));
  groupSize =
      math.max(math.floorDiv(math.constant(context.target.l2Bytes / 2), math.max(blockBytes, one)), one);
  // A right-hand side that stays in the second-level cache is gone through for each block of rows: then what
  // is read and written of a row lies together.
  std::optional<int64_t> k = getConstantIntValue(problem.k), n = getConstantIntValue(problem.n);
  uint64_t rhs = k && n ? llvm::SaturatingMultiply<uint64_t>(*k, *n) : UINT64_MAX;
  if (rhs <= uint64_t(context.target.l2Bytes / 4 / elementBytes)) {
    groupSize = one;
  }
}

MatMulGrid::Task MatMulGrid::decode(OpBuilder &builder, Location loc, const MatMulProblem &problem,
                                    const MatMulTiling &tiling, Value task) const {
  IndexMath math{builder, loc};
  Task result;
  OpFoldResult rest = task;
  if (!problem.batch.empty()) {
    OpFoldResult tasksOfOne = math.mul(rowBlocks, columnTiles);
    result.batchIndex = math.delinearize(math.floorDiv(rest, tasksOfOne), problem.batch);
    rest = math.rem(rest, tasksOfOne);
  }
  OpFoldResult groupTasks = math.mul(groupSize, columnTiles);
  OpFoldResult firstBlock = math.mul(math.floorDiv(rest, groupTasks), groupSize);
  OpFoldResult blocks = math.min(groupSize, math.sub(rowBlocks, firstBlock));
  rest = math.rem(rest, groupTasks);
  OpFoldResult block = math.add(firstBlock, math.rem(rest, blocks));
  result.firstColumn = math.mul(math.floorDiv(rest, blocks), math.constant(tiling.columns()));
  result.firstRow = math.mul(block, blockRows);
  result.rows = math.min(blockRows, math.sub(problem.m, result.firstRow));
  return result;
}
