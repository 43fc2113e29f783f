// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Steps of emission that are the same on every target.

#include "lathe/Codegen/Element/ElementContext.h"
#include "lathe/Codegen/Math/Emitter.h"

using namespace mlir;
using namespace lathe;
using kernel::KernelDialect;

void codegen::eraseTensorForm(func::FuncOp kernel) {
  Block &body = kernel.getBody().front();
  for (auto output : llvm::make_early_inc_range(body.getOps<kernel::OutputOp>())) {
    output.erase();
  }
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(body))) {
    if (op.use_empty() && (isa<nn::NNDialect, KernelDialect>(op.getDialect()) || isOpTriviallyDead(&op)) &&
        !isa<kernel::TrapIfOp>(op)) {
      op.erase();
    }
  }
}

LogicalResult
codegen::emitTaskCount(func::FuncOp kernel,
                       llvm::function_ref<FailureOr<std::array<Value, 2>>(ElementContext &)> split) {
  func::FuncOp tasks = kernel.clone();
  tasks.setName((kernel.getName() + ".tasks").str());
  tasks->removeAttr(KernelDialect::kRootAttr);
  kernel->getBlock()->getOperations().insertAfter(kernel->getIterator(), tasks);

  Operation *terminator = tasks.getBody().front().getTerminator();
  OpBuilder builder(terminator);
  nn::ShapeTracker shapes(builder);
  ElementContext context{tasks, builder, shapes};
  FailureOr<std::array<Value, 2>> counts = split(context);
  if (failed(counts)) {
    return failure();
  }
  func::ReturnOp::create(builder, tasks.getLoc(), *counts);
  terminator->erase();
  eraseTensorForm(tasks);

  llvm::BitVector buffers(tasks.getNumArguments());
  for (auto [position, type] : llvm::enumerate(tasks.getArgumentTypes())) {
    buffers[position] = isa<MemRefType>(type);
  }
  if (failed(tasks.eraseArguments(buffers))) {
    return failure();
  }
  tasks.setType(
      builder.getFunctionType(tasks.getArgumentTypes(), {builder.getIndexType(), builder.getIndexType()}));
  return success();
}

void codegen::lowerRounding(func::FuncOp kernel) {
  SmallVector<arith::TruncFOp> found;
  kernel.walk([&](arith::TruncFOp op) {
    if (getElementTypeOrSelf(op.getType()).isBF16() && getElementTypeOrSelf(op.getIn().getType()).isF32()) {
      found.push_back(op);
    }
  });
  for (arith::TruncFOp op : found) {
    OpBuilder builder(op);
    lathe::Emitter e(builder, op.getLoc());
    Value x = op.getIn(), bits = e.bits(x);
    Value half = e.add(e.bitAnd(e.shiftRight(bits, 16), 1), e.integer(bits.getType(), 0x7fff));
    Value rounded = e.add(bits, half);
    // Rounding may not make an infinity of a NaN.
    Value quiet = e.bitOr(bits, e.integer(bits.getType(), 0x00400000));
    Value isNaN = e.compare(arith::CmpFPredicate::UNO, x, x);
    Value high = e.shiftRight(e.select(isNaN, quiet, rounded), 16);
    high =
        arith::TruncIOp::create(builder, op.getLoc(), withElement(x.getType(), builder.getI16Type()), high);
    op.replaceAllUsesWith(e.fromBits(high, builder.getBF16Type()));
    op.erase();
  }
}
