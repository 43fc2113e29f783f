// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// QuantizeLinear, DequantizeLinear and DynamicQuantizeLinear.

#include "Quantize.h"

#include "Products.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::BinaryKind;
using nn::UnaryKind;

Value lathe::onnx::repeatBlocks(LegalizeContext &c, Value x, int64_t axis, int64_t blockSize, Size wanted) {
  Sizes dims = c.shapeOf(x);
  Size count = dims[axis], block = c.b.getIndexAttr(blockSize);
  dims.insert(dims.begin() + axis + 1, c.one());
  Value split = c.reshape(x, dims);
  dims[axis + 1] = block;
  split = c.expand(split, dims);
  dims.erase(dims.begin() + axis + 1);
  dims[axis] = c.sizes.mul(count, block);
  // The last block may be short.
  return c.slice(c.reshape(split, dims), axis, c.b.getIndexAttr(0), wanted);
}

Quantization lathe::onnx::getQuantization(LegalizeContext &c, Value x, unsigned scale, unsigned zero,
                                          int64_t axis, int64_t blockSize) {
  // A list of one number is a number.
  auto read = [&](unsigned i) {
    Value list = c.operand(i);
    return nn::getRank(list) == 1 && getConstantIntValue(c.shapeOf(list)[0]) == 1 ? c.reshape(list, {})
                                                                                  : list;
  };
  Value scales = read(scale), zeros = c.has(zero) ? read(zero) : Value();
  int64_t rank = nn::getRank(x), scaleRank = nn::getRank(scales);
  if (zeros && scaleRank == 0 && nn::getRank(zeros) == 1) {
    Size count = c.shapeOf(zeros)[0];
    if (!getConstantIntValue(count)) {
      c.require(c.sizes.compare(nn::CompareKind::Equal, count, c.one()), "one scale has several zero points");
      zeros = c.reshape(zeros, {});
    }
  }
  if (zeros && nn::getRank(zeros) != scaleRank && nn::getRank(zeros) != 0) {
    (void)c.error("E0307",
                  llvm::formatv("scale and zero point have {0} and {1} dimensions, must have as many",
                                scaleRank, nn::getRank(zeros))
                      .str());
    return {scales, zeros};
  }
  if (scaleRank == 0) {
    return {scales, zeros};
  }
  Sizes dims = c.shapeOf(x), scaleDims = c.shapeOf(scales);
  auto both = [&](llvm::function_ref<Value(Value)> place) {
    return Quantization{place(scales), zeros && nn::getRank(zeros) > 0 ? place(zeros) : zeros};
  };
  if (!c.normalizeAxis(axis, rank)) {
    return {scales, zeros};
  }
  if (blockSize > 0 && scaleRank == rank) {
    std::optional<int64_t> size = getConstantIntValue(dims[axis]),
                           count = getConstantIntValue(scaleDims[axis]);
    if (size && count && (*count != (*size + blockSize - 1) / blockSize)) {
      (void)c.error("E0307", llvm::formatv("{0} blocks of {1} elements stand beside a dimension of size {2}",
                                           *count, blockSize, *size)
                                 .str());
      return {scales, zeros};
    }
    return both([&](Value list) { return repeatBlocks(c, list, axis, blockSize, dims[axis]); });
  }
  if (scaleRank != 1) {
    (void)c.error("E0307",
                  llvm::formatv("the scale has {0} dimensions, must have 0 or 1, or with a block_size {1}",
                                scaleRank, rank)
                      .str());
    return {scales, zeros};
  }
  Sizes beside(rank, c.one());
  beside[axis] = scaleDims[0];
  return both([&](Value list) { return c.reshape(list, beside); });
}

/// Whether all of an integer tensor is known to be 0.
static bool isZero(Value value) { return matchPattern(value, m_Zero()); }

Value lathe::onnx::subtractZero(LegalizeContext &c, Value x, Value zero) {
  Type i32 = c.b.getI32Type();
  Value wide = c.cast(x, i32);
  return zero && !isZero(zero) ? c.binary(BinaryKind::Sub, wide, c.cast(zero, i32)) : wide;
}

Value lathe::onnx::dequantize(LegalizeContext &c, Value x, const Quantization &quantization, Type type) {
  Type computed = type.isF64() ? type : c.b.getF32Type();
  bool isInteger = isa<IntegerType>(nn::getElementType(x));
  Value real;
  if (isInteger) {
    real = c.cast(subtractZero(c, x, quantization.zero), computed);
  } else {
    real = c.cast(x, computed);
    if (quantization.zero) {
      real = c.binary(BinaryKind::Sub, real, c.cast(quantization.zero, computed));
    }
  }
  return c.cast(c.mul(real, c.cast(quantization.scale, computed)), type);
}

/// The smallest and the largest number of an integer type.
static std::pair<double, double> getRange(Type type) {
  unsigned width = type.getIntOrFloatBitWidth();
  bool isUnsigned = type.isUnsignedInteger();
  double half = std::ldexp(1.0, int(width) - 1);
  return isUnsigned ? std::pair(0.0, 2 * half - 1) : std::pair(-half, half - 1);
}

Value lathe::onnx::roundToInteger(LegalizeContext &c, Value x, Value zero, Type type) {
  Type f32 = c.b.getF32Type();
  Value rounded = c.cast(c.unary(UnaryKind::Round, x), f32);
  if (zero && !isZero(zero)) {
    rounded = c.add(rounded, c.cast(zero, f32));
  }
  // Casts to so many bits give the nearest number themselves.
  if (type.getIntOrFloatBitWidth() >= 8) {
    return c.cast(rounded, type);
  }
  auto [low, high] = getRange(type);
  rounded = c.binary(BinaryKind::Min, rounded, c.scalar(high, rounded));
  return c.cast(c.binary(BinaryKind::Max, rounded, c.scalar(low, rounded)), type);
}

Value lathe::onnx::quantize(LegalizeContext &c, Value x, const Quantization &quantization, Type type,
                            bool saturate) {
  Value scaled = c.binary(BinaryKind::Div, x, c.cast(quantization.scale, nn::getElementType(x)));
  if (isa<IntegerType>(type)) {
    return roundToInteger(c, scaled, quantization.zero, type);
  }
  if (quantization.zero) {
    scaled = c.add(scaled, c.cast(quantization.zero, nn::getElementType(scaled)));
  }
  return nn::createInferred<nn::CastOp>(c.b, c.loc, type, scaled, saturate, nn::PowerRoundingKind::Up);
}

//===----------------------------------------------------------------------===//
// Operators
//===----------------------------------------------------------------------===//

/// The element type whose number attribute `name` holds; null for 0, or if it is none to quantize with.
static Type getTypeAttr(LegalizeContext &c, StringRef name) {
  if (c.intAttr(name, 0) == 0) {
    return {};
  }
  Type type = c.typeAttr(name, Type());
  if (type && (type.isInteger(1) || type.isInteger(64))) {
    (void)c.error("E0304", llvm::formatv("{0} is {1}, which is no type to quantize", name, type).str(), name);
  }
  return type;
}

static LogicalResult legalizeQuantize(LegalizeContext &c) {
  Value x = c.operand(0);
  Type type = c.has(2) ? c.elementType(2) : getTypeAttr(c, "output_dtype");
  if (!type) {
    type = c.b.getIntegerType(8, /*isSigned=*/false);
  }
  Quantization quantization = getQuantization(c, x, 1, 2, c.intAttr("axis", 1), c.intAttr("block_size", 0));
  // The division is done in the type of the scale if none is asked for, but not in one of powers of two, nor
  // of integers, whose quotients are exact in f64.
  Type precision = getTypeAttr(c, "precision"), scaleType = c.elementType(1);
  if (!precision) {
    precision = isa<Float8E8M0FNUType>(scaleType) ? nn::getElementType(x) : scaleType;
    precision = isa<IntegerType>(precision) ? Type(c.b.getF64Type()) : precision;
  }
  if (c.hasFailed()) {
    return failure();
  }
  if (isa<Float8E8M0FNUType>(type) || type.isInteger(32)) {
    return c.error(
        "E0306", llvm::formatv("the result would have type {0}, to which nothing is quantized", type).str());
  }
  if (!isa<FloatType>(precision)) {
    return c.error("E0304", "precision is no type of floats", "precision");
  }
  bool saturate = c.intAttr("saturate", 1) != 0;
  return c.set(quantize(c, c.cast(x, precision), quantization, type, saturate));
}

static LogicalResult legalizeDequantize(LegalizeContext &c) {
  Value x = c.operand(0);
  Type type = getTypeAttr(c, "output_dtype");
  if (!type) {
    type = c.elementType(1);
  }
  Quantization quantization = getQuantization(c, x, 1, 2, c.intAttr("axis", 1), c.intAttr("block_size", 0));
  if (c.hasFailed()) {
    return failure();
  }
  if (!isa<FloatType>(type) || type.getIntOrFloatBitWidth() < 16) {
    return c.hasAttr("output_dtype")
               ? c.error("E0304",
                         llvm::formatv("output_dtype is {0}, must be a float type of 16 bits or more", type)
                             .str(),
                         "output_dtype")
               : c.error("E0303", llvm::formatv("output_dtype is missing beside a scale of {0}", type).str(),
                         "output_dtype");
  }
  return c.set(dequantize(c, x, quantization, type));
}

DynamicQuantization lathe::onnx::quantizeDynamically(LegalizeContext &c, Value x) {
  SmallVector<int64_t> axes = llvm::to_vector(llvm::seq<int64_t>(0, nn::getRank(x)));
  Value zero = c.scalar(0, x);
  auto extreme = [&](nn::ReduceKind kind, BinaryKind withZero) {
    return c.binary(withZero, axes.empty() ? x : c.reduce(kind, x, axes, /*keepDims=*/false), zero);
  };
  Value largest = extreme(nn::ReduceKind::Max, BinaryKind::Max);
  Value smallest = extreme(nn::ReduceKind::Min, BinaryKind::Min);
  Value range = c.binary(BinaryKind::Sub, largest, smallest);
  // All zeros: any scale will do.
  Value isFlat = c.compare(nn::CompareKind::Equal, range, zero);
  Value scale = c.select(isFlat, c.scalar(1, x), c.binary(BinaryKind::Div, range, c.scalar(255, x)));
  Type type = c.b.getIntegerType(8, /*isSigned=*/false);
  Value offset = c.binary(BinaryKind::Sub, zero, c.binary(BinaryKind::Div, smallest, scale));
  Quantization quantization{scale, roundToInteger(c, offset, Value(), type)};
  return {quantize(c, x, quantization, type), quantization};
}

static LogicalResult legalizeDynamicQuantize(LegalizeContext &c) {
  DynamicQuantization result = quantizeDynamically(c, c.operand(0));
  (void)c.set(0, result.stored);
  (void)c.set(1, result.quantization.scale);
  return c.set(2, result.quantization.zero);
}

void lathe::onnx::registerQuantize(LegalizerRegistry &registry) {
  for (StringRef domain : {StringRef(), StringRef(kMicrosoft)}) {
    registry.add("QuantizeLinear", 2, 3, legalizeQuantize, domain);
    registry.add("DequantizeLinear", 2, 3, legalizeDequantize, domain);
  }
  registry.add("DynamicQuantizeLinear", 1, 1, legalizeDynamicQuantize);
  registerQuantizedProducts(registry);
}
