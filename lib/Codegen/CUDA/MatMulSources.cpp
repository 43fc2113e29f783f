// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "MatMulSources.h"
#include "PackedColumns.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cuda;

MatMulSources::MatMulSources(EmitContext &context, const MatMulProblem &problem, MatrixFormat format)
    : MatMulBlocks(context, problem), format(format) {}

LogicalResult MatMulSources::findSources() {
  if (failed(findOperands())) {
    return failure();
  }
  if (auto conv = dyn_cast<nn::ConvOp>(problem.root); conv && !conv.isProduct()) {
    windows.emplace(context, problem, elements);
  }
  return success();
}

std::optional<StridedView> MatMulSources::getMatrix(Value tensor) {
  if (tensor == problem.lhs && !problem.flattened.empty()) {
    return flatLhs;
  }
  FailureOr<StridedView> view = getStridedView(context, tensor);
  if (failed(view)) {
    return std::nullopt;
  }
  StridedView matrix = *view;
  if (windows) {
    int64_t rank = int64_t(view->sizes.size());
    return mergeDims(builder, loc, *view, {{0, rank - 1}, {rank - 1, rank}});
  }
  matrix.offset = getBatchOffset(builder, loc, *view, batchIndex);
  matrix.sizes.erase(matrix.sizes.begin(), matrix.sizes.end() - 2);
  matrix.strides.erase(matrix.strides.begin(), matrix.strides.end() - 2);
  return matrix;
}

std::pair<TileSource, bool> MatMulSources::getFloatSource(StagedTile::Side side) {
  bool isLhs = side == StagedTile::Lhs;
  if (isLhs && windows) {
    return {windows->getSource(format), true};
  }
  if (!isLhs && PackedColumns::areRead(problem.rhs)) {
    return {getPackedSource(), true};
  }
  std::optional<StridedView> memory = getMatrix(isLhs ? problem.lhs : problem.rhs);
  // Lines are rows of the matrix, or its columns where these lie side by side.
  bool isTransposed = false;
  if (memory && !isCopiable(*memory, format)) {
    std::swap(memory->sizes[0], memory->sizes[1]);
    std::swap(memory->strides[0], memory->strides[1]);
    isTransposed = isCopiable(*memory, format);
    memory = isTransposed ? memory : std::nullopt;
  }
  bool alongDepth = isLhs != isTransposed;
  OpFoldResult extent = isLhs ? problem.m : problem.n;
  TileSource source;
  source.memory = memory;
  source.lines = alongDepth ? extent : problem.k;
  source.length = alongDepth ? problem.k : extent;
  source.element = [this, isLhs](Value line, Value place) {
    return isLhs ? loadLhs(line, place) : windows ? loadFilter(line, place) : loadRhs(line, place);
  };
  return {source, alongDepth};
}

std::optional<TileSource> MatMulSources::getPanelSource() {
  auto input = problem.rhs.getDefiningOp<kernel::InputOp>();
  auto argument = input ? dyn_cast<BlockArgument>(input.getBytes()) : BlockArgument();
  auto panel = argument ? context.kernel.getArgAttrOfType<nn::PanelAttr>(argument.getArgNumber(),
                                                                         kernel::KernelDialect::kPanelAttr)
                        : nn::PanelAttr();
  if (!panel) {
    return std::nullopt;
  }
  int64_t rows = panel.getStoredRows(input.getTensorType()), width = panel.getWidth(),
          chunk = panel.getInterleave();
  TileSource source;
  source.lines = problem.n;
  source.length = math().constant(rows);
  OpFoldResult all = math().constant(panel.getStoredElements(input.getTensorType()));
  source.memory = getDenseView(builder, loc, argument, all, builder.getI8Type());
  source.findLine = [=, this](Value line) -> ChunkFinder {
    OpFoldResult first =
        math().mul(math().floorDiv(line, math().constant(width)), math().constant(width * rows));
    first = math().add(first, math().mul(math().rem(line, math().constant(width)), math().constant(chunk)));
    return [=, this](Value place) {
      OpFoldResult number = math().floorDiv(place, math().constant(chunk));
      return TileChunk{math().add(first, math().mul(number, math().constant(width * chunk))), Value()};
    };
  };
  return source;
}

TileSource MatMulSources::getPackedSource() {
  PackedColumns weight(problem.rhs);
  TileSource source;
  source.lines = problem.n;
  source.length = problem.k;
  source.unit = weight.getUnitRows();
  source.units = [this, weight](Value line, Value place) {
    OpFoldResult number = math().floorDiv(place, math().constant(weight.getUnitRows()));
    PackedColumns::Unit unit = weight.decode(math(), weight.load(math(), line, number, /*lanes=*/1));
    return llvm::map_to_vector(unit.codes, [&](Value code) -> Value {
      Value element = unit.scales ? arith::MulFOp::create(builder, loc, code, unit.scales).getResult() : code;
      return vector::ExtractOp::create(builder, loc, element, 0);
    });
  };
  return source;
}

std::pair<TileSource, bool> MatMulSources::getByteSource(StagedTile::Side side) {
  bool isLhs = side == StagedTile::Lhs;
  if (std::optional<TileSource> panels = isLhs ? std::nullopt : getPanelSource()) {
    return {*panels, true};
  }
  // Lines lie along the depth in any case: only pairs of bytes could be transposed on the way.
  TileSource source;
  source.lines = isLhs ? problem.m : problem.n;
  source.length = problem.k;
  std::optional<StridedView> memory = getMatrix(isLhs ? problem.lhs : problem.rhs);
  if (memory && !isLhs) {
    std::swap(memory->sizes[0], memory->sizes[1]);
    std::swap(memory->strides[0], memory->strides[1]);
  }
  if (memory && isCopiable(*memory, format)) {
    source.memory = memory;
  }
  source.element = [this, isLhs](Value line, Value place) {
    SmallVector<Value> index = isLhs ? getLhsIndex(line, place) : getRhsIndex(place, line);
    return elements.evaluate(isLhs ? problem.lhs : problem.rhs, Tile{index, 0, Value()});
  };
  return {source, true};
}

FailureOr<Value> MatMulSources::loadFilter(Value row, Value column) {
  SmallVector<OpFoldResult> index = math().delinearize(row, ArrayRef(rhsDims).drop_back());
  index.push_back(column);
  return factors.load(problem.rhs, Value(), math().values(index));
}

std::pair<TileSource, bool> MatMulSources::getSource(StagedTile::Side side) {
  return format == MatrixFormat::Bytes ? getByteSource(side) : getFloatSource(side);
}
