// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Filters of convolutions that are not in panels: run by run, each packed for all pixels of a block.

#include "DenseConvEmitter.h"
#include "ProductEmitter.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cpu;

/// How many channels of a filter are packed at a time.
static constexpr int64_t kPackedDepth = 256;

Value DenseConvEmitter::makePackScratch() {
  int64_t rows = llvm::alignTo(std::min(kPackedDepth, depth()), group());
  return makeScratch(builder, loc, getPackedType(problem.op.getFilter()), rows * tiling.columns());
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
    MatrixRef rhs{packScratch, math().value(zero), math().constant(group() * tiling.columns()),
                  math().constant(1)};
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
  auto evaluate = [&](OpFoldResult row, Value column, Value mask) -> Value {
    SmallVector<Value> index = problem.filterIndex(builder, loc, run.place, math().add(run.channel, row),
                                                   math().add(firstFilter, column));
    elements.reset();
    FailureOr<Value> value = elements.evaluate(problem.op.getFilter(), Tile{index, tiling.lanes, mask});
    auto type = VectorType::get({tiling.lanes}, getPackedType(problem.op.getFilter()));
    if (failed(value)) {
      result = failure();
      return arith::ConstantOp::create(builder, loc, builder.getZeroAttr(type));
    }
    return value->getType() == type ? *value
                                    : vector::BitCastOp::create(builder, loc, type, *value).getResult();
  };
  emitLoop(math().constant(0), run.depth, group(), [&](Value row) {
    emitLoop(math().constant(0), columns, tiling.lanes, [&](Value column) {
      Value left = math().value(math().sub(columns, column));
      Value mask = vector::CreateMaskOp::create(builder, loc, maskType, left);
      Value values = evaluate(row, column, mask);
      if (group() == 2) {
        // The second half of the last pair may be no channel.
        OpFoldResult next = math().add(row, math().constant(1));
        Value exists = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ult, math().value(next),
                                             math().value(run.depth));
        Value others = emitIfExists(builder, loc, exists, values.getType(),
                                    [&] { return evaluate(next, column, mask); });
        values = vector::InterleaveOp::create(builder, loc, values, others);
      }
      OpFoldResult place = math().add(math().mul(row, math().constant(tiling.columns())),
                                      math().mul(column, math().constant(group())));
      vector::StoreOp::create(builder, loc, values, packScratch, ValueRange{math().value(place)});
    });
  });
  return result;
}
