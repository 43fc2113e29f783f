// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "OpenSequences.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::CompareKind;
using nn::ReduceKind;

//===----------------------------------------------------------------------===//
// Parts
//===----------------------------------------------------------------------===//

static LegalValue makeSequence(Value contents, Value shapes, bool isString) {
  LegalValue sequence;
  sequence.tensor = contents;
  sequence.shapes = shapes;
  sequence.isString = isString;
  return sequence;
}

static int64_t getRowLength(Value shapes) { return cast<RankedTensorType>(shapes.getType()).getDimSize(1); }

static Value flatten(LegalizeContext &c, Value x) { return c.reshape(x, {c.sizes.product(c.shapeOf(x))}); }

static Value buildEmpty(LegalizeContext &c, Type element, ArrayRef<Size> dims) {
  return c.expand(nn::buildScalar(c.b, c.loc, element, 0), dims);
}

/// Rows of `shapes` from `first` on.
static Value sliceRows(LegalizeContext &c, Value shapes, Size first, Size count) {
  return c.slice(shapes, 0, first, count);
}

/// One row of shapes: `dims`, then -1 up to `length`.
static Value buildRow(LegalizeContext &c, ArrayRef<Size> dims, int64_t length) {
  if (length == 0) {
    return buildEmpty(c, c.b.getI64Type(), {c.one(), c.b.getIndexAttr(0)});
  }
  Sizes row(dims);
  row.resize(length, c.b.getIndexAttr(-1));
  Value list = nn::buildFromScalars(c.b, c.loc, row, c.b.getI64Type());
  return c.reshape(list, {c.one(), c.b.getIndexAttr(length)});
}

/// Rows of shapes with -1 behind them, up to `length`.
static Value widenRows(LegalizeContext &c, Value shapes, int64_t length) {
  int64_t more = length - getRowLength(shapes);
  if (more <= 0) {
    return shapes;
  }
  Value none = nn::buildScalar(c.b, c.loc, c.b.getI64Type(), -1);
  Value columns = c.expand(none, {c.shapeOf(shapes)[0], c.b.getIndexAttr(more)});
  return nn::buildConcat(c.b, c.loc, {shapes, columns}, /*axis=*/1);
}

/// How many numbers the elements before element `count` have together.
static Size sumElements(LegalizeContext &c, Value shapes, Size count) {
  if (getRowLength(shapes) == 0) {
    return count;
  }
  Value rows = sliceRows(c, shapes, c.b.getIndexAttr(0), count);
  // -1 stands behind the last dimension.
  Value one = c.scalar(1, rows);
  Value dims = c.select(c.compare(CompareKind::Less, rows, c.scalar(0, rows)), one, rows);
  Value each = c.reduce(ReduceKind::Prod, dims, {1}, /*keepDims=*/false);
  Value sum = c.reduce(ReduceKind::Sum, each, {0}, /*keepDims=*/false);
  return c.checkedSize(c.readScalars(sum)->elements.front());
}

//===----------------------------------------------------------------------===//
// From sequences that are known
//===----------------------------------------------------------------------===//

std::optional<ElementForm> lathe::onnx::getElementForm(LegalizeContext &c, const LegalValue &sequence) {
  ElementForm form;
  if (sequence.shapes) {
    return ElementForm{nn::getElementType(sequence.tensor), getRowLength(sequence.shapes), sequence.isString};
  }
  if (!sequence.elements) {
    (void)c.error("E0306", "a value is no sequence");
    return std::nullopt;
  }
  for (LegalValue element : *sequence.elements) {
    bool isString = std::exchange(element.isString, false);
    if (!element.isNumeric()) {
      (void)c.unsupported("elements of a sequence of unknown length are no tensors");
      return std::nullopt;
    }
    Value tensor = c.asTensor(element);
    if (form.type && (form.type != nn::getElementType(tensor) || form.isString != isString)) {
      (void)c.error("E0306", "the elements of a sequence are of several types");
      return std::nullopt;
    }
    form = {nn::getElementType(tensor), std::max(form.rank, nn::getRank(tensor)), isString};
  }
  return form;
}

LegalValue lathe::onnx::makeOpen(LegalizeContext &c, const LegalValue &sequence, const ElementForm &form) {
  if (sequence.shapes) {
    return makeSequence(sequence.tensor, widenRows(c, sequence.shapes, form.rank), sequence.isString);
  }
  SmallVector<Value> contents, rows;
  for (LegalValue element : *sequence.elements) {
    element.isString = false;
    Value tensor = c.asTensor(element);
    contents.push_back(flatten(c, tensor));
    rows.push_back(buildRow(c, c.shapeOf(tensor), form.rank));
  }
  if (contents.empty()) {
    Size zero = c.b.getIndexAttr(0);
    contents.push_back(buildEmpty(c, form.type, {zero}));
    rows.push_back(buildEmpty(c, c.b.getI64Type(), {zero, c.b.getIndexAttr(form.rank)}));
  }
  auto join = [&](ArrayRef<Value> parts) {
    return parts.size() == 1 ? parts.front() : nn::buildConcat(c.b, c.loc, parts, /*axis=*/0);
  };
  return makeSequence(join(contents), join(rows), form.isString);
}

//===----------------------------------------------------------------------===//
// Elements
//===----------------------------------------------------------------------===//

Size lathe::onnx::getLength(LegalizeContext &c, const LegalValue &sequence) {
  return sequence.shapes ? c.shapeOf(sequence.shapes)[0] : Size(c.b.getIndexAttr(sequence.elements->size()));
}

Size lathe::onnx::resolvePosition(LegalizeContext &c, Size position, Size count) {
  Size zero = c.b.getIndexAttr(0);
  Size fromEnd = c.sizes.compare(CompareKind::Less, position, zero);
  Size resolved = c.sizes.select(fromEnd, c.sizes.add(position, count), position);
  c.require(c.sizes.compare(CompareKind::GreaterOrEqual, resolved, zero),
            "a position is out of bounds of its sequence");
  c.require(c.sizes.compare(CompareKind::Less, resolved, count),
            "a position is out of bounds of its sequence");
  return c.checkedSize(resolved);
}

/// Two tensors without the part [first, first + count) of dimension 0, or with `between` in its place.
static Value replacePart(LegalizeContext &c, Value x, Size first, Size count, Value between) {
  Size end = c.sizes.add(first, count), zero = c.b.getIndexAttr(0);
  SmallVector<Value> parts{c.slice(x, 0, zero, first)};
  if (between) {
    parts.push_back(between);
  }
  parts.push_back(c.slice(x, 0, end, c.checkedSize(c.sizes.sub(c.shapeOf(x)[0], end))));
  return nn::buildConcat(c.b, c.loc, parts, /*axis=*/0);
}

LegalValue lathe::onnx::insertElement(LegalizeContext &c, const LegalValue &sequence, Size position,
                                      const LegalValue &element) {
  LegalValue numbers = element;
  numbers.isString = false;
  Value tensor = c.asTensor(numbers), contents = sequence.tensor;
  if (element.isString != sequence.isString || nn::getElementType(tensor) != nn::getElementType(contents)) {
    (void)c.error("E0306", "an element is inserted that is of another type than the others");
    return sequence;
  }
  Value shapes = widenRows(c, sequence.shapes, nn::getRank(tensor));
  Value row = buildRow(c, c.shapeOf(tensor), getRowLength(shapes)), flat = flatten(c, tensor);
  if (c.sizes.isSame(position, getLength(c, sequence))) {
    return makeSequence(nn::buildConcat(c.b, c.loc, {contents, flat}, 0),
                        nn::buildConcat(c.b, c.loc, {shapes, row}, 0), sequence.isString);
  }
  Size zero = c.b.getIndexAttr(0);
  return makeSequence(replacePart(c, contents, sumElements(c, shapes, position), zero, flat),
                      replacePart(c, shapes, position, zero, row), sequence.isString);
}

LegalValue lathe::onnx::eraseElement(LegalizeContext &c, const LegalValue &sequence, Size position) {
  Size first = sumElements(c, sequence.shapes, position);
  Size end = sumElements(c, sequence.shapes, c.sizes.add(position, c.one()));
  return makeSequence(replacePart(c, sequence.tensor, first, c.checkedSize(c.sizes.sub(end, first)), Value()),
                      replacePart(c, sequence.shapes, position, c.one(), Value()), sequence.isString);
}

/// The dimensions in row `position`, of which there must be `rank`.
static Sizes readRow(LegalizeContext &c, Value shapes, Size position, int64_t rank) {
  int64_t length = getRowLength(shapes);
  if (rank > length) {
    (void)c.error(
        "E0307",
        llvm::formatv("an element of a sequence has at most {0} dimensions, not {1}", length, rank).str());
    return Sizes(rank, c.one());
  }
  Sizes dims;
  if (length > 0) {
    Value row = c.reshape(sliceRows(c, shapes, position, c.one()), {c.b.getIndexAttr(length)});
    dims = c.readScalars(row)->elements;
  }
  for (auto [i, dim] : llvm::enumerate(dims)) {
    if (int64_t(i) < rank) {
      dim = c.checkedSize(dim);
    } else {
      c.require(c.sizes.compare(CompareKind::Less, dim, c.b.getIndexAttr(0)),
                "an element of a sequence has more dimensions than are declared");
    }
  }
  dims.resize(rank);
  return dims;
}

LegalValue lathe::onnx::getElement(LegalizeContext &c, const LegalValue &sequence, Size position,
                                   int64_t rank) {
  Sizes dims = readRow(c, sequence.shapes, position, rank);
  Value part = c.slice(sequence.tensor, 0, sumElements(c, sequence.shapes, position), c.checkedProduct(dims));
  LegalValue element;
  element.tensor = c.reshape(part, dims);
  element.isString = sequence.isString;
  return element;
}

Value lathe::onnx::concatElements(LegalizeContext &c, const LegalValue &sequence, int64_t axis, bool isNew) {
  Value shapes = sequence.shapes;
  int64_t rank = getRowLength(shapes);
  if (!c.normalizeAxis(axis, rank + isNew)) {
    return Value();
  }
  if (axis != 0 && !isNew) {
    (void)c.unsupported("a sequence of unknown length is joined along another dimension than the first");
    return Value();
  }
  Size count = getLength(c, sequence), zero = c.b.getIndexAttr(0);
  c.require(c.sizes.compare(CompareKind::Greater, count, zero), "an empty sequence makes no tensor");
  Sizes dims = readRow(c, shapes, zero, rank);
  // What must be the same in all: everything but the dimension along which they are joined.
  int64_t first = isNew ? 0 : 1;
  if (first < rank) {
    Size compared = c.b.getIndexAttr(rank - first);
    Value rest = c.slice(shapes, 1, c.b.getIndexAttr(first), compared);
    Value differs = c.compare(CompareKind::NotEqual, rest, sliceRows(c, rest, zero, c.one()));
    Value any = c.reduce(ReduceKind::Any, differs, {0, 1}, /*keepDims=*/false);
    c.require(c.sizes.compare(CompareKind::Equal, c.readScalars(any)->elements.front(), zero),
              "the elements of a sequence do not fit each other");
  }
  if (!isNew) {
    Value sum = c.reduce(ReduceKind::Sum, c.slice(shapes, 1, zero, c.one()), {0, 1}, /*keepDims=*/false);
    dims[0] = c.checkedSize(c.readScalars(sum)->elements.front());
    return c.reshape(sequence.tensor, dims);
  }
  dims.insert(dims.begin(), count);
  SmallVector<int64_t> perm = llvm::to_vector(llvm::seq<int64_t>(1, rank + 1));
  perm.insert(perm.begin() + axis, 0);
  return c.transpose(c.reshape(sequence.tensor, dims), perm);
}

//===----------------------------------------------------------------------===//
// Splitting
//===----------------------------------------------------------------------===//

LegalValue lathe::onnx::splitEvenly(LegalizeContext &c, Value x, int64_t axis, Size size, bool keepDim) {
  Sizes dims = c.shapeOf(x);
  Size length = dims[axis], zero = c.b.getIndexAttr(0);
  c.require(c.sizes.compare(CompareKind::GreaterOrEqual, size, c.one()), "the parts have no size");
  // Division by what may be 0 would end the program before the check.
  size = c.sizes.max(size, c.one());
  Size whole = c.checkedSize(c.sizes.div(length, size, /*floor=*/true)), used = c.sizes.mul(whole, size);
  Size left = c.checkedSize(c.sizes.sub(length, used));
  // [before, whole, size, after] to [whole, before, size, after]: then part lies behind part.
  Size before = c.sizes.product(ArrayRef<Size>(dims).take_front(axis));
  Size after = c.sizes.product(ArrayRef<Size>(dims).drop_front(axis + 1));
  Value even = c.reshape(c.slice(x, axis, zero, used), {before, whole, c.checkedSize(size), after});
  Value contents = flatten(c, c.transpose(even, {1, 0, 2, 3}));
  Sizes row = dims;
  int64_t rank = dims.size() - (keepDim ? 0 : 1);
  if (keepDim) {
    row[axis] = size;
  } else {
    row.erase(row.begin() + axis);
  }
  Value shapes = c.expand(buildRow(c, row, rank), {whole, c.b.getIndexAttr(rank)});
  if (keepDim && getConstantIntValue(left) != 0) {
    Value last = flatten(c, c.slice(x, axis, used, left));
    contents = nn::buildConcat(c.b, c.loc, {contents, last}, 0);
    row[axis] = left;
    Size more = c.sizes.compare(CompareKind::Greater, left, zero);
    Value lastRow = sliceRows(c, buildRow(c, row, rank), zero, c.checkedSize(more));
    shapes = nn::buildConcat(c.b, c.loc, {shapes, lastRow}, 0);
  }
  return makeSequence(contents, shapes, /*isString=*/false);
}

LegalValue lathe::onnx::splitAtFront(LegalizeContext &c, Value x, Value sizes) {
  sizes = c.cast(sizes, c.b.getI64Type());
  Sizes dims = c.shapeOf(x);
  Size count = c.shapeOf(sizes)[0], zero = c.b.getIndexAttr(0);
  Value sum = c.reduce(ReduceKind::Sum, sizes, {0}, /*keepDims=*/false);
  Value bad = c.reduce(ReduceKind::Any, c.compare(CompareKind::Less, sizes, c.scalar(0, sizes)), {0},
                       /*keepDims=*/false);
  c.require(c.sizes.compare(CompareKind::Equal, c.readScalars(sum)->elements.front(), dims[0]),
            "the parts are not as long as the dimension");
  c.require(c.sizes.compare(CompareKind::Equal, c.readScalars(bad)->elements.front(), zero),
            "a part has a negative size");
  Value shapes = c.reshape(sizes, {count, c.one()});
  if (dims.size() > 1) {
    int64_t rest = dims.size() - 1;
    Value others = buildRow(c, ArrayRef<Size>(dims).drop_front(), rest);
    shapes = nn::buildConcat(c.b, c.loc, {shapes, c.expand(others, {count, c.b.getIndexAttr(rest)})}, 1);
  }
  return makeSequence(flatten(c, x), shapes, /*isString=*/false);
}
