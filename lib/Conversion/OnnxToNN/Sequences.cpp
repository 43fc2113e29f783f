// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Sequences and optionals. They exist while a model is compiled: a sequence is the list of its elements, and
/// an optional is what it holds, or nothing.

#include "Legalizer.h"

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

/// The number that operand `i` is, or `otherwise` where it is absent; nothing, after an error, if it is not
/// known.
static std::optional<int64_t> getNumber(LegalizeContext &c, unsigned i, int64_t otherwise, StringRef name) {
  if (!c.has(i)) {
    return otherwise;
  }
  const Scalars *scalars = c.scalars(i);
  std::optional<int64_t> number = scalars && scalars->elements.size() == 1
                                      ? getConstantIntValue(scalars->elements.front())
                                      : std::nullopt;
  if (!number) {
    (void)c.unsupported("the " + name + " in a sequence is not known before the run");
  }
  return number;
}

/// A position among `count` elements, which may count from their end; nothing after an error.
static std::optional<int64_t> getPosition(LegalizeContext &c, unsigned i, int64_t otherwise, int64_t count) {
  std::optional<int64_t> position = getNumber(c, i, otherwise, "position");
  if (position && (*position < -count || *position >= count)) {
    (void)c.error("E0307",
                  llvm::formatv("position {0} is out of bounds of {1} elements", *position, count).str());
    return std::nullopt;
  }
  return position && *position < 0 ? *position + count : position;
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

static LogicalResult legalizeInsert(LegalizeContext &c) {
  const Elements *elements = getElements(c, 0);
  if (!elements) {
    return failure();
  }
  // There is a place behind the last element, too; counted from the end, the last place is before the last
  // one.
  int64_t count = elements->size();
  std::optional<int64_t> position = getNumber(c, 2, count, "position");
  if (!position) {
    return failure();
  }
  if (*position < -count || *position > count) {
    return c.error("E0307",
                   llvm::formatv("position {0} is out of bounds of {1} elements", *position, count).str());
  }
  Elements result = *elements;
  result.insert(result.begin() + (*position < 0 ? *position + count : *position), c.legal(1));
  return setSequence(c, 0, std::move(result));
}

static LogicalResult legalizeErase(LegalizeContext &c) {
  const Elements *elements = getElements(c, 0);
  std::optional<int64_t> position = elements ? getPosition(c, 1, -1, elements->size()) : std::nullopt;
  if (!position) {
    return failure();
  }
  Elements result = *elements;
  result.erase(result.begin() + *position);
  return setSequence(c, 0, std::move(result));
}

static LogicalResult legalizeAt(LegalizeContext &c) {
  const Elements *elements = getElements(c, 0);
  std::optional<int64_t> position = elements ? getPosition(c, 1, 0, elements->size()) : std::nullopt;
  return position ? c.setLegal(0, (*elements)[*position]) : failure();
}

static LogicalResult legalizeLength(LegalizeContext &c) {
  const Elements *elements = getElements(c, 0);
  if (!elements) {
    return failure();
  }
  return c.setScalars({c.b.getI64Type(), {}, {c.b.getIndexAttr(elements->size())}});
}

/// The sizes of the parts along a dimension; nothing, after an error, if their number is not known.
static std::optional<Sizes> getPartSizes(LegalizeContext &c, Size dim) {
  std::optional<int64_t> length = getConstantIntValue(dim);
  // How many parts there are must be known, how large each is the run may tell.
  bool isList = c.has(1) && c.rank(1) == 1;
  std::optional<Scalars> split;
  if (isList) {
    split = c.scalarsOrRead(1);
  } else if (const Scalars *known = c.has(1) ? c.scalars(1) : nullptr) {
    split = *known;
  }
  if (c.has(1) && !split) {
    (void)c.unsupported("how a tensor is split into a sequence is not known before the run");
    return std::nullopt;
  }
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
    (void)c.unsupported("into how many parts a tensor is split is not known before the run");
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
  Value x = c.operand(0);
  std::optional<Sizes> sizes = getPartSizes(c, c.shapeOf(x)[axis]);
  if (!sizes) {
    return failure();
  }
  Elements elements;
  Size first = c.b.getIndexAttr(0);
  for (Size size : *sizes) {
    Value part = c.slice(x, axis, first, size);
    if (!c.has(1) && c.intAttr("keepdims", 1) == 0) {
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
  const Elements *elements = getElements(c, 0);
  std::optional<int64_t> given = c.intAttr("axis");
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
  int64_t has = c.has(0) && !c.legal(0).isEmptyOptional;
  return c.setScalars({c.b.getI1Type(), {}, {c.b.getIndexAttr(has)}});
}

static LogicalResult legalizeGetElement(LegalizeContext &c) {
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
