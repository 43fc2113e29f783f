// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "Complex.h"

#include "mlir/IR/DialectResourceBlobManager.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;

/// A tensor of complex numbers as one that has their parts in a last dimension.
static RankedTensorType expandType(RankedTensorType type) {
  SmallVector<int64_t> shape(type.getShape());
  shape.push_back(2);
  return RankedTensorType::get(shape, cast<ComplexType>(type.getElementType()).getElementType());
}

static bool isComplex(Type type) {
  auto tensor = dyn_cast<RankedTensorType>(type);
  return tensor && isa<ComplexType>(tensor.getElementType());
}

void lathe::onnx::expandComplexWeights(ModuleOp module) {
  for (auto weight : module.getOps<nn::WeightOp>()) {
    auto resource = dyn_cast_or_null<DenseResourceElementsAttr>(weight.getValueAttr());
    if (!resource || !isComplex(resource.getType())) {
      continue;
    }
    RankedTensorType type = expandType(cast<RankedTensorType>(resource.getType()));
    weight.setValueAttr(DenseResourceElementsAttr::get(type, resource.getRawHandle()));
    weight.setType(type);
  }
  module.walk([](nn::WeightUseOp use) {
    if (isComplex(use.getType())) {
      use.getResult().setType(expandType(cast<RankedTensorType>(use.getType())));
      use->setAttr(kPartsAttr, UnitAttr::get(use.getContext()));
    }
  });
}

LegalValue lathe::onnx::bindComplex(OpBuilder &builder, arith::ConstantOp constant) {
  auto elements = cast<DenseElementsAttr>(constant.getValue());
  auto complex = cast<ComplexType>(elements.getElementType());
  auto type = RankedTensorType::get(elements.getType().getShape(), complex.getElementType());
  SmallVector<APFloat> real, imaginary;
  for (std::complex<APFloat> number : elements.getValues<std::complex<APFloat>>()) {
    real.push_back(number.real());
    imaginary.push_back(number.imag());
  }
  auto build = [&](ArrayRef<APFloat> numbers) {
    return arith::ConstantOp::create(builder, constant.getLoc(), DenseElementsAttr::get(type, numbers));
  };
  LegalValue value;
  value.tensor = build(real);
  value.imaginary = build(imaginary);
  return value;
}

LegalValue lathe::onnx::splitParts(LegalizeContext &c, Value joined) {
  Sizes dims = c.shapeOf(joined);
  int64_t last = dims.size() - 1;
  dims.pop_back();
  auto part = [&](int64_t i) { return c.reshape(c.slice(joined, last, c.b.getIndexAttr(i), c.one()), dims); };
  LegalValue value;
  value.tensor = part(0);
  value.imaginary = part(1);
  return value;
}

Value lathe::onnx::joinParts(LegalizeContext &c, const LegalValue &value) {
  Sizes dims = c.shapeOf(value.tensor);
  int64_t last = dims.size();
  dims.push_back(c.one());
  return nn::buildConcat(c.b, c.loc, {c.reshape(value.tensor, dims), c.reshape(value.imaginary, dims)}, last);
}

PartOperands::PartOperands(ArrayRef<LegalValue *> from, Part part) : operands(from) {
  for (LegalValue *&operand : operands) {
    if (!operand || !operand->imaginary) {
      continue;
    }
    auto real = std::make_unique<LegalValue>(*operand);
    Value imaginary = std::exchange(real->imaginary, Value());
    real->tensor = part == Part::Real ? real->tensor : imaginary;
    operand = real.get();
    parts.push_back(std::move(real));
  }
}
