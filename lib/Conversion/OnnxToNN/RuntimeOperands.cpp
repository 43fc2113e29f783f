// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Operands that say how large something is, where only the run knows them: the host program reads them.

#include "Windows.h"

#include "lathe/Dialect/NN/IR/NNHost.h"
#include "lathe/Dialect/Onnx/IR/Onnx.h"

#include "llvm/ADT/SetVector.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;
using nn::CompareKind;

std::optional<Scalars> LegalizeContext::scalarsOrRead(unsigned i) {
  if (const Scalars *known = scalars(i)) {
    return *known;
  }
  return readScalars(operand(i));
}

std::optional<Scalars> LegalizeContext::readScalars(Value tensor) {
  auto type = mlir::cast<RankedTensorType>(tensor.getType());
  if (!isa<IntegerType>(type.getElementType()) || !type.hasStaticShape() ||
      type.getNumElements() > kMaxReads) {
    return std::nullopt;
  }
  Scalars result{type.getElementType(), llvm::to_vector(type.getShape()), {}};
  for (int64_t position = 0; position < type.getNumElements(); ++position) {
    result.elements.push_back(nn::ReadIndexOp::create(b, loc, tensor, position).getResult());
  }
  return result;
}

/// Whether operand `i` is a list of integers whose length the model does not say.
static bool isOpenList(LegalizeContext &c, unsigned i) {
  return isa<IntegerType>(c.elementType(i)) && c.rank(i) == 1 &&
         ShapedType::isDynamic(c.type(i).getDimSize(0));
}

std::optional<Scalars> LegalizeContext::listOrRead(unsigned i, int64_t count) {
  std::optional<Scalars> list = scalarsOrRead(i);
  bool isOpen = !list && count >= 0 && isOpenList(*this, i);
  return isOpen ? readScalars(reshape(operand(i), {b.getIndexAttr(count)})) : list;
}

std::optional<Scalars> LegalizeContext::shorterListOrRead(unsigned i, int64_t most, int64_t fill, Side side) {
  std::optional<Scalars> list = scalarsOrRead(i);
  if (list || most > kMaxReads || !isOpenList(*this, i)) {
    return list;
  }
  Size length = shapeOf(i).front(), zero = b.getIndexAttr(0), count = b.getIndexAttr(most);
  require(sizes.compare(CompareKind::LessOrEqual, length, count),
          llvm::formatv("a list has more than {0} elements", most).str());
  Size missing = sizes.sub(count, length);
  Value wide = cast(operand(i), b.getI64Type()), value = scalar(double(fill), wide);
  Value filled = side == Side::Before ? buildPad(*this, nn::PadKind::Constant, wide, value, missing, zero)
                                      : buildPad(*this, nn::PadKind::Constant, wide, value, zero, missing);
  // The sum of what is there and what is missing is known here, not in the type.
  return readScalars(nn::buildReshape(b, loc, filled, {count}));
}

std::optional<Size> LegalizeContext::onlyElement(LegalValue &value) {
  const Scalars *known = asScalars(value);
  std::optional<Scalars> list = known ? std::optional(*known) : std::nullopt;
  if (!list && value.isNumeric() && value.tensor) {
    auto type = llvm::cast<RankedTensorType>(value.tensor.getType());
    bool isOpen = isa<IntegerType>(type.getElementType()) && !type.hasStaticShape();
    if (isOpen) {
      // Here, as control flow states nothing of the ops before it.
      require(sizes.compare(CompareKind::Equal, sizes.product(shapeOf(value.tensor)), one()),
              "what must be one element has more or fewer");
    }
    list = readScalars(isOpen ? reshape(value.tensor, {}) : value.tensor);
  }
  return list && list->elements.size() == 1 ? std::optional(list->elements.front()) : std::nullopt;
}

std::optional<Size> LegalizeContext::elementOrRead(unsigned i, StringRef name) {
  std::optional<Size> element = onlyElement(*inputs[i]);
  if (!element) {
    (void)error("E0307", name + " must be one integer");
  }
  return element;
}

Size lathe::onnx::toSize(LegalizeContext &c, Value number) {
  // More than any dimension, and still an integer. What is no number must not become one.
  Value wide = c.cast(number, c.b.getF64Type());
  Value limit = c.scalar(2.0 * double(nn::kMaxDim), wide);
  wide = c.select(c.compare(CompareKind::LessOrEqual, wide, limit), wide, limit);
  return c.checkedSize(c.readScalars(c.cast(wide, c.b.getI64Type()))->elements.front());
}

/// Whether the result of a node has the rank of the operand that `use` is: that of operators of one operand,
/// or whose others have no part in it, and that of what is added to or multiplied by single numbers.
static bool keepsRank(NodeOp node, OpOperand &use) {
  if (llvm::is_contained({"Add", "Div", "Max", "Min", "Mul", "Pow", "Sub"}, node.getOpType())) {
    return llvm::all_of(node->getOpOperands(), [&](OpOperand &other) {
      auto type = dyn_cast<RankedTensorType>(other.get().getType());
      return &other == &use || (type && type.getRank() == 0);
    });
  }
  return use.getOperandNumber() == 0 && llvm::is_contained({"Abs", "Cast", "CastLike", "Exp", "Identity",
                                                            "Log", "Neg", "Relu", "Sigmoid", "Sqrt", "Tanh"},
                                                           node.getOpType());
}

std::optional<int64_t> LegalizeContext::declaredRank(unsigned result) const {
  // Within a function nothing is declared but what it gives.
  llvm::SetVector<Value> values;
  values.insert(node.op->getResult(result));
  constexpr size_t kMaxValues = 32;
  for (size_t i = 0; i < std::min(values.size(), kMaxValues); ++i) {
    if (auto type = dyn_cast<RankedTensorType>(values[i].getType())) {
      return type.getRank();
    }
    for (OpOperand &use : values[i].getUses()) {
      auto user = dyn_cast<NodeOp>(use.getOwner());
      if (user && keepsRank(user, use)) {
        values.insert(user->getResult(0));
      }
    }
  }
  return std::nullopt;
}

Size LegalizeContext::axisPosition(Size axis, int64_t rank, Size isAbsent) {
  Size zero = b.getIndexAttr(0), count = b.getIndexAttr(rank);
  Size isNegative = sizes.compare(CompareKind::Less, axis, zero);
  Size position = sizes.select(isNegative, sizes.add(axis, count), axis);
  std::string message = llvm::formatv("an axis is out of range for {0} dimensions", rank).str();
  for (Size fits : {sizes.compare(CompareKind::GreaterOrEqual, position, zero),
                    sizes.compare(CompareKind::Less, position, count)}) {
    require(isAbsent ? sizes.max(fits, isAbsent) : fits, message);
  }
  return isAbsent ? sizes.select(isAbsent, b.getIndexAttr(-1), position) : position;
}

//===----------------------------------------------------------------------===//
// Lists of axes
//===----------------------------------------------------------------------===//

Value lathe::onnx::nameDimensions(LegalizeContext &c, unsigned i, int64_t rank) {
  Type i64 = c.b.getI64Type();
  Value axes = c.reshape(c.cast(c.operand(i), i64), {c.sizes.product(c.shapeOf(i)), c.one()});
  Value zero = nn::buildScalar(c.b, c.loc, i64, 0), one = nn::buildScalar(c.b, c.loc, i64, 1);
  Value isNegative = c.compare(CompareKind::Less, axes, zero);
  Value positions = c.select(isNegative, c.add(axes, c.scalar(double(rank), axes)), axes);
  Value dims = nn::buildRange(c.b, c.loc, zero, one, c.b.getIndexAttr(rank));
  return c.cast(c.compare(CompareKind::Equal, positions, dims), i64);
}

Sizes lathe::onnx::markNamed(LegalizeContext &c, Value names) {
  Size number = c.shapeOf(names).front(), total = c.b.getIndexAttr(0);
  Sizes marks = c.readScalars(c.reduce(nn::ReduceKind::Sum, names, {0}, /*keepDims=*/false))->elements;
  for (Size mark : marks) {
    c.require(c.sizes.compare(CompareKind::LessOrEqual, mark, c.one()), "axes names a dimension twice");
    total = c.sizes.add(total, mark);
  }
  c.require(c.sizes.compare(CompareKind::Equal, total, number), "an axis is out of range");
  return marks;
}
