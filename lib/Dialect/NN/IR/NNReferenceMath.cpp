// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Reference lowerings of reductions, products and convolutions.

#include "NNReference.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;
using namespace lathe::nn::reference;

namespace lathe::nn {

using CmpF = Emitter::CmpF;
using CmpI = Emitter::CmpI;

namespace {

/// Widens a number to an accumulator's type, minding its sign.
Value widen(Emitter &e, Value x, Type to, bool isUnsigned) {
  OpBuilder &b = e.builder();
  if (x.getType() == to) {
    return x;
  }
  if (isa<FloatType>(to)) {
    return e.toFloat(x, to);
  }
  if (isUnsigned || x.getType().isInteger(1)) {
    return arith::ExtUIOp::create(b, e.location(), to, x);
  }
  return arith::ExtSIOp::create(b, e.location(), to, x);
}

/// What a reduction of no elements gives.
Value getNeutral(Emitter &e, ReduceKind kind, Type type, bool isUnsigned) {
  bool isFloat = isa<FloatType>(type);
  unsigned width = type.getIntOrFloatBitWidth();
  switch (kind) {
  case ReduceKind::Sum:
  case ReduceKind::Mean:
  case ReduceKind::SumSquare:
  case ReduceKind::Any:
    return e.zero(type);
  case ReduceKind::Prod:
    return isFloat ? e.real(type, 1) : e.integer(type, 1);
  case ReduceKind::All:
    return e.integer(type, -1);
  case ReduceKind::Max:
    if (isFloat) {
      return e.infinity(type, /*negative=*/true);
    }
    return e.integer(type, isUnsigned ? 0 : APInt::getSignedMinValue(width).getSExtValue());
  case ReduceKind::Min:
    if (isFloat) {
      return e.infinity(type);
    }
    return e.integer(type, isUnsigned ? -1 : APInt::getSignedMaxValue(width).getSExtValue());
  }
  return e.zero(type);
}

Value combine(Emitter &e, ReduceKind kind, Value x, Value acc, bool isUnsigned) {
  OpBuilder &b = e.builder();
  Location loc = e.location();
  bool isFloat = isa<FloatType>(acc.getType());
  switch (kind) {
  case ReduceKind::Sum:
  case ReduceKind::Mean:
    return e.add(acc, x);
  case ReduceKind::SumSquare:
    return e.add(acc, e.mul(x, x));
  case ReduceKind::Prod:
    return e.mul(acc, x);
  case ReduceKind::All:
    return e.bitAnd(acc, x);
  case ReduceKind::Any:
    return e.bitOr(acc, x);
  case ReduceKind::Max:
    if (isFloat) {
      return arith::MaximumFOp::create(b, loc, acc, x);
    }
    return e.select(e.compare(isUnsigned ? CmpI::ugt : CmpI::sgt, x, acc), x, acc);
  case ReduceKind::Min:
    if (isFloat) {
      return arith::MinimumFOp::create(b, loc, acc, x);
    }
    return e.select(e.compare(isUnsigned ? CmpI::ult : CmpI::slt, x, acc), x, acc);
  }
  return acc;
}

/// The dimensions of a reduction: maps of its input and accumulator and which loops reduce; and the map by
/// which the result, with or without the reduced dimensions, reads the accumulator.
struct ReductionDims {
  AffineMap input, accumulator, result;
  SmallVector<bool> isReduction;
  SmallVector<OpFoldResult> sizes;

  ReductionDims(OpBuilder &b, Location loc, Value x, ArrayRef<int64_t> axes, bool keepDims) {
    int64_t rank = tensorOf(x).getRank();
    SmallVector<AffineExpr> kept, read;
    for (int64_t i = 0; i < rank; ++i) {
      bool reduces = llvm::is_contained(axes, i);
      isReduction.push_back(reduces);
      if (!reduces) {
        read.push_back(b.getAffineDimExpr(keepDims ? i : int64_t(kept.size())));
        kept.push_back(b.getAffineDimExpr(i));
        OpFoldResult size = getKnownSize(b, x, i);
        sizes.push_back(size ? size : tensor::DimOp::create(b, loc, x, i).getResult());
      }
    }
    input = b.getMultiDimIdentityMap(rank);
    accumulator = AffineMap::get(rank, 0, kept, b.getContext());
    result = AffineMap::get(keepDims ? rank : int64_t(kept.size()), 0, read, b.getContext());
  }
};

} // namespace

LoweredResults ReduceOp::lowerToLinalg(OpBuilder &builder, ValueRange operands, ValueRange inits) {
  Location loc = getLoc();
  Value x = operands[0];
  ReduceKind kind = getKind();
  Type element = elementOf(x);
  Type declared = elementOf(getX());
  bool isUnsigned = declared.isUnsignedInteger() || declared.isInteger(1);
  bool isMean = kind == ReduceKind::Mean;
  Type accumulated = getAccumulatorType(element);
  if (isMean && isa<IntegerType>(element)) {
    accumulated = builder.getI64Type();
  }
  ReductionDims dims(builder, loc, x, getAxes(), getKeepDims());
  Emitter e(builder, loc);
  Value acc = tensor::EmptyOp::create(builder, loc, dims.sizes, accumulated);
  acc = buildFill(builder, loc, acc, getNeutral(e, kind, accumulated, isUnsigned));
  acc = buildGeneric(builder, loc, x, acc, {dims.input, dims.accumulator}, dims.isReduction,
                     [&](OpBuilder &b, Location loc, ValueRange arguments) -> SmallVector<Value> {
                       Emitter e(b, loc);
                       return {combine(e, kind, widen(e, arguments[0], accumulated, isUnsigned), arguments[1],
                                       isUnsigned)};
                     })
            .front();
  if (!isMean && !getKeepDims() && accumulated == element) {
    return SmallVector<Value>{castTo(builder, loc, acc, inits[0].getType())};
  }
  Value count;
  if (isMean) {
    count = arith::ConstantIndexOp::create(builder, loc, 1);
    for (int64_t axis : getAxes()) {
      count = arith::MulIOp::create(builder, loc, count, getSize(builder, loc, x, axis));
    }
    count = arith::IndexCastOp::create(builder, loc, builder.getI64Type(), count);
    if (isa<FloatType>(accumulated)) {
      count = arith::SIToFPOp::create(builder, loc, accumulated, count);
    }
  }
  Value result = buildParallel(builder, loc, acc, dims.result, inits[0],
                               [&](OpBuilder &b, Location loc, ValueRange arguments) -> SmallVector<Value> {
                                 Emitter e(b, loc);
                                 Value y = arguments[0];
                                 if (isa<IntegerType>(element)) {
                                   if (isMean) {
                                     // The mean of no integers is 0.
                                     Value one = e.integer(count.getType(), 1);
                                     Value isEmpty = e.compare(CmpI::eq, count, int64_t(0));
                                     Value divisor = e.select(isEmpty, one, count);
                                     y = isUnsigned ? Value(arith::DivUIOp::create(b, loc, y, divisor))
                                                    : Value(arith::DivSIOp::create(b, loc, y, divisor));
                                   }
                                   if (y.getType() != element) {
                                     y = arith::TruncIOp::create(b, loc, element, y);
                                   }
                                   return {y};
                                 }
                                 return {e.toFloat(isMean ? e.div(y, count) : y, element)};
                               });
  return SmallVector<Value>{result};
}

LoweredResults ArgReduceOp::lowerToLinalg(OpBuilder &builder, ValueRange operands, ValueRange inits) {
  Location loc = getLoc();
  Value x = operands[0];
  Type element = elementOf(x), index = elementOf(inits[0]);
  Type compared = getAccumulatorType(element);
  Type declared = elementOf(getX());
  bool isUnsigned = declared.isUnsignedInteger() || declared.isInteger(1);
  bool isMax = getKind() == ArgReduceKind::Max;
  int64_t axis = getAxis();
  ReductionDims dims(builder, loc, x, axis, getKeepDims());
  Emitter e(builder, loc);
  // Position -1: nothing seen yet.
  Value best = tensor::EmptyOp::create(builder, loc, dims.sizes, compared);
  best = buildFill(builder, loc, best, e.zero(compared));
  Value where = tensor::EmptyOp::create(builder, loc, dims.sizes, index);
  where = buildFill(builder, loc, where, e.integer(index, -1));
  auto found = buildGeneric(
      builder, loc, x, ValueRange{best, where}, {dims.input, dims.accumulator, dims.accumulator},
      dims.isReduction, [&](OpBuilder &b, Location loc, ValueRange arguments) -> SmallVector<Value> {
        Emitter e(b, loc);
        Value y = arguments[0], best = arguments[1], where = arguments[2];
        Value wins;
        if (isa<FloatType>(compared)) {
          y = e.toFloat(y, compared);
          CmpF predicate =
              getSelectLast() ? (isMax ? CmpF::OGE : CmpF::OLE) : (isMax ? CmpF::OGT : CmpF::OLT);
          Value isNaN = e.compare(CmpF::UNO, y, y);
          if (!getSelectLast()) {
            isNaN = e.bitAnd(isNaN, e.compare(CmpF::ORD, best, best));
          }
          wins = e.bitOr(e.compare(predicate, y, best), isNaN);
        } else {
          static constexpr CmpI predicates[2][2][2] = {{{CmpI::slt, CmpI::sle}, {CmpI::sgt, CmpI::sge}},
                                                       {{CmpI::ult, CmpI::ule}, {CmpI::ugt, CmpI::uge}}};
          wins = e.compare(predicates[isUnsigned][isMax][getSelectLast()], y, best);
        }
        wins = e.bitOr(wins, e.compare(CmpI::slt, where, int64_t(0)));
        Value position = linalg::IndexOp::create(b, loc, axis);
        position = arith::IndexCastOp::create(b, loc, index, position);
        return {e.select(wins, y, best), e.select(wins, position, where)};
      });
  Value result = buildParallel(builder, loc, found[1], dims.result, inits[0],
                               [&](OpBuilder &b, Location loc, ValueRange arguments) -> SmallVector<Value> {
                                 Emitter e(b, loc);
                                 // Of no elements: 0.
                                 Value zero = e.zero(index);
                                 Value isNone = e.compare(CmpI::slt, arguments[0], zero);
                                 return {e.select(isNone, zero, arguments[0])};
                               });
  return SmallVector<Value>{result};
}

/// Writes an accumulator to the result's type.
static Value narrowTo(OpBuilder &builder, Location loc, Value acc, Value init) {
  Type element = elementOf(init);
  if (elementOf(acc) == element) {
    return acc;
  }
  AffineMap map = builder.getMultiDimIdentityMap(tensorOf(init).getRank());
  return buildParallel(builder, loc, acc, map, init,
                       [&](OpBuilder &b, Location loc, ValueRange arguments) -> SmallVector<Value> {
                         return {Emitter(b, loc).toFloat(arguments[0], element)};
                       });
}

LoweredResults MatMulOp::lowerToLinalg(OpBuilder &builder, ValueRange operands, ValueRange inits) {
  Location loc = getLoc();
  Value lhs = operands[0];
  bool isLhsUnsigned = elementOf(getLhs()).isUnsignedInteger();
  bool isRhsUnsigned = elementOf(getRhs()).isUnsignedInteger();
  Type accumulated = getAccumulatorType(elementOf(inits[0]));
  // Loops: batches..., m, n, k.
  int64_t rank = tensorOf(inits[0]).getRank(), batches = rank - 2;
  SmallVector<SmallVector<int64_t>> loops;
  for (Value operand : operands) {
    int64_t own = tensorOf(operand).getRank() - 2;
    loops.push_back(llvm::to_vector(llvm::seq<int64_t>(batches - own, batches)));
  }
  loops[0].append({batches, batches + 2});
  loops[1].append({batches + 2, batches + 1});
  BroadcastReader reader(builder, operands, loops, rank + 1, /*firstExact=*/batches);
  Value acc =
      elementOf(inits[0]) == accumulated ? inits[0] : buildEmptyLike(builder, loc, inits[0], accumulated);
  acc = buildFill(builder, loc, acc, Emitter(builder, loc).zero(accumulated));
  SmallVector<Value> inputs(reader.getInputs());
  SmallVector<AffineMap> maps(reader.getMaps());
  if (inputs.empty() || !llvm::any_of(maps, [&](AffineMap map) { return map.isFunctionOfDim(rank); })) {
    // Both are read by index: something has to say how far k runs.
    OpFoldResult depth = getSize(builder, loc, lhs, tensorOf(lhs).getRank() - 1);
    inputs.push_back(tensor::EmptyOp::create(builder, loc, depth, builder.getI8Type()));
    maps.push_back(AffineMap::get(rank + 1, 0, builder.getAffineDimExpr(rank)));
  }
  maps.push_back(AffineMap::getMultiDimIdentityMap(rank + 1, builder.getContext()).dropResult(rank));
  SmallVector<bool> isReduction(rank + 1, false);
  isReduction.back() = true;
  acc = buildGeneric(builder, loc, inputs, acc, maps, isReduction,
                     [&](OpBuilder &b, Location loc, ValueRange arguments) -> SmallVector<Value> {
                       Emitter e(b, loc);
                       SmallVector<Value> xy = reader.read(b, loc, arguments);
                       Value x = widen(e, xy[0], accumulated, isLhsUnsigned);
                       Value y = widen(e, xy[1], accumulated, isRhsUnsigned);
                       return {e.add(arguments.back(), e.mul(x, y))};
                     })
            .front();
  return SmallVector<Value>{narrowTo(builder, loc, acc, inits[0])};
}

LoweredResults ConvOp::lowerToLinalg(OpBuilder &builder, ValueRange operands, ValueRange inits) {
  Location loc = getLoc();
  Value x = operands[0], filter = operands[1];
  bool isXUnsigned = elementOf(getX()).isUnsignedInteger();
  bool isFilterUnsigned = elementOf(getFilter()).isUnsignedInteger();
  Type accumulated = getAccumulatorType(elementOf(inits[0]));
  // Loops: n, out..., m, window..., c.
  int64_t rank = tensorOf(x).getRank(), spatial = rank - 2, loops = 2 * rank - 1;
  SmallVector<AffineExpr> filterExprs, outExprs;
  for (int64_t i = 0; i < rank; ++i) {
    outExprs.push_back(builder.getAffineDimExpr(i));
  }
  for (int64_t i = rank; i < loops; ++i) {
    filterExprs.push_back(builder.getAffineDimExpr(i));
  }
  filterExprs.push_back(builder.getAffineDimExpr(rank - 1));
  SmallVector<AffineMap> maps = {AffineMap::get(loops, 0, filterExprs, builder.getContext()),
                                 AffineMap::get(loops, 0, outExprs, builder.getContext())};
  SmallVector<bool> isReduction(loops, true);
  std::fill_n(isReduction.begin(), rank, false);

  SmallVector<Value> sizes;
  for (int64_t i = 0; i < spatial; ++i) {
    sizes.push_back(getSize(builder, loc, x, i + 1));
  }
  int64_t filterRank = tensorOf(filter).getRank();
  Value channels = getSize(builder, loc, filter, filterRank - 2);
  Value perGroup;
  if (getGroups() != 1) {
    // max(1): no channels, no iterations, but no division by zero either.
    Value groups = arith::ConstantIndexOp::create(builder, loc, getGroups());
    perGroup = arith::DivUIOp::create(builder, loc, getSize(builder, loc, filter, filterRank - 1), groups);
    Value one = arith::ConstantIndexOp::create(builder, loc, 1);
    perGroup = arith::MaxUIOp::create(builder, loc, perGroup, one);
  }
  Value acc =
      elementOf(inits[0]) == accumulated ? inits[0] : buildEmptyLike(builder, loc, inits[0], accumulated);
  acc = buildFill(builder, loc, acc, Emitter(builder, loc).zero(accumulated));
  acc = buildGeneric(builder, loc, filter, acc, maps, isReduction,
                     [&](OpBuilder &b, Location loc, ValueRange arguments) -> SmallVector<Value> {
                       Emitter e(b, loc);
                       Type indexType = b.getIndexType();
                       SmallVector<Value> indices = {linalg::IndexOp::create(b, loc, 0)};
                       Value inBounds;
                       for (int64_t i = 0; i < spatial; ++i) {
                         Value out = linalg::IndexOp::create(b, loc, 1 + i),
                               tap = linalg::IndexOp::create(b, loc, rank + i);
                         Value index = e.add(e.mul(out, e.integer(indexType, getStrides()[i])),
                                             e.mul(tap, e.integer(indexType, getDilations()[i])));
                         index = e.sub(index, e.integer(indexType, getPads()[i]));
                         indices.push_back(index);
                         // Negative indices are huge unsigned ones.
                         Value isInside = e.compare(CmpI::ult, index, sizes[i]);
                         inBounds = inBounds ? e.bitAnd(inBounds, isInside) : isInside;
                       }
                       Value channel = linalg::IndexOp::create(b, loc, loops - 1);
                       if (perGroup) {
                         Value group = arith::DivUIOp::create(
                             b, loc, linalg::IndexOp::create(b, loc, rank - 1), perGroup);
                         channel = e.add(channel, e.mul(group, channels));
                       }
                       indices.push_back(channel);
                       Value read = buildGuardedExtract(b, loc, x, indices, inBounds);
                       Value product = e.mul(widen(e, read, accumulated, isXUnsigned),
                                             widen(e, arguments[0], accumulated, isFilterUnsigned));
                       return {e.add(arguments[1], product)};
                     })
            .front();
  return SmallVector<Value>{narrowTo(builder, loc, acc, inits[0])};
}

} // namespace lathe::nn
