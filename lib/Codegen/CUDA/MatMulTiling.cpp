// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "MatMulTiling.h"
#include "PackedColumns.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cuda;

/// Of matrices by tensor cores; and where the sums share the registers with operands of threads that multiply
/// by themselves, with the places of windows, or with the sums of rows. With two blocks on each of their
/// processors, 48 KiB of shared memory for each are there on all devices. The last one is for few rows, whose
/// time is that of reading the right-hand side: many copies are under way.
static constexpr MatMulTiling kTensorTilings[] = {
    {128, 128, 2, 4, 3, 64, 1.0}, {64, 64, 2, 4, 4, 64, 0.6}, {16, 32, 1, 2, 8, 128, 0.3}};
static constexpr MatMulTiling kNarrowTilings[] = {
    {128, 64, 2, 4, 4, 64, 1.0}, {64, 64, 2, 4, 4, 64, 0.8}, {16, 32, 1, 2, 8, 128, 0.3}};
/// The time of a step through the depth that no tile, however small, goes below: in sums at full rate.
static constexpr double kLeastTime = 6000;

/// The tiling of the least estimated time for sizes that are known: blocks wait for each other where there
/// are more than run at a time.
static const MatMulTiling &chooseTiling(const MatMulProblem &problem, ArrayRef<MatMulTiling> tilings) {
  // Of processors with two blocks each.
  constexpr double kBlocksAtOnce = 2 * 132;
  auto getSize = [](OpFoldResult size) { return double(getConstantIntValue(size).value_or(1)); };
  double products = 1;
  for (OpFoldResult size : problem.batch) {
    products *= getSize(size);
  }
  auto getTime = [&](const MatMulTiling &tiling) {
    double blocks = products * std::ceil(getSize(problem.m) / double(tiling.rows)) *
                    std::ceil(getSize(problem.n) / double(tiling.columns));
    return std::max(1.0, blocks / kBlocksAtOnce) *
           std::max(kLeastTime, double(tiling.rows * tiling.columns) / tiling.rate);
  };
  return *llvm::min_element(tilings, [&](auto &lhs, auto &rhs) { return getTime(lhs) < getTime(rhs); });
}

TilingChoice::TilingChoice(IndexMath math, const MatMulProblem &problem, MatrixFormat format) {
  auto conv = dyn_cast<nn::ConvOp>(problem.root);
  bool isNarrow = format == MatrixFormat::F32 || (conv && !conv.isProduct()) || problem.rhsZero;
  ArrayRef<MatMulTiling> tilings = isNarrow ? kNarrowTilings : kTensorTilings;
  if (getConstantIntValue(problem.m)) {
    tiling = &chooseTiling(problem, tilings);
    return;
  }
  tiling = &tilings[1];
  std::optional<int64_t> columns = getConstantIntValue(problem.n);
  if (columns && *columns <= tiling->columns) {
    return;
  }
  // Beside the code for few rows, ptxas does not fit that of the large tiling into its registers.
  if (PackedColumns::areRead(problem.rhs)) {
    return;
  }
  // Blocks of the large tiling from which on it is the faster one, by the estimate above.
  constexpr int64_t kMany = 160;
  forMany = &tilings[0];
  OpFoldResult blocks = MatMulGrid(math, problem, forMany->rows, forMany->columns).blocks;
  areMany = arith::CmpIOp::create(math.builder, math.loc, arith::CmpIPredicate::uge, math.value(blocks),
                                  math.value(math.constant(kMany)));
}
