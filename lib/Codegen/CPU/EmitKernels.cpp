// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Runs the emitters on all kernels of a module; see Emitters.h for the contract.

#include "BlockMatMul.h"
#include "lathe/Codegen/CPU/Emitters.h"
#include "lathe/Codegen/CPU/PassTarget.h"
#include "lathe/Codegen/Passes.h"
#include "lathe/Dialect/Pack/IR/Pack.h"

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

/// Whether inputs lie in panels or blocks, which products read as they are.
static bool readsStored(func::FuncOp kernel, pack::DecodeOp decode) {
  return liesInPanels(kernel, decode) || readsBlocks(kernel, decode);
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

static LogicalResult emitKernel(func::FuncOp kernel, const TargetSpec &target) {
  std::optional<RootKind> kind =
      kernel::symbolizeRootKind(kernel->getAttrOfType<StringAttr>(KernelDialect::kRootAttr).getValue());
  if (!kind) {
    return kernel.emitError("has an unknown kernel.root");
  }
  cpu::Emitter emitter = getEmitter(*kind);
  expandPackedInputs(kernel, [&](pack::DecodeOp decode) { return readsStored(kernel, decode); });
  auto split = [&](ElementContext &sizes) -> FailureOr<std::array<Value, 2>> {
    EmitContext context{sizes, target, {}, {}, {}};
    FailureOr<TaskSplit> tasks = emitter.split(context);
    return failed(tasks) ? FailureOr<std::array<Value, 2>>(failure())
                         : std::array{tasks->count, tasks->grain};
  };
  if (failed(emitTaskCount(kernel, split))) {
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
  EmitContext context{{kernel, builder, shapes, /*masksTails=*/target.hasAVX512},
                      target,
                      kernel.getArgument(first),
                      kernel.getArgument(first + 1),
                      kernel.getArgument(first + 2)};
  if (failed(emitter.emit(context))) {
    return failure();
  }
  eraseTensorForm(kernel);
  if (!target.hasAVX512BF16) {
    lowerRounding(kernel);
  }
  lowerTraps(kernel);
  kernel.setType(builder.getFunctionType(kernel.getArgumentTypes(), builder.getI32Type()));
  return success();
}

namespace {
struct EmitCPUKernels : codegen::impl::EmitCPUKernelsPassBase<EmitCPUKernels> {
  using EmitCPUKernelsPassBase::EmitCPUKernelsPassBase;

  void runOnOperation() override {
    FailureOr<TargetSpec> spec = resolvePassTarget(getOperation(), target);
    if (failed(spec)) {
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
