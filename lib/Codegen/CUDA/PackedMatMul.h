// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Products with weights that are stored in a format.

#ifndef LATHE_LIB_CODEGEN_CUDA_PACKEDMATMUL_H
#define LATHE_LIB_CODEGEN_CUDA_PACKEDMATMUL_H

#include "PackedColumns.h"
#include "lathe/Codegen/Element/MatMulProblem.h"

namespace lathe::cuda {

/// Threads of a block, those of tiles of many rows.
inline constexpr int64_t kPackedThreads = 256;

Launch planPackedMatMul(ElementContext &context, const MatMulProblem &problem);
llvm::LogicalResult emitPackedMatMul(EmitContext &context, const MatMulProblem &problem);

/// The product of few rows: the blocks of a grid, `rows` rows each, and what each does.
mlir::OpFoldResult countPackedBlocks(IndexMath math, const MatMulProblem &problem, int64_t rows);
llvm::LogicalResult emitPackedRows(EmitContext &context, const MatMulProblem &problem, int64_t rows);

} // namespace lathe::cuda

#endif // LATHE_LIB_CODEGEN_CUDA_PACKEDMATMUL_H
