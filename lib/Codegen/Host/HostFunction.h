// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// The lowering of one host function, `@main` or a layer, in three parts: what runs (HostRun.cpp), its
/// control flow (HostControl.cpp), and the layout of its arena (HostLayout.cpp).

#ifndef LATHE_LIB_CODEGEN_HOST_HOSTFUNCTION_H
#define LATHE_LIB_CODEGEN_HOST_HOSTFUNCTION_H

#include "KernelEntries.h"
#include "lathe/Codegen/Host/ArenaPlan.h"
#include "lathe/Dialect/NN/IR/NNHost.h"
#include "lathe/Dialect/NN/IR/NNService.h"
#include "lathe/abi.h"

#include "mlir/IR/IRMapping.h"
#include "mlir/IR/SymbolTable.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringMap.h"

namespace lathe::codegen {

/// Indices of lathe_call's fields, all of them eight bytes.
enum CallField {
  Symbols,
  Slots,
  Inputs,
  Outputs,
  Arena,
  Weights,
  ParallelFor,
  Context,
  Workers,
  OutputDims,
  Reserve,
  LoopLimit,
  Service
};

/// What all functions of a module share.
struct ModuleState {
  mlir::ModuleOp module;
  mlir::SymbolTable symbols;
  llvm::StringMap<int64_t> symbolIndex; // of lathe_call.symbols
  llvm::StringMap<int64_t> kernelIndex; // of lathe_table.kernels
  int64_t firstPlace = 0;
  /// lathe_table.places, numbered in the order in which they are found.
  llvm::MapVector<mlir::Location, int64_t> places;
  /// lathe_table.services: name, argument and number of operands.
  llvm::MapVector<std::tuple<mlir::StringAttr, mlir::StringAttr, unsigned>, int64_t> services;
  int64_t slotCount = 0, bufferCount = 0;

  explicit ModuleState(mlir::ModuleOp module) : module(module), symbols(module) {}
};

class HostFunction {
public:
  HostFunction(ModuleState &state, mlir::func::FuncOp source);

  llvm::LogicalResult lower();

private:
  //===--- HostRun.cpp ---===//

  llvm::LogicalResult emitRun();
  void bindArguments(Emit &emit, mlir::Block *entry);
  int64_t maxArguments();
  /// All ops of a block, up to a terminator of a body.
  llvm::LogicalResult emitBlock(mlir::Block &block);
  llvm::LogicalResult emitOp(mlir::Operation &op);
  llvm::LogicalResult emitReturn(mlir::func::ReturnOp op);
  llvm::LogicalResult emitLaunch(kernel::LaunchOp launch);
  llvm::LogicalResult emitLayerCall(nn::LayerCallOp layer);
  llvm::LogicalResult emitService(nn::ServiceOp op);
  void emitReserveResult(Emit &emit, mlir::Value root, int64_t place);
  llvm::LogicalResult emitReadIndex(nn::ReadIndexOp op);
  void emitCheckedSize(nn::CheckedSizeOp op);
  void emitElementCount(nn::ElementCountOp op);

  /// The address of a tensor.
  llvm::FailureOr<mlir::Value> getPointer(mlir::Value tensor);
  mlir::Value slotPointer(Emit &emit, int64_t slot);
  /// Asks the runtime for `bytes` of a buffer, or of output `~buffer`.
  mlir::Value emitReserve(Emit &emit, int64_t buffer, mlir::Value bytes, mlir::Value keep, int64_t place);
  /// Leaves the function with `code` if `fault` is not 0; or, if `bad`, with the fault at a place.
  void branchOnFault(mlir::Location loc, mlir::Value fault, mlir::Value code);
  void branchIfBad(mlir::Location loc, mlir::Value bad, mlir::Value code);
  mlir::Value faultCode(mlir::Location loc, lathe_fault fault, int64_t place);
  /// The number of a place outside of kernels.
  int64_t placeOf(mlir::Location loc);

  //===--- HostControl.cpp ---===//

  struct LoopStorage;
  llvm::LogicalResult emitIf(nn::IfOp op);
  llvm::LogicalResult emitBranch(nn::IfOp op, mlir::Region &body, mlir::Block *from, mlir::Block *merge);
  llvm::LogicalResult emitLoop(nn::LoopOp op);
  llvm::LogicalResult emitInits(nn::LoopOp op, llvm::SmallVectorImpl<mlir::Value> &entering);
  llvm::LogicalResult emitNext(nn::LoopOp op, mlir::Value iteration,
                               llvm::SmallVectorImpl<mlir::Value> &next);
  /// Where carried tensor or scan output `i` lies: in a slot, or where `moving` says.
  mlir::Value loopPointer(Emit &emit, nn::LoopOp op, unsigned i, mlir::ValueRange moving);
  /// The bytes of tensor result `i`, or of one iteration's part of it, where carried index values are
  /// `carried`.
  mlir::Value loopBytes(Emit &emit, nn::LoopOp op, unsigned i, mlir::ValueRange carried);
  mlir::Block *newBlock();

  //===--- HostLayout.cpp ---===//

  llvm::LogicalResult emitLayout();
  void cloneArithmetic(mlir::Value symbolArray, mlir::IRMapping &sizes);
  mlir::Value tenantBytes(Emit &emit, const Tenant &tenant, mlir::IRMapping &sizes, mlir::Value symbolArray,
                          mlir::Value slotArray);

  ModuleState &state;
  mlir::func::FuncOp source;
  mlir::OpBuilder builder;
  nn::ShapeTracker shapes;
  bool isMain;
  std::string name, layoutName;
  ArenaPlan plan;
  int64_t firstSlot = 0, firstBuffer = 0;
  /// The dimensions of the function's results.
  llvm::SmallVector<llvm::SmallVector<mlir::OpFoldResult>> resultDims;

  mlir::Value call, arena, slots, weights, symbolValues, argumentBuffer, parallelFor, context;
  llvm::SmallVector<mlir::Value> results;
  /// Of roots that lie in no slot and no weight.
  llvm::DenseMap<mlir::Value, mlir::Value> pointers;
  mlir::IRMapping mapping;
  mlir::Block *faultBlock = nullptr;
};

} // namespace lathe::codegen

#endif // LATHE_LIB_CODEGEN_HOST_HOSTFUNCTION_H
