// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Convolutions that mix channels, as products: a register tile is some neighbouring pixels of the result by
/// some filters, and the reduced dimension runs over the places of the window and the channels. Neighbouring
/// places of an undilated window are neighbours in memory, so they are one run of it.

#include "ColumnTile.h"
#include "ConvSource.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cpu;

namespace {

/// How many channels of a filter that is not in panels are packed at a time.
constexpr int64_t kPackedDepth = 256;

/// How much of the reduced dimension all register tiles of a block sum up before they go on: with it 32
/// filters fill the better part of a first-level cache.
constexpr int64_t kChunkDepth = 256;

/// Lines of the next chunk that a register tile fetches with each unrolled step: four tiles fetch it all.
constexpr int64_t kPrefetchLines = 2;

/// A place in the window and the channels from `channel` on that a register tile reduces at once.
struct Run {
  std::array<OpFoldResult, 3> place;
  OpFoldResult channel, depth;
};

/// A part of the reduced dimension: the window from dimension `dim` on, or `depth` rows of a run.
struct Chunk {
  size_t dim = 0;
  /// How far behind the first element of the window, and the first row of the filter, it begins.
  OpFoldResult elements, rows, depth;
  /// Whether it is the first one; null if it is the only one.
  Value isFirst;
};

class DenseConvEmitter {
public:
  DenseConvEmitter(EmitContext &context, ConvProblem &problem, nn::PanelAttr panel)
      : context(context), builder(context.builder), loc(problem.op.getLoc()), problem(problem), panel(panel),
        joined(panel ? panel.getJoined() : 1), tiling(chooseMatMulTiling(context.target, 32)),
        grid(context, problem, tiling, joined), source(context, problem, grid), elements(context),
        vectorType(VectorType::get({tiling.lanes}, builder.getF32Type())) {}

  LogicalResult emit();

private:
  IndexMath math() { return {builder, loc}; }
  void emitLoop(OpFoldResult begin, OpFoldResult end, int64_t step, llvm::function_ref<void(Value)> body);
  LogicalResult findFilter();
  LogicalResult emitTask(Value number, Value &copied);
  LogicalResult emitColumns(const ConvGrid::Task &task, const WindowRef &windows, const ColumnTile &columns);
  /// The same for a filter that is not in panels: run by run, each packed for all pixels.
  LogicalResult emitPackedRuns(const ConvGrid::Task &task, const WindowRef &windows,
                               const ColumnTile &columns);
  LogicalResult packFilter(const ConvGrid::Task &task, const Run &run);
  using TileBody = llvm::function_ref<SmallVector<Value>(const RegisterTile &, const MatrixRef &,
                                                         OpFoldResult number, SmallVector<Value>)>;
  /// Emits all register tiles of a block; `body` computes the sums of one, whose left-hand side starts with
  /// the first place of its windows and whose number is one higher than that of its neighbours to the left
  /// and above. Sums are added to those of the scratch buffer unless `isFirst`, which is null if nothing
  /// comes before.
  void emitTiles(const ConvGrid::Task &task, const WindowRef &windows, const ColumnTile &columns,
                 Value isFirst, TileBody body);
  void emitTile(const ConvGrid::Task &task, const WindowRef &windows, const RegisterTile &tile, Value row,
                Value column, Value isFirst, TileBody body);
  /// Calls `body` in loops over all chunks of a window, which are what `chunk` begins with from dimension
  /// `dim` on.
  void emitChunks(const WindowRef &windows, size_t dim, const Chunk &chunk,
                  llvm::function_ref<void(const Chunk &)> body);
  /// The sums over dimension `dim` of the window and those after it, from row `rhsRow` of the filter on.
  SmallVector<Value> emitWindow(const RegisterTile &tile, const WindowRef &windows, const MatrixRef &lhs,
                                const MatrixRef &rhs, const PrefetchStream &prefetch, size_t dim,
                                SmallVector<Value> sums);
  /// Fetches what the epilogue of a tile reads and writes.
  void prefetchResults(const ConvGrid::Task &task, const RegisterTile &tile, Value row, Value column);
  LogicalResult emitEpilogue(const ConvGrid::Task &task, const ColumnTile &columns);
  /// The index into the result of a task's first filter at pixel (row, column) of its block.
  SmallVector<Value> resultIndex(const ConvGrid::Task &task, Value row, Value column);
  int64_t depth() const { return problem.channels * joined; }
  /// Rows of the filter's matrix that one step along dimension `dim` of the window makes.
  int64_t rowsPerPlace(size_t dim) const {
    int64_t rows = depth();
    for (size_t inner = dim + 1; inner < problem.dims.size(); ++inner) {
      rows *= problem.dims[inner].window;
    }
    return rows;
  }
  /// The same of all places from dimension `dim` on.
  int64_t rowsOfPlaces(size_t dim) const {
    return dim == problem.dims.size() ? depth() : rowsPerPlace(dim) * problem.dims[dim].window;
  }
  /// Whether the places of the window from dimension `dim` on follow each other in memory.
  bool isRun(const WindowRef &windows, size_t dim) const {
    return dim == problem.dims.size() ||
           (dim + 1 == problem.dims.size() && problem.dims[dim].dilation == 1 && problem.groups == joined &&
            isConstantSize(windows.strides[dim], depth()));
  }

  EmitContext &context;
  OpBuilder &builder;
  Location loc;
  ConvProblem &problem;
  nn::PanelAttr panel;
  int64_t joined;
  MatMulTiling tiling;
  ConvGrid grid;
  ConvSource source;
  ElementEmitter elements;
  VectorType vectorType;
  Value filter, scratch, packScratch;
  SmallVector<StridedView> epilogueViews;
};

/// The panels in which a kernel's filter is stored, if it is.
nn::PanelAttr getFilterPanel(EmitContext &context, ConvRoot op) {
  auto input = op.getFilter().getDefiningOp<kernel::InputOp>();
  auto argument = input ? dyn_cast<BlockArgument>(input.getBytes()) : BlockArgument();
  return argument ? context.kernel.getArgAttrOfType<nn::PanelAttr>(argument.getArgNumber(),
                                                                   kernel::KernelDialect::kPanelAttr)
                  : nn::PanelAttr();
}

} // namespace

void DenseConvEmitter::emitLoop(OpFoldResult begin, OpFoldResult end, int64_t step,
                                llvm::function_ref<void(Value)> body) {
  auto loop = scf::ForOp::create(builder, loc, math().value(begin), math().value(end),
                                 math().value(math().constant(step)));
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToStart(loop.getBody());
  body(loop.getInductionVar());
}

LogicalResult DenseConvEmitter::findFilter() {
  if (!panel) {
    packScratch =
        makeScratch(builder, loc, builder.getF32Type(), std::min(kPackedDepth, depth()) * tiling.columns());
    return success();
  }
  if (panel.getInterleave() != 1 || panel.getWidth() % tiling.columns() != 0 ||
      panel.getGroups() != problem.groups) {
    return problem.op->emitOpError() << "cannot read " << panel << " with a tile of " << tiling.columns()
                                     << " columns and " << problem.groups << " groups";
  }
  auto input = problem.op.getFilter().getDefiningOp<kernel::InputOp>();
  Value size = math().value(math().constant(panel.getStoredElements(input.getTensorType())));
  auto type = MemRefType::get({ShapedType::kDynamic}, builder.getF32Type());
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
  Value none = math().value(math().constant(-1));
  LogicalResult result = success();
  auto loop = scf::ForOp::create(builder, loc, context.begin, context.end, math().value(math().constant(1)),
                                 ValueRange{none});
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToStart(loop.getBody());
  Value copied = loop.getRegionIterArg(0);
  result = emitTask(loop.getInductionVar(), copied);
  scf::YieldOp::create(builder, loc, copied);
  return result;
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
        return emitEpilogue(task, columns);
      });
}

LogicalResult DenseConvEmitter::emitColumns(const ConvGrid::Task &task, const WindowRef &windows,
                                            const ColumnTile &columns) {
  int64_t rows = rowsOfPlaces(0);
  OpFoldResult width = math().constant(panel.getWidth()),
               panels = math().constant(llvm::divideCeil(problem.filters * joined, panel.getWidth()));
  OpFoldResult number = math().add(math().mul(task.matrix, panels), math().floorDiv(task.firstFilter, width));
  OpFoldResult offset = math().mul(number, math().constant(rows * panel.getWidth()));
  offset = math().add(offset, math().rem(task.firstFilter, width));
  Chunk all{0, math().constant(0), math().constant(0), math().constant(rows), Value()};
  emitChunks(windows, 0, all, [&](const Chunk &chunk) {
    OpFoldResult start = math().add(offset, math().mul(chunk.rows, width));
    MatrixRef rhs{filter, math().value(start), width, math().constant(1)};
    emitTiles(
        task, windows, columns, chunk.isFirst,
        [&](const RegisterTile &tile, const MatrixRef &window, OpFoldResult number, SmallVector<Value> sums) {
          // The filters of the next chunk, a share in each tile: see MatMul.cpp.
          OpFoldResult share =
              getPrefetchShare(builder, loc, number, kPrefetchLines, getStepLines(tiling, panel.getWidth()));
          PrefetchStream prefetch{math().add(math().mul(chunk.depth, width), share), kPrefetchLines};
          MatrixRef lhs = window;
          lhs.offset = math().value(math().add(window.offset, chunk.elements));
          return isRun(windows, chunk.dim) ? emitRegisterTile(builder, loc, tile, lhs, rhs, chunk.depth, sums,
                                                              /*masks=*/{}, prefetch)
                                           : emitWindow(tile, windows, lhs, rhs, prefetch, chunk.dim, sums);
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
    last.depth = math().constant(rows);
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
      if (rows % (4 * parts) == 0) {
        step = rows / parts;
        break;
      }
    }
    emitLoop(zero, math().constant(rows), step, [&](Value start) {
      Chunk part = addStart(start, start, start);
      part.dim = dim;
      OpFoldResult length = math().constant(step);
      part.depth = rows % step ? math().min(length, math().sub(math().constant(rows), start)) : length;
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

SmallVector<Value> DenseConvEmitter::emitWindow(const RegisterTile &tile, const WindowRef &windows,
                                                const MatrixRef &lhs, const MatrixRef &rhs,
                                                const PrefetchStream &prefetch, size_t dim,
                                                SmallVector<Value> sums) {
  if (isRun(windows, dim)) {
    return emitRegisterTile(builder, loc, tile, lhs, rhs, math().constant(rowsOfPlaces(dim)), sums,
                            /*masks=*/{}, prefetch);
  }
  const ConvDim &window = problem.dims[dim];
  if (window.window == 1) {
    return emitWindow(tile, windows, lhs, rhs, prefetch, dim + 1, sums);
  }
  auto body = [&](OpBuilder &, Location, Value place, ValueRange carried) {
    OpFoldResult step = math().mul(windows.strides[dim], math().constant(window.dilation));
    MatrixRef lhsPart = lhs, rhsPart = rhs;
    lhsPart.offset = math().value(math().add(lhs.offset, math().mul(place, step)));
    OpFoldResult rows = math().mul(math().constant(rowsPerPlace(dim)), rhs.rowStride);
    rhsPart.offset = math().value(math().add(rhs.offset, math().mul(place, rows)));
    scf::YieldOp::create(
        builder, loc,
        emitWindow(tile, windows, lhsPart, rhsPart, prefetch, dim + 1, SmallVector<Value>(carried)));
  };
  auto loop = scf::ForOp::create(builder, loc, math().value(math().constant(0)),
                                 math().value(math().constant(window.window)),
                                 math().value(math().constant(1)), sums, body);
  return SmallVector<Value>(loop.getResults());
}

LogicalResult DenseConvEmitter::emitPackedRuns(const ConvGrid::Task &task, const WindowRef &windows,
                                               const ColumnTile &columns) {
  LogicalResult result = success();
  OpFoldResult zero = math().constant(0);
  auto emitRun = [&](const Run &run) {
    result = packFilter(task, run);
    OpFoldResult ahead = run.channel;
    Value isFirst;
    for (auto [i, dim] : llvm::enumerate(problem.dims)) {
      OpFoldResult step = math().mul(windows.strides[i], math().constant(dim.dilation));
      ahead = math().add(ahead, math().mul(run.place[i], step));
    }
    for (OpFoldResult start : {run.place[0], run.place[1], run.place[2], run.channel}) {
      Value isZero = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::eq, math().value(start),
                                           math().value(zero));
      isFirst = isFirst ? arith::AndIOp::create(builder, loc, isFirst, isZero).getResult() : isZero;
    }
    MatrixRef rhs{packScratch, math().value(zero), math().constant(tiling.columns()), math().constant(1)};
    emitTiles(task, windows, columns, isFirst,
              [&](const RegisterTile &tile, const MatrixRef &lhs, OpFoldResult, SmallVector<Value> sums) {
                MatrixRef part = lhs;
                part.offset = math().value(math().add(lhs.offset, ahead));
                return emitRegisterTile(builder, loc, tile, part, rhs, run.depth, sums);
              });
  };
  auto window = [&](size_t dim) { return math().constant(problem.dims[dim].window); };
  emitLoop(zero, window(0), 1, [&](Value plane) {
    emitLoop(zero, window(1), 1, [&](Value row) {
      emitLoop(zero, window(2), 1, [&](Value column) {
        emitLoop(zero, math().constant(depth()), kPackedDepth, [&](Value channel) {
          OpFoldResult left = math().sub(math().constant(depth()), channel);
          bool isEven = depth() % kPackedDepth == 0 || depth() < kPackedDepth;
          OpFoldResult most = math().constant(std::min(kPackedDepth, depth()));
          emitRun({{plane, row, column}, channel, isEven ? most : math().min(most, left)});
        });
      });
    });
  });
  return result;
}

LogicalResult DenseConvEmitter::packFilter(const ConvGrid::Task &task, const Run &run) {
  LogicalResult result = success();
  OpFoldResult columns = math().min(math().constant(tiling.columns()),
                                    math().sub(math().constant(problem.filters), task.firstFilter));
  OpFoldResult firstFilter =
      math().add(math().mul(task.matrix, math().constant(problem.filters)), task.firstFilter);
  auto maskType = VectorType::get({tiling.lanes}, builder.getI1Type());
  emitLoop(math().constant(0), run.depth, 1, [&](Value row) {
    emitLoop(math().constant(0), columns, tiling.lanes, [&](Value column) {
      SmallVector<Value> index = problem.filterIndex(builder, loc, run.place, math().add(run.channel, row),
                                                     math().add(firstFilter, column));
      Value left = math().value(math().sub(columns, column));
      Value mask = vector::CreateMaskOp::create(builder, loc, maskType, left);
      elements.reset();
      FailureOr<Value> value = elements.evaluate(problem.op.getFilter(), Tile{index, tiling.lanes, mask});
      if (failed(value)) {
        result = failure();
        return;
      }
      OpFoldResult place = math().add(math().mul(row, math().constant(tiling.columns())), column);
      vector::StoreOp::create(builder, loc, *value, packScratch, ValueRange{math().value(place)});
    });
  });
  return result;
}

void DenseConvEmitter::emitTiles(const ConvGrid::Task &task, const WindowRef &windows,
                                 const ColumnTile &columns, Value isFirst, TileBody body) {
  OpFoldResult zero = math().constant(0), height = math().constant(tiling.rows);
  OpFoldResult done = math().mul(math().floorDiv(task.block.columns, height), height);
  OpFoldResult left = math().sub(task.block.columns, done);
  emitLoop(zero, task.block.rows, 1, [&](Value row) {
    emitLoop(zero, done, tiling.rows, [&](Value column) {
      emitTile(task, windows, tiling.tile(tiling.rows, columns.vectors), row, column, isFirst, body);
    });
    // One tile of exactly the width that is left.
    if (std::optional<int64_t> count = getConstantIntValue(left)) {
      if (*count) {
        emitTile(task, windows, tiling.tile(*count, columns.vectors), row, math().value(done), isFirst, body);
      }
      return;
    }
    SmallVector<int64_t> counts = llvm::to_vector(llvm::seq<int64_t>(1, tiling.rows));
    auto choose =
        scf::IndexSwitchOp::create(builder, loc, TypeRange(), math().value(left), counts, counts.size());
    OpBuilder::InsertionGuard guard(builder);
    for (auto [count, region] : llvm::zip_equal(counts, choose.getCaseRegions())) {
      builder.createBlock(&region);
      emitTile(task, windows, tiling.tile(count, columns.vectors), row, math().value(done), isFirst, body);
      scf::YieldOp::create(builder, loc);
    }
    builder.createBlock(&choose.getDefaultRegion());
    scf::YieldOp::create(builder, loc);
  });
}

void DenseConvEmitter::emitTile(const ConvGrid::Task &task, const WindowRef &windows,
                                const RegisterTile &tile, Value row, Value column, Value isFirst,
                                TileBody body) {
  OpFoldResult rowStride = math().mul(windows.strides[1], math().constant(problem.dims[1].stride));
  OpFoldResult pixelStride = math().mul(windows.strides[2], math().constant(problem.dims[2].stride));
  OpFoldResult offset = math().add(windows.offset, math().mul(row, rowStride));
  offset = math().add(offset, math().mul(column, pixelStride));
  MatrixRef lhs{windows.base, math().value(offset), pixelStride, math().constant(1)};

  OpFoldResult pixel = math().add(math().mul(row, task.block.columns), column);
  OpFoldResult place = math().mul(pixel, math().constant(tiling.columns()));
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
  Value zero = arith::ConstantOp::create(builder, loc, builder.getZeroAttr(vectorType));
  SmallVector<Value> sums(tile.sums(), zero);
  for (auto [sum, place] : llvm::zip_equal(sums, places)) {
    if (isFirst) {
      Value before = vector::LoadOp::create(builder, loc, vectorType, scratch, ValueRange{place});
      sum = arith::SelectOp::create(builder, loc, isFirst, zero, before);
    }
  }
  OpFoldResult number = math().add(row, math().floorDiv(column, math().constant(tiling.rows)));
  sums = body(tile, lhs, number, sums);
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

LogicalResult DenseConvEmitter::emitEpilogue(const ConvGrid::Task &task, const ColumnTile &columns) {
  StridedView output = getOutputView(context, problem.output);
  const ConvGrid::Block &block = task.block;
  LogicalResult result = success();
  emitLoop(math().constant(0), block.rows, 1, [&](Value row) {
    emitLoop(math().constant(0), block.columns, 1, [&](Value column) {
      OpFoldResult pixel = math().add(math().mul(row, block.columns), column);
      OpFoldResult place = math().mul(pixel, math().constant(tiling.columns()));
      SmallVector<Value> index = resultIndex(task, row, column);
      result = emitRowEpilogue(builder, loc, elements, problem.op.getResult(), problem.output, output,
                               scratch, place, index, columns, tiling.lanes);
    });
  });
  return result;
}

FailureOr<TaskSplit> cpu::splitDenseConv(EmitContext &context, ConvProblem &problem) {
  nn::PanelAttr panel = getFilterPanel(context, problem.op);
  ConvGrid grid(context, problem, chooseMatMulTiling(context.target, 32), panel ? panel.getJoined() : 1);
  IndexMath math{context.builder, problem.op.getLoc()};
  return TaskSplit{math.value(grid.tasks), math.value(grid.grain)};
}

LogicalResult cpu::emitDenseConv(EmitContext &context, ConvProblem &problem) {
  return DenseConvEmitter(context, problem, getFilterPanel(context, problem.op)).emit();
}
