// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Code over pointers: what LowerHost builds host functions and the entries of kernels from.

#ifndef LATHE_LIB_CODEGEN_HOST_KERNELENTRIES_H
#define LATHE_LIB_CODEGEN_HOST_KERNELENTRIES_H

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"

namespace lathe::codegen {

/// More than fits any memory, and twice of it still fits an int64_t.
constexpr int64_t kTooManyBytes = int64_t(1) << 62;

/// Small steps of pointer code.
struct Emit {
  mlir::OpBuilder &builder;
  mlir::Location loc;

  mlir::Type ptr() { return mlir::LLVM::LLVMPointerType::get(builder.getContext()); }
  mlir::Type i64() { return builder.getI64Type(); }
  mlir::Value constant(int64_t value) {
    return mlir::LLVM::ConstantOp::create(builder, loc, i64(), builder.getI64IntegerAttr(value));
  }
  mlir::Value at(mlir::Value base, int64_t index) {
    return mlir::LLVM::GEPOp::create(builder, loc, ptr(), i64(), base,
                                     llvm::ArrayRef<mlir::LLVM::GEPArg>{mlir::LLVM::GEPArg(int32_t(index))});
  }
  mlir::Value bytesAt(mlir::Value base, mlir::Value offset) {
    return mlir::LLVM::GEPOp::create(builder, loc, ptr(), builder.getI8Type(), base,
                                     llvm::ArrayRef<mlir::LLVM::GEPArg>{offset});
  }
  mlir::Value load(mlir::Type type, mlir::Value base, int64_t index) {
    return mlir::LLVM::LoadOp::create(builder, loc, type, at(base, index));
  }
  void store(mlir::Value value, mlir::Value base, int64_t index) {
    mlir::LLVM::StoreOp::create(builder, loc, value, at(base, index));
  }
  mlir::Value toIndex(mlir::Value value) {
    return mlir::arith::IndexCastOp::create(builder, loc, builder.getIndexType(), value);
  }
  mlir::Value fromIndex(mlir::Value value) {
    return mlir::arith::IndexCastOp::create(builder, loc, i64(), value);
  }

  /// Sums and products of bytes that stop at kTooManyBytes instead of wrapping around.
  mlir::Value addBytes(mlir::Value lhs, mlir::Value rhs) {
    return limit(mlir::LLVM::AddOp::create(builder, loc, lhs, rhs));
  }
  mlir::Value multiplyBytes(mlir::Value bytes, mlir::Value count) {
    auto type = mlir::LLVM::LLVMStructType::getLiteral(builder.getContext(), {i64(), builder.getI1Type()});
    mlir::Value product = mlir::LLVM::UMulWithOverflowOp::create(builder, loc, type, bytes, count);
    mlir::Value value = mlir::LLVM::ExtractValueOp::create(builder, loc, product, 0);
    mlir::Value overflows = mlir::LLVM::ExtractValueOp::create(builder, loc, product, 1);
    return limit(mlir::LLVM::SelectOp::create(builder, loc, overflows, constant(kTooManyBytes), value));
  }
  mlir::Value limit(mlir::Value bytes) {
    return mlir::LLVM::UMinOp::create(builder, loc, bytes, constant(kTooManyBytes));
  }
};

/// Whether `kernel` is a function of a device, which the host knows by its number alone.
bool isOnDevice(mlir::func::FuncOp kernel);

/// `@<kernel>.entry(args, begin, end, worker) -> i32`: a lathe_task_fn that unpacks the arguments of a
/// launch.
void emitEntry(mlir::func::FuncOp kernel);

/// `@<kernel>.cost_entry(args, cost)`: a lathe_cost_fn that hands the sizes among the arguments of a launch
/// to `costs`.
void emitCostEntry(mlir::func::FuncOp kernel, mlir::func::FuncOp costs);

} // namespace lathe::codegen

#endif // LATHE_LIB_CODEGEN_HOST_KERNELENTRIES_H
