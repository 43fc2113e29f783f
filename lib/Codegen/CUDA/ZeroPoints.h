// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The zero points of products of bytes by tensor cores.

#ifndef LATHE_LIB_CODEGEN_CUDA_ZEROPOINTS_H
#define LATHE_LIB_CODEGEN_CUDA_ZEROPOINTS_H

#include "MatMulTiling.h"
#include "lathe/Codegen/Element/LoopEmitter.h"

namespace lathe::cuda {

/// What zero points take off the sums of a warp:
///
///   sum (a - za) (b - zb)  =  sum a b - za sum b - zb (sum a - K za)
///
/// Of the columns of b, and the rows of a, a lane adds up the bytes that it has in registers; these sums go
/// through the pipeline beside those of products, and lanes tell each other in the end.
class ZeroPoints : LoopEmitter {
public:
  ZeroPoints(mlir::OpBuilder &builder, const MatMulProblem &problem, const MatMulTiling &tiling);

  /// The sums of a lane.
  int64_t countSums() const { return countColumnSums() + countRowSums(); }
  /// Adds the registers of the 8 columns number `block` of the warp, two, or of its 16 rows, four.
  void addColumns(int64_t block, mlir::ValueRange registers, llvm::MutableArrayRef<mlir::Value> sums);
  void addRows(int64_t block, mlir::ValueRange registers, llvm::MutableArrayRef<mlir::Value> sums);

  /// Emits a zero point as i32, by the row, or the column, of the warp.
  using Loader = llvm::function_ref<mlir::Value(mlir::OpFoldResult)>;
  /// Corrects all sums of products of a lane.
  void correct(llvm::MutableArrayRef<mlir::Value> products, llvm::ArrayRef<mlir::Value> sums,
               mlir::Value lane, Loader lhsZero, Loader rhsZero);

private:
  int64_t countColumnSums() const { return problem.lhsZero ? tiling.getWarpColumns() / kMatrixColumns : 0; }
  int64_t countRowSums() const { return problem.rhsZero ? tiling.getWarpRows() / kMatrixRows * 2 : 0; }
  static bool isUnsigned(mlir::Value operand);
  /// Of the four lanes that have parts of the same sum.
  mlir::Value addUp(mlir::Value sum);

  const MatMulProblem &problem;
  const MatMulTiling &tiling;
};

} // namespace lathe::cuda

#endif // LATHE_LIB_CODEGEN_CUDA_ZEROPOINTS_H
