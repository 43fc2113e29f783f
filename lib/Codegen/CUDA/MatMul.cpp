// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Matrix products: a block computes a tile of the result, through tiles of both operands in shared memory; a
/// thread has some elements of it in registers. True f32 for floats, i32 for bytes; TiledMatMul.cpp has what
/// tensor cores multiply.

#include "DeviceOps.h"
#include "MatMulBlocks.h"
#include "TiledMatMul.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cuda;

namespace {
/// How a product is divided: the tile of a block, and the steps over its depth. `across` threads stand side
/// by side along the columns, the others along the rows; the elements of a thread lie so many columns, and so
/// many rows, apart, so that threads side by side read neighbours.
struct Tiling {
  int64_t rows = 64, columns = 64, depth = 16;
  int64_t threads = 256, across = 16;

  int64_t down() const { return threads / across; }
  int64_t rowsOfThread() const { return rows / down(); }
  int64_t columnsOfThread() const { return columns / across; }
  /// Rows of the left-hand side lie in columns: a step of one depth reads neighbours. The gap spreads what is
  /// stored over the banks.
  int64_t lhsStride() const { return rows + kSharedVector; }
};

class MatMulEmitter : MatMulBlocks {
public:
  using MatMulBlocks::MatMulBlocks;

  LogicalResult emit();

private:
  /// Fills the tile of an operand from depth `first` on, zeros where there is nothing.
  LogicalResult stageLhs(Value first);
  LogicalResult stageRhs(Value first);
  SmallVector<Value> multiplyStage(ValueRange sums);
  LogicalResult emitEpilogue(ArrayRef<Value> sums);

  Tiling tiling;
  /// The place of this thread among those along the columns, and along the rows.
  Value across, down;
  Value lhsTile, rhsTile;
};
} // namespace

LogicalResult MatMulEmitter::stageLhs(Value first) {
  for (int64_t done = 0; done < tiling.rows * tiling.depth; done += tiling.threads) {
    ElementEmitter::Scope scope(elements);
    OpFoldResult number = math().add(context.thread, math().constant(done));
    // Neighbouring threads read along the depth, in which rows lie most often.
    OpFoldResult depth = math().rem(number, math().constant(tiling.depth));
    OpFoldResult row = math().floorDiv(number, math().constant(tiling.depth));
    Value k = math().value(math().add(first, depth)), i = math().value(math().add(firstRow, row));
    Value exists = emitBoth(builder, loc, emitIsInside(math(), i, problem.m, tiling.rows),
                            emitIsInside(math(), k, problem.k, tiling.depth));
    auto load = [&] { return loadLhs(i, k); };
    FailureOr<Value> value = exists ? emitWhere(builder, loc, exists, factors.getZero(), load) : load();
    if (failed(value)) {
      return failure();
    }
    OpFoldResult place = math().add(math().mul(depth, math().constant(tiling.lhsStride())), row);
    memref::StoreOp::create(builder, loc, *value, lhsTile, math().value(place));
  }
  return success();
}

LogicalResult MatMulEmitter::stageRhs(Value first) {
  for (int64_t done = 0; done < tiling.columns * tiling.depth; done += tiling.threads) {
    ElementEmitter::Scope scope(elements);
    OpFoldResult number = math().add(context.thread, math().constant(done));
    OpFoldResult column = math().rem(number, math().constant(tiling.columns));
    OpFoldResult depth = math().floorDiv(number, math().constant(tiling.columns));
    Value k = math().value(math().add(first, depth)), j = math().value(math().add(firstColumn, column));
    Value exists = emitBoth(builder, loc, emitIsInside(math(), j, problem.n, tiling.columns),
                            emitIsInside(math(), k, problem.k, tiling.depth));
    auto load = [&] { return loadRhs(k, j); };
    FailureOr<Value> value = exists ? emitWhere(builder, loc, exists, factors.getZero(), load) : load();
    if (failed(value)) {
      return failure();
    }
    memref::StoreOp::create(builder, loc, *value, rhsTile, math().value(number));
  }
  return success();
}

SmallVector<Value> MatMulEmitter::multiplyStage(ValueRange before) {
  SmallVector<Value> sums(before);
  auto load = [&](Value tile, OpFoldResult place, int64_t count) {
    SmallVector<Value> elements;
    for (int64_t i = 0; i < count; i += kSharedVector) {
      llvm::append_range(elements,
                         loadShared(builder, loc, tile, math().value(math().add(place, math().constant(i)))));
    }
    return elements;
  };
  OpFoldResult ownRow = math().mul(down, math().constant(tiling.rowsOfThread()));
  OpFoldResult ownColumn = math().mul(across, math().constant(tiling.columnsOfThread()));
  for (int64_t k = 0; k < tiling.depth; ++k) {
    SmallVector<Value> column =
        load(lhsTile, math().add(ownRow, math().constant(k * tiling.lhsStride())), tiling.rowsOfThread());
    SmallVector<Value> row =
        load(rhsTile, math().add(ownColumn, math().constant(k * tiling.columns)), tiling.columnsOfThread());
    for (auto [i, lhs] : llvm::enumerate(column)) {
      for (auto [j, rhs] : llvm::enumerate(row)) {
        Value &sum = sums[int64_t(i) * tiling.columnsOfThread() + int64_t(j)];
        sum = factors.multiplyAdd(lhs, rhs, sum);
      }
    }
  }
  return sums;
}

LogicalResult MatMulEmitter::emitEpilogue(ArrayRef<Value> sums) {
  // The op is a handle: its accessors do not take a constant one.
  kernel::OutputOp output = problem.output;
  StridedView view = getOutputView(context, output);
  for (int64_t i = 0; i < tiling.rowsOfThread(); ++i) {
    OpFoldResult rowOfTile =
        math().add(math().mul(down, math().constant(tiling.rowsOfThread())), math().constant(i));
    Value row = math().value(math().add(firstRow, rowOfTile));
    auto emitRow = [&]() -> LogicalResult {
      for (int64_t j = 0; j < tiling.columnsOfThread(); ++j) {
        OpFoldResult columnOfTile =
            math().add(math().mul(across, math().constant(tiling.columnsOfThread())), math().constant(j));
        Value column = math().value(math().add(firstColumn, columnOfTile));
        auto emitElement = [&]() -> LogicalResult {
          Value sum = sums[i * tiling.columnsOfThread() + j];
          elements.setValue(problem.result, factors.narrow(sum, getElement(problem.result)));
          Tile tile{problem.resultIndex(builder, loc, batchIndex, row, column), 0, Value()};
          FailureOr<Value> value = elements.evaluate(output.getValue(), tile);
          if (failed(value)) {
            return failure();
          }
          storeTile(builder, loc, *value, view, tile);
          return success();
        };
        if (failed(emitInside(emitIsInside(math(), column, problem.n, tiling.columns), emitElement))) {
          return failure();
        }
      }
      return success();
    };
    if (failed(emitInside(emitIsInside(math(), row, problem.m, tiling.rows), emitRow))) {
      return failure();
    }
  }
  return success();
}

LogicalResult MatMulEmitter::emit() {
  if (failed(findOperands())) {
    return failure();
  }
  decodeBlock(tiling.rows, tiling.columns);
  across = math().value(math().rem(context.thread, math().constant(tiling.across)));
  down = math().value(math().floorDiv(context.thread, math().constant(tiling.across)));
  lhsTile = context.allocateShared(loc, factors.getType(), tiling.depth * tiling.lhsStride());
  rhsTile = context.allocateShared(loc, factors.getType(), tiling.depth * tiling.columns);
  SmallVector<Value> zeros(tiling.rowsOfThread() * tiling.columnsOfThread(), factors.getZero());
  LogicalResult result = success();
  SmallVector<Value> sums =
      emitLoop(math().constant(0), problem.k, tiling.depth, zeros, [&](Value first, ValueRange before) {
        ElementEmitter::Scope scope(elements);
        if (failed(stageLhs(first)) || failed(stageRhs(first))) {
          result = failure();
        }
        emitBarrier(builder, loc);
        SmallVector<Value> after = multiplyStage(before);
        // Nobody may fill the tiles again before all have read them.
        emitBarrier(builder, loc);
        return after;
      });
  return failed(result) ? failure() : emitEpilogue(sums);
}

static FailureOr<Launch> planMatMul(ElementContext &context) {
  FailureOr<MatMulProblem> problem = analyzeMatMul(context);
  if (failed(problem)) {
    return failure();
  }
  if (isTiledProduct(context, *problem)) {
    return planTiledMatMul(context, *problem);
  }
  Tiling tiling;
  MatMulGrid grid(IndexMath{context.builder, problem->root->getLoc()}, *problem, tiling.rows, tiling.columns);
  return Launch{grid.blocks, tiling.threads};
}

static LogicalResult emitMatMul(EmitContext &context) {
  FailureOr<MatMulProblem> problem = analyzeMatMul(context);
  if (failed(problem)) {
    return failure();
  }
  return isTiledProduct(context, *problem) ? emitTiledMatMul(context, *problem)
                                           : MatMulEmitter(context, *problem).emit();
}

cuda::Emitter cuda::getMatMulEmitter() { return {planMatMul, emitMatMul}; }
