// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// com.microsoft PagedAttention: the tokens of all sequences stand one behind the other, and the keys and
/// values of a sequence in blocks of a cache that a table names.

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
  kKeyCache,
  kValueCache,
  kEnds,
  kPast,
  kTable,
  kCos,
  kSin,
  kSlots,
  kSink,
  kQueryNorm,
  kKeyNorm,
  kKeyScale,
  kValueScale,
  kBounds,
  kInputs
};

/// One PagedAttention while it is legalized.
class PagedAttention {
public:
  explicit PagedAttention(LegalizeContext &c) : c(c), i64(c.b.getI64Type()) {}
  LogicalResult legalize();

private:
  LogicalResult readAttributes();
  LogicalResult checkRanks();
  /// Splits query, key and value, which may be packed, into heads: [1, tokens, heads, features].
  LogicalResult readHeads();
  /// To which sequence each token belongs and where in it.
  void readSequences();
  /// The length of the longest sequence, as far as it is known.
  LogicalResult readQueries();
  LogicalResult normalizeHeads();
  LogicalResult rotateHeads();
  /// The rows of the cache that the tokens go to; -1 for none where the model names them.
  Value findSlots();
  /// `cache` with the keys or values `own` in it, as rows.
  Value store(Value cache, Value own, Value slots);
  /// The rows of each sequence's blocks, [batch, keys, heads, features].
  Value load(Value rows);
  void hideKeys();

  Value number(Size size) { return nn::buildFromScalars(c.b, c.loc, size, i64, /*scalar=*/true); }
  Value integer(int64_t value) { return nn::buildScalar(c.b, c.loc, i64, value); }
  Value count(Size size) { return nn::buildRange(c.b, c.loc, integer(0), integer(1), size); }
  Value column(Value list) { return c.reshape(list, {c.shapeOf(list)[0], c.one()}); }
  /// Pairs of numbers from two lists.
  Value pairs(Value first, Value second) {
    return nn::buildConcat(c.b, c.loc, {column(first), column(second)}, 1);
  }

  LegalizeContext &c;
  Type i64;
  AttentionParts parts;
  int64_t queryHeads = 0, keyHeads = 0, window = -1;
  bool causal = true;
  Size tokens, batch, queries, blockSize, keys;
  /// By sequence: where its tokens begin, how many of its keys are old and how many there are then.
  Value starts, past, lengths;
  /// By token: its sequence, its number among the new ones of it, its position.
  Value owners, places, positions;
  /// [batch, keys]: the blocks that the keys are in, negative for none.
  Value table, blocks;
};
} // namespace

LogicalResult PagedAttention::readAttributes() {
  queryHeads = c.intAttr("num_heads", 0);
  keyHeads = c.intAttr("kv_num_heads", 0);
  if (keyHeads < 1 || queryHeads < 1 || queryHeads % keyHeads != 0) {
    return c.error(
        "E0304",
        llvm::formatv("num_heads is {0}, must be a multiple of kv_num_heads, {1}", queryHeads, keyHeads)
            .str(),
        "num_heads");
  }
  if (c.stringAttr("kv_cache_layout").value_or("SEPARATE") != "SEPARATE") {
    return c.unsupported("a cache of latent rows");
  }
  for (StringRef name : {"k_quant_type", "v_quant_type"}) {
    if (c.stringAttr(name).value_or("NONE") != "NONE") {
      return c.unsupported("a quantized cache");
    }
  }
  for (StringRef name : {"rotary_offset", "v_head_size"}) {
    if (c.intAttr(name, 0) != 0) {
      return c.unsupported(name);
    }
  }
  causal = c.intAttr("is_causal", 1) != 0;
  window = c.intAttr("local_window_size", -1);
  if (window == 0 || window < -1) {
    return c.error("E0304", llvm::formatv("local_window_size is {0}, must be positive or -1", window).str(),
                   "local_window_size");
  }
  double scale = c.floatAttr("scale", 0);
  parts.scale = scale == 0 ? std::nullopt : std::optional<double>(scale);
  parts.softcap = c.floatAttr("softcap", 0);
  return success(!c.hasFailed());
}

LogicalResult PagedAttention::checkRanks() {
  for (auto [i, rank] :
       {std::pair(kQuery, 2), {kKeyCache, 4}, {kValueCache, 4}, {kEnds, 1}, {kPast, 1}, {kTable, 2}}) {
    if (!c.has(i)) {
      return c.error("E0305", llvm::formatv("input {0} is absent", unsigned(i)).str());
    }
    if (c.rank(i) != rank) {
      return c.error(
          "E0307",
          llvm::formatv("input {0} has {1} dimensions, must have {2}", unsigned(i), c.rank(i), rank).str());
    }
  }
  if (c.has(kKey) != c.has(kValue)) {
    return c.error("E0305", "one of key and value is absent");
  }
  tokens = c.shapeOf(kQuery)[0];
  batch = c.shapeOf(kPast)[0];
  blockSize = c.shapeOf(kKeyCache)[1];
  keys = c.checkedProduct({c.shapeOf(kTable)[1], blockSize});
  c.require(c.sizes.compare(CompareKind::Equal, c.shapeOf(kEnds)[0], c.sizes.add(batch, c.one())),
            "cumulative_sequence_length must have one element more than past_seqlens");
  c.require(c.sizes.compare(CompareKind::Equal, c.shapeOf(kTable)[0], batch),
            "block_table must have a row for each sequence");
  return success(!c.hasFailed());
}

LogicalResult PagedAttention::readHeads() {
  auto split = [&](unsigned i, int64_t heads, StringRef attribute) {
    Sizes dims = c.shapeOf(i);
    dims.insert(dims.begin(), c.one());
    return splitHeads(c, c.reshape(c.operand(i), dims), heads, attribute);
  };
  if (c.has(kKey)) {
    parts.q = split(kQuery, queryHeads, "num_heads");
    parts.k = split(kKey, keyHeads, "kv_num_heads");
    parts.v = split(kValue, keyHeads, "kv_num_heads");
  } else if (Value all = split(kQuery, queryHeads + 2 * keyHeads, "num_heads + 2 kv_num_heads")) {
    auto heads = [&](int64_t first, int64_t size) {
      return c.slice(all, 2, c.b.getIndexAttr(first), c.b.getIndexAttr(size));
    };
    parts.q = heads(0, queryHeads);
    parts.k = heads(queryHeads, keyHeads);
    parts.v = heads(queryHeads + keyHeads, keyHeads);
  }
  return success(!c.hasFailed());
}

void PagedAttention::readSequences() {
  Value ends = c.cast(c.operand(kEnds), i64);
  starts = c.slice(ends, 0, c.b.getIndexAttr(0), batch);
  ends = c.slice(ends, 0, c.one(), batch);
  past = c.cast(c.operand(kPast), i64);
  lengths = c.add(past, c.binary(BinaryKind::Sub, ends, starts));
  // As many sequences end before a token as up to it; what is behind the last one is no token, and found out
  // of bounds.
  Value token = count(tokens);
  Value isBefore = c.compare(CompareKind::LessOrEqual, c.reshape(ends, {c.one(), batch}), column(token));
  owners = c.reduce(nn::ReduceKind::Sum, c.cast(isBefore, i64), {1}, /*keepDims=*/false);
  places = c.binary(BinaryKind::Sub, token, nn::buildGather(c.b, c.loc, starts, owners, 0));
  positions = c.add(places, nn::buildGather(c.b, c.loc, past, owners, 0));
  table = c.cast(c.operand(kTable), i64);
}

LogicalResult PagedAttention::readQueries() {
  queries = tokens;
  if (!c.has(kBounds)) {
    return success();
  }
  std::optional<Scalars> bounds = c.scalarsOrRead(kBounds);
  if (!bounds || bounds->elements.size() < 2) {
    return c.dataDependent("attention_metadata");
  }
  Size most = c.checkedSize(bounds->elements.front());
  Size isKnown = c.sizes.compare(CompareKind::Greater, most, c.b.getIndexAttr(0));
  queries = c.checkedSize(c.sizes.select(isKnown, c.sizes.min(most, tokens), tokens));
  return success(!c.hasFailed());
}

LogicalResult PagedAttention::normalizeHeads() {
  if (c.has(kQueryNorm) != c.has(kKeyNorm)) {
    return c.error("E0305", "one of q_norm_weight and k_norm_weight is absent");
  }
  for (auto [x, weight] : {std::pair(&parts.q, kQueryNorm), {&parts.k, kKeyNorm}}) {
    if (!c.has(weight)) {
      continue;
    }
    if (failed(requireVector(c, weight, c.shapeOf(*x)[3], "the weight of a norm"))) {
      return failure();
    }
    *x = nn::buildRMSNorm(c.b, c.loc, *x, c.operand(weight), 3, c.floatAttr("qk_norm_epsilon", 1e-6));
  }
  return success(!c.hasFailed());
}

LogicalResult PagedAttention::rotateHeads() {
  if (c.intAttr("do_rotary", 0) == 0) {
    return success();
  }
  if (!c.has(kCos) || !c.has(kSin) || c.rank(kCos) != 2 || c.rank(kSin) != 2) {
    return c.error("E0305", "with do_rotary there must be cos_cache and sin_cache of 2 dimensions");
  }
  std::optional<int64_t> pairs = getConstantIntValue(c.shapeOf(kCos)[1]);
  if (!pairs) {
    return c.unsupported("caches of rotations whose width is not known");
  }
  Value at = c.reshape(positions, {c.one(), tokens});
  Value cos = nn::buildGather(c.b, c.loc, c.operand(kCos), at, 0);
  Value sin = nn::buildGather(c.b, c.loc, c.operand(kSin), at, 0);
  for (Value *x : {&parts.q, &parts.k}) {
    *x = rotateFeatures(c, *x, cos, sin, 2 * *pairs, c.intAttr("rotary_interleaved", 0) != 0);
    if (!*x) {
      return failure();
    }
  }
  return success(!c.hasFailed());
}

Value PagedAttention::findSlots() {
  if (c.has(kSlots)) {
    return c.cast(c.operand(kSlots), i64);
  }
  Value size = number(blockSize);
  Value block =
      nn::buildGatherND(c.b, c.loc, table, pairs(owners, c.binary(BinaryKind::Div, positions, size)), 0);
  // A token whose block is not there has no place: one behind the last row is an error of the run.
  Value behind = number(c.shapeOf(kKeyCache)[0]);
  block = c.select(c.compare(CompareKind::Less, block, integer(0)), behind, block);
  return c.add(c.mul(block, size), c.binary(BinaryKind::Mod, positions, size));
}

Value PagedAttention::store(Value cache, Value own, Value slots) {
  Sizes dims = c.shapeOf(cache);
  Size rows = c.checkedProduct({dims[0], dims[1]});
  Type type = nn::getElementType(cache);
  cache = c.reshape(cache, {rows, dims[2], dims[3]});
  own = c.cast(c.reshape(own, {tokens, dims[2], dims[3]}), type);
  if (c.has(kSlots)) {
    // What goes nowhere goes to a row of its own.
    slots = c.select(c.compare(CompareKind::Less, slots, integer(0)), number(rows), slots);
    Value spare = c.expand(c.scalar(0, cache), {c.one(), dims[2], dims[3]});
    cache = nn::buildConcat(c.b, c.loc, {cache, spare}, 0);
  }
  Value all =
      nn::createInferred<nn::ScatterNDOp>(c.b, c.loc, type, nn::ScatterKind::None, cache, column(slots), own);
  return c.has(kSlots) ? c.slice(all, 0, c.b.getIndexAttr(0), rows) : all;
}

Value PagedAttention::load(Value rows) {
  Value size = number(blockSize), key = count(keys);
  if (!blocks) {
    blocks = nn::buildGather(c.b, c.loc, table, c.binary(BinaryKind::Div, key, size), 1);
  }
  Value first = c.mul(c.binary(BinaryKind::Max, blocks, integer(0)), size);
  return nn::buildGather(c.b, c.loc, rows, c.add(first, c.binary(BinaryKind::Mod, key, size)), 0);
}

void PagedAttention::hideKeys() {
  Value at = queryPositions(c, queries, past);
  Value isMapped = c.compare(CompareKind::GreaterOrEqual, blocks, integer(0));
  parts.keep = c.reshape(isMapped, {batch, c.one(), c.one(), keys});
  int64_t left = window < 0 ? -1 : window - 1;
  if (causal || left >= 0) {
    parts.keep = both(c, parts.keep, keysWithin(c, at, keys, left, causal ? 0 : -1));
  }
  if (!causal) {
    Value end = c.reshape(lengths, {batch, c.one(), c.one(), c.one()});
    parts.keep = both(c, parts.keep, c.compare(CompareKind::Less, countAlong(c, keys, 3), end));
  }
}

LogicalResult PagedAttention::legalize() {
  if (failed(readAttributes()) || failed(checkRanks()) || failed(readHeads())) {
    return failure();
  }
  readSequences();
  if (failed(readQueries()) || failed(normalizeHeads()) || failed(rotateHeads())) {
    return failure();
  }
  Value slots = findSlots();
  for (auto [i, own] : {std::pair(kKeyCache, &parts.k), {kValueCache, &parts.v}}) {
    Value rows = store(c.operand(i), *own, slots);
    (void)c.set(i == kKeyCache ? 1 : 2, c.reshape(rows, c.shapeOf(i)));
    *own = load(rows);
  }
  // The tokens of each sequence in a row of their own. Those behind its end, which nobody reads, are any.
  Sizes dims = c.shapeOf(parts.q);
  Value all = c.reshape(parts.q, {tokens, dims[2], dims[3]});
  Value last = number(c.sizes.sub(tokens, c.one()));
  Value at = c.add(column(starts), c.reshape(count(queries), {c.one(), queries}));
  parts.q = nn::buildGather(c.b, c.loc, all, c.binary(BinaryKind::Min, at, last), 0);
  hideKeys();
  if (c.hasFailed()) {
    return failure();
  }
  if (c.has(kSink)) {
    if (failed(requireVector(c, kSink, c.b.getIndexAttr(queryHeads), "head_sink"))) {
      return failure();
    }
    addSink(c, parts, c.reshape(c.operand(kSink), {c.b.getIndexAttr(queryHeads), c.one(), c.one()}));
  }
  Value result = nn::buildGatherND(c.b, c.loc, buildAttention(c, parts), pairs(owners, places), 0);
  Sizes resultDims = c.shapeOf(result);
  return c.set(c.reshape(result, {tokens, c.sizes.mul(resultDims[1], resultDims[2])}));
}

void lathe::onnx::registerPagedAttention(LegalizerRegistry &registry) {
  registry.add(
      "PagedAttention", 1, kInputs, [](LegalizeContext &c) { return PagedAttention(c).legalize(); },
      kMicrosoft);
}
