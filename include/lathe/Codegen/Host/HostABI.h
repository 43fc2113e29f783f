// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Names and layouts that host code shares with the runtime's abi.h and with the writer of the table.

#ifndef LATHE_CODEGEN_HOST_HOSTABI_H
#define LATHE_CODEGEN_HOST_HOSTABI_H

#include "lathe/Dialect/NN/IR/NN.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/BuiltinOps.h"

namespace lathe::codegen {

/// The functions that LowerHost makes of `@main`: a lathe_run_fn and a lathe_layout_fn.
inline constexpr llvm::StringLiteral kRunName = "lathe_run";
inline constexpr llvm::StringLiteral kLayoutName = "lathe_layout";
/// Ends the name of the function beside a kernel that counts what an execution takes: `(sizes) -> (flops,
/// bytes, bytes of weights)`.
inline constexpr llvm::StringLiteral kCostSuffix = ".cost";
/// Ends the name of the lathe_cost_fn that LowerHost makes of it.
inline constexpr llvm::StringLiteral kCostEntrySuffix = ".cost_entry";
/// What a cost function returns for what is not known.
inline constexpr int64_t kUnknownCost = -1;
/// Attribute of the module after LowerHost: lathe_table.slot_count.
inline constexpr llvm::StringLiteral kSlotCountAttr = "lathe.slot_count";
/// The same for lathe_table.buffer_count, and the locations of lathe_table.places, where there are any.
inline constexpr llvm::StringLiteral kBufferCountAttr = "lathe.buffer_count";
inline constexpr llvm::StringLiteral kPlacesAttr = "lathe.places";
/// Attributes of the module before LowerHost, where an artifact has other kernels and places, too: the
/// numbers of its first ones. Without them kernels begin at 0, and places behind the kernels.
inline constexpr llvm::StringLiteral kFirstKernelAttr = "lathe.first_kernel",
                                     kFirstPlaceAttr = "lathe.first_place";
/// The same for lathe_table.services: an array of name, argument and number of operands.
inline constexpr llvm::StringLiteral kServicesAttr = "lathe.services";

/// A symbol of the model, in the order of lathe_call.symbols.
struct Symbol {
  std::string name;
  int64_t min = 0, max = nn::kMaxDim;
};

/// All symbols of `main`'s arguments in the order in which they first occur, with the bounds of
/// `nn.bounds`.
llvm::SmallVector<Symbol> collectSymbols(mlir::func::FuncOp main);

/// The kernels of a module, in the order of lathe_table.kernels.
llvm::SmallVector<mlir::func::FuncOp> collectKernels(mlir::ModuleOp module);

} // namespace lathe::codegen

#endif // LATHE_CODEGEN_HOST_HOSTABI_H
