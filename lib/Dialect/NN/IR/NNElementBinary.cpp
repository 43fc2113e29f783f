// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What binary ops, comparisons and selections compute for one element.

#include "lathe/Codegen/Math/Emitter.h"
#include "lathe/Codegen/Math/Math.h"
#include "lathe/Dialect/NN/IR/Division.h"
#include "lathe/Dialect/NN/IR/NN.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/Matchers.h"

#include <cmath>
#include <optional>

using namespace mlir;

namespace lathe::nn {

using CmpF = Emitter::CmpF;
using CmpI = Emitter::CmpI;

namespace {

/// Quotient or remainder, truncated towards zero. x/0 and x%0, which are faults, are 0 and the smallest
/// integer over -1 is itself, where the processor would end the process.
Value buildDivision(Emitter &e, Value x, Value y, bool isUnsigned, bool wantsQuotient) {
  OpBuilder &b = e.builder();
  Location loc = e.location();
  Type type = y.getType();
  Value zero = e.zero(type), one = e.integer(type, 1);
  Value isZero = e.compare(CmpI::eq, y, zero);
  if (isUnsigned) {
    Value safe = e.select(isZero, one, y);
    if (!wantsQuotient) {
      return arith::RemUIOp::create(b, loc, x, safe);
    }
    return e.select(isZero, zero, arith::DivUIOp::create(b, loc, x, safe));
  }
  Value isMinusOne = e.compare(CmpI::eq, y, int64_t(-1));
  Value safe = e.select(e.bitOr(isZero, isMinusOne), one, y);
  if (!wantsQuotient) {
    // Modulo 1 and modulo -1 are both 0.
    return arith::RemSIOp::create(b, loc, x, safe);
  }
  Value quotient = arith::DivSIOp::create(b, loc, x, safe);
  quotient = e.select(isMinusOne, e.neg(x), quotient);
  return e.select(isZero, zero, quotient);
}

/// x^y by squaring, modulo 2^width. A negative y gives the truncated quotient 1 / x^-y, which is 0 unless |x|
/// = 1.
Value buildIntegerPow(Emitter &e, Value x, Value y, bool isUnsigned) {
  Type type = x.getType();
  unsigned width = getElementTypeOrSelf(type).getIntOrFloatBitWidth();
  Value one = e.integer(type, 1), zero = e.zero(type);
  Value result = one, square = x;
  for (unsigned bit = 0; bit < width; ++bit) {
    Value isSet = e.compare(CmpI::ne, e.bitAnd(y, int64_t(uint64_t(1) << bit)), zero);
    result = e.select(isSet, e.mul(result, square), result);
    if (bit + 1 < width) {
      square = e.mul(square, square);
    }
  }
  if (isUnsigned) {
    return result;
  }
  // 1 and -1 are right already: their order divides 2^width.
  Value isUnit = e.bitOr(e.compare(CmpI::eq, x, one), e.compare(CmpI::eq, x, int64_t(-1)));
  Value vanishes = e.bitAnd(e.compare(CmpI::slt, y, zero), e.bitXor(isUnit, e.integer(isUnit.getType(), 1)));
  return e.select(vanishes, zero, result);
}

/// Shifts by more bits than there are have no defined result on a processor; read without sign, negative ones
/// are among them.
Value buildShift(Emitter &e, Value x, Value y, bool isUnsigned, bool isLeft) {
  OpBuilder &b = e.builder();
  Location loc = e.location();
  Type type = x.getType();
  int64_t width = getElementTypeOrSelf(type).getIntOrFloatBitWidth();
  Value isWithin = e.compare(CmpI::ult, y, width);
  if (isLeft || isUnsigned) {
    Value by = e.select(isWithin, y, e.zero(type));
    Value shifted =
        isLeft ? Value(arith::ShLIOp::create(b, loc, x, by)) : arith::ShRUIOp::create(b, loc, x, by);
    return e.select(isWithin, shifted, e.zero(type));
  }
  return arith::ShRSIOp::create(b, loc, x, e.select(isWithin, y, e.integer(type, width - 1)));
}

Value buildInteger(Emitter &e, BinaryKind kind, Value x, Value y, bool isUnsigned) {
  switch (kind) {
  case BinaryKind::Add:
    return e.add(x, y);
  case BinaryKind::Sub:
    return e.sub(x, y);
  case BinaryKind::Mul:
    return e.mul(x, y);
  case BinaryKind::Div:
    return buildDivision(e, x, y, isUnsigned, /*wantsQuotient=*/true);
  case BinaryKind::FMod:
    return buildDivision(e, x, y, isUnsigned, /*wantsQuotient=*/false);
  case BinaryKind::Mod: {
    Value r = buildDivision(e, x, y, isUnsigned, /*wantsQuotient=*/false);
    if (isUnsigned) {
      return r;
    }
    Value zero = e.zero(x.getType());
    Value differs = e.compare(CmpI::slt, e.bitXor(r, y), zero);
    return e.select(e.bitAnd(differs, e.compare(CmpI::ne, r, zero)), e.add(r, y), r);
  }
  case BinaryKind::Pow:
    return buildIntegerPow(e, x, y, isUnsigned);
  case BinaryKind::Max:
    return e.select(e.compare(isUnsigned ? CmpI::ugt : CmpI::sgt, x, y), x, y);
  case BinaryKind::Min:
    return e.select(e.compare(isUnsigned ? CmpI::ult : CmpI::slt, x, y), x, y);
  case BinaryKind::And:
    return e.bitAnd(x, y);
  case BinaryKind::Or:
    return e.bitOr(x, y);
  case BinaryKind::Xor:
    return e.bitXor(x, y);
  case BinaryKind::ShiftLeft:
  case BinaryKind::ShiftRight:
    return buildShift(e, x, y, isUnsigned, kind == BinaryKind::ShiftLeft);
  }
  return x;
}

/// The number that a constant holds in all its elements.
std::optional<double> getSplat(Value tensor) {
  DenseElementsAttr attr;
  if (!matchPattern(tensor, m_Constant(&attr)) || !attr.isSplat() || !isa<FloatType>(attr.getElementType())) {
    return std::nullopt;
  }
  APFloat value = attr.getSplatValue<APFloat>();
  bool losesInfo;
  value.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &losesInfo);
  return value.convertToDouble();
}

/// A power whose exponent is known and simple, else null. 0.5 needs care: pow(-0, 0.5) is 0, pow(-inf, 0.5)
/// is inf.
Value buildSimplePow(Emitter &e, Value x, double exponent) {
  Type type = x.getType();
  if (exponent == 0) {
    return e.real(type, 1);
  }
  if (exponent == 1) {
    return x;
  }
  if (exponent == 2) {
    return e.mul(x, x);
  }
  if (exponent == 3) {
    return e.mul(e.mul(x, x), x);
  }
  if (exponent == -1) {
    return e.div(e.real(type, 1), x);
  }
  if (exponent == 0.5) {
    Value isMinusInf = e.compare(CmpF::OEQ, x, e.infinity(type, /*negative=*/true));
    return e.select(isMinusInf, e.infinity(type), e.sqrt(e.add(x, 0.0)));
  }
  return {};
}

Value buildFloat(BinaryOp op, Emitter &e, Value x, Value y) {
  OpBuilder &b = e.builder();
  Location loc = e.location();
  switch (op.getKind()) {
  case BinaryKind::Add:
    return e.add(x, y);
  case BinaryKind::Sub:
    return e.sub(x, y);
  case BinaryKind::Mul:
    return e.mul(x, y);
  case BinaryKind::Div:
    return e.div(x, y);
  case BinaryKind::FMod:
    return approx::buildFMod(b, loc, x, y);
  case BinaryKind::Mod: {
    Value r = approx::buildFMod(b, loc, x, y);
    Value zero = e.zero(x.getType());
    Value differs = e.bitXor(e.compare(CmpF::OLT, r, zero), e.compare(CmpF::OLT, y, zero));
    return e.select(e.bitAnd(differs, e.compare(CmpF::ONE, r, zero)), e.add(r, y), r);
  }
  case BinaryKind::Pow:
    if (std::optional<double> exponent = getSplat(op.getRhs())) {
      if (Value simple = buildSimplePow(e, x, *exponent)) {
        return simple;
      }
    }
    return approx::buildPow(b, loc, x, y);
  case BinaryKind::Max:
    return arith::MaximumFOp::create(b, loc, x, y);
  case BinaryKind::Min:
    return arith::MinimumFOp::create(b, loc, x, y);
  case BinaryKind::And:
  case BinaryKind::Or:
  case BinaryKind::Xor:
  case BinaryKind::ShiftLeft:
  case BinaryKind::ShiftRight:
    break;
  }
  // The verifier lets no float into bitwise kinds.
  return x;
}

} // namespace

Value getUncertainDivisor(Operation *op) {
  auto binary = dyn_cast<BinaryOp>(op);
  if (!binary ||
      !llvm::is_contained({BinaryKind::Div, BinaryKind::Mod, BinaryKind::FMod}, binary.getKind()) ||
      !isa<IntegerType>(getElementTypeOrSelf(binary.getRhs().getType()))) {
    return {};
  }
  DenseIntElementsAttr divisors;
  if (matchPattern(binary.getRhs(), m_Constant(&divisors)) &&
      llvm::none_of(divisors.getValues<APInt>(), [](const APInt &divisor) { return divisor.isZero(); })) {
    return {};
  }
  return binary.getRhs();
}

Value BinaryOp::buildElement(OpBuilder &builder, Location loc, ValueRange operands) {
  Emitter e(builder, loc);
  Value x = operands[0], y = operands[1];
  Type element = getElementTypeOrSelf(x.getType());
  if (!isa<FloatType>(element)) {
    // Of bools, true is the larger one.
    Type declared = getElementTypeOrSelf(getLhs().getType());
    return buildInteger(e, getKind(), x, y, declared.isUnsignedInteger() || declared.isInteger(1));
  }
  if (element.getIntOrFloatBitWidth() >= 32) {
    return buildFloat(*this, e, x, y);
  }
  Type f32 = builder.getF32Type();
  return e.toFloat(buildFloat(*this, e, e.toFloat(x, f32), e.toFloat(y, f32)), element);
}

Value CompareOp::buildElement(OpBuilder &builder, Location loc, ValueRange operands) {
  Emitter e(builder, loc);
  Value x = operands[0], y = operands[1];
  Type element = getElementTypeOrSelf(x.getType());
  if (isa<FloatType>(element)) {
    if (element.getIntOrFloatBitWidth() < 32) {
      x = e.toFloat(x, builder.getF32Type());
      y = e.toFloat(y, builder.getF32Type());
    }
    // Only != holds for NaN.
    static constexpr CmpF predicates[] = {CmpF::OEQ, CmpF::UNE, CmpF::OLT, CmpF::OLE, CmpF::OGT, CmpF::OGE};
    return e.compare(predicates[unsigned(getKind())], x, y);
  }
  Type declared = getElementTypeOrSelf(getLhs().getType());
  static constexpr CmpI signedPredicates[] = {CmpI::eq, CmpI::ne, CmpI::slt, CmpI::sle, CmpI::sgt, CmpI::sge};
  static constexpr CmpI unsignedPredicates[] = {CmpI::eq,  CmpI::ne,  CmpI::ult,
                                                CmpI::ule, CmpI::ugt, CmpI::uge};
  bool isUnsigned = declared.isUnsignedInteger() || declared.isInteger(1);
  return e.compare((isUnsigned ? unsignedPredicates : signedPredicates)[unsigned(getKind())], x, y);
}

Value SelectOp::buildElement(OpBuilder &builder, Location loc, ValueRange operands) {
  return arith::SelectOp::create(builder, loc, operands[0], operands[1], operands[2]);
}

} // namespace lathe::nn
