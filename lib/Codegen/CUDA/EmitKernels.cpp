// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Runs the emitters on all kernels of a module and makes device functions of them; see Emitters.h for the
/// contract.

#include "DeviceOps.h"
#include "lathe/Codegen/Element/IndexMath.h"
#include "lathe/Codegen/Passes.h"
#include "lathe/Dialect/Pack/IR/Pack.h"

#include "mlir/Dialect/Affine/IR/AffineOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Bufferization/IR/Bufferization.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/LLVMIR/NVVMDialect.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/MemRef/IR/MemRef.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"

namespace lathe::codegen {
#define GEN_PASS_DEF_EMITCUDAKERNELSPASS
#include "lathe/Codegen/Passes.h.inc"
} // namespace lathe::codegen

using namespace mlir;
using namespace lathe;
using namespace lathe::cuda;
using kernel::KernelDialect;
using kernel::RootKind;

static cuda::Emitter getEmitter(RootKind kind) {
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

/// The dynamic shared memory of the module, as the block's own: ptr<3>.
static Value getSharedMemory(func::FuncOp kernel, OpBuilder &builder) {
  auto module = kernel->getParentOfType<ModuleOp>();
  auto pointer = LLVM::LLVMPointerType::get(builder.getContext(), 3);
  if (!module.lookupSymbol(kSharedName)) {
    OpBuilder top = OpBuilder::atBlockBegin(module.getBody());
    auto type = LLVM::LLVMArrayType::get(builder.getI8Type(), 0);
    LLVM::GlobalOp::create(top, module.getLoc(), type, /*isConstant=*/false, LLVM::Linkage::External,
                           kSharedName, Attribute(), /*alignment=*/16, /*addrSpace=*/3);
  }
  return LLVM::AddressOfOp::create(builder, kernel.getLoc(), pointer, kSharedName);
}

/// Turns `kernel.trap_if`s into stores of the fault to `address`; any one of several stays.
static void lowerTraps(func::FuncOp kernel, Value address) {
  SmallVector<kernel::TrapIfOp> traps;
  kernel.walk([&](kernel::TrapIfOp trap) { traps.push_back(trap); });
  for (kernel::TrapIfOp trap : traps) {
    OpBuilder builder(trap);
    scf::IfOp::create(builder, trap.getLoc(), trap.getCondition(), [&](OpBuilder &inner, Location at) {
      Value code = arith::ConstantIntOp::create(inner, at, inner.getI32Type(), trap.getFault());
      LLVM::StoreOp::create(inner, at, code, address);
      scf::YieldOp::create(inner, at);
    });
    trap.erase();
  }
}

/// Makes addresses of the arguments that are memory, and numbers of 64 bits of the sizes.
static void lowerArguments(func::FuncOp kernel) {
  OpBuilder builder = OpBuilder::atBlockBegin(&kernel.getBody().front());
  auto pointer = LLVM::LLVMPointerType::get(builder.getContext());
  for (BlockArgument argument : kernel.getArguments()) {
    Location loc = argument.getLoc();
    Type type = argument.getType();
    if (!isa<MemRefType, IndexType>(type)) {
      continue;
    }
    argument.setType(type.isIndex() ? Type(builder.getI64Type()) : pointer);
    Value made = type.isIndex() ? arith::IndexCastOp::create(builder, loc, type, argument).getResult()
                                : makeMemRef(builder, loc, argument, cast<MemRefType>(type));
    Operation *user = made.getDefiningOp();
    // Of a memref, several ops lead from the argument to it.
    argument.replaceUsesWithIf(made, [&](OpOperand &use) {
      return use.getOwner() != user && !isa<LLVM::InsertValueOp>(use.getOwner());
    });
    if (!type.isIndex()) {
      // What a kernel writes is nothing that it reads, and tensors in the arena begin at 64 bytes; inputs and
      // outputs of the model may lie at any element.
      kernel.setArgAttr(argument.getArgNumber(), LLVM::LLVMDialect::getNoAliasAttrName(),
                        builder.getUnitAttr());
    }
  }
}

/// Returns the bytes of scratch memory that the kernel needs: it has an argument for it if these are any.
static FailureOr<int64_t> emitKernel(func::FuncOp kernel, bool inTF32) {
  std::optional<RootKind> kind =
      kernel::symbolizeRootKind(kernel->getAttrOfType<StringAttr>(KernelDialect::kRootAttr).getValue());
  if (!kind) {
    return kernel.emitError("has an unknown kernel.root");
  }
  cuda::Emitter emitter = getEmitter(*kind);
  expandPackedInputs(kernel, [&](pack::DecodeOp decode) { return liesInPanels(kernel, decode); });
  int64_t threads = 0, blocksAtOnce = 0;
  auto plan = [&](ElementContext &sizes) -> FailureOr<std::array<Value, 2>> {
    sizes.onDevice = true;
    sizes.inTF32 = inTF32;
    FailureOr<Launch> launch = emitter.plan(sizes);
    if (failed(launch)) {
      return failure();
    }
    threads = launch->threads;
    blocksAtOnce = launch->blocksAtOnce;
    IndexMath math{sizes.builder, kernel.getLoc()};
    return std::array{math.value(launch->blocks), math.value(math.constant(0))};
  };
  if (failed(emitTaskCount(kernel, plan))) {
    return failure();
  }

  Location loc = kernel.getLoc();
  Block &body = kernel.getBody().front();
  OpBuilder builder = OpBuilder::atBlockBegin(&body);
  Type i32 = builder.getI32Type(), index = builder.getIndexType();
  Value thread =
      arith::IndexCastOp::create(builder, loc, index, NVVM::ThreadIdXOp::create(builder, loc, i32));
  Value block = arith::IndexCastOp::create(builder, loc, index, NVVM::BlockIdXOp::create(builder, loc, i32));
  auto bytes = MemRefType::get({ShapedType::kDynamic}, builder.getI8Type(), MemRefLayoutAttrInterface(),
                               builder.getI64IntegerAttr(3));
  Value sharedStart = getSharedMemory(kernel, builder);
  Value shared = makeMemRef(builder, loc, sharedStart, bytes);
  builder.setInsertionPoint(body.getTerminator());
  nn::ShapeTracker shapes(builder);
  EmitContext context{
      {kernel, builder, shapes, /*masksTails=*/false, /*constantsInModule=*/true, /*onDevice=*/true, inTF32},
      block,
      thread,
      sharedStart,
      shared};
  if (failed(emitter.emit(context))) {
    return failure();
  }
  if (context.sharedBytes > kMostSharedBytes) {
    return kernel.emitError() << "needs " << context.sharedBytes
                              << " bytes of shared memory, but a block has " << kMostSharedBytes;
  }
  eraseTensorForm(kernel);
  // Nothing behind here knows of panels.
  for (unsigned i = 0; i < kernel.getNumArguments(); ++i) {
    kernel.removeArgAttr(i, KernelDialect::kPanelAttr);
  }
  lowerArguments(kernel);
  // The address of the fault stands before that of the scratch memory.
  unsigned declared = kernel.getNumArguments();
  lowerTraps(kernel, body.insertArgument(declared, LLVM::LLVMPointerType::get(builder.getContext()), loc));
  SmallVector<Type> types(body.getArgumentTypes());
  kernel.setType(builder.getFunctionType(types, {}));
  // The host knows it by its number alone.
  kernel.setPublic();
  kernel->setAttr(kThreadsAttr, builder.getI64IntegerAttr(threads));
  if (blocksAtOnce > 0) {
    kernel->setAttr(kBlocksAtOnceAttr, builder.getI64IntegerAttr(blocksAtOnce));
  }
  kernel->setAttr(kSharedBytesAttr, builder.getI64IntegerAttr(context.sharedBytes));
  return context.scratchBytes;
}

/// Adds an argument behind the last one: an address.
static void addAddress(func::FuncOp kernel) {
  Block &body = kernel.getBody().front();
  body.addArgument(LLVM::LLVMPointerType::get(kernel.getContext()), kernel.getLoc());
  kernel.setType(
      Builder(kernel.getContext()).getFunctionType(SmallVector<Type>(body.getArgumentTypes()), {}));
}

namespace {
struct EmitCUDAKernels : codegen::impl::EmitCUDAKernelsPassBase<EmitCUDAKernels> {
  using EmitCUDAKernelsPassBase::EmitCUDAKernelsPassBase;

  void runOnOperation() override {
    SmallVector<func::FuncOp> kernels;
    for (auto function : getOperation().getOps<func::FuncOp>()) {
      if (function->hasAttr(KernelDialect::kRootAttr)) {
        kernels.push_back(function);
      }
    }
    bool hasFailed = false;
    int64_t scratchBytes = 0;
    SmallVector<func::FuncOp> without;
    for (func::FuncOp kernel : kernels) {
      FailureOr<int64_t> bytes = emitKernel(kernel, tf32);
      hasFailed |= failed(bytes);
      if (succeeded(bytes)) {
        scratchBytes = std::max(scratchBytes, *bytes);
        if (*bytes == 0) {
          without.push_back(kernel);
        }
      }
    }
    if (hasFailed) {
      return signalPassFailure();
    }
    if (scratchBytes > 0) {
      // A launch does not know which kernels have it.
      llvm::for_each(without, addAddress);
      getOperation()->setAttr(kScratchBytesAttr, Builder(&getContext()).getI64IntegerAttr(scratchBytes));
    }
  }
};
} // namespace
