// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Elementary functions as straight-line arithmetic: no calls, scalars and vectors alike.
///
/// Operands are f32 or f64. Results lie within 2 units in the last place of the exact one (f32: checked over
/// all inputs by test/numeric), with NaN, infinities and denormal numbers as C99 has them. silu and both
/// gelus lie within 3 or 5 units, or half a unit of their argument where that is more: test/numeric says why.
/// math.fma is used throughout, so the target must have it: without the instruction LLVM calls libm.

#ifndef LATHE_CODEGEN_MATH_MATH_H
#define LATHE_CODEGEN_MATH_MATH_H

#include "mlir/IR/Builders.h"

namespace lathe::approx {

mlir::Value buildExp(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x);
mlir::Value buildExp2(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x);
mlir::Value buildLog(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x);
mlir::Value buildTanh(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x);
mlir::Value buildErf(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x);
mlir::Value buildSigmoid(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x);
/// x sigmoid(x); 0 at minus infinity.
mlir::Value buildSilu(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x);
/// x Phi(x) with the normal distribution's Phi; 0 at minus infinity.
mlir::Value buildGelu(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x);
/// The same to within 2^-15, of f32: for results that are rounded to bf16.
mlir::Value buildCoarseGelu(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x);
/// x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))); 0 at minus infinity.
mlir::Value buildGeluTanh(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x);
/// log(1 + exp(x)).
mlir::Value buildSoftplus(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x);
mlir::Value buildSin(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x);
mlir::Value buildCos(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x);
mlir::Value buildAsin(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x);
mlir::Value buildAcos(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x);
mlir::Value buildAtan(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x);
mlir::Value buildSinh(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x);
mlir::Value buildCosh(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x);
mlir::Value buildAsinh(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x);
mlir::Value buildAcosh(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x);
mlir::Value buildAtanh(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x);
mlir::Value buildPow(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x, mlir::Value y);
/// The remainder of the division truncated towards zero, exact, with the sign of x.
mlir::Value buildFMod(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x, mlir::Value y);

} // namespace lathe::approx

#endif // LATHE_CODEGEN_MATH_MATH_H
