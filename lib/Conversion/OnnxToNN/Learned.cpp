// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Learned.h"
#include "Strings.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/DialectResourceBlobManager.h"
#include "llvm/ADT/StringSwitch.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::BinaryKind;
using nn::CompareKind;
using nn::UnaryKind;

std::optional<ScoreTransform> lathe::onnx::getScoreTransform(LegalizeContext &c) {
  StringRef name = c.stringAttr("post_transform").value_or("NONE");
  auto transform = llvm::StringSwitch<std::optional<ScoreTransform>>(name)
                       .Case("NONE", ScoreTransform::None)
                       .Case("LOGISTIC", ScoreTransform::Logistic)
                       .Case("SOFTMAX", ScoreTransform::Softmax)
                       .Case("SOFTMAX_ZERO", ScoreTransform::SoftmaxZero)
                       .Case("PROBIT", ScoreTransform::Probit)
                       .Default(std::nullopt);
  if (!transform) {
    (void)c.error("E0304",
                  "post_transform is \"" + name +
                      "\", must be NONE, SOFTMAX, LOGISTIC, SOFTMAX_ZERO or PROBIT",
                  "post_transform");
  }
  return transform;
}

/// Softmax of what is not zero; zeros stay.
static Value softmaxOfNonZeros(LegalizeContext &c, Value scores) {
  // What is closer to zero counts as zero, and is scaled like the others.
  constexpr double kNearZero = 1e-7;
  Value largest = c.reduce(nn::ReduceKind::Max, scores, {1}, /*keepDims=*/true);
  Value powers = c.unary(UnaryKind::Exp, c.binary(BinaryKind::Sub, scores, largest));
  Value isNonZero =
      c.compare(CompareKind::Greater, c.unary(UnaryKind::Abs, scores), c.scalar(kNearZero, scores));
  Value sum = c.reduce(nn::ReduceKind::Sum, c.select(isNonZero, powers, c.scalar(0, scores)), {1}, true);
  Value scaledZeros = c.mul(scores, c.unary(UnaryKind::Exp, c.unary(UnaryKind::Neg, largest)));
  return c.binary(BinaryKind::Div, c.select(isNonZero, powers, scaledZeros), sum);
}

/// The inverse of the normal distribution, by Winitzki's approximation of the inverse error function, which
/// is what models are tested with.
static Value probit(LegalizeContext &c, Value p) {
  constexpr double kA = 0.147, kPi = 3.14159;
  Value x = c.binary(BinaryKind::Sub, c.mul(p, c.scalar(2, p)), c.scalar(1, p));
  Value one = c.scalar(1, p);
  Value log = c.unary(UnaryKind::Log, c.mul(c.binary(BinaryKind::Sub, one, x), c.add(x, one)));
  Value v = c.add(c.mul(log, c.scalar(0.5, p)), c.scalar(2 / (kPi * kA), p));
  Value root =
      c.unary(UnaryKind::Sqrt, c.binary(BinaryKind::Sub, c.mul(v, v), c.mul(log, c.scalar(1 / kA, p))));
  Value magnitude = c.unary(UnaryKind::Sqrt, c.binary(BinaryKind::Sub, root, v));
  Value isNegative = c.compare(CompareKind::Less, x, c.scalar(0, p));
  Value inverse = c.select(isNegative, c.unary(UnaryKind::Neg, magnitude), magnitude);
  return c.mul(inverse, c.scalar(1.41421356, p));
}

Value lathe::onnx::transformScores(LegalizeContext &c, ScoreTransform transform, Value scores) {
  switch (transform) {
  case ScoreTransform::None:
    return scores;
  case ScoreTransform::Logistic:
    return c.unary(UnaryKind::Sigmoid, scores);
  case ScoreTransform::Softmax:
    return nn::buildSoftmax(c.b, c.loc, scores, /*axis=*/1);
  case ScoreTransform::SoftmaxZero:
    return softmaxOfNonZeros(c, scores);
  case ScoreTransform::Probit:
    return probit(c, scores);
  }
  return scores;
}

Value lathe::onnx::transformBinaryScore(LegalizeContext &c, ScoreTransform transform, Value score,
                                        bool isProbability) {
  if (transform == ScoreTransform::Probit) {
    (void)c.unsupported("post_transform is PROBIT, but there is one score for two classes");
    return score;
  }
  Value negative = c.unary(UnaryKind::Neg, score);
  Value columns[] = {negative, score};
  if (transform == ScoreTransform::Logistic) {
    columns[0] = c.unary(UnaryKind::Sigmoid, negative);
    columns[1] = c.unary(UnaryKind::Sigmoid, score);
  } else if (isProbability) {
    columns[0] = c.add(negative, c.scalar(1, score));
  }
  return nn::buildConcat(c.b, c.loc, columns, /*axis=*/1);
}

Value lathe::onnx::getFeatureRows(LegalizeContext &c, bool keepDouble) {
  Value x = c.operand(0);
  if (nn::getRank(x) == 1) {
    x = c.reshape(x, {c.one(), c.shapeOf(x)[0]});
  }
  if (nn::getRank(x) != 2) {
    (void)c.error("E0307", llvm::formatv("X has {0} dimensions, must have 1 or 2", nn::getRank(x)).str());
    x = nn::buildReshape(c.b, c.loc, c.scalar(0, x), {c.one(), c.one()});
  }
  bool isDouble = nn::getElementType(x).isF64();
  return isDouble && keepDouble ? x : c.cast(x, c.b.getF32Type());
}

Value lathe::onnx::buildTable(LegalizeContext &c, ArrayRef<float> numbers, ArrayRef<int64_t> shape,
                              Type elementType) {
  auto type = RankedTensorType::get(shape, c.b.getF32Type());
  Value table = arith::ConstantOp::create(c.b, c.loc, DenseElementsAttr::get(type, numbers));
  return c.cast(table, elementType);
}

Value lathe::onnx::buildTable(LegalizeContext &c, ArrayRef<int64_t> numbers, Type elementType) {
  auto type = RankedTensorType::get({int64_t(numbers.size())}, c.b.getI64Type());
  Value table = arith::ConstantOp::create(c.b, c.loc, DenseElementsAttr::get(type, numbers));
  return c.cast(table, elementType);
}

DenseElementsAttr lathe::onnx::toDense(ElementsAttr attribute) {
  auto dense = dyn_cast<DenseElementsAttr>(attribute);
  auto resource = dyn_cast<DenseResourceElementsAttr>(attribute);
  AsmResourceBlob *blob = resource ? resource.getRawHandle().getBlob() : nullptr;
  bool isSplat = false;
  if (blob && DenseElementsAttr::isValidRawBuffer(resource.getType(), blob->getData(), isSplat)) {
    dense = DenseElementsAttr::getFromRawBuffer(resource.getType(), blob->getData());
  }
  return dense && dense.getElementType().isIntOrFloat() ? dense : DenseElementsAttr();
}

std::optional<ClassLabels> lathe::onnx::getClassLabels(LegalizeContext &c, StringRef integers) {
  ClassLabels labels{c.intsAttr(integers).value_or(SmallVector<int64_t>()),
                     c.stringsAttr("classlabels_strings").value_or(std::vector<std::string>())};
  if (labels.integers.empty() == labels.words.empty()) {
    (void)c.error("E0303", "either classlabels_strings or " + integers + " must be there", integers);
    return std::nullopt;
  }
  return labels;
}

LogicalResult lathe::onnx::setLabels(LegalizeContext &c, const ClassLabels &labels, Value classes) {
  SmallVector<int64_t> numbers = labels.words.empty() ? labels.integers : numberTexts(c, labels.words);
  bool areCounted = llvm::all_of(llvm::enumerate(numbers),
                                 [](auto label) { return label.value() == int64_t(label.index()); });
  Value result =
      areCounted ? classes
                 : nn::buildGather(c.b, c.loc, buildTable(c, ArrayRef<int64_t>(numbers), c.b.getI64Type()),
                                   classes, /*axis=*/0);
  return labels.words.empty() ? c.set(0, result) : setStrings(c, 0, result);
}
