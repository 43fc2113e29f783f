// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Where the tensors of a host function lie.

#ifndef LATHE_CODEGEN_HOST_ARENAPLAN_H
#define LATHE_CODEGEN_HOST_ARENAPLAN_H

#include "lathe/Dialect/Kernel/IR/Kernel.h"
#include "lathe/Dialect/NN/IR/ShapeTracker.h"

#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "llvm/ADT/DenseMap.h"

namespace lathe::codegen {

/// Every slot starts at a multiple of this.
inline constexpr int64_t kSlotAlignment = 64;

/// What a slot must hold: `factor` bytes times the product of `sizes` (index values of the function), or the
/// arena of `layer`.
struct Tenant {
  int64_t factor = 0;
  llvm::SmallVector<mlir::Value> sizes;
  mlir::func::FuncOp layer;
};

/// A part of the arena, as large as its largest tenant.
struct Slot {
  llvm::SmallVector<Tenant> tenants;
};

/// The storage of all tensors of one function: an argument, a result, a weight or a slot.
///
/// Tensors live from the launch that computes them to the last that reads them; a slot is given again after
/// that. Of the free slots one of the same formula is preferred, then the one freed last.
class ArenaPlan {
public:
  /// Plans `function`, whose tensor ops are launches, layer calls, reshapes and weight uses. Emits a
  /// diagnostic and fails on anything else.
  static llvm::FailureOr<ArenaPlan> create(mlir::func::FuncOp function, nn::ShapeTracker &shapes,
                                           mlir::SymbolTable &symbols);

  /// The tensor whose bytes `tensor` is another shape of.
  static mlir::Value getRoot(mlir::Value tensor);

  const llvm::SmallVector<Slot> &getSlots() const { return slots; }
  /// The slot of a root, or -1 if it lies in an argument, a result or a weight.
  int64_t getSlot(mlir::Value root) const;
  /// The number of the function's result that a root is written to, or -1.
  int64_t getResult(mlir::Value root) const;
  /// The slot in which a layer call finds its own arena.
  int64_t getScratchSlot(mlir::Operation *call) const { return scratch.lookup(call); }

private:
  int64_t take(Tenant tenant, unsigned first, unsigned last);

  llvm::SmallVector<Slot> slots;
  llvm::SmallVector<unsigned> busyUntil;
  llvm::DenseMap<mlir::Value, int64_t> slotOf, resultOf;
  llvm::DenseMap<mlir::Operation *, int64_t> scratch;
};

} // namespace lathe::codegen

#endif // LATHE_CODEGEN_HOST_ARENAPLAN_H
