// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Matrix products.

#include "Activations.h"
#include "Products.h"

#include "lathe/Dialect/NN/IR/NNInteger.h"
#include "lathe/Dialect/NN/IR/NNNumeric.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::onnx;

/// Swaps the last two dimensions.
static Value transposeLast(LegalizeContext &c, Value x) {
  int64_t rank = nn::getRank(x);
  SmallVector<int64_t> perm = llvm::to_vector(llvm::seq<int64_t>(0, rank));
  std::swap(perm[rank - 1], perm[rank - 2]);
  return c.transpose(x, perm);
}

Value lathe::onnx::matmul(LegalizeContext &c, Value lhs, Value rhs, const ZeroPoints *zeros) {
  if (!zeros && nn::getElementType(lhs) != nn::getElementType(rhs)) {
    (void)c.error("E0306", llvm::formatv("the operands have different element types, {0} and {1}",
                                         nn::getElementType(lhs), nn::getElementType(rhs))
                               .str());
    return lhs;
  }
  Sizes lhsDims = c.shapeOf(lhs), rhsDims = c.shapeOf(rhs);
  if (lhsDims.empty() || rhsDims.empty()) {
    (void)c.error("E0307", "an operand has no dimensions");
    return lhs;
  }
  bool isRow = lhsDims.size() == 1, isColumn = rhsDims.size() == 1;
  if (isRow) {
    lhs = c.reshape(lhs, {c.one(), lhsDims[0]});
  }
  if (isColumn) {
    rhs = c.reshape(rhs, {rhsDims[0], c.one()});
  }
  Size inner = lhsDims.back(), other = isColumn ? rhsDims[0] : rhsDims[rhsDims.size() - 2];
  if (nn::areDifferentSizes(inner, other)) {
    (void)c.error("E0307", llvm::formatv("a matrix with {0} columns is multiplied with one of {1} rows",
                                         *getConstantIntValue(inner), *getConstantIntValue(other))
                               .str());
    return lhs;
  }
  constexpr StringRef kFits = "the first matrix must have as many columns as the second has rows";
  lhs = c.fixSize(lhs, nn::getRank(lhs) - 1, other, kFits);
  rhs = c.fixSize(rhs, nn::getRank(rhs) - 2, inner, kFits);
  Value product = zeros ? nn::buildIntegerMatMul(c.b, c.loc, lhs, rhs, zeros->lhs, zeros->rhs)
                        : nn::buildMatMul(c.b, c.loc, lhs, rhs);
  if (isRow || isColumn) {
    Sizes dims = c.shapeOf(product);
    if (isRow) {
      dims.erase(dims.end() - 2);
    }
    if (isColumn) {
      dims.pop_back();
    }
    product = c.reshape(product, dims);
  }
  return product;
}

static LogicalResult legalizeMatMul(LegalizeContext &c) {
  return c.set(matmul(c, c.operand(0), c.operand(1)));
}

static Value scale(LegalizeContext &c, Value x, double factor) {
  return factor == 1 ? x : c.mul(x, c.scalar(factor, x));
}

/// The result of Gemm; null after an error.
static Value gemm(LegalizeContext &c) {
  Value lhs = c.operand(0), rhs = c.operand(1);
  if (nn::getRank(lhs) != 2 || nn::getRank(rhs) != 2) {
    (void)c.error("E0307", llvm::formatv("the operands have {0} and {1} dimensions, must have 2",
                                         nn::getRank(lhs), nn::getRank(rhs))
                               .str());
    return {};
  }
  if (c.intAttr("transA", 0) != 0) {
    lhs = transposeLast(c, lhs);
  }
  if (c.intAttr("transB", 0) != 0) {
    rhs = transposeLast(c, rhs);
  }
  Value result = scale(c, matmul(c, lhs, rhs), c.floatAttr("alpha", 1));
  double beta = c.floatAttr("beta", 1);
  if (c.has(2) && beta != 0 && !c.hasFailed()) {
    result = c.add(result, scale(c, c.operand(2), beta));
  }
  return c.hasFailed() ? Value() : result;
}

static LogicalResult legalizeGemm(LegalizeContext &c) { return c.set(gemm(c)); }

//===----------------------------------------------------------------------===//
// com.microsoft
//===----------------------------------------------------------------------===//

/// The function that the attributes name, if any, of the result.
static Value activateResult(LegalizeContext &c, Value result) {
  StringRef name = c.stringAttr("activation").value_or("");
  if (!result || name.empty()) {
    return result;
  }
  return activate(
      c, name, result,
      {c.floatAttr("activation_alpha"), c.floatAttr("activation_beta"), c.floatAttr("activation_gamma")});
}

static LogicalResult legalizeFusedGemm(LegalizeContext &c) { return c.set(activateResult(c, gemm(c))); }

/// An operand of FusedMatMul. With `batch`, its first dimension belongs behind those of the batch; then the
/// last two are swapped with `last`. A vector has nothing to transpose.
static Value transposeOperand(LegalizeContext &c, unsigned i, StringRef last, StringRef batch) {
  Value x = c.operand(i);
  int64_t rank = nn::getRank(x);
  if (rank < 2) {
    return x;
  }
  if (c.intAttr(batch, 0) != 0) {
    SmallVector<int64_t> perm = llvm::to_vector(llvm::seq<int64_t>(1, rank));
    perm.insert(perm.end() - 1, 0);
    x = c.transpose(x, perm);
  }
  return c.intAttr(last, 0) != 0 ? transposeLast(c, x) : x;
}

/// FusedMatMul and FusedMatMulActivation: a MatMul with transposes, a factor and a function.
static LogicalResult legalizeFusedMatMul(LegalizeContext &c) {
  Value lhs = transposeOperand(c, 0, "transA", "transBatchA");
  Value rhs = transposeOperand(c, 1, "transB", "transBatchB");
  Value product = matmul(c, lhs, rhs);
  if (c.hasFailed()) {
    return failure();
  }
  return c.set(activateResult(c, scale(c, product, c.floatAttr("alpha", 1))));
}

/// The determinant of each matrix of the last two dimensions, computed in f32 if they are narrower.
static LogicalResult legalizeDet(LegalizeContext &c) {
  Sizes dims = c.shapeOf(0);
  if (dims.size() < 2) {
    return c.error("E0307",
                   llvm::formatv("the operand has {0} dimensions, must have at least 2", dims.size()).str());
  }
  Size rows = dims[dims.size() - 2];
  if (!c.sizes.isSame(rows, dims.back())) {
    c.require(c.sizes.compare(nn::CompareKind::Equal, rows, dims.back()), "the matrices are not square");
  }
  if (c.hasFailed()) {
    return failure();
  }
  Type type = c.elementType(0), wide = type.isF64() ? type : Type(c.b.getF32Type());
  ArrayRef<Size> batch = ArrayRef<Size>(dims).drop_back(2);
  Value x = c.reshape(c.cast(c.operand(0), wide), {c.sizes.product(batch), rows, rows});
  auto op = nn::createInferred<nn::DeterminantOp>(c.b, c.loc, ArrayRef<Type>{wide, wide}, x);
  return c.set(c.cast(c.reshape(op.getResult(), batch), type));
}

void lathe::onnx::registerMatMul(LegalizerRegistry &registry) {
  registry.add("Det", 1, 1, legalizeDet);
  registry.add("MatMul", 2, 2, legalizeMatMul);
  registry.add("Gemm", 2, 3, legalizeGemm);
  registry.add("FusedGemm", 2, 3, legalizeFusedGemm, kMicrosoft);
  for (StringRef name : {"FusedMatMul", "TransposeMatMul", "FusedMatMulActivation"}) {
    registry.add(name, 2, 2, legalizeFusedMatMul, kMicrosoft);
  }
  registerEinsum(registry);
}
