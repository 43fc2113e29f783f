// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What the unary ops compute for one element.

#include "lathe/Codegen/Math/Emitter.h"
#include "lathe/Codegen/Math/Math.h"
#include "lathe/Dialect/NN/IR/NN.h"
#include "lathe/Dialect/NN/IR/NNCoarse.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;

namespace lathe::nn {

using CmpF = Emitter::CmpF;
using CmpI = Emitter::CmpI;

/// Integers have the kinds that make sense on them; roundings leave them as they are.
static Value buildInteger(Emitter &e, UnaryKind kind, Value x, bool isUnsigned) {
  Type type = x.getType();
  Value zero = e.zero(type);
  switch (kind) {
  case UnaryKind::Abs:
    return isUnsigned ? x : e.select(e.compare(CmpI::slt, x, zero), e.neg(x), x);
  case UnaryKind::Neg:
    return e.neg(x);
  case UnaryKind::Sign: {
    Value positive = e.select(e.compare(CmpI::ne, x, zero), e.integer(type, 1), zero);
    return isUnsigned ? positive : e.select(e.compare(CmpI::slt, x, zero), e.integer(type, -1), positive);
  }
  case UnaryKind::Relu:
    return isUnsigned ? x : e.select(e.compare(CmpI::slt, x, zero), zero, x);
  case UnaryKind::Not:
    return e.bitXor(x, e.integer(type, -1));
  default:
    return x;
  }
}

/// Whether all that reads an f32 rounds it to bf16, or to something as narrow elsewhere.
static bool isCoarse(UnaryOp op) {
  if (!getElementTypeOrSelf(op.getType()).isF32()) {
    return false;
  }
  bool isRead = !op->use_empty();
  return op->hasAttr(kCoarseAttr) ||
         (isRead && llvm::all_of(op->getUsers(), [](Operation *user) {
            return isa<CastOp>(user) && getElementTypeOrSelf(user->getResult(0)).isBF16();
          }));
}

/// The kinds of floats on f32 and f64.
static Value buildFloat(UnaryOp op, Emitter &e, Value x) {
  OpBuilder &b = e.builder();
  Location loc = e.location();
  Type type = x.getType();
  auto hardSigmoid = [&](double alpha, double beta) {
    Value y = e.add(e.mul(x, alpha), beta);
    return e.clampBelow(e.clampAbove(y, 1), 0);
  };
  switch (op.getKind()) {
  case UnaryKind::Abs:
    return e.abs(x);
  case UnaryKind::Neg:
    return e.neg(x);
  case UnaryKind::Sign: {
    Value y = e.select(e.compare(CmpF::OGT, x, 0.0), e.real(type, 1), x);
    y = e.select(e.compare(CmpF::OLT, x, 0.0), e.real(type, -1), y);
    return e.select(e.compare(CmpF::OEQ, x, 0.0), e.zero(type), y);
  }
  case UnaryKind::Ceil:
    return e.ceil(x);
  case UnaryKind::Floor:
    return e.floor(x);
  case UnaryKind::Round:
    return e.roundEven(x);
  case UnaryKind::Sqrt:
    return e.sqrt(x);
  case UnaryKind::Rsqrt:
    return e.div(e.real(type, 1), e.sqrt(x));
  case UnaryKind::Reciprocal:
    return e.div(e.real(type, 1), x);
  case UnaryKind::Exp:
    return approx::buildExp(b, loc, x);
  case UnaryKind::Log:
    return approx::buildLog(b, loc, x);
  case UnaryKind::Sin:
    return approx::buildSin(b, loc, x);
  case UnaryKind::Cos:
    return approx::buildCos(b, loc, x);
  case UnaryKind::Tanh:
    return approx::buildTanh(b, loc, x);
  case UnaryKind::Sigmoid:
    return approx::buildSigmoid(b, loc, x);
  case UnaryKind::Erf:
    return approx::buildErf(b, loc, x);
  case UnaryKind::Gelu:
    return isCoarse(op) ? approx::buildCoarseGelu(b, loc, x) : approx::buildGelu(b, loc, x);
  case UnaryKind::GeluTanh:
    return approx::buildGeluTanh(b, loc, x);
  case UnaryKind::Relu:
    return e.clampBelow(x, 0);
  case UnaryKind::Silu:
    return approx::buildSilu(b, loc, x);
  case UnaryKind::Softplus:
    return approx::buildSoftplus(b, loc, x);
  case UnaryKind::HardSwish:
    return e.mul(x, hardSigmoid(1.0 / 6, 0.5));
  case UnaryKind::HardSigmoid: {
    // ONNX's defaults.
    float alpha = op.getAlpha() ? op.getAlpha()->convertToFloat() : 0.2f;
    float beta = op.getBeta() ? op.getBeta()->convertToFloat() : 0.5f;
    return hardSigmoid(alpha, beta);
  }
  case UnaryKind::IsNaN:
    return e.compare(CmpF::UNO, x, x);
  case UnaryKind::IsInf:
    return e.compare(CmpF::OEQ, e.abs(x), e.infinity(type));
  case UnaryKind::Asin:
    return approx::buildAsin(b, loc, x);
  case UnaryKind::Acos:
    return approx::buildAcos(b, loc, x);
  case UnaryKind::Atan:
    return approx::buildAtan(b, loc, x);
  case UnaryKind::Sinh:
    return approx::buildSinh(b, loc, x);
  case UnaryKind::Cosh:
    return approx::buildCosh(b, loc, x);
  case UnaryKind::Asinh:
    return approx::buildAsinh(b, loc, x);
  case UnaryKind::Acosh:
    return approx::buildAcosh(b, loc, x);
  case UnaryKind::Atanh:
    return approx::buildAtanh(b, loc, x);
  case UnaryKind::Not:
    break;
  }
  // The verifier lets no float into `not`.
  return x;
}

Value UnaryOp::buildElement(OpBuilder &builder, Location loc, ValueRange operands) {
  Emitter e(builder, loc);
  Value x = operands[0];
  Type element = getElementTypeOrSelf(x.getType());
  UnaryKind kind = getKind();
  if (!isa<FloatType>(element)) {
    if (kind == UnaryKind::IsNaN || kind == UnaryKind::IsInf) {
      return e.zero(withElement(x.getType(), builder.getI1Type()));
    }
    return buildInteger(e, kind, x, getElementTypeOrSelf(getX().getType()).isUnsignedInteger());
  }
  // Exact on every width, without a conversion.
  bool isNarrow = element.getIntOrFloatBitWidth() < 32 && kind != UnaryKind::Abs && kind != UnaryKind::Neg;
  Value result = buildFloat(*this, e, isNarrow ? e.toFloat(x, builder.getF32Type()) : x);
  bool isPredicate = kind == UnaryKind::IsNaN || kind == UnaryKind::IsInf;
  return isNarrow && !isPredicate ? e.toFloat(result, element) : result;
}

} // namespace lathe::nn
