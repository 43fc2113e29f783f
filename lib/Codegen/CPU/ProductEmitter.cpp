// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "ProductEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cpu;

ProductEmitter::ProductEmitter(EmitContext &context, MatMulProblem &problem, const MatMulTiling &tiling,
                               const MatMulTiling &gridTiling, int64_t grainOperations, int64_t elementBytes,
                               Type sumElement)
    : LoopEmitter(context.builder, problem.root->getLoc()), context(context), problem(problem),
      tiling(tiling), gridTiling(gridTiling),
      grid(context, problem, gridTiling, grainOperations, elementBytes),
      sumType(VectorType::get({tiling.lanes}, sumElement)), elements(context) {}

//===----------------------------------------------------------------------===//
// Operands
//===----------------------------------------------------------------------===//

LogicalResult ProductEmitter::findSizes() {
  FailureOr<ArrayRef<OpFoldResult>> dims = context.shapes.getDims(problem.lhs);
  if (failed(dims)) {
    return problem.root->emitOpError("has a left operand of unknown shape");
  }
  lhsDims.assign(dims->begin(), dims->end());
  dims = context.shapes.getDims(problem.rhs);
  if (failed(dims)) {
    return problem.root->emitOpError("has a right operand of unknown shape");
  }
  rhsDims.assign(dims->begin(), dims->end());
  return success();
}

nn::PanelAttr cpu::getPanel(EmitContext &context, Value tensor) {
  auto input = tensor.getDefiningOp<kernel::InputOp>();
  auto argument = input ? dyn_cast<BlockArgument>(input.getBytes()) : BlockArgument();
  return argument ? context.kernel.getArgAttrOfType<nn::PanelAttr>(argument.getArgNumber(),
                                                                   kernel::KernelDialect::kPanelAttr)
                  : nn::PanelAttr();
}

Value ProductEmitter::evaluate(Value tensor, ArrayRef<OpFoldResult> dims, const MatMulGrid::Task &task,
                               OpFoldResult row, OpFoldResult column, int64_t lanes, Value mask) {
  SmallVector<OpFoldResult> index = broadcastBatchIndex(builder, loc, dims.drop_back(2), task.batchIndex);
  if (!problem.flattened.empty() && tensor == problem.lhs) {
    index = math().delinearize(row, problem.flattened);
  } else {
    index.push_back(row);
  }
  index.push_back(column);
  elements.reset();
  auto type = VectorType::get({lanes}, getPackedType(tensor));
  Value zero = arith::ConstantOp::create(builder, loc, builder.getZeroAttr(type));
  FailureOr<Value> value = elements.evaluate(tensor, Tile{math().values(index), lanes, mask});
  if (failed(value)) {
    status = failure();
    return zero;
  }
  if (value->getType() != type) {
    return vector::BitCastOp::create(builder, loc, type, *value);
  }
  return arith::SelectOp::create(builder, loc, mask, *value, zero);
}

Value cpu::emitIfExists(OpBuilder &builder, Location loc, Value exists, Type type,
                        llvm::function_ref<Value()> body) {
  auto branch = scf::IfOp::create(
      builder, loc, exists, [&](OpBuilder &, Location) { scf::YieldOp::create(builder, loc, body()); },
      [&](OpBuilder &, Location) {
        Value zero = arith::ConstantOp::create(builder, loc, builder.getZeroAttr(type));
        scf::YieldOp::create(builder, loc, zero);
      });
  return branch.getResult(0);
}

Type cpu::getPackedType(Value tensor) {
  Type element = getRegisterType(cast<RankedTensorType>(tensor.getType()).getElementType());
  return element.isBF16() ? IntegerType::get(tensor.getContext(), 16) : element;
}

//===----------------------------------------------------------------------===//
// Tiles
//===----------------------------------------------------------------------===//

LogicalResult ProductEmitter::emitTasks(std::optional<MatrixTiles::Element> element) {
  scratch = makeScratch(builder, loc, sumType.getElementType(), gridTiling.blockRows * tiling.columns());
  std::optional<int64_t> rows = getConstantIntValue(problem.m), depth = getConstantIntValue(problem.k);
  bool areFew = (rows && *rows <= fewRows) || (element && depth && *depth < MatrixTiles::getDepth(*element));
  if (element && !areFew) {
    matrices.emplace(builder, loc, *element);
  }
  LogicalResult result = success();
  emitLoop(context.begin, context.end, 1, [&](Value number) {
    MatMulGrid::Task task = grid.decode(builder, loc, problem, gridTiling, number);
    result = emitColumnTile(builder, loc, tiling, problem.n, task.firstColumn,
                            [&](const ColumnTile &columns) { return emitColumns(task, columns); });
  });
  if (matrices) {
    matrices->release();
  }
  return failed(status) ? status : result;
}

void ProductEmitter::emitTiles(const MatMulGrid::Task &task, const ColumnTile &columns,
                               const MatrixRef &lhsRows, const MatrixRef &rhsRows, OpFoldResult depth,
                               OpFoldResult padded, int64_t group, Value isFirst) {
  if (!matrices) {
    emitVectorTiles(task, columns, lhsRows, rhsRows, padded, isFirst);
    return;
  }
  // Few rows, and what is left of the depth, are done by vectors.
  OpFoldResult whole = math().constant(matrices->depth());
  OpFoldResult main = math().mul(math().floorDiv(depth, whole), whole);
  auto withMatrices = [&] {
    emitMatrixTiles(task, columns, lhsRows, rhsRows, main, isFirst);
    OpFoldResult rest = math().sub(padded, main);
    if (isConstantSize(rest, 0)) {
      return;
    }
    MatrixRef lhsRest = lhsRows, rhsRest = rhsRows;
    lhsRest.offset = math().value(math().add(lhsRows.offset, main));
    OpFoldResult groups = math().floorDiv(main, math().constant(group));
    rhsRest.offset = math().value(math().add(rhsRows.offset, math().mul(groups, rhsRows.rowStride)));
    Value never = arith::ConstantOp::create(builder, loc, builder.getBoolAttr(false));
    emitVectorTiles(task, columns, lhsRest, rhsRest, rest, never);
  };
  auto isMore = [&](OpFoldResult size, int64_t limit) {
    return arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ugt, math().value(size),
                                 math().value(math().constant(limit)));
  };
  Value useMatrices;
  if (fewRows > 0) {
    useMatrices = isMore(task.rows, fewRows);
  }
  if (!getConstantIntValue(depth)) {
    Value isDeep = isMore(depth, matrices->depth() - 1);
    useMatrices = useMatrices ? arith::AndIOp::create(builder, loc, useMatrices, isDeep).getResult() : isDeep;
  }
  if (!useMatrices) {
    withMatrices();
    return;
  }
  emitIf(useMatrices, withMatrices,
         [&] { emitVectorTiles(task, columns, lhsRows, rhsRows, padded, isFirst); });
}

void ProductEmitter::emitMatrixTiles(const MatMulGrid::Task &task, const ColumnTile &columns,
                                     const MatrixRef &lhsRows, const MatrixRef &rhsRows, OpFoldResult depth,
                                     Value isFirst) {
  int64_t height = 2 * MatrixTiles::kRows;
  int64_t vectors = llvm::divideCeil(columns.vectors * tiling.lanes, MatrixTiles::kColumns);
  OpFoldResult width = math().constant(tiling.columns()), half = math().constant(MatrixTiles::kRows);
  MatrixRef sums{scratch, zeroIndex(), width, math().constant(1)};
  // What the first tile of the next panel reads would otherwise come from memory while nothing computes: the
  // tiles of a task fetch equal parts of it.
  constexpr int64_t kLineBytes = 64;
  int64_t panelLines = MatrixTiles::kDepthBytes * tiling.columns() / kLineBytes;
  OpFoldResult lines = math().constant(0);
  if (panelElements) {
    OpFoldResult tiles = math().max(math().ceilDiv(task.rows, math().constant(height)), math().constant(1));
    lines = math().ceilDiv(math().constant(panelLines / MatrixTiles::kFetchedLines), tiles);
    lines = math().mul(lines, math().constant(MatrixTiles::kFetchedLines));
  }
  auto getPrefetch = [&](OpFoldResult row) -> std::optional<MatrixTiles::Prefetch> {
    if (!panelElements) {
      return std::nullopt;
    }
    OpFoldResult number = math().floorDiv(row, math().constant(height));
    OpFoldResult share = math().rem(math().mul(number, lines), math().constant(panelLines));
    int64_t lineElements = kLineBytes * matrices->depth() / MatrixTiles::kDepthBytes;
    OpFoldResult ahead = math().add(*panelElements, math().mul(share, math().constant(lineElements)));
    return MatrixTiles::Prefetch{ahead, lines};
  };
  auto emitAt = [&](OpFoldResult row, OpFoldResult rows) {
    auto rowsFrom = [&](OpFoldResult first, OpFoldResult count) {
      OpFoldResult offset = math().add(lhsRows.offset, math().mul(first, lhsRows.rowStride));
      return MatrixTiles::Rows{offset, math().mul(first, width), count};
    };
    auto emitTile = [&](ArrayRef<MatrixTiles::Rows> parts) {
      MatrixTiles::Tile tile{lhsRows, sums, {}, vectors};
      tile.rows.assign(parts.begin(), parts.end());
      matrices->begin(tile, isFirst);
      matrices->multiply(tile, math().constant(0), rhsRows, depth, getPrefetch(row));
      matrices->end(tile);
    };
    auto emitBoth = [&] {
      emitTile({rowsFrom(row, half), rowsFrom(math().add(row, half), math().sub(rows, half))});
    };
    auto emitOne = [&] { emitTile(rowsFrom(row, rows)); };
    if (std::optional<int64_t> count = getConstantIntValue(rows)) {
      return *count > MatrixTiles::kRows ? emitBoth() : emitOne();
    }
    Value isTall = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ugt, math().value(rows),
                                         math().value(half));
    emitIf(isTall, emitBoth, emitOne);
  };
  OpFoldResult full =
      math().mul(math().floorDiv(task.rows, math().constant(height)), math().constant(height));
  emitLoop(math().constant(0), full, height, [&](Value row) { emitAt(row, math().constant(height)); });
  OpFoldResult rest = math().sub(task.rows, full);
  if (isConstantSize(rest, 0)) {
    return;
  }
  Value isSome =
      arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ne, math().value(rest), zeroIndex());
  emitIf(isSome, [&] {
    if (isFirst) {
      emitAt(full, rest);
      return;
    }
    // Rows of the last full tile are computed again: another height takes longer.
    Value isAfterFull =
        arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ne, math().value(full), zeroIndex());
    emitIf(
        isAfterFull, [&] { emitAt(math().sub(task.rows, math().constant(height)), math().constant(height)); },
        [&] { emitAt(math().constant(0), rest); });
  });
}

void ProductEmitter::emitHeights(OpFoldResult rows, llvm::function_ref<void(OpFoldResult done)> full,
                                 llvm::function_ref<void(int64_t height, Value row)> rest) {
  OpFoldResult height = math().constant(tiling.rows);
  OpFoldResult done = math().mul(math().floorDiv(rows, height), height);
  full(done);
  SmallVector<int64_t> heights = llvm::to_vector(llvm::seq<int64_t>(1, tiling.rows));
  Value left = math().value(math().sub(rows, done));
  auto choose = scf::IndexSwitchOp::create(builder, loc, TypeRange(), left, heights, heights.size());
  OpBuilder::InsertionGuard guard(builder);
  for (auto [height, region] : llvm::zip_equal(heights, choose.getCaseRegions())) {
    builder.createBlock(&region);
    rest(height, math().value(done));
    scf::YieldOp::create(builder, loc);
  }
  builder.createBlock(&choose.getDefaultRegion());
  scf::YieldOp::create(builder, loc);
}

SmallVector<Value> ProductEmitter::getPlaces(const RegisterTile &tile, OpFoldResult row) {
  SmallVector<Value> places;
  OpFoldResult place = math().mul(row, math().constant(tiling.columns()));
  for (int64_t i = 0; i < tile.sums(); ++i) {
    int64_t ahead = i / tile.vectors * tiling.columns() + i % tile.vectors * tiling.lanes;
    places.push_back(math().value(math().add(place, math().constant(ahead))));
  }
  return places;
}

SmallVector<Value> ProductEmitter::beginSums(ArrayRef<Value> places, Value isFirst) {
  SmallVector<Value> sums;
  if (!isFirst) {
    return sums;
  }
  Value zero = arith::ConstantOp::create(builder, loc, builder.getZeroAttr(sumType));
  for (Value place : places) {
    Value before = vector::LoadOp::create(builder, loc, sumType, scratch, ValueRange{place});
    sums.push_back(arith::SelectOp::create(builder, loc, isFirst, zero, before));
  }
  return sums;
}

void ProductEmitter::storeSums(ArrayRef<Value> sums, ArrayRef<Value> places) {
  for (auto [sum, place] : llvm::zip_equal(sums, places)) {
    vector::StoreOp::create(builder, loc, sum, scratch, ValueRange{place});
  }
}

//===----------------------------------------------------------------------===//
// Epilogue
//===----------------------------------------------------------------------===//

void ProductEmitter::finishTile(const MatMulGrid::Task &task, const ColumnTile &columns,
                                const RegisterTile &tile, Value row, ArrayRef<Value> sums,
                                FinishSums finish) {
  StridedView output = getOutputView(context, problem.output);
  for (int64_t i = 0; i < tile.rows; ++i) {
    SmallVector<Value> index = resultIndex(task, math().add(row, math().constant(i)));
    auto getSums = [&](int64_t vector) { return sums[i * tile.vectors + vector]; };
    if (failed(emitRowEpilogue(builder, loc, elements, problem.result, problem.output, output, getSums, index,
                               columns, tiling.lanes, finish))) {
      status = failure();
    }
  }
}

SmallVector<Value> ProductEmitter::resultIndex(const MatMulGrid::Task &task, OpFoldResult row) {
  return problem.resultIndex(builder, loc, task.batchIndex, math().value(math().add(task.firstRow, row)),
                             math().value(task.firstColumn));
}

LogicalResult ProductEmitter::emitRows(const MatMulGrid::Task &task, const ColumnTile &columns,
                                       FinishRow finish) {
  StridedView output = getOutputView(context, problem.output);
  LogicalResult result = success();
  emitLoop(math().constant(0), task.rows, 1, [&](Value row) {
    auto finishTile = [&](Value sums, const Tile &tile, int64_t vector) -> FailureOr<Value> {
      return finish ? finish(row, sums, tile, vector) : FailureOr<Value>(sums);
    };
    OpFoldResult place = math().mul(row, math().constant(tiling.columns()));
    result = emitRowEpilogue(builder, loc, elements, problem.result, problem.output, output, scratch, place,
                             resultIndex(task, row), columns, tiling.lanes, finishTile);
  });
  return result;
}
