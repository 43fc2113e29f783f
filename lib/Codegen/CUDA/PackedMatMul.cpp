// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Products with weights that are stored in a format: how many rows are done how. Few of them read the weight
/// straight into registers; for more it is decoded into the tiles of a product of floats.

#include "PackedMatMul.h"
#include "TiledMatMul.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cuda;

/// The rows that a block has of few, and the most that are few: the weight is read once for so many.
static constexpr int64_t kRows = 2, kFewRows = 8;

/// Whether there are at most so many rows.
static Value hasAtMost(IndexMath math, const MatMulProblem &problem, int64_t rows) {
  return arith::CmpIOp::create(math.builder, math.loc, arith::CmpIPredicate::ule, math.value(problem.m),
                               math.value(math.constant(rows)));
}

Launch cuda::planPackedMatMul(ElementContext &context, const MatMulProblem &problem) {
  IndexMath math{context.builder, problem.root->getLoc()};
  std::optional<int64_t> rows = getConstantIntValue(problem.m);
  if (rows && *rows > kFewRows) {
    return planTiledMatMul(context, problem);
  }
  if (rows) {
    return Launch{countPackedBlocks(math, problem, *rows == 1 ? 1 : kRows), kPackedThreads,
                  /*blocksAtOnce=*/2};
  }
  Launch many = planTiledMatMul(context, problem);
  auto choose = [&](int64_t most, int64_t each, OpFoldResult otherwise) -> OpFoldResult {
    return arith::SelectOp::create(context.builder, math.loc, hasAtMost(math, problem, most),
                                   math.value(countPackedBlocks(math, problem, each)), math.value(otherwise))
        .getResult();
  };
  return Launch{choose(1, 1, choose(kFewRows, kRows, many.blocks)), kPackedThreads, many.blocksAtOnce};
}

LogicalResult cuda::emitPackedMatMul(EmitContext &context, const MatMulProblem &problem) {
  std::optional<int64_t> rows = getConstantIntValue(problem.m);
  if (rows) {
    return *rows > kFewRows ? emitTiledMatMul(context, problem)
                            : emitPackedRows(context, problem, *rows == 1 ? 1 : kRows);
  }
  IndexMath math{context.builder, problem.root->getLoc()};
  return context.emitEither(
      math.loc, hasAtMost(math, problem, 1), [&] { return emitPackedRows(context, problem, 1); },
      [&] {
        return context.emitEither(
            math.loc, hasAtMost(math, problem, kFewRows),
            [&] { return emitPackedRows(context, problem, kRows); },
            [&] { return emitTiledMatMul(context, problem); });
      });
}
