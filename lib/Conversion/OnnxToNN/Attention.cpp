// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Attention and RotaryEmbedding of the default domain (23 and later).

#include "AttentionParts.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::CompareKind;

/// A 3-D or 4-D operand as [batch, sequence, heads, features].
static Value withHeads(LegalizeContext &c, unsigned i, StringRef headsAttr) {
  Value x = c.operand(i);
  if (nn::getRank(x) == 4) {
    if (c.hasAttr(headsAttr)) {
      (void)c.error("E0304", headsAttr + " is given, but the operand has its heads in a dimension",
                    headsAttr);
    }
    return swapHeads(c, x);
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
  return splitHeads(c, x, *heads, headsAttr);
}

namespace {
/// One Attention while it is legalized.
class Attention {
public:
  explicit Attention(LegalizeContext &c) : c(c) {}
  LogicalResult legalize();

private:
  /// Appends new keys or values to those of the past; both results are set.
  LogicalResult readCaches();
  /// Reads masks, causality and windows.
  LogicalResult readMasks();

  LegalizeContext &c;
  AttentionParts parts;
  Size newKeys, queries, keys;
};
} // namespace

LogicalResult Attention::readCaches() {
  if (c.has(4) != c.has(5)) {
    return c.error("E0305", "one of past_key and past_value is absent");
  }
  if (c.has(4) && c.has(6)) {
    return c.error("E0305", "there are both a cache and nonpad_kv_seqlen");
  }
  for (unsigned i : {0u, 1u}) {
    Value &own = i == 0 ? parts.k : parts.v;
    if (!c.has(4)) {
      if (c.isUsed(1 + i)) {
        (void)c.set(1 + i, swapHeads(c, own));
      }
      continue;
    }
    if (c.rank(4 + i) != 4) {
      return c.error("E0307",
                     llvm::formatv("input {0} has {1} dimensions, must have 4", 4 + i, c.rank(4 + i)).str());
    }
    if (c.elementType(4 + i) != nn::getElementType(own)) {
      return c.error("E0306", "the cache and what is added to it have different element types");
    }
    Value present = nn::buildConcat(c.b, c.loc, {c.operand(4 + i), swapHeads(c, own)}, 2);
    (void)c.set(1 + i, present);
    own = swapHeads(c, present);
  }
  keys = c.shapeOf(parts.k)[1];
  return success(!c.hasFailed());
}

LogicalResult Attention::readMasks() {
  if (Value mask = c.operandOrNull(3)) {
    mask = padKeys(c, mask, keys);
    (nn::getElementType(mask).isInteger(1) ? parts.keep : parts.bias) = mask;
  }
  bool causal = c.intAttr("is_causal", 0) != 0;
  int64_t left = c.intAttr("left_window_size", -1), right = c.intAttr("right_window_size", -1);
  if (left < -1 || right < -1) {
    return c.error(
        "E0304",
        llvm::formatv("left_window_size and right_window_size are {0} and {1}, must be at least -1", left,
                      right)
            .str(),
        "left_window_size");
  }
  Type i64 = c.b.getI64Type();
  Value lengths = c.operandOrNull(6);
  if (lengths) {
    if (nn::getRank(lengths) != 1) {
      return c.error("E0307", "nonpad_kv_seqlen must have 1 dimension");
    }
    lengths = c.cast(lengths, i64);
    Value beside = c.reshape(lengths, {c.shapeOf(lengths)[0], c.one(), c.one(), c.one()});
    parts.keep = both(c, parts.keep, c.compare(CompareKind::Less, countAlong(c, keys, 3), beside));
  }
  if (!causal && left < 0 && right < 0) {
    return success();
  }
  // nn aligns the diagonal at the last query and the last key, as ONNX does if all keys but the past are new.
  if (causal && left < 0 && right < 0 && !lengths && c.sizes.isSame(queries, newKeys)) {
    parts.causal = true;
    return success();
  }
  // The position of the first query among the keys may be negative, and stays so.
  auto scalar = [&](Size size) { return nn::buildFromScalars(c.b, c.loc, size, i64, /*scalar=*/true); };
  Value offset =
      lengths ? c.binary(nn::BinaryKind::Sub, lengths, scalar(queries)) : scalar(c.sizes.sub(keys, newKeys));
  if (causal) {
    right = 0;
  }
  parts.keep = both(c, parts.keep, keysWithin(c, queryPositions(c, queries, offset), keys, left, right));
  return success();
}

LogicalResult Attention::legalize() {
  bool is3D = c.rank(0) == 3;
  parts.q = withHeads(c, 0, "q_num_heads");
  parts.k = withHeads(c, 1, "kv_num_heads");
  parts.v = withHeads(c, 2, "kv_num_heads");
  if (c.hasFailed()) {
    return failure();
  }
  queries = c.shapeOf(parts.q)[1];
  newKeys = c.shapeOf(parts.k)[1];
  if (failed(readCaches()) || failed(readMasks())) {
    return failure();
  }
  parts.scale = c.floatAttr("scale");
  parts.softcap = c.floatAttr("softcap", 0);
  if (parts.softcap < 0) {
    return c.error("E0304", llvm::formatv("softcap is {0}, must not be negative", parts.softcap).str(),
                   "softcap");
  }
  if (c.isUsed(3)) {
    int64_t mode = c.intAttr("qk_matmul_output_mode", 0);
    if (mode < 0 || mode > 3) {
      return c.error("E0304", llvm::formatv("qk_matmul_output_mode is {0}, must be from 0 to 3", mode).str(),
                     "qk_matmul_output_mode");
    }
    (void)c.set(3, buildLogits(c, parts, LogitStage(mode)));
  }
  Value result = onnx::buildAttention(c, parts);
  return c.set(is3D ? joinHeads(c, result) : swapHeads(c, result));
}

//===----------------------------------------------------------------------===//
// RotaryEmbedding
//===----------------------------------------------------------------------===//

static LogicalResult legalizeRotary(LegalizeContext &c) {
  bool is4D = c.rank(0) == 4;
  if (!is4D && (c.rank(0) != 3 || !c.hasAttr("num_heads"))) {
    return c.error(
        "E0303",
        llvm::formatv("the operand has {0} dimensions; it must have 4, or 3 and num_heads", c.rank(0)).str(),
        "num_heads");
  }
  Value x =
      is4D ? swapHeads(c, c.operand(0)) : splitHeads(c, c.operand(0), c.intAttr("num_heads", 0), "num_heads");
  Value cos = c.operand(1), sin = c.operand(2);
  int64_t cacheRank = c.has(3) ? 2 : 3;
  if (c.hasFailed()) {
    return failure();
  }
  if (nn::getRank(cos) != cacheRank || nn::getRank(sin) != cacheRank) {
    return c.error("E0307",
                   llvm::formatv("cos_cache and sin_cache have {0} and {1} dimensions, must have {2}",
                                 nn::getRank(cos), nn::getRank(sin), cacheRank)
                       .str());
  }
  if (c.has(3)) {
    cos = nn::buildGather(c.b, c.loc, cos, c.operand(3), 0);
    sin = nn::buildGather(c.b, c.loc, sin, c.operand(3), 0);
    if (nn::getRank(cos) != 3) {
      return c.error("E0307", llvm::formatv("position_ids has {0} dimensions, must have 2", c.rank(3)).str());
    }
  }
  Value result =
      rotateFeatures(c, x, cos, sin, c.intAttr("rotary_embedding_dim", 0), c.intAttr("interleaved", 0) != 0);
  if (!result) {
    return failure();
  }
  return c.set(is4D ? swapHeads(c, result) : joinHeads(c, result));
}

void lathe::onnx::registerAttention(LegalizerRegistry &registry) {
  registry.add("Attention", 3, 7, [](LegalizeContext &c) { return Attention(c).legalize(); });
  registry.add("RotaryEmbedding", 3, 4, legalizeRotary);
}
