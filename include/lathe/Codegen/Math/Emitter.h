// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Arithmetic on values that are scalars or vectors alike.

#ifndef LATHE_CODEGEN_MATH_EMITTER_H
#define LATHE_CODEGEN_MATH_EMITTER_H

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Builders.h"

namespace lathe {

/// `element`, or a vector of it with the shape of `like` if that is a vector.
mlir::Type withElement(mlir::Type like, mlir::Type element);

/// Builds arith ops with few words. Every operand of a call has one type, a scalar or a vector; integers or
/// floats are told from it. Integer comparisons and divisions are signed unless the name says otherwise.
class Emitter {
public:
  using Value = mlir::Value;
  using Type = mlir::Type;
  using CmpF = mlir::arith::CmpFPredicate;
  using CmpI = mlir::arith::CmpIPredicate;

  Emitter(mlir::OpBuilder &builder, mlir::Location loc) : b(builder), loc(loc) {}

  /// The number `value` in type `type`, rounded if need be.
  Value real(Type type, double value);
  /// The integer `value`, truncated to `type`.
  Value integer(Type type, int64_t value);
  /// Zero of any type.
  Value zero(Type type);
  Value infinity(Type type, bool negative = false);
  Value nan(Type type);

  Value add(Value x, Value y);
  Value sub(Value x, Value y);
  Value mul(Value x, Value y);
  Value div(Value x, Value y);
  Value fma(Value x, Value y, Value z);
  Value add(Value x, double y) { return add(x, real(x.getType(), y)); }
  Value sub(Value x, double y) { return sub(x, real(x.getType(), y)); }
  Value mul(Value x, double y) { return mul(x, real(x.getType(), y)); }
  Value fma(Value x, double y, Value z) { return fma(x, real(x.getType(), y), z); }
  Value fma(Value x, double y, double z) { return fma(x, real(x.getType(), y), real(x.getType(), z)); }
  Value fma(Value x, Value y, double z) { return fma(x, y, real(x.getType(), z)); }
  Value neg(Value x);
  Value abs(Value x);
  Value copysign(Value magnitude, Value sign);
  Value sqrt(Value x);
  Value floor(Value x);
  Value ceil(Value x);
  Value trunc(Value x);
  Value roundEven(Value x);

  Value compare(CmpF predicate, Value x, Value y);
  Value compare(CmpF predicate, Value x, double y) { return compare(predicate, x, real(x.getType(), y)); }
  Value compare(CmpI predicate, Value x, Value y);
  Value compare(CmpI predicate, Value x, int64_t y) { return compare(predicate, x, integer(x.getType(), y)); }
  Value select(Value condition, Value x, Value y);
  /// The smaller of a float and a number, the float if it is NaN. One instruction, unlike arith.minimumf.
  Value clampAbove(Value x, double high);
  /// The larger of a float and a number, the float if it is NaN.
  Value clampBelow(Value x, double low);

  Value bitAnd(Value x, Value y);
  Value bitOr(Value x, Value y);
  Value bitXor(Value x, Value y);
  Value bitAnd(Value x, int64_t y) { return bitAnd(x, integer(x.getType(), y)); }
  Value bitOr(Value x, int64_t y) { return bitOr(x, integer(x.getType(), y)); }
  Value shiftLeft(Value x, int64_t by);
  Value shiftLeft(Value x, Value by);
  Value shiftRight(Value x, int64_t by);
  Value shiftRight(Value x, Value by);
  Value shiftRightSigned(Value x, int64_t by);

  /// A float's bits as integers of its width.
  Value bits(Value x);
  /// The floats of element type `element` with these bits.
  Value fromBits(Value x, Type element);
  /// Conversion between floats of any width.
  Value toFloat(Value x, Type element);
  Value signedToFloat(Value x, Type element);
  Value extendUnsigned(Value x, Type element);

  /// The polynomial with these coefficients, lowest degree first, by Horner's rule.
  Value polynomial(Value x, llvm::ArrayRef<double> coefficients);

  mlir::OpBuilder &builder() { return b; }
  mlir::Location location() { return loc; }

private:
  mlir::OpBuilder &b;
  mlir::Location loc;
};

} // namespace lathe

#endif // LATHE_CODEGEN_MATH_EMITTER_H
