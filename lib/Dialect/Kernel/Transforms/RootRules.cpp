// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "lathe/Dialect/Kernel/Transforms/RootRules.h"
#include "lathe/Dialect/NN/IR/NNInteger.h"
#include "lathe/Dialect/Pack/IR/Pack.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/FormatVariadic.h"
#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::kernel;

static RankedTensorType typeOf(Value value) { return cast<RankedTensorType>(value.getType()); }

/// A weight, or what may be one in a layer.
static bool mayBeWeight(Value value) {
  auto argument = dyn_cast<BlockArgument>(value);
  auto function = argument ? dyn_cast<func::FuncOp>(argument.getOwner()->getParentOp()) : func::FuncOp();
  return value.getDefiningOp<nn::WeightUseOp>() || (function && function.isPrivate());
}

/// Whether products of these operands have a kernel. Processors multiply pairs of bf16 as they lie in panels.
static bool isMultiplied(Value lhs, Value rhs, bool onDevice) {
  Type element = typeOf(lhs).getElementType();
  return element.isF32() || (element.isBF16() && (onDevice || mayBeWeight(rhs))) ||
         (element.isF16() && onDevice);
}

static std::optional<RootKind> matMulKind(nn::MatMulOp op, bool onDevice, std::string &whyNot) {
  if (!isMultiplied(op.getLhs(), op.getRhs(), onDevice)) {
    whyNot = onDevice ? "only products of f32, f16 and bf16 have a kernel"
                      : "only products of f32, and of bf16 by weights, have a micro-kernel";
    return std::nullopt;
  }
  return RootKind::MatMul;
}

/// The most elements of the input that a window may span: a copy with zeros around it must stay small.
static constexpr uint64_t kMaxConvWindow = 128 << 10;
/// The longest strides, windows and borders of convolutions that are computed with.
static constexpr uint64_t kLongest = uint64_t(1) << 31;

/// The kind of a convolution whose element types have a kernel.
template <typename OpTy>
static std::optional<RootKind> convKindOfShape(OpTy op, std::string &whyNot) {
  RankedTensorType x = typeOf(op.getX()), filter = typeOf(op.getFilter());
  if (!filter.hasStaticShape() || x.isDynamicDim(x.getRank() - 1)) {
    whyNot = "the number of channels or the size of the window is dynamic";
    return std::nullopt;
  }
  if (filter.getNumElements() == 0) {
    whyNot = "the filter has no elements";
    return std::nullopt;
  }
  if (op.isProduct()) {
    return RootKind::MatMul;
  }
  size_t count = op.getStrides().size(), used = 0;
  uint64_t spanned = x.getShape().back();
  for (size_t i = 0; i < count; ++i) {
    int64_t window = filter.getDimSize(i), before = op.getPads()[i], after = op.getPads()[count + i];
    used += x.getDimSize(i + 1) != 1 || window != 1 || before || after;
    uint64_t reach = llvm::SaturatingMultiply<uint64_t>(window, op.getDilations()[i]);
    if (uint64_t(std::max({op.getStrides()[i], before, after})) > kLongest || reach > kLongest) {
      whyNot = llvm::formatv("a stride, border or window is longer than {0} elements", kLongest);
      return std::nullopt;
    }
    spanned = llvm::SaturatingMultiply<uint64_t>(spanned, (window - 1) * op.getDilations()[i] + 1);
  }
  if (used > 3) {
    whyNot = "only convolutions over up to 3 dimensions have kernels";
    return std::nullopt;
  }
  if (!op.isDepthwise() && spanned > kMaxConvWindow) {
    whyNot =
        llvm::formatv("one window spans {0} elements of the input, more than {1}", spanned, kMaxConvWindow);
    return std::nullopt;
  }
  return RootKind::Conv;
}

static std::optional<RootKind> convKind(nn::ConvOp op, bool onDevice, std::string &whyNot) {
  if (!isMultiplied(op.getX(), op.getFilter(), onDevice)) {
    whyNot = onDevice ? "only convolutions of f32, f16 and bf16 have kernels"
                      : "only convolutions of f32, and of bf16 by weights, have kernels";
    return std::nullopt;
  }
  std::optional<RootKind> kind = convKindOfShape(op, whyNot);
  if (op.isDepthwise() && !onDevice && !typeOf(op.getX()).getElementType().isF32()) {
    whyNot = "depthwise convolutions have kernels for f32 only";
    return std::nullopt;
  }
  return kind;
}

static std::optional<RootKind> integerConvKind(nn::IntegerConvOp op, std::string &whyNot) {
  // A product takes any zero points.
  if (op.isProduct()) {
    return convKindOfShape(op, whyNot);
  }
  if (op.isDepthwise()) {
    whyNot = "depthwise convolutions of bytes are computed as floats";
    return std::nullopt;
  }
  if (!op.isFilterCentered()) {
    whyNot = "the zero point of the filters is not that of their signed form";
    return std::nullopt;
  }
  if (op.getGroups() != 1 && typeOf(op.getFilter()).getShape().drop_back().back() % 4 != 0) {
    whyNot = "the channels of a group are no multiple of 4";
    return std::nullopt;
  }
  return convKindOfShape(op, whyNot);
}

static std::optional<RootKind> attentionKind(nn::AttentionOp op, bool onDevice, std::string &whyNot) {
  RankedTensorType q = typeOf(op.getQ()), k = typeOf(op.getK()), v = typeOf(op.getV());
  if (!q.getElementType().isF32() && !q.getElementType().isBF16() &&
      !(onDevice && q.getElementType().isF16())) {
    whyNot =
        onDevice ? "only attention of f32, f16 and bf16 is fused" : "only attention of f32 and bf16 is fused";
    return std::nullopt;
  }
  for (RankedTensorType type : {q, k, v}) {
    if (type.isDynamicDim(2) || type.isDynamicDim(3)) {
      whyNot = "the number or size of the heads is dynamic";
      return std::nullopt;
    }
    // Few processors know vectors of bf16 of which only some elements are there.
    if (!onDevice && type.getElementType().isBF16() && type.getDimSize(3) % 16 != 0) {
      whyNot = "of attention of bf16, only heads with multiples of 16 features are fused";
      return std::nullopt;
    }
  }
  if (op.getSoftcap() && !onDevice) {
    whyNot = "attention with a softcap is not fused";
    return std::nullopt;
  }
  if (Value mask = op.getMask()) {
    Type element = typeOf(mask).getElementType();
    if (!element.isF32() && !element.isBF16() && !element.isInteger(1) && !(onDevice && element.isF16())) {
      whyNot = onDevice ? "only masks of bool, f32, f16 and bf16 are fused"
                        : "only masks of bool, f32 and bf16 are fused";
      return std::nullopt;
    }
  }
  return RootKind::Attention;
}

static bool isFloat(Value value) { return isa<FloatType>(typeOf(value).getElementType()); }

/// Whether one of the dimensions of `x` from `axis` on is 1: no kernel of rows takes it, as a tensor would
/// have the same shape with and without it, and one that stands alone has no room for what lies between the
/// parts of a composite op.
static bool normalizesOne(Value x, int64_t axis, std::string &whyNot) {
  if (!llvm::is_contained(typeOf(x).getShape().drop_front(axis), 1)) {
    return false;
  }
  whyNot = "a dimension of one element is normalized";
  return true;
}

std::optional<RootKind> kernel::getRootKind(Operation *op, std::string &whyNot, bool onDevice) {
  return TypeSwitch<Operation *, std::optional<RootKind>>(op)
      .Case([&](nn::MatMulOp matMul) { return matMulKind(matMul, onDevice, whyNot); })
      .Case([&](nn::ConvOp conv) { return convKind(conv, onDevice, whyNot); })
      .Case([&](nn::IntegerMatMulOp) { return RootKind::MatMul; })
      .Case([&](nn::IntegerConvOp conv) { return integerConvKind(conv, whyNot); })
      .Case([&](nn::AttentionOp attention) { return attentionKind(attention, onDevice, whyNot); })
      .Case([&](nn::SoftmaxOp softmax) -> std::optional<RootKind> {
        if (isFloat(softmax.getX()) && softmax.getAxis() == uint64_t(typeOf(softmax.getX()).getRank()) - 1) {
          return normalizesOne(softmax.getX(), softmax.getAxis(), whyNot) ? std::nullopt
                                                                          : std::optional(RootKind::Rows);
        }
        whyNot = "only softmax of floats over the last dimension is fused";
        return std::nullopt;
      })
      .Case<nn::LayerNormOp, nn::RMSNormOp>([&](auto norm) -> std::optional<RootKind> {
        bool isDouble = typeOf(norm.getX()).getElementType().isF64();
        if (llvm::all_of(norm->getOperands(), [&](Value operand) {
              return isFloat(operand) && typeOf(operand).getElementType().isF64() == isDouble;
            })) {
          return normalizesOne(norm.getX(), norm.getAxis(), whyNot) ? std::nullopt
                                                                    : std::optional(RootKind::Rows);
        }
        whyNot = "only norms of floats are fused, of f64 with f64 only";
        return std::nullopt;
      })
      .Case([&](nn::ReduceOp reduce) -> std::optional<RootKind> {
        bool isIntegerMean = reduce.getKind() == nn::ReduceKind::Mean && !isFloat(reduce.getX());
        if (reduce.getAxes().empty() || isIntegerMean) {
          whyNot = "means of integers and reductions over no dimension are not fused";
          return std::nullopt;
        }
        return RootKind::Rows;
      })
      .Case([&](nn::LoopsOpInterface) { return std::optional<RootKind>(RootKind::Loops); })
      .Default(std::optional<RootKind>());
}

bool kernel::isFusible(Operation *op) {
  if (auto gather = dyn_cast<nn::GatherOp>(op)) {
    return gather.getAxis() == 0;
  }
  return isa<nn::PointwiseOpInterface>(op) || isa<nn::RangeOp, nn::FromScalarsOp>(op);
}

bool kernel::movesElements(Operation *op) {
  return isa<nn::ConcatOp, nn::GatherOp, nn::GatherNDOp, nn::SliceOp>(op);
}

bool kernel::isView(Operation *op) {
  if (auto slice = dyn_cast<nn::SliceOp>(op)) {
    return llvm::all_of(slice.getStaticStrides(), [](int64_t stride) { return stride > 0; });
  }
  // A product decodes its right-hand side as it goes; others read what is decoded.
  if (isa<pack::DecodeOp>(op)) {
    return llvm::all_of(op->getUses(), [](OpOperand &use) {
      return isa<nn::MatMulOp, nn::IntegerMatMulOp>(use.getOwner()) && use.getOperandNumber() == 1;
    });
  }
  return isa<nn::ReshapeOp, nn::TransposeOp, nn::ExpandOp>(op);
}

bool kernel::onlyRenames(Operation *op) {
  while (op && isa<nn::ReshapeOp>(op)) {
    op = op->getOperand(0).getDefiningOp();
  }
  return !op || !isView(op);
}

bool kernel::keepsLastDimension(Operation *view) {
  for (; !onlyRenames(view); view = view->getOperand(0).getDefiningOp()) {
    auto transpose = dyn_cast<nn::TransposeOp>(view);
    auto slice = dyn_cast<nn::SliceOp>(view);
    bool keeps = transpose ? transpose.getPerm().back() == int64_t(transpose.getPerm().size()) - 1
                 : slice   ? slice.getStaticStrides().back() == 1
                           : isa<nn::ExpandOp>(view);
    if (!keeps) {
      return false;
    }
  }
  return true;
}

bool kernel::isInlineConstant(Operation *op) {
  auto constant = dyn_cast<arith::ConstantOp>(op);
  if (!constant) {
    return false;
  }
  auto elements = dyn_cast<ElementsAttr>(constant.getValue());
  return elements && elements.isSplat();
}
