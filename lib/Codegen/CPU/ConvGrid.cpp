// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "ConvGrid.h"
#include "MatrixTiles.h"

#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cpu;

/// Pixels of a block: their sums stay in the first-level cache, and the columns of weights that all of them
/// read come from the second level seldom enough. Filters that the second level does not hold come from
/// memory for each block: there are fewer of them.
static constexpr int64_t kMaxPixels = 112, kMaxPixelsOfLargeFilters = 224;
/// Elements of the input that are copied for a block of several pixels: half of a small second-level cache.
static constexpr int64_t kMaxPatch = 128 << 10;

/// Elements of the input that a block of `height` by `width` pixels needs; saturates.
static int64_t getPatchElements(ConvProblem &problem, int64_t height, int64_t width) {
  const auto &[depth, rows, columns] = problem.dims;
  auto span = [](const ConvDim &dim, int64_t pixels) {
    return llvm::SaturatingMultiplyAdd<uint64_t>(pixels - 1, dim.stride, dim.reach());
  };
  uint64_t elements = llvm::SaturatingMultiply<uint64_t>(problem.storedChannels, span(depth, 1));
  elements = llvm::SaturatingMultiply<uint64_t>(elements, span(rows, height));
  elements = llvm::SaturatingMultiply<uint64_t>(elements, span(columns, width));
  return int64_t(std::min<uint64_t>(elements, INT64_MAX));
}

/// Equal blocks of at most `limit` elements of a dimension: their number and size, at least 1.
static std::pair<OpFoldResult, OpFoldResult> getBlocks(IndexMath math, OpFoldResult size,
                                                       OpFoldResult limit) {
  OpFoldResult one = math.constant(1);
  OpFoldResult count = math.ceilDiv(size, limit);
  OpFoldResult length = math.max(math.ceilDiv(size, math.max(count, one)), one);
  return {math.ceilDiv(size, length), length};
}

/// The largest need of any block of at most `pixels` pixels that `grid` makes of a result of this size.
static int64_t getLargestPatch(ConvProblem &problem, int64_t pixels) {
  auto sizeOf = [](const ConvDim &dim) { return getConstantIntValue(dim.out); };
  std::optional<int64_t> height = sizeOf(problem.dims[1]), width = sizeOf(problem.dims[2]);
  int64_t largest = 0;
  int64_t first = 1, last = pixels;
  if (width) {
    int64_t blocks = std::max<int64_t>(llvm::divideCeil(*width, pixels), 1);
    first = last = std::max<int64_t>(llvm::divideCeil(*width, blocks), 1);
  }
  for (int64_t columns = first; columns <= last; ++columns) {
    int64_t rows = pixels / columns;
    rows = height ? std::clamp<int64_t>(*height, 1, rows) : rows;
    largest = std::max(largest, getPatchElements(problem, rows, columns));
  }
  return largest;
}

ConvGrid::ConvGrid(EmitContext &context, ConvProblem &problem, const MatMulTiling &tiling, int64_t joined,
                   int64_t grainOperations) {
  IndexMath math{context.builder, problem.op.getLoc()};
  // A window of one pixel always fits: see canEmitConv.
  auto filter = cast<RankedTensorType>(problem.op.getFilter().getType());
  uint64_t filterBytes = uint64_t(joined) * filter.getNumElements() * filter.getElementTypeBitWidth() / 8;
  pixels = filterBytes > uint64_t(context.target.l2Bytes) / 2 ? kMaxPixelsOfLargeFilters : kMaxPixels;
  // Blocks that read the input where it lies may span any part of it.
  bool isCopied = problem.isPadded() || !problem.op.getX().getDefiningOp<kernel::InputOp>() ||
                  problem.storedChannels != problem.groups * problem.channels;
  while (isCopied && pixels > 1 && getLargestPatch(problem, pixels) > kMaxPatch) {
    pixels = pixels > 16 ? pixels - 8 : pixels / 2;
  }
  patchElements = getLargestPatch(problem, pixels);

  const auto &[depth, height, width] = problem.dims;
  OpFoldResult one = math.constant(1);
  std::tie(columnBlocks, blockWidth) = getBlocks(math, width.out, math.constant(pixels));
  OpFoldResult rows = math.floorDiv(math.constant(pixels), blockWidth);
  std::tie(rowBlocks, blockHeight) = getBlocks(math, height.out, rows);
  columnTiles = math.constant(llvm::divideCeil(problem.filters * joined, tiling.columns()));
  matrices = math.constant(problem.groups / joined);
  OpFoldResult blocks = math.mul(math.mul(problem.batch, depth.out), math.mul(rowBlocks, columnBlocks));
  tasks = math.mul(blocks, math.mul(matrices, columnTiles));

  int64_t work = 2 * problem.places() * problem.channels * joined * tiling.columns();
  OpFoldResult taskWork = math.mul(math.mul(blockHeight, blockWidth), math.constant(work));
  grain = math.max(math.floorDiv(math.constant(grainOperations), taskWork), one);
}

ConvGrid::Task ConvGrid::decode(OpBuilder &builder, Location loc, ConvProblem &problem,
                                const MatMulTiling &tiling, Value task) const {
  IndexMath math{builder, loc};
  Task result;
  SmallVector<OpFoldResult> index = math.delinearize(
      task, {problem.batch, problem.dims[0].out, rowBlocks, columnBlocks, matrices, columnTiles});
  result.number = math.floorDiv(task, math.mul(matrices, columnTiles));
  Block &block = result.block;
  block.image = index[0];
  block.plane = index[1];
  block.firstRow = math.mul(index[2], blockHeight);
  block.firstColumn = math.mul(index[3], blockWidth);
  // Blocks that divide a dimension evenly, or are its only one, have a size that is known.
  auto clip = [&](OpFoldResult size, OpFoldResult length, OpFoldResult first) {
    std::optional<int64_t> all = getConstantIntValue(size), each = getConstantIntValue(length);
    return all && each && *all % *each == 0 ? length : math.min(length, math.sub(size, first));
  };
  block.rows = clip(problem.dims[1].out, blockHeight, block.firstRow);
  block.columns = clip(problem.dims[2].out, blockWidth, block.firstColumn);
  result.matrix = index[4];
  result.firstFilter = math.mul(index[5], math.constant(tiling.columns()));
  return result;
}

/// Wide rows are divided evenly, so that the registers are made to fit once; of narrow ones two are done
/// together.
void ConvGrid::emitMatrixTiles(OpBuilder &builder, Location loc, const Block &block,
                               llvm::function_ref<void(ArrayRef<Pixels>)> body) {
  constexpr int64_t kRows = MatrixTiles::kRows;
  IndexMath math{builder, loc};
  auto emitLoop = [&](OpFoldResult begin, OpFoldResult end, int64_t step,
                      llvm::function_ref<void(Value)> inner) {
    auto loop =
        scf::ForOp::create(builder, loc, math.value(begin), math.value(end), math.value(math.constant(step)));
    OpBuilder::InsertionGuard guard(builder);
    builder.setInsertionPointToStart(loop.getBody());
    inner(loop.getInductionVar());
  };
  OpFoldResult width = block.columns, none = math.constant(0), half = math.constant(kRows);
  std::optional<int64_t> known = getConstantIntValue(width);
  if (known && *known <= kRows) {
    OpFoldResult even = math.mul(math.floorDiv(block.rows, math.constant(2)), math.constant(2));
    emitLoop(none, even, 2,
             [&](Value row) { body({{row, none, width}, {math.add(row, math.constant(1)), none, width}}); });
    emitLoop(even, block.rows, 1, [&](Value row) { body({{row, none, width}}); });
    return;
  }
  emitLoop(none, block.rows, 1, [&](Value row) {
    if (known) {
      int64_t count = llvm::divideCeil(*known, llvm::divideCeil(*known, 2 * kRows));
      OpFoldResult last = math.constant(*known - count);
      emitLoop(none, width, count, [&](Value first) {
        // The last tile may overlap the one before.
        OpFoldResult column = math.min(first, last);
        body({{row, column, half}, {row, math.add(column, half), math.constant(count - kRows)}});
      });
      return;
    }
    emitLoop(none, width, kRows,
             [&](Value column) { body({{row, column, math.min(half, math.sub(width, column))}}); });
  });
}
