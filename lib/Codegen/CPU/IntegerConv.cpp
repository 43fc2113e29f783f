// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Convolutions of bytes that mix channels, as products: see DenseConv.cpp and IntegerMatMul.cpp. What lies
/// outside of the input counts as its zero point, so the correction of a zero point is the same everywhere:
/// the sum of a filter. The zero point of the filters is that of their signed form, 0.

#include "ColumnTile.h"
#include "ConvSource.h"
#include "IntegerTile.h"
#include "MatrixTiles.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cpu;

namespace {

Type getElement(Value tensor) { return cast<RankedTensorType>(tensor.getType()).getElementType(); }

int64_t getGrainOperations(const TargetSpec &target) {
  return MatrixTiles::isSupported(target, MatrixTiles::Element::SignedByte) ? 8000000 : 2000000;
}

class IntegerConvEmitter {
public:
  IntegerConvEmitter(EmitContext &context, ConvProblem &problem)
      : context(context), builder(context.builder), loc(problem.op.getLoc()), problem(problem),
        tiling(chooseIntegerTiling(context.target)),
        grid(context, problem, tiling, /*joined=*/1, getGrainOperations(context.target)),
        source(context, problem, grid), elements(context),
        sumType(VectorType::get({tiling.lanes}, builder.getI32Type())),
        isSigned(!getElement(problem.op.getX()).isUnsignedInteger()),
        isFilterSigned(!getElement(problem.op.getFilter()).isUnsignedInteger()) {}

  LogicalResult emit();

private:
  IndexMath math() { return {builder, loc}; }
  void emitLoop(OpFoldResult begin, OpFoldResult end, int64_t step, llvm::function_ref<void(Value)> body);
  LogicalResult findFilter();
  LogicalResult findZero();
  LogicalResult emitTask(Value number, Value &copied);
  /// The filters of a task from their first row on, in panels.
  MatrixRef getFilters(const ConvGrid::Task &task);
  void emitVectorTiles(const ConvGrid::Task &task, const WindowRef &windows, const ColumnTile &columns);
  void emitMatrixTile(const ConvGrid::Task &task, const WindowRef &windows, const ColumnTile &columns,
                      ArrayRef<ConvGrid::Pixels> rows);
  /// Calls `body` for each run of places in the window, from dimension `dim` on, with what lies behind its
  /// start in the input and in the filters, and the sums so far; returns those after all.
  using RunBody = llvm::function_ref<SmallVector<Value>(OpFoldResult ahead, const MatrixRef &rhs,
                                                        int64_t depth, SmallVector<Value> sums)>;
  SmallVector<Value> emitWindow(const WindowRef &windows, OpFoldResult ahead, const MatrixRef &rhs,
                                size_t dim, SmallVector<Value> sums, RunBody body);
  /// The same, element by element, with filters that are not in panels.
  LogicalResult emitPlain(const ConvGrid::Task &task, const WindowRef &windows, const ColumnTile &columns);
  LogicalResult emitEpilogue(const ConvGrid::Task &task, const ColumnTile &columns);
  void emitCorrections(const ConvGrid::Task &task);

  /// The channels that a filter reduces in one place of the window, and how many bytes they take.
  int64_t depth() const { return problem.groups == 1 ? problem.storedChannels : problem.channels; }
  int64_t rowsPerPlace(size_t dim) const {
    int64_t rows = depth();
    for (size_t inner = dim + 1; inner < problem.dims.size(); ++inner) {
      rows *= problem.dims[inner].window;
    }
    return rows;
  }
  bool isOneRun(const WindowRef &windows) const {
    return problem.dims[2].dilation == 1 && problem.groups == 1 &&
           isConstantSize(windows.strides[2], depth());
  }
  OpFoldResult pixelOffset(const WindowRef &windows, OpFoldResult row, OpFoldResult column);
  OpFoldResult sumsOffset(const ConvGrid::Task &task, OpFoldResult row, OpFoldResult column);
  Value extend(Value bytes, bool isSigned);

  EmitContext &context;
  OpBuilder &builder;
  Location loc;
  ConvProblem &problem;
  MatMulTiling tiling;
  ConvGrid grid;
  ConvSource source;
  ElementEmitter elements;
  VectorType sumType;
  bool isSigned, isFilterSigned;
  nn::PanelAttr panel;
  std::optional<MatrixTiles> matrices;
  Value filter, scratch, corrections;
  /// The zero point of the input as i32; null if it is 0.
  Value zero;
};

} // namespace

void IntegerConvEmitter::emitLoop(OpFoldResult begin, OpFoldResult end, int64_t step,
                                  llvm::function_ref<void(Value)> body) {
  auto loop = scf::ForOp::create(builder, loc, math().value(begin), math().value(end),
                                 math().value(math().constant(step)));
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToStart(loop.getBody());
  body(loop.getInductionVar());
}

Value IntegerConvEmitter::extend(Value bytes, bool isSigned) {
  Type type = builder.getI32Type();
  if (auto vector = dyn_cast<VectorType>(bytes.getType())) {
    type = vector.clone(type);
  }
  return isSigned ? Value(arith::ExtSIOp::create(builder, loc, type, bytes))
                  : Value(arith::ExtUIOp::create(builder, loc, type, bytes));
}

LogicalResult IntegerConvEmitter::findFilter() {
  auto input = problem.op.getFilter().getDefiningOp<kernel::InputOp>();
  auto argument = input ? dyn_cast<BlockArgument>(input.getBytes()) : BlockArgument();
  panel = argument ? context.kernel.getArgAttrOfType<nn::PanelAttr>(argument.getArgNumber(),
                                                                    kernel::KernelDialect::kPanelAttr)
                   : nn::PanelAttr();
  if (!panel) {
    return success();
  }
  if (panel.getInterleave() != kByteGroup || !panel.getSums() || panel.getWidth() % tiling.columns() != 0 ||
      panel.getGroups() != problem.groups) {
    return problem.op->emitOpError() << "cannot read " << panel << " with a tile of " << tiling.columns()
                                     << " columns and " << problem.groups << " groups";
  }
  filter = input.getBytes();
  return success();
}

LogicalResult IntegerConvEmitter::findZero() {
  if (!problem.op.getZero()) {
    return success();
  }
  FailureOr<Value> byte = elements.evaluate(problem.op.getZero(), Tile{});
  if (failed(byte)) {
    return failure();
  }
  elements.reset();
  source.setBorder(*byte);
  zero = extend(*byte, isSigned);
  corrections = makeScratch(builder, loc, builder.getI32Type(), tiling.columns());
  return success();
}

LogicalResult IntegerConvEmitter::emit() {
  if (failed(findFilter()) || failed(findZero())) {
    return failure();
  }
  scratch = makeScratch(builder, loc, builder.getI32Type(), grid.pixels * tiling.columns());
  auto element = isSigned ? MatrixTiles::Element::SignedByte : MatrixTiles::Element::UnsignedByte;
  if (panel && MatrixTiles::isSupported(context.target, element) && depth() % MatrixTiles::kDepthBytes == 0) {
    matrices.emplace(builder, loc, element);
  }
  Value none = math().value(math().constant(-1));
  auto loop = scf::ForOp::create(builder, loc, context.begin, context.end, math().value(math().constant(1)),
                                 ValueRange{none});
  LogicalResult result = success();
  {
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointToStart(loop.getBody());
    Value copied = loop.getRegionIterArg(0);
    result = emitTask(loop.getInductionVar(), copied);
    scf::YieldOp::create(builder, loc, copied);
  }
  if (matrices) {
    matrices->release();
  }
  return result;
}

LogicalResult IntegerConvEmitter::emitTask(Value number, Value &copied) {
  ConvGrid::Task task = grid.decode(builder, loc, problem, tiling, number);
  FailureOr<WindowRef> windows = source.get(task, copied);
  if (failed(windows)) {
    return failure();
  }
  windows->offset = math().add(windows->offset, math().mul(task.matrix, math().constant(depth())));
  return emitColumnTile(builder, loc, tiling, math().constant(problem.filters), task.firstFilter,
                        [&](const ColumnTile &columns) {
                          if (!panel) {
                            if (failed(emitPlain(task, *windows, columns))) {
                              return failure();
                            }
                          } else if (matrices) {
                            ConvGrid::emitMatrixTiles(builder, loc, task.block,
                                                      [&](ArrayRef<ConvGrid::Pixels> rows) {
                                                        emitMatrixTile(task, *windows, columns, rows);
                                                      });
                          } else {
                            emitVectorTiles(task, *windows, columns);
                          }
                          return emitEpilogue(task, columns);
                        });
}

MatrixRef IntegerConvEmitter::getFilters(const ConvGrid::Task &task) {
  int64_t rows = rowsPerPlace(0) * problem.dims[0].window;
  OpFoldResult width = math().constant(panel.getWidth()),
               panels = math().constant(llvm::divideCeil(problem.filters, panel.getWidth()));
  OpFoldResult number = math().add(math().mul(task.matrix, panels), math().floorDiv(task.firstFilter, width));
  OpFoldResult offset = math().mul(number, math().constant((rows + kByteGroup) * panel.getWidth()));
  OpFoldResult within = math().mul(math().rem(task.firstFilter, width), math().constant(kByteGroup));
  return {filter, math().value(math().add(offset, within)), math().constant(kByteGroup * panel.getWidth()),
          math().constant(1)};
}

SmallVector<Value> IntegerConvEmitter::emitWindow(const WindowRef &windows, OpFoldResult ahead,
                                                  const MatrixRef &rhs, size_t dim, SmallVector<Value> sums,
                                                  RunBody body) {
  bool isRun = dim == 2 && isOneRun(windows);
  if (dim == problem.dims.size() || isRun) {
    return body(ahead, rhs, depth() * (isRun ? problem.dims[2].window : 1), sums);
  }
  const ConvDim &window = problem.dims[dim];
  if (window.window == 1) {
    return emitWindow(windows, ahead, rhs, dim + 1, sums, body);
  }
  auto loop = scf::ForOp::create(
      builder, loc, math().value(math().constant(0)), math().value(math().constant(window.window)),
      math().value(math().constant(1)), sums, [&](OpBuilder &, Location, Value place, ValueRange carried) {
        OpFoldResult step = math().mul(windows.strides[dim], math().constant(window.dilation));
        OpFoldResult groups = math().constant(rowsPerPlace(dim) / kByteGroup);
        MatrixRef part = rhs;
        part.offset =
            math().value(math().add(rhs.offset, math().mul(place, math().mul(groups, rhs.rowStride))));
        scf::YieldOp::create(builder, loc,
                             emitWindow(windows, math().add(ahead, math().mul(place, step)), part, dim + 1,
                                        SmallVector<Value>(carried), body));
      });
  return SmallVector<Value>(loop.getResults());
}

OpFoldResult IntegerConvEmitter::pixelOffset(const WindowRef &windows, OpFoldResult row,
                                             OpFoldResult column) {
  OpFoldResult rowStride = math().mul(windows.strides[1], math().constant(problem.dims[1].stride));
  OpFoldResult pixelStride = math().mul(windows.strides[2], math().constant(problem.dims[2].stride));
  OpFoldResult offset = math().add(windows.offset, math().mul(row, rowStride));
  return math().add(offset, math().mul(column, pixelStride));
}

OpFoldResult IntegerConvEmitter::sumsOffset(const ConvGrid::Task &task, OpFoldResult row,
                                            OpFoldResult column) {
  OpFoldResult pixel = math().add(math().mul(row, task.block.columns), column);
  return math().mul(pixel, math().constant(tiling.columns()));
}

//===----------------------------------------------------------------------===//
// Tiles
//===----------------------------------------------------------------------===//

void IntegerConvEmitter::emitVectorTiles(const ConvGrid::Task &task, const WindowRef &windows,
                                         const ColumnTile &columns) {
  MatrixRef filters = getFilters(task);
  OpFoldResult pixelStride = math().mul(windows.strides[2], math().constant(problem.dims[2].stride));
  auto emitTile = [&](Value row, OpFoldResult column, int64_t count) {
    RegisterTile tile = getIntegerTile(context.target, count, columns.vectors);
    OpFoldResult start = pixelOffset(windows, row, column);
    Value none = arith::ConstantOp::create(builder, loc, builder.getZeroAttr(sumType));
    SmallVector<Value> sums = emitWindow(
        windows, math().constant(0), filters, 0, SmallVector<Value>(tile.sums(), none),
        [&](OpFoldResult ahead, const MatrixRef &rhs, int64_t depth, SmallVector<Value> sums) {
          ByteRows lhs{
              {windows.base, math().value(math().add(start, ahead)), pixelStride, math().constant(1)},
              isSigned};
          return emitIntegerTile(builder, loc, context.target, tile, lhs, rhs, math().constant(depth), sums);
        });
    OpFoldResult place = sumsOffset(task, row, column);
    for (auto [i, sum] : llvm::enumerate(sums)) {
      int64_t ahead = i / tile.vectors * tiling.columns() + i % tile.vectors * tiling.lanes;
      vector::StoreOp::create(builder, loc, sum, scratch,
                              ValueRange{math().value(math().add(place, math().constant(ahead)))});
    }
  };
  OpFoldResult height = math().constant(tiling.rows);
  OpFoldResult done = math().mul(math().floorDiv(task.block.columns, height), height);
  OpFoldResult left = math().sub(task.block.columns, done);
  emitLoop(math().constant(0), task.block.rows, 1, [&](Value row) {
    emitLoop(math().constant(0), done, tiling.rows,
             [&](Value column) { emitTile(row, column, tiling.rows); });
    if (std::optional<int64_t> count = getConstantIntValue(left)) {
      if (*count) {
        emitTile(row, done, *count);
      }
      return;
    }
    SmallVector<int64_t> counts = llvm::to_vector(llvm::seq<int64_t>(1, tiling.rows));
    auto choose =
        scf::IndexSwitchOp::create(builder, loc, TypeRange(), math().value(left), counts, counts.size());
    OpBuilder::InsertionGuard guard(builder);
    for (auto [count, region] : llvm::zip_equal(counts, choose.getCaseRegions())) {
      builder.createBlock(&region);
      emitTile(row, done, count);
      scf::YieldOp::create(builder, loc);
    }
    builder.createBlock(&choose.getDefaultRegion());
    scf::YieldOp::create(builder, loc);
  });
}

void IntegerConvEmitter::emitMatrixTile(const ConvGrid::Task &task, const WindowRef &windows,
                                        const ColumnTile &columns, ArrayRef<ConvGrid::Pixels> rows) {
  OpFoldResult pixelStride = math().mul(windows.strides[2], math().constant(problem.dims[2].stride));
  OpFoldResult zeroOffset = math().constant(0), one = math().constant(1);
  MatrixTiles::Tile tile{{windows.base, math().value(zeroOffset), pixelStride, one},
                         {scratch, math().value(zeroOffset), math().constant(tiling.columns()), one},
                         {},
                         int64_t(llvm::divideCeil(columns.vectors * tiling.lanes, MatrixTiles::kColumns))};
  for (const ConvGrid::Pixels &pixels : rows) {
    tile.rows.push_back({pixelOffset(windows, pixels.row, pixels.column),
                         sumsOffset(task, pixels.row, pixels.column), pixels.count});
  }
  matrices->begin(tile, /*isFirst=*/{});
  emitWindow(windows, zeroOffset, getFilters(task), 0, {},
             [&](OpFoldResult ahead, const MatrixRef &rhs, int64_t depth, SmallVector<Value>) {
               matrices->multiply(tile, ahead, rhs, math().constant(depth));
               return SmallVector<Value>();
             });
  matrices->end(tile);
}

LogicalResult IntegerConvEmitter::emitPlain(const ConvGrid::Task &task, const WindowRef &windows,
                                            const ColumnTile &columns) {
  Value none = arith::ConstantOp::create(builder, loc, builder.getZeroAttr(sumType));
  Value offset = arith::ConstantOp::create(
      builder, loc,
      DenseElementsAttr::get(sumType, builder.getI32IntegerAttr(isFilterSigned ? 0 : 128).getValue()));
  OpFoldResult firstFilter =
      math().add(math().mul(task.matrix, math().constant(problem.filters)), task.firstFilter);
  LogicalResult result = success();
  auto accumulate = [&](OpFoldResult start, ArrayRef<Value> place, Value channel, ValueRange carried) {
    OpFoldResult ahead = math().add(start, channel);
    for (auto [i, dim] : llvm::enumerate(problem.dims)) {
      OpFoldResult step = math().mul(windows.strides[i], math().constant(dim.dilation));
      ahead = math().add(ahead, math().mul(place[i], step));
    }
    Value byte = memref::LoadOp::create(builder, loc, windows.base, ValueRange{math().value(ahead)});
    Value x = extend(byte, isSigned);
    x = zero ? arith::SubIOp::create(builder, loc, x, zero).getResult() : x;
    x = vector::BroadcastOp::create(builder, loc, sumType, x);
    SmallVector<Value> sums;
    for (auto [vector, sum] : llvm::enumerate(carried)) {
      SmallVector<Value> index =
          problem.filterIndex(builder, loc, {place[0], place[1], place[2]}, channel,
                              math().add(firstFilter, math().constant(vector * tiling.lanes)));
      elements.reset();
      FailureOr<Value> bytes = elements.evaluate(
          problem.op.getFilter(),
          Tile{index, tiling.lanes, columns.masks.empty() ? Value() : columns.masks[vector]});
      if (failed(bytes)) {
        result = failure();
        bytes = arith::ConstantOp::create(
                    builder, loc, builder.getZeroAttr(VectorType::get({tiling.lanes}, builder.getI8Type())))
                    .getResult();
      }
      Value w = arith::SubIOp::create(builder, loc, extend(*bytes, isFilterSigned), offset);
      sums.push_back(arith::AddIOp::create(builder, loc, sum, arith::MulIOp::create(builder, loc, x, w)));
    }
    return sums;
  };
  SmallVector<Value> places;
  std::function<SmallVector<Value>(OpFoldResult, SmallVector<Value>)> emitNest =
      [&](OpFoldResult start, SmallVector<Value> sums) {
        size_t level = places.size();
        int64_t count = level == problem.dims.size() ? problem.channels : problem.dims[level].window;
        auto loop = scf::ForOp::create(builder, loc, math().value(math().constant(0)),
                                       math().value(math().constant(count)), math().value(math().constant(1)),
                                       sums, [&](OpBuilder &, Location, Value at, ValueRange carried) {
                                         SmallVector<Value> next;
                                         if (level == problem.dims.size()) {
                                           next = accumulate(start, places, at, carried);
                                         } else {
                                           places.push_back(at);
                                           next = emitNest(start, SmallVector<Value>(carried));
                                           places.pop_back();
                                         }
                                         scf::YieldOp::create(builder, loc, next);
                                       });
        return SmallVector<Value>(loop.getResults());
      };
  emitLoop(math().constant(0), task.block.rows, 1, [&](Value row) {
    emitLoop(math().constant(0), task.block.columns, 1, [&](Value column) {
      SmallVector<Value> sums =
          emitNest(pixelOffset(windows, row, column), SmallVector<Value>(columns.vectors, none));
      OpFoldResult place = sumsOffset(task, row, column);
      for (auto [i, sum] : llvm::enumerate(sums)) {
        OpFoldResult at = math().add(place, math().constant(i * tiling.lanes));
        vector::StoreOp::create(builder, loc, sum, scratch, ValueRange{math().value(at)});
      }
    });
  });
  return result;
}

//===----------------------------------------------------------------------===//
// Epilogue
//===----------------------------------------------------------------------===//

/// What the zero point takes off each column: its product with the sums that stand behind the panel.
void IntegerConvEmitter::emitCorrections(const ConvGrid::Task &task) {
  MatrixRef filters = getFilters(task);
  int64_t groups = rowsPerPlace(0) * problem.dims[0].window / kByteGroup;
  OpFoldResult behind = math().add(filters.offset, math().mul(math().constant(groups), filters.rowStride));
  auto bytes = VectorType::get({kByteGroup * tiling.lanes}, builder.getI8Type());
  Value factor = vector::BroadcastOp::create(builder, loc, sumType, zero);
  for (int64_t vector = 0; vector < tiling.vectors; ++vector) {
    OpFoldResult place = math().add(behind, math().constant(vector * kByteGroup * tiling.lanes));
    Value loaded = vector::LoadOp::create(builder, loc, bytes, filter, ValueRange{math().value(place)});
    Value sums = vector::BitCastOp::create(builder, loc, sumType, loaded);
    vector::StoreOp::create(builder, loc, arith::MulIOp::create(builder, loc, sums, factor), corrections,
                            ValueRange{math().value(math().constant(vector * tiling.lanes))});
  }
}

LogicalResult IntegerConvEmitter::emitEpilogue(const ConvGrid::Task &task, const ColumnTile &columns) {
  StridedView output = getOutputView(context, problem.output);
  const ConvGrid::Block &block = task.block;
  OpFoldResult first =
      math().add(math().mul(task.matrix, math().constant(problem.filters)), task.firstFilter);
  bool corrects = zero && panel;
  if (corrects) {
    emitCorrections(task);
  }
  auto finish = [&](Value sums, const Tile &, int64_t vector) -> FailureOr<Value> {
    if (!corrects) {
      return sums;
    }
    Value place = math().value(math().constant(vector * tiling.lanes));
    Value part = vector::LoadOp::create(builder, loc, sumType, corrections, ValueRange{place});
    return arith::SubIOp::create(builder, loc, sums, part).getResult();
  };
  LogicalResult result = success();
  emitLoop(math().constant(0), block.rows, 1, [&](Value row) {
    emitLoop(math().constant(0), block.columns, 1, [&](Value column) {
      SmallVector<Value> index = problem.tensorIndex(
          builder, loc, block.image,
          {block.plane, math().add(block.firstRow, row), math().add(block.firstColumn, column)}, first);
      result = emitRowEpilogue(builder, loc, elements, problem.op.getResult(), problem.output, output,
                               scratch, sumsOffset(task, row, column), index, columns, tiling.lanes, finish);
    });
  });
  return result;
}

FailureOr<TaskSplit> cpu::splitIntegerConv(EmitContext &context, ConvProblem &problem) {
  ConvGrid grid(context, problem, chooseIntegerTiling(context.target), /*joined=*/1,
                getGrainOperations(context.target));
  IndexMath math{context.builder, problem.op.getLoc()};
  return TaskSplit{math.value(grid.tasks), math.value(grid.grain)};
}

LogicalResult cpu::emitIntegerConv(EmitContext &context, ConvProblem &problem) {
  return IntegerConvEmitter(context, problem).emit();
}
