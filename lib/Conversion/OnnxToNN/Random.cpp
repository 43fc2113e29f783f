// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Random numbers. They are the same in every run: those of a node without a seed follow from the name of its
/// result, so that two nodes draw different ones.

#include "Windows.h"

#include "lathe/Dialect/NN/IR/NNNumeric.h"
#include "lathe/Dialect/NN/IR/NNOrder.h"
#include "lathe/Dialect/Onnx/IR/Onnx.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "llvm/ADT/bit.h"
#include "llvm/Support/xxhash.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::BinaryKind;
using nn::CompareKind;
using nn::ReduceKind;

static int64_t getSeed(LegalizeContext &c) {
  if (c.node.opType == "Dropout" && c.hasAttr("seed")) {
    return c.intAttr("seed", 0);
  }
  if (std::optional<double> seed = c.floatAttr("seed")) {
    return int64_t(llvm::bit_cast<uint32_t>(float(*seed)));
  }
  return int64_t(llvm::xxh3_64bits(cast<NodeOp>(c.node.op).getOutputName(0)));
}

/// Random numbers of shape `dims`, in the type that numbers of type `type` are computed in.
static Value buildRandom(LegalizeContext &c, bool normal, ArrayRef<Size> dims, Type type) {
  MixedSizes sizes(dims);
  Type wide = type.isF64() ? type : Type(c.b.getF32Type());
  return nn::createInferred<nn::RandomOp>(c.b, c.loc, wide, uint64_t(getSeed(c)), normal, sizes.values,
                                          sizes.numbers);
}

/// `random * scale + offset`
static LogicalResult setScaled(LegalizeContext &c, bool normal, ArrayRef<Size> dims, Type type, double scale,
                               double offset) {
  if (!isa<FloatType>(type)) {
    return c.error("E0304", llvm::formatv("dtype is {0}, must be a float", type).str(), "dtype");
  }
  Value random = buildRandom(c, normal, dims, type);
  random = scale == 1 ? random : c.mul(random, c.scalar(scale, random));
  random = offset == 0 ? random : c.add(random, c.scalar(offset, random));
  return c.set(c.cast(random, type));
}

/// RandomNormal and RandomUniform of `dims`.
static LogicalResult legalizeRandom(LegalizeContext &c, bool normal, ArrayRef<Size> dims, Type fallback) {
  Type type = c.typeAttr("dtype", fallback);
  if (!type) {
    return failure();
  }
  if (normal) {
    return setScaled(c, normal, dims, type, c.floatAttr("scale", 1), c.floatAttr("mean", 0));
  }
  double low = c.floatAttr("low", 0), high = c.floatAttr("high", 1);
  return setScaled(c, normal, dims, type, high - low, low);
}

static LogicalResult legalizeRandomOfShape(LegalizeContext &c, bool normal) {
  Sizes dims;
  for (int64_t size : c.intsAttr("shape").value_or(SmallVector<int64_t>())) {
    dims.push_back(c.checkedSize(c.b.getIndexAttr(size)));
  }
  return c.hasFailed() ? failure() : legalizeRandom(c, normal, dims, c.b.getF32Type());
}

static LogicalResult legalizeRandomLike(LegalizeContext &c, bool normal) {
  return legalizeRandom(c, normal, c.shapeOf(0), c.elementType(0));
}

/// Bernoulli: 1 with the probability that the operand tells.
static LogicalResult legalizeBernoulli(LegalizeContext &c) {
  Type type = c.typeAttr("dtype", c.elementType(0));
  if (!type) {
    return failure();
  }
  Value x = c.operand(0);
  Value random = buildRandom(c, /*normal=*/false, c.shapeOf(0), nn::getElementType(x));
  return c.set(c.cast(c.compare(CompareKind::Less, random, c.cast(x, nn::getElementType(random))), type));
}

/// Multinomial: the first class up to which the probabilities add up to more than a random number.
static LogicalResult legalizeMultinomial(LegalizeContext &c) {
  Type type = c.typeAttr("dtype", c.b.getI32Type());
  if (!type) {
    return failure();
  }
  int64_t samples = c.intAttr("sample_size", 1);
  Sizes dims = c.shapeOf(0);
  if (dims.size() != 2 || samples < 0) {
    return c.error(
        "E0307",
        llvm::formatv("there are {0} samples of {1} dimensions, must be of 2", samples, dims.size()).str());
  }
  Value x = c.operand(0);
  x = nn::getElementType(x).isF64() ? x : c.cast(x, c.b.getF32Type());
  Value sums = nn::createInferred<nn::CumulateOp>(c.b, c.loc, nn::getElementType(x), nn::CumulateKind::Sum,
                                                  nn::buildSoftmax(c.b, c.loc, x, /*axis=*/1), Value(),
                                                  c.b.getI64IntegerAttr(1), /*exclusive=*/false,
                                                  /*reverse=*/false);
  // The last sum may be rounded below the largest random number.
  Value bounds =
      c.slice(sums, 1, c.b.getIndexAttr(0), c.sizes.max(c.sizes.sub(dims[1], c.one()), c.b.getIndexAttr(0)));
  Sizes bounded = c.shapeOf(bounds);
  Value random =
      buildRandom(c, /*normal=*/false, {dims[0], c.b.getIndexAttr(samples), c.one()}, nn::getElementType(x));
  Value isBefore =
      c.compare(CompareKind::LessOrEqual, c.reshape(bounds, {dims[0], c.one(), bounded[1]}), random);
  return c.set(
      c.cast(c.reduce(ReduceKind::Sum, c.cast(isBefore, c.b.getI64Type()), {2}, /*keepDims=*/false), type));
}

/// Operand `i` of Dropout, which must be one number, as a tensor of rank 0.
static Value oneNumber(LegalizeContext &c, unsigned i, StringRef name) {
  Size count = c.sizes.product(c.shapeOf(i));
  if (nn::areDifferentSizes(count, c.one())) {
    (void)c.error(
        "E0307", llvm::formatv("{0} has {1} elements, must have 1", name, *getConstantIntValue(count)).str());
    return nn::buildScalar(c.b, c.loc, c.elementType(i), 0);
  }
  return c.reshape(c.operand(i), {});
}

/// Dropout does nothing in inference; its mask keeps everything. In training it leaves elements out at
/// random, and what is left grows accordingly.
static LogicalResult legalizeDropout(LegalizeContext &c) {
  const Scalars *known = c.has(2) ? c.scalars(2) : nullptr;
  bool isInference = !c.has(2) || (known && known->elements.size() == 1 &&
                                   getConstantIntValue(known->elements.front()) == 0);
  if (isInference) {
    if (c.isUsed(1)) {
      (void)c.set(1, c.expand(nn::buildScalar(c.b, c.loc, c.b.getI1Type(), 1), c.shapeOf(0)));
    }
    return c.forward(0);
  }
  Value x = c.operand(0), isTraining = oneNumber(c, 2, "training_mode");
  Type type = nn::getElementType(x), wide = type.isF64() ? type : Type(c.b.getF32Type());
  Value ratio = c.has(1) ? c.cast(oneNumber(c, 1, "ratio"), wide) : nn::buildScalar(c.b, c.loc, wide, 0.5);
  Value one = nn::buildScalar(c.b, c.loc, wide, 1);
  Value isKept =
      c.compare(CompareKind::GreaterOrEqual, buildRandom(c, /*normal=*/false, c.shapeOf(0), type), ratio);
  Value mask = c.select(isTraining, isKept, nn::buildScalar(c.b, c.loc, c.b.getI1Type(), 1));
  Value factor = c.binary(BinaryKind::Div, one, c.binary(BinaryKind::Sub, one, ratio));
  Value scaled = c.mul(c.cast(x, wide), c.select(isTraining, factor, one));
  (void)c.set(1, mask);
  return c.set(c.cast(c.select(mask, scaled, c.scalar(0, scaled)), type));
}

void lathe::onnx::registerRandom(LegalizerRegistry &registry) {
  for (bool normal : {false, true}) {
    registry.add(normal ? "RandomNormal" : "RandomUniform", 0, 0,
                 [normal](LegalizeContext &c) { return legalizeRandomOfShape(c, normal); });
    registry.add(normal ? "RandomNormalLike" : "RandomUniformLike", 1, 1,
                 [normal](LegalizeContext &c) { return legalizeRandomLike(c, normal); });
  }
  registry.add("Bernoulli", 1, 1, legalizeBernoulli);
  registry.add("Dropout", 1, 3, legalizeDropout);
  registry.add("Multinomial", 1, 1, legalizeMultinomial);
}
