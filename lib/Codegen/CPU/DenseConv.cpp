// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Convolutions that mix channels, as products: a register tile is some neighbouring pixels of the result by
/// some filters, and the reduced dimension runs over the places of the window and the channels. Neighbouring
/// places of an undilated window are neighbours in memory, so they are one run of it.

#include "DenseConvEmitter.h"
#include "lathe/Codegen/Math/Emitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cpu;

namespace {

/// How much of the reduced dimension all register tiles of a block sum up before they go on: with it 32
/// filters fill the better part of a first-level cache.
constexpr int64_t kChunkDepth = 256;

/// Lines of the next chunk that a register tile fetches with each unrolled step: four tiles fetch it all.
constexpr int64_t kPrefetchLines = 2;

/// The panels in which a kernel's filter is stored, if it is.
nn::PanelAttr getFilterPanel(EmitContext &context, ConvRoot op) {
  auto input = op.getFilter().getDefiningOp<kernel::InputOp>();
  auto argument = input ? dyn_cast<BlockArgument>(input.getBytes()) : BlockArgument();
  return argument ? context.kernel.getArgAttrOfType<nn::PanelAttr>(argument.getArgNumber(),
                                                                   kernel::KernelDialect::kPanelAttr)
                  : nn::PanelAttr();
}

Type getElement(Value tensor) { return cast<RankedTensorType>(tensor.getType()).getElementType(); }

MatMulTiling getTiling(EmitContext &context, const ConvProblem &problem) {
  bool isBF16 = getElement(problem.op.getX()).isBF16();
  return chooseMatMulTiling(context.target, isBF16 ? Factors::Pairs : Factors::Floats);
}

int64_t getGrainOperations(const MatMulTiling &tiling) { return tiling.hasDot ? 1000000 : 500000; }

/// Whether matrix registers multiply the channels of each place in the window, all of them.
bool canUseMatrices(const TargetSpec &target, Factors factors, int64_t channels) {
  constexpr auto kElement = MatrixTiles::Element::BF16;
  return factors == Factors::Pairs && MatrixTiles::isSupported(target, kElement) &&
         channels % MatrixTiles::getDepth(kElement) == 0;
}

} // namespace

DenseConvEmitter::DenseConvEmitter(EmitContext &context, ConvProblem &problem, nn::PanelAttr panel)
    : LoopEmitter(context.builder, problem.op.getLoc()), context(context), problem(problem), panel(panel),
      joined(panel ? panel.getJoined() : 1), tiling(getTiling(context, problem)),
      grid(context, problem, tiling, joined, getGrainOperations(tiling)), source(context, problem, grid),
      elements(context), sumType(VectorType::get({tiling.lanes}, builder.getF32Type())) {}

LogicalResult DenseConvEmitter::findFilter() {
  if (!panel) {
    packScratch = makePackScratch();
    return success();
  }
  if (panel.getInterleave() != group() || panel.getWidth() % tiling.columns() != 0 ||
      panel.getGroups() != problem.groups) {
    return problem.op->emitOpError() << "cannot read " << panel << " with a tile of " << tiling.columns()
                                     << " columns and " << problem.groups << " groups";
  }
  auto input = problem.op.getFilter().getDefiningOp<kernel::InputOp>();
  Value size = math().value(math().constant(panel.getStoredElements(input.getTensorType())));
  auto type = MemRefType::get({ShapedType::kDynamic}, getElement(problem.op.getFilter()));
  filter = memref::ViewOp::create(builder, loc, type, input.getBytes(), math().value(math().constant(0)),
                                  ValueRange{size});
  return success();
}

LogicalResult DenseConvEmitter::emit() {
  if (failed(findFilter())) {
    return failure();
  }
  scratch = makeScratch(builder, loc, builder.getF32Type(), grid.pixels * tiling.columns());
  epilogueViews = getEpilogueViews(context, problem.op.getResult(), problem.output);
  if (panel && canUseMatrices(context.target, tiling.factors, depth())) {
    matrices.emplace(builder, loc, MatrixTiles::Element::BF16);
  }
  finishesTiles = panel && !matrices && rowsOfPlaces(0) <= kChunkDepth &&
                  hasShortEpilogue(problem.op.getResult(), problem.output);
  Value none = math().value(math().constant(-1));
  LogicalResult result = success();
  auto loop = scf::ForOp::create(builder, loc, context.begin, context.end, math().value(math().constant(1)),
                                 ValueRange{none});
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
  return failed(status) ? status : result;
}

LogicalResult DenseConvEmitter::emitTask(Value number, Value &copied) {
  ConvGrid::Task task = grid.decode(builder, loc, problem, tiling, number);
  FailureOr<WindowRef> windows = source.get(task, copied);
  if (failed(windows)) {
    return failure();
  }
  // The first channel of the matrix' groups.
  windows->offset = math().add(windows->offset, math().mul(task.matrix, math().constant(depth())));
  return emitColumnTile(
      builder, loc, tiling, math().constant(problem.filters * joined), task.firstFilter,
      [&](const ColumnTile &columns) {
        if (failed(panel ? emitColumns(task, *windows, columns) : emitPackedRuns(task, *windows, columns))) {
          return failure();
        }
        return finishesTiles ? success() : emitEpilogue(task, columns);
      });
}

LogicalResult DenseConvEmitter::emitColumns(const ConvGrid::Task &task, const WindowRef &windows,
                                            const ColumnTile &columns) {
  if (matrices) {
    ConvGrid::emitMatrixTiles(builder, loc, task.block, [&](ArrayRef<ConvGrid::Pixels> pixels) {
      emitMatrixTile(task, windows, columns, pixels);
    });
    return success();
  }
  OpFoldResult width = math().constant(panel.getWidth()), group = math().constant(this->group());
  MatrixRef filters = getFilters(task);
  Chunk all{0, math().constant(0), math().constant(0), math().constant(rowsOfPlaces(0)), Value()};
  emitChunks(windows, 0, all, [&](const Chunk &chunk) {
    MatrixRef rhs = filters;
    rhs.offset = math().value(math().add(filters.offset, math().mul(chunk.rows, width)));
    emitTiles(
        task, windows, columns, chunk.isFirst,
        [&](const RegisterTile &tile, const MatrixRef &window, OpFoldResult number, SmallVector<Value> sums) {
          // The filters of the next chunk, a share in each tile: see MatMul.cpp.
          OpFoldResult share =
              getPrefetchShare(builder, loc, number, kPrefetchLines, getStepLines(tiling, panel.getWidth()));
          OpFoldResult steps = math().ceilDiv(chunk.depth, group);
          PrefetchStream prefetch{math().add(math().mul(steps, width), share), kPrefetchLines};
          auto emitRun = [&](OpFoldResult ahead, const MatrixRef &rhs, OpFoldResult depth,
                             SmallVector<Value> sums) {
            MatrixRef lhs = window;
            lhs.offset = math().value(math().add(window.offset, ahead));
            return emitRegisterTile(builder, loc, tile, lhs, rhs, depth, sums, /*masks=*/{}, prefetch);
          };
          if (isRun(windows, chunk.dim)) {
            return emitRun(chunk.elements, rhs, chunk.depth, std::move(sums));
          }
          return emitWindow(
              windows, chunk.elements, rhs, chunk.dim, std::move(sums),
              [&](OpFoldResult ahead, const MatrixRef &part, int64_t depth, SmallVector<Value> sums) {
                return emitRun(ahead, part, math().constant(depth), std::move(sums));
              });
        });
  });
  return success();
}

void DenseConvEmitter::emitChunks(const WindowRef &windows, size_t dim, const Chunk &chunk,
                                  llvm::function_ref<void(const Chunk &)> body) {
  int64_t rows = rowsOfPlaces(dim);
  if (rows <= kChunkDepth) {
    Chunk last = chunk;
    last.dim = dim;
    last.depth = math().constant(depthOfRun(dim));
    body(last);
    return;
  }
  auto addStart = [&](Value start, OpFoldResult elements, OpFoldResult rows) {
    Value isZero = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::eq, start,
                                         math().value(math().constant(0)));
    Chunk part = chunk;
    part.elements = math().add(chunk.elements, elements);
    part.rows = math().add(chunk.rows, rows);
    part.isFirst =
        chunk.isFirst ? arith::AndIOp::create(builder, loc, chunk.isFirst, isZero).getResult() : isZero;
    return part;
  };
  OpFoldResult zero = math().constant(0);
  if (isRun(windows, dim)) {
    // Equal parts of whole unrolled steps, if there are such.
    int64_t step = kChunkDepth;
    int64_t least = llvm::divideCeil(rows, kChunkDepth);
    for (int64_t parts = least; parts <= 2 * least; ++parts) {
      if (rows % (4 * group() * parts) == 0) {
        step = rows / parts;
        break;
      }
    }
    emitLoop(zero, math().constant(rows), step, [&](Value start) {
      Chunk part = addStart(start, start, start);
      part.dim = dim;
      OpFoldResult length = math().constant(step);
      OpFoldResult left = math().sub(math().constant(depthOfRun(dim)), start);
      part.depth = depthOfRun(dim) % step ? math().min(length, left) : length;
      body(part);
    });
    return;
  }
  const ConvDim &window = problem.dims[dim];
  if (window.window == 1) {
    emitChunks(windows, dim + 1, chunk, body);
    return;
  }
  emitLoop(zero, math().constant(window.window), 1, [&](Value place) {
    OpFoldResult elements =
        math().mul(place, math().mul(windows.strides[dim], math().constant(window.dilation)));
    OpFoldResult row = math().mul(place, math().constant(rowsPerPlace(dim)));
    emitChunks(windows, dim + 1, addStart(place, elements, row), body);
  });
}

SmallVector<Value> DenseConvEmitter::emitWindow(const WindowRef &windows, OpFoldResult ahead,
                                                const MatrixRef &rhs, size_t dim, SmallVector<Value> sums,
                                                RunBody body) {
  if (isRun(windows, dim)) {
    return body(ahead, rhs, depthOfRun(dim), std::move(sums));
  }
  const ConvDim &window = problem.dims[dim];
  if (window.window == 1) {
    return emitWindow(windows, ahead, rhs, dim + 1, std::move(sums), body);
  }
  auto loop = scf::ForOp::create(
      builder, loc, math().value(math().constant(0)), math().value(math().constant(window.window)),
      math().value(math().constant(1)), sums, [&](OpBuilder &, Location, Value place, ValueRange carried) {
        OpFoldResult step = math().mul(windows.strides[dim], math().constant(window.dilation));
        OpFoldResult steps = math().mul(math().constant(rowsPerPlace(dim) / group()), rhs.rowStride);
        MatrixRef part = rhs;
        part.offset = math().value(math().add(rhs.offset, math().mul(place, steps)));
        scf::YieldOp::create(builder, loc,
                             emitWindow(windows, math().add(ahead, math().mul(place, step)), part, dim + 1,
                                        SmallVector<Value>(carried), body));
      });
  return SmallVector<Value>(loop.getResults());
}

MatrixRef DenseConvEmitter::getFilters(const ConvGrid::Task &task) {
  OpFoldResult width = math().constant(panel.getWidth()), group = math().constant(this->group()),
               panels = math().constant(llvm::divideCeil(problem.filters * joined, panel.getWidth()));
  OpFoldResult number = math().add(math().mul(task.matrix, panels), math().floorDiv(task.firstFilter, width));
  OpFoldResult offset = math().mul(number, math().constant(rowsOfPlaces(0) * panel.getWidth()));
  offset = math().add(offset, math().mul(math().rem(task.firstFilter, width), group));
  return {filter, math().value(offset), math().mul(width, group), math().constant(1)};
}

OpFoldResult DenseConvEmitter::pixelOffset(const WindowRef &windows, OpFoldResult row, OpFoldResult column) {
  OpFoldResult rowStride = math().mul(windows.strides[1], math().constant(problem.dims[1].stride));
  OpFoldResult pixelStride = math().mul(windows.strides[2], math().constant(problem.dims[2].stride));
  OpFoldResult offset = math().add(windows.offset, math().mul(row, rowStride));
  return math().add(offset, math().mul(column, pixelStride));
}

OpFoldResult DenseConvEmitter::sumsOffset(const ConvGrid::Task &task, OpFoldResult row, OpFoldResult column) {
  OpFoldResult pixel = math().add(math().mul(row, task.block.columns), column);
  return math().mul(pixel, math().constant(tiling.columns()));
}

void DenseConvEmitter::emitMatrixTile(const ConvGrid::Task &task, const WindowRef &windows,
                                      const ColumnTile &columns, ArrayRef<ConvGrid::Pixels> pixels) {
  OpFoldResult pixelStride = math().mul(windows.strides[2], math().constant(problem.dims[2].stride));
  OpFoldResult zero = math().constant(0), one = math().constant(1);
  MatrixTiles::Tile tile{{windows.base, math().value(zero), pixelStride, one},
                         {scratch, math().value(zero), math().constant(tiling.columns()), one},
                         {},
                         int64_t(llvm::divideCeil(columns.vectors * tiling.lanes, MatrixTiles::kColumns))};
  for (const ConvGrid::Pixels &row : pixels) {
    tile.rows.push_back(
        {pixelOffset(windows, row.row, row.column), sumsOffset(task, row.row, row.column), row.count});
  }
  matrices->begin(tile, /*isFirst=*/{});
  emitWindow(windows, zero, getFilters(task), 0, {},
             [&](OpFoldResult ahead, const MatrixRef &rhs, int64_t depth, SmallVector<Value>) {
               matrices->multiply(tile, ahead, rhs, math().constant(depth));
               return SmallVector<Value>();
             });
  matrices->end(tile);
}

void DenseConvEmitter::emitTiles(const ConvGrid::Task &task, const WindowRef &windows,
                                 const ColumnTile &columns, Value isFirst, TileBody body) {
  OpFoldResult zero = math().constant(0), height = math().constant(tiling.rows);
  OpFoldResult done = math().mul(math().floorDiv(task.block.columns, height), height);
  OpFoldResult left = math().sub(task.block.columns, done);
  emitLoop(zero, task.block.rows, 1, [&](Value row) {
    emitLoop(zero, done, tiling.rows, [&](Value column) {
      emitTile(task, windows, columns, tiling.tile(tiling.rows, columns.vectors), row, column, isFirst, body);
    });
    // One tile of exactly the width that is left.
    if (std::optional<int64_t> count = getConstantIntValue(left)) {
      if (*count) {
        emitTile(task, windows, columns, tiling.tile(*count, columns.vectors), row, math().value(done),
                 isFirst, body);
      }
      return;
    }
    SmallVector<int64_t> counts = llvm::to_vector(llvm::seq<int64_t>(1, tiling.rows));
    auto choose =
        scf::IndexSwitchOp::create(builder, loc, TypeRange(), math().value(left), counts, counts.size());
    OpBuilder::InsertionGuard guard(builder);
    for (auto [count, region] : llvm::zip_equal(counts, choose.getCaseRegions())) {
      builder.createBlock(&region);
      emitTile(task, windows, columns, tiling.tile(count, columns.vectors), row, math().value(done), isFirst,
               body);
      scf::YieldOp::create(builder, loc);
    }
    builder.createBlock(&choose.getDefaultRegion());
    scf::YieldOp::create(builder, loc);
  });
}

void DenseConvEmitter::emitTile(const ConvGrid::Task &task, const WindowRef &windows,
                                const ColumnTile &columns, const RegisterTile &tile, Value row, Value column,
                                Value isFirst, TileBody body) {
  OpFoldResult pixelStride = math().mul(windows.strides[2], math().constant(problem.dims[2].stride));
  MatrixRef lhs{windows.base, math().value(pixelOffset(windows, row, column)), pixelStride,
                math().constant(1)};
  OpFoldResult place = sumsOffset(task, row, column);
  SmallVector<Value> places;
  for (int64_t i = 0; i < tile.sums(); ++i) {
    int64_t ahead = i / tile.vectors * tiling.columns() + i % tile.vectors * tiling.lanes;
    places.push_back(math().value(math().add(place, math().constant(ahead))));
  }
  if (isFirst) {
    scf::IfOp::create(builder, loc, isFirst, [&](OpBuilder &, Location) {
      prefetchResults(task, tile, row, column);
      scf::YieldOp::create(builder, loc);
    });
  } else {
    prefetchResults(task, tile, row, column);
  }
  Value zero = arith::ConstantOp::create(builder, loc, builder.getZeroAttr(sumType));
  SmallVector<Value> sums(tile.sums(), zero);
  for (auto [sum, place] : llvm::zip_equal(sums, places)) {
    if (isFirst) {
      Value before = vector::LoadOp::create(builder, loc, sumType, scratch, ValueRange{place});
      sum = arith::SelectOp::create(builder, loc, isFirst, zero, before);
    }
  }
  OpFoldResult number = math().add(row, math().floorDiv(column, math().constant(tiling.rows)));
  sums = body(tile, lhs, number, sums);
  if (finishesTiles) {
    finishTile(task, columns, tile, row, column, sums);
    return;
  }
  for (auto [sum, place] : llvm::zip_equal(sums, places)) {
    vector::StoreOp::create(builder, loc, sum, scratch, ValueRange{place});
  }
}

void DenseConvEmitter::prefetchResults(const ConvGrid::Task &task, const RegisterTile &tile, Value row,
                                       Value column) {
  for (int64_t i = 0; i < tile.rows; ++i) {
    Value next = math().value(math().add(column, math().constant(i)));
    prefetchEpilogue(builder, loc, epilogueViews, resultIndex(task, row, next), tile.vectors, tiling.lanes);
  }
}

SmallVector<Value> DenseConvEmitter::resultIndex(const ConvGrid::Task &task, Value row, Value column) {
  const ConvGrid::Block &block = task.block;
  OpFoldResult filter =
      math().add(math().mul(task.matrix, math().constant(problem.filters * joined)), task.firstFilter);
  return problem.tensorIndex(
      builder, loc, block.image,
      {block.plane, math().add(block.firstRow, row), math().add(block.firstColumn, column)}, filter);
}

FailureOr<Value> DenseConvEmitter::finishSums(Value sums) {
  return lathe::Emitter(builder, loc).toFloat(sums, getElement(problem.op.getResult()));
}

void DenseConvEmitter::finishTile(const ConvGrid::Task &task, const ColumnTile &columns,
                                  const RegisterTile &tile, Value row, Value column, ArrayRef<Value> sums) {
  StridedView output = getOutputView(context, problem.output);
  for (int64_t i = 0; i < tile.rows; ++i) {
    Value at = math().value(math().add(column, math().constant(i)));
    auto getSums = [&](int64_t vector) { return sums[i * tile.vectors + vector]; };
    if (failed(emitRowEpilogue(builder, loc, elements, problem.op.getResult(), problem.output, output,
                               getSums, resultIndex(task, row, at), columns, tiling.lanes,
                               [&](Value value, const Tile &, int64_t) { return finishSums(value); }))) {
      status = failure();
    }
  }
}

LogicalResult DenseConvEmitter::emitEpilogue(const ConvGrid::Task &task, const ColumnTile &columns) {
  StridedView output = getOutputView(context, problem.output);
  const ConvGrid::Block &block = task.block;
  LogicalResult result = success();
  auto finish = [&](Value sums, const Tile &, int64_t) { return finishSums(sums); };
  emitLoop(math().constant(0), block.rows, 1, [&](Value row) {
    emitLoop(math().constant(0), block.columns, 1, [&](Value column) {
      OpFoldResult pixel = math().add(math().mul(row, block.columns), column);
      OpFoldResult place = math().mul(pixel, math().constant(tiling.columns()));
      SmallVector<Value> index = resultIndex(task, row, column);
      result = emitRowEpilogue(builder, loc, elements, problem.op.getResult(), problem.output, output,
                               scratch, place, index, columns, tiling.lanes, finish);
    });
  });
  return result;
}

FailureOr<TaskSplit> cpu::splitDenseConv(EmitContext &context, ConvProblem &problem) {
  nn::PanelAttr panel = getFilterPanel(context, problem.op);
  MatMulTiling tiling = getTiling(context, problem);
  ConvGrid grid(context, problem, tiling, panel ? panel.getJoined() : 1, getGrainOperations(tiling));
  IndexMath math{context.builder, problem.op.getLoc()};
  return TaskSplit{math.value(grid.tasks), math.value(grid.grain)};
}

LogicalResult cpu::emitDenseConv(EmitContext &context, ConvProblem &problem) {
  return DenseConvEmitter(context, problem, getFilterPanel(context, problem.op)).emit();
}
