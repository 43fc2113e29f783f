// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Operators of ai.onnx.ml on maps, which are a list of keys and one of values.

#include "Learned.h"
#include "Strings.h"

#include "lathe/Dialect/NN/IR/NNLearned.h"
#include "lathe/Dialect/NN/IR/NNScatter.h"
#include "lathe/Dialect/NN/IR/NNSelection.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;

/// How an input that is a map is given.
static LogicalResult legalizeMap(LegalizeContext &c) {
  LegalValue map = c.legal(1), keys = c.legal(0);
  map.hasStringKeys = std::exchange(keys.isString, false);
  map.keys = c.asTensor(keys);
  return c.setLegal(0, std::move(map));
}

/// A row of `width` elements, at `positions` (i64) the values of the map; those up to `room` are left out,
/// others a fault of the run.
static Value scatterValues(LegalizeContext &c, const LegalValue &map, Value positions, int64_t width,
                           int64_t room) {
  Value nothing = map.isString
                      ? c.reshape(buildTable(c, ArrayRef<int64_t>{c.texts.number("")}, c.b.getI64Type()), {})
                      : c.scalar(0, map.tensor);
  Value row = c.expand(nothing, {c.b.getIndexAttr(room)});
  Value filled = nn::createInferred<nn::ScatterElementsOp>(c.b, c.loc, nn::getElementType(row),
                                                           nn::ScatterKind::None, row, positions, map.tensor,
                                                           /*axis=*/0);
  return c.slice(filled, 0, c.b.getIndexAttr(0), c.b.getIndexAttr(width));
}

/// Result 0: a row as a matrix, or as a list where the model says so.
static LogicalResult setRow(LegalizeContext &c, Value row, bool isString) {
  if (c.declaredRank(0) != 1) {
    row = c.reshape(row, {c.one(), c.shapeOf(row)[0]});
  }
  return isString ? setStrings(c, 0, row) : c.set(row);
}

static LogicalResult legalizeDictVectorizer(LegalizeContext &c) {
  const LegalValue &map = c.legal(0);
  std::optional<SmallVector<int64_t>> vocabulary = c.intsAttr("int64_vocabulary");
  std::optional<std::vector<std::string>> words = c.stringsAttr("string_vocabulary");
  if (words) {
    vocabulary = numberTexts(c, *words);
  }
  if (!vocabulary || vocabulary->empty()) {
    return c.error("E0303", "there is neither int64_vocabulary nor string_vocabulary", "string_vocabulary");
  }
  if (!map.keys || map.hasStringKeys != words.has_value()) {
    return c.error("E0306",
                   map.keys ? "the keys of X and the vocabulary are of different types" : "X is no map");
  }
  int64_t width = vocabulary->size();
  SmallVector<int64_t> order = llvm::to_vector(llvm::seq<int64_t>(0, width));
  llvm::sort(order, [&](int64_t x, int64_t y) { return (*vocabulary)[x] < (*vocabulary)[y]; });
  auto sorted = llvm::map_to_vector(order, [&](int64_t i) { return (*vocabulary)[i]; });
  Type integers = c.b.getI64Type();
  Value found = nn::createInferred<nn::FindOp>(c.b, c.loc, integers, map.keys,
                                               buildTable(c, ArrayRef<int64_t>(sorted), integers));
  order.push_back(width);
  Value positions =
      nn::buildGather(c.b, c.loc, buildTable(c, ArrayRef<int64_t>(order), integers), found, /*axis=*/0);
  return setRow(c, scatterValues(c, map, positions, width, width + 1), map.isString);
}

/// The values in the order of their keys.
static Value sortValues(LegalizeContext &c, const LegalValue &map) {
  Size count = c.shapeOf(map.keys)[0];
  SmallVector<Type> types(6, c.b.getI64Type());
  // Keys differ: the first place of each is its only one.
  auto unique = nn::createInferred<nn::UniqueOp>(c.b, c.loc, types, c.reshape(map.keys, {count, c.one()}),
                                                 /*sorted=*/true);
  Size distinct = c.checkedSize(c.readScalars(unique.getCount())->elements.front());
  Value first = c.slice(unique.getFirst(), 0, c.b.getIndexAttr(0), distinct);
  return nn::buildGather(c.b, c.loc, map.tensor, first, /*axis=*/0);
}

static LogicalResult legalizeCastMap(LegalizeContext &c) {
  LegalValue map = c.legal(0);
  if (!map.keys || map.hasStringKeys) {
    return c.error("E0306", map.keys ? "the keys of X are no integers" : "X is no map");
  }
  StringRef to = c.stringAttr("cast_to").value_or("TO_FLOAT"),
            form = c.stringAttr("map_form").value_or("DENSE");
  int64_t width = c.intAttr("max_map", 1);
  if (to != "TO_FLOAT" && to != "TO_STRING" && to != "TO_INT64") {
    return c.error("E0304", "cast_to is \"" + to + "\", must be TO_FLOAT, TO_STRING or TO_INT64", "cast_to");
  }
  if ((form != "DENSE" && form != "SPARSE") || (form == "SPARSE" && (width < 1 || width >= nn::kMaxDim))) {
    return c.error(
        "E0304",
        llvm::formatv("map_form is \"{0}\" and max_map {1}: must be DENSE, or SPARSE of at least 1", form,
                      width)
            .str(),
        "map_form");
  }
  Type element = to == "TO_INT64" ? Type(c.b.getI64Type()) : c.b.getF32Type();
  if (to == "TO_STRING") {
    map.tensor = map.isString ? map.tensor : printNumbers(c, map.tensor);
  } else {
    map.tensor = map.isString ? parseStrings(c, map.tensor, element) : c.cast(map.tensor, element);
  }
  map.isString = to == "TO_STRING";
  if (form == "DENSE") {
    return setRow(c, sortValues(c, map), map.isString);
  }
  // A negative position would count from the end.
  Value isNegative = c.compare(nn::CompareKind::Less, map.keys, c.scalar(0, map.keys));
  Value positions = c.select(isNegative, c.scalar(double(width), map.keys), map.keys);
  return setRow(c, scatterValues(c, map, positions, width, width), map.isString);
}

void lathe::onnx::registerMaps(LegalizerRegistry &registry) {
  registry.addForAny("Map", 2, 2, legalizeMap, kOwnDomain);
  registry.addForAny("DictVectorizer", 1, 1, legalizeDictVectorizer, kMachineLearning);
  registry.addForAny("CastMap", 1, 1, legalizeCastMap, kMachineLearning);
}
