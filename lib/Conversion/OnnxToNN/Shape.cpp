// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Shapes as values, constants and conversions.

#include "Strings.h"

#include "lathe/Dialect/Onnx/IR/Onnx.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/IR/Matchers.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::CompareKind;

static LogicalResult legalizeShape(LegalizeContext &c) {
  Sizes dims = c.shapeOf(0);
  int64_t rank = dims.size();
  // Versions 15 and up take a part of the shape; both ends clamp.
  auto clampEnd = [&](int64_t end) { return std::clamp<int64_t>(end < 0 ? end + rank : end, 0, rank); };
  int64_t start = clampEnd(c.intAttr("start", 0)), end = clampEnd(c.intAttr("end", rank));
  Sizes part(ArrayRef<Size>(dims).slice(start, std::max<int64_t>(end - start, 0)));
  return c.setScalars({c.b.getI64Type(), {int64_t(part.size())}, part});
}

static LogicalResult legalizeSize(LegalizeContext &c) {
  return c.setScalars({c.b.getI64Type(), {}, {c.sizes.product(c.shapeOf(0))}});
}

static LogicalResult legalizeConstantOfShape(LegalizeContext &c) {
  std::optional<Scalars> shape = c.listOrRead(0, c.declaredRank(0).value_or(-1));
  if (!shape) {
    return c.dataDependent("the rank of the result is the number of elements of a shape of unknown size");
  }
  for (Size dim : shape->elements) {
    if (std::optional<int64_t> number = getConstantIntValue(dim); number && *number < 0) {
      return c.error("E0307", llvm::formatv("a dimension of the shape is {0}", *number).str());
    }
  }
  for (Size &dim : shape->elements) {
    dim = c.checkedSize(dim);
  }
  ElementsAttr value = c.tensorAttr("value");
  if (c.hasFailed()) {
    return failure();
  }
  Type elementType = value ? value.getElementType() : c.b.getF32Type();
  auto dense = dyn_cast_or_null<DenseElementsAttr>(value);
  if (value && (!dense || dense.getNumElements() != 1)) {
    return c.error("E0303", "value is not a tensor of one element", "value");
  }
  std::optional<SmallVector<int64_t>> fixed = getConstantIntValues(shape->elements);
  bool isCounted =
      elementType.isSignlessInteger(64) || elementType.isSignlessInteger(32) || elementType.isInteger(1);
  if (isCounted && fixed && fixed->size() <= 1 && ShapedType::getNumElements(*fixed) <= kMaxScalars) {
    APInt number = *dense.value_begin<APInt>();
    Size element =
        c.b.getIndexAttr(number.getBitWidth() == 1 ? number.getZExtValue() : number.getSExtValue());
    return c.setScalars({elementType, *fixed, Sizes(ShapedType::getNumElements(*fixed), element)});
  }
  auto scalarType = RankedTensorType::get({}, elementType);
  Value scalar = dense ? arith::ConstantOp::create(c.b, c.loc, dense.reshape(scalarType)).getResult()
                       : nn::buildScalar(c.b, c.loc, elementType, 0);
  return c.set(c.expand(scalar, shape->elements));
}

//===----------------------------------------------------------------------===//
// Range
//===----------------------------------------------------------------------===//

/// The value of a constant of one element as a double.
static std::optional<double> readNumber(Value tensor) {
  DenseElementsAttr elements;
  if (!matchPattern(tensor, m_Constant(&elements)) || elements.getNumElements() != 1) {
    return std::nullopt;
  }
  if (isa<FloatType>(elements.getElementType())) {
    APFloat number = *elements.value_begin<APFloat>();
    bool losesInfo;
    number.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &losesInfo);
    return number.convertToDouble();
  }
  return double((*elements.value_begin<APInt>()).getSExtValue());
}

/// The number of integers from `first` up or down to `last`, which is not among them.
static Size countSteps(LegalizeContext &c, Size first, Size last, Size step) {
  SizeArith &sizes = c.sizes;
  Size zero = c.b.getIndexAttr(0), isUp = sizes.compare(CompareKind::Greater, step, zero);
  Size distance = sizes.select(isUp, sizes.sub(last, first), sizes.sub(first, last));
  Size width = sizes.max(sizes.select(isUp, step, sizes.sub(zero, step)), c.one());
  distance = sizes.max(distance, zero);
  return sizes.div(sizes.add(distance, sizes.sub(width, c.one())), width, /*floor=*/false);
}

/// The same for floats, and for what is known only as a tensor: computed in f64, as a tensor of one element.
static FailureOr<Size> countFloatSteps(LegalizeContext &c) {
  std::optional<double> numbers[3];
  for (unsigned i = 0; i < 3; ++i) {
    numbers[i] = readNumber(c.operand(i));
  }
  if (numbers[2] == 0) {
    return c.error("E0304", "the step is 0");
  }
  if (numbers[0] && numbers[1] && numbers[2]) {
    double count = (*numbers[1] - *numbers[0]) / *numbers[2];
    if (!(std::abs(count) < double(nn::kMaxDim))) {
      return c.error("E0304", llvm::formatv("{0} to {1} in steps of {2} is no range", *numbers[0],
                                            *numbers[1], *numbers[2])
                                  .str());
    }
    return Size(c.b.getIndexAttr(std::max<int64_t>(std::ceil(count), 0)));
  }
  Type f64 = c.b.getF64Type();
  Value distance =
      c.cast(c.binary(nn::BinaryKind::Sub, c.reshape(c.operand(1), {}), c.reshape(c.operand(0), {})), f64);
  Value count = c.binary(nn::BinaryKind::Div, distance, c.cast(c.reshape(c.operand(2), {}), f64));
  return toSize(c, c.binary(nn::BinaryKind::Max, c.unary(nn::UnaryKind::Ceil, count), c.scalar(0, count)));
}

static LogicalResult legalizeRange(LegalizeContext &c) {
  Type elementType = c.elementType(0);
  if (c.elementType(1) != elementType || c.elementType(2) != elementType) {
    return c.error("E0306", llvm::formatv("the operands have different element types, {0}, {1} and {2}",
                                          elementType, c.elementType(1), c.elementType(2))
                                .str());
  }
  Size size;
  if (isa<IntegerType>(elementType)) {
    std::optional<Size> first = c.elementOrRead(0, "start"), last = c.elementOrRead(1, "limit"),
                        step = c.elementOrRead(2, "delta");
    if (!first || !last || !step) {
      return failure();
    }
    std::optional<int64_t> fixed = getConstantIntValue(*step);
    if (fixed == 0) {
      return c.error("E0304", "the step is 0");
    }
    c.require(c.sizes.compare(CompareKind::NotEqual, *step, c.b.getIndexAttr(0)), "the step is 0");
    size = c.checkedSize(countSteps(c, *first, *last, *step));
    std::optional<int64_t> count = getConstantIntValue(size), begin = getConstantIntValue(*first);
    bool isCounted = elementType.isSignlessInteger(64) || elementType.isSignlessInteger(32);
    if (isCounted && count && begin && fixed && *count <= kMaxScalars) {
      Sizes elements;
      for (int64_t i = 0; i < *count; ++i) {
        elements.push_back(c.b.getIndexAttr(*begin + i * *fixed));
      }
      return c.setScalars({elementType, {*count}, elements});
    }
  } else {
    FailureOr<Size> count = countFloatSteps(c);
    if (failed(count)) {
      return failure();
    }
    size = *count;
  }
  return c.set(nn::buildRange(c.b, c.loc, c.reshape(c.operand(0), {}), c.reshape(c.operand(2), {}), size));
}

//===----------------------------------------------------------------------===//
// Conversions
//===----------------------------------------------------------------------===//

Type LegalizeContext::typeAttr(StringRef name, Type fallback) {
  std::optional<int64_t> code = intAttr(name);
  if (!code) {
    return fallback;
  }
  Type type = onnx::getElementType(b.getContext(), *code);
  if (!type) {
    (void)error("E0304", llvm::formatv("{0} is {1}, which is no element type", name, *code).str(), name);
  } else if (!type.isIntOrFloat()) {
    (void)unsupported(llvm::formatv("elements of type {0}", type));
    return Type();
  }
  return type;
}

static LogicalResult castTo(LegalizeContext &c, Type type) {
  if (type == c.elementType(0)) {
    return c.forward(0);
  }
  bool isCounted = type.isSignlessInteger(64) || type.isSignlessInteger(32) || type.isInteger(1);
  if (isCounted && foldScalars(c, type, {0}, [&](ArrayRef<Size> x) {
        return type.isInteger(1) ? c.sizes.compare(CompareKind::NotEqual, x[0], c.b.getIndexAttr(0)) : x[0];
      })) {
    return success();
  }
  bool saturate = c.intAttr("saturate", 1) != 0;
  StringRef mode = c.stringAttr("round_mode").value_or("up");
  std::optional<nn::PowerRoundingKind> rounding = nn::symbolizePowerRoundingKind(mode);
  if (!rounding) {
    return c.error("E0304", "round_mode is \"" + mode + "\", must be \"up\", \"down\" or \"nearest\"",
                   "round_mode");
  }
  return c.set(nn::createInferred<nn::CastOp>(c.b, c.loc, type, c.operand(0), saturate, *rounding));
}

static LogicalResult legalizeCast(LegalizeContext &c) {
  if (!c.hasAttr("to")) {
    return c.error("E0303", "to is missing", "to");
  }
  constexpr int64_t kString = 8;
  if (c.intAttr("to") == kString) {
    return castToStrings(c);
  }
  Type type = c.typeAttr("to", Type());
  return !type ? failure() : c.legal(0).isString ? castFromStrings(c, type) : castTo(c, type);
}

static LogicalResult legalizeCastLike(LegalizeContext &c) {
  if (c.legal(1).isString) {
    return castToStrings(c);
  }
  Type type = c.elementType(1);
  return c.legal(0).isString ? castFromStrings(c, type) : castTo(c, type);
}

static LogicalResult legalizeIdentity(LegalizeContext &c) { return c.forward(0); }

void lathe::onnx::registerShape(LegalizerRegistry &registry) {
  registry.add("Shape", 1, 1, legalizeShape);
  registry.add("Size", 1, 1, legalizeSize);
  registry.add("ConstantOfShape", 1, 1, legalizeConstantOfShape);
  registry.add("Range", 3, 3, legalizeRange);
  registry.addForAny("Cast", 1, 1, legalizeCast);
  registry.addForAny("CastLike", 2, 2, legalizeCastLike);
  registry.addForAny("Identity", 1, 1, legalizeIdentity);
}
