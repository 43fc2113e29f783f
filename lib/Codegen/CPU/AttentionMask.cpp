// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Masks of attention. One that does not depend on the query is evaluated once per block of keys; the others
/// are evaluated row by row and transposed to where the logits are made.

#include "AttentionKernel.h"

#include "lathe/Codegen/Math/Emitter.h"

#include "mlir/Dialect/Vector/IR/VectorOps.h"

#include <limits>

using namespace mlir;
using namespace lathe;
using namespace lathe::cpu;

LogicalResult AttentionKernel::analyzeMask() {
  Value mask = problem.op.getMask();
  if (!mask) {
    return success();
  }
  FailureOr<ArrayRef<OpFoldResult>> dims = context.shapes.getDims(mask);
  if (failed(dims)) {
    return problem.op.emitOpError("has a mask of unknown shape");
  }
  maskDims.assign(dims->begin(), dims->end());
  bool perQuery = maskDims.size() >= 2 && !isConstantSize(maskDims[maskDims.size() - 2], 1);
  maskForm = perQuery ? MaskForm::PerQueryAndKey : MaskForm::PerKey;
  if (maskDims.empty() || isConstantSize(maskDims.back(), 1)) {
    maskKeys = MaskKeys::One;
  } else if (!getConstantIntValue(maskDims.back()) && !areEqualSizes(maskDims.back(), problem.keyCount)) {
    maskKeys = MaskKeys::Unknown;
  }
  maskStride = llvm::alignTo(kKeyBlock, lanes);
  maskBuffer = makeScratch(builder, loc, builder.getF32Type(), maskStride * (perQuery ? queryBlock : 1));
  return success();
}

/// What is added to a logit in units of log2(e). The lowest finite mask, which leaves all keys of a row the
/// same weight if it is everywhere, must not become an infinity.
Value AttentionKernel::toLogit(Value mask) {
  lathe::Emitter e(builder, loc);
  Type f32 = withElement(mask.getType(), builder.getF32Type());
  Value hidden = e.infinity(f32, /*negative=*/true);
  if (getElementTypeOrSelf(mask.getType()).isInteger(1)) {
    return e.select(mask, e.zero(f32), hidden);
  }
  Value scaled = e.clampBelow(e.mul(mask, M_LOG2E), -double(std::numeric_limits<float>::max()));
  return e.select(e.compare(arith::CmpFPredicate::OEQ, mask, hidden), hidden, scaled);
}

/// One element, or `lanes` keys if `lanesMask` is given.
FailureOr<Value> AttentionKernel::evaluateMask(const Task &task, OpFoldResult query, OpFoldResult key,
                                               Value lanesMask) {
  OpFoldResult zero = math().constant(0);
  SmallVector<OpFoldResult> position{task.batch, task.head, math().add(task.firstQuery, query), key};
  Tile tile;
  for (auto [dim, size] : llvm::enumerate(maskDims)) {
    OpFoldResult index = position[4 - maskDims.size() + dim];
    bool isKey = dim + 1 == maskDims.size();
    if (isConstantSize(size, 1)) {
      index = zero;
    } else if (!getConstantIntValue(size) && (!isKey || maskKeys == MaskKeys::Unknown)) {
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
  FailureOr<Value> value = elements.evaluate(problem.op.getMask(), tile);
  return failed(value) ? value : FailureOr<Value>(toLogit(*value));
}

LogicalResult AttentionKernel::emitMaskRow(const Task &task, OpFoldResult query, Value firstKey,
                                           OpFoldResult keys, Value buffer, OpFoldResult place) {
  LogicalResult result = success();
  if (maskKeys == MaskKeys::One) {
    FailureOr<Value> value = evaluateMask(task, query, firstKey, Value());
    if (failed(value)) {
      return failure();
    }
    Value everywhere = vector::BroadcastOp::create(builder, loc, vectorType, *value);
    emitLoop(math().constant(0), keys, lanes,
             [&](Value key) { store(everywhere, buffer, math().add(place, key)); });
    return result;
  }
  bool isVector = maskKeys == MaskKeys::All;
  auto maskType = VectorType::get({lanes}, builder.getI1Type());
  emitLoop(math().constant(0), keys, isVector ? lanes : 1, [&](Value key) {
    Value lanesMask;
    if (isVector) {
      lanesMask = vector::CreateMaskOp::create(builder, loc, maskType, math().value(math().sub(keys, key)));
    }
    FailureOr<Value> value = evaluateMask(task, query, math().add(firstKey, key), lanesMask);
    if (failed(value)) {
      result = failure();
    } else if (isVector) {
      store(*value, buffer, math().add(place, key));
    } else {
      memref::StoreOp::create(builder, loc, *value, buffer, ValueRange{math().value(math().add(place, key))});
    }
  });
  return result;
}

LogicalResult AttentionKernel::emitMask(const Task &task, Value firstKey, OpFoldResult keys) {
  OpFoldResult zero = math().constant(0);
  if (maskForm == MaskForm::None) {
    return success();
  }
  if (maskForm == MaskForm::PerKey) {
    return emitMaskRow(task, zero, firstKey, keys, maskBuffer, zero);
  }
  LogicalResult result = success();
  emitLoop(zero, math().constant(queryBlock), 1, [&](Value query) {
    OpFoldResult place = math().mul(query, math().constant(maskStride));
    if (failed(emitMaskRow(task, clampQuery(task, query), firstKey, keys, maskBuffer, place))) {
      result = failure();
    }
  });
  transposeMask(keys);
  return result;
}

void AttentionKernel::transposeMask(OpFoldResult keys) {
  OpFoldResult zero = math().constant(0);
  emitLoop(zero, keys, lanes, [&](Value key) {
    emitLoop(zero, math().constant(queryBlock), lanes, [&](Value query) {
      SmallVector<Value> rows;
      for (int64_t lane = 0; lane < lanes; ++lane) {
        OpFoldResult row = math().mul(math().add(query, math().constant(lane)), math().constant(maskStride));
        rows.push_back(load(maskBuffer, math().add(row, key)));
      }
      for (auto [lane, value] : llvm::enumerate(emitTranspose(builder, loc, rows))) {
        OpFoldResult row = math().mul(math().add(key, math().constant(lane)), math().constant(queryBlock));
        store(value, logitBuffer, math().add(row, query));
      }
    });
  });
}
