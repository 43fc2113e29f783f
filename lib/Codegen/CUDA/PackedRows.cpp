// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Products of few rows and a weight that is stored in a format, whose time is that of reading the weight. A
/// block has 16 columns; its warps share their depth. A lane reads a piece of 16 bytes, four neighbouring
/// columns, and several such pieces before it multiplies any. True f32.

#include "DeviceOps.h"
#include "MatMulBlocks.h"
#include "PackedMatMul.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cuda;

/// The columns of a block, and of a lane; the units that a warp, and a block, reads at a time, and the pieces
/// that a lane has under way.
static constexpr int64_t kColumns = 16, kLaneColumns = 4, kWarpUnits = kWarp * kLaneColumns / kColumns,
                         kWarps = kPackedThreads / kWarp, kBlockUnits = kWarps * kWarpUnits, kPieces = 4;

namespace {
class PackedRowsEmitter : MatMulBlocks {
public:
  PackedRowsEmitter(EmitContext &context, const MatMulProblem &problem, int64_t rows)
      : MatMulBlocks(context, problem), weight(problem.rhs), rows(rows) {}

  LogicalResult emit();

private:
  /// Adds the products of a unit to the sums, vectors of this lane's columns, of each row.
  void multiply(const PackedColumns::Words &words, OpFoldResult number, Value exists,
                MutableArrayRef<Value> sums);
  SmallVector<Value> emitSums();
  LogicalResult emitResult(ArrayRef<Value> sums);

  PackedColumns weight;
  /// Of a block.
  int64_t rows;
  Value lane, warp;
  LogicalResult status = success();
};
} // namespace

void PackedRowsEmitter::multiply(const PackedColumns::Words &words, OpFoldResult number, Value exists,
                                 MutableArrayRef<Value> sums) {
  PackedColumns::Unit unit = weight.decode(math(), words);
  auto floats = VectorType::get({kLaneColumns}, builder.getF32Type());
  OpFoldResult k = math().mul(number, math().constant(weight.getUnitRows()));
  OpFoldResult last = math().sub(problem.m, math().constant(1));
  int64_t together = std::min<int64_t>(kLaneColumns, weight.getUnitRows());
  auto vectorType = VectorType::get({together}, builder.getF32Type());
  Value zero = arith::ConstantOp::create(builder, loc, builder.getZeroAttr(floats));
  for (auto [row, sum] : llvm::enumerate(sums)) {
    // A row that does not exist repeats the last one and is not stored.
    Value i = math().value(math().min(math().add(firstRow, math().constant(int64_t(row))), last));
    Value part = zero;
    for (int64_t first = 0; first < weight.getUnitRows(); first += together) {
      ElementEmitter::Scope scope(elements);
      OpFoldResult at = math().add(k, math().constant(first));
      FailureOr<Value> factors = elements.evaluate(problem.lhs, Tile{getLhsIndex(i, at), together, Value()});
      if (failed(factors)) {
        status = failure();
        return;
      }
      Value own = toLanes(builder, loc, *factors, together);
      if (exists) {
        Value none = arith::ConstantOp::create(builder, loc, builder.getZeroAttr(vectorType));
        own = arith::SelectOp::create(builder, loc, exists, own, none);
      }
      for (int64_t j = 0; j < together; ++j) {
        Value factor = vector::BroadcastOp::create(builder, loc, floats,
                                                   vector::ExtractOp::create(builder, loc, own, j));
        part = vector::FMAOp::create(builder, loc, factor, unit.codes[first + j], part);
      }
    }
    sum = unit.scales ? vector::FMAOp::create(builder, loc, part, unit.scales, sum).getResult()
                      : arith::AddFOp::create(builder, loc, part, sum).getResult();
  }
}

SmallVector<Value> PackedRowsEmitter::emitSums() {
  int64_t units = weight.countUnits();
  // Several rows take the registers of half of them.
  int64_t pieces = std::clamp<int64_t>(units / kBlockUnits, 1, rows == 1 ? kPieces : kPieces / 2);
  OpFoldResult column =
      math().mul(math().rem(lane, math().constant(kColumns / kLaneColumns)), math().constant(kLaneColumns));
  column = math().add(firstColumn, column);
  OpFoldResult first = math().add(math().mul(warp, math().constant(kWarpUnits)),
                                  math().floorDiv(lane, math().constant(kColumns / kLaneColumns)));
  auto floats = VectorType::get({kLaneColumns}, builder.getF32Type());
  SmallVector<Value> sums(rows, arith::ConstantOp::create(builder, loc, builder.getZeroAttr(floats)));
  return emitLoop(math().constant(0), math().constant(units), pieces * kBlockUnits, sums,
                  [&](Value begin, ValueRange before) {
                    SmallVector<Value> now(before), exist;
                    SmallVector<OpFoldResult> numbers;
                    SmallVector<PackedColumns::Words> loaded;
                    for (int64_t piece = 0; piece < pieces; ++piece) {
                      OpFoldResult number = math().add(begin, first);
                      number = math().add(number, math().constant(piece * kBlockUnits));
                      bool areWhole = units % (pieces * kBlockUnits) == 0;
                      exist.push_back(areWhole ? Value()
                                               : emitIsInside(math(), number, math().constant(units),
                                                              pieces * kBlockUnits));
                      numbers.push_back(areWhole ? number : math().min(number, math().constant(units - 1)));
                      loaded.push_back(weight.load(math(), column, numbers.back(), kLaneColumns));
                    }
                    for (int64_t piece = 0; piece < pieces; ++piece) {
                      multiply(loaded[piece], numbers[piece], exist[piece], now);
                    }
                    return now;
                  });
}

LogicalResult PackedRowsEmitter::emitResult(ArrayRef<Value> sums) {
  // The op is a handle: its accessors do not take a constant one.
  kernel::OutputOp output = problem.output;
  Value shared = context.allocateShared(loc, builder.getF32Type(), kWarps * rows * kColumns);
  int64_t lanesOfUnit = kColumns / kLaneColumns;
  Value isFirst = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ult, lane,
                                        math().value(math().constant(lanesOfUnit)));
  for (auto [row, sum] : llvm::enumerate(sums)) {
    // Lanes with other units of the same columns, then warps.
    OpFoldResult place = math().add(math().mul(warp, math().constant(rows)), math().constant(int64_t(row)));
    place = math().add(math().mul(place, math().constant(kColumns)),
                       math().mul(lane, math().constant(kLaneColumns)));
    SmallVector<Value> totals;
    for (int64_t j = 0; j < kLaneColumns; ++j) {
      Value total = vector::ExtractOp::create(builder, loc, sum, j);
      for (int64_t distance = lanesOfUnit; distance < kWarp; distance *= 2) {
        total = arith::AddFOp::create(builder, loc, total, emitExchange(builder, loc, total, distance));
      }
      totals.push_back(total);
    }
    emitIf(isFirst, [&] {
      for (auto [j, total] : llvm::enumerate(totals)) {
        memref::StoreOp::create(builder, loc, total, shared,
                                math().value(math().add(place, math().constant(int64_t(j)))));
      }
    });
  }
  emitBarrier(builder, loc);
  emitLoop(context.thread, math().constant(rows * kColumns), kPackedThreads, [&](Value number) {
    ElementEmitter::Scope scope(elements);
    Value i = math().value(math().add(firstRow, math().floorDiv(number, math().constant(kColumns))));
    Value j = math().value(math().add(firstColumn, math().rem(number, math().constant(kColumns))));
    Value total;
    for (int64_t other = 0; other < kWarps; ++other) {
      OpFoldResult place = math().add(number, math().constant(other * rows * kColumns));
      Value part = memref::LoadOp::create(builder, loc, shared, math().value(place));
      total = total ? arith::AddFOp::create(builder, loc, total, part).getResult() : part;
    }
    auto store = [&]() -> LogicalResult {
      elements.setValue(problem.result, total);
      Tile tile{problem.resultIndex(builder, loc, batchIndex, i, j), 0, Value()};
      FailureOr<Value> value = elements.evaluate(output.getValue(), tile);
      if (failed(value)) {
        return failure();
      }
      storeTile(builder, loc, *value, getOutputView(context, output), tile);
      return success();
    };
    if (failed(emitInside(isInResult(i, rows, j, kColumns), store))) {
      status = failure();
    }
  });
  return status;
}

LogicalResult PackedRowsEmitter::emit() {
  if (failed(findOperands())) {
    return failure();
  }
  decodeBlock(rows, kColumns);
  lane = math().value(math().rem(context.thread, math().constant(kWarp)));
  warp = math().value(math().floorDiv(context.thread, math().constant(kWarp)));
  SmallVector<Value> sums = emitSums();
  return failed(status) ? failure() : emitResult(sums);
}

OpFoldResult cuda::countPackedBlocks(IndexMath math, const MatMulProblem &problem, int64_t rows) {
  return MatMulGrid(math, problem, rows, kColumns).blocks;
}

LogicalResult cuda::emitPackedRows(EmitContext &context, const MatMulProblem &problem, int64_t rows) {
  return PackedRowsEmitter(context, problem, rows).emit();
}
