// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Products of numbers that are stored as integers of 8 bits, from the form in which they are dequantized
/// first:
///
///     (scale_x (x - zero_x)) (scale_w (w - zero_w)) = scale_x scale_w ((x - zero_x) (w - zero_w))

#include "FusionUtils.h"

#include "lathe/Dialect/NN/IR/Builders.h"
#include "lathe/Dialect/NN/IR/NNInteger.h"
#include "lathe/Dialect/NN/IR/NNSpatial.h"
#include "lathe/Dialect/NN/Transforms/Passes.h"

#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/IR/DialectResourceBlobManager.h"
#include "mlir/IR/Matchers.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"

using namespace mlir;
using namespace lathe::nn;

namespace lathe::nn {
#define GEN_PASS_DEF_FUSEQUANTIZEDPASS
#include "lathe/Dialect/NN/Transforms/Passes.h.inc"
} // namespace lathe::nn

namespace {

constexpr StringLiteral kPass = "nn-fuse-quantized";

RankedTensorType typeOf(Value value) { return cast<RankedTensorType>(value.getType()); }

bool isBytes(Value value) { return getElementType(value).isInteger(8); }

bool isOneNumber(Value value) {
  return llvm::all_of(typeOf(value).getShape(), [](int64_t size) { return size == 1; });
}

/// Makes ops before `op`, which go again unless they are kept: those of a refused match would be new in every
/// round of the driver.
class Attempt {
public:
  Attempt(PatternRewriter &rewriter, Operation *op) : rewriter(rewriter), op(op), before(op->getPrevNode()) {
    rewriter.setInsertionPoint(op);
  }
  ~Attempt() {
    while (!isKept && op->getPrevNode() != before) {
      rewriter.eraseOp(op->getPrevNode());
    }
  }
  void keep() { isKept = true; }

private:
  PatternRewriter &rewriter;
  Operation *op, *before;
  bool isKept = false;
};

/// A tensor as `(stored - zero) * scale`, then transposed by all of `perms`. `zero` is null for 0.
struct Dequantized {
  Value stored, zero, scale;
  SmallVector<ArrayRef<int64_t>> perms;
};

/// An i32 tensor as the integers of 8 bits, of type `element`, that it is made of; null if it is not.
Value getZeroPoint(OpBuilder &builder, Value wide, Type element) {
  if (auto cast = wide.getDefiningOp<CastOp>()) {
    return getElementType(cast.getX()) == element ? cast.getX() : Value();
  }
  std::optional<double> number = getSplatNumber(wide);
  bool isUnsigned = element.isUnsignedInteger();
  if (!number || *number < (isUnsigned ? 0 : -128) || *number > (isUnsigned ? 255 : 127)) {
    return {};
  }
  return buildScalar(builder, wide.getLoc(), element, *number);
}

/// Matches what DequantizeLinear becomes: `cast(cast(stored) - cast(zero)) * scale`.
std::optional<Dequantized> matchDequantized(OpBuilder &builder, Value value) {
  Dequantized result;
  while (auto transpose = value.getDefiningOp<TransposeOp>()) {
    result.perms.push_back(transpose.getPerm());
    value = transpose.getX();
  }
  BinaryOp product = getBinary(value, BinaryKind::Mul);
  if (!product || !getElementType(value).isF32()) {
    return std::nullopt;
  }
  for (auto [factor, scale] :
       {std::pair(product.getLhs(), product.getRhs()), {product.getRhs(), product.getLhs()}}) {
    auto real = factor.getDefiningOp<CastOp>();
    if (!real || factor.getType() != value.getType()) {
      continue;
    }
    Value integer = real.getX();
    BinaryOp difference = getBinary(integer, BinaryKind::Sub);
    Value shifted = difference ? difference.getRhs() : Value();
    integer = difference ? difference.getLhs() : integer;
    // Conversions of bytes to i32 to f32 may have become one.
    if (auto wide = integer.getDefiningOp<CastOp>(); wide && !isBytes(integer)) {
      integer = wide.getX();
    }
    if (!isBytes(integer) || integer.getType() == real.getType()) {
      continue;
    }
    result.stored = integer;
    result.scale = scale;
    if (shifted) {
      result.zero = getZeroPoint(builder, shifted, getElementType(integer));
      if (!result.zero) {
        return std::nullopt;
      }
    }
    return result;
  }
  return std::nullopt;
}

/// The same transposes of something that stands beside the stored tensor.
Value transposeLike(OpBuilder &builder, const Dequantized &like, Value value) {
  if (!value || isOneNumber(value)) {
    return value ? buildReshape(builder, value.getLoc(), value, {}) : value;
  }
  int64_t rank = getRank(like.stored), missing = rank - getRank(value);
  SmallVector<OpFoldResult> dims(missing, builder.getIndexAttr(1));
  if (!typeOf(value).hasStaticShape()) {
    return {};
  }
  for (int64_t size : typeOf(value).getShape()) {
    dims.push_back(builder.getIndexAttr(size));
  }
  value = buildReshape(builder, value.getLoc(), value, dims);
  for (ArrayRef<int64_t> perm : llvm::reverse(like.perms)) {
    value = buildTranspose(builder, value.getLoc(), value, perm);
  }
  return value;
}

/// One for each column: the last dimension of what stands beside a right-hand side, as a list or one number.
/// Null if it is something else.
Value getColumns(OpBuilder &builder, Value value) {
  if (!value || getRank(value) == 0) {
    return value;
  }
  ArrayRef<int64_t> shape = typeOf(value).getShape();
  if (llvm::any_of(shape.drop_back(), [](int64_t size) { return size != 1; })) {
    return {};
  }
  return buildReshape(builder, value.getLoc(), value, {builder.getIndexAttr(shape.back())});
}

/// The parts of both operands of a product, transposed and brought beside it.
struct IntegerOperands {
  Value lhs, lhsZero, rhs, rhsZero, scale;
};

std::optional<IntegerOperands> takeProduct(PatternRewriter &rewriter, Operation *op) {
  std::optional<Dequantized> lhs = matchDequantized(rewriter, op->getOperand(0)),
                             rhs = matchDequantized(rewriter, op->getOperand(1));
  if (!lhs && !rhs) {
    return std::nullopt;
  }
  auto refuse = [&](StringRef why) {
    remarkMissed(op, kPass, why);
    return std::nullopt;
  };
  if (!lhs || !rhs) {
    return refuse(lhs ? "the right operand is computed with floats: no integers of 8 bits stand for it"
                      : "the left operand is computed with floats: no integers of 8 bits stand for it");
  }
  if (!rhs->stored.getDefiningOp<WeightUseOp>() && !matchPattern(rhs->stored, m_Constant())) {
    return refuse("the right operand is no weight: its columns would be arranged anew in every run");
  }
  if (!isOneNumber(lhs->scale) || (lhs->zero && !isOneNumber(lhs->zero))) {
    return refuse("the left operand has more than one scale");
  }
  auto move = [&](const Dequantized &from) {
    Value value = from.stored;
    for (ArrayRef<int64_t> perm : llvm::reverse(from.perms)) {
      value = buildTranspose(rewriter, op->getLoc(), value, perm);
    }
    return value;
  };
  Value scale = getColumns(rewriter, transposeLike(rewriter, *rhs, rhs->scale)),
        zero = getColumns(rewriter, transposeLike(rewriter, *rhs, rhs->zero));
  if (!scale || (rhs->zero && !zero)) {
    return refuse("the weights have a scale for each row");
  }
  Value both =
      buildBinary(rewriter, op->getLoc(), BinaryKind::Mul, transposeLike(rewriter, *lhs, lhs->scale), scale);
  return IntegerOperands{move(*lhs), transposeLike(rewriter, *lhs, lhs->zero), move(*rhs), zero, both};
}

std::optional<IntegerOperands> matchProduct(PatternRewriter &rewriter, Operation *op) {
  Attempt attempt(rewriter, op);
  std::optional<IntegerOperands> parts = takeProduct(rewriter, op);
  if (parts) {
    attempt.keep();
  }
  return parts;
}

/// Exact sums as f32, times the scale.
void replaceBySums(PatternRewriter &rewriter, Operation *op, Value sums, Value scale) {
  Value real = buildCast(rewriter, op->getLoc(), sums, rewriter.getF32Type());
  Value result = buildBinary(rewriter, op->getLoc(), BinaryKind::Mul, real, scale);
  remarkPassed(op, kPass, "computed with integers of 8 bits");
  rewriter.replaceOp(op, result);
}

struct FuseMatMul : OpRewritePattern<MatMulOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(MatMulOp op, PatternRewriter &rewriter) const override {
    std::optional<IntegerOperands> parts = matchProduct(rewriter, op);
    if (!parts) {
      return rewriter.notifyMatchFailure(op, "the operands are not both dequantized");
    }
    Value sums =
        buildIntegerMatMul(rewriter, op.getLoc(), parts->lhs, parts->rhs, parts->lhsZero, parts->rhsZero);
    replaceBySums(rewriter, op, sums, parts->scale);
    return success();
  }
};

struct FuseConv : OpRewritePattern<ConvOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(ConvOp op, PatternRewriter &rewriter) const override {
    std::optional<IntegerOperands> parts = matchProduct(rewriter, op);
    if (!parts) {
      return rewriter.notifyMatchFailure(op, "the operands are not both dequantized");
    }
    Value sums =
        buildIntegerConv(rewriter, op.getLoc(), parts->lhs, parts->rhs, parts->lhsZero, parts->rhsZero,
                         op.getStrides(), op.getPads(), op.getDilations(), op.getGroups());
    replaceBySums(rewriter, op, sums, parts->scale);
    return success();
  }
};

/// Maxima of numbers are those of the integers that stand for them.
struct MoveMaxPool : OpRewritePattern<PoolOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(PoolOp op, PatternRewriter &rewriter) const override {
    Attempt attempt(rewriter, op);
    std::optional<Dequantized> x = matchDequantized(rewriter, op.getX());
    if (op.getKind() != PoolKind::Max || !x || !isOneNumber(x->scale) || (x->zero && !isOneNumber(x->zero))) {
      return rewriter.notifyMatchFailure(op, "no maximum of what one scale dequantizes");
    }
    std::optional<double> scale = getSplatNumber(x->scale);
    // The maximum of no elements is not that of no integers.
    bool hasElements = op.getBefore().empty() && op.getAfter().empty();
    for (auto [window, before, after] :
         llvm::zip_equal(op.getWindow(), op.getStaticBefore(), op.getStaticAfter())) {
      hasElements &= before < window && after < window;
    }
    if (!scale || *scale <= 0 || !hasElements ||
        llvm::any_of(op.getDilations(), [](int64_t d) { return d != 1; })) {
      return rewriter.notifyMatchFailure(op, "the order of numbers may be another");
    }
    attempt.keep();
    Location loc = op.getLoc();
    Value stored = x->stored;
    for (ArrayRef<int64_t> perm : llvm::reverse(x->perms)) {
      stored = buildTranspose(rewriter, loc, stored, perm);
    }
    Type i32 = rewriter.getI32Type();
    Value pooled = createInferred<PoolOp>(rewriter, loc, getElementType(stored), op.getKind(), stored,
                                          op.getWindow(), op.getStrides(), op.getDilations(), op.getBefore(),
                                          op.getAfter(), op.getSizes(), op.getStaticBefore(),
                                          op.getStaticAfter(), op.getStaticSizes(), /*countPads=*/false);
    Value wide = buildCast(rewriter, loc, pooled, i32);
    if (x->zero) {
      wide = buildBinary(rewriter, loc, BinaryKind::Sub, wide,
                         buildCast(rewriter, loc, buildReshape(rewriter, loc, x->zero, {}), i32));
    }
    Value real = buildCast(rewriter, loc, wide, rewriter.getF32Type());
    rewriter.replaceOp(
        op, buildBinary(rewriter, loc, BinaryKind::Mul, real, buildReshape(rewriter, loc, x->scale, {})));
    return success();
  }
};

bool isRounding(Operation *op) {
  auto unary = dyn_cast<UnaryOp>(op);
  return unary && unary.getKind() == UnaryKind::Round;
}

/// Whether only products of bytes read `value`, a rounded number on its way to 8 bits.
bool isReadByProductsOnly(Value value, int depth = 0) {
  constexpr int kMaxSteps = 8;
  return depth < kMaxSteps && llvm::all_of(
                                  value.getUsers(),
                                  [&](Operation *user) {
                                    if (isa<IntegerMatMulOp, IntegerConvOp>(user)) {
                                      return isBytes(value);
                                    }
                                    bool passesOn = isBytes(value) ? isa<TransposeOp, ReshapeOp>(user)
                                                                   : isa<PointwiseOpInterface>(user);
                                    return passesOn && isReadByProductsOnly(user->getResult(0), depth + 1);
                                  });
}

/// A division by one scale before rounding to 8 bits is a product with its reciprocal, where what is divided
/// is a multiple of exact sums: both are within the rounding of f32.
struct MultiplyByReciprocal : OpRewritePattern<BinaryOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(BinaryOp op, PatternRewriter &rewriter) const override {
    std::optional<double> scale = getSplatNumber(op.getRhs());
    if (op.getKind() != BinaryKind::Div || !scale || !getElementType(op.getResult()).isF32() ||
        !llvm::all_of(op->getUsers(), isRounding) || !std::isnormal(float(1 / *scale)) ||
        !comesFromExactSums(op.getLhs(), isStep)) {
      return rewriter.notifyMatchFailure(op, "no quantization of exact sums by one scale");
    }
    Value factor = buildScalar(rewriter, op.getLoc(), rewriter.getF32Type(), 1 / *scale);
    rewriter.replaceOp(op, buildBinary(rewriter, op.getLoc(), BinaryKind::Mul, op.getLhs(), factor));
    return success();
  }

  static bool isStep(Operation *op) { return isa<PointwiseOpInterface, TransposeOp, ReshapeOp>(op); }
};

/// The same where the scale is computed, and only products of bytes read what comes of it.
struct DivideOnce : OpRewritePattern<BinaryOp> {
  using OpRewritePattern::OpRewritePattern;

  LogicalResult matchAndRewrite(BinaryOp op, PatternRewriter &rewriter) const override {
    Value scale = op.getRhs();
    if (op.getKind() != BinaryKind::Div || getRank(scale) != 0 || getRank(op.getLhs()) == 0 ||
        matchPattern(scale, m_Constant()) || !getElementType(scale).isF32() ||
        !llvm::all_of(op->getUsers(), isRounding) || !isReadByProductsOnly(op.getResult())) {
      return rewriter.notifyMatchFailure(op,
                                         "no quantization by a computed scale for products of bytes alone");
    }
    Value one = buildScalar(rewriter, op.getLoc(), rewriter.getF32Type(), 1);
    Value factor = buildBinary(rewriter, op.getLoc(), BinaryKind::Div, one, scale);
    rewriter.replaceOp(op, buildBinary(rewriter, op.getLoc(), BinaryKind::Mul, op.getLhs(), factor));
    return success();
  }
};

/// The byte that all elements of a constant or a weight are, if there is one.
std::optional<uint8_t> getUniformByte(Value value, SymbolTable &symbols) {
  while (Operation *op = value.getDefiningOp()) {
    if (!isa<ReshapeOp, TransposeOp>(op)) {
      break;
    }
    value = op->getOperand(0);
  }
  ArrayRef<char> bytes;
  DenseElementsAttr elements;
  if (matchPattern(value, m_Constant(&elements))) {
    bytes = elements.getRawData();
  } else if (auto use = value.getDefiningOp<WeightUseOp>()) {
    auto weight = symbols.lookup<WeightOp>(use.getWeight());
    auto resource = weight ? dyn_cast_or_null<DenseResourceElementsAttr>(weight.getValueAttr())
                           : DenseResourceElementsAttr();
    AsmResourceBlob *blob = resource ? resource.getRawHandle().getBlob() : nullptr;
    bytes = blob ? blob->getData() : ArrayRef<char>();
  }
  bool isUniform = !bytes.empty() && llvm::all_of(bytes, [&](char byte) { return byte == bytes.front(); });
  return isUniform ? std::optional<uint8_t>(bytes.front()) : std::nullopt;
}

struct FuseQuantizedPass : lathe::nn::impl::FuseQuantizedPassBase<FuseQuantizedPass> {
  void runOnOperation() override {
    RewritePatternSet patterns(&getContext());
    patterns.add<FuseMatMul, FuseConv, MoveMaxPool, MultiplyByReciprocal, DivideOnce>(&getContext());
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns)))) {
      return signalPassFailure();
    }
    SymbolTable symbols(getOperation());
    getOperation().walk([&](Operation *op) {
      if (isa<IntegerMatMulOp, IntegerConvOp>(op)) {
        for (OpOperand &operand : op->getOpOperands().drop_front(2)) {
          simplifyZero(operand, symbols);
        }
      }
    });
  }

private:
  /// A list of one zero point for each column, mostly 0, is too long for a constant: one number is known.
  static void simplifyZero(OpOperand &operand, SymbolTable &symbols) {
    std::optional<uint8_t> byte = getUniformByte(operand.get(), symbols);
    if (!byte || getRank(operand.get()) == 0) {
      return;
    }
    Type element = getElementType(operand.get());
    OpBuilder builder(operand.getOwner());
    double number = element.isUnsignedInteger() ? double(*byte) : double(int8_t(*byte));
    operand.set(buildScalar(builder, operand.getOwner()->getLoc(), element, number));
  }
};

} // namespace
