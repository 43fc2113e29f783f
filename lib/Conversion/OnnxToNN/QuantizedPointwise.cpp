// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// com.microsoft's functions of quantized numbers: what the integers stand for is computed with, in f32, and
/// stored again. All of it is one kernel.

#include "Products.h"
#include "Quantize.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::BinaryKind;
using nn::UnaryKind;

/// Operand `i` as the f32 numbers that it stands for, by the scale and the zero point that follow it.
static Value dequantizeOperand(LegalizeContext &c, unsigned i) {
  Quantization quantization = getQuantization(c, c.operand(i), i + 1, i + 2, /*axis=*/0);
  return c.hasFailed() ? c.operand(i) : dequantize(c, c.operand(i), quantization, c.b.getF32Type());
}

/// Result 0: `x` by scale and zero point, operands `i` and the one after it, in the type of operand `like`.
static LogicalResult setQuantized(LegalizeContext &c, Value x, unsigned i, unsigned like) {
  Quantization quantization = getQuantization(c, x, i, i + 1, /*axis=*/0);
  return c.hasFailed() ? failure() : c.set(quantize(c, x, quantization, c.elementType(like)));
}

static LogicalResult legalizeBinary(LegalizeContext &c, BinaryKind kind) {
  Value lhs = dequantizeOperand(c, 0), rhs = dequantizeOperand(c, 3);
  return c.hasFailed() ? failure() : setQuantized(c, c.binary(kind, lhs, rhs), 6, 0);
}

static LogicalResult legalizeUnary(LegalizeContext &c, llvm::function_ref<Value(Value)> function) {
  Value x = dequantizeOperand(c, 0);
  return c.hasFailed() ? failure() : setQuantized(c, function(x), 3, 0);
}

static LogicalResult legalizeSigmoid(LegalizeContext &c) {
  return legalizeUnary(c, [&](Value x) { return c.unary(UnaryKind::Sigmoid, x); });
}

static LogicalResult legalizeLeakyRelu(LegalizeContext &c) {
  double alpha = c.floatAttr("alpha", 0.01);
  return legalizeUnary(c, [&](Value x) {
    Value isNegative = c.compare(nn::CompareKind::Less, x, c.scalar(0, x));
    return c.select(isNegative, c.mul(x, c.scalar(alpha, x)), x);
  });
}

/// Up to opset 12 of ONNX all dimensions from `axis` on are one.
static LogicalResult legalizeSoftmax(LegalizeContext &c) {
  int64_t axis = c.intAttr("axis", -1), opset = c.intAttr("opset", 13);
  Sizes dims = c.shapeOf(0);
  if (!c.normalizeAxis(axis, dims.size())) {
    return failure();
  }
  return legalizeUnary(c, [&](Value x) {
    if (opset >= 13) {
      return nn::buildSoftmax(c.b, c.loc, x, axis);
    }
    Size rows = c.sizes.product(ArrayRef<Size>(dims).take_front(axis)),
         columns = c.sizes.product(ArrayRef<Size>(dims).drop_front(axis));
    return c.reshape(nn::buildSoftmax(c.b, c.loc, c.reshape(x, {rows, columns}), 1), dims);
  });
}

/// Operands: scale and zero point of the result, then each part with its own.
static LogicalResult legalizeConcat(LegalizeContext &c) {
  if (c.numInputs() % 3 != 2) {
    return c.error("E0305", llvm::formatv("there are {0} operands: two of the result and three of each part "
                                          "are expected",
                                          c.numInputs())
                                .str());
  }
  SmallVector<Value> parts;
  for (unsigned i = 2; i < c.numInputs(); i += 3) {
    parts.push_back(dequantizeOperand(c, i));
  }
  int64_t rank = nn::getRank(parts.front()), axis = c.intAttr("axis", 0);
  for (Value part : parts) {
    if (nn::getRank(part) != rank) {
      return c.error("E0307",
                     llvm::formatv("the parts have {0} and {1} dimensions", rank, nn::getRank(part)).str());
    }
  }
  if (c.hasFailed() || !c.normalizeAxis(axis, rank)) {
    return failure();
  }
  Sizes first = c.shapeOf(parts.front());
  for (Value part : parts) {
    for (auto [dim, size] : llvm::enumerate(c.shapeOf(part))) {
      if (int64_t(dim) != axis && nn::areDifferentSizes(size, first[dim])) {
        return c.error("E0307", llvm::formatv("dimension {0} of the parts is not the same", dim).str());
      }
    }
  }
  return setQuantized(c, nn::buildConcat(c.b, c.loc, parts, axis), 0, 2);
}

void lathe::onnx::registerQuantizedPointwise(LegalizerRegistry &registry) {
  registry.add(
      "QLinearAdd", 7, 8, [](LegalizeContext &c) { return legalizeBinary(c, BinaryKind::Add); }, kMicrosoft);
  registry.add(
      "QLinearMul", 7, 8, [](LegalizeContext &c) { return legalizeBinary(c, BinaryKind::Mul); }, kMicrosoft);
  registry.add("QLinearSigmoid", 4, 5, legalizeSigmoid, kMicrosoft);
  registry.add("QLinearLeakyRelu", 4, 5, legalizeLeakyRelu, kMicrosoft);
  registry.add("QLinearSoftmax", 5, 5, legalizeSoftmax, kMicrosoft);
  registry.add("QLinearConcat", 5, LegalizerRegistry::kAny, legalizeConcat, kMicrosoft);
}
