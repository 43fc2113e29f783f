// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What ops of arith compute for one lane, defined for all operands.

#ifndef LATHE_LIB_DIALECT_NN_EVALUATE_SCALARFUNCTIONS_H
#define LATHE_LIB_DIALECT_NN_EVALUATE_SCALARFUNCTIONS_H

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "llvm/Support/MathExtras.h"

#include <cmath>
#include <cstdint>

namespace lathe::nn {

/// An integer, or a float narrower than 32 bits, extended with zeros.
using Bits = uint64_t;

/// Reads bits as a number with a sign.
inline int64_t toSigned(Bits x, unsigned width) { return llvm::SignExtend64(x, width); }

inline Bits mask(Bits x, unsigned width) { return width == 64 ? x : x & llvm::maskTrailingOnes<Bits>(width); }

/// Neither traps nor has an undefined result, which a select discards.
inline Bits divide(Bits x, Bits y, unsigned width, bool isSigned, bool wantsQuotient) {
  if (y == 0) {
    return 0;
  }
  if (!isSigned) {
    return wantsQuotient ? x / y : x % y;
  }
  int64_t a = toSigned(x, width), b = toSigned(y, width);
  if (b == -1) {
    return wantsQuotient ? mask(0 - x, width) : 0;
  }
  return mask(wantsQuotient ? a / b : a % b, width);
}

/// The largest or smallest of two floats, NaN if one is, with -0 below 0.
template <typename T>
T extremum(T x, T y, bool wantsLarger) {
  if (std::isnan(x) || std::isnan(y)) {
    return std::isnan(x) ? x : y;
  }
  if (x == y) {
    return std::signbit(x) == wantsLarger ? y : x;
  }
  return (x < y) == wantsLarger ? y : x;
}

template <typename T>
bool compareFloats(mlir::arith::CmpFPredicate predicate, T x, T y) {
  using P = mlir::arith::CmpFPredicate;
  bool isUnordered = std::isnan(x) || std::isnan(y);
  switch (predicate) {
  case P::AlwaysFalse:
    return false;
  case P::AlwaysTrue:
    return true;
  case P::ORD:
    return !isUnordered;
  case P::UNO:
    return isUnordered;
  case P::OEQ:
    return x == y;
  case P::OGT:
    return x > y;
  case P::OGE:
    return x >= y;
  case P::OLT:
    return x < y;
  case P::OLE:
    return x <= y;
  case P::ONE:
    return !isUnordered && x != y;
  case P::UEQ:
    return isUnordered || x == y;
  case P::UGT:
    return isUnordered || x > y;
  case P::UGE:
    return isUnordered || x >= y;
  case P::ULT:
    return isUnordered || x < y;
  case P::ULE:
    return isUnordered || x <= y;
  case P::UNE:
    return isUnordered || x != y;
  }
  return false;
}

/// A float converted to an integer; any that does not fit gives 0, which a select discards.
template <typename T>
Bits toInteger(T x, unsigned width, bool isSigned) {
  T high = std::ldexp(T(1), isSigned ? width - 1 : width);
  if (!(x > (isSigned ? -high - 1 : T(-1)) && x < high) && x != -high) {
    return 0;
  }
  return isSigned ? mask(Bits(int64_t(x)), width) : x < 0 ? 0 : Bits(x);
}

} // namespace lathe::nn

#endif // LATHE_LIB_DIALECT_NN_EVALUATE_SCALARFUNCTIONS_H
