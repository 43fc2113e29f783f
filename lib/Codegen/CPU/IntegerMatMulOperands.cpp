// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Where the operands of a product of bytes lie, and how they are packed where no tile can read them.

#include "IntegerMatMulEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/Matchers.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cpu;

LogicalResult IntegerMatMulEmitter::findLhs() {
  FailureOr<StridedView> view = getStridedView(context, problem.lhs);
  std::optional<int64_t> depth = getConstantIntValue(problem.k);
  if (succeeded(view) && isConstantSize(view->strides.back(), 1) && depth && *depth % kByteGroup == 0) {
    lhs = *view;
    return success();
  }
  evaluatesLhs = true;
  if (blocks) {
    packedDepth = llvm::alignTo(blocks->layout.rows, context.target.lanes(8)); // blocks stand anywhere in it
  }
  lhsScratch = makeScratch(builder, loc, builder.getI8Type(), gridTiling.blockRows * packedDepth);
  return success();
}

LogicalResult IntegerMatMulEmitter::findRhs() {
  if (blocks) {
    return success();
  }
  nn::PanelAttr panel = getPanel(context, problem.rhs);
  if (!panel) {
    rhsScratch = makeScratch(builder, loc, builder.getI8Type(), kPackedDepth * tiling.columns());
    return success();
  }
  panelWidth = panel.getWidth();
  panelRows = panel.getStoredRows(cast<RankedTensorType>(problem.rhs.getType()));
  if (panel.getInterleave() != kByteGroup || !panel.getSums() || panelWidth % tiling.columns() != 0) {
    return problem.root->emitOpError()
           << "cannot read " << panel << " with a tile of " << tiling.columns() << " columns";
  }
  panels = problem.rhs.getDefiningOp<kernel::InputOp>().getBytes();
  if (panelWidth == tiling.columns()) {
    panelElements = math().constant((panelRows + kByteGroup) * panelWidth);
  }
  return success();
}

/// Whether a zero point of the type of `operand` is known to be `value` everywhere.
static bool isKnownZero(Value zero, int64_t value) {
  if (!zero) {
    return value == 0;
  }
  DenseElementsAttr elements;
  return matchPattern(zero, m_Constant(&elements)) && elements.isSplat() &&
         elements.getSplatValue<APInt>().getZExtValue() == uint64_t(value);
}

LogicalResult IntegerMatMulEmitter::findZeros() {
  needsColumnSums = !isKnownZero(problem.lhsZero, 0);
  needsRowSums = !isKnownZero(problem.rhsZero, isRhsSigned ? 0 : 128);
  if (problem.lhsZero) {
    auto type = cast<RankedTensorType>(problem.lhsZero.getType());
    isLhsZeroUniform = type.hasStaticShape() && type.getNumElements() == 1;
  }
  if (needsRowSums) {
    rowSums = makeScratch(builder, loc, builder.getI32Type(), gridTiling.blockRows);
  }
  if (needsColumnSums && !panelWidth && !blocks) {
    columnSums = makeScratch(builder, loc, builder.getI32Type(), tiling.columns());
  }
  if (needsColumnSums && isLhsZeroUniform) {
    corrections = makeScratch(builder, loc, builder.getI32Type(), tiling.columns());
  }
  return success();
}

MatrixRef IntegerMatMulEmitter::getLhs(const MatMulGrid::Task &task, Value firstDepth) {
  if (evaluatesLhs) {
    return {lhsScratch, zeroIndex(), math().constant(packedDepth), math().constant(1)};
  }
  OpFoldResult rowStride = *std::prev(lhs.strides.end(), 2);
  OpFoldResult offset = getBatchOffset(builder, loc, lhs, task.batchIndex);
  offset = math().add(math().add(offset, math().mul(task.firstRow, rowStride)), firstDepth);
  return {lhs.base, math().value(offset), rowStride, math().constant(1)};
}

MatrixRef IntegerMatMulEmitter::getRhs(const MatMulGrid::Task &task, Value firstDepth) {
  OpFoldResult one = math().constant(1);
  if (!panelWidth) {
    return {rhsScratch, zeroIndex(), math().constant(kByteGroup * tiling.columns()), one};
  }
  // Behind the rows stand the sums of the columns, four bytes each.
  OpFoldResult width = math().constant(panelWidth);
  OpFoldResult offset = math().mul(math().floorDiv(task.firstColumn, width),
                                   math().constant((panelRows + kByteGroup) * panelWidth));
  offset = math().add(offset, math().mul(math().rem(task.firstColumn, width), math().constant(kByteGroup)));
  offset = math().add(offset, math().mul(firstDepth, width));
  return {panels, math().value(offset), math().constant(kByteGroup * panelWidth), one};
}

void IntegerMatMulEmitter::packLhs(const MatMulGrid::Task &task, Value firstDepth, OpFoldResult depth) {
  int64_t lanes = context.target.lanes(8);
  auto maskType = VectorType::get({lanes}, builder.getI1Type());
  emitLoop(math().constant(0), task.rows, 1, [&](Value row) {
    emitLoop(math().constant(0), depth, lanes, [&](Value k) {
      Value mask = vector::CreateMaskOp::create(builder, loc, maskType, math().value(math().sub(depth, k)));
      Value bytes = evaluate(problem.lhs, lhsDims, task, math().add(task.firstRow, row),
                             math().add(firstDepth, k), lanes, mask);
      OpFoldResult place = math().add(math().mul(row, math().constant(packedDepth)), k);
      vector::StoreOp::create(builder, loc, bytes, lhsScratch, ValueRange{math().value(place)});
    });
  });
}

void IntegerMatMulEmitter::packRhs(const MatMulGrid::Task &task, Value firstDepth, OpFoldResult depth) {
  int64_t lanes = tiling.lanes;
  auto maskType = VectorType::get({lanes}, builder.getI1Type());
  auto byteType = VectorType::get({lanes}, builder.getI8Type());
  Value none = arith::ConstantOp::create(builder, loc, builder.getZeroAttr(maskType));
  Value offset = arith::ConstantOp::create(
      builder, loc, DenseElementsAttr::get(byteType, builder.getI8IntegerAttr(-128).getValue()));
  OpFoldResult last = math().sub(depth, math().constant(1));
  emitLoop(math().constant(0), depth, kByteGroup, [&](Value k) {
    emitLoop(math().constant(0), math().constant(tiling.columns()), lanes, [&](Value column) {
      OpFoldResult firstColumn = math().add(task.firstColumn, column);
      Value mask = vector::CreateMaskOp::create(
          builder, loc, maskType,
          math().value(math().max(math().sub(problem.n, firstColumn), math().constant(0))));
      SmallVector<Value> rows;
      for (int64_t i = 0; i < kByteGroup; ++i) {
        OpFoldResult row = math().add(k, math().constant(i));
        Value exists = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::sle, math().value(row),
                                             math().value(last));
        Value own = arith::SelectOp::create(builder, loc, exists, mask, none);
        OpFoldResult within = math().add(firstDepth, math().min(row, last));
        Value bytes = evaluate(problem.rhs, rhsDims, task, within, firstColumn, lanes, own);
        if (!isRhsSigned) {
          Value moved = arith::XOrIOp::create(builder, loc, bytes, offset);
          bytes = arith::SelectOp::create(builder, loc, own, moved, bytes);
        }
        rows.push_back(bytes);
      }
      Value even = vector::InterleaveOp::create(builder, loc, rows[0], rows[2]);
      Value odd = vector::InterleaveOp::create(builder, loc, rows[1], rows[3]);
      Value all = vector::InterleaveOp::create(builder, loc, even, odd);
      OpFoldResult place = math().add(math().mul(k, math().constant(tiling.columns())),
                                      math().mul(column, math().constant(kByteGroup)));
      vector::StoreOp::create(builder, loc, all, rhsScratch, ValueRange{math().value(place)});
    });
  });
}
