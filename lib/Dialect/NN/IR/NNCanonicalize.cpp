// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Canonicalization patterns of the nn ops: what needs a new op, so that a folder cannot do it.

#include "FoldUtils.h"
#include "VerifyUtils.h"

#include "lathe/Dialect/NN/IR/Builders.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/IR/IRMapping.h"
#include "mlir/IR/Matchers.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace lathe::nn;
using namespace lathe::nn::detail;

//===----------------------------------------------------------------------===//
// Pointwise
//===----------------------------------------------------------------------===//

static bool isConstant(Value value) { return matchPattern(value, m_Constant()); }

/// Whether `op` broadcasts to `sizes` even if the operand that has these sizes is left out: in every
/// dimension where `x` may differ, another operand evidently has that size.
static bool isCovered(Operation *op, OpOperand &left, Value x, ArrayRef<OpFoldResult> sizes) {
  for (auto [axis, size] : llvm::enumerate(sizes)) {
    // Counted from the last dimension, as broadcasting does.
    int64_t fromEnd = int64_t(sizes.size() - axis);
    OpFoldResult wanted = normalizeSize(size);
    auto hasSize = [&](Value value) {
      int64_t rank = getRank(value);
      return fromEnd <= rank && findSize(value, rank - fromEnd) == wanted;
    };
    bool isElsewhere = llvm::any_of(
        op->getOpOperands(), [&](OpOperand &other) { return &other != &left && hasSize(other.get()); });
    // A size of 1 only adds to the rank, so any size of another operand will do.
    bool isOne = getConstantIntValue(size) == 1;
    bool givesRank = fromEnd <= getRank(x) || llvm::any_of(op->getOpOperands(), [&](OpOperand &other) {
                       return &other != &left && fromEnd <= getRank(other.get());
                     });
    if (!hasSize(x) && !isElsewhere && !(isOne && givesRank)) {
      return false;
    }
  }
  return true;
}

/// Pointwise ops broadcast by themselves.
template <typename OpTy>
static LogicalResult skipExpand(OpTy op, PatternRewriter &rewriter) {
  for (OpOperand &operand : op->getOpOperands()) {
    auto expand = operand.get().template getDefiningOp<ExpandOp>();
    if (expand && isCovered(op, operand, expand.getX(), expand.getMixedDims())) {
      rewriter.modifyOpInPlace(op, [&] { operand.set(expand.getX()); });
      return success();
    }
  }
  return rewriter.notifyMatchFailure(op, "no operand is expanded in vain");
}

/// Where only one operand of a pointwise op is no scalar, expanding it can wait until after the op, which
/// then has less to compute.
template <typename OpTy>
static LogicalResult expandLater(OpTy op, PatternRewriter &rewriter) {
  ExpandOp expand;
  for (Value operand : op->getOperands()) {
    auto type = cast<RankedTensorType>(operand.getType());
    if (auto candidate = operand.getDefiningOp<ExpandOp>(); candidate && !expand) {
      expand = candidate;
    } else if (!llvm::all_of(type.getShape(), [](int64_t size) { return size == 1; })) {
      return rewriter.notifyMatchFailure(op, "two operands are no scalars");
    }
  }
  bool hasRank = expand && llvm::all_of(op->getOperands(), [&](Value operand) {
                   return operand == expand || getRank(operand) <= getRank(expand.getX());
                 });
  if (!hasRank) {
    return rewriter.notifyMatchFailure(op, "no operand is expanded, or another has a higher rank");
  }
  IRMapping mapping;
  mapping.map(expand.getResult(), expand.getX());
  Operation *earlier = op->clone(mapping);
  setInferredTypes(earlier);
  rewriter.insert(earlier);
  rewriter.replaceOpWithNewOp<ExpandOp>(op, op.getType(), earlier->getResult(0), expand.getDims(),
                                        expand.getStaticDims());
  return success();
}

/// A constant operand of a commutative op stands on the right.
static LogicalResult moveConstantRight(BinaryOp op, PatternRewriter &rewriter) {
  bool isCommutative = llvm::is_contained({BinaryKind::Add, BinaryKind::Mul, BinaryKind::Max, BinaryKind::Min,
                                           BinaryKind::And, BinaryKind::Or, BinaryKind::Xor},
                                          op.getKind());
  if (!isCommutative || !isConstant(op.getLhs()) || isConstant(op.getRhs())) {
    return rewriter.notifyMatchFailure(op, "no constant on the left of a commutative op");
  }
  rewriter.modifyOpInPlace(op, [&] {
    Value lhs = op.getLhs();
    op.getLhsMutable().assign(op.getRhs());
    op.getRhsMutable().assign(lhs);
  });
  return success();
}

/// x / c is x * (1 / c) where 1 / c is exact: for powers of two.
static LogicalResult multiplyByReciprocal(BinaryOp op, PatternRewriter &rewriter) {
  DenseElementsAttr divisor;
  if (op.getKind() != BinaryKind::Div || !matchPattern(op.getRhs(), m_Constant(&divisor)) ||
      !divisor.isSplat() || !isa<FloatType>(divisor.getElementType())) {
    return rewriter.notifyMatchFailure(op, "no division by one constant float");
  }
  APFloat inverse(divisor.getSplatValue<APFloat>().getSemantics());
  if (!divisor.getSplatValue<APFloat>().getExactInverse(&inverse)) {
    return rewriter.notifyMatchFailure(op, "the divisor is no power of two");
  }
  auto attr = DenseElementsAttr::get(divisor.getType(), inverse);
  Value factor = arith::ConstantOp::create(rewriter, op.getLoc(), attr);
  rewriter.replaceOpWithNewOp<BinaryOp>(op, op.getType(), BinaryKind::Mul, op.getLhs(), factor);
  return success();
}

void BinaryOp::getCanonicalizationPatterns(RewritePatternSet &patterns, MLIRContext *) {
  patterns.add(moveConstantRight);
  patterns.add(multiplyByReciprocal);
  patterns.add(skipExpand<BinaryOp>);
  patterns.add(expandLater<BinaryOp>);
}

void CompareOp::getCanonicalizationPatterns(RewritePatternSet &patterns, MLIRContext *) {
  patterns.add(skipExpand<CompareOp>);
  patterns.add(expandLater<CompareOp>);
}

/// The comparison that holds exactly where `kind` does not, if there is one: of floats, NaN makes orders both
/// false.
static std::optional<CompareKind> getInverse(CompareKind kind, bool isFloat) {
  switch (kind) {
  case CompareKind::Equal:
    return CompareKind::NotEqual;
  case CompareKind::NotEqual:
    return CompareKind::Equal;
  case CompareKind::Less:
    return isFloat ? std::nullopt : std::optional(CompareKind::GreaterOrEqual);
  case CompareKind::LessOrEqual:
    return isFloat ? std::nullopt : std::optional(CompareKind::Greater);
  case CompareKind::Greater:
    return isFloat ? std::nullopt : std::optional(CompareKind::LessOrEqual);
  case CompareKind::GreaterOrEqual:
    return isFloat ? std::nullopt : std::optional(CompareKind::Less);
  }
  return std::nullopt;
}

static LogicalResult invertComparison(UnaryOp op, PatternRewriter &rewriter) {
  auto compare = op.getX().getDefiningOp<CompareOp>();
  if (op.getKind() != UnaryKind::Not || !compare || !compare->hasOneUse()) {
    return rewriter.notifyMatchFailure(op, "no negation of a comparison with one use");
  }
  std::optional<CompareKind> inverse =
      getInverse(compare.getKind(), isa<FloatType>(getElementType(compare.getLhs())));
  if (!inverse) {
    return rewriter.notifyMatchFailure(op, "NaN makes the comparison and its inverse false");
  }
  rewriter.replaceOpWithNewOp<CompareOp>(op, op.getType(), *inverse, compare.getLhs(), compare.getRhs());
  return success();
}

void UnaryOp::getCanonicalizationPatterns(RewritePatternSet &patterns, MLIRContext *) {
  patterns.add(invertComparison);
  patterns.add(expandLater<UnaryOp>);
}

static LogicalResult swapNegatedSelect(SelectOp op, PatternRewriter &rewriter) {
  auto negation = op.getCondition().getDefiningOp<UnaryOp>();
  if (!negation || negation.getKind() != UnaryKind::Not) {
    return rewriter.notifyMatchFailure(op, "the condition is no negation");
  }
  rewriter.modifyOpInPlace(op, [&] {
    Value lhs = op.getLhs();
    op.getConditionMutable().assign(negation.getX());
    op.getLhsMutable().assign(op.getRhs());
    op.getRhsMutable().assign(lhs);
  });
  return success();
}

void SelectOp::getCanonicalizationPatterns(RewritePatternSet &patterns, MLIRContext *) {
  patterns.add(swapNegatedSelect);
  patterns.add(skipExpand<SelectOp>);
  patterns.add(expandLater<SelectOp>);
}

/// Sizes may be of any integer type at once.
static LogicalResult castScalars(CastOp op, PatternRewriter &rewriter) {
  auto scalars = op.getX().getDefiningOp<FromScalarsOp>();
  auto type = cast<RankedTensorType>(op.getType());
  if (!scalars || !type.getElementType().isInteger() || type.getElementTypeBitWidth() < 8 ||
      type.getElementTypeBitWidth() > getElementType(scalars).getIntOrFloatBitWidth() ||
      !type.hasStaticShape()) {
    return rewriter.notifyMatchFailure(op, "no cast of scalars to narrower integers");
  }
  rewriter.replaceOpWithNewOp<FromScalarsOp>(op, type, scalars.getElements());
  return success();
}

void CastOp::getCanonicalizationPatterns(RewritePatternSet &patterns, MLIRContext *) {
  patterns.add(castScalars);
  patterns.add(expandLater<CastOp>);
}

//===----------------------------------------------------------------------===//
// Sizes
//===----------------------------------------------------------------------===//

/// Moves values that turned out to be constants into the list of numbers. The result's type stays as it is:
/// it may say less than the sizes do.
static bool foldSizes(ValueRange values, ArrayRef<int64_t> numbers, SmallVectorImpl<Value> &newValues,
                      SmallVectorImpl<int64_t> &newNumbers) {
  bool hasChanged = false;
  for (int64_t number : numbers) {
    if (!ShapedType::isDynamic(number)) {
      newNumbers.push_back(number);
      continue;
    }
    Value value = values.front();
    values = values.drop_front();
    std::optional<int64_t> constant = getConstantIntValue(value);
    if (constant && *constant >= 0) {
      newNumbers.push_back(*constant);
      hasChanged = true;
    } else {
      newNumbers.push_back(number);
      newValues.push_back(value);
    }
  }
  return hasChanged;
}

/// Whether the numbers contradict neither the result's type nor the size of `x`. If they do, the model cannot
/// run, and canonicalization is not the place to say so.
static bool fitsReshape(Value x, Type type, ArrayRef<int64_t> numbers) {
  auto shape = cast<RankedTensorType>(x.getType()).getShape();
  std::optional<int64_t> from = countElements(shape), to = countElements(numbers);
  bool isCountKnown = from && to && !ShapedType::isDynamic(*from) && !ShapedType::isDynamic(*to);
  return from && to && (!isCountKnown || *from == *to) &&
         succeeded(verifyCompatibleShape(cast<RankedTensorType>(type).getShape(), numbers));
}

/// The same of a broadcast.
static bool fitsExpand(Value x, Type type, ArrayRef<int64_t> numbers) {
  auto shape = cast<RankedTensorType>(x.getType()).getShape();
  for (auto [size, number] : llvm::zip_equal(shape, numbers.take_back(shape.size()))) {
    bool isKnown = !ShapedType::isDynamic(size) && !ShapedType::isDynamic(number);
    if (isKnown && size != 1 && size != number) {
      return false;
    }
  }
  return succeeded(verifyCompatibleShape(cast<RankedTensorType>(type).getShape(), numbers));
}

/// Constant sizes of `reshape` and `expand`.
template <typename OpTy>
static LogicalResult foldConstantSizes(OpTy op, PatternRewriter &rewriter) {
  SmallVector<Value> values;
  SmallVector<int64_t> numbers;
  auto fits = std::is_same_v<OpTy, ReshapeOp> ? fitsReshape : fitsExpand;
  if (!foldSizes(op.getDims(), op.getStaticDims(), values, numbers) ||
      !fits(op.getX(), op.getType(), numbers)) {
    return rewriter.notifyMatchFailure(op, "no size is a constant that fits");
  }
  rewriter.replaceOpWithNewOp<OpTy>(op, op.getType(), op.getX(), values, numbers);
  return success();
}

void ReshapeOp::getCanonicalizationPatterns(RewritePatternSet &patterns, MLIRContext *) {
  patterns.add(foldConstantSizes<ReshapeOp>);
}

void ExpandOp::getCanonicalizationPatterns(RewritePatternSet &patterns, MLIRContext *) {
  patterns.add(foldConstantSizes<ExpandOp>);
}

static LogicalResult foldConstantSlice(SliceOp op, PatternRewriter &rewriter) {
  SmallVector<Value> offsets, sizes;
  SmallVector<int64_t> staticOffsets, staticSizes;
  bool hasChanged = foldSizes(op.getOffsets(), op.getStaticOffsets(), offsets, staticOffsets);
  hasChanged |= foldSizes(op.getSizes(), op.getStaticSizes(), sizes, staticSizes);
  auto x = cast<RankedTensorType>(op.getX().getType()), type = cast<RankedTensorType>(op.getType());
  if (!hasChanged || !isSliceWithin(x.getShape(), staticOffsets, staticSizes, op.getStaticStrides()) ||
      failed(verifyCompatibleShape(type.getShape(), staticSizes))) {
    return rewriter.notifyMatchFailure(op, "no offset or size is a constant that fits");
  }
  rewriter.replaceOpWithNewOp<SliceOp>(op, type, op.getX(), offsets, sizes, staticOffsets, staticSizes,
                                       op.getStaticStrides());
  return success();
}

/// A slice of a slice, where all numbers are known, is a slice.
static LogicalResult composeSlices(SliceOp op, PatternRewriter &rewriter) {
  auto inner = op.getX().getDefiningOp<SliceOp>();
  if (!inner || !op.getOffsets().empty() || !inner.getOffsets().empty()) {
    return rewriter.notifyMatchFailure(op, "no slice of a slice at known offsets");
  }
  SmallVector<int64_t> offsets, strides;
  for (auto [offset, innerOffset, stride, innerStride] :
       llvm::zip_equal(op.getStaticOffsets(), inner.getStaticOffsets(), op.getStaticStrides(),
                       inner.getStaticStrides())) {
    int64_t newOffset, newStride;
    if (llvm::MulOverflow(offset, innerStride, newOffset) ||
        llvm::AddOverflow(newOffset, innerOffset, newOffset) ||
        llvm::MulOverflow(stride, innerStride, newStride) || newOffset < 0) {
      return rewriter.notifyMatchFailure(op, "the slices leave the tensor");
    }
    offsets.push_back(newOffset);
    strides.push_back(newStride);
  }
  rewriter.replaceOpWithNewOp<SliceOp>(op, op.getType(), inner.getX(), ValueRange(), op.getSizes(), offsets,
                                       op.getStaticSizes(), strides);
  return success();
}

void SliceOp::getCanonicalizationPatterns(RewritePatternSet &patterns, MLIRContext *) {
  patterns.add(foldConstantSlice);
  patterns.add(composeSlices);
}

//===----------------------------------------------------------------------===//
// Transposes
//===----------------------------------------------------------------------===//

/// Nothing moves where only dimensions of size 1 change places: that is a reshape.
static LogicalResult reshapeInsteadOfTranspose(TransposeOp op, PatternRewriter &rewriter) {
  auto type = cast<RankedTensorType>(op.getType());
  auto shape = cast<RankedTensorType>(op.getX().getType()).getShape();
  auto isMoved = [&](int64_t axis) { return shape[axis] != 1; };
  SmallVector<int64_t> moved = llvm::filter_to_vector(op.getPerm(), isMoved);
  if (!type.hasStaticShape() || !llvm::is_sorted(moved)) {
    return rewriter.notifyMatchFailure(op, "dimensions of more than one element change places");
  }
  rewriter.replaceOpWithNewOp<ReshapeOp>(op, type, op.getX(), ValueRange(), type.getShape());
  return success();
}

void TransposeOp::getCanonicalizationPatterns(RewritePatternSet &patterns, MLIRContext *) {
  patterns.add(reshapeInsteadOfTranspose);
}
