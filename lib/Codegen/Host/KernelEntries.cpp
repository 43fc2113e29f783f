// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// What the runtime calls of a kernel: the task over its iterations and the count of its costs.

#include "KernelEntries.h"

#include "lathe/Codegen/CUDA/Emitters.h"
#include "lathe/Codegen/Host/HostABI.h"

using namespace mlir;
using namespace lathe;
using namespace lathe::codegen;

bool codegen::isOnDevice(func::FuncOp kernel) { return kernel->hasAttr(cuda::kThreadsAttr); }

void codegen::emitEntry(func::FuncOp kernel) {
  OpBuilder builder(kernel);
  Emit emit{builder, kernel.getLoc()};
  Type i32 = builder.getI32Type();
  auto type = LLVM::LLVMFunctionType::get(i32, {emit.ptr(), emit.i64(), emit.i64(), i32});
  auto entry = LLVM::LLVMFuncOp::create(builder, kernel.getLoc(), (kernel.getName() + ".entry").str(), type,
                                        LLVM::Linkage::Internal);
  Block *block = entry.addEntryBlock(builder);
  builder.setInsertionPointToStart(block);

  // A memref<?xi8> descriptor: pointers, offset, size, stride. Its size is never asked for.
  auto descriptor = LLVM::LLVMStructType::getLiteral(
      builder.getContext(), {emit.ptr(), emit.ptr(), emit.i64(), LLVM::LLVMArrayType::get(emit.i64(), 1),
                             LLVM::LLVMArrayType::get(emit.i64(), 1)});
  SmallVector<Value> operands;
  unsigned own = kernel.getNumArguments() - 3;
  for (unsigned i = 0; i < own; ++i) {
    Type argument = kernel.getArgumentTypes()[i];
    if (!isa<MemRefType>(argument)) {
      operands.push_back(emit.toIndex(emit.load(emit.i64(), block->getArgument(0), i)));
      continue;
    }
    Value pointer = emit.load(emit.ptr(), block->getArgument(0), i);
    Value value = LLVM::PoisonOp::create(builder, kernel.getLoc(), descriptor);
    auto insert = [&](Value part, ArrayRef<int64_t> at) {
      value = LLVM::InsertValueOp::create(builder, kernel.getLoc(), value, part, at);
    };
    insert(pointer, {0});
    insert(pointer, {1});
    insert(emit.constant(0), {2});
    insert(emit.constant(INT64_MAX), {3, 0});
    insert(emit.constant(1), {4, 0});
    operands.push_back(
        UnrealizedConversionCastOp::create(builder, kernel.getLoc(), argument, value).getResult(0));
  }
  operands.push_back(emit.toIndex(block->getArgument(1)));
  operands.push_back(emit.toIndex(block->getArgument(2)));
  operands.push_back(
      emit.toIndex(LLVM::ZExtOp::create(builder, kernel.getLoc(), emit.i64(), block->getArgument(3))));
  Value fault = func::CallOp::create(builder, kernel.getLoc(), kernel, operands).getResult(0);
  LLVM::ReturnOp::create(builder, kernel.getLoc(), fault);
}

void codegen::emitCostEntry(func::FuncOp kernel, func::FuncOp costs) {
  OpBuilder builder(kernel);
  Emit emit{builder, kernel.getLoc()};
  auto type =
      LLVM::LLVMFunctionType::get(LLVM::LLVMVoidType::get(builder.getContext()), {emit.ptr(), emit.ptr()});
  auto entry = LLVM::LLVMFuncOp::create(builder, kernel.getLoc(), (kernel.getName() + kCostEntrySuffix).str(),
                                        type, LLVM::Linkage::Internal);
  Block *block = entry.addEntryBlock(builder);
  builder.setInsertionPointToStart(block);
  SmallVector<Value> sizes;
  // Behind the addresses and sizes of a launch stands what only the kernel is given.
  unsigned own = isOnDevice(kernel) ? 1 : 3;
  for (auto [position, argument] : llvm::enumerate(kernel.getArgumentTypes().drop_back(own))) {
    if (!isa<MemRefType, LLVM::LLVMPointerType>(argument)) {
      sizes.push_back(emit.toIndex(emit.load(emit.i64(), block->getArgument(0), position)));
    }
  }
  auto counted = func::CallOp::create(builder, kernel.getLoc(), costs, sizes);
  for (auto [position, cost] : llvm::enumerate(counted.getResults())) {
    emit.store(emit.fromIndex(cost), block->getArgument(1), position);
  }
  LLVM::ReturnOp::create(builder, kernel.getLoc(), ValueRange());
}
