// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Products and convolutions that ask for `#pack.int8` are computed with integers of 8 bits.
///
///     sum x w  ~  s_row s_column sum (q_x - 128) q_w
///
/// The weights become codes with a scale for each column when the artifact is written. What they are
/// multiplied with becomes, while the model runs, unsigned codes around 128 with a scale for each row, or for
/// each image of a convolution with larger windows: its largest magnitude over 127. Processors multiply
/// unsigned by signed bytes, and what the zero point of 128 adds is a constant for each column.
///
/// Rows whose largest magnitude is less than 2^-100 are rounded as if it were that: a row of zeros has codes
/// of 128, and its products are zeros. NaN and infinities in a row make the scale, and all products, not
/// finite.

#include "lathe/Dialect/NN/Evaluate/Evaluator.h"
#include "lathe/Dialect/NN/IR/Builders.h"
#include "lathe/Dialect/NN/IR/NNCoarse.h"
#include "lathe/Dialect/NN/IR/NNInteger.h"
#include "lathe/Dialect/NN/Transforms/Remarks.h"
#include "lathe/Dialect/Pack/IR/Pack.h"
#include "lathe/Dialect/Pack/IR/RowCodes.h"
#include "lathe/Dialect/Pack/Transforms/Passes.h"
#include "lathe/Dialect/Pack/Transforms/WeightSources.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/SymbolTable.h"
#include "llvm/ADT/SetVector.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/FormatVariadic.h"

#include <cmath>

namespace lathe::pack {
#define GEN_PASS_DEF_QUANTIZEINT8PASS
#include "lathe/Dialect/Pack/Transforms/Passes.h.inc"
} // namespace lathe::pack

using namespace mlir;
using namespace lathe;
using namespace lathe::pack;
using nn::BinaryKind;
using nn::UnaryKind;

static constexpr llvm::StringLiteral kPass = "pack-quantize-int8";

/// The least depth and number of columns of a product. On Zen 4, 128 rows take 0.64 of their time in f32 at
/// 64 x 64, 0.48 at 64 x 128, 0.30 at 384 x 384, and one row 0.87, 0.59 and 0.23: less than 64 was not worth
/// a loss of accuracy.
static constexpr int64_t kMinDepth = 64, kMinColumns = 64;

/// The code that stands for 0, with kLargestCode on either side of it.
static constexpr int kZero = 128;

namespace {

/// A tensor as codes, with scales that broadcast beside the product.
struct Quantized {
  /// The scale of a range is null: it is part of those of the weight.
  Value codes, scale;
  /// The code of 0, of the type of codes.
  Value zero;
};

/// What the codes 0 to 255 stand for.
struct CodeRange {
  float scale;
  int zero;

  static llvm::Expected<CodeRange> read(Attribute attribute);
};

class Quantizer {
public:
  Quantizer(ModuleOp module, bool force) : module(module), symbols(module), evaluator(module), force(force) {}

  void run();

private:
  /// Replaces `op`; an error says why it stays.
  llvm::Error quantize(Operation *op, Int8Attr format);
  /// The codes and scales of a weight.
  llvm::Expected<Quantized> quantizeWeight(OpBuilder &builder, Value weight, Int8Attr format,
                                           FlatSymbolRefAttr gram);
  /// A weight with component `index` of `weight` stored in `format`, rounded by `gram` if that is not null.
  nn::WeightOp makeComponent(nn::WeightOp weight, Int8Attr format, FlatSymbolRefAttr gram, int64_t index,
                             StringRef suffix);
  /// `x` with a scale for all that differs in none but `axes`, computed where `x` is.
  Quantized quantizeRows(Value x, ArrayRef<int64_t> axes);
  /// A number as a weight: layers that differ in such numbers are still alike.
  Value makeNumber(OpBuilder &builder, Location loc, Type type, double value, StringRef name);
  /// The scales of a weight times a number, computed when the artifact is written.
  Value scaleWeight(OpBuilder &builder, Value scales, float factor);
  /// `x` times a number, if it is a product with constants, which take it over; else null.
  Value scaleByConstant(OpBuilder &builder, Value x, float factor);
  /// `x` with the scale that its range gives, that of `attribute`.
  Quantized quantizeRange(Value x, CodeRange range, Attribute attribute);
  /// Marks gelus whose codes are all that is read.
  void markCoarse();

  ModuleOp module;
  SymbolTable symbols;
  nn::Evaluator evaluator;
  bool force;
  llvm::DenseMap<std::tuple<Operation *, Attribute, Attribute>, std::pair<nn::WeightOp, nn::WeightOp>>
      weights;
  llvm::DenseMap<std::pair<Operation *, Attribute>, nn::WeightOp> scaledBy;
  /// Products with constants that codes are now computed without.
  llvm::SetVector<nn::BinaryOp> absorbed;
  /// What is quantized already: a tensor may be read by several products.
  llvm::DenseMap<std::pair<Value, Attribute>, Quantized> rows;
  /// What reads tensors to quantize them.
  llvm::SmallPtrSet<Operation *, 16> readers;
};

} // namespace

static RankedTensorType typeOf(Value value) { return cast<RankedTensorType>(value.getType()); }

//===----------------------------------------------------------------------===//
// Weights
//===----------------------------------------------------------------------===//

nn::WeightOp Quantizer::makeComponent(nn::WeightOp weight, Int8Attr format, FlatSymbolRefAttr gram,
                                      int64_t index, StringRef suffix) {
  OpBuilder builder(module.getContext());
  builder.setInsertionPointAfter(weight);
  auto type = PackedTensorType::get(weight.getTensorType(), format);
  auto component = nn::WeightOp::create(
      builder, weight.getLoc(), (weight.getSymName() + suffix).str(), weight.getOnnxName().value_or(""),
      [&](OpBuilder &body, Location loc) -> Value {
        Value use = nn::WeightUseOp::create(body, loc, weight.getTensorType(),
                                            FlatSymbolRefAttr::get(weight.getSymNameAttr()));
        Value encoded = buildEncode(body, loc, type, use, gram, symbols);
        return ComponentOp::create(body, loc, type.getComponents()[index], index, encoded);
      });
  symbols.insert(component);
  return component;
}

llvm::Expected<Quantized> Quantizer::quantizeWeight(OpBuilder &builder, Value value, Int8Attr format,
                                                    FlatSymbolRefAttr gram) {
  auto use = value.getDefiningOp<nn::WeightUseOp>();
  auto weight = use ? symbols.lookup<nn::WeightOp>(use.getWeight()) : nn::WeightOp();
  if (!weight) {
    return llvm::createStringError("its right operand is no weight");
  }
  auto &[codes, scales] = weights[{weight, format, gram}];
  if (!codes) {
    llvm::Expected<nn::ConstantTensor> elements = evaluator.read(weight);
    if (!elements) {
      return elements.takeError();
    }
    if (std::optional<std::string> obstacle = findUnencodable(format, *elements)) {
      return llvm::createStringError(*obstacle);
    }
    codes = makeComponent(weight, format, gram, 0, "_int8");
    // They do not depend on the rounding.
    scales = makeComponent(weight, format, {}, 1, "_scales");
  }
  auto read = [&](nn::WeightOp of) -> Value {
    return nn::WeightUseOp::create(builder, value.getLoc(), of.getTensorType(),
                                   FlatSymbolRefAttr::get(of.getSymNameAttr()));
  };
  return Quantized{read(codes), read(scales), Value()};
}

//===----------------------------------------------------------------------===//
// What they are multiplied with
//===----------------------------------------------------------------------===//

/// Numbers of codes to codes: rounded to nearest, ties to even, and moved by `zero`.
static Value buildCodes(OpBuilder &builder, Location loc, Value scaled, Value zero) {
  Value rounded = nn::buildUnary(builder, loc, UnaryKind::Round, scaled);
  Value moved = nn::buildBinary(builder, loc, BinaryKind::Add, rounded, zero);
  return nn::buildCast(builder, loc, moved, builder.getIntegerType(8, /*isSigned=*/false));
}

Quantized Quantizer::quantizeRows(Value x, ArrayRef<int64_t> axes) {
  OpBuilder builder(x.getContext());
  Quantized &known = rows[{x, builder.getDenseI64ArrayAttr(axes)}];
  if (known.codes) {
    return known;
  }
  builder.setInsertionPointAfterValue(x);
  Location loc = x.getLoc();
  auto number = [&](double value) { return nn::buildScalar(builder, loc, builder.getF32Type(), value); };
  auto binary = [&](BinaryKind kind, Value lhs, Value rhs) {
    return nn::buildBinary(builder, loc, kind, lhs, rhs);
  };
  Value magnitudes = nn::buildUnary(builder, loc, UnaryKind::Abs, x);
  Value largest = nn::buildReduce(builder, loc, nn::ReduceKind::Max, magnitudes, axes, /*keepDims=*/true);
  largest = binary(BinaryKind::Max, largest, number(kLeastMagnitude));
  Value scale = binary(BinaryKind::Mul, largest, number(1.0 / kLargestCode));
  // At most kLargestCode after rounding, so that the codes need no bounds.
  Value inverse = binary(BinaryKind::Div, number(kLargestCode), largest);
  Value scaled = binary(BinaryKind::Mul, x, inverse);
  readers.insert(magnitudes.getDefiningOp());
  readers.insert(scaled.getDefiningOp());
  Value codes = buildCodes(builder, loc, scaled, number(kZero));
  return known = {codes, scale, nn::buildScalar(builder, loc, nn::getElementType(codes), kZero)};
}

llvm::Expected<CodeRange> CodeRange::read(Attribute attribute) {
  auto range = dyn_cast_or_null<DenseF32ArrayAttr>(attribute);
  if (!range) {
    return llvm::createStringError("the range of its left operand is not known: it was not calibrated");
  }
  // 0 has a code, as borders are made of it.
  float low = std::min(range[0], 0.0f), high = std::max(range[1], 0.0f), scale = (high - low) / 255;
  if (!std::isnormal(scale) || !std::isnormal(1 / scale)) {
    std::string text;
    llvm::raw_string_ostream(text) << llvm::format("%g to %g", range[0], range[1]);
    return llvm::createStringError("the range of its left operand, " + text + ", gives no scale");
  }
  return CodeRange{scale, int(std::nearbyint(-low / scale))};
}

Value Quantizer::makeNumber(OpBuilder &builder, Location loc, Type type, double value, StringRef name) {
  OpBuilder top = OpBuilder::atBlockBegin(module.getBody());
  auto constant = nn::buildScalar(builder, loc, type, value).getDefiningOp<arith::ConstantOp>();
  auto tensor = cast<RankedTensorType>(constant.getType());
  auto weight = nn::WeightOp::create(top, loc, name, tensor, constant.getValue());
  weight.setSymVisibility("private");
  symbols.insert(weight);
  constant.erase();
  return nn::WeightUseOp::create(builder, loc, tensor, FlatSymbolRefAttr::get(weight.getSymNameAttr()));
}

Value Quantizer::scaleWeight(OpBuilder &builder, Value scales, float factor) {
  auto use = scales.getDefiningOp<nn::WeightUseOp>();
  auto weight = symbols.lookup<nn::WeightOp>(use.getWeight());
  nn::WeightOp &scaled = scaledBy[{weight, builder.getF32FloatAttr(factor)}];
  if (!scaled) {
    OpBuilder after(module.getContext());
    after.setInsertionPointAfter(weight);
    scaled = nn::WeightOp::create(
        after, weight.getLoc(), (weight.getSymName() + "_static").str(), weight.getOnnxName().value_or(""),
        [&](OpBuilder &body, Location loc) -> Value {
          Value own = nn::WeightUseOp::create(body, loc, weight.getTensorType(), use.getWeightAttr());
          return nn::buildBinary(body, loc, BinaryKind::Mul, own,
                                 nn::buildScalar(body, loc, body.getF32Type(), factor));
        });
    symbols.insert(scaled);
  }
  Value result = nn::WeightUseOp::create(builder, scales.getLoc(), scaled.getTensorType(),
                                         FlatSymbolRefAttr::get(scaled.getSymNameAttr()));
  use->erase();
  return result;
}

Value Quantizer::scaleByConstant(OpBuilder &builder, Value x, float factor) {
  auto product = x.getDefiningOp<nn::BinaryOp>();
  auto constant = product && product.getKind() == BinaryKind::Mul
                      ? product.getRhs().getDefiningOp<arith::ConstantOp>()
                      : arith::ConstantOp();
  auto elements = constant ? dyn_cast<DenseElementsAttr>(constant.getValue()) : DenseElementsAttr();
  if (!elements || !elements.getElementType().isF32() || product.getLhs().getType() != x.getType()) {
    return Value();
  }
  SmallVector<float> products =
      llvm::map_to_vector(elements.getValues<float>(), [&](float element) { return element * factor; });
  absorbed.insert(product);
  auto type = cast<RankedTensorType>(constant.getType());
  Value scaled =
      arith::ConstantOp::create(builder, x.getLoc(), DenseElementsAttr::get(type, ArrayRef<float>(products)));
  return nn::buildBinary(builder, x.getLoc(), BinaryKind::Mul, product.getLhs(), scaled);
}

Quantized Quantizer::quantizeRange(Value x, CodeRange range, Attribute attribute) {
  Quantized &known = rows[{x, attribute}];
  if (known.codes) {
    return known;
  }
  OpBuilder builder(x.getContext());
  builder.setInsertionPointAfterValue(x);
  Location loc = x.getLoc();
  auto number = [&](double value, StringRef name, Type type = {}) {
    return makeNumber(builder, loc, type ? type : builder.getF32Type(), value, name);
  };
  Value scaled = scaleByConstant(builder, x, 1 / range.scale);
  if (!scaled) {
    scaled = nn::buildBinary(builder, loc, BinaryKind::Mul, x, number(1 / range.scale, "inverse"));
  }
  readers.insert(scaled.getDefiningOp());
  Value codes = buildCodes(builder, loc, scaled, number(range.zero, "zero"));
  return known = {codes, Value(), number(range.zero, "zero_code", nn::getElementType(codes))};
}

//===----------------------------------------------------------------------===//
// Products
//===----------------------------------------------------------------------===//

/// The dimensions of the left operand that share a scale, of an op that can be computed with integers.
static llvm::Expected<SmallVector<int64_t>> getSharedAxes(Operation *op, bool force) {
  if (!isa<nn::MatMulOp, nn::ConvOp>(op)) {
    return llvm::createStringError("only products and convolutions are computed with integers of 8 bits");
  }
  RankedTensorType x = typeOf(op->getOperand(0)), weight = typeOf(op->getOperand(1));
  if (!x.getElementType().isF32() || !weight.getElementType().isF32()) {
    return llvm::createStringError("its operands are not f32");
  }
  auto conv = dyn_cast<nn::ConvOp>(op);
  if (!conv && weight.getRank() != 2) {
    return llvm::createStringError("its right operand is no matrix of weights");
  }
  int64_t depth = weight.getNumElements() / weight.getShape().back(), columns = weight.getShape().back();
  if (conv) {
    int64_t channels = weight.getShape().drop_back().back();
    if (conv.isDepthwise() || (conv.getGroups() != 1 && channels % 4 != 0)) {
      return llvm::createStringError("groups of channels that are no multiple of 4 are multiplied as floats");
    }
    columns /= conv.getGroups();
  }
  if (!force && (depth < kMinDepth || columns < kMinColumns)) {
    return llvm::createStringError(
        llvm::formatv("{0} x {1} weights are too few: quantizing the rows takes as "
                      "long as it saves below {2} x {3}",
                      depth, columns, kMinDepth, kMinColumns));
  }
  // The elements that a window sees have one scale: those of one pixel, or all of an image.
  bool isRow = !conv || conv.isProduct();
  return llvm::to_vector(llvm::seq<int64_t>(isRow ? x.getRank() - 1 : 1, x.getRank()));
}

/// Exact sums in place of the product or convolution `op`.
static Value buildSums(OpBuilder &builder, Operation *op, Value x, Value weight, Value zero) {
  auto conv = dyn_cast<nn::ConvOp>(op);
  return conv ? nn::buildIntegerConv(builder, op->getLoc(), x, weight, zero, Value(), conv.getStrides(),
                                     conv.getPads(), conv.getDilations(), conv.getGroups())
              : nn::buildIntegerMatMul(builder, op->getLoc(), x, weight, zero, Value());
}

llvm::Error Quantizer::quantize(Operation *op, Int8Attr format) {
  llvm::Expected<SmallVector<int64_t>> axes = getSharedAxes(op, force);
  if (!axes) {
    return axes.takeError();
  }
  OpBuilder builder(op);
  Location loc = op->getLoc();
  Value x = op->getOperand(0);
  Attribute attribute = op->getDiscardableAttr(PackDialect::kRangeAttr);
  bool isStatic = format.getActivations() == Activations::Static;
  llvm::Expected<CodeRange> range = isStatic ? CodeRange::read(attribute) : CodeRange{};
  if (!range) {
    return range.takeError();
  }
  llvm::Expected<Quantized> right = quantizeWeight(
      builder, op->getOperand(1), format, op->getAttrOfType<FlatSymbolRefAttr>(PackDialect::kGramAttr));
  if (!right) {
    return right.takeError();
  }
  Quantized left = isStatic ? quantizeRange(x, *range, attribute) : quantizeRows(x, *axes);
  Value sums = buildSums(builder, op, left.codes, right->codes, left.zero);
  if (Attribute blocks = op->getAttr(PackDialect::kBlocksAttr)) {
    sums.getDefiningOp()->setAttr(PackDialect::kFormatAttr, blocks);
  }
  Value real = nn::buildCast(builder, loc, sums, builder.getF32Type());
  Value scale = right->scale;
  if (left.scale) {
    real = nn::buildBinary(builder, loc, BinaryKind::Mul, real, left.scale);
  } else {
    scale = scaleWeight(builder, scale, range->scale);
  }
  real = nn::buildBinary(builder, loc, BinaryKind::Mul, real, scale);
  op->getResult(0).replaceAllUsesWith(real);
  nn::remarkPassed(op, kPass, "computed with integers of 8 bits");
  auto use = op->getOperand(1).getDefiningOp<nn::WeightUseOp>();
  op->erase();
  if (use->use_empty()) {
    use->erase();
  }
  return llvm::Error::success();
}

void Quantizer::markCoarse() {
  for (auto &[key, quantized] : rows) {
    auto product = key.first.getDefiningOp<nn::BinaryOp>();
    Value x = product && absorbed.contains(product) ? product.getLhs() : key.first;
    auto gelu = x.getDefiningOp<nn::UnaryOp>();
    if (gelu && gelu.getKind() == UnaryKind::Gelu &&
        llvm::all_of(gelu->getUsers(), [&](Operation *user) { return readers.contains(user); })) {
      gelu->setAttr(nn::kCoarseAttr, UnitAttr::get(module.getContext()));
    }
  }
}

void Quantizer::run() {
  SmallVector<std::pair<Operation *, Int8Attr>> requests;
  module.walk([&](Operation *op) {
    auto format = op->getAttrOfType<Int8Attr>(PackDialect::kFormatAttr);
    if (format && !format.isWeightOnly()) {
      requests.push_back({op, format});
    }
  });
  for (auto [op, format] : requests) {
    if (llvm::Error error = quantize(op, format)) {
      nn::remarkMissed(op, kPass,
                       "not computed as " + toText(format) + ": " + llvm::toString(std::move(error)));
      withdrawRequest(op);
      op->removeAttr(PackDialect::kBlocksAttr);
    }
  }
  absorbed.remove_if([](nn::BinaryOp product) { return !product->use_empty(); });
  readers.insert(absorbed.begin(), absorbed.end());
  markCoarse();
  for (nn::BinaryOp product : absorbed) {
    product->erase();
  }
}

namespace {

struct QuantizeInt8Pass : pack::impl::QuantizeInt8PassBase<QuantizeInt8Pass> {
  using QuantizeInt8PassBase::QuantizeInt8PassBase;
  void runOnOperation() override { Quantizer(getOperation(), force).run(); }
};

} // namespace
