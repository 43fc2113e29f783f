// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "NNReference.h"

#include "lathe/Dialect/NN/IR/Division.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Interfaces/DestinationStyleOpInterface.h"

using namespace mlir;

namespace lathe::nn::reference {

Type getAccumulatorType(Type element) {
  if (isa<FloatType>(element) && element.getIntOrFloatBitWidth() < 32) {
    return Float32Type::get(element.getContext());
  }
  return element;
}

OpFoldResult getKnownSize(OpBuilder &b, Value tensor, int64_t dim) {
  while (true) {
    RankedTensorType type = tensorOf(tensor);
    if (!type.isDynamicDim(dim)) {
      return b.getIndexAttr(type.getDimSize(dim));
    }
    auto result = dyn_cast<OpResult>(tensor);
    if (!result) {
      return {};
    }
    Operation *op = result.getOwner();
    if (auto empty = dyn_cast<tensor::EmptyOp>(op)) {
      return empty.getMixedSizes()[dim];
    }
    if (auto expand = dyn_cast<tensor::ExpandShapeOp>(op)) {
      return expand.getMixedOutputShape()[dim];
    }
    if (auto cast = dyn_cast<tensor::CastOp>(op)) {
      tensor = cast.getSource();
      continue;
    }
    if (auto cast = dyn_cast<UnrealizedConversionCastOp>(op)) {
      if (cast.getNumOperands() == 1 && isa<RankedTensorType>(cast.getOperand(0).getType())) {
        tensor = cast.getOperand(0);
        continue;
      }
      return {};
    }
    if (auto destination = dyn_cast<DestinationStyleOpInterface>(op)) {
      tensor = destination.getTiedOpOperand(result)->get();
      continue;
    }
    // A kernel's inputs say their sizes without looking at operands' dimensions.
    if (auto shaped = dyn_cast<ShapeOpInterface>(op)) {
      auto isTensor = [](Value v) { return isa<TensorType>(v.getType()); };
      if (llvm::none_of(op->getOperands(), isTensor)) {
        SmallVector<SmallVector<OpFoldResult>> none(op->getNumOperands());
        auto dims = shaped.inferDims(b, none);
        if (succeeded(dims)) {
          return (*dims)[result.getResultNumber()][dim];
        }
      }
    }
    return {};
  }
}

Value getSize(OpBuilder &b, Location loc, Value tensor, int64_t dim) {
  OpFoldResult known = getKnownSize(b, tensor, dim);
  if (!known) {
    return tensor::DimOp::create(b, loc, tensor, dim);
  }
  return getValueOrCreateConstantIndexOp(b, loc, known);
}

Value buildEmptyLike(OpBuilder &b, Location loc, Value like, Type element) {
  SmallVector<OpFoldResult> sizes;
  for (int64_t i = 0, e = tensorOf(like).getRank(); i < e; ++i) {
    OpFoldResult size = getKnownSize(b, like, i);
    sizes.push_back(size ? size : tensor::DimOp::create(b, loc, like, i).getResult());
  }
  Value empty = tensor::EmptyOp::create(b, loc, sizes, element);
  // What the type of `like` leaves open stays open.
  return castTo(b, loc, empty, tensorOf(like).clone(element));
}

Value buildFill(OpBuilder &b, Location loc, Value init, Value scalar) {
  return linalg::FillOp::create(b, loc, scalar, init).getResult(0);
}

SmallVector<Value> buildGeneric(OpBuilder &b, Location loc, ValueRange inputs, ValueRange inits,
                                ArrayRef<AffineMap> maps, ArrayRef<bool> isReduction, Body body) {
  SmallVector<utils::IteratorType> iterators;
  for (bool reduction : isReduction) {
    iterators.push_back(reduction ? utils::IteratorType::reduction : utils::IteratorType::parallel);
  }
  auto op = linalg::GenericOp::create(b, loc, inits.getTypes(), inputs, inits, maps, iterators,
                                      [&](OpBuilder &nested, Location loc, ValueRange arguments) {
                                        linalg::YieldOp::create(nested, loc, body(nested, loc, arguments));
                                      });
  return SmallVector<Value>(op.getResults());
}

Value buildParallel(OpBuilder &b, Location loc, ValueRange inputs, ArrayRef<AffineMap> inputMaps, Value init,
                    Body body) {
  int64_t rank = tensorOf(init).getRank();
  SmallVector<AffineMap> maps(inputMaps);
  maps.push_back(b.getMultiDimIdentityMap(rank));
  return buildGeneric(b, loc, inputs, init, maps, SmallVector<bool>(rank, false), body).front();
}

BroadcastReader::BroadcastReader(OpBuilder &b, ValueRange operandRange,
                                 ArrayRef<SmallVector<int64_t>> operandLoops, int64_t numLoops,
                                 int64_t firstExact)
    : operands(operandRange), operandLoops(operandLoops), firstExact(firstExact) {
  // Where no more than one size other than 1 meets in a loop, it is the loop's size.
  SmallVector<SmallVector<OpFoldResult>> candidates(numLoops);
  SmallVector<bool> isUnclear(numLoops, false);
  for (auto [operand, loops] : llvm::zip_equal(operands, operandLoops)) {
    for (auto [dim, loop] : llvm::enumerate(loops)) {
      OpFoldResult size = getKnownSize(b, operand, dim);
      if (size && isConstantIntValue(size, 1)) {
        continue;
      }
      // An unknown size equals nothing but itself.
      bool isNew = !size || !llvm::is_contained(candidates[loop], size);
      if (isNew) {
        candidates[loop].push_back(size);
      }
    }
  }
  for (auto [loop, sizes] : llvm::enumerate(candidates)) {
    isUnclear[loop] = sizes.size() > 1 && int64_t(loop) < firstExact;
  }
  for (auto [operand, loops] : llvm::zip_equal(operands, operandLoops)) {
    SmallVector<AffineExpr> exprs;
    bool byIndex = false;
    for (auto [dim, loop] : llvm::enumerate(loops)) {
      int64_t size = tensorOf(operand).getDimSize(dim);
      if (size == 1 && loop < firstExact) {
        exprs.push_back(b.getAffineConstantExpr(0));
        continue;
      }
      byIndex |= isUnclear[loop] && ShapedType::isDynamic(size);
      exprs.push_back(b.getAffineDimExpr(loop));
    }
    if (byIndex) {
      position.push_back(-1);
      continue;
    }
    position.push_back(inputs.size());
    inputs.push_back(operand);
    maps.push_back(AffineMap::get(numLoops, 0, exprs, b.getContext()));
  }
}

Value BroadcastReader::readOne(OpBuilder &b, Location loc, int64_t which, ValueRange arguments) const {
  if (position[which] >= 0) {
    return arguments[position[which]];
  }
  Value operand = operands[which];
  Value zero = arith::ConstantIndexOp::create(b, loc, 0), one = arith::ConstantIndexOp::create(b, loc, 1);
  SmallVector<Value> indices;
  for (auto [dim, loop] : llvm::enumerate(operandLoops[which])) {
    Value index = linalg::IndexOp::create(b, loc, loop);
    int64_t size = tensorOf(operand).getDimSize(dim);
    if (loop < firstExact && size == 1) {
      index = zero;
    } else if (loop < firstExact && ShapedType::isDynamic(size)) {
      Value actual = tensor::DimOp::create(b, loc, operand, dim);
      Value isOne = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::eq, actual, one);
      index = arith::SelectOp::create(b, loc, isOne, zero, index);
    }
    indices.push_back(index);
  }
  return tensor::ExtractOp::create(b, loc, operand, indices);
}

SmallVector<Value> BroadcastReader::read(OpBuilder &b, Location loc, ValueRange arguments) const {
  SmallVector<Value> values;
  for (int64_t i = 0, e = operands.size(); i < e; ++i) {
    values.push_back(readOne(b, loc, i, arguments));
  }
  return values;
}

SmallVector<SmallVector<int64_t>> alignAtEnd(ValueRange operands, int64_t rank) {
  SmallVector<SmallVector<int64_t>> loops;
  for (Value operand : operands) {
    int64_t own = tensorOf(operand).getRank();
    loops.push_back(llvm::to_vector(llvm::seq<int64_t>(rank - own, rank)));
  }
  return loops;
}

void buildTrapIf(OpBuilder &b, Location loc, Value condition, int32_t fault) {
  // By name: the kernel dialect builds on this one.
  OperationState state(loc, "kernel.trap_if");
  state.addOperands(condition);
  state.addAttribute("fault", b.getI32IntegerAttr(fault));
  b.create(state);
}

LoweredResults lowerPointwise(PointwiseOpInterface op, OpBuilder &b, ValueRange operands, ValueRange inits) {
  int64_t rank = tensorOf(inits[0]).getRank();
  bool mayDivideByZero = bool(getUncertainDivisor(op));
  BroadcastReader reader(b, operands, alignAtEnd(operands, rank), rank, /*firstExact=*/rank);
  Value result =
      buildParallel(b, op.getLoc(), reader.getInputs(), reader.getMaps(), inits[0],
                    [&](OpBuilder &b, Location loc, ValueRange arguments) -> SmallVector<Value> {
                      SmallVector<Value> values = reader.read(b, loc, arguments);
                      if (mayDivideByZero) {
                        Emitter e(b, loc);
                        Value zero = e.zero(values[1].getType());
                        buildTrapIf(b, loc, e.compare(Emitter::CmpI::eq, values[1], zero), kFaultDivision);
                      }
                      return {op.buildElement(b, loc, values)};
                    });
  return SmallVector<Value>{result};
}

Value buildGuardedExtract(OpBuilder &b, Location loc, Value x, ValueRange indices, Value inBounds) {
  if (!inBounds) {
    return tensor::ExtractOp::create(b, loc, x, indices);
  }
  auto branch = scf::IfOp::create(
      b, loc, inBounds,
      [&](OpBuilder &b, Location loc) {
        scf::YieldOp::create(b, loc, tensor::ExtractOp::create(b, loc, x, indices).getResult());
      },
      [&](OpBuilder &b, Location loc) { scf::YieldOp::create(b, loc, Emitter(b, loc).zero(elementOf(x))); });
  return branch.getResult(0);
}

Value toIndex(OpBuilder &b, Location loc, Value x, bool isUnsigned) {
  if (isUnsigned) {
    return arith::IndexCastUIOp::create(b, loc, b.getIndexType(), x);
  }
  return arith::IndexCastOp::create(b, loc, b.getIndexType(), x);
}

Value castTo(OpBuilder &b, Location loc, Value x, Type type) {
  return x.getType() == type ? x : tensor::CastOp::create(b, loc, type, x);
}

} // namespace lathe::nn::reference

namespace lathe::nn {

#define LATHE_LOWER_POINTWISE(OP)                                                                            \
  reference::LoweredResults OP::lowerToLinalg(OpBuilder &builder, ValueRange operands, ValueRange inits) {   \
    return reference::lowerPointwise(cast<PointwiseOpInterface>(getOperation()), builder, operands, inits);  \
  }

LATHE_LOWER_POINTWISE(UnaryOp)
LATHE_LOWER_POINTWISE(BinaryOp)
LATHE_LOWER_POINTWISE(CompareOp)
LATHE_LOWER_POINTWISE(SelectOp)
LATHE_LOWER_POINTWISE(CastOp)
LATHE_LOWER_POINTWISE(BitCastOp)

#undef LATHE_LOWER_POINTWISE

} // namespace lathe::nn
