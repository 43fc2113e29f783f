// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "LoopBuilder.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/Interfaces/FunctionInterfaces.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::nn;

using Values = LoopBuilder::Values;

Value LoopBuilder::index(int64_t value) {
  return arith::ConstantIndexOp::create(builder(), location(), value);
}

Value LoopBuilder::size(Value memory, int64_t dim) {
  auto type = cast<MemRefType>(memory.getType());
  return type.isDynamicDim(dim) ? memref::DimOp::create(builder(), location(), memory, dim).getResult()
                                : index(type.getDimSize(dim));
}

Values LoopBuilder::sizes(Value memory) {
  Values result;
  for (int64_t dim = 0, rank = cast<MemRefType>(memory.getType()).getRank(); dim < rank; ++dim) {
    result.push_back(size(memory, dim));
  }
  return result;
}

Value LoopBuilder::product(ArrayRef<Value> factors) {
  Value result = index(1);
  for (Value factor : factors) {
    result = builder().createOrFold<arith::MulIOp>(location(), result, factor);
  }
  return result;
}

Value LoopBuilder::minIndex(Value lhs, Value rhs) {
  return builder().createOrFold<arith::MinSIOp>(location(), lhs, rhs);
}

void LoopBuilder::loop(Value begin, Value end, function_ref<void(Value)> body) {
  loop(begin, end, {}, [&](Value i, ValueRange) {
    body(i);
    return Values();
  });
}

Values LoopBuilder::loop(Value begin, Value end, ArrayRef<Value> init,
                         function_ref<Values(Value, ValueRange)> body) {
  auto op = scf::ForOp::create(builder(), location(), begin, end, index(1), init);
  OpBuilder::InsertionGuard guard(builder());
  if (init.empty()) {
    builder().setInsertionPoint(op.getBody()->getTerminator());
    body(op.getInductionVar(), {});
  } else {
    builder().setInsertionPointToStart(op.getBody());
    Values next = body(op.getInductionVar(), op.getRegionIterArgs());
    scf::YieldOp::create(builder(), location(), next);
  }
  return Values(op.getResults());
}

void LoopBuilder::nest(ArrayRef<Value> sizes, function_ref<void(ArrayRef<Value>)> body) {
  OpBuilder::InsertionGuard guard(builder());
  Value zero = index(0), one = index(1);
  Values indices;
  for (Value size : sizes) {
    auto op = scf::ForOp::create(builder(), location(), zero, size, one);
    builder().setInsertionPoint(op.getBody()->getTerminator());
    indices.push_back(op.getInductionVar());
  }
  body(indices);
}

Values LoopBuilder::loopWhile(ArrayRef<Value> init, function_ref<Value(ValueRange)> condition,
                              function_ref<Values(ValueRange)> body) {
  SmallVector<Type> types(ValueRange(init).getTypes());
  SmallVector<Location> locations(init.size(), location());
  auto op = scf::WhileOp::create(builder(), location(), types, init);
  OpBuilder::InsertionGuard guard(builder());
  Block *before = builder().createBlock(&op.getBefore(), {}, types, locations);
  Value isTrue = condition(before->getArguments());
  scf::ConditionOp::create(builder(), location(), isTrue, before->getArguments());
  Block *after = builder().createBlock(&op.getAfter(), {}, types, locations);
  Values next = body(after->getArguments());
  scf::YieldOp::create(builder(), location(), next);
  return Values(op.getResults());
}

void LoopBuilder::ifThen(Value condition, function_ref<void()> body) {
  auto op = scf::IfOp::create(builder(), location(), condition, /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(builder());
  builder().setInsertionPoint(op.thenYield());
  body();
}

void LoopBuilder::ifElse(Value condition, function_ref<void()> then, function_ref<void()> otherwise) {
  auto op = scf::IfOp::create(builder(), location(), condition, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(builder());
  builder().setInsertionPoint(op.thenYield());
  then();
  builder().setInsertionPoint(op.elseYield());
  otherwise();
}

Values LoopBuilder::choose(Value condition, function_ref<Values()> then, function_ref<Values()> otherwise) {
  auto build = [&](function_ref<Values()> side) {
    return [&, side](OpBuilder &inner, Location at) {
      OpBuilder::InsertionGuard guard(builder());
      builder().setInsertionPoint(inner.getInsertionBlock(), inner.getInsertionPoint());
      Values values = side();
      scf::YieldOp::create(builder(), at, values);
    };
  };
  auto op = scf::IfOp::create(builder(), location(), condition, build(then), build(otherwise));
  return Values(op.getResults());
}

Value LoopBuilder::view(Value memory, ArrayRef<Value> sizes) {
  auto element = cast<MemRefType>(memory.getType()).getElementType();
  SmallVector<OpFoldResult> shape = getAsOpFoldResult(sizes), strides(sizes.size());
  SmallVector<int64_t> staticShape;
  SmallVector<Value> dynamic;
  dispatchIndexOpFoldResults(shape, dynamic, staticShape);
  Value step = index(1);
  for (size_t dim = sizes.size(); dim-- > 0;) {
    strides[dim] = getAsOpFoldResult(step);
    step = builder().createOrFold<arith::MulIOp>(location(), step, sizes[dim]);
  }
  SmallVector<int64_t> staticStrides;
  dispatchIndexOpFoldResults(strides, dynamic, staticStrides);
  auto type = MemRefType::get(staticShape, element,
                              StridedLayoutAttr::get(element.getContext(), /*offset=*/0, staticStrides));
  return memref::ReinterpretCastOp::create(builder(), location(), type, memory,
                                           OpFoldResult(builder().getIndexAttr(0)), shape, strides);
}

Value LoopBuilder::load(Value memory, ArrayRef<Value> indices) {
  return memref::LoadOp::create(builder(), location(), memory, indices);
}

void LoopBuilder::store(Value value, Value memory, ArrayRef<Value> indices) {
  memref::StoreOp::create(builder(), location(), value, memory, indices);
}

Value LoopBuilder::areSameMemory(Value lhs, Value rhs) {
  auto address = [&](Value memory) {
    auto parts = memref::ExtractStridedMetadataOp::create(builder(), location(), memory);
    Value base = memref::ExtractAlignedPointerAsIndexOp::create(builder(), location(), memory);
    Type element = cast<MemRefType>(memory.getType()).getElementType();
    int64_t bytes = llvm::divideCeil(element.getIntOrFloatBitWidth(), 8);
    return add(base, mul(parts.getOffset(), index(bytes)));
  };
  return compare(CmpI::eq, address(lhs), address(rhs));
}

Value LoopBuilder::local(ArrayRef<int64_t> shape, Type element) {
  OpBuilder::InsertionGuard guard(builder());
  auto function = builder().getInsertionBlock()->getParent()->getParentOfType<FunctionOpInterface>();
  builder().setInsertionPointToStart(&function.getFunctionBody().front());
  return memref::AllocaOp::create(builder(), location(), MemRefType::get(shape, element));
}

Values LoopBuilder::delinearize(Value linear, ArrayRef<Value> sizes) {
  Values indices(sizes.size());
  for (size_t dim = sizes.size(); dim-- > 0;) {
    if (dim == 0) {
      indices[dim] = linear;
    } else {
      indices[dim] = rem(linear, sizes[dim]);
      linear = floorDiv(linear, sizes[dim]);
    }
  }
  return indices;
}

Value LoopBuilder::toIndex(Value x, bool isUnsigned) {
  Type type = builder().getIndexType();
  return isUnsigned ? arith::IndexCastUIOp::create(builder(), location(), type, x).getResult()
                    : arith::IndexCastOp::create(builder(), location(), type, x).getResult();
}

Value LoopBuilder::fromIndex(Value x, Type integer) {
  return arith::IndexCastOp::create(builder(), location(), integer, x);
}

Value LoopBuilder::floorDiv(Value x, Value y) {
  return builder().createOrFold<arith::DivUIOp>(location(), x, y);
}

Value LoopBuilder::rem(Value x, Value y) { return builder().createOrFold<arith::RemUIOp>(location(), x, y); }

std::pair<Value, Value> LoopBuilder::checkedIndex(Value raw, Value size) {
  Value position = toIndex(raw);
  position = select(compare(CmpI::slt, position, 0), add(position, size), position);
  Value isWithin = compare(CmpI::ult, position, size);
  trapIf(bitXor(isWithin, integer(isWithin.getType(), 1)), kFaultIndex);
  return {position, isWithin};
}

void LoopBuilder::trapIf(Value condition, int32_t fault) {
  // By name: the kernel dialect builds on this one.
  OperationState state(location(), "kernel.trap_if");
  state.addOperands(condition);
  state.addAttribute("fault", builder().getI32IntegerAttr(fault));
  builder().create(state);
}
