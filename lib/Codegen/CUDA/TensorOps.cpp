// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "TensorOps.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cuda;

/// Address spaces of pointers.
static constexpr unsigned kGlobal = 1;

std::optional<MatrixFormat> cuda::getMatrixFormat(Type element, bool inTF32) {
  if (element.isF16()) {
    return MatrixFormat::F16;
  }
  if (element.isBF16()) {
    return MatrixFormat::BF16;
  }
  if (element.isInteger(8)) {
    return MatrixFormat::Bytes;
  }
  return !element.isF32() ? std::nullopt : std::optional(inTF32 ? MatrixFormat::TF32 : MatrixFormat::F32);
}

Type cuda::getElementType(MatrixFormat format, MLIRContext *context) {
  switch (format) {
  case MatrixFormat::F16:
    return Float16Type::get(context);
  case MatrixFormat::BF16:
    return BFloat16Type::get(context);
  case MatrixFormat::TF32:
  case MatrixFormat::F32:
    return Float32Type::get(context);
  case MatrixFormat::Bytes:
    return IntegerType::get(context, 8);
  }
  return {};
}

Value cuda::getPointer(OpBuilder &builder, Location loc, Value memory) {
  auto type = cast<MemRefType>(memory.getType());
  Type i64 = builder.getI64Type();
  auto pointer = LLVM::LLVMPointerType::get(builder.getContext(), type.getMemorySpaceAsInt());
  auto one = LLVM::LLVMArrayType::get(i64, 1);
  auto descriptor = LLVM::LLVMStructType::getLiteral(builder.getContext(), {pointer, pointer, i64, one, one});
  Value fields = UnrealizedConversionCastOp::create(builder, loc, descriptor, memory).getResult(0);
  return LLVM::ExtractValueOp::create(builder, loc, fields, ArrayRef<int64_t>{1});
}

Value cuda::advance(OpBuilder &builder, Location loc, Value pointer, OpFoldResult bytes) {
  SmallVector<LLVM::GEPArg> indices;
  std::optional<int64_t> number = getConstantIntValue(bytes);
  if (number == 0) {
    return pointer;
  }
  if (number && llvm::isInt<32>(*number)) {
    indices.push_back(LLVM::GEPArg(int32_t(*number)));
  } else {
    Value value = getValueOrCreateConstantIndexOp(builder, loc, bytes);
    if (value.getType().isIndex()) {
      value = arith::IndexCastOp::create(builder, loc, builder.getI64Type(), value);
    }
    indices.push_back(value);
  }
  return LLVM::GEPOp::create(builder, loc, pointer.getType(), builder.getI8Type(), pointer, indices);
}

void cuda::emitCopy(OpBuilder &builder, Location loc, Value to, Value from, Value bytes) {
  auto global = LLVM::LLVMPointerType::get(builder.getContext(), kGlobal);
  from = LLVM::AddrSpaceCastOp::create(builder, loc, global, from);
  NVVM::CpAsyncOp::create(builder, loc, to, from, uint32_t(kChunkBytes), NVVM::LoadCacheModifierKind::CG,
                          bytes);
}

void cuda::emitCopyGroup(OpBuilder &builder, Location loc) {
  NVVM::CpAsyncCommitGroupOp::create(builder, loc);
}

void cuda::emitCopyWait(OpBuilder &builder, Location loc, int64_t left) {
  NVVM::CpAsyncWaitGroupOp::create(builder, loc, uint32_t(left));
}

/// The fields of a struct.
static SmallVector<Value> extractAll(OpBuilder &builder, Location loc, Value fields, int64_t count) {
  SmallVector<Value> values;
  for (int64_t i = 0; i < count; ++i) {
    values.push_back(LLVM::ExtractValueOp::create(builder, loc, fields, i));
  }
  return values;
}

SmallVector<Value> cuda::loadMatrices(OpBuilder &builder, Location loc, Value row, bool transposed) {
  MLIRContext *context = builder.getContext();
  SmallVector<Type> registers(4, builder.getI32Type());
  auto loaded =
      NVVM::LdMatrixOp::create(builder, loc, LLVM::LLVMStructType::getLiteral(context, registers), row,
                               /*num=*/4, transposed ? NVVM::MMALayout::col : NVVM::MMALayout::row,
                               NVVM::LdStMatrixShapeAttr::get(context, 8, 8), NVVM::LdStMatrixEltType::B16);
  return extractAll(builder, loc, loaded, 4);
}

SmallVector<Value> cuda::emitProduct(OpBuilder &builder, Location loc, MatrixFormat format, ValueRange lhs,
                                     ValueRange rhs, ValueRange sums) {
  MLIRContext *context = builder.getContext();
  SmallVector<Value> left(lhs), right(rhs);
  if (format == MatrixFormat::F16) {
    auto pair = VectorType::get({2}, builder.getF16Type());
    for (Value &value : left) {
      value = LLVM::BitcastOp::create(builder, loc, pair, value);
    }
    for (Value &value : right) {
      value = LLVM::BitcastOp::create(builder, loc, pair, value);
    }
  }
  NVVM::MMATypes type = format == MatrixFormat::F16    ? NVVM::MMATypes::f16
                        : format == MatrixFormat::BF16 ? NVVM::MMATypes::bf16
                                                       : NVVM::MMATypes::tf32;
  SmallVector<Type> four(4, builder.getF32Type());
  auto product = NVVM::MmaOp::create(
      builder, loc, LLVM::LLVMStructType::getLiteral(context, four), left, right, sums,
      ArrayRef<int64_t>{kMatrixRows, kMatrixColumns, getDepth(format)}, std::nullopt, std::nullopt,
      std::array{type, type}, std::array{NVVM::MMALayout::row, NVVM::MMALayout::col});
  return extractAll(builder, loc, product, 4);
}

SmallVector<Value> cuda::emitByteProduct(OpBuilder &builder, Location loc, std::array<bool, 2> areUnsigned,
                                         ValueRange lhs, ValueRange rhs, ValueRange sums) {
  auto getType = [](bool isUnsigned) { return isUnsigned ? NVVM::MMATypes::u8 : NVVM::MMATypes::s8; };
  SmallVector<Type> four(4, builder.getI32Type());
  auto product = NVVM::MmaOp::create(
      builder, loc, LLVM::LLVMStructType::getLiteral(builder.getContext(), four), lhs, rhs, sums,
      ArrayRef<int64_t>{kMatrixRows, kMatrixColumns, getDepth(MatrixFormat::Bytes)}, std::nullopt,
      NVVM::MMAIntOverflow::wrapped, std::array{getType(areUnsigned[0]), getType(areUnsigned[1])},
      std::array{NVVM::MMALayout::row, NVVM::MMALayout::col});
  return extractAll(builder, loc, product, 4);
}

Value cuda::roundToTF32(OpBuilder &builder, Location loc, Value bits) {
  Value half = arith::ConstantIntOp::create(builder, loc, builder.getI32Type(), 1 << 12);
  return arith::AddIOp::create(builder, loc, bits, half);
}

/// A call of a device's intrinsic that gives a `type`.
static Value callIntrinsic(OpBuilder &builder, Location loc, StringRef name, Type type,
                           ValueRange arguments) {
  return LLVM::CallIntrinsicOp::create(builder, loc, type, builder.getStringAttr(name), arguments)
      .getResult(0);
}

Value cuda::emitByteSum(OpBuilder &builder, Location loc, bool isUnsigned, Value bytes, Value sum) {
  Value ones = arith::ConstantIntOp::create(builder, loc, builder.getI32Type(), 0x01010101);
  return callIntrinsic(builder, loc, isUnsigned ? "llvm.nvvm.idp4a.u.u" : "llvm.nvvm.idp4a.s.s",
                       builder.getI32Type(), {bytes, ones, sum});
}

Value cuda::packPair(OpBuilder &builder, Location loc, MatrixFormat format, Value low, Value high) {
  bool isHalf = format == MatrixFormat::F16;
  auto pair = VectorType::get({2}, getElementType(format, builder.getContext()));
  Value packed = callIntrinsic(builder, loc, isHalf ? "llvm.nvvm.ff2f16x2.rn" : "llvm.nvvm.ff2bf16x2.rn",
                               pair, {high, low});
  return LLVM::BitcastOp::create(builder, loc, builder.getI32Type(), packed);
}

Value cuda::emitExp2(OpBuilder &builder, Location loc, Value x) {
  return callIntrinsic(builder, loc, "llvm.nvvm.ex2.approx.ftz.f32", builder.getF32Type(), x);
}
