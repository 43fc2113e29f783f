// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "VerifyUtils.h"

#include "lathe/Dialect/NN/IR/Builders.h"
#include "lathe/Dialect/NN/IR/ShapeArith.h"

#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace lathe::nn;
using namespace lathe::nn::detail;

static ArrayRef<int64_t> getShape(Value tensor) {
  return cast<RankedTensorType>(tensor.getType()).getShape();
}

std::optional<int64_t> lathe::nn::detail::countElements(ArrayRef<int64_t> shape) {
  if (llvm::is_contained(shape, 0)) {
    return 0;
  }
  if (ShapedType::isDynamicShape(shape)) {
    return ShapedType::kDynamic;
  }
  int64_t count = 1;
  for (int64_t size : shape) {
    if (llvm::MulOverflow(count, size, count)) {
      return std::nullopt;
    }
  }
  return count;
}

std::string lathe::nn::detail::formatSize(int64_t size) {
  return ShapedType::isDynamic(size) ? "?" : std::to_string(size);
}

std::string lathe::nn::detail::formatShape(ArrayRef<int64_t> shape) {
  return "[" + llvm::join(llvm::map_range(shape, formatSize), ", ") + "]";
}

//===----------------------------------------------------------------------===//
// Elements
//===----------------------------------------------------------------------===//

bool lathe::nn::detail::isSupportedElement(Type type) {
  if (auto integer = dyn_cast<IntegerType>(type)) {
    unsigned width = integer.getWidth();
    bool isWord = width == 2 || width == 4 || width == 8 || width == 16 || width == 32 || width == 64;
    return isWord ? !integer.isSigned() : integer.isSignlessInteger(1);
  }
  return isa<Float16Type, BFloat16Type, Float32Type, Float64Type, Float8E4M3FNType, Float8E4M3FNUZType,
             Float8E5M2Type, Float8E5M2FNUZType, Float8E8M0FNUType, Float4E2M1FNType, Float6E2M3FNType,
             Float6E3M2FNType>(type);
}

LogicalResult lathe::nn::detail::verifyTensors(Operation *op) {
  auto verifyType = [&](Type type) -> LogicalResult {
    auto tensor = dyn_cast<RankedTensorType>(type);
    if (!tensor) {
      return success();
    }
    if (!isSupportedElement(tensor.getElementType())) {
      return op->emitOpError()
             << "expects bool, signless or unsigned integer or float elements, but there is " << tensor;
    }
    if (tensor.getEncoding()) {
      return op->emitOpError() << "expects tensors without an encoding, but there is " << tensor;
    }
    for (int64_t size : tensor.getShape()) {
      if (!ShapedType::isDynamic(size) && size > kMaxDim) {
        return op->emitOpError() << "expects sizes up to " << kMaxDim << ", but there is " << tensor;
      }
    }
    return success();
  };
  for (Type type : op->getOperandTypes()) {
    if (failed(verifyType(type))) {
      return failure();
    }
  }
  for (Type type : op->getResultTypes()) {
    if (failed(verifyType(type))) {
      return failure();
    }
  }
  return success();
}

static StringRef describe(ElementSet set) {
  switch (set) {
  case ElementSet::Any:
    return "any";
  case ElementSet::Numeric:
    return "float or integer";
  case ElementSet::Float:
    return "float";
  case ElementSet::Integer:
    return "integer or bool";
  case ElementSet::Bool:
    return "bool";
  case ElementSet::Index:
    return "i32 or i64";
  }
  return "";
}

static bool contains(ElementSet set, Type type) {
  switch (set) {
  case ElementSet::Any:
    return true;
  case ElementSet::Numeric:
    return !type.isInteger(1);
  case ElementSet::Float:
    return isa<FloatType>(type);
  case ElementSet::Integer:
    return isa<IntegerType>(type);
  case ElementSet::Bool:
    return type.isInteger(1);
  case ElementSet::Index:
    return type.isSignlessInteger(32) || type.isSignlessInteger(64);
  }
  return false;
}

LogicalResult lathe::nn::detail::verifyElements(Operation *op, StringRef name, Value tensor, ElementSet set) {
  if (contains(set, getElementType(tensor))) {
    return success();
  }
  return op->emitOpError() << "expects " << name << " to have " << describe(set) << " elements, but it is "
                           << tensor.getType();
}

LogicalResult lathe::nn::detail::verifySameElements(Operation *op, StringRef name, Value tensor,
                                                    StringRef otherName, Value other) {
  if (getElementType(tensor) == getElementType(other)) {
    return success();
  }
  return op->emitOpError() << "expects " << name << " to have the elements of " << otherName << ", "
                           << getElementType(other) << ", but they are " << getElementType(tensor);
}

//===----------------------------------------------------------------------===//
// Shapes
//===----------------------------------------------------------------------===//

LogicalResult lathe::nn::detail::verifyAxis(Operation *op, int64_t axis, Value x) {
  int64_t rank = getRank(x);
  if (axis >= 0 && axis < rank) {
    return success();
  }
  return op->emitOpError() << "expects an axis below the rank of x, " << rank << ", but it is " << axis;
}

LogicalResult lathe::nn::detail::verifyRank(Operation *op, StringRef name, Value tensor, int64_t rank) {
  if (getRank(tensor) == rank) {
    return success();
  }
  return op->emitOpError() << "expects " << name << " to have rank " << rank << ", but it is "
                           << tensor.getType();
}

LogicalResult lathe::nn::detail::verifySameSize(Operation *op, StringRef name, int64_t size,
                                                StringRef otherName, int64_t other) {
  if (size == other || ShapedType::isDynamic(size) || ShapedType::isDynamic(other)) {
    return success();
  }
  return op->emitOpError() << "expects " << name << " to equal " << otherName << ", " << other
                           << ", but it is " << size;
}

LogicalResult lathe::nn::detail::verifyBroadcastTo(Operation *op, StringRef name, Value tensor,
                                                   StringRef target, ArrayRef<int64_t> shape) {
  ArrayRef<int64_t> from = getShape(tensor);
  bool fits = from.size() <= shape.size();
  if (fits) {
    for (auto [size, wanted] : llvm::zip_equal(from, shape.take_back(from.size()))) {
      fits &= size == 1 || size == wanted || ShapedType::isDynamic(size) || ShapedType::isDynamic(wanted);
    }
  }
  if (fits) {
    return success();
  }
  return op->emitOpError() << "expects " << name << " to broadcast to " << target << ", "
                           << formatShape(shape) << ", but it is " << tensor.getType();
}

LogicalResult lathe::nn::detail::verifyResultShapes(Operation *op) {
  FailureOr<SmallVector<SmallVector<int64_t>>> shapes = inferStaticShapes(op);
  if (failed(shapes)) {
    return op->emitOpError() << "expects operands of compatible shapes, but they are "
                             << op->getOperandTypes();
  }
  for (auto [result, shape] : llvm::zip_equal(op->getResults(), *shapes)) {
    if (failed(verifyCompatibleShape(getShape(result), shape))) {
      return op->emitOpError() << "expects a result of shape " << formatShape(shape) << ", but it is "
                               << result.getType();
    }
  }
  return success();
}

LogicalResult lathe::nn::detail::verifyMixed(Operation *op, StringRef name, ValueRange values,
                                             ArrayRef<int64_t> numbers) {
  int64_t places = llvm::count_if(numbers, ShapedType::isDynamic);
  if (places != int64_t(values.size())) {
    return op->emitOpError() << "expects one value per unknown number of " << name << ", " << places
                             << ", but there are " << values.size();
  }
  for (int64_t number : numbers) {
    if (number < 0 && !ShapedType::isDynamic(number)) {
      return op->emitOpError() << "expects " << name << " that are not negative, but there is " << number;
    }
  }
  return success();
}
