// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "AttentionMask.h"

#include "lathe/Codegen/Math/Emitter.h"

#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <cmath>
#include <limits>

using namespace mlir;
using namespace lathe;
using namespace lathe::cpu;

LogicalResult AttentionMask::analyze() {
  // The op is a handle: its accessors do not take a constant one.
  nn::AttentionOp op = problem.op;
  Value mask = op.getMask();
  if (!mask) {
    return success();
  }
  FailureOr<ArrayRef<OpFoldResult>> found = context.shapes.getDims(mask);
  if (failed(found)) {
    return op.emitOpError("has a mask of unknown shape");
  }
  dims.assign(found->begin(), found->end());
  bool perQuery = dims.size() >= 2 && !isConstantSize(dims[dims.size() - 2], 1);
  form = perQuery ? Form::PerQueryAndKey : Form::PerKey;
  if (dims.empty() || isConstantSize(dims.back(), 1)) {
    keysOfMask = Keys::One;
  } else if (!getConstantIntValue(dims.back()) && !areEqualSizes(dims.back(), problem.keyCount)) {
    keysOfMask = Keys::Unknown;
  }
  return success();
}

/// The lowest finite mask, which leaves all keys of a row the same weight if it is everywhere, must not
/// become an infinity.
Value AttentionMask::toLogit(Value mask) {
  lathe::Emitter e(builder, loc);
  Type f32 = withElement(mask.getType(), builder.getF32Type());
  Value hidden = e.infinity(f32, /*negative=*/true);
  if (getElementTypeOrSelf(mask.getType()).isInteger(1)) {
    return e.select(mask, e.zero(f32), hidden);
  }
  mask = e.toFloat(mask, builder.getF32Type());
  Value scaled = e.clampBelow(e.mul(mask, M_LOG2E), -double(std::numeric_limits<float>::max()));
  return e.select(e.compare(arith::CmpFPredicate::OEQ, mask, hidden), hidden, scaled);
}

/// One element, or `lanes` keys if `lanesMask` is given.
FailureOr<Value> AttentionMask::evaluate(const Row &row, OpFoldResult key, Value lanesMask) {
  OpFoldResult zero = math().constant(0);
  SmallVector<OpFoldResult> position{row.batch, row.head, row.query, key};
  Tile tile;
  for (auto [dim, size] : llvm::enumerate(dims)) {
    OpFoldResult index = position[4 - dims.size() + dim];
    bool isKey = dim + 1 == dims.size();
    if (isConstantSize(size, 1)) {
      index = zero;
    } else if (!getConstantIntValue(size) && (!isKey || keysOfMask == Keys::Unknown)) {
      // A symbol that may be 1 and then broadcasts.
      Value isOne = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::eq, math().value(size),
                                          math().value(math().constant(1)));
      index =
          arith::SelectOp::create(builder, loc, isOne, math().value(zero), math().value(index)).getResult();
    }
    tile.index.push_back(math().value(index));
  }
  if (lanesMask) {
    tile.lanes = lanes;
    tile.mask = lanesMask;
  }
  ElementEmitter::Scope scope(elements);
  nn::AttentionOp op = problem.op;
  FailureOr<Value> value = elements.evaluate(op.getMask(), tile);
  return failed(value) ? value : FailureOr<Value>(toLogit(*value));
}

LogicalResult AttentionMask::emitRow(const Row &row, Value firstKey, OpFoldResult keys, Value buffer,
                                     OpFoldResult place) {
  LogicalResult result = success();
  auto emitKeys = [&](int64_t step, llvm::function_ref<void(Value key, Value at)> body) {
    scf::ForOp::create(builder, loc, math().value(math().constant(0)), math().value(keys),
                       math().value(math().constant(step)), ValueRange(),
                       [&](OpBuilder &, Location, Value key, ValueRange) {
                         body(key, math().value(math().add(place, key)));
                         scf::YieldOp::create(builder, loc);
                       });
  };
  if (keysOfMask == Keys::One) {
    FailureOr<Value> value = evaluate(row, firstKey, Value());
    if (failed(value)) {
      return failure();
    }
    Value everywhere =
        vector::BroadcastOp::create(builder, loc, VectorType::get({lanes}, builder.getF32Type()), *value);
    emitKeys(lanes, [&](Value, Value at) {
      vector::StoreOp::create(builder, loc, everywhere, buffer, ValueRange{at});
    });
    return result;
  }
  bool isVector = keysOfMask == Keys::All;
  auto maskType = VectorType::get({lanes}, builder.getI1Type());
  emitKeys(isVector ? lanes : 1, [&](Value key, Value at) {
    Value lanesMask;
    if (isVector) {
      lanesMask = vector::CreateMaskOp::create(builder, loc, maskType, math().value(math().sub(keys, key)));
    }
    FailureOr<Value> value = evaluate(row, math().add(firstKey, key), lanesMask);
    if (failed(value)) {
      result = failure();
    } else if (isVector) {
      vector::StoreOp::create(builder, loc, *value, buffer, ValueRange{at});
    } else {
      memref::StoreOp::create(builder, loc, *value, buffer, ValueRange{at});
    }
  });
  return result;
}
