// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Reference lowerings of the ops that move data.

#include "NNReference.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;
using namespace lathe::nn::reference;

namespace lathe::nn {

using CmpI = Emitter::CmpI;

/// LATHE_FAULT_INDEX of the runtime's abi.h.
static constexpr int32_t kFaultIndex = 1;

/// kernel.trap_if by name: the kernel dialect builds on this one.
static void buildTrapIf(OpBuilder &b, Location loc, Value condition, int32_t fault) {
  OperationState state(loc, "kernel.trap_if");
  state.addOperands(condition);
  state.addAttribute("fault", b.getI32IntegerAttr(fault));
  b.create(state);
}

/// All elements of the result one by one, from an index into it.
static LoweredResults
buildByIndex(OpBuilder &builder, Location loc, Value init,
             llvm::function_ref<Value(OpBuilder &, Location, ArrayRef<Value> indices)> element) {
  int64_t rank = tensorOf(init).getRank();
  Value result = buildParallel(builder, loc, ValueRange{}, {}, init,
                               [&](OpBuilder &b, Location loc, ValueRange) -> SmallVector<Value> {
                                 SmallVector<Value> indices;
                                 for (int64_t i = 0; i < rank; ++i) {
                                   indices.push_back(linalg::IndexOp::create(b, loc, i));
                                 }
                                 return {element(b, loc, indices)};
                               });
  return SmallVector<Value>{result};
}

LoweredResults ReshapeOp::lowerToLinalg(OpBuilder &builder, ValueRange operands, ValueRange inits) {
  Location loc = getLoc();
  Value x = operands[0];
  auto type = tensorOf(inits[0]);
  auto oneGroup = [](int64_t rank) {
    SmallVector<ReassociationIndices> groups;
    if (rank > 0) {
      groups.push_back(llvm::to_vector<2>(llvm::seq<int64_t>(0, rank)));
    }
    return groups;
  };
  // To rank 1 and from there to the result's shape, without moving anything.
  int64_t rank = tensorOf(x).getRank();
  if (rank == 0) {
    SmallVector<int64_t> one(1, 1);
    auto flat = RankedTensorType::get(one, elementOf(x));
    x = tensor::ExpandShapeOp::create(builder, loc, flat, x, ArrayRef<ReassociationIndices>{});
  } else if (rank > 1) {
    x = tensor::CollapseShapeOp::create(builder, loc, x, oneGroup(rank));
  }
  // What is known of the number of elements has to agree with the types on both sides.
  int64_t count = type.hasStaticShape() ? type.getNumElements() : ShapedType::kDynamic;
  x = castTo(builder, loc, x, RankedTensorType::get({count}, elementOf(x)));
  if (type.getRank() == 0) {
    x = tensor::CollapseShapeOp::create(builder, loc, type, x, ArrayRef<ReassociationIndices>{});
  } else if (type.getRank() > 1) {
    SmallVector<OpFoldResult> sizes;
    for (int64_t i = 0; i < type.getRank(); ++i) {
      OpFoldResult size = getKnownSize(builder, inits[0], i);
      sizes.push_back(size ? size : tensor::DimOp::create(builder, loc, inits[0], i).getResult());
    }
    x = tensor::ExpandShapeOp::create(builder, loc, type, x, oneGroup(type.getRank()), sizes);
  }
  return SmallVector<Value>{castTo(builder, loc, x, type)};
}

LoweredResults TransposeOp::lowerToLinalg(OpBuilder &builder, ValueRange operands, ValueRange inits) {
  // Dimension perm[i] of x runs with dimension i of the result.
  SmallVector<AffineExpr> exprs(getPerm().size());
  for (auto [i, from] : llvm::enumerate(getPerm())) {
    exprs[from] = builder.getAffineDimExpr(i);
  }
  AffineMap map = AffineMap::get(exprs.size(), 0, exprs, builder.getContext());
  Value result = buildParallel(
      builder, getLoc(), operands[0], map, inits[0],
      [](OpBuilder &, Location, ValueRange arguments) -> SmallVector<Value> { return {arguments[0]}; });
  return SmallVector<Value>{result};
}

LoweredResults ExpandOp::lowerToLinalg(OpBuilder &builder, ValueRange operands, ValueRange inits) {
  int64_t rank = tensorOf(inits[0]).getRank();
  // The result's own sizes take part in the broadcast, without being read.
  SmallVector<Value> both = {operands[0], inits[0]};
  BroadcastReader reader(builder, both, alignAtEnd(both, rank), rank, /*firstExact=*/rank);
  SmallVector<Value> inputs;
  SmallVector<AffineMap> maps;
  for (auto [input, map] : llvm::zip_equal(reader.getInputs(), reader.getMaps())) {
    if (input == operands[0]) {
      inputs.push_back(input);
      maps.push_back(map);
    }
  }
  Value result = buildParallel(builder, getLoc(), inputs, maps, inits[0],
                               [&](OpBuilder &b, Location loc, ValueRange arguments) -> SmallVector<Value> {
                                 return {reader.readOne(b, loc, 0, arguments)};
                               });
  return SmallVector<Value>{result};
}

LoweredResults SliceOp::lowerToLinalg(OpBuilder &builder, ValueRange operands, ValueRange inits) {
  Location loc = getLoc();
  SmallVector<Value> offsets;
  for (OpFoldResult offset : getMixedOffsets()) {
    offsets.push_back(getValueOrCreateConstantIndexOp(builder, loc, offset));
  }
  return buildByIndex(builder, loc, inits[0], [&](OpBuilder &b, Location loc, ArrayRef<Value> indices) {
    Emitter e(b, loc);
    SmallVector<Value> from;
    for (auto [index, offset, stride] : llvm::zip_equal(indices, offsets, getStaticStrides())) {
      Value scaled = stride == 1 ? index : e.mul(index, e.integer(index.getType(), stride));
      from.push_back(e.add(offset, scaled));
    }
    return Value(tensor::ExtractOp::create(b, loc, operands[0], from));
  });
}

LoweredResults ConcatOp::lowerToLinalg(OpBuilder &builder, ValueRange operands, ValueRange inits) {
  Location loc = getLoc();
  int64_t axis = getAxis();
  Value result = inits[0];
  int64_t total = tensorOf(result).getDimSize(axis);
  OpFoldResult offset = builder.getIndexAttr(0);
  for (Value x : operands) {
    RankedTensorType type = tensorOf(x);
    // Nothing to insert, and the offset may stand at the very end, which insert_slice refuses.
    std::optional<int64_t> known = getConstantIntValue(offset);
    if (type.getDimSize(axis) == 0 || (known && *known == total)) {
      continue;
    }
    SmallVector<OpFoldResult> offsets(type.getRank(), builder.getIndexAttr(0)), sizes,
        strides(type.getRank(), builder.getIndexAttr(1));
    offsets[axis] = offset;
    for (int64_t i = 0; i < type.getRank(); ++i) {
      sizes.push_back(type.isDynamicDim(i)
                          ? OpFoldResult(tensor::DimOp::create(builder, loc, x, i).getResult())
                          : OpFoldResult(builder.getIndexAttr(type.getDimSize(i))));
    }
    result = tensor::InsertSliceOp::create(builder, loc, x, result, offsets, sizes, strides);
    if (known && !type.isDynamicDim(axis)) {
      offset = builder.getIndexAttr(*known + type.getDimSize(axis));
    } else {
      Value before = getValueOrCreateConstantIndexOp(builder, loc, offset);
      offset = arith::AddIOp::create(builder, loc, before, getSize(builder, loc, x, axis)).getResult();
    }
  }
  return SmallVector<Value>{result};
}

/// An index tensor's element as an index into a dimension: counted from the end if negative, and whether it
/// is in bounds, which is reported.
static Value resolveIndex(Emitter &e, Value raw, bool isUnsigned, Value size, Value &inBounds) {
  OpBuilder &b = e.builder();
  Value index = toIndex(b, e.location(), raw, isUnsigned);
  if (!isUnsigned) {
    index = e.select(e.compare(CmpI::slt, index, int64_t(0)), e.add(index, size), index);
  }
  Value isInside = e.compare(CmpI::ult, index, size);
  inBounds = inBounds ? e.bitAnd(inBounds, isInside) : isInside;
  return index;
}

static void buildBoundsTrap(Emitter &e, Value inBounds) {
  Value isOutside = e.bitXor(inBounds, e.integer(inBounds.getType(), 1));
  buildTrapIf(e.builder(), e.location(), isOutside, kFaultIndex);
}

LoweredResults GatherOp::lowerToLinalg(OpBuilder &builder, ValueRange operands, ValueRange inits) {
  Location loc = getLoc();
  Value x = operands[0], table = operands[1];
  int64_t axis = getAxis(), indexRank = tensorOf(table).getRank();
  bool isUnsigned = elementOf(getIndices()).isUnsignedInteger();
  Value size = getSize(builder, loc, x, axis);
  return buildByIndex(builder, loc, inits[0], [&](OpBuilder &b, Location loc, ArrayRef<Value> indices) {
    Emitter e(b, loc);
    Value raw = tensor::ExtractOp::create(b, loc, table, indices.slice(axis, indexRank));
    Value inBounds;
    SmallVector<Value> from(indices.take_front(axis));
    from.push_back(resolveIndex(e, raw, isUnsigned, size, inBounds));
    from.append(indices.begin() + axis + indexRank, indices.end());
    buildBoundsTrap(e, inBounds);
    return buildGuardedExtract(b, loc, x, from, inBounds);
  });
}

LoweredResults GatherNDOp::lowerToLinalg(OpBuilder &builder, ValueRange operands, ValueRange inits) {
  Location loc = getLoc();
  Value x = operands[0], table = operands[1];
  int64_t batches = getBatchDims(), indexRank = tensorOf(table).getRank();
  int64_t tuple = tensorOf(table).getDimSize(indexRank - 1);
  bool isUnsigned = elementOf(getIndices()).isUnsignedInteger();
  SmallVector<Value> sizes;
  for (int64_t i = 0; i < tuple; ++i) {
    sizes.push_back(getSize(builder, loc, x, batches + i));
  }
  return buildByIndex(builder, loc, inits[0], [&](OpBuilder &b, Location loc, ArrayRef<Value> indices) {
    Emitter e(b, loc);
    SmallVector<Value> at(indices.take_front(indexRank - 1));
    SmallVector<Value> from(indices.take_front(batches));
    Value inBounds;
    at.push_back({});
    for (int64_t i = 0; i < tuple; ++i) {
      at.back() = arith::ConstantIndexOp::create(b, loc, i);
      Value raw = tensor::ExtractOp::create(b, loc, table, at);
      from.push_back(resolveIndex(e, raw, isUnsigned, sizes[i], inBounds));
    }
    from.append(indices.begin() + (indexRank - 1), indices.end());
    if (inBounds) {
      buildBoundsTrap(e, inBounds);
    }
    return buildGuardedExtract(b, loc, x, from, inBounds);
  });
}

LoweredResults RangeOp::lowerToLinalg(OpBuilder &builder, ValueRange operands, ValueRange inits) {
  Location loc = getLoc();
  Type element = elementOf(inits[0]), computed = getAccumulatorType(element);
  bool isFloat = isa<FloatType>(element);
  Emitter outer(builder, loc);
  Value start = tensor::ExtractOp::create(builder, loc, operands[0]);
  Value step = tensor::ExtractOp::create(builder, loc, operands[1]);
  if (isFloat) {
    start = outer.toFloat(start, computed);
    step = outer.toFloat(step, computed);
  }
  return buildByIndex(builder, loc, inits[0], [&](OpBuilder &b, Location loc, ArrayRef<Value> indices) {
    Emitter e(b, loc);
    if (!isFloat) {
      Value i = arith::IndexCastOp::create(b, loc, element, indices[0]);
      return e.add(start, e.mul(i, step));
    }
    Value i = arith::IndexCastOp::create(b, loc, b.getI64Type(), indices[0]);
    i = arith::SIToFPOp::create(b, loc, computed, i);
    return e.toFloat(e.add(start, e.mul(i, step)), element);
  });
}

LoweredResults FromScalarsOp::lowerToLinalg(OpBuilder &builder, ValueRange operands, ValueRange inits) {
  Location loc = getLoc();
  Type element = elementOf(inits[0]);
  bool isScalar = tensorOf(inits[0]).getRank() == 0;
  Value result = inits[0];
  for (auto [i, size] : llvm::enumerate(operands)) {
    Value number = arith::IndexCastOp::create(builder, loc, element, size);
    SmallVector<Value> at;
    if (!isScalar) {
      at.push_back(arith::ConstantIndexOp::create(builder, loc, i));
    }
    result = tensor::InsertOp::create(builder, loc, number, result, at);
  }
  return SmallVector<Value>{result};
}

} // namespace lathe::nn
