// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#ifndef LATHE_LIB_CODEGEN_CUDA_TILEDMATMUL_H
#define LATHE_LIB_CODEGEN_CUDA_TILEDMATMUL_H

#include "lathe/Codegen/CUDA/Emitters.h"
#include "lathe/Codegen/Element/MatMulProblem.h"

namespace lathe::cuda {

/// Whether a product, or that of the windows of a convolution and its filter, is one of floats of at most 32
/// bits.
bool isTiledProduct(const ElementContext &context, const MatMulProblem &problem);
Launch planTiledMatMul(ElementContext &context, const MatMulProblem &problem);
llvm::LogicalResult emitTiledMatMul(EmitContext &context, const MatMulProblem &problem);

} // namespace lathe::cuda

#endif // LATHE_LIB_CODEGEN_CUDA_TILEDMATMUL_H
