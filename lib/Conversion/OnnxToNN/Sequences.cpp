// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Sequences and optionals. They exist while a model is compiled: a sequence is the list of its elements, and
/// an optional is what it holds, or nothing. Where a length or a position is only known to the run, a
/// sequence becomes an open one.

#include "Loops.h"
#include "OpenSequences.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "llvm/ADT/STLExtras.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;

using Elements = std::vector<LegalValue>;

/// The most parts that a tensor is split into: each is an op of its own.
static constexpr int64_t kMaxParts = 4096;

static LogicalResult setSequence(LegalizeContext &c, unsigned i, Elements elements) {
  LegalValue sequence;
  sequence.elements = std::make_shared<const Elements>(std::move(elements));
  return c.setLegal(i, std::move(sequence));
}

/// The elements of operand `i`; null, after an error, if it is no sequence.
static const Elements *getElements(LegalizeContext &c, unsigned i) {
  const LegalValue &value = c.legal(i);
  if (!value.elements) {
    (void)c.error("E0306", llvm::formatv("input {0} is no sequence", i).str());
    return nullptr;
  }
  return value.elements.get();
}

/// The position that operand `i` is, or `otherwise` where it is absent; nothing after an error.
static std::optional<Size> getPosition(LegalizeContext &c, unsigned i, int64_t otherwise) {
  if (!c.has(i)) {
    return Size(c.b.getIndexAttr(otherwise));
  }
  std::optional<Scalars> scalars = c.listOrRead(i, 1);
  if (!scalars || scalars->elements.size() != 1) {
    (void)c.error("E0307", "a position must have one element");
    return std::nullopt;
  }
  return scalars->elements.front();
}

/// A position among `count` elements, which may count from their end; nothing after an error.
static std::optional<int64_t> checkPosition(LegalizeContext &c, int64_t position, int64_t count) {
  if (position < -count || position >= count) {
    (void)c.error("E0307",
                  llvm::formatv("position {0} is out of bounds of {1} elements", position, count).str());
    return std::nullopt;
  }
  return position < 0 ? position + count : position;
}

/// Operand 0 as an open sequence whose elements have up to `rank` dimensions, also if it has none; nothing
/// after an error.
static std::optional<LegalValue> openOperand(LegalizeContext &c, int64_t rank, Type type, bool isString) {
  std::optional<ElementForm> form = getElementForm(c, c.legal(0));
  if (!form) {
    return std::nullopt;
  }
  if (!form->type) {
    *form = {type, 0, isString};
  }
  form->rank = std::max(form->rank, rank);
  return makeOpen(c, c.legal(0), *form);
}

static LogicalResult legalizeConstruct(LegalizeContext &c) {
  Elements elements;
  for (unsigned i = 0; i < c.numInputs(); ++i) {
    if (!c.has(i)) {
      return c.error("E0305", llvm::formatv("input {0} is absent", i).str());
    }
    elements.push_back(c.legal(i));
  }
  return setSequence(c, 0, std::move(elements));
}

/// The same where the run tells the length or the position.
static LogicalResult insertOpen(LegalizeContext &c, std::optional<Size> position) {
  LegalValue &element = c.legal(1);
  if (element.isSequence() || element.isEmptyOptional || element.presence) {
    return c.unsupported("what is inserted in a sequence of unknown length is no tensor");
  }
  LegalValue numbers = element;
  numbers.isString = false;
  Value tensor = c.asTensor(numbers);
  std::optional<LegalValue> sequence =
      openOperand(c, nn::getRank(tensor), nn::getElementType(tensor), element.isString);
  if (!sequence) {
    return failure();
  }
  Size count = getLength(c, *sequence);
  if (position) {
    // One place more than there are elements; negative ones count from the last element.
    Size isNegative = c.sizes.compare(nn::CompareKind::Less, *position, c.b.getIndexAttr(0));
    Size last = c.sizes.select(isNegative, count, c.sizes.add(count, c.one()));
    count = resolvePosition(c, *position, last);
  }
  return c.setLegal(0, insertElement(c, *sequence, count, element));
}

static LogicalResult legalizeInsert(LegalizeContext &c) {
  std::optional<Size> given = c.has(2) ? getPosition(c, 2, 0) : std::nullopt;
  if (c.hasFailed()) {
    return failure();
  }
  std::optional<int64_t> number = given ? getConstantIntValue(*given) : std::nullopt;
  if (c.legal(0).shapes || (given && !number)) {
    return insertOpen(c, given);
  }
  const Elements *elements = getElements(c, 0);
  if (!elements) {
    return failure();
  }
  // There is a place behind the last element, too; counted from the end, the last place is before the last
  // one.
  int64_t count = elements->size();
  std::optional<int64_t> position = given ? number : count;
  if (*position < -count || *position > count) {
    return c.error("E0307",
                   llvm::formatv("position {0} is out of bounds of {1} elements", *position, count).str());
  }
  Elements result = *elements;
  result.insert(result.begin() + (*position < 0 ? *position + count : *position), c.legal(1));
  return setSequence(c, 0, std::move(result));
}

static LogicalResult legalizeErase(LegalizeContext &c) {
  std::optional<Size> given = getPosition(c, 1, -1);
  std::optional<int64_t> number = given ? getConstantIntValue(*given) : std::nullopt;
  if (given && (c.legal(0).shapes || !number)) {
    std::optional<LegalValue> sequence = openOperand(c, 0, c.b.getF32Type(), /*isString=*/false);
    return sequence ? c.setLegal(
                          0, eraseElement(c, *sequence, resolvePosition(c, *given, getLength(c, *sequence))))
                    : failure();
  }
  const Elements *elements = given ? getElements(c, 0) : nullptr;
  std::optional<int64_t> position = elements ? checkPosition(c, *number, elements->size()) : std::nullopt;
  if (!position) {
    return failure();
  }
  Elements result = *elements;
  result.erase(result.begin() + *position);
  return setSequence(c, 0, std::move(result));
}

static LogicalResult legalizeAt(LegalizeContext &c) {
  std::optional<Size> given = getPosition(c, 1, 0);
  std::optional<int64_t> number = given ? getConstantIntValue(*given) : std::nullopt;
  if (given && (c.legal(0).shapes || !number)) {
    std::optional<LegalValue> sequence = openOperand(c, 0, c.b.getF32Type(), /*isString=*/false);
    if (!sequence) {
      return failure();
    }
    int64_t highest = cast<RankedTensorType>(sequence->shapes.getType()).getDimSize(1);
    return c.setLegal(0, getElement(c, *sequence, resolvePosition(c, *given, getLength(c, *sequence)),
                                    std::min(c.declaredRank(0).value_or(highest), highest)));
  }
  const Elements *elements = given ? getElements(c, 0) : nullptr;
  std::optional<int64_t> position = elements ? checkPosition(c, *number, elements->size()) : std::nullopt;
  return position ? c.setLegal(0, (*elements)[*position]) : failure();
}

static LogicalResult legalizeLength(LegalizeContext &c) {
  if (!c.legal(0).isSequence()) {
    return c.error("E0306", "input 0 is no sequence");
  }
  return c.setScalars({c.b.getI64Type(), {}, {getLength(c, c.legal(0))}});
}

/// The sizes of the parts along a dimension, `split` those that are given; nothing if their number is not
/// known, or after an error.
static std::optional<Sizes> getPartSizes(LegalizeContext &c, Size dim, std::optional<Scalars> split) {
  std::optional<int64_t> length = getConstantIntValue(dim);
  if (split && !split->shape.empty()) {
    Size sum = c.b.getIndexAttr(0);
    for (Size &size : split->elements) {
      size = c.checkedSize(size);
      sum = c.sizes.add(sum, size);
    }
    c.require(c.sizes.compare(nn::CompareKind::Equal, sum, dim),
              "the parts are not as long as the dimension");
    return split->elements;
  }
  std::optional<int64_t> each = split ? getConstantIntValue(split->elements.front()) : 1;
  if (!length || !each) {
    return std::nullopt;
  }
  if (*each < 1) {
    (void)c.error("E0307", llvm::formatv("the parts have size {0}, must be at least 1", *each).str());
    return std::nullopt;
  }
  if (*length / *each > kMaxParts) {
    (void)c.unsupported(
        llvm::formatv("the tensor has {0} parts, the limit is {1}", *length / *each, kMaxParts));
    return std::nullopt;
  }
  Sizes sizes;
  for (int64_t first = 0; first < *length; first += *each) {
    sizes.push_back(c.b.getIndexAttr(std::min(*each, *length - first)));
  }
  return sizes;
}

static LogicalResult legalizeSplit(LegalizeContext &c) {
  int64_t axis = c.intAttr("axis", 0);
  if (!c.normalizeAxis(axis, c.rank(0))) {
    return failure();
  }
  if (c.has(1) && c.rank(1) > 1) {
    return c.error("E0307",
                   llvm::formatv("split has {0} dimensions, must be a number or a list", c.rank(1)).str());
  }
  Value x = c.operand(0);
  std::optional<Scalars> split = c.has(1) ? c.scalarsOrRead(1) : std::nullopt;
  bool isList = c.has(1) && !split, keepDim = c.has(1) || c.intAttr("keepdims", 1) != 0;
  std::optional<Sizes> sizes = isList ? std::nullopt : getPartSizes(c, c.shapeOf(x)[axis], split);
  if (c.hasFailed() || !c.unsupportedReason().empty()) {
    return failure();
  }
  if (isList && axis != 0) {
    return c.unsupported(
        "a tensor is split along another dimension than the first in an unknown number of parts");
  }
  if (isList) {
    return c.setLegal(0, splitAtFront(c, x, c.operand(1)));
  }
  if (!sizes) {
    return c.setLegal(0, splitEvenly(c, x, axis, split ? split->elements.front() : c.one(), keepDim));
  }
  Elements elements;
  Size first = c.b.getIndexAttr(0);
  for (Size size : *sizes) {
    Value part = c.slice(x, axis, first, size);
    if (!keepDim) {
      Sizes dims = c.shapeOf(part);
      dims.erase(dims.begin() + axis);
      part = c.reshape(part, dims);
    }
    elements.emplace_back().tensor = part;
    first = c.sizes.add(first, size);
  }
  return setSequence(c, 0, std::move(elements));
}

static LogicalResult legalizeConcat(LegalizeContext &c) {
  std::optional<int64_t> given = c.intAttr("axis");
  if (c.legal(0).shapes && given) {
    Value joined = concatElements(c, c.legal(0), *given, c.intAttr("new_axis", 0) != 0);
    return joined ? c.set(joined) : failure();
  }
  const Elements *elements = getElements(c, 0);
  if (!elements || !given) {
    return elements ? c.error("E0303", "axis is missing", "axis") : failure();
  }
  if (elements->empty()) {
    return c.error("E0307", "an empty sequence makes no tensor");
  }
  SmallVector<Value> parts;
  for (LegalValue element : *elements) {
    parts.push_back(c.asTensor(element));
  }
  if (c.hasFailed()) {
    return failure();
  }
  bool isNew = c.intAttr("new_axis", 0) != 0;
  int64_t axis = *given, rank = nn::getRank(parts.front());
  if (!c.normalizeAxis(axis, rank + isNew)) {
    return failure();
  }
  for (Value &part : parts) {
    if (nn::getRank(part) != rank) {
      return c.error(
          "E0307",
          llvm::formatv("elements of a sequence have {0} and {1} dimensions", rank, nn::getRank(part)).str());
    }
    if (isNew) {
      Sizes dims = c.shapeOf(part);
      dims.insert(dims.begin() + axis, c.one());
      part = c.reshape(part, dims);
    }
  }
  return c.set(nn::buildConcat(c.b, c.loc, parts, axis));
}

/// The body is there once for each element; other inputs than sequences are the same for all.
static LogicalResult legalizeMap(LegalizeContext &c) {
  Region *body = c.subgraph("body");
  if (body &&
      llvm::any_of(llvm::seq(0u, c.numInputs()), [&](unsigned i) { return c.has(i) && c.legal(i).shapes; })) {
    return legalizeOpenMap(c, *body);
  }
  const Elements *first = body ? getElements(c, 0) : nullptr;
  if (!first) {
    return failure();
  }
  unsigned results = c.node.op->getNumResults();
  std::vector<Elements> made(results);
  for (size_t k = 0; k < first->size(); ++k) {
    SmallVector<LegalValue> arguments;
    for (unsigned i = 0; i < c.numInputs(); ++i) {
      if (!c.has(i)) {
        return c.error("E0305", llvm::formatv("input {0} is absent", i).str());
      }
      const LegalValue &input = c.legal(i);
      if (input.elements && input.elements->size() != first->size()) {
        return c.error("E0307", llvm::formatv("the sequences have {0} and {1} elements", first->size(),
                                              input.elements->size())
                                    .str());
      }
      arguments.push_back(input.elements ? (*input.elements)[k] : input);
    }
    FailureOr<SmallVector<LegalValue>> yielded = c.bodies->convert(*body, arguments);
    if (failed(yielded)) {
      return failure();
    }
    if (yielded->size() != results) {
      return c.error(
          "E0305", llvm::formatv("the body has {0} outputs, must have {1}", yielded->size(), results).str());
    }
    for (auto [elements, value] : llvm::zip_equal(made, *yielded)) {
      if (value.imaginary) {
        return c.unsupported("the body gives a tensor of complex numbers");
      }
      elements.push_back(std::move(value));
    }
  }
  for (auto [i, elements] : llvm::enumerate(made)) {
    (void)setSequence(c, i, std::move(elements));
  }
  return success(!c.hasFailed());
}

static LogicalResult legalizeOptional(LegalizeContext &c) {
  if (c.has(0)) {
    return c.forward(0);
  }
  LegalValue empty;
  empty.isEmptyOptional = true;
  return c.setLegal(0, std::move(empty));
}

static LogicalResult legalizeHasElement(LegalizeContext &c) {
  Size has = c.b.getIndexAttr(c.has(0) && !c.legal(0).isEmptyOptional);
  if (c.has(0) && c.legal(0).presence) {
    has = c.legal(0).presence;
  }
  return c.setScalars({c.b.getI1Type(), {}, {has}});
}

static LogicalResult legalizeGetElement(LegalizeContext &c) {
  if (c.legal(0).presence) {
    LegalValue value = c.legal(0);
    c.require(std::exchange(value.presence, Size()), "the optional is empty");
    return c.setLegal(0, std::move(value));
  }
  return c.legal(0).isEmptyOptional ? c.error("E0307", "the optional is empty") : c.forward(0);
}

void lathe::onnx::registerSequences(LegalizerRegistry &registry) {
  registry.addForAny("SequenceConstruct", 1, LegalizerRegistry::kAny, legalizeConstruct);
  registry.addForAny("SequenceEmpty", 0, 0, [](LegalizeContext &c) { return setSequence(c, 0, {}); });
  registry.addForAny("SequenceInsert", 2, 3, legalizeInsert);
  registry.addForAny("SequenceErase", 1, 2, legalizeErase);
  registry.addForAny("SequenceAt", 2, 2, legalizeAt);
  registry.addForAny("SequenceLength", 1, 1, legalizeLength);
  registry.add("SplitToSequence", 1, 2, legalizeSplit);
  registry.addForAny("ConcatFromSequence", 1, 1, legalizeConcat);
  registry.addForAny("SequenceMap", 1, LegalizerRegistry::kAny, legalizeMap);
  registry.addForAny("Optional", 0, 1, legalizeOptional);
  registry.addForAny("OptionalHasElement", 0, 1, legalizeHasElement);
  registry.addForAny("OptionalGetElement", 1, 1, legalizeGetElement);
}
