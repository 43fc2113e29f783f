// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

#include "ConvProblem.h"

#include "IntegerTile.h"
#include "lathe/Codegen/CPU/MicroKernel.h"

#include "llvm/Support/MathExtras.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cpu;

static RankedTensorType typeOf(Value value) { return cast<RankedTensorType>(value.getType()); }

/// The spatial dimensions along which anything happens, without those that have one element.
static SmallVector<ConvDim> getSpatialDims(ConvRoot op) {
  SmallVector<ConvDim> dims;
  ArrayRef<int64_t> pads = op.getPads();
  size_t count = op.getStrides().size();
  for (size_t i = 0; i < count; ++i) {
    ConvDim dim;
    dim.window = typeOf(op.getFilter()).getDimSize(i);
    dim.stride = op.getStrides()[i];
    dim.dilation = op.getDilations()[i];
    dim.before = pads[i];
    dim.after = pads[count + i];
    dim.axis = int64_t(i) + 1;
    if (typeOf(op.getX()).getDimSize(dim.axis) != 1 || dim.window != 1 || dim.isPadded()) {
      dims.push_back(dim);
    }
  }
  return dims;
}

/// Longer strides and windows are not computed with.
static constexpr int64_t kLongest = int64_t(1) << 31;

static bool isOfUsualSize(const ConvDim &dim) {
  return dim.stride <= kLongest &&
         llvm::SaturatingMultiply<uint64_t>(dim.window, dim.dilation) <= uint64_t(kLongest) &&
         dim.before <= kLongest && dim.after <= kLongest;
}

/// The elements of the input that one window spans, all channels; saturates.
static int64_t getSpannedElements(ConvRoot op) {
  uint64_t elements = typeOf(op.getX()).getShape().back();
  for (const ConvDim &dim : getSpatialDims(op)) {
    elements = llvm::SaturatingMultiply<uint64_t>(elements, dim.reach());
  }
  return int64_t(std::min<uint64_t>(elements, INT64_MAX));
}

/// Whether the elements are f32; bf16 if they are multiplied as pairs of channels.
static bool isOfFloats(ConvRoot op) {
  Type x = typeOf(op.getX()).getElementType(), filter = typeOf(op.getFilter()).getElementType();
  return x == filter && (x.isF32() || (x.isBF16() && !op.isDepthwise()));
}

static bool canEmit(ConvRoot op, std::string &whyNot) {
  RankedTensorType x = typeOf(op.getX()), filter = typeOf(op.getFilter());
  if (!op.isOnBytes() && !isOfFloats(op)) {
    whyNot = "only convolutions of f32, and of bf16 that are not depthwise, have kernels";
  } else if (!filter.hasStaticShape() || x.isDynamicDim(x.getRank() - 1)) {
    whyNot = "the number of channels or the size of the window is dynamic";
  } else if (filter.getNumElements() == 0) {
    whyNot = "the filter has no elements";
  } else if (!llvm::all_of(getSpatialDims(op), isOfUsualSize)) {
    whyNot = "a stride or the reach of the window is longer than " + std::to_string(kLongest) + " elements";
  } else if (getSpatialDims(op).size() > 3) {
    whyNot = "only convolutions over up to 3 dimensions have kernels";
  } else if (!op.isDepthwise() && getSpannedElements(op) > kMaxConvWindow) {
    whyNot = "one window spans " + std::to_string(getSpannedElements(op)) +
             " elements of the input, more than " + std::to_string(kMaxConvWindow);
  } else {
    return true;
  }
  return false;
}

bool cpu::canEmitConv(nn::ConvOp op, std::string &whyNot) { return canEmit(ConvRoot(op), whyNot); }

bool ConvProblem::isPadded() const {
  return llvm::any_of(dims, [](const ConvDim &dim) { return dim.isPadded(); });
}

SmallVector<Value> ConvProblem::tensorIndex(OpBuilder &builder, Location loc, OpFoldResult image,
                                            ArrayRef<OpFoldResult> position, OpFoldResult channel) {
  IndexMath math{builder, loc};
  SmallVector<OpFoldResult> index(typeOf(op.getResult()).getRank(), math.constant(0));
  index.front() = image;
  for (auto [dim, at] : llvm::zip_equal(dims, position)) {
    if (dim.axis) {
      index[dim.axis] = at;
    }
  }
  index.back() = channel;
  return math.values(index);
}

SmallVector<Value> ConvProblem::filterIndex(OpBuilder &builder, Location loc, ArrayRef<OpFoldResult> place,
                                            OpFoldResult channel, OpFoldResult column) {
  IndexMath math{builder, loc};
  SmallVector<OpFoldResult> index(typeOf(op.getResult()).getRank() - 2, math.constant(0));
  for (auto [dim, at] : llvm::zip_equal(dims, place)) {
    if (dim.axis) {
      index[dim.axis - 1] = at;
    }
  }
  index.push_back(channel);
  index.push_back(column);
  return math.values(index);
}

FailureOr<ConvProblem> cpu::analyzeConv(EmitContext &context) {
  ConvProblem problem;
  for (Operation &op : context.kernel.getBody().front()) {
    if (auto output = dyn_cast<kernel::OutputOp>(op)) {
      if (problem.output) {
        return output.emitOpError("is the second result of a convolution");
      }
      problem.output = output;
    } else if (isa<nn::ConvOp, nn::IntegerConvOp>(op)) {
      if (problem.op) {
        return op.emitOpError("is the second convolution of one kernel");
      }
      problem.op = ConvRoot(&op);
    }
  }
  if (!problem.op || !problem.output) {
    return context.kernel.emitOpError("expects one convolution with one result");
  }
  ConvRoot conv = problem.op;
  std::string whyNot;
  if (!canEmit(conv, whyNot)) {
    return conv->emitOpError(whyNot);
  }
  if (typeOf(conv.getResult()).getRank() != typeOf(problem.output.getValue()).getRank()) {
    return problem.output.emitOpError()
           << "expects a result of the convolution's rank " << typeOf(conv.getResult()).getRank()
           << ", but it has type " << problem.output.getValue().getType();
  }
  FailureOr<ArrayRef<OpFoldResult>> known = context.shapes.getDims(conv.getX());
  if (failed(known)) {
    return conv->emitOpError("has an input of unknown shape");
  }
  SmallVector<OpFoldResult> in(*known);
  known = context.shapes.getDims(conv.getResult());
  if (failed(known)) {
    return conv->emitOpError("has a result of unknown shape");
  }
  ArrayRef<OpFoldResult> out = *known;
  problem.batch = in.front();
  problem.groups = int64_t(conv.getGroups());
  problem.channels = typeOf(conv.getX()).getShape().back() / problem.groups;
  problem.storedChannels = problem.groups * problem.channels;
  if (conv.isOnBytes()) {
    problem.storedChannels = llvm::alignTo(problem.storedChannels, kByteGroup);
  }
  problem.filters = typeOf(conv.getFilter()).getShape().back() / problem.groups;
  SmallVector<ConvDim> spatial = getSpatialDims(conv);
  size_t missing = problem.dims.size() - spatial.size();
  for (auto [i, dim] : llvm::enumerate(problem.dims)) {
    if (i < missing) {
      dim.in = dim.out = context.builder.getIndexAttr(1);
      continue;
    }
    dim = spatial[i - missing];
    dim.in = in[dim.axis];
    dim.out = out[dim.axis];
  }
  return problem;
}

static FailureOr<TaskSplit> splitConv(EmitContext &context) {
  FailureOr<ConvProblem> problem = analyzeConv(context);
  if (failed(problem)) {
    return failure();
  }
  if (problem->op.isOnBytes()) {
    return splitIntegerConv(context, *problem);
  }
  return problem->op.isDepthwise() ? splitDepthwiseConv(context, *problem)
                                   : splitDenseConv(context, *problem);
}

static LogicalResult emitConv(EmitContext &context) {
  FailureOr<ConvProblem> problem = analyzeConv(context);
  if (failed(problem)) {
    return failure();
  }
  if (problem->op.isOnBytes()) {
    return emitIntegerConv(context, *problem);
  }
  return problem->op.isDepthwise() ? emitDepthwiseConv(context, *problem) : emitDenseConv(context, *problem);
}

Emitter cpu::getConvEmitter() { return {splitConv, emitConv}; }
