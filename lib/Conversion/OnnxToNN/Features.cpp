// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Operators of ai.onnx.ml that prepare features.

#include "Learned.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include <cmath>

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::BinaryKind;
using nn::CompareKind;
using nn::UnaryKind;

/// One number, or one for each feature, for the last dimension of `x`.
static Value getPerFeature(LegalizeContext &c, StringRef name, Value x, ArrayRef<float> numbers) {
  Sizes dims = c.shapeOf(x);
  std::optional<int64_t> features =
      dims.empty() ? std::optional<int64_t>() : getConstantIntValue(dims.back());
  int64_t count = numbers.size();
  if (count == 0 || (count != 1 && (dims.empty() || features.value_or(count) != count))) {
    (void)c.error("E0304",
                  llvm::formatv("{0} has {1} numbers, must have 1 or one for each of {2} features", name,
                                count, features ? std::to_string(*features) : "the")
                      .str(),
                  name);
  }
  return buildTable(c, numbers, {count}, nn::getElementType(x));
}

static LogicalResult legalizeScaler(LegalizeContext &c) {
  Value x = c.operand(0);
  if (!nn::getElementType(x).isF64()) {
    x = c.cast(x, c.b.getF32Type());
  }
  if (std::optional<ArrayRef<float>> offset = c.floatsAttr("offset")) {
    x = c.binary(BinaryKind::Sub, x, getPerFeature(c, "offset", x, *offset));
  }
  if (std::optional<ArrayRef<float>> scale = c.floatsAttr("scale")) {
    x = c.mul(x, getPerFeature(c, "scale", x, *scale));
  }
  return c.set(c.cast(x, c.b.getF32Type()));
}

/// Rows divided by their norm; rows whose norm is 0 stay.
static LogicalResult legalizeNormalizer(LegalizeContext &c) {
  StringRef norm = c.stringAttr("norm").value_or("MAX");
  Value x = c.cast(c.operand(0), c.b.getF32Type());
  int64_t axis = nn::getRank(x) - 1;
  if (axis < 0) {
    return c.error("E0307", "X has no dimensions, must have at least 1");
  }
  Value size;
  if (norm == "MAX") {
    size = c.reduce(nn::ReduceKind::Max, x, {axis}, /*keepDims=*/true);
  } else if (norm == "L1") {
    size = c.reduce(nn::ReduceKind::Sum, c.unary(UnaryKind::Abs, x), {axis}, /*keepDims=*/true);
  } else if (norm == "L2") {
    size = c.unary(UnaryKind::Sqrt, c.reduce(nn::ReduceKind::SumSquare, x, {axis}, /*keepDims=*/true));
  } else {
    return c.error("E0304", "norm is \"" + norm + "\", must be MAX, L1 or L2", "norm");
  }
  Value isZero = c.compare(CompareKind::Equal, size, c.scalar(0, size));
  return c.set(c.binary(BinaryKind::Div, x, c.select(isZero, c.scalar(1, size), size)));
}

static LogicalResult legalizeImputer(LegalizeContext &c) {
  Value x = c.operand(0);
  Type element = nn::getElementType(x);
  if (isa<FloatType>(element)) {
    std::optional<ArrayRef<float>> imputed = c.floatsAttr("imputed_value_floats");
    if (!imputed) {
      return c.error("E0303", "imputed_value_floats is missing, but X holds floats", "imputed_value_floats");
    }
    double replaced = c.floatAttr("replaced_value_float", 0);
    Value isMissing = std::isnan(replaced) ? c.unary(UnaryKind::IsNaN, x)
                                           : c.compare(CompareKind::Equal, x, c.scalar(replaced, x));
    return c.set(c.select(isMissing, getPerFeature(c, "imputed_value_floats", x, *imputed), x));
  }
  std::optional<SmallVector<int64_t>> imputed = c.intsAttr("imputed_value_int64s");
  if (!imputed) {
    return c.error("E0303", "imputed_value_int64s is missing, but X holds integers", "imputed_value_int64s");
  }
  Sizes dims = c.shapeOf(x);
  std::optional<int64_t> features =
      dims.empty() ? std::optional<int64_t>() : getConstantIntValue(dims.back());
  int64_t count = imputed->size();
  if (count == 0 || (count != 1 && (dims.empty() || features.value_or(count) != count))) {
    return c.error(
        "E0304",
        llvm::formatv("imputed_value_int64s has {0} numbers, must have 1 or one for each feature", count)
            .str(),
        "imputed_value_int64s");
  }
  Value replaced =
      c.reshape(buildTable(c, ArrayRef<int64_t>{c.intAttr("replaced_value_int64", 0)}, element), {});
  return c.set(c.select(c.compare(CompareKind::Equal, x, replaced),
                        buildTable(c, ArrayRef<int64_t>(*imputed), element), x));
}

static LogicalResult legalizeBinarizer(LegalizeContext &c) {
  Value x = c.operand(0);
  Type element = nn::getElementType(x);
  Value isAbove;
  if (isa<FloatType>(element)) {
    isAbove = c.compare(CompareKind::Greater, x, c.scalar(c.floatAttr("threshold", 0), x));
  } else {
    Value wide = c.cast(x, c.b.getF64Type());
    isAbove = c.compare(CompareKind::Greater, wide, c.scalar(c.floatAttr("threshold", 0), wide));
  }
  return c.set(c.cast(isAbove, element));
}

/// Columns chosen by position; of a list, one row is made.
static LogicalResult legalizeArrayFeatureExtractor(LegalizeContext &c) {
  Value x = c.operand(0), indices = c.operand(1);
  int64_t rank = nn::getRank(x);
  if (rank == 0) {
    return c.error("E0307", "X has no dimensions, must have at least 1");
  }
  Size count = c.sizes.product(c.shapeOf(indices));
  Value chosen = nn::buildGather(c.b, c.loc, x, c.reshape(indices, {count}), rank - 1);
  return c.set(rank == 1 ? c.reshape(chosen, {c.one(), count}) : chosen);
}

/// All inputs as columns beside each other.
static LogicalResult legalizeFeatureVectorizer(LegalizeContext &c) {
  std::optional<SmallVector<int64_t>> sizes = c.intsAttr("inputdimensions");
  if (!sizes || sizes->size() != c.numInputs()) {
    return c.error("E0304",
                   llvm::formatv("inputdimensions has {0} sizes, but there are {1} inputs",
                                 sizes ? sizes->size() : 0, c.numInputs())
                       .str(),
                   "inputdimensions");
  }
  SmallVector<Value> parts;
  for (auto [i, size] : llvm::enumerate(*sizes)) {
    if (!c.has(i)) {
      return c.error("E0305", llvm::formatv("input {0} is absent", i).str());
    }
    Value part = c.cast(c.operand(i), c.b.getF32Type());
    Sizes dims = c.shapeOf(part);
    if (dims.empty() || dims.size() > 2) {
      return c.error("E0307",
                     llvm::formatv("input {0} has {1} dimensions, must have 1 or 2", i, dims.size()).str());
    }
    if (dims.size() == 1) {
      part = c.reshape(part, {c.one(), dims[0]});
    }
    std::optional<int64_t> own = getConstantIntValue(dims.back());
    if (size < 0 || (own && size > *own)) {
      return c.error("E0304",
                     llvm::formatv("inputdimensions[{0}] is {1}, but the input has {2} features", i, size,
                                   own ? std::to_string(*own) : "?")
                         .str(),
                     "inputdimensions");
    }
    if (!own) {
      c.require(c.sizes.compare(CompareKind::LessOrEqual, c.b.getIndexAttr(size), dims.back()),
                "an input has fewer features than inputdimensions says");
    }
    parts.push_back(own == size ? part : c.slice(part, 1, c.b.getIndexAttr(0), c.b.getIndexAttr(size)));
  }
  return c.set(nn::buildConcat(c.b, c.loc, parts, /*axis=*/1));
}

void lathe::onnx::registerFeatures(LegalizerRegistry &registry) {
  registry.add("Scaler", 1, 1, legalizeScaler, kMachineLearning);
  registry.add("Normalizer", 1, 1, legalizeNormalizer, kMachineLearning);
  registry.add("Imputer", 1, 1, legalizeImputer, kMachineLearning);
  registry.add("Binarizer", 1, 1, legalizeBinarizer, kMachineLearning);
  registry.add("ArrayFeatureExtractor", 2, 2, legalizeArrayFeatureExtractor, kMachineLearning);
  registry.moveStrings({"ArrayFeatureExtractor"}, kMachineLearning);
  registry.add("FeatureVectorizer", 1, LegalizerRegistry::kAny, legalizeFeatureVectorizer, kMachineLearning);
}
