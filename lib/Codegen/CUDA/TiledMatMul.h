// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#ifndef LATHE_LIB_CODEGEN_CUDA_TENSORMATMUL_H
#define LATHE_LIB_CODEGEN_CUDA_TENSORMATMUL_H

#include "lathe/Codegen/CUDA/Emitters.h"
#include "lathe/Codegen/Element/MatMulProblem.h"

namespace lathe::cuda {

/// Whether tensor cores multiply a product: both operands are f16, bf16, or f32 that may be taken as TF32.
bool isTensorProduct(const ElementContext &context, const MatMulProblem &problem);
Launch planTensorMatMul(ElementContext &context, const MatMulProblem &problem);
llvm::LogicalResult emitTensorMatMul(EmitContext &context, const MatMulProblem &problem);

} // namespace lathe::cuda

#endif // LATHE_LIB_CODEGEN_CUDA_TENSORMATMUL_H
