// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The numbers that TensorProto.DataType gives to element types.

#include "lathe/Dialect/Onnx/IR/Onnx.h"

#include "mlir/IR/Builders.h"

using namespace mlir;
using namespace lathe;

static constexpr int64_t kString = 8, kLastDataType = 28;

Type lathe::onnx::getElementType(MLIRContext *context, int64_t dataType) {
  Builder b(context);
  auto unsignedType = [&](unsigned width) { return b.getIntegerType(width, /*isSigned=*/false); };
  switch (dataType) {
  case 1:
    return b.getF32Type();
  case 2:
    return unsignedType(8);
  case 3:
    return b.getI8Type();
  case 4:
    return unsignedType(16);
  case 5:
    return b.getI16Type();
  case 6:
    return b.getI32Type();
  case 7:
    return b.getI64Type();
  case kString:
    return StringType::get(context);
  case 9:
    return b.getI1Type();
  case 10:
    return b.getF16Type();
  case 11:
    return b.getF64Type();
  case 12:
    return unsignedType(32);
  case 13:
    return unsignedType(64);
  case 14:
    return ComplexType::get(b.getF32Type());
  case 15:
    return ComplexType::get(b.getF64Type());
  case 16:
    return b.getBF16Type();
  case 17:
    return Float8E4M3FNType::get(context);
  case 18:
    return Float8E4M3FNUZType::get(context);
  case 19:
    return Float8E5M2Type::get(context);
  case 20:
    return Float8E5M2FNUZType::get(context);
  case 21:
    return unsignedType(4);
  case 22:
    return b.getIntegerType(4);
  case 23:
    return Float4E2M1FNType::get(context);
  case 24:
    return Float8E8M0FNUType::get(context);
  case 25:
    return unsignedType(2);
  case 26:
    return b.getIntegerType(2);
  case 27:
    return Float6E2M3FNType::get(context);
  case kLastDataType:
    return Float6E3M2FNType::get(context);
  default:
    return {};
  }
}

int64_t lathe::onnx::getDataType(Type elementType) {
  if (isa<StringType>(elementType)) {
    return kString;
  }
  for (int64_t dataType = 1; dataType <= kLastDataType; ++dataType) {
    // Strings are this dialect's, which need not be loaded.
    if (dataType != kString && getElementType(elementType.getContext(), dataType) == elementType) {
      return dataType;
    }
  }
  return 0;
}
