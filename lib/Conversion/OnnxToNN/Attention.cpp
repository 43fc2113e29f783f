// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Attention of the default domain (23 and later).

#include "Legalizer.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::CompareKind;

/// A 3-D or 4-D operand as [batch, sequence, heads, features].
static Value splitHeads(LegalizeContext &c, unsigned i, StringRef headsAttr) {
  Value x = c.operand(i);
  if (nn::getRank(x) == 4) {
    if (c.hasAttr(headsAttr)) {
      (void)c.error("E0304", headsAttr + " is given, but the operand has its heads in a dimension",
                    headsAttr);
    }
    return c.transpose(x, {0, 2, 1, 3});
  }
  std::optional<int64_t> heads = c.intAttr(headsAttr);
  if (nn::getRank(x) != 3 || !heads) {
    (void)c.error("E0303",
                  llvm::formatv("input {0} has {1} dimensions; it must have 4, or 3 and {2}", i,
                                nn::getRank(x), headsAttr)
                      .str(),
                  headsAttr);
    return Value();
  }
  Sizes dims = c.shapeOf(x);
  std::optional<int64_t> width = getConstantIntValue(dims[2]);
  if (*heads < 1 || (width && *width % *heads != 0)) {
    (void)c.error(
        "E0304",
        llvm::formatv("{0} is {1}, must divide the width {2}", headsAttr, *heads, width.value_or(0)).str(),
        headsAttr);
    return Value();
  }
  Size features = c.sizes.div(dims[2], c.b.getIndexAttr(*heads), /*floor=*/false);
  return c.reshape(x, {dims[0], dims[1], c.b.getIndexAttr(*heads), features});
}

/// The mask that keeps keys 0 to `query`, where no earlier keys shift the diagonal.
static Value buildCausalMask(LegalizeContext &c, Size queries, Size keys) {
  Type i64 = c.b.getI64Type();
  Value zero = nn::buildScalar(c.b, c.loc, i64, 0), step = nn::buildScalar(c.b, c.loc, i64, 1);
  Value rows = c.reshape(nn::buildRange(c.b, c.loc, zero, step, queries), {queries, c.one()});
  return c.compare(CompareKind::GreaterOrEqual, rows, nn::buildRange(c.b, c.loc, zero, step, keys));
}

/// `mask` with its last dimension lengthened to `keys` by what hides a key.
static Value padMask(LegalizeContext &c, Value mask, Size keys) {
  Sizes dims = c.shapeOf(mask);
  if (dims.empty()) {
    return mask;
  }
  std::optional<int64_t> have = getConstantIntValue(dims.back()), want = getConstantIntValue(keys);
  if (!have || !want || *have >= *want || *have == 1) {
    return mask;
  }
  bool isBool = nn::getElementType(mask).isInteger(1);
  dims.back() = c.b.getIndexAttr(*want - *have);
  Value border = c.expand(c.scalar(isBool ? 0 : -std::numeric_limits<double>::infinity(), mask), dims);
  return nn::buildConcat(c.b, c.loc, {mask, border}, dims.size() - 1);
}

static LogicalResult legalizeAttention(LegalizeContext &c) {
  if (c.floatAttr("softcap", 0) != 0) {
    return c.unsupported("softcap");
  }
  if (c.isUsed(3)) {
    return c.unsupported("the result qk_matmul_output");
  }
  if (c.has(6)) {
    return c.unsupported("nonpad_kv_seqlen");
  }
  if (c.intAttr("left_window_size", -1) >= 0 || c.intAttr("right_window_size", -1) >= 0) {
    return c.unsupported("an attention window");
  }
  bool is3D = c.rank(0) == 3;
  Value q = splitHeads(c, 0, "q_num_heads"), k = splitHeads(c, 1, "kv_num_heads"),
        v = splitHeads(c, 2, "kv_num_heads");
  if (c.hasFailed()) {
    return failure();
  }
  Size newKeys = c.shapeOf(k)[1], queries = c.shapeOf(q)[1];
  if (c.has(4) != c.has(5)) {
    return c.error("E0305", "one of past_key and past_value is absent");
  }
  if (c.has(4)) {
    if (c.rank(4) != 4 || c.rank(5) != 4) {
      return c.error("E0307", "past_key and past_value must have 4 dimensions");
    }
    k = nn::buildConcat(c.b, c.loc, {c.transpose(c.operand(4), {0, 2, 1, 3}), k}, 1);
    v = nn::buildConcat(c.b, c.loc, {c.transpose(c.operand(5), {0, 2, 1, 3}), v}, 1);
  }
  if (c.isUsed(1)) {
    (void)c.set(1, c.transpose(k, {0, 2, 1, 3}));
  }
  if (c.isUsed(2)) {
    (void)c.set(2, c.transpose(v, {0, 2, 1, 3}));
  }
  Sizes qDims = c.shapeOf(q);
  Size keys = c.shapeOf(k)[1];
  std::optional<int64_t> features = getConstantIntValue(qDims[3]);
  std::optional<double> scale = c.floatAttr("scale");
  if (!scale) {
    if (!features || *features < 1) {
      return c.unsupported("a default scale of heads of unknown size");
    }
    scale = 1 / std::sqrt(double(*features));
  }
  Value mask = c.operandOrNull(3);
  if (mask) {
    if (!nn::getElementType(mask).isInteger(1) && nn::getElementType(mask) != nn::getElementType(q)) {
      mask = c.cast(mask, nn::getElementType(q));
    }
    mask = padMask(c, mask, keys);
  }
  // nn aligns the diagonal at the last query and the last key; ONNX at the first new ones.
  bool causal = c.intAttr("is_causal", 0) != 0;
  if (causal && !c.sizes.isSame(queries, newKeys)) {
    if (c.has(4)) {
      return c.unsupported("is_causal with a cache and another number of new keys than queries");
    }
    Value triangle = buildCausalMask(c, queries, keys);
    if (!mask) {
      mask = triangle;
    } else if (nn::getElementType(mask).isInteger(1)) {
      mask = c.binary(nn::BinaryKind::And, mask, triangle);
    } else {
      mask = c.select(triangle, mask, c.scalar(-std::numeric_limits<double>::infinity(), mask));
    }
    causal = false;
  }
  Value result = nn::buildAttention(c.b, c.loc, q, k, v, mask, *scale, causal, /*guardEmpty=*/true);
  if (!is3D) {
    return c.set(c.transpose(result, {0, 2, 1, 3}));
  }
  Sizes dims = c.shapeOf(result);
  return c.set(c.reshape(result, {dims[0], dims[1], c.sizes.mul(dims[2], dims[3])}));
}

void lathe::onnx::registerAttention(LegalizerRegistry &registry) {
  registry.add("Attention", 3, 7, legalizeAttention);
}
