// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "ZeroPoints.h"
#include "DeviceOps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cuda;

/// The lanes that have a row, or a column, in their registers.
static constexpr int64_t kLanesOfSum = 4;

ZeroPoints::ZeroPoints(OpBuilder &builder, const MatMulProblem &problem, const MatMulTiling &tiling)
    : LoopEmitter(builder, problem.root->getLoc()), problem(problem), tiling(tiling) {}

bool ZeroPoints::isUnsigned(Value operand) {
  return cast<RankedTensorType>(operand.getType()).getElementType().isUnsignedInteger();
}

void ZeroPoints::addColumns(int64_t block, ValueRange registers, MutableArrayRef<Value> sums) {
  if (problem.lhsZero) {
    for (Value bytes : registers) {
      sums[block] = emitByteSum(builder, loc, isUnsigned(problem.rhs), bytes, sums[block]);
    }
  }
}

void ZeroPoints::addRows(int64_t block, ValueRange registers, MutableArrayRef<Value> sums) {
  for (auto [i, bytes] : llvm::enumerate(registers)) {
    if (problem.rhsZero) {
      // Every other register is of the upper eight rows.
      Value &sum = sums[countColumnSums() + 2 * block + int64_t(i) % 2];
      sum = emitByteSum(builder, loc, isUnsigned(problem.lhs), bytes, sum);
    }
  }
}

Value ZeroPoints::addUp(Value sum) {
  for (int64_t distance = 1; distance < kLanesOfSum; distance *= 2) {
    sum = arith::AddIOp::create(builder, loc, sum, emitExchange(builder, loc, sum, distance));
  }
  return sum;
}

void ZeroPoints::correct(MutableArrayRef<Value> products, ArrayRef<Value> sums, Value lane, Loader lhsZero,
                         Loader rhsZero) {
  // Sums of products, of which a lane has two neighbours of a row, and of the row eight further down.
  constexpr int64_t kOfRow = 2, kOfBlock = 4;
  auto subtractProduct = [&](Value from, Value lhs, Value rhs) -> Value {
    return arith::SubIOp::create(builder, loc, from, arith::MulIOp::create(builder, loc, lhs, rhs));
  };
  OpFoldResult ownRow = math().floorDiv(lane, math().constant(kLanesOfSum));
  OpFoldResult ownColumn =
      math().mul(math().rem(lane, math().constant(kLanesOfSum)), math().constant(kOfRow));
  Value depth = arith::IndexCastOp::create(builder, loc, builder.getI32Type(), math().value(problem.k));
  int64_t columnBlocks = tiling.getWarpColumns() / kMatrixColumns, rows = tiling.getWarpRows() / 8;
  SmallVector<Value> rowZeros, rowSums;
  for (int64_t row = 0; row < rows; ++row) {
    rowZeros.push_back(problem.lhsZero ? lhsZero(math().add(ownRow, math().constant(row * 8))) : Value());
    if (problem.rhsZero) {
      Value sum = addUp(sums[countColumnSums() + row]);
      rowSums.push_back(rowZeros.back() ? subtractProduct(sum, depth, rowZeros.back()) : sum);
    }
  }
  for (int64_t block = 0; block < columnBlocks; ++block) {
    Value columnSums = problem.lhsZero ? addUp(sums[block]) : Value();
    for (int64_t j = 0; j < kOfRow; ++j) {
      OpFoldResult column = math().add(ownColumn, math().constant(j));
      // Column c lies in the registers of lanes 4 c to 4 c + 3.
      Value columnSum = columnSums ? emitRead(builder, loc, columnSums,
                                              math().value(math().mul(column, math().constant(kLanesOfSum))))
                                   : Value();
      Value zero =
          problem.rhsZero ? rhsZero(math().add(column, math().constant(block * kMatrixColumns))) : Value();
      for (int64_t row = 0; row < rows; ++row) {
        Value &product = products[(row / 2 * columnBlocks + block) * kOfBlock + row % 2 * kOfRow + j];
        product = columnSum ? subtractProduct(product, rowZeros[row], columnSum) : product;
        product = zero ? subtractProduct(product, zero, rowSums[row]) : product;
      }
    }
  }
}
