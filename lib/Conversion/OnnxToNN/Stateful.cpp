// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Operators that hand a state from one call to the next, and attention that a subgraph modifies.

#include "AttentionParts.h"
#include "Windows.h"

#include "lathe/Dialect/NN/IR/NNNumeric.h"
#include "lathe/Dialect/Onnx/IR/Onnx.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"

#include <cmath>

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::BinaryKind;
using nn::ReduceKind;
using nn::UnaryKind;

//===----------------------------------------------------------------------===//
// CausalConvWithState
//===----------------------------------------------------------------------===//

/// `x` [N, C, L + window - 1] under the windows of `filter` [C, 1, window], one for each channel.
static Value slideOver(LegalizeContext &c, Value x, Value filter, Size length, Size window) {
  Sizes dims = c.shapeOf(x);
  std::optional<int64_t> channels = getConstantIntValue(dims[1]);
  if (channels && getConstantIntValue(window)) {
    Value result = nn::buildConv(c.b, c.loc, toChannelsLast(c, x), c.transpose(filter, {2, 1, 0}),
                                 /*strides=*/{1}, /*pads=*/{0, 0}, /*dilations=*/{1}, *channels);
    return toChannelsSecond(c, result);
  }
  // A window whose size only the run tells: all of them side by side.
  Type i64 = c.b.getI64Type();
  auto count = [&](Size size) {
    return nn::buildRange(c.b, c.loc, nn::buildScalar(c.b, c.loc, i64, 0),
                          nn::buildScalar(c.b, c.loc, i64, 1), size);
  };
  Value positions = c.add(c.reshape(count(length), {length, c.one()}), count(window));
  Value windows = nn::buildGather(c.b, c.loc, x, positions, /*axis=*/2);
  // Products of narrow types are not rounded before they are added up.
  Type type = nn::getElementType(x), wide = type.isF64() ? type : Type(c.b.getF32Type());
  Value products = c.mul(c.cast(windows, wide), c.cast(c.reshape(filter, {dims[1], c.one(), window}), wide));
  return c.cast(c.reduce(ReduceKind::Sum, products, {3}, /*keepDims=*/false), type);
}

/// A depthwise convolution that sees only what came before, of which the last elements are the state.
static LogicalResult legalizeCausalConv(LegalizeContext &c) {
  StringRef activation = c.stringAttr("activation").value_or("none");
  if (activation != "none" && activation != "silu" && activation != "swish") {
    return c.error("E0304", "activation is \"" + activation + "\", must be \"none\", \"silu\" or \"swish\"",
                   "activation");
  }
  if (c.rank(0) != 3 || c.rank(1) != 3 || (c.has(2) && c.rank(2) != 1) || (c.has(3) && c.rank(3) != 3)) {
    return c.error("E0307", "the input, the weight and the state must have 3 dimensions, the bias 1");
  }
  Value x = c.operand(0), filter = c.operand(1);
  Sizes dims = c.shapeOf(x);
  Size window = c.shapeOf(filter)[2], past = c.sizes.sub(window, c.one());
  c.require(c.sizes.compare(nn::CompareKind::GreaterOrEqual, window, c.one()), "the window has no elements");
  if (c.hasFailed()) {
    return failure();
  }
  Value before = c.has(3) ? c.operand(3) : c.expand(c.scalar(0, x), {dims[0], dims[1], past});
  before = c.reshape(before, {dims[0], dims[1], past});
  if (getConstantIntValue(past) != 0) {
    x = nn::buildConcat(c.b, c.loc, {before, x}, 2);
  }
  if (c.isUsed(1)) {
    (void)c.set(1, c.slice(x, 2, dims[2], past));
  }
  Value result = slideOver(c, x, c.reshape(filter, {dims[1], c.one(), window}), dims[2], window);
  if (c.has(2)) {
    result = c.add(result, c.reshape(c.operand(2), {dims[1], c.one()}));
  }
  return c.set(activation == "none" ? result : c.unary(UnaryKind::Silu, result));
}

//===----------------------------------------------------------------------===//
// LinearAttention
//===----------------------------------------------------------------------===//

/// Computed in f32, whatever the types of the operands and of the state.
static LogicalResult legalizeLinearAttention(LegalizeContext &c) {
  StringRef rule = c.stringAttr("update_rule").value_or("gated_delta");
  if (!llvm::is_contained({"linear", "gated", "delta", "gated_delta"}, rule)) {
    return c.error("E0304",
                   "update_rule is \"" + rule +
                       "\", must be \"linear\", \"gated\", \"delta\" or \"gated_delta\"",
                   "update_rule");
  }
  bool decays = rule.starts_with("gated"), corrects = rule.ends_with("delta");
  if (c.has(4) != decays || c.has(5) != corrects) {
    return c.error("E0305", llvm::formatv("with update_rule \"{0}\" decay must be {1} and beta {2}", rule,
                                          decays ? "there" : "absent", corrects ? "there" : "absent")
                                .str());
  }
  for (unsigned i : {0u, 1u, 2u, 4u, 5u}) {
    if (c.has(i) && c.rank(i) != 3) {
      return c.error("E0307", llvm::formatv("input {0} has {1} dimensions, must have 3", i, c.rank(i)).str());
    }
  }
  int64_t queryHeads = c.intAttr("q_num_heads", 0), heads = c.intAttr("kv_num_heads", 0);
  if (heads < 1 || queryHeads < 1 || queryHeads % heads != 0) {
    return c.error(
        "E0304",
        llvm::formatv("q_num_heads is {0}, must be a multiple of kv_num_heads, {1}", queryHeads, heads).str(),
        "q_num_heads");
  }
  Type f32 = c.b.getF32Type(), type = c.elementType(0);
  Value q = splitHeads(c, c.cast(c.operand(0), f32), queryHeads, "q_num_heads");
  Value k = splitHeads(c, c.cast(c.operand(1), f32), heads, "kv_num_heads");
  Value v = splitHeads(c, c.cast(c.operand(2), f32), heads, "kv_num_heads");
  Value decay = decays ? splitHeads(c, c.cast(c.operand(4), f32), heads, "kv_num_heads") : Value();
  if (c.hasFailed()) {
    return failure();
  }
  auto requireSame = [&](Size size, Size other, StringRef what) {
    if (!c.sizes.isSame(size, other)) {
      c.require(c.sizes.compare(nn::CompareKind::Equal, size, other), what + " must be those of the query");
    }
  };
  auto requireOneOr = [&](Size size, Size other, StringRef what) {
    if (!c.sizes.isSame(size, other) && getConstantIntValue(size) != 1) {
      Size isOne = c.sizes.compare(nn::CompareKind::Equal, size, c.one());
      c.require(c.sizes.max(isOne, c.sizes.compare(nn::CompareKind::Equal, size, other)), what);
    }
  };
  Sizes dims = c.shapeOf(q), keys = c.shapeOf(k), values = c.shapeOf(v);
  requireSame(keys[3], dims[3], "the features of the key");
  for (Value operand : {k, v, decay, c.operandOrNull(5)}) {
    if (operand) {
      requireSame(c.shapeOf(operand)[0], dims[0], "batches");
      requireSame(c.shapeOf(operand)[1], dims[1], "steps");
    }
  }
  if (decays) {
    requireOneOr(c.shapeOf(decay)[3], dims[3],
                 "decay must be one for each head, or for each of its features");
  }
  Value beta = corrects ? c.cast(c.operand(5), f32) : Value(), state;
  if (corrects) {
    requireOneOr(c.shapeOf(beta)[2], c.b.getIndexAttr(heads),
                 "beta must be one for each head, or one for all");
  }
  if (c.has(3)) {
    if (c.rank(3) != 4) {
      return c.error("E0307", llvm::formatv("the state has {0} dimensions, must have 4", c.rank(3)).str());
    }
    Sizes wanted{dims[0], c.b.getIndexAttr(heads), dims[3], values[3]};
    for (auto [size, other] : llvm::zip_equal(c.shapeOf(3), wanted)) {
      requireSame(size, other, "the sizes of the state");
    }
    state = c.cast(c.operand(3), f32);
  }
  double scale = c.floatAttr("scale", 0);
  auto op =
      nn::createInferred<nn::LinearAttentionOp>(c.b, c.loc, ArrayRef<Type>{f32, f32}, q, k, v, state, decay,
                                                beta, scale == 0 ? FloatAttr() : c.b.getF32FloatAttr(scale));
  (void)c.set(1, c.cast(op.getLast(), c.has(3) ? c.elementType(3) : type));
  return c.set(c.cast(joinHeads(c, op.getResult()), type));
}

//===----------------------------------------------------------------------===//
// FlexAttention
//===----------------------------------------------------------------------===//

/// What the subgraph of attribute `name` makes of `x`; `x` itself if there is none. Null after an error.
static Value modify(LegalizeContext &c, StringRef name, Value x) {
  Region *body = cast<NodeOp>(c.node.op).getSubgraph(name);
  if (!body) {
    return x;
  }
  LegalValue argument;
  argument.tensor = x;
  FailureOr<SmallVector<LegalValue>> results = c.bodies->convert(*body, argument);
  if (failed(results)) {
    return Value();
  }
  if (results->size() != 1) {
    (void)c.error("E0305", name + " must have one output", name);
    return Value();
  }
  return c.cast(c.asTensor(results->front()), nn::getElementType(x));
}

/// Attention whose logits and probabilities, [batch, heads, queries, keys], subgraphs modify. The query heads
/// of one key head are rows of one product.
static LogicalResult legalizeFlexAttention(LegalizeContext &c) {
  for (unsigned i = 0; i < 3; ++i) {
    if (c.rank(i) != 4) {
      return c.error("E0307", llvm::formatv("input {0} has {1} dimensions, must have 4", i, c.rank(i)).str());
    }
  }
  Value q = c.operand(0), k = c.operand(1), v = c.operand(2);
  Type type = nn::getElementType(q), outputType = nn::getElementType(v);
  Type wide = type.isF64() ? type : Type(c.b.getF32Type());
  Type precise = c.typeAttr("softmax_precision", wide);
  if (!precise) {
    return failure();
  }
  Sizes queries = c.shapeOf(q), keys = c.shapeOf(k), values = c.shapeOf(v);
  c.require(c.sizes.compare(nn::CompareKind::Equal,
                            c.sizes.mod(queries[1], c.sizes.max(keys[1], c.one()), /*floor=*/true),
                            c.b.getIndexAttr(0)),
            "the number of query heads must be a multiple of that of key heads");
  Size group = c.sizes.div(queries[1], c.sizes.max(keys[1], c.one()), /*floor=*/true);
  if (c.hasFailed()) {
    return failure();
  }
  // The root of the scale on both sides, in their type.
  Value root;
  if (std::optional<double> scale = c.floatAttr("scale")) {
    root = c.scalar(std::sqrt(float(*scale)), q);
  } else {
    Value features = nn::buildFromScalars(c.b, c.loc, {queries[3]}, c.b.getI64Type(), /*scalar=*/true);
    Value size = c.cast(features, c.b.getF32Type());
    root = c.cast(c.unary(UnaryKind::Rsqrt, c.unary(UnaryKind::Sqrt, size)), type);
  }
  Sizes rows{queries[0], keys[1], c.sizes.mul(group, queries[2]), queries[3]}, split(queries);
  split[3] = keys[2];
  Value logits =
      nn::buildMatMul(c.b, c.loc, c.reshape(c.mul(q, root), rows), c.transpose(c.mul(k, root), {0, 1, 3, 2}));
  logits = modify(c, "score_mod", c.cast(c.reshape(logits, split), precise));
  if (!logits) {
    return failure();
  }
  Value probabilities = modify(c, "prob_mod", nn::buildSoftmax(c.b, c.loc, logits, /*axis=*/-1));
  if (!probabilities) {
    return failure();
  }
  rows[3] = keys[2];
  Value result = nn::buildMatMul(c.b, c.loc, c.reshape(probabilities, rows), c.cast(v, precise));
  split[3] = values[3];
  return c.set(c.cast(c.reshape(result, split), outputType));
}

//===----------------------------------------------------------------------===//
// com.microsoft
//===----------------------------------------------------------------------===//

/// An operator of com.microsoft without what its standard twin lacks: attributes that have these values.
static LegalizeFn asTwin(std::vector<std::pair<StringLiteral, int64_t>> values, LegalizeFn legalize) {
  return [values = std::move(values), legalize = std::move(legalize)](LegalizeContext &c) -> LogicalResult {
    for (auto [name, value] : values) {
      if (int64_t own = c.intAttr(name, value); own != value) {
        return c.unsupported(llvm::formatv("{0} = {1}", name, own).str());
      }
    }
    return legalize(c);
  };
}

void lathe::onnx::registerStateful(LegalizerRegistry &registry) {
  registry.add("CausalConvWithState", 2, 4,
               asTwin({{"ndim", 1},
                       {"dilation", 1},
                       {"channels_last", 0},
                       {"state_window", 0},
                       {"state_length", 0},
                       {"state_channels_last", -1},
                       {"state_update_capacity", 0},
                       {"input_channels", 0},
                       {"input_channel_offset", 0}},
                      legalizeCausalConv),
               kMicrosoft);
  registry.add("LinearAttention", 3, 6, asTwin({{"state_window", 0}}, legalizeLinearAttention), kMicrosoft);
  registry.add("CausalConvWithState", 2, 4, legalizeCausalConv);
  registry.add("LinearAttention", 3, 6, legalizeLinearAttention);
  registry.add("FlexAttention", 3, 3, legalizeFlexAttention, kPreview);
}
