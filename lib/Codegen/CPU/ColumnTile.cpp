// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "ColumnTile.h"
#include "lathe/Codegen/CPU/Emitters.h"
#include "lathe/Codegen/Element/IndexMath.h"
#include "lathe/Codegen/Element/PointwiseLoops.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "mlir/IR/Matchers.h"
#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cpu;

static Value makeMask(OpBuilder &builder, Location loc, int64_t lanes, OpFoldResult count) {
  auto type = VectorType::get({lanes}, builder.getI1Type());
  return vector::CreateMaskOp::create(builder, loc, type, IndexMath{builder, loc}.value(count));
}

/// A tile of `count` columns, known to be this many.
static ColumnTile makeTile(OpBuilder &builder, Location loc, int64_t lanes, int64_t count) {
  ColumnTile tile{int64_t(llvm::divideCeil(count, lanes)), {}};
  if (int64_t rest = count % lanes) {
    tile.masks.resize(tile.vectors);
    tile.masks.back() = makeMask(builder, loc, lanes, builder.getIndexAttr(rest));
  }
  return tile;
}

LogicalResult cpu::emitColumnTile(OpBuilder &builder, Location loc, const MatMulTiling &tiling,
                                  OpFoldResult columns, OpFoldResult first,
                                  llvm::function_ref<LogicalResult(const ColumnTile &)> body) {
  IndexMath math{builder, loc};
  std::optional<int64_t> number = getConstantIntValue(columns);
  if (!number) {
    ColumnTile tile{tiling.vectors, {}};
    for (int64_t vector = 0; vector < tiling.vectors; ++vector) {
      OpFoldResult left = math.sub(columns, math.add(first, math.constant(vector * tiling.lanes)));
      tile.masks.push_back(makeMask(builder, loc, tiling.lanes, left));
    }
    return body(tile);
  }
  int64_t rest = *number % tiling.columns(), full = *number - rest;
  if (rest == 0 || full == 0) {
    return body(makeTile(builder, loc, tiling.lanes, rest ? rest : tiling.columns()));
  }
  Value isFull = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ult, math.value(first),
                                       math.value(math.constant(full)));
  auto branch = scf::IfOp::create(builder, loc, isFull, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(builder);
  builder.setInsertionPointToStart(branch.thenBlock());
  if (failed(body(makeTile(builder, loc, tiling.lanes, tiling.columns())))) {
    return failure();
  }
  builder.setInsertionPointToStart(branch.elseBlock());
  return body(makeTile(builder, loc, tiling.lanes, rest));
}

LogicalResult cpu::emitRowEpilogue(OpBuilder &builder, Location loc, ElementEmitter &elements, Value root,
                                   kernel::OutputOp output, const StridedView &outputView,
                                   llvm::function_ref<Value(int64_t)> getSums, ArrayRef<Value> index,
                                   const ColumnTile &columns, int64_t lanes, FinishSums finish) {
  IndexMath math{builder, loc};
  for (int64_t vector = 0; vector < columns.vectors; ++vector) {
    OpFoldResult ahead = math.constant(vector * lanes);
    Value sum = getSums(vector);
    Tile tile{SmallVector<Value>(index), lanes, columns.masks.empty() ? Value() : columns.masks[vector]};
    tile.index.back() = math.value(math.add(index.back(), ahead));
    elements.reset();
    if (finish) {
      FailureOr<Value> finished = finish(sum, tile, vector);
      if (failed(finished)) {
        return failure();
      }
      sum = *finished;
    }
    elements.setValue(root, sum);
    FailureOr<Value> value = elements.evaluate(output.getValue(), tile);
    if (failed(value)) {
      return failure();
    }
    storeTile(builder, loc, *value, outputView, tile);
  }
  return success();
}

LogicalResult cpu::emitRowEpilogue(OpBuilder &builder, Location loc, ElementEmitter &elements, Value root,
                                   kernel::OutputOp output, const StridedView &outputView, Value scratch,
                                   OpFoldResult place, ArrayRef<Value> index, const ColumnTile &columns,
                                   int64_t lanes, FinishSums finish) {
  IndexMath math{builder, loc};
  auto type = VectorType::get({lanes}, cast<MemRefType>(scratch.getType()).getElementType());
  auto loadSums = [&](int64_t vector) -> Value {
    Value at = math.value(math.add(place, math.constant(vector * lanes)));
    return vector::LoadOp::create(builder, loc, type, scratch, ValueRange{at});
  };
  return emitRowEpilogue(builder, loc, elements, root, output, outputView, loadSums, index, columns, lanes,
                         finish);
}

/// A store, two operands and some cheap functions.
static constexpr double kShortEpilogue = 0.8;

/// Whether `value` is an input of the type of `root`. The tiles of a block fetch their places in it, which
/// have arrived when all tiles are done, but not at the end of the same tile.
static bool isAsLarge(Value value, Value root) {
  return value.getDefiningOp<kernel::InputOp>() && value.getType() == root.getType();
}

bool cpu::hasShortEpilogue(Value root, kernel::OutputOp output) {
  llvm::SetVector<Value> worklist;
  worklist.insert(output.getValue());
  for (size_t i = 0; i < worklist.size(); ++i) {
    Operation *op = worklist[i].getDefiningOp();
    if (isAsLarge(worklist[i], root)) {
      return false;
    }
    if (worklist[i] == root || isa_and_nonnull<kernel::InputOp>(op) || matchPattern(op, m_Constant())) {
      continue;
    }
    if (!isa_and_nonnull<nn::PointwiseOpInterface>(op)) {
      return false;
    }
    worklist.insert(op->operand_begin(), op->operand_end());
  }
  return getElementCost({output.getValue()}, {root}).nanoseconds <= kShortEpilogue;
}

SmallVector<StridedView> cpu::getEpilogueViews(EmitContext &context, Value root, kernel::OutputOp output) {
  Type type = root.getType();
  if (output.getValue().getType() != type) {
    return {};
  }
  SmallVector<StridedView> views{getOutputView(context, output)};
  for (auto input : context.kernel.getBody().front().getOps<kernel::InputOp>()) {
    bool isRead = llvm::any_of(input->getUsers(), [&](Operation *user) {
      return user != root.getDefiningOp() && isa<nn::PointwiseOpInterface>(user);
    });
    FailureOr<ArrayRef<OpFoldResult>> dims = context.shapes.getDims(input.getResult());
    if (!isRead || input.getType() != type || failed(dims) ||
        !llvm::all_of(llvm::zip_equal(*dims, views.front().sizes),
                      [](auto pair) { return areEqualSizes(std::get<0>(pair), std::get<1>(pair)); })) {
      continue;
    }
    if (FailureOr<StridedView> view = getStridedView(context, input.getResult()); succeeded(view)) {
      views.push_back(*view);
    }
  }
  return views;
}

void cpu::prefetchEpilogue(OpBuilder &builder, Location loc, ArrayRef<StridedView> views,
                           ArrayRef<Value> index, int64_t vectors, int64_t lanes) {
  IndexMath math{builder, loc};
  for (auto [number, view] : llvm::enumerate(views)) {
    OpFoldResult place = view.offset;
    for (auto [at, stride] : llvm::zip_equal(index, view.strides)) {
      place = math.add(place, math.mul(at, stride));
    }
    for (int64_t vector = 0; vector < vectors; ++vector) {
      Value ahead = math.value(math.add(place, math.constant(vector * lanes)));
      memref::PrefetchOp::create(builder, loc, view.base, ValueRange{ahead}, /*isWrite=*/number == 0,
                                 /*localityHint=*/2, /*isDataCache=*/true);
    }
  }
}
