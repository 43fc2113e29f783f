// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// com.microsoft GroupQueryAttention and SparseAttention: attention with a cache in which each batch entry
/// has its own length, as exports of language models have it.

#include "AttentionParts.h"

#include "lathe/Dialect/NN/IR/NNScatter.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::BinaryKind;
using nn::CompareKind;

namespace {
constexpr unsigned kNone = ~0u;
constexpr unsigned kQuery = 0, kKey = 1, kValue = 2, kPastKey = 3, kPastValue = 4;

/// The operands behind those by number, kNone for what an operator does not have.
struct Numbers {
  unsigned lengths = kNone, total = kNone, cos = kNone, sin = kNone, positions = kNone, bias = kNone,
           sink = kNone, queryNorm = kNone, keyNorm = kNone, queryLengths = kNone;
};

constexpr unsigned kKeyScale = 12, kValueScale = 13, kInputs = 17;
constexpr Numbers kGroupQuery{.lengths = 5,
                              .total = 6,
                              .cos = 7,
                              .sin = 8,
                              .positions = 9,
                              .bias = 10,
                              .sink = 11,
                              .queryNorm = 14,
                              .keyNorm = 15,
                              .queryLengths = 16};
constexpr unsigned kBlockRows = 5, kBlockColumns = 6, kSparseInputs = 11;
constexpr Numbers kSparse{.lengths = 8, .total = 7, .cos = 9, .sin = 10};

/// One GroupQueryAttention or SparseAttention while it is legalized.
class GroupQueryAttention {
public:
  GroupQueryAttention(LegalizeContext &c, const Numbers &numbers)
      : c(c), operands(numbers), i64(c.b.getI64Type()) {}
  LogicalResult legalize();
  LogicalResult legalizeSparse();

private:
  LogicalResult readHeadAttributes();
  LogicalResult readAttributes();
  /// Splits query, key and value, which may be packed, and normalizes and turns the first two.
  LogicalResult readHeads();
  /// How many keys there are for each batch entry, and how many of them are old; `missing` is what the
  /// operand lacks of the former.
  LogicalResult readLengths(int64_t missing);
  /// Where a cache of `sliding_window_cache` keeps the keys: what of it is resident before and after.
  LogicalResult readResidents();
  LogicalResult rotateHeads();
  /// What the cache `past` holds after the step; `own` becomes the keys or values that queries may see.
  Value present(Value past, Value &own);
  /// Of the keys or values `all`, those that stay in a cache of `sliding_window_cache`.
  Value dropOldest(Value all);
  LogicalResult readMasks();
  /// The keys in the blocks that the layouts of a SparseAttention have, [batch, heads, queries, keys]; null
  /// after an error.
  Value keysInBlocks(Value positions);

  Value number(Size size) { return nn::buildFromScalars(c.b, c.loc, size, i64, /*scalar=*/true); }
  Value integer(int64_t value) { return nn::buildScalar(c.b, c.loc, i64, value); }

  LegalizeContext &c;
  const Numbers operands;
  Type i64;
  AttentionParts parts;
  int64_t queryHeads = 0, keyHeads = 0, window = -1;
  bool causal = true, isWindowed = false;
  Size batch, queries;
  /// The most keys of any batch entry, and how many the cache has room for.
  Size total, capacity;
  /// [batch]: the keys after the step, and those before it. `old` is null where it is 0 for all.
  Value lengths, old;
  /// [batch]: the first row of the cache that is written, which is `old` where the cache holds all old keys;
  /// and how many of the keys after the step a windowed cache keeps.
  Value begin, kept;
};
} // namespace

LogicalResult GroupQueryAttention::readHeadAttributes() {
  queryHeads = c.intAttr("num_heads", 0);
  keyHeads = c.intAttr("kv_num_heads", 0);
  if (keyHeads < 1 || queryHeads < 1 || queryHeads % keyHeads != 0) {
    return c.error(
        "E0304",
        llvm::formatv("num_heads is {0}, must be a multiple of kv_num_heads, {1}", queryHeads, keyHeads)
            .str(),
        "num_heads");
  }
  double scale = c.floatAttr("scale", 0);
  parts.scale = scale == 0 ? std::nullopt : std::optional<double>(scale);
  return success(!c.hasFailed());
}

LogicalResult GroupQueryAttention::readAttributes() {
  if (failed(readHeadAttributes())) {
    return failure();
  }
  if (c.has(kKeyScale) || c.has(kValueScale) || c.intAttr("kv_cache_bit_width", 0) != 0) {
    return c.unsupported("a quantized cache");
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
  isWindowed = c.intAttr("sliding_window_cache", 0) != 0;
  if (isWindowed && window < 1) {
    return c.error(
        "E0304",
        llvm::formatv("local_window_size is {0}, must be positive with sliding_window_cache", window).str(),
        "local_window_size");
  }
  if (isWindowed && (!c.has(kPastKey) || !c.has(kPastValue))) {
    return c.error("E0305", "with sliding_window_cache there must be past_key and past_value");
  }
  if (isWindowed && c.has(operands.bias)) {
    return c.unsupported("attention_bias with sliding_window_cache");
  }
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
  if (c.has(operands.queryNorm) != c.has(operands.keyNorm)) {
    return c.error("E0305", "one of q_norm_weight and k_norm_weight is absent");
  }
  if (c.has(operands.queryNorm)) {
    double epsilon = c.floatAttr("qk_norm_epsilon", 1e-6);
    auto norm = [&](Value &x, unsigned weight, StringRef own) {
      if (succeeded(requireVector(c, weight, c.shapeOf(x)[3], "the weight of a norm"))) {
        x = nn::buildRMSNorm(c.b, c.loc, x, c.operand(weight), 3, c.floatAttr(own, epsilon));
      }
    };
    norm(parts.q, operands.queryNorm, "q_norm_epsilon");
    norm(parts.k, operands.keyNorm, "k_norm_epsilon");
  }
  return success(!c.hasFailed());
}

LogicalResult GroupQueryAttention::readLengths(int64_t missing) {
  std::optional<Scalars> read = c.scalarsOrRead(operands.total);
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
  lengths = perBatch(operands.lengths);
  lengths = missing == 0 ? lengths : c.add(lengths, integer(missing));
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
  Value fresh = c.has(operands.queryLengths) ? perBatch(operands.queryLengths) : number(queries);
  old = c.binary(BinaryKind::Max, c.binary(BinaryKind::Sub, lengths, fresh), integer(0));
  begin = old;
  return isWindowed ? readResidents() : success(!c.hasFailed());
}

/// A cache of C rows holds the last keys from its row 0 on. Where there would be more than C, it drops as
/// many groups of C - window + 1 as it takes: so few steps drop any, and the window stays.
LogicalResult GroupQueryAttention::readResidents() {
  Size rows = c.shapeOf(kPastKey)[2];
  c.require(c.sizes.compare(CompareKind::LessOrEqual, c.b.getIndexAttr(window), rows),
            "the cache must have room for local_window_size keys");
  Value group = number(c.checkedSize(c.sizes.sub(rows, c.b.getIndexAttr(window - 1))));
  auto residents = [&](Value keys) {
    Value beyond = c.binary(BinaryKind::Max, c.binary(BinaryKind::Sub, keys, number(rows)), integer(0));
    Value most = c.binary(BinaryKind::Sub, c.add(beyond, group), integer(1));
    Value dropped = c.binary(BinaryKind::Mul, c.binary(BinaryKind::Div, most, group), group);
    return c.binary(BinaryKind::Sub, keys, dropped);
  };
  begin = residents(old);
  kept = residents(lengths);
  // The step sees the old keys and the new ones, before any is dropped.
  total = capacity = c.checkedSize(c.sizes.add(rows, queries));
  return success(!c.hasFailed());
}

Value GroupQueryAttention::dropOldest(Value all) {
  Size rows = c.shapeOf(kPastKey)[2];
  Value end = c.binary(BinaryKind::Sub, c.add(begin, lengths), old);
  Value first = c.reshape(c.binary(BinaryKind::Sub, end, kept), {batch, c.one()});
  Value row = c.add(first, nn::buildRange(c.b, c.loc, integer(0), integer(1), rows));
  // What lies behind the keys that are kept is not specified.
  row = c.binary(BinaryKind::Min, row, number(c.sizes.sub(capacity, c.one())));
  Sizes dims{batch, c.b.getIndexAttr(keyHeads), rows, c.one()};
  row = c.expand(c.reshape(row, {batch, c.one(), rows, c.one()}), dims);
  return nn::buildGatherND(c.b, c.loc, all, row, /*batchDims=*/2);
}

LogicalResult GroupQueryAttention::rotateHeads() {
  if (c.intAttr("do_rotary", 0) == 0) {
    return success();
  }
  if (!c.has(operands.cos) || !c.has(operands.sin) || c.rank(operands.cos) != 2 ||
      c.rank(operands.sin) != 2) {
    return c.error("E0305", "with do_rotary there must be cos_cache and sin_cache of 2 dimensions");
  }
  Value positions;
  if (c.has(operands.positions)) {
    positions = c.operand(operands.positions);
    if (nn::getRank(positions) != 2) {
      return c.error(
          "E0307",
          llvm::formatv("position_ids has {0} dimensions, must have 2", nn::getRank(positions)).str());
    }
  } else {
    positions = queryPositions(c, queries, old ? old : integer(0));
    positions = c.reshape(positions, {c.shapeOf(positions)[0], queries});
    if (c.has(operands.queryLengths)) {
      // Queries that only fill up a row may stand behind the end; nobody reads what they give.
      Value last = number(c.sizes.sub(c.shapeOf(operands.cos)[0], c.one()));
      positions = c.binary(BinaryKind::Min, positions, last);
    }
  }
  Value cos = nn::buildGather(c.b, c.loc, c.operand(operands.cos), positions, 0);
  Value sin = nn::buildGather(c.b, c.loc, c.operand(operands.sin), positions, 0);
  std::optional<int64_t> pairs = getConstantIntValue(c.shapeOf(operands.cos)[1]);
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
  Size missing = c.sizes.sub(capacity, c.shapeOf(past)[2]);
  Value rows =
      getConstantIntValue(missing) == 0 ? Value() : getValueOrCreateConstantIndexOp(c.b, c.loc, capacity);
  Value all = nn::createInferred<nn::UpdateCacheOp>(c.b, c.loc, nn::getElementType(past), past, fresh, begin,
                                                    rows, /*axis=*/2, /*circular=*/false);
  own = swapHeads(c, c.slice(all, 2, c.b.getIndexAttr(0), total));
  return isWindowed ? dropOldest(all) : all;
}

LogicalResult GroupQueryAttention::readMasks() {
  bool hasSink = c.has(operands.sink) || c.intAttr("smooth_softmax", 0) != 0;
  Value beside = c.reshape(lengths, {batch, c.one(), c.one(), c.one()});
  if (!causal) {
    parts.keep = c.compare(CompareKind::Less, countAlong(c, total, 3), beside);
  } else if (!old && window < 0 && !hasSink) {
    parts.causal = true;
  } else {
    Value rows = queryPositions(c, queries, old ? begin : integer(0));
    parts.keep = keysWithin(c, rows, total, window < 0 ? -1 : window - 1, /*right=*/0);
  }
  if (c.has(operands.bias)) {
    if (c.rank(operands.bias) != 4) {
      return c.error(
          "E0307",
          llvm::formatv("attention_bias has {0} dimensions, must have 4", c.rank(operands.bias)).str());
    }
    Value bias = c.operand(operands.bias);
    Size own = c.shapeOf(bias)[3];
    c.require(c.sizes.compare(CompareKind::Equal, own, total),
              "attention_bias must have a column for each key");
    parts.bias = bias;
  }
  if (c.hasFailed() || !hasSink) {
    return success(!c.hasFailed());
  }
  if (!c.has(operands.sink)) {
    addSink(c, parts, c.scalar(0, parts.q));
  } else if (succeeded(requireVector(c, operands.sink, c.b.getIndexAttr(queryHeads), "head_sink"))) {
    addSink(c, parts, c.reshape(c.operand(operands.sink), {c.b.getIndexAttr(queryHeads), c.one(), c.one()}));
  }
  return success(!c.hasFailed());
}

LogicalResult GroupQueryAttention::legalize() {
  if (!c.has(operands.lengths) || !c.has(operands.total)) {
    return c.error("E0305", "seqlens_k or total_sequence_length is absent");
  }
  if (failed(readAttributes()) || failed(readHeads()) || failed(readLengths(/*missing=*/1)) ||
      failed(rotateHeads())) {
    return failure();
  }
  (void)c.set(1, present(c.operandOrNull(kPastKey), parts.k));
  (void)c.set(2, present(c.operandOrNull(kPastValue), parts.v));
  if (c.hasFailed() || failed(readMasks())) {
    return failure();
  }
  return c.set(joinHeads(c, buildAttention(c, parts)));
}

//===----------------------------------------------------------------------===//
// SparseAttention
//===----------------------------------------------------------------------===//

/// The layouts come as compressed sparse rows of blocks of `sparse_block_size` queries and keys: of each
/// layout the entries at which its rows begin, and the columns of all entries. Heads take the layouts in
/// turn.
Value GroupQueryAttention::keysInBlocks(Value positions) {
  int64_t blockSize = c.intAttr("sparse_block_size", 0);
  if (blockSize < 1) {
    (void)c.error("E0304", llvm::formatv("sparse_block_size is {0}, must be at least 1", blockSize).str(),
                  "sparse_block_size");
    return {};
  }
  if (c.rank(kBlockRows) != 2 || c.rank(kBlockColumns) != 2) {
    (void)c.error("E0307",
                  llvm::formatv("block_row_indices and block_col_indices have {0} and {1} dimensions, must "
                                "have 2",
                                c.rank(kBlockRows), c.rank(kBlockColumns))
                      .str());
    return {};
  }
  Sizes rowDims = c.shapeOf(kBlockRows), columnDims = c.shapeOf(kBlockColumns);
  Size layouts = rowDims[0], blocks = c.checkedSize(c.sizes.sub(rowDims[1], c.one())),
       entries = columnDims[1];
  c.require(c.sizes.compare(CompareKind::Equal, layouts, columnDims[0]),
            "block_row_indices and block_col_indices must be of as many layouts");
  if (c.hasFailed()) {
    return {};
  }
  auto count = [&](Size size) { return nn::buildRange(c.b, c.loc, integer(0), integer(1), size); };
  auto block = [&](Value position) { return c.binary(BinaryKind::Div, position, integer(blockSize)); };

  // An entry is of the row before which as many rows end as up to it. What fills up a layout's entries is in
  // a row behind the last one, which no query reads.
  Value ends = c.cast(c.slice(c.operand(kBlockRows), 1, c.one(), blocks), i64);
  ends = c.reshape(ends, {layouts, c.one(), blocks});
  Value isBefore = c.compare(CompareKind::LessOrEqual, ends, c.reshape(count(entries), {entries, c.one()}));
  Value row = c.reduce(nn::ReduceKind::Sum, c.cast(isBefore, i64), {2}, /*keepDims=*/false);
  Value isFilling = c.compare(CompareKind::Equal, row, number(blocks));
  Value column = c.select(isFilling, integer(0), c.cast(c.operand(kBlockColumns), i64));
  Value layout = c.expand(c.reshape(count(layouts), {layouts, c.one()}), {layouts, entries});
  Sizes tuple{layouts, entries, c.one()};
  Value cells = nn::buildConcat(
      c.b, c.loc, {c.reshape(layout, tuple), c.reshape(row, tuple), c.reshape(column, tuple)}, 2);
  Type i1 = c.b.getI1Type();
  Value none = nn::buildScalar(c.b, c.loc, i1, 0), all = nn::buildScalar(c.b, c.loc, i1, 1);
  Value grid = nn::createInferred<nn::ScatterNDOp>(
      c.b, c.loc, i1, nn::ScatterKind::None, c.expand(none, {layouts, c.sizes.add(blocks, c.one()), blocks}),
      cells, c.expand(all, {layouts, entries}));

  Size heads = c.b.getIndexAttr(queryHeads);
  Sizes dims = c.shapeOf(positions);
  Value rows = block(c.reshape(positions, {dims[0], queries}));
  Value ofHeads = c.binary(BinaryKind::Mod, count(heads), number(layouts));
  Value keep = nn::buildGather(c.b, c.loc, grid, block(count(total)), 2);
  keep = nn::buildGather(c.b, c.loc, keep, rows, 1);
  keep = nn::buildGather(c.b, c.loc, keep, ofHeads, 0);
  return c.transpose(keep, {1, 0, 2, 3});
}

LogicalResult GroupQueryAttention::legalizeSparse() {
  for (unsigned i : {kPastKey, kPastValue, kBlockRows, kBlockColumns, operands.total, operands.lengths}) {
    if (!c.has(i)) {
      return c.error("E0305", llvm::formatv("input {0} is absent", i).str());
    }
  }
  if (failed(readHeadAttributes()) || failed(readHeads()) || failed(readLengths(/*missing=*/0)) ||
      failed(rotateHeads())) {
    return failure();
  }
  c.require(c.sizes.compare(CompareKind::LessOrEqual, total, c.shapeOf(kPastKey)[2]),
            "the cache must have room for total_sequence_length keys");
  (void)c.set(1, present(c.operand(kPastKey), parts.k));
  (void)c.set(2, present(c.operand(kPastValue), parts.v));
  if (c.hasFailed()) {
    return failure();
  }
  Value positions = queryPositions(c, queries, old);
  parts.keep = keysWithin(c, positions, total, /*left=*/-1, /*right=*/0);
  Value inBlocks = keysInBlocks(positions);
  if (!inBlocks || c.hasFailed()) {
    return failure();
  }
  parts.keep = both(c, parts.keep, inBlocks);
  return c.set(joinHeads(c, buildAttention(c, parts)));
}

void lathe::onnx::registerGroupQueryAttention(LegalizerRegistry &registry) {
  registry.add(
      "GroupQueryAttention", 1, kInputs,
      [](LegalizeContext &c) { return GroupQueryAttention(c, kGroupQuery).legalize(); }, kMicrosoft);
  registry.add(
      "SparseAttention", 1, kSparseInputs,
      [](LegalizeContext &c) { return GroupQueryAttention(c, kSparse).legalizeSparse(); }, kMicrosoft);
  registerPagedAttention(registry);
}
