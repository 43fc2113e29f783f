// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What tensor cores need: asynchronous copies to shared memory, matrices in registers, their products.

#ifndef LATHE_LIB_CODEGEN_CUDA_TENSOROPS_H
#define LATHE_LIB_CODEGEN_CUDA_TENSOROPS_H

#include "lathe/Codegen/CUDA/Emitters.h"

namespace lathe::cuda {

/// What a copy moves, and a row of a matrix has, in bytes.
inline constexpr int64_t kChunkBytes = 16;
/// The rows and columns of what one instruction multiplies.
inline constexpr int64_t kMatrixRows = 16, kMatrixColumns = 8;

/// What is multiplied, with sums of f32, of bytes with sums of i32. F32 is none of tensor cores': each thread
/// multiplies and adds by itself.
enum class MatrixFormat { F16, BF16, TF32, F32, Bytes };

/// The format in which products of operands of type `element` are multiplied; null for those that are neither
/// floats of at most 32 bits nor bytes.
std::optional<MatrixFormat> getMatrixFormat(mlir::Type element, bool inTF32);
/// An element in registers: f32 of TF32, of which instructions read 19 bits.
mlir::Type getElementType(MatrixFormat format, mlir::MLIRContext *context);
inline int64_t getElementBytes(MatrixFormat format) {
  return format == MatrixFormat::Bytes                                 ? 1
         : format == MatrixFormat::TF32 || format == MatrixFormat::F32 ? 4
                                                                       : 2;
}
/// The elements of a chunk, and the depth of an instruction: two chunks.
inline int64_t getChunkElements(MatrixFormat format) { return kChunkBytes / getElementBytes(format); }
inline int64_t getDepth(MatrixFormat format) { return 2 * getChunkElements(format); }

/// The address of what `memory`, a memref, begins with.
mlir::Value getPointer(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value memory);
/// An address so many bytes further.
mlir::Value advance(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value pointer,
                    mlir::OpFoldResult bytes);

/// Begins to copy a chunk to shared memory. Only `bytes` of it, if that is not null, are read; the rest is
/// filled with zeros.
void emitCopy(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value to, mlir::Value from,
              mlir::Value bytes);
/// Makes a group of the copies that this thread has begun since the last one.
void emitCopyGroup(mlir::OpBuilder &builder, mlir::Location loc);
/// Waits until all groups of this thread but the newest `left` are there.
void emitCopyWait(mlir::OpBuilder &builder, mlir::Location loc, int64_t left);

/// Four 8 x 8 matrices of 16 bits, or 8 x 4 of 32: one register of each. Every lane gives the address of a
/// row. Transposed only for 16 bits.
llvm::SmallVector<mlir::Value> loadMatrices(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value row,
                                            bool transposed);

/// The bits of an f32 so that what instructions read of it is the nearest TF32: they leave out the last 13.
mlir::Value roundToTF32(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value bits);
/// Two f32 as a register of f16 or bf16, the first one in its low half.
mlir::Value packPair(mlir::OpBuilder &builder, mlir::Location loc, MatrixFormat format, mlir::Value low,
                     mlir::Value high);
/// 2 to the power of an f32, by an instruction: to 2 units in the last place, and 0 for what is subnormal.
mlir::Value emitExp2(mlir::OpBuilder &builder, mlir::Location loc, mlir::Value x);

/// Four sums, `sums` and the product of `lhs`, four registers, and `rhs`, two.
llvm::SmallVector<mlir::Value> emitProduct(mlir::OpBuilder &builder, mlir::Location loc, MatrixFormat format,
                                           mlir::ValueRange lhs, mlir::ValueRange rhs, mlir::ValueRange sums);
/// The same for bytes, of each of which the bits may be those of an unsigned one; sums of i32 wrap.
llvm::SmallVector<mlir::Value> emitByteProduct(mlir::OpBuilder &builder, mlir::Location loc,
                                               std::array<bool, 2> areUnsigned, mlir::ValueRange lhs,
                                               mlir::ValueRange rhs, mlir::ValueRange sums);
/// `sum` and the four bytes of a register, i32.
mlir::Value emitByteSum(mlir::OpBuilder &builder, mlir::Location loc, bool isUnsigned, mlir::Value bytes,
                        mlir::Value sum);

} // namespace lathe::cuda

#endif // LATHE_LIB_CODEGEN_CUDA_TENSOROPS_H
