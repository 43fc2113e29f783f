// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Operators of ai.onnx.ml that map numbers and strings to others, and name columns.

#include "Learned.h"
#include "Strings.h"

#include "lathe/Dialect/NN/IR/NNLearned.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/IR/BuiltinOps.h"
#include <cmath>

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::CompareKind;

namespace {
/// A list of an operator's attributes, of numbers or of strings, which are numbers of texts.
struct List {
  DenseElementsAttr numbers;
  bool isString = false;

  int64_t size() const { return numbers.getNumElements(); }
  Type type() const { return numbers.getElementType(); }
};
} // namespace

template <typename T>
static List toList(LegalizeContext &c, ArrayRef<T> numbers, Type element) {
  auto type = RankedTensorType::get({int64_t(numbers.size())}, element);
  return {DenseElementsAttr::get(type, numbers)};
}

static List toList(LegalizeContext &c, ArrayRef<std::string> words) {
  List list = toList(c, ArrayRef<int64_t>(numberTexts(c, words)), c.b.getI64Type());
  list.isString = true;
  return list;
}

/// The elements of a tensor attribute, in whatever form it holds them; nothing for one of another type.
static std::optional<List> toList(LegalizeContext &c, ElementsAttr attribute) {
  if (auto strings = dyn_cast<DenseStringElementsAttr>(attribute)) {
    std::vector<std::string> words;
    for (StringRef text : strings.getValues<StringRef>()) {
      words.push_back(text.str());
    }
    return toList(c, words);
  }
  DenseElementsAttr dense = toDense(attribute);
  return dense ? std::optional(List{dense}) : std::nullopt;
}

/// The one list of `keys_*` or `values_*` that is there; nothing, after an error, if there is not one.
static std::optional<List> getList(LegalizeContext &c, StringRef prefix) {
  std::optional<List> list;
  if (std::optional<std::vector<std::string>> words = c.stringsAttr((prefix + "_strings").str())) {
    list = toList(c, *words);
  } else if (std::optional<SmallVector<int64_t>> integers = c.intsAttr((prefix + "_int64s").str())) {
    list = toList(c, ArrayRef<int64_t>(*integers), c.b.getI64Type());
  } else if (std::optional<ArrayRef<float>> floats = c.floatsAttr((prefix + "_floats").str())) {
    list = toList(c, *floats, c.b.getF32Type());
  } else if (ElementsAttr tensor = c.tensorAttr((prefix + "_tensor").str())) {
    list = toList(c, tensor);
  }
  if (!list || list->size() == 0) {
    (void)c.error("E0303", "there are no " + prefix, prefix);
    return std::nullopt;
  }
  return list;
}

/// The value for what is not among the keys, of the type of `values`.
static std::optional<List> getDefault(LegalizeContext &c, const List &values) {
  if (ElementsAttr tensor = c.tensorAttr("default_tensor")) {
    return toList(c, tensor);
  }
  if (values.isString) {
    return toList(c, c.stringAttr("default_string").value_or("_Unused").str());
  }
  Type element = values.type();
  auto type = RankedTensorType::get({1}, element);
  if (isa<FloatType>(element)) {
    auto number = c.b.getFloatAttr(element, c.floatAttr("default_float", -0.0));
    return List{DenseElementsAttr::get(type, Attribute(number))};
  }
  auto number = c.b.getIntegerAttr(element, c.intAttr("default_int64", -1));
  return List{DenseElementsAttr::get(type, Attribute(number))};
}

/// The positions of numbers in order, the last of those that are equal alone; NaN at the end.
static SmallVector<int64_t> sortKeys(DenseElementsAttr keys) {
  SmallVector<int64_t> order = llvm::to_vector(llvm::seq<int64_t>(0, keys.getNumElements()));
  auto keepLast = [&](auto isLess) {
    llvm::sort(order, [&](int64_t x, int64_t y) { return isLess(x, y) || (!isLess(y, x) && x < y); });
    SmallVector<int64_t> kept;
    for (auto [i, key] : llvm::enumerate(order)) {
      if (i + 1 == order.size() || isLess(key, order[i + 1])) {
        kept.push_back(key);
      }
    }
    return kept;
  };
  if (isa<FloatType>(keys.getElementType())) {
    SmallVector<APFloat> numbers = llvm::to_vector(keys.getValues<APFloat>());
    return keepLast([&](int64_t x, int64_t y) {
      return numbers[x].isNaN() || numbers[y].isNaN() ? !numbers[x].isNaN() && numbers[y].isNaN()
                                                      : numbers[x] < numbers[y];
    });
  }
  SmallVector<APInt> numbers = llvm::to_vector(keys.getValues<APInt>());
  bool isUnsigned = keys.getElementType().isUnsignedInteger();
  return keepLast([&](int64_t x, int64_t y) {
    return isUnsigned ? numbers[x].ult(numbers[y]) : numbers[x].slt(numbers[y]);
  });
}

/// Some elements of a list, in this order.
static DenseElementsAttr choose(DenseElementsAttr list, ArrayRef<int64_t> positions) {
  SmallVector<Attribute> all = llvm::to_vector(list.getValues<Attribute>()), chosen;
  for (int64_t position : positions) {
    chosen.push_back(all[position]);
  }
  auto type = RankedTensorType::get({int64_t(chosen.size())}, list.getElementType());
  return DenseElementsAttr::get(type, chosen);
}

static Value buildConstant(LegalizeContext &c, DenseElementsAttr value) {
  return arith::ConstantOp::create(c.b, c.loc, value);
}

/// Where each element of operand 0 stands among the keys, as i64, and behind their end where it does not.
static Value buildPositions(LegalizeContext &c, const List &keys) {
  LegalValue &x = c.legal(0);
  int64_t count = keys.size();
  if (keys.isString != x.isString) {
    (void)c.error("E0306", keys.isString ? "the keys are strings, but X is not"
                                         : "the keys are numbers, but X is not");
    return Value();
  }
  Value numbers = x.isString ? x.tensor : c.operand(0);
  Type element = keys.type();
  if (nn::getElementType(numbers) != element) {
    (void)c.error("E0306", llvm::formatv("X has elements of type {0}, but the keys have {1}",
                                         nn::getElementType(numbers), element)
                               .str());
    return Value();
  }
  SmallVector<int64_t> order = sortKeys(keys.numbers);
  Value sorted = nn::createInferred<nn::FindOp>(c.b, c.loc, c.b.getI64Type(), numbers,
                                                buildConstant(c, choose(keys.numbers, order)));
  order.push_back(count);
  return nn::buildGather(c.b, c.loc, buildTable(c, ArrayRef<int64_t>(order), c.b.getI64Type()), sorted,
                         /*axis=*/0);
}

/// Result 0 is the value at each position; the last one is the default.
static LogicalResult setValues(LegalizeContext &c, Value positions, const List &values,
                               const List &otherwise) {
  SmallVector<Attribute> table = llvm::to_vector(values.numbers.getValues<Attribute>());
  table.push_back(*otherwise.numbers.getValues<Attribute>().begin());
  auto type = RankedTensorType::get({int64_t(table.size())}, values.numbers.getElementType());
  Value result = nn::buildGather(c.b, c.loc, buildConstant(c, DenseElementsAttr::get(type, table)), positions,
                                 /*axis=*/0);
  return values.isString ? setStrings(c, 0, result) : c.set(result);
}

static LogicalResult mapValues(LegalizeContext &c, const List &keys, const List &values) {
  if (keys.size() != values.size()) {
    return c.error("E0304",
                   llvm::formatv("there are {0} keys, but {1} values", keys.size(), values.size()).str());
  }
  std::optional<List> otherwise = getDefault(c, values);
  bool fits = otherwise && otherwise->size() == 1 && otherwise->isString == values.isString &&
              otherwise->type() == values.type();
  if (!fits) {
    return c.error("E0304", "default_tensor must be one element of the values' type", "default_tensor");
  }
  Value positions = buildPositions(c, keys);
  return positions ? setValues(c, positions, values, *otherwise) : failure();
}

/// The integers 0 to `count` - 1.
static List countUp(LegalizeContext &c, int64_t count) {
  SmallVector<int64_t> numbers = llvm::to_vector(llvm::seq<int64_t>(0, count));
  return toList(c, ArrayRef<int64_t>(numbers), c.b.getI64Type());
}

static LogicalResult legalizeLabelEncoder(LegalizeContext &c) {
  if (c.node.version < 2) {
    std::optional<std::vector<std::string>> classes = c.stringsAttr("classes_strings");
    if (!classes || classes->empty()) {
      return c.error("E0303", "classes_strings is missing", "classes_strings");
    }
    List words = toList(c, *classes), numbers = countUp(c, classes->size());
    return c.legal(0).isString ? mapValues(c, words, numbers) : mapValues(c, numbers, words);
  }
  std::optional<List> keys = getList(c, "keys"), values = getList(c, "values");
  return keys && values ? mapValues(c, *keys, *values) : failure();
}

/// Strings to integers, or integers to strings.
static LogicalResult legalizeCategoryMapper(LegalizeContext &c) {
  std::optional<List> words = getList(c, "cats"), numbers;
  if (std::optional<SmallVector<int64_t>> integers = c.intsAttr("cats_int64s")) {
    numbers = toList(c, ArrayRef<int64_t>(*integers), c.b.getI64Type());
  }
  if (!words || !words->isString || !numbers) {
    return c.error("E0303", "both cats_strings and cats_int64s must be there", "cats_strings");
  }
  return c.legal(0).isString ? mapValues(c, *words, *numbers) : mapValues(c, *numbers, *words);
}

/// A column for each category: 1 where it is that of the element.
static LogicalResult legalizeOneHotEncoder(LegalizeContext &c) {
  std::optional<List> categories = getList(c, "cats");
  if (!categories) {
    return failure();
  }
  bool isString = c.legal(0).isString;
  if (isString != categories->isString) {
    return c.error("E0306", isString ? "the categories are numbers, but X is not"
                                     : "the categories are strings, but X is not");
  }
  Value x = isString ? c.legal(0).tensor : c.cast(c.operand(0), c.b.getI64Type());
  Value columns = buildConstant(c, categories->numbers);
  Sizes dims = c.shapeOf(x);
  dims.push_back(c.one());
  Value isCategory = c.compare(CompareKind::Equal, c.reshape(x, dims), columns);
  if (c.intAttr("zeros", 1) == 0) {
    int64_t last = dims.size() - 1;
    SmallVector<int64_t> others = llvm::to_vector(llvm::seq<int64_t>(0, last));
    Value areFound = c.reduce(nn::ReduceKind::Any, isCategory, {last}, /*keepDims=*/false);
    if (!others.empty()) {
      areFound = c.reduce(nn::ReduceKind::All, areFound, others, /*keepDims=*/false);
    }
    std::optional<Scalars> all = c.readScalars(c.cast(areFound, c.b.getI64Type()));
    c.require(all->elements.front(), "an element of X is none of the categories");
  }
  return c.set(c.cast(isCategory, c.b.getF32Type()));
}

/// A list of maps with the same keys stays the matrix of its values; the artifact says which column is whose.
static LogicalResult legalizeZipMap(LegalizeContext &c) {
  std::optional<ClassLabels> labels = getClassLabels(c, "classlabels_int64s");
  if (!labels) {
    return failure();
  }
  std::vector<std::string> texts = labels->words;
  for (int64_t label : labels->integers) {
    texts.push_back(std::to_string(label));
  }
  LegalValue result;
  result.tensor = getFeatureRows(c);
  std::optional<int64_t> columns = getConstantIntValue(c.shapeOf(result.tensor)[1]);
  if (columns && *columns != labels->size()) {
    return c.error(
        "E0307",
        llvm::formatv("X has {0} columns, but there are {1} labels", *columns, labels->size()).str());
  }
  result.labels = std::make_shared<const std::vector<std::string>>(std::move(texts));
  emitRemark(c.loc)
      << "[convert-onnx-to-nn] the maps are given as a tensor with a column for each key; the keys "
         "stand in the artifact's metadata";
  return c.setLegal(0, result);
}

void lathe::onnx::registerLabels(LegalizerRegistry &registry) {
  registry.addForAny("LabelEncoder", 1, 1, legalizeLabelEncoder, kMachineLearning);
  registry.addForAny("CategoryMapper", 1, 1, legalizeCategoryMapper, kMachineLearning);
  registry.addForAny("OneHotEncoder", 1, 1, legalizeOneHotEncoder, kMachineLearning);
  registry.add("ZipMap", 1, 1, legalizeZipMap, kMachineLearning);
}
