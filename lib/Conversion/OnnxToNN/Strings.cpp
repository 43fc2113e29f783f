// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Strings.h"

#include "Learned.h"

#include "lathe/Dialect/NN/IR/NNSelection.h"
#include "lathe/Dialect/NN/IR/NNService.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::CompareKind;

//===----------------------------------------------------------------------===//
// Texts and their numbers
//===----------------------------------------------------------------------===//

int64_t Texts::number(StringRef text) {
  auto [entry, isNew] = numbers.try_emplace(text, texts.size());
  if (isNew) {
    texts.push_back(text.str());
  }
  return entry->second;
}

LegalValue lathe::onnx::bindStrings(OpBuilder &builder, Texts &texts, ConstantOp constant) {
  LegalValue value;
  auto strings = dyn_cast<DenseStringElementsAttr>(constant.getValue());
  if (!strings) {
    return value;
  }
  SmallVector<int64_t> numbers;
  for (StringRef text : strings.getValues<StringRef>()) {
    numbers.push_back(texts.number(text));
  }
  auto type = RankedTensorType::get(strings.getType().getShape(), builder.getI64Type());
  value.tensor =
      arith::ConstantOp::create(builder, constant.getLoc(), DenseElementsAttr::get(type, ArrayRef(numbers)));
  value.isString = true;
  return value;
}

SmallVector<int64_t> lathe::onnx::numberTexts(LegalizeContext &c, ArrayRef<std::string> list) {
  return llvm::map_to_vector(list, [&](const std::string &text) { return c.texts.number(text); });
}

/// `value` with numbers in the place of strings; whether there are any.
static bool dropStrings(LegalValue &value) {
  bool found = std::exchange(value.isString, false);
  if (value.elements) {
    std::vector<LegalValue> elements = *value.elements;
    for (LegalValue &element : elements) {
      found |= dropStrings(element);
    }
    value.elements = std::make_shared<const std::vector<LegalValue>>(std::move(elements));
  }
  return found;
}

StringOperands::StringOperands(SmallVectorImpl<LegalValue *> &operands) {
  for (LegalValue *&operand : operands) {
    auto copy = operand ? std::make_unique<LegalValue>(*operand) : nullptr;
    if (copy && dropStrings(*copy)) {
      operand = copy.get();
      numbers.push_back(std::move(copy));
    }
  }
}

void lathe::onnx::makeStrings(LegalizeContext &c, LegalValue &value) {
  if (value.elements) {
    std::vector<LegalValue> elements = *value.elements;
    for (LegalValue &element : elements) {
      makeStrings(c, element);
    }
    value.elements = std::make_shared<const std::vector<LegalValue>>(std::move(elements));
    return;
  }
  value.tensor = value.shapes ? value.tensor : c.asTensor(value);
  value.scalars.reset();
  value.isString = true;
}

LogicalResult lathe::onnx::setStrings(LegalizeContext &c, unsigned i, Value numbers) {
  LegalValue value;
  value.tensor = numbers;
  value.isString = true;
  return c.setLegal(i, std::move(value));
}

/// Operand `i`, strings, as numbers; null after an error.
static Value getStrings(LegalizeContext &c, unsigned i) {
  if (!c.legal(i).isString) {
    (void)c.error("E0306", llvm::formatv("input {0} is no tensor of strings", i).str());
    return Value();
  }
  return c.legal(i).tensor;
}

Value lathe::onnx::buildService(LegalizeContext &c, StringRef name, ValueRange inputs, Type element,
                                ArrayRef<Size> dims, StringRef argument) {
  return nn::ServiceOp::create(c.b, c.loc, element, name, inputs, argument, dims);
}

/// A function of each element by itself.
static Value buildEach(LegalizeContext &c, StringRef name, Value x, Type element, StringRef argument = "") {
  return buildService(c, name, x, element, c.shapeOf(x), argument);
}

//===----------------------------------------------------------------------===//
// Operators
//===----------------------------------------------------------------------===//

LogicalResult lathe::onnx::compareStrings(LegalizeContext &c) {
  if (!c.legal(0).isString || !c.legal(1).isString) {
    return c.error("E0306", "one operand holds strings, the other does not");
  }
  return c.set(c.compare(CompareKind::Equal, c.legal(0).tensor, c.legal(1).tensor));
}

Value lathe::onnx::parseStrings(LegalizeContext &c, Value x, Type type) {
  auto integer = dyn_cast<IntegerType>(type);
  if (!integer || type.isInteger(1)) {
    Value numbers = buildEach(c, "text.to_f64", x, c.b.getF64Type());
    return integer ? c.compare(CompareKind::NotEqual, numbers, c.scalar(0, numbers)) : c.cast(numbers, type);
  }
  Type wide = integer.isUnsigned() ? Type(c.b.getIntegerType(64, /*isSigned=*/false)) : c.b.getI64Type();
  return c.cast(buildEach(c, integer.isUnsigned() ? "text.to_u64" : "text.to_i64", x, wide), type);
}

Value lathe::onnx::printNumbers(LegalizeContext &c, Value x) {
  Type element = nn::getElementType(x), strings = c.b.getI64Type();
  if (isa<FloatType>(element)) {
    bool isWide = element.isF64();
    return buildEach(c, isWide ? "text.from_f64" : "text.from_f32", isWide ? x : c.cast(x, c.b.getF32Type()),
                     strings);
  }
  bool isUnsigned = element.isUnsignedInteger();
  Type wide = isUnsigned ? Type(c.b.getIntegerType(64, /*isSigned=*/false)) : c.b.getI64Type();
  return buildEach(c, isUnsigned ? "text.from_u64" : "text.from_i64", c.cast(x, wide), strings);
}

LogicalResult lathe::onnx::castFromStrings(LegalizeContext &c, Type type) {
  return c.set(parseStrings(c, c.legal(0).tensor, type));
}

LogicalResult lathe::onnx::castToStrings(LegalizeContext &c) {
  return c.legal(0).isString ? c.forward(0) : setStrings(c, 0, printNumbers(c, c.operand(0)));
}

static LogicalResult legalizeConcat(LegalizeContext &c) {
  Value lhs = getStrings(c, 0), rhs = getStrings(c, 1);
  if (!lhs || !rhs) {
    return failure();
  }
  Sizes dims = c.broadcast({c.shapeOf(lhs), c.shapeOf(rhs)});
  SmallVector<Value> operands{c.expand(lhs, dims), c.expand(rhs, dims)};
  return setStrings(c, 0, buildService(c, "text.concat", operands, c.b.getI64Type(), dims));
}

static LogicalResult legalizeMatch(LegalizeContext &c) {
  Value x = getStrings(c, 0);
  std::optional<StringRef> pattern = c.stringAttr("pattern");
  if (!x || !pattern) {
    return x ? c.error("E0303", "pattern is missing", "pattern") : failure();
  }
  return c.set(buildEach(c, "text.match", x, c.b.getI1Type(), *pattern));
}

/// The parts of all strings are counted; the largest count is the size of a new last dimension.
static LogicalResult legalizeSplit(LegalizeContext &c) {
  Value x = getStrings(c, 0);
  if (!x) {
    return failure();
  }
  int64_t most = c.intAttr("maxsplit", -1);
  std::string argument =
      (most < 0 ? "" : std::to_string(most)) + " " + c.stringAttr("delimiter").value_or("").str();
  Value counts = buildEach(c, "text.count", x, c.b.getI64Type(), argument);
  Sizes dims = c.shapeOf(x);
  Value flat = c.reshape(counts, {c.sizes.product(dims)});
  // One more, so that there is a largest also where there are no strings.
  Value none = c.expand(c.scalar(0, flat), {c.one()});
  Value largest = c.reduce(nn::ReduceKind::Max, nn::buildConcat(c.b, c.loc, {flat, none}, /*axis=*/0), {0},
                           /*keepDims=*/false);
  dims.push_back(c.checkedSize(c.readScalars(largest)->elements.front()));
  (void)c.set(1, counts);
  return setStrings(c, 0, buildService(c, "text.split", x, c.b.getI64Type(), dims, argument));
}

/// Whether each of the strings `x`, a list, is one of `words`.
static Value buildIsAnyOf(LegalizeContext &c, Value x, ArrayRef<std::string> words, bool isCaseSensitive) {
  Type strings = c.b.getI64Type();
  Value list = buildTable(c, ArrayRef<int64_t>(numberTexts(c, words)), strings);
  if (!isCaseSensitive) {
    x = buildEach(c, "text.lower", x, strings);
    list = buildEach(c, "text.lower", list, strings);
  }
  Value isEqual = c.compare(CompareKind::Equal, c.reshape(x, {c.shapeOf(x)[0], c.one()}), list);
  return c.reduce(nn::ReduceKind::Any, isEqual, {1}, /*keepDims=*/false);
}

/// The strings `x`, a list, of which `isLeft` holds; an empty string if it holds of none.
static Value buildRemaining(LegalizeContext &c, Value x, Value isLeft) {
  Type integers = c.b.getI64Type();
  Value number = c.reduce(nn::ReduceKind::Sum, c.cast(isLeft, integers), {0}, /*keepDims=*/false);
  Size count = c.checkedSize(c.readScalars(number)->elements.front());
  Value found = nn::createInferred<nn::NonZeroOp>(c.b, c.loc, integers, isLeft, c.toValue(count));
  Value left = nn::buildGather(c.b, c.loc, x, c.reshape(found, {count}), /*axis=*/0);
  Value empty = buildTable(c, ArrayRef<int64_t>{c.texts.number("")}, integers);
  return c.slice(nn::buildConcat(c.b, c.loc, {left, empty}, /*axis=*/0), 0, c.b.getIndexAttr(0),
                 c.sizes.max(count, c.one()));
}

/// The case of each code point by itself, whatever the locale.
static LogicalResult legalizeNormalizer(LegalizeContext &c) {
  Value x = getStrings(c, 0);
  if (!x) {
    return failure();
  }
  StringRef action = c.stringAttr("case_change_action").value_or("NONE");
  if (action != "NONE" && action != "LOWER" && action != "UPPER") {
    return c.error("E0304", "case_change_action is \"" + action + "\", must be NONE, LOWER or UPPER",
                   "case_change_action");
  }
  Sizes dims = c.shapeOf(x);
  if (dims.size() != 1 && dims.size() != 2) {
    return c.error("E0307", llvm::formatv("X has {0} dimensions, must have 1 or 2", dims.size()).str());
  }
  if (dims.size() == 2) {
    c.require(c.sizes.compare(CompareKind::Equal, dims[0], c.one()), "X has more rows than one");
    if (c.hasFailed()) {
      return failure();
    }
    x = c.reshape(x, {dims[1]});
  }
  std::vector<std::string> stopwords = c.stringsAttr("stopwords").value_or(std::vector<std::string>());
  Value result = x;
  if (!stopwords.empty()) {
    Value isStop = buildIsAnyOf(c, x, stopwords, c.intAttr("is_case_sensitive", 0) != 0);
    result = buildRemaining(c, x, c.unary(nn::UnaryKind::Not, isStop));
  } else {
    // Of nothing there is an empty string left, too.
    result = buildRemaining(c, x, c.expand(nn::buildScalar(c.b, c.loc, c.b.getI1Type(), 1), c.shapeOf(x)));
  }
  if (action != "NONE") {
    result = buildEach(c, action == "LOWER" ? "text.lower" : "text.upper", result, c.b.getI64Type());
  }
  return setStrings(c, 0, dims.size() == 2 ? c.reshape(result, {c.one(), c.shapeOf(result)[0]}) : result);
}

void lathe::onnx::registerStrings(LegalizerRegistry &registry) {
  registry.addForAny("StringConcat", 2, 2, legalizeConcat);
  registry.addForAny("StringNormalizer", 1, 1, legalizeNormalizer);
  registry.addForAny("StringSplit", 1, 1, legalizeSplit);
  registry.addForAny("RegexFullMatch", 1, 1, legalizeMatch);
  registry.moveStrings({"Compress",        "Concat",          "ConcatFromSequence",
                        "DepthToSpace",    "Expand",          "Flatten",
                        "Gather",          "GatherElements",  "GatherND",
                        "OneHot",          "Reshape",         "ReverseSequence",
                        "Scatter",         "ScatterElements", "ScatterND",
                        "Slice",           "SpaceToDepth",    "Split",
                        "SplitToSequence", "Squeeze",         "Tile",
                        "Transpose",       "Unsqueeze",       "Where"});
  registry.measureStrings({"Shape", "Size"});
  registry.moveComplex({"CenterCropPad",   "Compress",      "Concat",         "DepthToSpace",    "Expand",
                        "Flatten",         "Gather",        "GatherElements", "GatherND",        "Identity",
                        "OneHot",          "Pad",           "Reshape",        "ReverseSequence", "Scatter",
                        "ScatterElements", "ScatterND",     "Slice",          "SpaceToDepth",    "Split",
                        "Squeeze",         "TensorScatter", "Tile",           "Transpose",       "Trilu",
                        "Unsqueeze",       "Where"});
}
