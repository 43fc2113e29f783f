// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Convolutions that are no matrix products: of one group, of what tensor cores multiply, as the product of
/// their windows and their filter; all others directly, an element of the result by each thread.

#include "Factors.h"
#include "TiledMatMul.h"
#include "lathe/Codegen/CUDA/Emitters.h"
#include "lathe/Codegen/Element/IndexMath.h"
#include "lathe/Codegen/Element/LoopEmitter.h"
#include "lathe/Dialect/NN/IR/NNInteger.h"

#include "mlir/Dialect/Arith/IR/Arith.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::cuda;

static constexpr int64_t kThreads = 256;

namespace {
/// A convolution of floats or of bytes.
struct ConvProblem {
  Operation *op = nullptr;
  kernel::OutputOp output;
  SmallVector<OpFoldResult> in, out;
  /// Of every spatial dimension; `before` are the zeros before the first element.
  SmallVector<int64_t> window, strides, dilations, before;
  int64_t groups = 1;
  /// Channels of the input and of the result in each group.
  int64_t channels = 1, filters = 1;

  /// Null for 0.
  Value zero, filterZero;
};

class ConvEmitter : LoopEmitter {
public:
  ConvEmitter(EmitContext &context, const ConvProblem &problem)
      : LoopEmitter(context.builder, problem.op->getLoc()), context(context), problem(problem),
        elements(context), factors(builder, loc, elements, getElement(problem.op->getOperand(0))) {}

  LogicalResult emit();

private:
  static Type getElement(Value tensor) { return cast<RankedTensorType>(tensor.getType()).getElementType(); }

  LogicalResult emitElement(Value number);
  /// The sum after spatial dimension `dim` and all behind it.
  Value emitWindow(size_t dim, Value sum);
  Value emitChannels(Value sum);

  EmitContext &context;
  const ConvProblem &problem;
  ElementEmitter elements;
  Factors factors;
  /// The element of the result, and the places in the input and in the window that are multiplied.
  SmallVector<Value> index, place, tap;
  LogicalResult status = success();
};
} // namespace

static FailureOr<ConvProblem> analyzeConv(ElementContext &context) {
  ConvProblem problem;
  for (Operation &op : context.kernel.getBody().front()) {
    if (auto output = dyn_cast<kernel::OutputOp>(op)) {
      problem.output = output;
    } else if (isa<nn::ConvOp, nn::IntegerConvOp>(op)) {
      problem.op = &op;
    }
  }
  if (!problem.op || !problem.output) {
    return context.kernel.emitOpError("expects one convolution with one result");
  }
  if (auto conv = dyn_cast<nn::IntegerConvOp>(problem.op)) {
    problem.zero = conv.getZero();
    problem.filterZero = conv.getFilterZero();
  }
  auto x = cast<RankedTensorType>(problem.op->getOperand(0).getType());
  auto filter = cast<RankedTensorType>(problem.op->getOperand(1).getType());
  if (!filter.hasStaticShape() || x.isDynamicDim(x.getRank() - 1)) {
    return problem.op->emitOpError("has channels or a window of dynamic size");
  }
  for (auto [tensor, dims] : {std::pair(problem.op->getOperand(0), &problem.in),
                              std::pair(Value(problem.op->getResult(0)), &problem.out)}) {
    FailureOr<ArrayRef<OpFoldResult>> known = context.shapes.getDims(tensor);
    if (failed(known)) {
      return problem.op->emitOpError("has a tensor of unknown shape");
    }
    dims->assign(known->begin(), known->end());
  }
  auto getNumbers = [&](StringRef name) {
    return SmallVector<int64_t>(problem.op->getAttrOfType<DenseI64ArrayAttr>(name).asArrayRef());
  };
  problem.strides = getNumbers("strides");
  problem.dilations = getNumbers("dilations");
  problem.before = getNumbers("pads");
  problem.before.truncate(problem.strides.size());
  problem.window.assign(filter.getShape().begin(), filter.getShape().end() - 2);
  problem.groups = problem.op->getAttrOfType<IntegerAttr>("groups").getInt();
  problem.channels = filter.getDimSize(filter.getRank() - 2);
  problem.filters = filter.getShape().back() / problem.groups;
  return problem;
}

Value ConvEmitter::emitChannels(Value sum) {
  OpFoldResult group = math().floorDiv(index.back(), math().constant(problem.filters));
  OpFoldResult firstChannel = math().mul(group, math().constant(problem.channels));
  return emitLoop(math().constant(0), math().constant(problem.channels), 1, sum,
                  [&](Value channel, ValueRange now) -> SmallVector<Value> {
                    ElementEmitter::Scope scope(elements);
                    SmallVector<Value> from(place), of(tap);
                    from.push_back(math().value(math().add(firstChannel, channel)));
                    of.append({channel, index.back()});
                    FailureOr<Value> x = factors.load(problem.op->getOperand(0), problem.zero, from);
                    FailureOr<Value> f = factors.load(problem.op->getOperand(1), problem.filterZero, of);
                    if (failed(x) || failed(f)) {
                      status = failure();
                      return {now.front()};
                    }
                    return {factors.multiplyAdd(*x, *f, now.front())};
                  })
      .front();
}

Value ConvEmitter::emitWindow(size_t dim, Value sum) {
  if (dim == problem.window.size()) {
    return emitChannels(sum);
  }
  OpFoldResult first = math().sub(math().mul(index[dim + 1], math().constant(problem.strides[dim])),
                                  math().constant(problem.before[dim]));
  return emitLoop(math().constant(0), math().constant(problem.window[dim]), 1, sum,
                  [&](Value step, ValueRange now) -> SmallVector<Value> {
                    ElementEmitter::Scope scope(elements);
                    OpFoldResult offset = math().mul(step, math().constant(problem.dilations[dim]));
                    Value at = math().value(math().add(first, offset));
                    tap.push_back(step);
                    place.push_back(at);
                    // Before the first element it is negative: the largest of all numbers without a sign.
                    Value isInside = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ult, at,
                                                           math().value(problem.in[dim + 1]));
                    auto emitNext = [&]() -> FailureOr<Value> { return emitWindow(dim + 1, now.front()); };
                    Value after = *emitWhere(builder, loc, isInside, now.front(), emitNext);
                    tap.pop_back();
                    place.pop_back();
                    return {after};
                  })
      .front();
}

LogicalResult ConvEmitter::emitElement(Value number) {
  index = math().values(math().delinearize(number, problem.out));
  place.assign({index.front()});
  Value sum = emitWindow(0, factors.getZero());
  if (failed(status)) {
    return failure();
  }
  // The op is a handle: its accessors do not take a constant one.
  kernel::OutputOp output = problem.output;
  Value result = problem.op->getResult(0);
  elements.setValue(result, factors.narrow(sum, getElement(result)));
  Tile tile{index, 0, Value()};
  FailureOr<Value> value = elements.evaluate(output.getValue(), tile);
  if (failed(value)) {
    return failure();
  }
  storeTile(builder, loc, *value, getOutputView(context, output), tile);
  return success();
}

LogicalResult ConvEmitter::emit() {
  OpFoldResult first = math().mul(context.block, math().constant(kThreads));
  Value number = math().value(math().add(first, context.thread));
  Value exists = arith::CmpIOp::create(builder, loc, arith::CmpIPredicate::ult, number,
                                       math().value(math().product(problem.out)));
  LogicalResult result = success();
  emitIf(exists, [&] { result = emitElement(number); });
  return result;
}

/// The product that tensor cores multiply in place of a convolution; nothing where they do not, failure where
/// it cannot be emitted.
static FailureOr<std::optional<MatMulProblem>> findTiledProduct(ElementContext &context,
                                                                const ConvProblem &problem) {
  if (!isa<nn::ConvOp>(problem.op) || problem.groups != 1) {
    return std::optional<MatMulProblem>();
  }
  FailureOr<MatMulProblem> product = analyzeWindows(context);
  if (failed(product)) {
    return failure();
  }
  return isTiledProduct(context, *product) ? std::optional(*product) : std::nullopt;
}

static FailureOr<Launch> planConv(ElementContext &context) {
  FailureOr<ConvProblem> problem = analyzeConv(context);
  if (failed(problem)) {
    return failure();
  }
  FailureOr<std::optional<MatMulProblem>> product = findTiledProduct(context, *problem);
  if (failed(product)) {
    return failure();
  }
  if (*product) {
    return planTiledMatMul(context, **product);
  }
  IndexMath math{context.builder, problem->op->getLoc()};
  return Launch{math.ceilDiv(math.product(problem->out), math.constant(kThreads)), kThreads};
}

static LogicalResult emitConv(EmitContext &context) {
  FailureOr<ConvProblem> problem = analyzeConv(context);
  if (failed(problem)) {
    return failure();
  }
  FailureOr<std::optional<MatMulProblem>> product = findTiledProduct(context, *problem);
  if (failed(product)) {
    return failure();
  }
  return *product ? emitTiledMatMul(context, **product) : ConvEmitter(context, *problem).emit();
}

cuda::Emitter cuda::getConvEmitter() { return {planConv, emitConv}; }
