// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Into which tiles a product is divided.

#ifndef LATHE_LIB_CODEGEN_CUDA_MATMULTILING_H
#define LATHE_LIB_CODEGEN_CUDA_MATMULTILING_H

#include "MatMulBlocks.h"
#include "TensorOps.h"

namespace lathe::cuda {

/// How a product is divided: the tile of a block, the warps that share it, the stages of its pipeline, and
/// what a line along the depth has in one of them, in bytes.
struct MatMulTiling {
  int64_t rows, columns, warpsDown, warpsAcross, stages, depthBytes;
  /// The part of the device's rate that the tile allows: small ones read shared memory more often.
  double rate;

  int64_t getThreads() const { return warpsDown * warpsAcross * kWarp; }
  int64_t getWarpRows() const { return rows / warpsDown; }
  int64_t getWarpColumns() const { return columns / warpsAcross; }
  /// Between rows of sums in shared memory: what eight lanes store lies in different banks.
  int64_t getSumStride() const { return columns + 8; }
};

/// The tiling of a product. Where the number of its rows is not known, there are two of as many threads, of
/// which host and device choose one by the sizes of the run.
struct TilingChoice {
  const MatMulTiling *tiling;
  /// Null, or the tiling where there `areMany` rows, a truth value.
  const MatMulTiling *forMany = nullptr;
  mlir::Value areMany;

  TilingChoice(IndexMath math, const MatMulProblem &problem, MatrixFormat format);
};

} // namespace lathe::cuda

#endif // LATHE_LIB_CODEGEN_CUDA_MATMULTILING_H
