// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Reference lowerings of the ops that move data.

#include "NNReference.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"

using namespace mlir;
using namespace lathe::nn::reference;

namespace lathe::nn {

using CmpI = Emitter::CmpI;

/// LATHE_FAULT_INDEX of the runtime's abi.h.
static constexpr int32_t kFaultIndex = 1;

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

/// Dimensions one to one, except `count` from `first` on, which form one group.
static SmallVector<ReassociationIndices> groupMiddle(int64_t rank, int64_t first, int64_t count) {
  SmallVector<ReassociationIndices> groups;
  for (int64_t i = 0; i < rank;) {
    int64_t end = i == first ? i + count : i + 1;
    groups.push_back(llvm::to_vector<2>(llvm::seq<int64_t>(i, end)));
    i = end;
  }
  return groups;
}

/// The elements of `x`, of rank 1, in the shape of `init`, by a copy.
static Value reshapeByCopy(OpBuilder &b, Location loc, Value x, Value init, ArrayRef<Value> sizes) {
  auto element = [&](OpBuilder &b, Location loc, ArrayRef<Value> indices) {
    Emitter e(b, loc);
    Value linear = indices.front();
    for (auto [index, size] : llvm::zip_equal(indices.drop_front(), sizes.drop_front())) {
      linear = e.add(e.mul(linear, size), index);
    }
    return Value(tensor::ExtractOp::create(b, loc, x, linear));
  };
  return buildByIndex(b, loc, init, element)->front();
}

LoweredResults ReshapeOp::lowerToLinalg(OpBuilder &builder, ValueRange operands, ValueRange inits) {
  Location loc = getLoc();
  Value x = operands[0], init = inits[0];
  RankedTensorType from = tensorOf(x), to = tensorOf(init);
  int64_t fromRank = from.getRank(), toRank = to.getRank();
  if (fromRank == 0 || toRank == 0) {
    // One element: through a static type of ones, as the other side has to be.
    SmallVector<int64_t> ones(std::max(fromRank, toRank), 1);
    auto type = RankedTensorType::get(ones, from.getElementType());
    ArrayRef<ReassociationIndices> none;
    if (fromRank == toRank) {
      return SmallVector<Value>{x};
    }
    if (toRank == 0) {
      x = tensor::CollapseShapeOp::create(builder, loc, to, castTo(builder, loc, x, type), none);
    } else {
      x = tensor::ExpandShapeOp::create(builder, loc, type, x, none);
    }
    return SmallVector<Value>{castTo(builder, loc, x, to)};
  }
  // What both shapes begin and end with stays as it is; the rest is collapsed and expanded, moving nothing.
  auto isSame = [&](int64_t i, int64_t j) {
    OpFoldResult a = getKnownSize(builder, x, i), b = getKnownSize(builder, init, j);
    return from.getDimSize(i) == to.getDimSize(j) && a && a == b;
  };
  int64_t least = std::min(fromRank, toRank) - 1, prefix = 0, suffix = 0;
  while (prefix < least && isSame(prefix, prefix)) {
    ++prefix;
  }
  while (suffix < least - prefix && isSame(fromRank - 1 - suffix, toRank - 1 - suffix)) {
    ++suffix;
  }
  int64_t fromMiddle = fromRank - prefix - suffix, toMiddle = toRank - prefix - suffix;
  ArrayRef<int64_t> middle = to.getShape().slice(prefix, toMiddle);
  if (llvm::count_if(middle, ShapedType::isDynamic) > 1) {
    // MLIR cannot expand to several unknown sizes (expand-strided-metadata ends the process).
    prefix = suffix = 0;
    fromMiddle = fromRank;
    toMiddle = toRank;
  }
  if (fromMiddle > 1) {
    x = tensor::CollapseShapeOp::create(builder, loc, x, groupMiddle(fromRank, prefix, fromMiddle));
  }
  SmallVector<OpFoldResult> sizes;
  for (int64_t i = 0; i < toRank; ++i) {
    OpFoldResult size = getKnownSize(builder, init, i);
    sizes.push_back(size ? size : tensor::DimOp::create(builder, loc, init, i).getResult());
  }
  if (llvm::count_if(to.getShape().slice(prefix, toMiddle), ShapedType::isDynamic) > 1) {
    SmallVector<Value> values = getValueOrCreateConstantIndexOp(builder, loc, sizes);
    return SmallVector<Value>{reshapeByCopy(builder, loc, x, init, values)};
  }
  // What is known of the collapsed size has to agree with the types on both sides.
  SmallVector<int64_t> collapsed(to.getShape().take_front(prefix));
  int64_t count = 1;
  for (int64_t size : to.getShape().slice(prefix, toMiddle)) {
    count = ShapedType::isDynamic(size) || ShapedType::isDynamic(count) ? ShapedType::kDynamic : count * size;
  }
  collapsed.push_back(count);
  llvm::append_range(collapsed, to.getShape().take_back(suffix));
  x = castTo(builder, loc, x, RankedTensorType::get(collapsed, from.getElementType()));
  if (toMiddle > 1) {
    x = tensor::ExpandShapeOp::create(builder, loc, to, x, groupMiddle(toRank, prefix, toMiddle), sizes);
  }
  return SmallVector<Value>{castTo(builder, loc, x, to)};
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

/// The element of the first input, from `which` on, that reaches beyond the index along the axis, which is
/// counted from the beginning of that input.
static Value readConcat(OpBuilder &b, Location loc, ArrayRef<Value> inputs, ArrayRef<Value> sizes,
                        SmallVector<Value> indices, int64_t axis) {
  if (inputs.size() == 1) {
    return tensor::ExtractOp::create(b, loc, inputs.front(), indices);
  }
  Value isHere = arith::CmpIOp::create(b, loc, CmpI::ult, indices[axis], sizes.front());
  auto branch = scf::IfOp::create(
      b, loc, isHere,
      [&](OpBuilder &b, Location loc) {
        scf::YieldOp::create(b, loc, tensor::ExtractOp::create(b, loc, inputs.front(), indices).getResult());
      },
      [&](OpBuilder &b, Location loc) {
        SmallVector<Value> rest = indices;
        rest[axis] = arith::SubIOp::create(b, loc, rest[axis], sizes.front());
        scf::YieldOp::create(b, loc, readConcat(b, loc, inputs.drop_front(), sizes.drop_front(), rest, axis));
      });
  return branch.getResult(0);
}

LoweredResults ConcatOp::lowerToLinalg(OpBuilder &builder, ValueRange operands, ValueRange inits) {
  // Element by element: an insertion would become a strided memref.copy, which is a function call.
  Location loc = getLoc();
  int64_t axis = getAxis();
  SmallVector<Value> inputs, sizes;
  for (Value x : operands) {
    if (tensorOf(x).getDimSize(axis) != 0) {
      inputs.push_back(x);
      sizes.push_back(getSize(builder, loc, x, axis));
    }
  }
  if (inputs.empty()) {
    return SmallVector<Value>{inits[0]};
  }
  return buildByIndex(builder, loc, inits[0], [&](OpBuilder &b, Location loc, ArrayRef<Value> indices) {
    return readConcat(b, loc, inputs, sizes, llvm::to_vector(indices), axis);
  });
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
