// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Where the operands of a product of floats lie, and how they are packed where no tile can read them.

#include "MatMulEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cpu;

/// How much of the reduced dimension is packed at a time: of both operands as much as pairs and matrix
/// registers divide.
static constexpr int64_t kPackedDepth = 256;

/// How much of it is decoded at a time: with as much of the rows of a task it stays in the first-level cache.
static constexpr int64_t kDecodedDepth = 128;

static Type getElement(Value tensor) { return cast<RankedTensorType>(tensor.getType()).getElementType(); }

Factors cpu::getFactors(const MatMulProblem &problem) {
  return getElement(problem.lhs).isBF16() ? Factors::Pairs : Factors::Floats;
}

LogicalResult MatMulEmitter::findLhs() {
  FailureOr<StridedView> view = getStridedView(context, problem.lhs);
  // Pairs are read as one word.
  if (succeeded(view) && (factors != Factors::Pairs || isConstantSize(view->strides.back(), 1))) {
    lhs = *view;
    return success();
  }
  evaluatesLhs = true;
  lhsScratch = makeScratch(builder, loc, getPackedType(problem.lhs), gridTiling.blockRows * kPackedDepth);
  return success();
}

LogicalResult MatMulEmitter::findPanels(nn::PanelAttr panel) {
  panelWidth = panel.getWidth();
  if (panel.getInterleave() != getGroup(factors) || panelWidth % tiling.columns() != 0 ||
      !getConstantIntValue(problem.n)) {
    return problem.root->emitOpError()
           << "cannot read panels of " << panelWidth << " x " << panel.getInterleave() << " with a tile of "
           << tiling.columns() << " columns";
  }
  OpFoldResult group = math().constant(getGroup(factors)), width = math().constant(panelWidth);
  panelRows = math().mul(math().ceilDiv(problem.k, group), group);
  if (panelWidth == tiling.columns()) {
    panelElements = math().mul(panelRows, width);
  }
  Value size = math().value(math().mul(panelRows, math().mul(math().ceilDiv(problem.n, width), width)));
  auto type = MemRefType::get({ShapedType::kDynamic}, getElement(problem.rhs));
  Value bytes = problem.rhs.getDefiningOp<kernel::InputOp>().getBytes();
  rhs.base = memref::ViewOp::create(builder, loc, type, bytes, zeroIndex(), ValueRange{size});
  return success();
}

LogicalResult MatMulEmitter::findRhs() {
  if ((packed = PackedPanels::find(context, problem))) {
    packs = true;
    return success();
  }
  if (nn::PanelAttr panel = getPanel(context, problem.rhs)) {
    return findPanels(panel);
  }
  FailureOr<StridedView> view = getStridedView(context, problem.rhs);
  if (failed(view) || factors == Factors::Pairs) {
    packs = evaluatesRhs = true;
    return success();
  }
  rhs = *view;
  packs = !isConstantSize(rhs.strides.back(), 1);
  readsInPlace = !packs;
  return success();
}

/// Packed columns must fit on the stack, and panels into the second-level cache.
void MatMulEmitter::chooseDepth() {
  int64_t limit = packed ? kDecodedDepth : packs || evaluatesLhs ? kPackedDepth : tiling.blockDepth;
  std::optional<int64_t> depth = getConstantIntValue(problem.k);
  blockDepth = math().constant(limit);
  isBlocked = !depth || *depth > limit;
  if (depth && !isBlocked) {
    blockDepth = problem.k;
  } else if (depth) {
    // Equal blocks of whole unrolled steps, if there are such of at least half the size.
    int64_t blocks = llvm::divideCeil(*depth, limit);
    int64_t step = packed ? packed->getUnitRows() : 4 * getGroup(factors);
    for (int64_t count = blocks; count <= 2 * blocks; ++count) {
      if (*depth % (step * count) == 0) {
        blockDepth = math().constant(*depth / count);
        break;
      }
    }
  }
  if (packs) {
    int64_t rows = llvm::alignTo(*getConstantIntValue(blockDepth), 16);
    packScratch = makeScratch(builder, loc, getPackedType(problem.rhs), rows * tiling.columns());
  }
}

MatrixRef MatMulEmitter::getLhs(const MatMulGrid::Task &task, Value firstDepth, OpFoldResult depth) {
  if (evaluatesLhs) {
    packLhs(task, firstDepth, depth);
    return {lhsScratch, zeroIndex(), math().constant(kPackedDepth), math().constant(1)};
  }
  OpFoldResult rowStride = *std::prev(lhs.strides.end(), 2), columnStride = lhs.strides.back();
  OpFoldResult offset = getBatchOffset(builder, loc, lhs, task.batchIndex);
  offset = math().add(offset, math().mul(task.firstRow, rowStride));
  offset = math().add(offset, math().mul(firstDepth, columnStride));
  return {lhs.base, math().value(offset), rowStride, columnStride};
}

MatrixRef MatMulEmitter::getRhs(const MatMulGrid::Task &task, Value firstDepth, OpFoldResult depth) {
  OpFoldResult one = math().constant(1), group = math().constant(getGroup(factors));
  if (panelWidth) {
    OpFoldResult width = math().constant(panelWidth);
    OpFoldResult panel = math().mul(math().floorDiv(task.firstColumn, width), math().mul(panelRows, width));
    OpFoldResult offset = math().add(panel, math().mul(math().rem(task.firstColumn, width), group));
    offset = math().add(offset, math().mul(firstDepth, width));
    return {rhs.base, math().value(offset), math().mul(width, group), one};
  }
  OpFoldResult packedStride = math().mul(math().constant(tiling.columns()), group);
  MatrixRef packedRows{packScratch, zeroIndex(), packedStride, one};
  if (packed) {
    packed->decode(builder, loc, tiling, task.firstColumn, firstDepth, depth, packScratch);
    return packedRows;
  }
  if (evaluatesRhs) {
    packRhs(task, firstDepth, depth);
    return packedRows;
  }
  size_t rank = rhs.strides.size();
  OpFoldResult rowStride = rhs.strides[rank - 2], columnStride = rhs.strides[rank - 1];
  OpFoldResult offset =
      math().add(getBatchOffset(builder, loc, rhs, task.batchIndex), math().mul(firstDepth, rowStride));
  offset = math().add(offset, math().mul(task.firstColumn, columnStride));
  MatrixRef source{rhs.base, math().value(offset), rowStride, columnStride};
  if (!packs) {
    return source;
  }
  if (isConstantSize(rowStride, 1)) {
    packTransposed(task, source, depth);
  } else {
    packElements(task, source, depth);
  }
  return packedRows;
}

void MatMulEmitter::packLhs(const MatMulGrid::Task &task, Value firstDepth, OpFoldResult depth) {
  auto maskType = VectorType::get({tiling.lanes}, builder.getI1Type());
  emitLoop(math().constant(0), task.rows, 1, [&](Value row) {
    emitLoop(math().constant(0), depth, tiling.lanes, [&](Value k) {
      Value mask = vector::CreateMaskOp::create(builder, loc, maskType, math().value(math().sub(depth, k)));
      Value values = evaluate(problem.lhs, lhsDims, task, math().add(task.firstRow, row),
                              math().add(firstDepth, k), tiling.lanes, mask);
      OpFoldResult place = math().add(math().mul(row, math().constant(kPackedDepth)), k);
      vector::StoreOp::create(builder, loc, values, lhsScratch, ValueRange{math().value(place)});
    });
  });
}

void MatMulEmitter::packRhs(const MatMulGrid::Task &task, Value firstDepth, OpFoldResult depth) {
  int64_t group = getGroup(factors);
  auto maskType = VectorType::get({tiling.lanes}, builder.getI1Type());
  OpFoldResult columns =
      math().min(math().constant(tiling.columns()), math().sub(problem.n, task.firstColumn));
  emitLoop(math().constant(0), depth, group, [&](Value k) {
    emitLoop(math().constant(0), columns, tiling.lanes, [&](Value column) {
      OpFoldResult firstColumn = math().add(task.firstColumn, column);
      Value mask =
          vector::CreateMaskOp::create(builder, loc, maskType, math().value(math().sub(columns, column)));
      Value values =
          evaluate(problem.rhs, rhsDims, task, math().add(firstDepth, k), firstColumn, tiling.lanes, mask);
      if (group == 2) {
        OpFoldResult next = math().add(k, math().constant(1));
        Value exists = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ult, math().value(next),
                                             math().value(depth));
        Value others = emitIfExists(builder, loc, exists, values.getType(), [&] {
          return evaluate(problem.rhs, rhsDims, task, math().add(firstDepth, next), firstColumn, tiling.lanes,
                          mask);
        });
        values = vector::InterleaveOp::create(builder, loc, values, others);
      }
      OpFoldResult place = math().add(math().mul(k, math().constant(tiling.columns())),
                                      math().mul(column, math().constant(group)));
      vector::StoreOp::create(builder, loc, values, packScratch, ValueRange{math().value(place)});
    });
  });
}

/// Columns are contiguous: transposes square blocks in registers.
void MatMulEmitter::packTransposed(const MatMulGrid::Task &task, const MatrixRef &source,
                                   OpFoldResult depth) {
  int64_t lanes = tiling.lanes;
  OpFoldResult lastColumn = math().sub(math().sub(problem.n, task.firstColumn), math().constant(1));
  auto maskType = VectorType::get({lanes}, builder.getI1Type());
  Value zero = arith::ConstantOp::create(builder, loc, builder.getZeroAttr(sumType));
  emitLoop(math().constant(0), depth, lanes, [&](Value k) {
    Value mask = vector::CreateMaskOp::create(builder, loc, maskType, math().value(math().sub(depth, k)));
    emitLoop(math().constant(0), math().constant(tiling.columns()), lanes, [&](Value firstColumn) {
      SmallVector<Value> columns;
      for (int64_t lane = 0; lane < lanes; ++lane) {
        // Columns that do not exist repeat the last one: nothing uses them.
        OpFoldResult column = math().min(math().add(firstColumn, math().constant(lane)), lastColumn);
        OpFoldResult index =
            math().add(math().add(source.offset, k), math().mul(column, source.columnStride));
        columns.push_back(vector::MaskedLoadOp::create(builder, loc, sumType, source.base,
                                                       ValueRange{math().value(index)}, mask, zero));
      }
      for (auto [row, value] : llvm::enumerate(emitTranspose(builder, loc, columns))) {
        OpFoldResult index =
            math().mul(math().add(k, math().constant(row)), math().constant(tiling.columns()));
        vector::StoreOp::create(builder, loc, value, packScratch,
                                ValueRange{math().value(math().add(index, firstColumn))});
      }
    });
  });
}

void MatMulEmitter::packElements(const MatMulGrid::Task &task, const MatrixRef &source, OpFoldResult depth) {
  OpFoldResult lastColumn = math().sub(math().sub(problem.n, task.firstColumn), math().constant(1));
  emitLoop(math().constant(0), math().constant(tiling.columns()), 1, [&](Value column) {
    OpFoldResult from =
        math().add(source.offset, math().mul(math().min(column, lastColumn), source.columnStride));
    emitLoop(math().constant(0), depth, 1, [&](Value k) {
      Value element =
          memref::LoadOp::create(builder, loc, source.base,
                                 ValueRange{math().value(math().add(from, math().mul(k, source.rowStride)))});
      OpFoldResult to = math().add(math().mul(k, math().constant(tiling.columns())), column);
      memref::StoreOp::create(builder, loc, element, packScratch, ValueRange{math().value(to)});
    });
  });
}
