// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Kernels of one op that builds its own loops over memory.

#include "lathe/Codegen/Element/ElementEmitter.h"
#include "lathe/Codegen/Element/IndexMath.h"

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/Utils/StaticValueUtils.h"
#include "mlir/IR/Matchers.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::codegen;

static FailureOr<nn::LoopsOpInterface> findRoot(func::FuncOp kernel) {
  auto roots = kernel.getBody().front().getOps<nn::LoopsOpInterface>();
  if (!llvm::hasSingleElement(roots)) {
    return kernel.emitOpError("expects one op that builds loops");
  }
  return *roots.begin();
}

FailureOr<LoopParts> codegen::countLoopParts(ElementContext &context) {
  FailureOr<nn::LoopsOpInterface> root = findRoot(context.kernel);
  if (failed(root)) {
    return failure();
  }
  SmallVector<SmallVector<OpFoldResult>> operandDims, resultDims;
  auto collect = [&](ValueRange values, SmallVector<SmallVector<OpFoldResult>> &dims) {
    for (Value value : values) {
      dims.emplace_back();
      if (isa<RankedTensorType>(value.getType())) {
        FailureOr<ArrayRef<OpFoldResult>> known = context.shapes.getDims(value);
        if (failed(known)) {
          return failure();
        }
        dims.back().assign(known->begin(), known->end());
      }
    }
    return success();
  };
  if (failed(collect(root->getOperation()->getOperands(), operandDims)) ||
      failed(collect(root->getOperation()->getResults(), resultDims))) {
    return root->emitOpError("has a tensor of unknown sizes");
  }
  IndexMath math{context.builder, context.kernel.getLoc()};
  OpFoldResult count = root->getPartCount(context.builder, operandDims, resultDims);
  OpFoldResult elements = math.constant(1);
  for (ArrayRef<OpFoldResult> dims : llvm::concat<SmallVector<OpFoldResult>>(operandDims, resultDims)) {
    elements = math.max(elements, math.product(dims));
  }
  return LoopParts{count, elements};
}

/// Memory of a tensor's shape over bytes: dense, or with rows that begin `pitch` elements behind each other.
static Value getMemory(ElementContext &context, Value bytes, Type type, ValueRange sizes,
                       std::optional<uint64_t> pitch) {
  OpBuilder &b = context.builder;
  Location loc = bytes.getLoc();
  auto tensor = cast<RankedTensorType>(type);
  Type element = getRegisterType(tensor.getElementType());
  Value zero = arith::ConstantIndexOp::create(b, loc, 0);
  if (!pitch) {
    return memref::ViewOp::create(b, loc, MemRefType::get(tensor.getShape(), element), bytes, zero, sizes);
  }
  IndexMath math{b, loc};
  SmallVector<OpFoldResult> dims = getMixedValues(tensor.getShape(), sizes, b), whole(dims);
  whole.back() = math.constant(int64_t(*pitch));
  SmallVector<OpFoldResult> strides = math.denseStrides(whole);
  Value elements = memref::ViewOp::create(b, loc, MemRefType::get({ShapedType::kDynamic}, element), bytes,
                                          zero, math.value(math.product(whole)));
  auto layout = StridedLayoutAttr::get(b.getContext(), /*offset=*/0, decomposeMixedValues(strides).first);
  return memref::ReinterpretCastOp::create(b, loc, MemRefType::get(tensor.getShape(), element, layout),
                                           elements, OpFoldResult(math.constant(0)), dims, strides);
}

/// A splat, which is part of the kernel, in memory: a local array for few elements.
static FailureOr<Value> getConstantMemory(ElementContext &context, Value tensor) {
  DenseElementsAttr elements;
  if (!matchPattern(tensor, m_Constant(&elements)) || elements.getNumElements() > 256) {
    return emitError(tensor.getLoc(), "this operand of a kernel of loops lies in no memory");
  }
  OpBuilder &b = context.builder;
  Location loc = tensor.getLoc();
  Type element = getRegisterType(elements.getElementType());
  auto type = MemRefType::get(elements.getType().getShape(), element);
  Value memory;
  {
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(&context.kernel.getBody().front());
    memory = memref::AllocaOp::create(b, loc, type);
  }
  int64_t linear = 0;
  for (TypedAttr value : elements.bitcast(element).getValues<TypedAttr>()) {
    SmallVector<Value> index;
    int64_t rest = linear++;
    for (int64_t size : llvm::reverse(type.getShape())) {
      index.insert(index.begin(), arith::ConstantIndexOp::create(b, loc, rest % size));
      rest /= size;
    }
    memref::StoreOp::create(b, loc, arith::ConstantOp::create(b, loc, value), memory, index);
  }
  return memory;
}

LogicalResult codegen::emitLoopParts(ElementContext &context, Value begin, Value end) {
  FailureOr<nn::LoopsOpInterface> root = findRoot(context.kernel);
  if (failed(root)) {
    return failure();
  }
  SmallVector<Value> inputs, outputs((*root)->getNumResults());
  for (Value operand : (*root)->getOperands()) {
    if (!isa<RankedTensorType>(operand.getType())) {
      inputs.push_back(operand);
    } else if (auto input = operand.getDefiningOp<kernel::InputOp>()) {
      inputs.push_back(
          getMemory(context, input.getBytes(), input.getTensorType(), input.getSizes(), input.getPitch()));
    } else {
      FailureOr<Value> memory = getConstantMemory(context, operand);
      if (failed(memory)) {
        return failure();
      }
      inputs.push_back(*memory);
    }
  }
  for (auto output : context.kernel.getBody().front().getOps<kernel::OutputOp>()) {
    auto result = dyn_cast<OpResult>(output.getValue());
    if (!result || result.getOwner() != root->getOperation()) {
      return output.emitOpError("is no result of the op that builds loops");
    }
    outputs[result.getResultNumber()] =
        getMemory(context, output.getBytes(), result.getType(), output.getSizes(), output.getPitch());
  }
  return root->buildLoops(context.builder, inputs, outputs, begin, end);
}
