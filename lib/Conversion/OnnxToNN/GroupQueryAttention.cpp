// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// com.microsoft GroupQueryAttention: attention with a cache in which each batch entry has its own length, as
/// exports of language models have it.

#include "AttentionParts.h"

#include "lathe/Dialect/NN/IR/NNScatter.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::BinaryKind;
using nn::CompareKind;

namespace {
/// The operands by number.
enum Input : unsigned {
  kQuery,
  kKey,
  kValue,
  kPastKey,
  kPastValue,
  kLengths,
  kTotal,
  kCos,
  kSin,
  kPositions,
  kBias,
  kSink,
  kKeyScale,
  kValueScale,
  kQueryNorm,
  kKeyNorm,
  kQueryLengths,
  kInputs
};

/// One GroupQueryAttention while it is legalized.
class GroupQueryAttention {
public:
  explicit GroupQueryAttention(LegalizeContext &c) : c(c), i64(c.b.getI64Type()) {}
  LogicalResult legalize();

private:
  LogicalResult readAttributes();
  /// Splits query, key and value, which may be packed, and normalizes and turns the first two.
  LogicalResult readHeads();
  /// How many keys there are for each batch entry, and how many of them are old.
  LogicalResult readLengths();
  LogicalResult rotateHeads();
  /// What the cache `past` holds after the step; `own` becomes the keys or values that queries may see.
  Value present(Value past, Value &own);
  LogicalResult readMasks();
  /// One more key that every query sees: its logit is `sink`, its value 0.
  void addSink(Value sink);

  Value number(Size size) { return nn::buildFromScalars(c.b, c.loc, size, i64, /*scalar=*/true); }
  Value integer(int64_t value) { return nn::buildScalar(c.b, c.loc, i64, value); }

  LegalizeContext &c;
  Type i64;
  AttentionParts parts;
  int64_t queryHeads = 0, keyHeads = 0, window = -1;
  bool causal = true;
  Size batch, queries;
  /// The most keys of any batch entry, and how many the cache has room for.
  Size total, capacity;
  /// [batch]: the keys after the step, and those before it. `old` is null where it is 0 for all.
  Value lengths, old;
};
} // namespace

LogicalResult GroupQueryAttention::readAttributes() {
  queryHeads = c.intAttr("num_heads", 0);
  keyHeads = c.intAttr("kv_num_heads", 0);
  if (keyHeads < 1 || queryHeads < 1 || queryHeads % keyHeads != 0) {
    return c.error(
        "E0304",
        llvm::formatv("num_heads is {0}, must be a multiple of kv_num_heads, {1}", queryHeads, keyHeads)
            .str(),
        "num_heads");
  }
  if (c.has(kKeyScale) || c.has(kValueScale) || c.intAttr("kv_cache_bit_width", 0) != 0) {
    return c.unsupported("a quantized cache");
  }
  if (c.intAttr("sliding_window_cache", 0) != 0) {
    return c.unsupported("sliding_window_cache");
  }
  if (c.isUsed(3)) {
    return c.unsupported("the result output_qk");
  }
  causal = c.intAttr("causal", 1) != 0;
  window = c.intAttr("local_window_size", -1);
  if (window == 0 || window < -1 || (window > 0 && !causal)) {
    return c.error(
        "E0304",
        llvm::formatv("local_window_size is {0}, must be positive and causal be 1, or -1", window).str(),
        "local_window_size");
  }
  double scale = c.floatAttr("scale", 0);
  parts.scale = scale == 0 ? std::nullopt : std::optional<double>(scale);
  parts.softcap = c.floatAttr("softcap", 0);
  if (parts.softcap < 0) {
    return c.error("E0304", llvm::formatv("softcap is {0}, must not be negative", parts.softcap).str(),
                   "softcap");
  }
  return success(!c.hasFailed());
}

LogicalResult GroupQueryAttention::readHeads() {
  if (c.has(kKey) != c.has(kValue)) {
    return c.error("E0305", "one of key and value is absent");
  }
  if (c.has(kKey)) {
    parts.q = splitHeads(c, c.operand(kQuery), queryHeads, "num_heads");
    parts.k = splitHeads(c, c.operand(kKey), keyHeads, "kv_num_heads");
    parts.v = splitHeads(c, c.operand(kValue), keyHeads, "kv_num_heads");
  } else if (Value all =
                 splitHeads(c, c.operand(kQuery), queryHeads + 2 * keyHeads, "num_heads + 2 kv_num_heads")) {
    auto heads = [&](int64_t first, int64_t count) {
      return c.slice(all, 2, c.b.getIndexAttr(first), c.b.getIndexAttr(count));
    };
    parts.q = heads(0, queryHeads);
    parts.k = heads(queryHeads, keyHeads);
    parts.v = heads(queryHeads + keyHeads, keyHeads);
  }
  if (c.hasFailed()) {
    return failure();
  }
  batch = c.shapeOf(parts.q)[0];
  queries = c.shapeOf(parts.q)[1];
  for (Value own : {parts.k, parts.v}) {
    for (int64_t dim : {0, 1}) {
      c.require(c.sizes.compare(CompareKind::Equal, c.shapeOf(own)[dim], c.shapeOf(parts.q)[dim]),
                "query, key and value must have the same batch and sequence");
    }
  }
  if (c.has(kQueryNorm) != c.has(kKeyNorm)) {
    return c.error("E0305", "one of q_norm_weight and k_norm_weight is absent");
  }
  if (c.has(kQueryNorm)) {
    double epsilon = c.floatAttr("qk_norm_epsilon", 1e-6);
    auto norm = [&](Value &x, unsigned weight, StringRef own) {
      if (succeeded(requireVector(c, weight, c.shapeOf(x)[3], "the weight of a norm"))) {
        x = nn::buildRMSNorm(c.b, c.loc, x, c.operand(weight), 3, c.floatAttr(own, epsilon));
      }
    };
    norm(parts.q, kQueryNorm, "q_norm_epsilon");
    norm(parts.k, kKeyNorm, "k_norm_epsilon");
  }
  return success(!c.hasFailed());
}

LogicalResult GroupQueryAttention::readLengths() {
  std::optional<Scalars> read = c.scalarsOrRead(kTotal);
  if (!read || read->elements.size() != 1) {
    return c.dataDependent("total_sequence_length");
  }
  total = c.checkedSize(read->elements.front());
  // One for each batch entry, whatever dimensions of size 1 stand around it.
  auto perBatch = [&](unsigned i) {
    Sizes dims = c.shapeOf(i);
    c.require(c.sizes.compare(CompareKind::Equal, c.sizes.product(dims), batch),
              "there must be one length for each batch entry");
    return c.cast(c.reshape(c.operand(i), {batch}), i64);
  };
  lengths = c.add(perBatch(kLengths), integer(1));
  if (c.has(kPastKey) != c.has(kPastValue)) {
    return c.error("E0305", "one of past_key and past_value is absent");
  }
  if (!c.has(kPastKey)) {
    // All keys are new: the first ones of each row.
    c.require(c.sizes.compare(CompareKind::Equal, total, queries),
              "without past_key total_sequence_length must be the length of the query");
    total = queries;
    return success(!c.hasFailed());
  }
  for (unsigned i : {kPastKey, kPastValue}) {
    if (c.rank(i) != 4) {
      return c.error("E0307", llvm::formatv("input {0} has {1} dimensions, must have 4", i, c.rank(i)).str());
    }
    if (c.elementType(i) != nn::getElementType(parts.k)) {
      return c.unsupported("a cache of another element type than the keys");
    }
  }
  capacity = c.sizes.max(total, c.shapeOf(kPastKey)[2]);
  Value fresh = c.has(kQueryLengths) ? perBatch(kQueryLengths) : number(queries);
  old = c.binary(BinaryKind::Max, c.binary(BinaryKind::Sub, lengths, fresh), integer(0));
  return success(!c.hasFailed());
}

LogicalResult GroupQueryAttention::rotateHeads() {
  if (c.intAttr("do_rotary", 0) == 0) {
    return success();
  }
  if (!c.has(kCos) || !c.has(kSin) || c.rank(kCos) != 2 || c.rank(kSin) != 2) {
    return c.error("E0305", "with do_rotary there must be cos_cache and sin_cache of 2 dimensions");
  }
  Value positions;
  if (c.has(kPositions)) {
    positions = c.operand(kPositions);
    if (nn::getRank(positions) != 2) {
      return c.error(
          "E0307",
          llvm::formatv("position_ids has {0} dimensions, must have 2", nn::getRank(positions)).str());
    }
  } else {
    positions = queryPositions(c, queries, old ? old : integer(0));
    positions = c.reshape(positions, {c.shapeOf(positions)[0], queries});
    if (c.has(kQueryLengths)) {
      // Queries that only fill up a row may stand behind the end; nobody reads what they give.
      Value last = number(c.sizes.sub(c.shapeOf(kCos)[0], c.one()));
      positions = c.binary(BinaryKind::Min, positions, last);
    }
  }
  Value cos = nn::buildGather(c.b, c.loc, c.operand(kCos), positions, 0);
  Value sin = nn::buildGather(c.b, c.loc, c.operand(kSin), positions, 0);
  std::optional<int64_t> pairs = getConstantIntValue(c.shapeOf(kCos)[1]);
  if (!pairs) {
    return c.unsupported("caches of rotations whose width is not known");
  }
  bool interleaved = c.intAttr("rotary_interleaved", 0) != 0;
  for (Value *x : {&parts.q, &parts.k}) {
    *x = c.hasFailed() ? Value() : rotateFeatures(c, *x, cos, sin, 2 * *pairs, interleaved);
    if (!*x) {
      return failure();
    }
  }
  return success(!c.hasFailed());
}

Value GroupQueryAttention::present(Value past, Value &own) {
  Value fresh = swapHeads(c, own);
  if (!past) {
    return fresh;
  }
  Sizes dims = c.shapeOf(past);
  Size missing = c.sizes.sub(capacity, dims[2]);
  if (getConstantIntValue(missing) != 0) {
    dims[2] = missing;
    past = nn::buildConcat(c.b, c.loc, {past, c.expand(c.scalar(0, past), dims)}, 2);
  }
  Value all = nn::createInferred<nn::UpdateCacheOp>(c.b, c.loc, nn::getElementType(past), past, fresh, old,
                                                    /*axis=*/2, /*circular=*/false);
  own = swapHeads(c, c.slice(all, 2, c.b.getIndexAttr(0), total));
  return all;
}

LogicalResult GroupQueryAttention::readMasks() {
  bool hasSink = c.has(kSink) || c.intAttr("smooth_softmax", 0) != 0;
  Size keys = hasSink ? c.sizes.add(total, c.one()) : total;
  Value beside = c.reshape(lengths, {batch, c.one(), c.one(), c.one()});
  if (!causal) {
    parts.keep = c.compare(CompareKind::Less, countAlong(c, keys, 3), beside);
  } else if (!old && window < 0 && !hasSink) {
    parts.causal = true;
  } else {
    Value positions = queryPositions(c, queries, old ? old : integer(0));
    parts.keep = keysWithin(c, positions, keys, window < 0 ? -1 : window - 1, /*right=*/0);
  }
  if (c.has(kBias)) {
    if (c.rank(kBias) != 4) {
      return c.error("E0307",
                     llvm::formatv("attention_bias has {0} dimensions, must have 4", c.rank(kBias)).str());
    }
    Value bias = c.operand(kBias);
    Size own = c.shapeOf(bias)[3];
    c.require(c.sizes.compare(CompareKind::Equal, own, total),
              "attention_bias must have a column for each key");
    parts.bias = padKeys(c, bias, keys);
  }
  if (c.hasFailed() || !hasSink) {
    return success(!c.hasFailed());
  }
  if (!c.has(kSink)) {
    addSink(c.scalar(0, parts.q));
  } else if (succeeded(requireVector(c, kSink, c.b.getIndexAttr(queryHeads), "head_sink"))) {
    addSink(c.reshape(c.operand(kSink), {c.b.getIndexAttr(queryHeads), c.one(), c.one()}));
  }
  return success(!c.hasFailed());
}

void GroupQueryAttention::addSink(Value sink) {
  Type type = nn::getElementType(parts.q);
  for (Value *own : {&parts.k, &parts.v}) {
    Sizes dims = c.shapeOf(*own);
    dims[1] = c.one();
    *own = nn::buildConcat(c.b, c.loc, {*own, c.expand(c.scalar(0, *own), dims)}, 1);
  }
  Value position = countAlong(c, c.sizes.add(total, c.one()), 3);
  Value isSink = c.compare(CompareKind::Equal, position, number(total));
  parts.keep = c.binary(BinaryKind::Or, parts.keep, isSink);
  Value others = parts.bias ? c.cast(parts.bias, type) : nn::buildScalar(c.b, c.loc, type, 0);
  parts.bias = c.select(isSink, c.cast(sink, type), others);
}

LogicalResult GroupQueryAttention::legalize() {
  if (!c.has(kLengths) || !c.has(kTotal)) {
    return c.error("E0305", "seqlens_k or total_sequence_length is absent");
  }
  if (failed(readAttributes()) || failed(readHeads()) || failed(readLengths()) || failed(rotateHeads())) {
    return failure();
  }
  (void)c.set(1, present(c.operandOrNull(kPastKey), parts.k));
  (void)c.set(2, present(c.operandOrNull(kPastValue), parts.v));
  if (c.hasFailed() || failed(readMasks())) {
    return failure();
  }
  return c.set(joinHeads(c, buildAttention(c, parts)));
}

void lathe::onnx::registerGroupQueryAttention(LegalizerRegistry &registry) {
  registry.add(
      "GroupQueryAttention", 1, kInputs, [](LegalizeContext &c) { return GroupQueryAttention(c).legalize(); },
      kMicrosoft);
}
