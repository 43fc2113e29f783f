// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Reductions, softmax and positions of extrema.

#include "Legalizer.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::BinaryKind;
using nn::ReduceKind;
using nn::UnaryKind;

namespace {
/// What Reduce* computes: a reduction of a function of the operand, and a function of its result.
enum class Around { Plain, L1, L2, LogSum, LogSumExp };
} // namespace

/// Reduces scalars of rank 1 over their only dimension.
static bool reduceScalars(LegalizeContext &c, ReduceKind kind, ArrayRef<int64_t> axes, bool keepDims) {
  if (kind != ReduceKind::Sum && kind != ReduceKind::Prod && kind != ReduceKind::Max &&
      kind != ReduceKind::Min) {
    return false;
  }
  const Scalars *list = c.scalars(0);
  if (!list || list->shape.size() != 1 || axes.size() != 1 || list->elements.empty()) {
    return false;
  }
  Size result = list->elements.front();
  for (Size element : ArrayRef<Size>(list->elements).drop_front()) {
    switch (kind) {
    case ReduceKind::Sum:
      result = c.sizes.add(result, element);
      break;
    case ReduceKind::Prod:
      result = c.sizes.mul(result, element);
      break;
    case ReduceKind::Max:
      result = c.sizes.max(result, element);
      break;
    default:
      result = c.sizes.min(result, element);
    }
  }
  SmallVector<int64_t> shape(keepDims ? 1 : 0, 1);
  return succeeded(c.setScalars({list->elementType, shape, {result}}));
}

/// The reduction of `x` and what stands around it.
static Value buildReduction(LegalizeContext &c, ReduceKind kind, Around around, Value x,
                            ArrayRef<int64_t> axes, bool keepDims) {
  switch (around) {
  case Around::Plain:
    // Max and Min of bools are any and all.
    if (nn::getElementType(x).isInteger(1)) {
      kind = kind == ReduceKind::Max ? ReduceKind::Any : ReduceKind::All;
    }
    return c.reduce(kind, x, axes, keepDims);
  case Around::L1:
    return c.reduce(ReduceKind::Sum, c.unary(UnaryKind::Abs, x), axes, keepDims);
  case Around::L2: {
    // Of integers the root is cut off, and squares need not fit.
    Type type = nn::getElementType(x), computed = isa<IntegerType>(type) ? Type(c.b.getF64Type()) : type;
    Value sum = c.reduce(ReduceKind::SumSquare, c.cast(x, computed), axes, keepDims);
    return c.cast(c.unary(UnaryKind::Sqrt, sum), type);
  }
  case Around::LogSum:
    return c.unary(UnaryKind::Log, c.reduce(ReduceKind::Sum, x, axes, keepDims));
  case Around::LogSumExp:
    break;
  }
  // log(sum(exp(x - max))) + max, which does not overflow. An infinite maximum must not become inf - inf.
  Value max = c.reduce(ReduceKind::Max, x, axes, /*keepDims=*/true);
  Value finite = c.select(c.unary(UnaryKind::IsInf, max), c.scalar(0, max), max);
  Value exps = c.unary(UnaryKind::Exp, c.binary(BinaryKind::Sub, x, finite));
  Value sum = c.reduce(ReduceKind::Sum, exps, axes, /*keepDims=*/true);
  Value result = c.add(c.unary(UnaryKind::Log, sum), finite);
  if (keepDims) {
    return result;
  }
  Sizes dims;
  for (auto [axis, dim] : llvm::enumerate(c.shapeOf(result))) {
    if (!llvm::is_contained(axes, int64_t(axis))) {
      dims.push_back(dim);
    }
  }
  return c.reshape(result, dims);
}

/// The same over axes that only the run tells. Each dimension becomes two, of which one has one element: what
/// is kept of it, and what is reduced.
static LogicalResult reduceByData(LegalizeContext &c, ReduceKind kind, Around around, bool keepDims) {
  SizeArith &sizes = c.sizes;
  Sizes dims = c.shapeOf(0);
  int64_t rank = dims.size();
  Size number = sizes.product(c.shapeOf(1)), zero = c.b.getIndexAttr(0);
  std::optional<int64_t> named = getConstantIntValue(number), left = c.declaredRank(0);
  left = named ? rank - *named : left;
  if (rank == 0 || rank > kMaxReads || (!keepDims && (!left || *left < 0))) {
    return c.dataDependent("the rank of the result is a matter of how many axes there are");
  }
  Sizes marks = markNamed(c, nameDimensions(c, 1, rank)), split, kept;
  bool reducesAll = c.intAttr("noop_with_empty_axes", 0) == 0;
  Size isEmpty = sizes.compare(nn::CompareKind::Equal, number, zero);
  SmallVector<int64_t> axes;
  for (int64_t i = 0; i < rank; ++i) {
    marks[i] = reducesAll ? sizes.select(isEmpty, c.one(), marks[i]) : marks[i];
    kept.push_back(c.checkedSize(sizes.select(marks[i], c.one(), dims[i])));
    split.push_back(kept.back());
    split.push_back(c.checkedSize(sizes.select(marks[i], dims[i], c.one())));
    axes.push_back(2 * i + 1);
  }
  Value result = buildReduction(c, kind, around, c.reshape(c.operand(0), split), axes, /*keepDims=*/false);
  if (keepDims) {
    return c.set(result);
  }
  if (!named) {
    Size reduced = reducesAll ? sizes.select(isEmpty, c.b.getIndexAttr(rank), number) : number;
    c.require(sizes.compare(nn::CompareKind::Equal, reduced, c.b.getIndexAttr(rank - *left)),
              "there are more or fewer axes than the rank of the result says");
  }
  return c.set(c.reshape(result, dropMarked(c, dims, marks, *left)));
}

static LogicalResult legalizeReduce(LegalizeContext &c, ReduceKind kind, Around around) {
  int64_t rank = c.rank(0);
  bool keepDims = c.intAttr("keepdims", 1) != 0;
  if (!c.hasAttr("axes") && c.has(1) && !c.scalars(1)) {
    return reduceByData(c, kind, around, keepDims);
  }
  SmallVector<int64_t> axes = c.intsAttrOrInput("axes", 1).value_or(SmallVector<int64_t>());
  if (c.hasFailed() || !c.normalizeAxes(axes, rank)) {
    return failure();
  }
  if (axes.empty()) {
    if (c.intAttr("noop_with_empty_axes", 0) != 0) {
      // Over no axes each element is a set of its own: the functions around the reduction stay.
      Value x = c.operand(0);
      switch (around) {
      case Around::Plain:
        return kind == ReduceKind::SumSquare ? c.set(c.mul(x, x)) : c.forward(0);
      case Around::L1:
      case Around::L2:
        return c.set(c.unary(UnaryKind::Abs, x));
      case Around::LogSum:
        return c.set(c.unary(UnaryKind::Log, x));
      case Around::LogSumExp:
        return c.forward(0);
      }
    }
    axes = llvm::to_vector(llvm::seq<int64_t>(0, rank));
  }
  if (around == Around::Plain && reduceScalars(c, kind, axes, keepDims)) {
    return success();
  }
  return c.set(buildReduction(c, kind, around, c.operand(0), axes, keepDims));
}

static LogicalResult legalizeArgReduce(LegalizeContext &c, nn::ArgReduceKind kind) {
  int64_t axis = c.intAttr("axis", 0);
  if (!c.normalizeAxis(axis, c.rank(0))) {
    return failure();
  }
  return c.set(nn::buildArgReduce(c.b, c.loc, kind, c.operand(0), axis, c.intAttr("keepdims", 1) != 0,
                                  c.intAttr("select_last_index", 0) != 0));
}

/// Softmax before version 13 has axis 1 by default and normalizes over all dimensions from it on.
static LogicalResult legalizeSoftmax(LegalizeContext &c, bool log) {
  bool flattens = c.node.version < 13;
  int64_t axis = c.intAttr("axis", flattens ? 1 : -1);
  Value x = c.operand(0);
  int64_t rank = nn::getRank(x);
  // The old versions allow axis = rank: a softmax over one element each.
  if (flattens && axis == rank) {
    Value one = c.scalar(log ? 0 : 1, x);
    return c.set(c.expand(one, c.shapeOf(x)));
  }
  if (!c.normalizeAxis(axis, rank)) {
    return failure();
  }
  if (!flattens || axis == rank - 1) {
    return c.set(nn::buildSoftmax(c.b, c.loc, x, axis, log));
  }
  Sizes dims = c.shapeOf(x);
  Sizes flat(ArrayRef<Size>(dims).take_front(axis));
  flat.push_back(c.sizes.product(ArrayRef<Size>(dims).drop_front(axis)));
  Value result = nn::buildSoftmax(c.b, c.loc, c.reshape(x, flat), axis, log);
  return c.set(c.reshape(result, dims));
}

void lathe::onnx::registerReductions(LegalizerRegistry &registry) {
  static constexpr std::tuple<const char *, ReduceKind, Around> reductions[] = {
      {"ReduceSum", ReduceKind::Sum, Around::Plain},
      {"ReduceMean", ReduceKind::Mean, Around::Plain},
      {"ReduceMax", ReduceKind::Max, Around::Plain},
      {"ReduceMin", ReduceKind::Min, Around::Plain},
      {"ReduceProd", ReduceKind::Prod, Around::Plain},
      {"ReduceSumSquare", ReduceKind::SumSquare, Around::Plain},
      {"ReduceL1", ReduceKind::Sum, Around::L1},
      {"ReduceL2", ReduceKind::Sum, Around::L2},
      {"ReduceLogSum", ReduceKind::Sum, Around::LogSum},
      {"ReduceLogSumExp", ReduceKind::Sum, Around::LogSumExp}};
  for (auto [name, kind, around] : reductions) {
    registry.add(name, 1, 2, [kind = kind, around = around](LegalizeContext &c) {
      return legalizeReduce(c, kind, around);
    });
  }
  registry.add("ArgMax", 1, 1,
               [](LegalizeContext &c) { return legalizeArgReduce(c, nn::ArgReduceKind::Max); });
  registry.add("ArgMin", 1, 1,
               [](LegalizeContext &c) { return legalizeArgReduce(c, nn::ArgReduceKind::Min); });
  registry.add("Softmax", 1, 1, [](LegalizeContext &c) { return legalizeSoftmax(c, /*log=*/false); });
  registry.add("LogSoftmax", 1, 1, [](LegalizeContext &c) { return legalizeSoftmax(c, /*log=*/true); });
}
