// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// com.microsoft Attention, QAttention, MultiHeadAttention and RotaryEmbedding.

#include "AttentionParts.h"
#include "Products.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::CompareKind;

namespace {
/// The operands behind the projections of Attention and QAttention: where they are, if they are there.
struct Behind {
  unsigned mask, past, bias;
};

/// One Attention, QAttention or MultiHeadAttention while it is legalized.
class FusedAttention {
public:
  explicit FusedAttention(LegalizeContext &c) : c(c), zero(c.b.getIndexAttr(0)) {}

  LogicalResult legalizeAttention();
  LogicalResult legalizeQuantized();
  LogicalResult legalizeMultiHead();

private:
  bool readHeads();
  /// What Attention and QAttention have in common, before and after their projections [batch, sequence,
  /// width], whose bias is operand 2.
  LogicalResult checkProjections(unsigned past);
  LogicalResult attendTo(Value projections, const Behind &behind);
  /// Columns [first, first + width) of the last dimension.
  Value columns(Value x, Size first, Size width) { return c.slice(x, nn::getRank(x) - 1, first, width); }
  /// Part `number` of dimension `axis`, which goes.
  Value part(Value x, int64_t axis, int64_t number);
  /// Query, key and value of MultiHeadAttention with their bias, each [batch, sequence, heads, features].
  LogicalResult readOperands();
  LogicalResult addBias(bool toKeys);
  /// Keys or values [batch, heads, sequence, features] after those of `past`, which may be null; `own`
  /// becomes all of them.
  Value present(Value past, Value &own);
  /// Operand `i` as an addend to the logits.
  LogicalResult readMask(unsigned i);
  /// What keeps the keys of a mask that holds lengths, or ends and starts; null after an error.
  Value keysInside(Value mask);
  LogicalResult readBias(unsigned i);
  void readCausality();

  LegalizeContext &c;
  const Size zero;
  AttentionParts parts;
  int64_t heads = 0;
  Size newKeys;
};
} // namespace

bool FusedAttention::readHeads() {
  heads = c.intAttr("num_heads", 0);
  if (heads < 1) {
    (void)c.error("E0304", llvm::formatv("num_heads is {0}, must be at least 1", heads).str(), "num_heads");
  }
  double scale = c.floatAttr("scale", 0);
  parts.scale = scale == 0 ? std::nullopt : std::optional<double>(scale);
  return !c.hasFailed();
}

Value FusedAttention::part(Value x, int64_t axis, int64_t number) {
  Sizes dims = c.shapeOf(x);
  Value cut = c.slice(x, axis, c.b.getIndexAttr(number), c.one());
  dims.erase(dims.begin() + axis);
  return c.reshape(cut, dims);
}

Value FusedAttention::present(Value past, Value &own) {
  Value all = swapHeads(c, own);
  if (past) {
    all = nn::buildConcat(c.b, c.loc, {past, all}, 2);
    own = swapHeads(c, all);
  }
  return all;
}

//===----------------------------------------------------------------------===//
// Masks
//===----------------------------------------------------------------------===//

Value FusedAttention::keysInside(Value mask) {
  Size batch = c.shapeOf(parts.q)[0], keys = c.shapeOf(parts.k)[1], length = c.shapeOf(mask)[0];
  auto times = [&](int64_t factor, int64_t more) {
    return c.sizes.add(c.sizes.mul(batch, c.b.getIndexAttr(factor)), c.b.getIndexAttr(more));
  };
  bool isWhole = c.sizes.isSame(length, batch);
  auto beside = [&](Size first) {
    Value part = isWhole ? mask : c.slice(mask, 0, first, batch);
    return c.cast(c.reshape(part, {batch, c.one(), c.one(), c.one()}), c.b.getI64Type());
  };
  Value position = countAlong(c, keys, 3);
  Value keep = c.compare(CompareKind::Less, position, beside(zero));
  // The lengths alone, or followed by positions of padded batches, which only matter where padding was
  // removed.
  if (isWhole || c.sizes.isSame(length, times(3, 2))) {
    return keep;
  }
  if (c.sizes.isSame(length, times(2, 0))) {
    return both(c, keep, c.compare(CompareKind::GreaterOrEqual, position, beside(batch)));
  }
  (void)c.unsupported(
      "a mask of one dimension whose size is not evidently 1, 2 or 3 times that of the batch");
  return {};
}

LogicalResult FusedAttention::readMask(unsigned i) {
  if (!c.has(i)) {
    return success();
  }
  Value mask = c.operand(i), keep;
  Sizes dims = c.shapeOf(mask), queries = c.shapeOf(parts.q);
  Size keys = c.shapeOf(parts.k)[1];
  auto isSet = [&](Value x) { return c.compare(CompareKind::Greater, x, c.scalar(0, x)); };
  switch (dims.size()) {
  case 1:
    keep = keysInside(mask);
    break;
  case 2:
    if (getConstantIntValue(dims[1]) == 1 && getConstantIntValue(keys) != 1) {
      return success(); // stands for no mask
    }
    keep = isSet(c.reshape(mask, {dims[0], c.one(), c.one(), dims[1]}));
    break;
  case 3:
    keep = isSet(c.reshape(mask, {dims[0], c.one(), dims[1], dims[2]}));
    break;
  case 4: {
    // One for all positions that there may be: the rows of these queries stand behind those of the past.
    Value rows = c.slice(mask, 2, c.sizes.sub(keys, newKeys), queries[1]);
    keep = isSet(c.slice(rows, 3, zero, keys));
    c.require(c.sizes.compare(CompareKind::LessOrEqual, keys, dims[3]),
              "the mask has fewer columns than there are keys");
    c.require(c.sizes.compare(CompareKind::LessOrEqual, keys, dims[2]),
              "the mask has fewer rows than there are keys");
    break;
  }
  default:
    return c.error("E0307",
                   llvm::formatv("the mask has {0} dimensions, must have 1 to 4", dims.size()).str());
  }
  if (!keep) {
    return failure();
  }
  Type type = nn::getElementType(parts.q);
  double hidden = c.floatAttr("mask_filter_value", -10000);
  parts.bias =
      c.select(keep, nn::buildScalar(c.b, c.loc, type, 0), nn::buildScalar(c.b, c.loc, type, hidden));
  return success(!c.hasFailed());
}

LogicalResult FusedAttention::readBias(unsigned i) {
  if (!c.has(i)) {
    return success();
  }
  if (c.rank(i) != 4) {
    return c.error("E0307", llvm::formatv("attention_bias has {0} dimensions, must have 4", c.rank(i)).str());
  }
  Value bias = c.cast(c.operand(i), nn::getElementType(parts.q));
  parts.bias = parts.bias ? c.add(parts.bias, bias) : bias;
  return success(!c.hasFailed());
}

void FusedAttention::readCausality() {
  Size queries = c.shapeOf(parts.q)[1], keys = c.shapeOf(parts.k)[1];
  if (c.intAttr("unidirectional", 0) == 0) {
    return;
  }
  if (c.sizes.isSame(queries, newKeys)) {
    parts.causal = true;
    return;
  }
  // nn aligns the diagonal at the last query and the last key, this operator at the first query and the first
  // key that is new.
  Value past =
      nn::buildFromScalars(c.b, c.loc, c.sizes.sub(keys, newKeys), c.b.getI64Type(), /*scalar=*/true);
  parts.keep = keysWithin(c, queryPositions(c, queries, past), keys, /*left=*/-1, /*right=*/0);
}

//===----------------------------------------------------------------------===//
// Attention
//===----------------------------------------------------------------------===//

LogicalResult FusedAttention::checkProjections(unsigned past) {
  for (StringRef name : {"do_rotary", "past_present_share_buffer"}) {
    if (c.intAttr(name, 0) != 0) {
      return c.unsupported(name);
    }
  }
  if (!readHeads()) {
    return failure();
  }
  if (c.rank(0) != 3 || c.rank(1) != 2 || (c.has(past) && c.rank(past) != 5)) {
    return c.error("E0307", "the input must have 3 dimensions, the weights 2 and the past 5");
  }
  return success();
}

LogicalResult FusedAttention::legalizeAttention() {
  constexpr Behind behind{.mask = 3, .past = 4, .bias = 5};
  if (failed(checkProjections(behind.past))) {
    return failure();
  }
  Value product = matmul(c, c.operand(0), c.operand(1));
  if (c.hasFailed() || (c.has(2) && failed(requireVector(c, 2, c.shapeOf(1)[1], "the bias")))) {
    return failure();
  }
  return attendTo(c.has(2) ? c.add(product, c.operand(2)) : product, behind);
}

LogicalResult FusedAttention::legalizeQuantized() {
  constexpr Behind behind{.mask = 5, .past = 8, .bias = ~0u};
  if (failed(checkProjections(behind.past)) || failed(requireVector(c, 2, c.shapeOf(1)[1], "the bias"))) {
    return failure();
  }
  Value product = multiplyAsFloats(
      c, {.lhs = 0, .rhs = 1, .lhsScale = 3, .rhsScale = 4, .lhsZero = 6, .rhsZero = 7, .bias = 2});
  return product ? attendTo(c.cast(product, c.elementType(3)), behind) : failure();
}

LogicalResult FusedAttention::attendTo(Value product, const Behind &behind) {
  Size width = c.shapeOf(1)[1], third = c.sizes.div(width, c.b.getIndexAttr(3), /*floor=*/true);
  Sizes widths{third, third, third};
  if (std::optional<SmallVector<int64_t>> given = c.intsAttr("qkv_hidden_sizes"); given && !given->empty()) {
    if (given->size() != 3 ||
        llvm::any_of(*given, [](int64_t size) { return size < 0 || size > nn::kMaxDim; })) {
      return c.error("E0304", "qkv_hidden_sizes must be three sizes", "qkv_hidden_sizes");
    }
    widths = getAsIndexOpFoldResult(c.b.getContext(), *given);
  }
  Size total = c.sizes.add(c.sizes.add(widths[0], widths[1]), widths[2]);
  c.require(c.sizes.compare(CompareKind::Equal, total, width),
            "the weights must have as many columns as queries, keys and values together");
  if (c.hasFailed()) {
    return failure();
  }
  parts.q = splitHeads(c, columns(product, zero, widths[0]), heads, "num_heads");
  parts.k = splitHeads(c, columns(product, widths[0], widths[1]), heads, "num_heads");
  parts.v = splitHeads(c, columns(product, c.sizes.add(widths[0], widths[1]), widths[2]), heads, "num_heads");
  if (c.hasFailed()) {
    return failure();
  }
  newKeys = c.shapeOf(parts.k)[1];
  Value past = c.operandOrNull(behind.past);
  if (past && getConstantIntValue(c.shapeOf(past)[0]).value_or(2) != 2) {
    return c.error("E0307", "the first dimension of the past must be 2: keys and values");
  }
  Value keys = present(past ? part(past, 0, 0) : Value(), parts.k);
  Value values = present(past ? part(past, 0, 1) : Value(), parts.v);
  if (c.isUsed(1)) {
    Sizes dims = c.shapeOf(keys);
    dims.insert(dims.begin(), c.one());
    (void)c.set(1, nn::buildConcat(c.b, c.loc, {c.reshape(keys, dims), c.reshape(values, dims)}, 0));
  }
  if (failed(readMask(behind.mask)) || failed(readBias(behind.bias))) {
    return failure();
  }
  readCausality();
  return c.set(joinHeads(c, onnx::buildAttention(c, parts)));
}

//===----------------------------------------------------------------------===//
// MultiHeadAttention
//===----------------------------------------------------------------------===//

LogicalResult FusedAttention::addBias(bool toKeys) {
  if (!c.has(3)) {
    return success();
  }
  auto widthOf = [&](Value x) { return c.sizes.mul(c.shapeOf(x)[2], c.shapeOf(x)[3]); };
  Size query = widthOf(parts.q), value = widthOf(parts.v);
  Size both = c.sizes.mul(query, c.b.getIndexAttr(2));
  if (failed(requireVector(c, 3, c.sizes.add(both, value), "the bias"))) {
    return failure();
  }
  auto add = [&](Value &x, Size first, Size width) {
    Sizes dims = c.shapeOf(x);
    x = c.add(x, c.reshape(c.slice(c.operand(3), 0, first, width), {dims[2], dims[3]}));
  };
  add(parts.q, zero, query);
  if (toKeys) {
    add(parts.k, query, query);
    add(parts.v, both, value);
  }
  return success(!c.hasFailed());
}

LogicalResult FusedAttention::readOperands() {
  Value query = c.operand(0);
  int64_t rank = nn::getRank(query), keyRank = c.has(1) ? c.rank(1) : 0;
  auto expectPacked = [&](Value x, int64_t count) -> LogicalResult {
    Sizes dims = c.shapeOf(x);
    std::optional<int64_t> own = getConstantIntValue(dims[2]), found = getConstantIntValue(dims[3]);
    if (own.value_or(heads) != heads || found.value_or(count) != count) {
      return c.error("E0307",
                     llvm::formatv("a packed operand has {0} heads of {1} parts, must have {2} of {3}",
                                   own.value_or(-1), found.value_or(-1), heads, count)
                         .str());
    }
    return success();
  };
  if (rank == 5 && !c.has(1) && !c.has(2)) {
    parts.q = part(query, 3, 0);
    parts.k = part(query, 3, 1);
    parts.v = part(query, 3, 2);
    return failed(expectPacked(query, 3)) ? failure() : addBias(/*toKeys=*/true);
  }
  if (rank != 3 || !c.has(1)) {
    return c.error(
        "E0307", llvm::formatv("the query has {0} dimensions; it must have 3, or 5 and no key", rank).str());
  }
  parts.q = splitHeads(c, query, heads, "num_heads");
  if (keyRank == 5 && !c.has(2)) {
    parts.k = part(c.operand(1), 3, 0);
    parts.v = part(c.operand(1), 3, 1);
    return failed(expectPacked(c.operand(1), 2)) || c.hasFailed() ? failure() : addBias(/*toKeys=*/true);
  }
  if (!c.has(2) || (keyRank != 3 && keyRank != 4) || c.rank(2) != keyRank) {
    return c.error(
        "E0307", llvm::formatv("the key has {0} dimensions; it must have 3 or 4 like the value, or 5 and no "
                               "value",
                               keyRank)
                     .str());
  }
  if (keyRank == 4) {
    // Keys and values of an encoder, which have their bias already.
    parts.k = swapHeads(c, c.operand(1));
    parts.v = swapHeads(c, c.operand(2));
  } else {
    parts.k = splitHeads(c, c.operand(1), heads, "num_heads");
    parts.v = splitHeads(c, c.operand(2), heads, "num_heads");
  }
  return c.hasFailed() ? failure() : addBias(/*toKeys=*/keyRank == 3);
}

LogicalResult FusedAttention::legalizeMultiHead() {
  if (c.has(8) || c.has(9)) {
    return c.unsupported("past_sequence_length and cache_indirection");
  }
  if (!readHeads() || failed(readOperands())) {
    return failure();
  }
  if (c.has(6) != c.has(7)) {
    return c.error("E0305", "one of past_key and past_value is absent");
  }
  for (unsigned i : {6u, 7u}) {
    if (c.has(i) && c.rank(i) != 4) {
      return c.error("E0307", llvm::formatv("input {0} has {1} dimensions, must have 4", i, c.rank(i)).str());
    }
  }
  newKeys = c.shapeOf(parts.k)[1];
  (void)c.set(1, present(c.operandOrNull(6), parts.k));
  (void)c.set(2, present(c.operandOrNull(7), parts.v));
  if (failed(readMask(4)) || failed(readBias(5))) {
    return failure();
  }
  readCausality();
  if (c.isUsed(3)) {
    (void)c.set(3, buildLogits(c, parts, LogitStage::Masked));
  }
  return c.set(joinHeads(c, onnx::buildAttention(c, parts)));
}

//===----------------------------------------------------------------------===//
// RotaryEmbedding
//===----------------------------------------------------------------------===//

/// Positions are the second operand, not the last one: one for each token, or that of the first.
static LogicalResult legalizeRotary(LegalizeContext &c) {
  if (c.floatAttr("scale", 1) != 1) {
    return c.unsupported("a scale");
  }
  bool is4D = c.rank(0) == 4;
  if ((!is4D && c.rank(0) != 3) || c.rank(2) != 2 || c.rank(3) != 2) {
    return c.error("E0307", "the operand must have 3 or 4 dimensions, and the caches 2");
  }
  Value x = c.operand(0), positions = c.operand(1);
  int64_t heads = c.intAttr("num_heads", 0), dim = c.intAttr("rotary_embedding_dim", 0);
  if (is4D) {
    x = swapHeads(c, x);
  } else if (heads != 0) {
    x = splitHeads(c, x, heads, "num_heads");
  } else {
    // The caches are for all features of a head.
    Sizes dims = c.shapeOf(x);
    Size features = c.sizes.mul(c.shapeOf(2)[1], c.b.getIndexAttr(2));
    x = c.reshape(x, {dims[0], dims[1], c.sizes.div(dims[2], c.sizes.max(features, c.one()), /*floor=*/true),
                      features});
  }
  if (c.hasFailed()) {
    return failure();
  }
  if (nn::getRank(positions) == 1) {
    c.require(c.sizes.compare(CompareKind::Equal, c.shapeOf(positions)[0], c.one()),
              "positions of one dimension must be that of the first token alone");
    Value first = c.reshape(c.cast(positions, c.b.getI64Type()), {});
    Size count = c.shapeOf(x)[1];
    positions = c.reshape(queryPositions(c, count, first), {c.one(), count});
  } else if (nn::getRank(positions) != 2) {
    return c.error("E0307",
                   llvm::formatv("position_ids has {0} dimensions, must have 1 or 2", c.rank(1)).str());
  }
  Value cos = nn::buildGather(c.b, c.loc, c.operand(2), positions, 0);
  Value sin = nn::buildGather(c.b, c.loc, c.operand(3), positions, 0);
  if (c.hasFailed()) {
    return failure();
  }
  Value result = rotateFeatures(c, x, cos, sin, dim, c.intAttr("interleaved", 0) != 0);
  if (!result) {
    return failure();
  }
  return c.set(is4D ? swapHeads(c, result) : joinHeads(c, result));
}

void lathe::onnx::registerFusedAttention(LegalizerRegistry &registry) {
  registry.add(
      "Attention", 2, 7, [](LegalizeContext &c) { return FusedAttention(c).legalizeAttention(); },
      kMicrosoft);
  registry.add(
      "QAttention", 5, 9, [](LegalizeContext &c) { return FusedAttention(c).legalizeQuantized(); },
      kMicrosoft);
  registry.add(
      "MultiHeadAttention", 1, 10, [](LegalizeContext &c) { return FusedAttention(c).legalizeMultiHead(); },
      kMicrosoft);
  registry.add("RotaryEmbedding", 4, 4, legalizeRotary, kMicrosoft);
}
