// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Floats of 8 bits and fewer by integer arithmetic: no processor converts them all, and LLVM has no types
/// for them. Scalars and vectors alike.

#ifndef LATHE_CODEGEN_MATH_SMALLFLOATS_H
#define LATHE_CODEGEN_MATH_SMALLFLOATS_H

#include "mlir/IR/Builders.h"

namespace lathe {

/// Where a number between two powers of two goes, if a type has nothing but these.
enum class PowerRounding { Up, Down, Nearest };

/// How numbers become ones of a small float type.
struct SmallFloatOptions {
  /// What is too large becomes the largest number; if not, an infinity or a NaN where the type has one. An
  /// f8E8M0FNU, which has no zero, takes its smallest number for what is too small, or NaN if not.
  bool saturate = true;
  /// For f8E8M0FNU; ties of `Nearest` go up. All others round to nearest, ties to even.
  PowerRounding rounding = PowerRounding::Up;
};

/// Whether `element` is a float type of 8 bits or fewer.
bool isSmallFloat(mlir::Type element);

/// Numbers of a small float type in f32, which has them all.
mlir::Value buildFromSmallFloat(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x);

/// Numbers in f32 as ones of the small float type `element`. NaN gives -0 where there is no NaN; f8E8M0FNU,
/// which has no sign, takes the magnitude.
mlir::Value buildToSmallFloat(mlir::OpBuilder &b, mlir::Location loc, mlir::Value x, mlir::Type element,
                              const SmallFloatOptions &options = {});

} // namespace lathe

#endif // LATHE_CODEGEN_MATH_SMALLFLOATS_H
