// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "AttentionParts.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::BinaryKind;
using nn::CompareKind;
using nn::UnaryKind;

static constexpr double kMinusInf = -std::numeric_limits<double>::infinity();

Value lathe::onnx::splitHeads(LegalizeContext &c, Value x, int64_t heads, StringRef attribute) {
  if (nn::getRank(x) != 3) {
    (void)c.error("E0307", llvm::formatv("an operand has {0} dimensions, must have 3", nn::getRank(x)).str());
    return Value();
  }
  Sizes dims = c.shapeOf(x);
  std::optional<int64_t> width = getConstantIntValue(dims[2]);
  if (heads < 1 || (width && *width % heads != 0)) {
    (void)c.error("E0304",
                  llvm::formatv("{0} is {1}, must divide the width {2}", attribute, heads,
                                width ? std::to_string(*width) : "?")
                      .str(),
                  attribute);
    return Value();
  }
  Size features = c.sizes.div(dims[2], c.b.getIndexAttr(heads), /*floor=*/false);
  return c.reshape(x, {dims[0], dims[1], c.b.getIndexAttr(heads), features});
}

Value lathe::onnx::joinHeads(LegalizeContext &c, Value x) {
  Sizes dims = c.shapeOf(x);
  return c.reshape(x, {dims[0], dims[1], c.sizes.mul(dims[2], dims[3])});
}

Value lathe::onnx::swapHeads(LegalizeContext &c, Value x) { return c.transpose(x, {0, 2, 1, 3}); }

Value lathe::onnx::both(LegalizeContext &c, Value lhs, Value rhs) {
  return lhs && rhs ? c.binary(BinaryKind::And, lhs, rhs) : lhs ? lhs : rhs;
}

Value lathe::onnx::countAlong(LegalizeContext &c, Size size, int64_t dim) {
  Type i64 = c.b.getI64Type();
  Value range = nn::buildRange(c.b, c.loc, nn::buildScalar(c.b, c.loc, i64, 0),
                               nn::buildScalar(c.b, c.loc, i64, 1), size);
  Sizes dims(4, c.one());
  dims[dim] = size;
  return c.reshape(range, dims);
}

Value lathe::onnx::queryPositions(LegalizeContext &c, Size queries, Value offset) {
  if (nn::getRank(offset) == 1) {
    offset = c.reshape(offset, {c.shapeOf(offset)[0], c.one(), c.one(), c.one()});
  }
  return c.add(countAlong(c, queries, 2), offset);
}

Value lathe::onnx::keysWithin(LegalizeContext &c, Value positions, Size keys, int64_t left, int64_t right) {
  Value position = countAlong(c, keys, 3), keep;
  auto moved = [&](int64_t by) {
    return by == 0 ? positions : c.add(positions, c.scalar(double(by), positions));
  };
  if (right >= 0) {
    keep = c.compare(CompareKind::LessOrEqual, position, moved(right));
  }
  if (left >= 0) {
    keep = both(c, keep, c.compare(CompareKind::GreaterOrEqual, position, moved(-left)));
  }
  return keep;
}

Value lathe::onnx::padKeys(LegalizeContext &c, Value mask, Size keys) {
  Sizes dims = c.shapeOf(mask);
  if (dims.empty() || c.sizes.isSame(dims.back(), keys)) {
    return mask;
  }
  Size missing = c.sizes.max(c.sizes.sub(keys, dims.back()), c.b.getIndexAttr(0));
  if (getConstantIntValue(missing) == 0) {
    return mask;
  }
  bool isBool = nn::getElementType(mask).isInteger(1);
  dims.back() = missing;
  Value border = c.expand(c.scalar(isBool ? 0 : kMinusInf, mask), dims);
  return nn::buildConcat(c.b, c.loc, {mask, border}, dims.size() - 1);
}

void lathe::onnx::addSink(LegalizeContext &c, AttentionParts &parts, Value sink) {
  Type type = nn::getElementType(parts.q), i64 = c.b.getI64Type();
  Size keys = c.shapeOf(parts.k)[1], all = c.sizes.add(keys, c.one());
  for (Value *own : {&parts.k, &parts.v}) {
    Sizes dims = c.shapeOf(*own);
    dims[1] = c.one();
    *own = nn::buildConcat(c.b, c.loc, {*own, c.expand(c.scalar(0, *own), dims)}, 1);
  }
  Value last = nn::buildFromScalars(c.b, c.loc, keys, i64, /*scalar=*/true);
  Value isSink = c.compare(CompareKind::Equal, countAlong(c, all, 3), last);
  parts.keep = c.binary(BinaryKind::Or, padKeys(c, parts.keep, all), isSink);
  Value others =
      parts.bias ? c.cast(padKeys(c, parts.bias, all), type) : nn::buildScalar(c.b, c.loc, type, 0);
  parts.bias = c.select(isSink, c.cast(sink, type), others);
}

/// The one mask of nn.attention that stands for both.
static Value joinMasks(LegalizeContext &c, Value keep, Value bias, Type type) {
  if (!bias) {
    return keep;
  }
  bias = c.cast(bias, type);
  return keep ? c.select(keep, bias, c.scalar(kMinusInf, bias)) : bias;
}

/// The scale as a number, or multiplied into `q` where the number of features is not known.
static double resolveScale(LegalizeContext &c, AttentionParts &parts) {
  if (parts.scale) {
    return *parts.scale;
  }
  Size features = c.shapeOf(parts.q)[3];
  if (std::optional<int64_t> number = getConstantIntValue(features); number && *number > 0) {
    return 1 / std::sqrt(double(*number));
  }
  Value count = nn::buildFromScalars(c.b, c.loc, features, c.b.getI64Type(), /*scalar=*/true);
  Value factor = c.unary(UnaryKind::Rsqrt, c.cast(count, c.b.getF32Type()));
  parts.q = c.mul(parts.q, c.cast(factor, nn::getElementType(parts.q)));
  return 1;
}

Value lathe::onnx::buildAttention(LegalizeContext &c, AttentionParts parts) {
  double scale = resolveScale(c, parts);
  Type type = nn::getElementType(parts.q);
  Value mask = joinMasks(c, parts.keep, parts.bias, type);
  return nn::buildAttention(c.b, c.loc, parts.q, c.cast(parts.k, type), c.cast(parts.v, type), mask, scale,
                            parts.causal, /*guardEmpty=*/true, parts.softcap);
}

/// [B, S, Hkv, D] as [B, H, S, D], each head repeated for its group of query heads.
static Value repeatHeads(LegalizeContext &c, Value x, Size heads) {
  Sizes dims = c.shapeOf(x);
  Value swapped = swapHeads(c, x);
  if (c.sizes.isSame(dims[2], heads)) {
    return swapped;
  }
  Size group = c.sizes.div(heads, dims[2], /*floor=*/false);
  Value split = c.reshape(swapped, {dims[0], dims[2], c.one(), dims[1], dims[3]});
  return c.reshape(c.expand(split, {dims[0], dims[2], group, dims[1], dims[3]}),
                   {dims[0], heads, dims[1], dims[3]});
}

Value lathe::onnx::buildLogits(LegalizeContext &c, AttentionParts parts, LogitStage stage) {
  double scale = resolveScale(c, parts);
  Type type = nn::getElementType(parts.q), computed = type.isF64() ? type : c.b.getF32Type();
  Sizes qDims = c.shapeOf(parts.q), kDims = c.shapeOf(parts.k);
  Value q = c.cast(swapHeads(c, parts.q), computed);
  Value k = c.transpose(c.cast(repeatHeads(c, parts.k, qDims[2]), computed), {0, 1, 3, 2});
  Value logits = nn::buildMatMul(c.b, c.loc, q, k);
  logits = c.mul(logits, c.scalar(scale, logits));
  if (stage >= LogitStage::Capped && parts.softcap != 0) {
    Value cap = c.scalar(parts.softcap, logits);
    logits = c.mul(c.unary(UnaryKind::Tanh, c.binary(BinaryKind::Div, logits, cap)), cap);
  }
  if (stage >= LogitStage::Masked) {
    Value keep = parts.keep;
    if (parts.causal) {
      Size offset = c.sizes.sub(kDims[1], qDims[1]);
      Value first = nn::buildFromScalars(c.b, c.loc, offset, c.b.getI64Type(), /*scalar=*/true);
      keep = both(c, keep, keysWithin(c, queryPositions(c, qDims[1], first), kDims[1], -1, 0));
    }
    Value mask = joinMasks(c, keep, parts.bias, computed), minusInf = c.scalar(kMinusInf, logits);
    if (mask && nn::getElementType(mask).isInteger(1)) {
      mask = c.select(mask, c.scalar(0, logits), minusInf);
    }
    if (mask) {
      logits = c.add(logits, mask);
    }
    if (stage == LogitStage::Softmax) {
      Value weights = nn::buildSoftmax(c.b, c.loc, logits, 3);
      if (mask) {
        // Whether a query sees a key is up to the masks alone.
        Value largest = nn::getRank(mask) == 0 ? mask
                                               : c.reduce(nn::ReduceKind::Max, mask, {nn::getRank(mask) - 1},
                                                          /*keepDims=*/true);
        weights = c.select(c.compare(CompareKind::Equal, largest, minusInf), c.scalar(0, weights), weights);
      }
      logits = weights;
    }
  }
  return c.cast(logits, type);
}

Value lathe::onnx::rotate(LegalizeContext &c, Value x, Value cos, Value sin, bool interleaved) {
  Sizes dims = c.shapeOf(x), cache = c.shapeOf(cos);
  Size pairs = cache[2], two = c.b.getIndexAttr(2), turned = c.sizes.mul(pairs, two);
  Type type = nn::getElementType(x);
  auto beside = [&](Value table) {
    Sizes own = c.shapeOf(table);
    return c.cast(c.reshape(table, {own[0], own[1], c.one(), own[2]}), type);
  };
  cos = beside(cos);
  sin = beside(sin);
  bool isWhole = c.sizes.isSame(turned, dims[3]);
  Value zero = isWhole ? x : c.slice(x, 3, c.b.getIndexAttr(0), turned), first, second;
  Sizes paired{dims[0], dims[1], dims[2], pairs, two}, half{dims[0], dims[1], dims[2], pairs};
  if (interleaved) {
    Value split = c.reshape(zero, paired);
    first = c.reshape(c.slice(split, 4, c.b.getIndexAttr(0), c.one()), half);
    second = c.reshape(c.slice(split, 4, c.one(), c.one()), half);
  } else {
    first = c.slice(zero, 3, c.b.getIndexAttr(0), pairs);
    second = c.slice(zero, 3, pairs, pairs);
  }
  Value real = c.binary(BinaryKind::Sub, c.mul(first, cos), c.mul(second, sin));
  Value imaginary = c.add(c.mul(first, sin), c.mul(second, cos));
  Value result;
  if (interleaved) {
    Sizes single{dims[0], dims[1], dims[2], pairs, c.one()};
    result = nn::buildConcat(c.b, c.loc, {c.reshape(real, single), c.reshape(imaginary, single)}, 4);
    result = c.reshape(result, {dims[0], dims[1], dims[2], turned});
  } else {
    result = nn::buildConcat(c.b, c.loc, {real, imaginary}, 3);
  }
  if (!isWhole) {
    // The tail passes through.
    Value tail = c.slice(x, 3, turned, c.sizes.sub(dims[3], turned));
    result = nn::buildConcat(c.b, c.loc, {result, tail}, 3);
  }
  return c.reshape(result, dims);
}

Value lathe::onnx::rotateFeatures(LegalizeContext &c, Value x, Value cos, Value sin, int64_t dim,
                                  bool interleaved) {
  Sizes dims = c.shapeOf(x), cache = c.shapeOf(cos);
  Size turned = dim == 0 ? dims[3] : Size(c.b.getIndexAttr(dim));
  std::optional<int64_t> pairs = getConstantIntValue(cache[2]), wanted = getConstantIntValue(turned);
  std::optional<int64_t> features = getConstantIntValue(dims[3]);
  if (dim < 0 || (pairs && wanted && *pairs * 2 != *wanted) || (wanted && features && *wanted > *features)) {
    (void)c.error("E0307", llvm::formatv("{0} of {1} features are turned, but the caches hold {2} pairs",
                                         wanted ? std::to_string(*wanted) : "?",
                                         features ? std::to_string(*features) : "?",
                                         pairs ? std::to_string(*pairs) : "?")
                               .str());
    return Value();
  }
  if (dim > 0 && !pairs) {
    // The number of pairs is known from the attribute where it is not from the shape.
    cache[2] = c.b.getIndexAttr(dim / 2);
    cos = c.reshape(cos, cache);
    sin = c.reshape(sin, cache);
  }
  return rotate(c, x, cos, sin, interleaved);
}
