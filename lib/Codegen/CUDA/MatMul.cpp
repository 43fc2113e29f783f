// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Matrix products: a block computes a tile of the result, through tiles of both operands in shared memory; a
/// thread has some elements of it in registers. True f32 for floats, i32 for bytes.

#include "DeviceOps.h"
#include "Factors.h"
#include "lathe/Codegen/Element/IndexMath.h"
#include "lathe/Codegen/Element/LoopEmitter.h"
#include "lathe/Codegen/Element/MatMulProblem.h"

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

struct Grid {
  OpFoldResult rowTiles, columnTiles, blocks;

  Grid(IndexMath math, const MatMulProblem &problem, const Tiling &tiling) {
    rowTiles = math.ceilDiv(problem.m, math.constant(tiling.rows));
    columnTiles = math.ceilDiv(problem.n, math.constant(tiling.columns));
    blocks = math.mul(math.mul(rowTiles, columnTiles), math.product(problem.batch));
  }
};

class MatMulEmitter : LoopEmitter {
public:
  MatMulEmitter(EmitContext &context, const MatMulProblem &problem)
      : LoopEmitter(context.builder, problem.root->getLoc()), context(context), problem(problem),
        elements(context), factors(builder, loc, elements, getElement(problem.lhs)) {}

  LogicalResult emit();

private:
  static Type getElement(Value tensor) { return cast<RankedTensorType>(tensor.getType()).getElementType(); }

  LogicalResult findOperands();
  void decodeBlock();
  FailureOr<Value> loadLhs(Value row, Value k);
  FailureOr<Value> loadRhs(Value k, Value column);
  /// Fills the tile of an operand from depth `first` on, zeros where there is nothing.
  LogicalResult stageLhs(Value first);
  LogicalResult stageRhs(Value first);
  SmallVector<Value> multiplyStage(ValueRange sums);
  LogicalResult emitEpilogue(ArrayRef<Value> sums);
  /// `position < end`; null if that is evident, as `end` is a multiple of the tile.
  Value isInside(Value position, OpFoldResult end, int64_t tile);
  LogicalResult emitInside(Value condition, llvm::function_ref<LogicalResult()> body);

  EmitContext &context;
  const MatMulProblem &problem;
  Tiling tiling;
  ElementEmitter elements;
  Factors factors;
  /// Null or the left-hand side with all its rows along one dimension.
  std::optional<StridedView> flatLhs;
  SmallVector<OpFoldResult> lhsDims, rhsDims;
  SmallVector<OpFoldResult> batchIndex;
  Value firstRow, firstColumn, across, down;
  Value lhsTile, rhsTile;
};
} // namespace

LogicalResult MatMulEmitter::findOperands() {
  for (auto [tensor, dims] : {std::pair(problem.lhs, &lhsDims), std::pair(problem.rhs, &rhsDims)}) {
    FailureOr<ArrayRef<OpFoldResult>> known = context.shapes.getDims(tensor);
    if (failed(known)) {
      return problem.root->emitOpError("has an operand of unknown shape");
    }
    dims->assign(known->begin(), known->end());
  }
  FailureOr<StridedView> view = getStridedView(context, problem.lhs);
  if (!problem.flattened.empty() && succeeded(view) && !problem.lhsZero) {
    int64_t rank = lhsDims.size();
    flatLhs = mergeDims(builder, loc, *view, {{0, rank - 1}, {rank - 1, rank}});
  }
  return success();
}

void MatMulEmitter::decodeBlock() {
  Grid grid(math(), problem, tiling);
  // Blocks that run at the same time share their columns of the right-hand side, most often weights.
  OpFoldResult row = math().rem(context.block, grid.rowTiles);
  OpFoldResult rest = math().floorDiv(context.block, grid.rowTiles);
  firstRow = math().value(math().mul(row, math().constant(tiling.rows)));
  OpFoldResult column = problem.batch.empty() ? rest : math().rem(rest, grid.columnTiles);
  firstColumn = math().value(math().mul(column, math().constant(tiling.columns)));
  if (!problem.batch.empty()) {
    batchIndex = math().delinearize(math().floorDiv(rest, grid.columnTiles), problem.batch);
  }
  across = math().value(math().rem(context.thread, math().constant(tiling.across)));
  down = math().value(math().floorDiv(context.thread, math().constant(tiling.across)));
}

FailureOr<Value> MatMulEmitter::loadLhs(Value row, Value k) {
  if (flatLhs) {
    return factors.widen(loadTile(builder, loc, *flatLhs, Tile{{row, k}, 0, Value()}),
                         getElement(problem.lhs));
  }
  SmallVector<OpFoldResult> index;
  if (problem.flattened.empty()) {
    index = broadcastBatchIndex(builder, loc, ArrayRef(lhsDims).drop_back(2), batchIndex);
    index.push_back(row);
  } else {
    index = math().delinearize(row, problem.flattened);
  }
  index.push_back(k);
  return factors.load(problem.lhs, problem.lhsZero, math().values(index));
}

FailureOr<Value> MatMulEmitter::loadRhs(Value k, Value column) {
  SmallVector<OpFoldResult> index =
      broadcastBatchIndex(builder, loc, ArrayRef(rhsDims).drop_back(2), batchIndex);
  index.append({k, column});
  return factors.load(problem.rhs, problem.rhsZero, math().values(index));
}

Value MatMulEmitter::isInside(Value position, OpFoldResult end, int64_t tile) {
  if (std::optional<int64_t> size = getConstantIntValue(end); size && *size % tile == 0) {
    return {};
  }
  return arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ult, position, math().value(end));
}

/// Of two conditions, each of which may be null.
static Value both(OpBuilder &builder, Location loc, Value lhs, Value rhs) {
  return !lhs ? rhs : !rhs ? lhs : arith::AndIOp::create(builder, loc, lhs, rhs).getResult();
}

LogicalResult MatMulEmitter::stageLhs(Value first) {
  for (int64_t done = 0; done < tiling.rows * tiling.depth; done += tiling.threads) {
    ElementEmitter::Scope scope(elements);
    OpFoldResult number = math().add(context.thread, math().constant(done));
    // Neighbouring threads read along the depth, in which rows lie most often.
    OpFoldResult depth = math().rem(number, math().constant(tiling.depth));
    OpFoldResult row = math().floorDiv(number, math().constant(tiling.depth));
    Value k = math().value(math().add(first, depth)), i = math().value(math().add(firstRow, row));
    Value exists =
        both(builder, loc, isInside(i, problem.m, tiling.rows), isInside(k, problem.k, tiling.depth));
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
    Value exists =
        both(builder, loc, isInside(j, problem.n, tiling.columns), isInside(k, problem.k, tiling.depth));
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

LogicalResult MatMulEmitter::emitInside(Value condition, llvm::function_ref<LogicalResult()> body) {
  ElementEmitter::Scope scope(elements);
  LogicalResult result = success();
  if (condition) {
    emitIf(condition, [&] { result = body(); });
  } else {
    result = body();
  }
  return result;
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
        if (failed(emitInside(isInside(column, problem.n, tiling.columns), emitElement))) {
          return failure();
        }
      }
      return success();
    };
    if (failed(emitInside(isInside(row, problem.m, tiling.rows), emitRow))) {
      return failure();
    }
  }
  return success();
}

LogicalResult MatMulEmitter::emit() {
  if (failed(findOperands())) {
    return failure();
  }
  decodeBlock();
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
  Tiling tiling;
  Grid grid(IndexMath{context.builder, problem->root->getLoc()}, *problem, tiling);
  return Launch{grid.blocks, tiling.threads};
}

static LogicalResult emitMatMul(EmitContext &context) {
  FailureOr<MatMulProblem> problem = analyzeMatMul(context);
  return failed(problem) ? failure() : MatMulEmitter(context, *problem).emit();
}

cuda::Emitter cuda::getMatMulEmitter() { return {planMatMul, emitMatMul}; }
