// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// com.microsoft MoE: each token goes through the experts that a router rates highest.
///
/// All experts see all tokens, as one batched product each way, and those that were not chosen weigh nothing.
/// That is exact, and fast where experts are few; the work grows with their number.

#include "Products.h"

#include "lathe/Dialect/NN/IR/NNOrder.h"

#include "mlir/Dialect/Arith/Utils/Utils.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::BinaryKind;
using nn::CompareKind;
using nn::ReduceKind;
using nn::UnaryKind;

namespace {
enum Input : unsigned { kTokens, kRatings, kWeights1, kBias1, kWeights2, kBias2, kWeights3, kBias3, kInputs };

/// One MoE while it is legalized.
class MixtureOfExperts {
public:
  explicit MixtureOfExperts(LegalizeContext &c) : c(c) {}
  LogicalResult legalize();

private:
  LogicalResult checkShapes();
  /// How much each token takes of each expert, [tokens, experts].
  Value buildShares();
  /// `x` [1 or experts, tokens, features] through the layer with these operands, [experts, tokens, ...].
  Value buildLayer(Value x, unsigned weights, unsigned bias);
  /// What the first layer (and the third) make of the tokens, activated. Null after an error.
  Value buildInner(Value x);
  /// The two parts of SwiGLU and GEGLU, which one layer computes side by side, or neighbour by neighbour.
  std::pair<Value, Value> split(Value x, bool interleaved);
  Value clip(Value x, bool fromBelow);

  LegalizeContext &c;
  Size experts, tokens;
};
} // namespace

LogicalResult MixtureOfExperts::checkShapes() {
  for (unsigned i : {kWeights1, kWeights2}) {
    if (!c.has(i)) {
      return c.error("E0305", llvm::formatv("input {0} is absent", i).str());
    }
  }
  static constexpr int64_t ranks[] = {3, 2, 3, 2, 3, 2, 3, 2};
  for (unsigned i = 1; i < kInputs; ++i) {
    if (c.has(i) && c.rank(i) != ranks[i]) {
      return c.error(
          "E0307",
          llvm::formatv("input {0} has {1} dimensions, must have {2}", i, c.rank(i), ranks[i]).str());
    }
  }
  if (c.rank(kTokens) != 2 && c.rank(kTokens) != 3) {
    return c.error("E0307",
                   llvm::formatv("the input has {0} dimensions, must have 2 or 3", c.rank(kTokens)).str());
  }
  Sizes dims = c.shapeOf(kTokens), ratings = c.shapeOf(kRatings);
  tokens = c.sizes.product(ArrayRef<Size>(dims).drop_back());
  experts = ratings[1];
  c.require(c.sizes.compare(CompareKind::Equal, ratings[0], tokens),
            "router_probs must have a row for each token");
  for (unsigned i = kWeights1; i < kInputs; ++i) {
    if (c.has(i)) {
      c.require(c.sizes.compare(CompareKind::Equal, c.shapeOf(i)[0], experts),
                "weights and biases must be there for each expert");
    }
  }
  return success(!c.hasFailed());
}

Value MixtureOfExperts::buildShares() {
  int64_t count = c.intAttr("k", 1);
  std::optional<int64_t> known = getConstantIntValue(experts);
  if (count < 1 || (known && count > *known)) {
    (void)c.error("E0304",
                  llvm::formatv("k is {0}, must be from 1 to the number of experts, {1}", count,
                                known ? std::to_string(*known) : "?")
                      .str(),
                  "k");
    return {};
  }
  Value ratings = c.operand(kRatings);
  Type type = nn::getElementType(ratings), i64 = c.b.getI64Type();
  Value k = getValueOrCreateConstantIndexOp(c.b, c.loc, c.b.getIndexAttr(count));
  auto top = nn::createInferred<nn::TopKOp>(c.b, c.loc, ArrayRef<Type>{type, i64}, ratings, k, /*axis=*/1,
                                            /*largest=*/true);
  Value number = nn::buildRange(c.b, c.loc, nn::buildScalar(c.b, c.loc, i64, 0),
                                nn::buildScalar(c.b, c.loc, i64, 1), experts);
  Value chosen = c.reshape(top.getIndices(), {tokens, c.b.getIndexAttr(count), c.one()});
  Value isChosen =
      c.reduce(ReduceKind::Any, c.compare(CompareKind::Equal, chosen, number), {1}, /*keepDims=*/false);
  Value shares = nn::buildSoftmax(c.b, c.loc, ratings, /*axis=*/1);
  shares = c.select(isChosen, shares, c.scalar(0, shares));
  if (c.intAttr("normalize_routing_weights", 0) != 0) {
    shares = c.binary(BinaryKind::Div, shares, c.reduce(ReduceKind::Sum, shares, {1}, /*keepDims=*/true));
  }
  return shares;
}

Value MixtureOfExperts::buildLayer(Value x, unsigned weights, unsigned bias) {
  Value result = matmul(c, x, c.transpose(c.operand(weights), {0, 2, 1}));
  if (c.hasFailed() || !c.has(bias)) {
    return result;
  }
  Size width = c.shapeOf(weights)[1];
  c.require(c.sizes.compare(CompareKind::Equal, c.shapeOf(bias)[1], width),
            "a bias must be there for each feature");
  return c.add(result, c.reshape(c.operand(bias), {experts, c.one(), width}));
}

std::pair<Value, Value> MixtureOfExperts::split(Value x, bool interleaved) {
  Sizes dims = c.shapeOf(x);
  Size two = c.b.getIndexAttr(2), zero = c.b.getIndexAttr(0),
       half = c.sizes.div(dims[2], two, /*floor=*/true);
  c.require(c.sizes.compare(CompareKind::Equal, c.sizes.mul(half, two), dims[2]),
            "the first layer must have an even number of features");
  if (!interleaved) {
    return {c.slice(x, 2, zero, half), c.slice(x, 2, half, half)};
  }
  Value pairs = c.reshape(x, {dims[0], dims[1], half, two});
  Sizes part{dims[0], dims[1], half};
  return {c.reshape(c.slice(pairs, 3, zero, c.one()), part),
          c.reshape(c.slice(pairs, 3, c.one(), c.one()), part)};
}

Value MixtureOfExperts::clip(Value x, bool fromBelow) {
  std::optional<double> limit = c.floatAttr("swiglu_limit");
  if (!limit) {
    return x;
  }
  x = c.binary(BinaryKind::Min, x, c.scalar(*limit, x));
  return fromBelow ? c.binary(BinaryKind::Max, x, c.scalar(-*limit, x)) : x;
}

Value MixtureOfExperts::buildInner(Value x) {
  StringRef name = c.stringAttr("activation_type").value_or("relu");
  int64_t fusion = c.intAttr("swiglu_fusion", 0);
  bool isGated = name == "swiglu" || name == "geglu";
  if (fusion < 0 || fusion > 2 || (isGated && (fusion == 0) != c.has(kWeights3))) {
    (void)c.error(
        "E0304",
        llvm::formatv("swiglu_fusion is {0}, must be 1 or 2, or 0 and the third weights be there", fusion)
            .str(),
        "swiglu_fusion");
    return {};
  }
  Value first = buildLayer(x, kWeights1, kBias1), gated;
  if (c.has(kWeights3)) {
    gated = buildLayer(x, kWeights3, kBias3);
  } else if (isGated) {
    std::tie(first, gated) = split(first, /*interleaved=*/fusion == 1);
  }
  if (c.hasFailed()) {
    return {};
  }
  if (name == "swiglu") {
    first = clip(first, /*fromBelow=*/false);
    gated = clip(gated, /*fromBelow=*/true);
    double alpha = c.floatAttr("activation_alpha", 1), beta = c.floatAttr("activation_beta", 0);
    Value inner = alpha == 1 ? first : c.mul(first, c.scalar(alpha, first));
    first = c.mul(first, c.unary(UnaryKind::Sigmoid, inner));
    gated = beta == 0 ? gated : c.add(gated, c.scalar(beta, gated));
  } else if (name == "geglu" || name == "gelu") {
    first = c.unary(UnaryKind::GeluTanh, first);
  } else if (name == "silu") {
    first = c.unary(UnaryKind::Silu, first);
  } else if (name == "relu" || name == "relu2") {
    first = c.unary(UnaryKind::Relu, first);
    first = name == "relu2" ? c.mul(first, first) : first;
  } else if (name != "identity") {
    (void)c.error("E0304", "activation_type names the unknown function \"" + name + "\"", "activation_type");
    return {};
  }
  return gated ? c.mul(first, gated) : first;
}

LogicalResult MixtureOfExperts::legalize() {
  for (StringRef name : {"use_sparse_mixer", "swiglu_limit_after_activation"}) {
    if (c.intAttr(name, 0) != 0) {
      return c.unsupported(name);
    }
  }
  if (failed(checkShapes())) {
    return failure();
  }
  Value shares = buildShares();
  Sizes dims = c.shapeOf(kTokens);
  Value inner = shares ? buildInner(c.reshape(c.operand(kTokens), {c.one(), tokens, dims.back()})) : Value();
  if (!inner) {
    return failure();
  }
  Value outer = buildLayer(inner, kWeights2, kBias2);
  if (c.hasFailed()) {
    return failure();
  }
  Value weights = c.reshape(c.transpose(shares, {1, 0}), {experts, tokens, c.one()});
  Value result = c.reduce(ReduceKind::Sum, c.mul(outer, c.cast(weights, nn::getElementType(outer))), {0},
                          /*keepDims=*/false);
  return c.set(c.reshape(result, dims));
}

void lathe::onnx::registerExperts(LegalizerRegistry &registry) {
  registry.add(
      "MoE", 2, kInputs, [](LegalizeContext &c) { return MixtureOfExperts(c).legalize(); }, kMicrosoft);
}
