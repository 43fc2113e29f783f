// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "ConstantElements.h"

#include "VerifyUtils.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace lathe::nn::detail;

Type lathe::nn::detail::dropSign(Type elementType) {
  auto integer = dyn_cast<IntegerType>(elementType);
  return integer ? IntegerType::get(integer.getContext(), integer.getWidth()) : elementType;
}

bool lathe::nn::detail::canFoldTo(Type type) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  if (!tensor || !tensor.hasStaticShape() || !tensor.getElementType().isIntOrFloat()) {
    return false;
  }
  std::optional<int64_t> count = countElements(tensor.getShape());
  // The first comparison keeps the product small.
  return count && *count <= kMaxFoldedBytes * 8 &&
         *count * tensor.getElementTypeBitWidth() <= kMaxFoldedBytes * 8;
}

std::optional<SmallVector<Attribute>> lathe::nn::detail::readElements(Attribute attr) {
  auto dense = dyn_cast_or_null<DenseElementsAttr>(attr);
  if (!dense || !canFoldTo(dense.getType())) {
    return std::nullopt;
  }
  Type type = dropSign(dense.getElementType());
  SmallVector<Attribute> elements;
  if (isa<FloatType>(type)) {
    for (const APFloat &value : dense.getValues<APFloat>()) {
      elements.push_back(FloatAttr::get(type, value));
    }
  } else {
    for (const APInt &value : dense.getValues<APInt>()) {
      elements.push_back(IntegerAttr::get(type, value));
    }
  }
  return elements;
}

Attribute lathe::nn::detail::makeElements(Type type, ArrayRef<Attribute> elements) {
  if (!canFoldTo(type)) {
    return {};
  }
  auto tensor = cast<RankedTensorType>(type);
  if (tensor.getNumElements() != int64_t(elements.size())) {
    return {};
  }
  Type wanted = dropSign(tensor.getElementType());
  if (!llvm::all_of(elements, [&](Attribute element) {
        auto typed = dyn_cast_or_null<TypedAttr>(element);
        return typed && typed.getType() == wanted;
      })) {
    return {};
  }
  if (isa<FloatType>(wanted)) {
    return DenseElementsAttr::get(tensor, llvm::map_to_vector(elements, [](Attribute element) {
                                    return cast<FloatAttr>(element).getValue();
                                  }));
  }
  return DenseElementsAttr::get(tensor, llvm::map_to_vector(elements, [](Attribute element) {
                                  return cast<IntegerAttr>(element).getValue();
                                }));
}

void lathe::nn::detail::forEachPosition(ArrayRef<int64_t> shape, function_ref<void(ArrayRef<int64_t>)> body) {
  if (llvm::is_contained(shape, 0)) {
    return;
  }
  SmallVector<int64_t> position(shape.size(), 0);
  while (true) {
    body(position);
    // Count up like an odometer.
    int64_t axis = int64_t(shape.size()) - 1;
    while (axis >= 0 && ++position[axis] == shape[axis]) {
      position[axis--] = 0;
    }
    if (axis < 0) {
      return;
    }
  }
}

int64_t lathe::nn::detail::linearize(ArrayRef<int64_t> position, ArrayRef<int64_t> shape) {
  int64_t index = 0;
  for (auto [at, size] : llvm::zip_equal(position, shape)) {
    index = index * size + at;
  }
  return index;
}

int64_t lathe::nn::detail::linearizeBroadcast(ArrayRef<int64_t> position, ArrayRef<int64_t> shape) {
  int64_t index = 0;
  for (auto [at, size] : llvm::zip_equal(position.take_back(shape.size()), shape)) {
    index = index * size + (size == 1 ? 0 : at);
  }
  return index;
}

//===----------------------------------------------------------------------===//
// ScalarFunction
//===----------------------------------------------------------------------===//

ScalarFunction::ScalarFunction(Location loc, TypeRange argumentTypes, BuildFn build) {
  block.addArguments(argumentTypes, SmallVector<Location>(argumentTypes.size(), loc));
  OpBuilder builder(loc.getContext());
  builder.setInsertionPointToStart(&block);
  result = build(builder, block.getArguments());
}

ScalarFunction::~ScalarFunction() = default;

/// The folders of these ops refuse what is inexact or are missing.
static Attribute foldRounding(Operation &op, ArrayRef<Attribute> operands) {
  auto value = [&](unsigned i) { return cast<FloatAttr>(operands[i]).getValue(); };
  if (isa<arith::TruncFOp>(op)) {
    auto type = cast<FloatType>(op.getResult(0).getType());
    APFloat number = value(0);
    bool losesInfo;
    number.convert(type.getFloatSemantics(), APFloat::rmNearestTiesToEven, &losesInfo);
    return FloatAttr::get(type, number);
  }
  if (isa<math::FmaOp>(op)) {
    APFloat number = value(0);
    number.fusedMultiplyAdd(value(1), value(2), APFloat::rmNearestTiesToEven);
    return FloatAttr::get(op.getResult(0).getType(), number);
  }
  return {};
}

Attribute ScalarFunction::evaluate(ArrayRef<Attribute> arguments) {
  if (!result || arguments.size() != block.getNumArguments()) {
    return {};
  }
  DenseMap<Value, Attribute> values;
  for (auto [argument, value] : llvm::zip_equal(block.getArguments(), arguments)) {
    auto typed = dyn_cast_or_null<TypedAttr>(value);
    if (!typed || typed.getType() != argument.getType()) {
      return {};
    }
    values[argument] = value;
  }
  for (Operation &op : block) {
    auto operands =
        llvm::map_to_vector(op.getOperands(), [&](Value operand) { return values.lookup(operand); });
    if (!llvm::all_of(operands, [](Attribute operand) { return bool(operand); })) {
      return {};
    }
    if (Attribute folded = foldRounding(op, operands)) {
      values[op.getResult(0)] = folded;
      continue;
    }
    SmallVector<OpFoldResult> results;
    // A folder that changes the op in place has no value to give, and the function has changed for good.
    if (failed(op.fold(operands, results)) || results.size() != op.getNumResults()) {
      return {};
    }
    for (auto [opResult, folded] : llvm::zip_equal(op.getResults(), results)) {
      auto value = dyn_cast_if_present<Value>(folded);
      values[opResult] = value ? values.lookup(value) : cast<Attribute>(folded);
    }
  }
  return values.lookup(result);
}
