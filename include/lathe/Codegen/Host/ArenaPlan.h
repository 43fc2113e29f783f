// Part of Lathe, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception

/// \file
/// Where the tensors of a host function lie.

#ifndef LATHE_CODEGEN_HOST_ARENAPLAN_H
#define LATHE_CODEGEN_HOST_ARENAPLAN_H

#include "lathe/Dialect/Kernel/IR/Kernel.h"
#include "lathe/Dialect/NN/IR/NNControl.h"
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

/// The storage of all tensors of one function: an argument, a result, a weight, a slot of the arena, or a
/// buffer.
///
/// Sizes of slots are formulas of the symbols, so that the arena is laid out before anything runs. A tensor
/// whose size depends on data lies in a buffer, for which the host program asks when it knows the size.
///
/// Tensors live from the op that computes them to the last that reads them; slots and buffers are given again
/// after that. Of the free ones one of the same formula is preferred, then the one freed last. What is
/// defined before a loop and read in it lives to the loop's end. What is joined lies in the place of the
/// whole, which lives from the first part on. A result of `nn.if` lies where the body's
/// value lies, which lives as long as the result. Carried tensors and scan outputs of `nn.loop` have storage
/// of their own.
class ArenaPlan {
public:
  /// Plans `function`, whose tensor ops are launches, layer calls, reshapes, joins, weight uses and control
  /// flow.
  /// Emits a diagnostic and fails on anything else.
  static llvm::FailureOr<ArenaPlan> create(mlir::func::FuncOp function, nn::ShapeTracker &shapes,
                                           mlir::SymbolTable &symbols);

  /// The tensor whose bytes `tensor` is another shape or a part of, and the byte of it where it begins.
  static mlir::Value getRoot(mlir::Value tensor);
  static int64_t getOffset(mlir::Value tensor);

  const llvm::SmallVector<Slot> &getSlots() const { return slots.list; }
  size_t getBufferCount() const { return buffers.list.size(); }
  /// The slot or the buffer of a root, or -1 if it lies elsewhere.
  int64_t getSlot(mlir::Value root) const;
  int64_t getBuffer(mlir::Value root) const;
  /// The number of the function's result that a root is written to, or -1.
  int64_t getResult(mlir::Value root) const;
  /// What a root computed by an op of the function needs.
  const Tenant &getTenant(mlir::Value root) const { return tenantOf.find(root)->second; }
  /// The place of an op of the function, or of a body in it, in program order.
  unsigned getPosition(mlir::Operation *op) const { return begin.lookup(op); }
  /// The positions from where a root is computed to where it is read for the last time.
  std::pair<unsigned, unsigned> getLifetime(mlir::Value root) const;
  /// The slot in which a layer call finds its own arena.
  int64_t getScratchSlot(mlir::Operation *call) const { return scratch.lookup(call); }

private:
  /// Slots, or buffers, and until when each is taken.
  struct Pool {
    llvm::SmallVector<Slot> list;
    llvm::SmallVector<unsigned> busyUntil;

    int64_t take(Tenant tenant, unsigned first, unsigned last);
  };

  void number(mlir::Block &block, unsigned &position);
  void findLastReads(mlir::Block &block);
  void extend(mlir::Value tensor, mlir::Operation *reader, unsigned last);
  llvm::LogicalResult findResults(mlir::Block &block);
  llvm::LogicalResult place(mlir::Block &block, nn::ShapeTracker &shapes, mlir::SymbolTable &symbols);
  llvm::LogicalResult placeResult(mlir::OpResult result, nn::ShapeTracker &shapes);
  void placeLoop(nn::LoopOp loop);
  void store(mlir::Value root, Tenant tenant, bool inBuffer);

  Pool slots, buffers;
  llvm::DenseMap<mlir::Value, int64_t> slotOf, bufferOf, resultOf;
  llvm::DenseMap<mlir::Value, Tenant> tenantOf;
  llvm::DenseMap<mlir::Operation *, int64_t> scratch;
  /// Positions in program order: of an op, of the end of its bodies, and where a root is read for the last
  /// time.
  llvm::DenseMap<mlir::Operation *, unsigned> begin, end;
  llvm::DenseMap<mlir::Value, unsigned> lastRead;
};

} // namespace lathe::codegen

#endif // LATHE_CODEGEN_HOST_ARENAPLAN_H
