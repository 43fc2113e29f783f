// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Runs the emitters on all kernels of a module; see Emitters.h for the contract.

#include "lathe/Codegen/CPU/Emitters.h"
#include "lathe/Codegen/Math/Emitter.h"
#include "lathe/Codegen/Passes.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

namespace lathe::codegen {
#define GEN_PASS_DEF_EMITCPUKERNELSPASS
#include "lathe/Codegen/Passes.h.inc"
} // namespace lathe::codegen

using namespace mlir;
using namespace lathe;
using namespace lathe::cpu;
using kernel::KernelDialect;
using kernel::RootKind;

static cpu::Emitter getEmitter(RootKind kind) {
  switch (kind) {
  case RootKind::MatMul:
    return getMatMulEmitter();
  case RootKind::Conv:
    return getConvEmitter();
  case RootKind::Attention:
    return getAttentionEmitter();
  case RootKind::Rows:
    return getRowsEmitter();
  case RootKind::Pointwise:
    return getPointwiseEmitter();
  case RootKind::Loops:
    return getLoopsEmitter();
  case RootKind::Reference:
    return getReferenceEmitter();
  }
  return {};
}

/// Erases the tensor form: outputs first, then whatever no emitted op uses, back to front.
static void eraseTensorForm(func::FuncOp function) {
  for (auto output : llvm::make_early_inc_range(function.getBody().front().getOps<kernel::OutputOp>())) {
    output.erase();
  }
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(function.getBody().front()))) {
    if (op.use_empty() && (isa<nn::NNDialect, KernelDialect>(op.getDialect()) || isOpTriviallyDead(&op)) &&
        !isa<kernel::TrapIfOp>(op)) {
      op.erase();
    }
  }
}

/// `@<name>.tasks(sizes) -> (count, grain)`, computed on a copy of the kernel of which only the sizes stay.
static LogicalResult emitTasks(func::FuncOp kernel, const cpu::Emitter &emitter, const TargetSpec &target) {
  func::FuncOp tasks = kernel.clone();
  tasks.setName((kernel.getName() + ".tasks").str());
  tasks->removeAttr(KernelDialect::kRootAttr);
  kernel->getBlock()->getOperations().insertAfter(kernel->getIterator(), tasks);

  Operation *terminator = tasks.getBody().front().getTerminator();
  OpBuilder builder(terminator);
  nn::ShapeTracker shapes(builder);
  EmitContext context{tasks, builder, target, shapes, {}, {}, {}};
  FailureOr<TaskSplit> split = emitter.split(context);
  if (failed(split)) {
    return failure();
  }
  func::ReturnOp::create(builder, tasks.getLoc(), ValueRange{split->count, split->grain});
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

/// Turns `kernel.trap_if`s into stores to a local that the kernel returns.
static void lowerTraps(func::FuncOp kernel) {
  SmallVector<kernel::TrapIfOp> traps;
  kernel.walk([&](kernel::TrapIfOp trap) { traps.push_back(trap); });
  Location loc = kernel.getLoc();
  Operation *terminator = kernel.getBody().front().getTerminator();
  OpBuilder builder(terminator);
  Value result;
  if (traps.empty()) {
    result = arith::ConstantIntOp::create(builder, loc, builder.getI32Type(), 0);
  } else {
    builder.setInsertionPointToStart(&kernel.getBody().front());
    Value fault = memref::AllocaOp::create(builder, loc, MemRefType::get({}, builder.getI32Type()));
    Value zero = arith::ConstantIntOp::create(builder, loc, builder.getI32Type(), 0);
    memref::StoreOp::create(builder, loc, zero, fault);
    for (kernel::TrapIfOp trap : traps) {
      builder.setInsertionPoint(trap);
      scf::IfOp::create(builder, trap.getLoc(), trap.getCondition(), [&](OpBuilder &inner, Location at) {
        Value code = arith::ConstantIntOp::create(inner, at, inner.getI32Type(), trap.getFault());
        memref::StoreOp::create(inner, at, code, fault);
        scf::YieldOp::create(inner, at);
      });
      trap.erase();
    }
    builder.setInsertionPoint(terminator);
    result = memref::LoadOp::create(builder, loc, fault);
  }
  func::ReturnOp::create(builder, loc, result);
  terminator->erase();
}

/// Rounds to bf16 by bits where no instruction does: the code generator would call a function.
static void lowerRounding(func::FuncOp kernel, const TargetSpec &target) {
  if (target.hasAVX512BF16) {
    return;
  }
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

static LogicalResult emitKernel(func::FuncOp kernel, const TargetSpec &target) {
  std::optional<RootKind> kind =
      kernel::symbolizeRootKind(kernel->getAttrOfType<StringAttr>(KernelDialect::kRootAttr).getValue());
  if (!kind) {
    return kernel.emitError("has an unknown kernel.root");
  }
  cpu::Emitter emitter = getEmitter(*kind);
  expandPackedInputs(kernel);
  if (failed(emitTasks(kernel, emitter, target))) {
    return failure();
  }

  Location loc = kernel.getLoc();
  OpBuilder builder(kernel.getContext());
  unsigned first = kernel.getNumArguments();
  for (unsigned i = 0; i < 3; ++i) {
    if (failed(kernel.insertArgument(kernel.getNumArguments(), builder.getIndexType(), {}, loc))) {
      return failure();
    }
  }
  builder.setInsertionPoint(kernel.getBody().front().getTerminator());
  nn::ShapeTracker shapes(builder);
  EmitContext context{kernel,
                      builder,
                      target,
                      shapes,
                      kernel.getArgument(first),
                      kernel.getArgument(first + 1),
                      kernel.getArgument(first + 2)};
  if (failed(emitter.emit(context))) {
    return failure();
  }
  eraseTensorForm(kernel);
  lowerRounding(kernel, target);
  lowerTraps(kernel);
  kernel.setType(builder.getFunctionType(kernel.getArgumentTypes(), builder.getI32Type()));
  return success();
}

namespace {
struct EmitCPUKernels : codegen::impl::EmitCPUKernelsPassBase<EmitCPUKernels> {
  using EmitCPUKernelsPassBase::EmitCPUKernelsPassBase;

  void runOnOperation() override {
    llvm::Expected<TargetSpec> spec = resolveTarget(target);
    if (!spec) {
      getOperation().emitError() << llvm::toString(spec.takeError());
      return signalPassFailure();
    }
    SmallVector<func::FuncOp> kernels;
    for (auto function : getOperation().getOps<func::FuncOp>()) {
      if (function->hasAttr(KernelDialect::kRootAttr)) {
        kernels.push_back(function);
      }
    }
    for (func::FuncOp kernel : kernels) {
      if (failed(emitKernel(kernel, *spec))) {
        return signalPassFailure();
      }
    }
  }
};
} // namespace
